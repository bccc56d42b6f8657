"""The decoder as a surface: a paraboloid, whose curvature is known, and the decoder's own Jacobian."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from scgeoae.core import geometry
from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.network import Activation
from scgeoae.core.surface import Surface

A = 0.3
SQUARE = Activation(lambda v: (v.square(), 2 * v), lambda _, slopes: 2 / slopes)


@pytest.fixture(params=[4, 30], ids=["narrow", "wide"])
def paraboloid(request) -> Paraboloid:
    """In a space of as many dimensions as it needs, and turned in one of more."""
    return Paraboloid(request.param)


@dataclass
class Paraboloid:
    """``f(u, v[, w]) = (u, v, A (u^2 + v^2), w)`` by a network that squares: ``u = ((u + 1)^2 - (u - 1)^2) / 4``."""

    n_features: int

    def model(self, d: int = 2) -> GeometricAutoencoder:
        model = GeometricAutoencoder(self.n_features, d, hidden_dims=(2 * d,)).double()
        model.decoder.activation = SQUARE
        first, last = model.decoder.first, model.decoder.last
        with torch.no_grad():
            first.weight.copy_(torch.eye(d).repeat_interleave(2, 0))
            first.bias.copy_(torch.tensor([1.0, -1.0]).repeat(d))
            rows = torch.zeros(4, 2 * d, dtype=torch.float64)
            for row, i in zip((0, 1, 3), range(d), strict=False):
                rows[row, 2 * i : 2 * i + 2] = torch.tensor([0.25, -0.25])
            rows[2, :4] = A / 2
            last.weight.copy_(self.turn() @ rows)
            last.bias.copy_(self.turn() @ torch.tensor([0, 0, -2 * A, 0], dtype=torch.float64))
        return model

    def turn(self) -> torch.Tensor:
        """Orthonormal columns (D, 4)."""
        generator = torch.Generator().manual_seed(0)
        square = torch.randn(self.n_features, 4, dtype=torch.float64, generator=generator)
        return torch.linalg.qr(square).Q

    def data(self, z: np.ndarray) -> np.ndarray:
        x = np.column_stack([z[:, 0], z[:, 1], A * (z[:, :2] ** 2).sum(1), np.zeros(len(z))])
        return x @ self.turn().numpy().T


Z = np.array([[0.0, 0.0], [1.0, 0.0], [-2.0, 3.0]])


def test_the_geometry_of_a_paraboloid(paraboloid: Paraboloid) -> None:
    surface = Surface(paraboloid.model())
    np.testing.assert_allclose(surface.decode(Z), paraboloid.data(Z), atol=1e-12)
    steepness = np.sqrt(1 + 4 * A**2 * (Z**2).sum(1))
    np.testing.assert_allclose(surface.metric(Z), np.eye(2) + 4 * A**2 * Z[:, :, None] * Z[:, None], atol=1e-12)
    np.testing.assert_allclose(surface.distortion(Z), [np.log(steepness), steepness], atol=1e-12)
    lengths, directions = surface.indicatrix(Z)
    np.testing.assert_allclose(lengths, np.column_stack([np.ones(3), 1 / steepness]), atol=1e-12)
    uphill = Z[1:] / np.linalg.norm(Z[1:], axis=1)[:, None]
    np.testing.assert_allclose(np.abs((directions[1:, :, 1] * uphill).sum(1)), 1)


@pytest.mark.parametrize("radius", [0.1, 1.0, 3.0])
def test_nonlinearity(paraboloid: Paraboloid, radius: float) -> None:
    """`f(z + v) - f(z) - J v = A |v|^2`, where `v` is shorter uphill by sqrt(L), L = 1 + 4 A^2 |z|^2."""
    steepness = 1 + 4 * A**2 * (Z**2).sum(1)
    expected = A * radius * np.sqrt(3 / 8 + 1 / (4 * steepness) + 3 / (8 * steepness**2))
    surface = Surface(paraboloid.model())
    np.testing.assert_allclose(surface.nonlinearity(Z, radius), expected, rtol=1e-9)
    assert surface.nonlinearity(Z[:1], radius)[0] == pytest.approx(radius / (2 * 1 / (2 * A)))  # r / 2R


def test_two_of_three_dimensions(paraboloid: Paraboloid) -> None:
    surface, z = Surface(paraboloid.model(3)), np.zeros((1, 3))
    curved = A * np.sqrt(3 / 8)  # the other direction is flat
    assert surface.nonlinearity(z, 1.0, (0, 1))[0] == pytest.approx(A)
    assert surface.nonlinearity(z, 1.0, (2, 0))[0] == pytest.approx(curved)
    lengths, directions = surface.indicatrix(np.array([[2.0, 0.0, 5.0]]), (2, 0))
    np.testing.assert_allclose(lengths, [[1, 1 / np.sqrt(1 + 16 * A**2)]])
    np.testing.assert_allclose(np.abs(directions[0]), np.eye(2), atol=1e-9)


@pytest.fixture
def network() -> GeometricAutoencoder:
    model = GeometricAutoencoder(60, hidden_dims=(16, 12), generator=torch.Generator().manual_seed(0))
    model.observation.scale.fill_(3.0)
    model.observation.mean.normal_(generator=torch.Generator().manual_seed(1))
    return model


@pytest.fixture
def z(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(50, 2)).astype(np.float32)


@pytest.mark.parametrize("n_features", [4, 60])
def test_narrow_and_wide_outputs(n_features: int, z: np.ndarray) -> None:
    """The metric of a wide output is computed in fewer dimensions, with the same result."""
    model = GeometricAutoencoder(n_features, hidden_dims=(16, 12), generator=torch.Generator().manual_seed(0))
    model.observation.scale.fill_(3.0)
    model.observation.mean.normal_(generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        x, tangents = copy.deepcopy(model).double().pushforward(torch.from_numpy(z).double())
    surface = Surface(model)
    np.testing.assert_allclose(surface.decode(z), x, atol=1e-12)
    log_det, anisotropy = surface.distortion(z)
    np.testing.assert_allclose(log_det, geometry.log_det(tangents), rtol=1e-10)
    sigma = torch.linalg.svdvals(tangents.permute(1, 2, 0))
    np.testing.assert_allclose(anisotropy, sigma[:, 0] / sigma[:, -1], rtol=1e-10)
    np.testing.assert_allclose(surface.metric(z), geometry.metric(tangents), rtol=1e-10)


@pytest.mark.parametrize("n_features", [4, 60])
def test_lengths_and_angles_in_the_basis(n_features: int, z: np.ndarray, rng: np.random.Generator) -> None:
    model = GeometricAutoencoder(n_features, hidden_dims=(16, 12), generator=torch.Generator().manual_seed(0))
    model.observation.scale.fill_(3.0)
    surface = Surface(model)
    x, (points, tangents) = surface.decode(z), surface.pushforward(z)
    np.testing.assert_array_equal(surface.on_surface(z), points)
    np.testing.assert_allclose(cdist(points, points), cdist(x, x), atol=1e-9)
    np.testing.assert_allclose(np.einsum("anw,bnw->nab", tangents, tangents), surface.metric(z), rtol=1e-9)
    step = (surface.on_surface(z + np.array([1e-5, 0])) - surface.on_surface(z - np.array([1e-5, 0]))) / 2e-5
    np.testing.assert_allclose(tangents[0], step, atol=1e-6)

    with torch.no_grad():
        _, columns = copy.deepcopy(model).double().pushforward(torch.from_numpy(z).double())
    v = rng.normal(size=(len(z), n_features))
    for i in range(len(z)):
        q = np.linalg.qr(columns[:, i].numpy().T)[0]
        expected = np.linalg.norm(v[i] - q @ (q.T @ v[i]))
        assert surface.normal(z[i : i + 1], v[i : i + 1])[0] == pytest.approx(expected, rel=1e-9)
    inside = columns.sum(0).numpy()
    assert (surface.normal(z, inside) < 1e-9 * np.linalg.norm(inside, axis=1)).all()


def test_results_are_float64_and_blocks_do_not_matter(
    network: GeometricAutoencoder, z: np.ndarray, monkeypatch
) -> None:
    surface = Surface(network)

    def everything() -> list[np.ndarray]:
        return [
            surface.decode(z),
            surface.metric(z),
            *surface.distortion(z),
            *surface.indicatrix(z),
            *surface.pushforward(z),
            surface.on_surface(z),
            surface.normal(z, np.ones((len(z), 60))),
            surface.nonlinearity(z, 5),
        ]

    whole = everything()
    monkeypatch.setattr("scgeoae.core.rows.BLOCK_ENTRIES", 400)
    for got, expected in zip(everything(), whole, strict=True):
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)
    log_det, g = surface.distortion(z)[0], surface.metric(z)
    np.testing.assert_allclose(log_det, 0.5 * np.linalg.slogdet(g)[1], rtol=1e-9)


def test_no_points_and_no_finite_derivative(network: GeometricAutoencoder) -> None:
    surface, none = Surface(network), np.zeros((0, 2))
    assert surface.decode(none).shape == (0, 60)
    assert surface.metric(none).shape == (0, 2, 2)
    assert surface.nonlinearity(none, 1).shape == (0,)
    assert surface.on_surface(none).shape == (0, 16)
    assert surface.pushforward(none)[1].shape == (2, 0, 16)
    assert surface.normal(none, np.zeros((0, 60))).shape == (0,)
    network.decoder.first.bias.data.fill_(np.nan)
    with pytest.raises(ValueError, match="no finite derivative"):
        Surface(network).distortion(np.zeros((1, 2)))


def test_later_changes_of_the_model_do_not_show(network: GeometricAutoencoder, z: np.ndarray) -> None:
    surface = Surface(network)
    before = surface.decode(z)
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
    network.observation.mean.zero_()
    np.testing.assert_array_equal(surface.decode(z), before)
