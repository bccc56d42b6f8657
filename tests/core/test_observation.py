"""The seam for what the decoder is: a model of counts that is one class and one entry."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from helpers import SPEC, on_host, paraboloid
from scipy.special import xlogy

from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.calibration import calibrate
from scgeoae.core.evaluation import map_velocity
from scgeoae.core.fit import fit
from scgeoae.core.geodesic import geodesic
from scgeoae.core.observation import OBSERVATIONS, Observation
from scgeoae.core.start import STARTS, Components, components
from scgeoae.core.surface import Surface

if TYPE_CHECKING:
    from torch import Tensor

    from scgeoae.core.fit import Fitted
    from scgeoae.core.rows import Rows
    from scgeoae.inputs import DenseRows

N, D = 1_000, 30


class Poisson(Observation):
    """Counts, of which the decoder's outputs are the log rates: the metric is the Fisher information."""

    def place(self, x: Tensor) -> Tensor:
        """Twice the square roots: their variance is about 1 whatever the rate."""
        return 2 * x.sqrt()

    def differential(self, x: Tensor, v: Tensor) -> Tensor:
        return v / x.sqrt()

    def loss(self, outputs: Tensor, x: Tensor) -> Tensor:
        """Deviance, near the squared residuals of the places: of order 1, and 0 where the rates are the counts."""
        counts = ((x * self.scale + self.mean) / 2).square()
        deviance = 2 * (outputs.exp() - counts * outputs - counts + torch.special.xlogy(counts, counts))
        return deviance.mean() / self.scale.square()

    def values(self, outputs: Tensor) -> Tensor:
        return outputs.exp()

    def on_surface(self, outputs: Tensor) -> Tensor:
        return (2 * (outputs / 2).exp() - self.mean) / self.scale

    def carry(self, outputs: Tensor, tangents: Tensor) -> Tensor:
        return tangents * (outputs / 2).exp() / self.scale


@pytest.fixture(scope="module")
def rates() -> np.ndarray:
    """True rates (N, D) of cells on a known surface, from 1 to 50."""
    rng = np.random.default_rng(0)
    u = rng.uniform(-1, 1, (N, 2))
    curved = np.column_stack([u, u**2, u[:, :1] * u[:, 1:]])  # (N, 5)
    return np.exp(2.3 + 0.6 * curved @ rng.normal(size=(5, D)))


@pytest.fixture(scope="module")
def rows(rates: np.ndarray) -> DenseRows:
    return on_host(np.random.default_rng(1).poisson(rates))


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(OBSERVATIONS, "poisson", Poisson)
        yield


@pytest.fixture(scope="module")
def fitted(rows: DenseRows) -> Fitted:
    spec = replace(SPEC, observation="poisson", hidden_dims=(32, 32), n_steps=500, batch_size=256, noise=0.3)
    return fit(rows, spec, seed=0)


@pytest.fixture(scope="module")
def surface(fitted: Fitted) -> Surface:
    return Surface(fitted.network)


@pytest.fixture(scope="module")
def z(fitted: Fitted) -> np.ndarray:
    """Places of some cells, in float64."""
    return fitted.cells.z[:40].astype(float)


def fisher(surface: Surface, z: np.ndarray, h: float = 1e-4) -> np.ndarray:
    """``J^T diag(1 / rate) J`` (n, d, d) with the Jacobian of the rates by finite differences."""
    steps = h * np.eye(z.shape[1])
    columns = np.stack([(surface.decode(z + step) - surface.decode(z - step)) / (2 * h) for step in steps])
    return np.einsum("ing,jng->nij", columns, columns / surface.decode(z))


def deviance(counts: np.ndarray, rates: np.ndarray) -> float:
    """Per cell and feature, about 1 at the true rates."""
    return float(2 * (xlogy(counts, counts) - counts * np.log(rates) - counts + rates).mean())


def root_mean_square(residual: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(residual).mean(1))


def test_the_rates_are_found(fitted: Fitted, rows: DenseRows, rates: np.ndarray) -> None:
    x = rows.block(0, N)
    counts = x.double().numpy()
    with torch.no_grad():
        decoded = fitted.network(x).double().numpy()
    constant, true, ours = (deviance(counts, r) for r in (counts.mean(0), rates, decoded))
    assert (constant - ours) / (constant - true) == pytest.approx(1, abs=0.05)
    error = np.square(2 * np.sqrt(decoded) - 2 * np.sqrt(rates)).mean()
    assert error < 0.25  # of the counts themselves it is about 1
    np.testing.assert_allclose(
        fitted.cells.error, root_mean_square(2 * np.sqrt(decoded) - 2 * np.sqrt(counts)), rtol=1e-3
    )


def test_losses_are_of_the_order_of_those_of_real_values(fitted: Fitted, rows: DenseRows) -> None:
    """So that one weight means the same: 1 is a model that knows only the mean."""
    observation, x = fitted.network.observation, rows.block(0, N)
    constant = x.mean(0).log().expand(N, -1)
    assert observation.loss(constant, observation.standardize(x)).item() == pytest.approx(1, rel=0.1)
    assert observation.loss((x + 1e-9).log(), observation.standardize(x)).item() == pytest.approx(0, abs=1e-4)


def test_the_metric_is_the_fisher_information(fitted: Fitted, surface: Surface, z: np.ndarray) -> None:
    expected = fisher(surface, z)
    np.testing.assert_allclose(surface.metric(z), expected, rtol=1e-5, atol=1e-5 * expected.max())
    values, _ = np.linalg.eigh(expected)
    np.testing.assert_allclose(surface.distortion(z)[0], np.log(values).sum(1) / 2, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(surface.distortion(z)[1], np.sqrt(values[:, 1] / values[:, 0]), rtol=1e-4)
    np.testing.assert_allclose(fitted.cells.log_det[:40], surface.distortion(z)[0], atol=1e-4)
    lengths, axes = surface.indicatrix(z)
    v = lengths[:, None] * axes  # (n, d, 2), one semi-axis per column
    np.testing.assert_allclose(np.einsum("nia,nij,nja->na", v, expected, v), 1, rtol=1e-4)


def test_the_regularizer_evens_that_metric(rows: DenseRows, fitted: Fitted) -> None:
    free = fit(rows, replace(fitted.spec, weights={}), seed=0)
    assert fitted.cells.log_det.var() < 0.1 * free.cells.log_det.var()


def test_tangents_and_float32_agree(fitted: Fitted, surface: Surface, z: np.ndarray) -> None:
    points, tangents = surface.pushforward(z)
    np.testing.assert_allclose(np.diff(points, axis=0), np.diff(2 * np.sqrt(surface.decode(z)), axis=0), atol=1e-9)
    np.testing.assert_array_equal(surface.on_surface(z), points)
    with torch.no_grad():
        values, columns = fitted.network.pushforward(torch.tensor(z, dtype=torch.float32))
    np.testing.assert_allclose(values, surface.decode(z), rtol=1e-4)
    np.testing.assert_allclose(columns, tangents, rtol=1e-3, atol=1e-4)
    with pytest.raises(TypeError, match="Poisson are not affine"):
        surface.affine()


def test_lengths_are_those_of_square_roots(fitted: Fitted, surface: Surface) -> None:
    z, region = fitted.cells.z, fitted.frame.region
    inner = z[region.contains(z)]
    ends = inner[[inner[:, 0].argmin(), inner[:, 0].argmax()]].astype(float)
    path = geodesic(surface, region, ends, n_points=400, anywhere=True)
    roots = 2 * np.sqrt(surface.decode(path.points))
    assert path.length == pytest.approx(np.linalg.norm(np.diff(roots, axis=0), axis=1).sum(), rel=1e-3)
    assert path.length >= np.linalg.norm(roots[-1] - roots[0])
    steps = np.diff(path.points, axis=0)
    middle = (path.points[1:] + path.points[:-1]) / 2
    along = np.sqrt(np.einsum("ni,nij,nj->n", steps, fisher(surface, middle), steps))
    assert path.length == pytest.approx(along.sum(), rel=1e-3)


def test_calibration_leaves_the_rates(rows: DenseRows) -> None:
    generator = torch.Generator().manual_seed(0)
    network = GeometricAutoencoder(D, hidden_dims=(16,), observation="poisson", generator=generator)
    network.observation.fit(rows)
    x = rows.block(0, N)
    before = network(x).detach()
    plot = (network.standardize(x).double() @ components(network, rows).axes).numpy()
    cells, frame = calibrate(network, rows, plot)
    assert frame.unit == 1
    torch.testing.assert_close(network(x).detach(), before, rtol=1e-4, atol=1e-5)
    assert Surface(network).distortion(cells.z)[0].mean() == pytest.approx(0, abs=1e-4)


def test_velocities_are_those_of_square_roots(fitted: Fitted, surface: Surface, z: np.ndarray) -> None:
    x = surface.decode(z).astype(np.float32).astype(float)
    v = np.random.default_rng(0).normal(size=x.shape) * x
    on_map, share = map_velocity(fitted.network, on_host(x), lambda where: v[where], D)
    network, h = deepcopy(fitted.network).double(), 1e-5
    with torch.no_grad():
        placed, ahead, behind = (network.encode(torch.from_numpy(x + step * v)).numpy() for step in (0, h, -h))
    np.testing.assert_allclose(on_map, (ahead - behind) / (2 * h), rtol=1e-4, atol=1e-4)
    moved, (_, tangents) = v / np.sqrt(x), surface.pushforward(placed)
    for i, vector in enumerate(moved):
        columns = tangents[:, i].T
        rest = vector - columns @ np.linalg.lstsq(columns, vector)[0]
        assert share[i] == pytest.approx(np.linalg.norm(rest) / np.linalg.norm(vector), rel=1e-6)


def test_a_new_start_is_one_function_and_one_entry(monkeypatch) -> None:
    """Here one that reads the cells: their mean is what the decoder says at first."""

    def at_first_cell(network: GeometricAutoencoder, rows: Rows, _: Components) -> None:
        first = network.standardize(rows.block(0, 1))[0]
        with torch.no_grad():
            network.decoder.last.weight.zero_()
            network.decoder.last.bias.copy_(first)

    monkeypatch.setitem(STARTS, "first cell", at_first_cell)
    rows = on_host(paraboloid(100))
    spec = replace(SPEC, init="first cell", n_steps=1, batch_size=100, validation_fraction=0, weights={}, noise=0)
    started = fit(rows, spec, seed=0).history.records[0].reconstruction
    x = rows.block(0, 100)
    expected = (x - x[0]).square().mean() / (x - x.mean(0)).square().mean()
    assert started == pytest.approx(expected.item(), rel=1e-5)
    assert fit(rows, replace(spec, init="random"), seed=0).history.records[0].reconstruction != started
