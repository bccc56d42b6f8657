"""Closed forms, known surfaces and independent implementations of the decoder's geometry."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scgeoae.core import geometry
from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.regularizers import REGULARIZERS, weighted_sum


def tangents_of(chart, z: torch.Tensor) -> torch.Tensor:
    """Columns of the Jacobian of ``chart``, (d, n, D), by torch's own forward mode."""
    return torch.func.vmap(torch.func.jacfwd(chart))(z).permute(2, 0, 1)


def random_tangents(seed: int, d: int = 2, n: int = 7, n_features: int = 5) -> torch.Tensor:
    return torch.randn(d, n, n_features, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def regularizer(name: str, tangents: torch.Tensor) -> torch.Tensor:
    return weighted_sum({name: 1.0}, tangents)


def anisotropy(tangents: torch.Tensor) -> torch.Tensor:
    return geometry.distortion(tangents)[1]


def sphere(z: torch.Tensor) -> torch.Tensor:
    longitude, latitude = z
    return torch.stack([longitude.cos() * latitude.cos(), longitude.sin() * latitude.cos(), latitude.sin()])


def paraboloid(z: torch.Tensor) -> torch.Tensor:
    return torch.stack([z[0], z[1], z.square().sum()])


def test_sphere_chart() -> None:
    z = torch.tensor([[0.3, 0.0], [1.0, 0.7], [-2.0, -1.2]], dtype=torch.float64)
    tangents = tangents_of(sphere, z)
    cosine = z[:, 1].cos()
    torch.testing.assert_close(geometry.log_det(tangents), cosine.log())
    torch.testing.assert_close(anisotropy(tangents), 1 / cosine)
    expected = torch.diag_embed(torch.stack([cosine.square(), torch.ones(3, dtype=torch.float64)], 1))
    torch.testing.assert_close(geometry.metric(tangents), expected)


def test_paraboloid_chart() -> None:
    z = torch.tensor([[0.0, 0.0], [0.5, 0.2], [-1.0, 2.0]], dtype=torch.float64)
    root = (1 + 4 * z.square().sum(1)).sqrt()
    tangents = tangents_of(paraboloid, z)
    torch.testing.assert_close(geometry.log_det(tangents), root.log())
    torch.testing.assert_close(anisotropy(tangents), root)


@pytest.mark.parametrize("d", [1, 2, 3, 6])
def test_gram_schmidt_agrees_with_qr(d: int) -> None:
    tangents = random_tangents(d, d=d, n_features=9)
    directions, triangle = geometry.gram_schmidt(tangents)
    q, r = torch.linalg.qr(tangents.permute(1, 2, 0))
    sign = r.diagonal(dim1=1, dim2=2).sign()
    torch.testing.assert_close(triangle, r * sign[:, :, None])
    torch.testing.assert_close(directions.permute(1, 2, 0), q * sign[:, None, :])


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_gradient_of_log_det_is_the_pseudoinverse(d: int) -> None:
    tangents = random_tangents(d, d=d).requires_grad_()
    assert torch.autograd.gradcheck(geometry.log_det, tangents)
    geometry.log_det(tangents).sum().backward()
    torch.testing.assert_close(tangents.grad.transpose(0, 1), torch.linalg.pinv(tangents.detach().permute(1, 2, 0)))


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4])
@pytest.mark.parametrize("n_features", [3, 50, 2000])
def test_log_det_in_float32_at_high_condition(condition: float, n_features: int) -> None:
    generator = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(200, n_features, 2, dtype=torch.float64, generator=generator))
    turn, _ = torch.linalg.qr(torch.randn(200, 2, 2, dtype=torch.float64, generator=generator))
    sigma = torch.tensor([1.0, 1 / condition], dtype=torch.float64)
    single = ((basis * sigma) @ turn).float().permute(2, 0, 1)
    exact = torch.linalg.svdvals(single.double().permute(1, 2, 0)).log().sum(1)  # of the rounded matrix
    assert (geometry.log_det(single).double() - exact).abs().max() < 1e-3
    # the determinant of the product loses this accuracy
    if condition == 1e4 and n_features > 3:
        naive = 0.5 * torch.linalg.slogdet(geometry.metric(single)).logabsdet.double()
        assert (naive - exact).abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("exponent", [0.3, 0.55, 0.8, 0.99])
def test_tangents_whose_squares_underflow(dtype: torch.dtype, exponent: float) -> None:
    """The Jacobian counts as singular: its log determinant is near the lower bound, and not infinite."""
    limits = torch.finfo(dtype)
    tangents = limits.tiny**exponent * random_tangents(0, d=2).to(dtype)
    directions, _ = geometry.gram_schmidt(tangents)
    assert (torch.linalg.vector_norm(directions, dim=2) < 1 + 8 * limits.eps).all()
    got = geometry.log_det(tangents).double()
    lowest = np.log(limits.tiny)  # each of the two diagonal entries counts as the root of the smallest number or more
    assert got.min() > lowest - 1e-3
    assert got.max() < max(lowest, 2 * exponent * lowest) + 8


@pytest.mark.parametrize("name", REGULARIZERS)
@pytest.mark.parametrize("kind", ["zero", "parallel", "one zero column", "repeated"])
def test_gradients_are_finite_at_singular_jacobians(name: str, kind: str) -> None:
    tangents = random_tangents(0, n=4).float()
    if kind == "zero":
        tangents[:] = 0
    elif kind == "parallel":
        tangents[1, 0] = tangents[0, 0]
    elif kind == "one zero column":
        tangents[0, 2] = 0
    else:
        tangents[:] = tangents[:, :1]
    tangents.requires_grad_()
    value = regularizer(name, tangents)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(tangents.grad).all()


@pytest.mark.parametrize("hidden_dims", [(), (7,), (9, 8, 7)])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_pushforward_agrees_with_jacfwd(hidden_dims: tuple[int, ...], d: int) -> None:
    generator = torch.Generator().manual_seed(1)
    model = GeometricAutoencoder(5, d, hidden_dims=hidden_dims, generator=generator).double()
    model.observation.scale.fill_(3.0)
    z = torch.randn(6, d, dtype=torch.float64, generator=generator)
    value, tangents = model.pushforward(z)
    torch.testing.assert_close(value, model.decode(z))
    torch.testing.assert_close(tangents, tangents_of(lambda point: model.decode(point[None])[0], z))


def test_gradient_through_the_tangents_agrees_with_that_of_jacfwd() -> None:
    generator = torch.Generator().manual_seed(2)
    model = GeometricAutoencoder(5, hidden_dims=(9, 8, 7), generator=generator).double()
    z = torch.randn(6, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    weights = {"area": 1.0, "isometry": 0.5, "conformal": 0.2}
    inputs = [z, *model.decoder.parameters()]

    value, tangents = model.decoder.pushforward(z, 4)
    ours = torch.autograd.grad(value.square().mean() + weighted_sum(weights, tangents), inputs)
    plain = tangents_of(lambda point: model.decoder(point[None])[0], z[:4])
    theirs = torch.autograd.grad(model.decoder(z).square().mean() + weighted_sum(weights, plain), inputs)
    for got, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, expected)


def test_pushforward_of_values_alone() -> None:
    model = GeometricAutoencoder(5, hidden_dims=(8, 8), generator=torch.Generator().manual_seed(0))
    z = torch.randn(6, 2, generator=torch.Generator().manual_seed(1), requires_grad=True)
    values, tangents = model.decoder.pushforward(z, 0)
    assert tangents.shape == (2, 0, 5)
    torch.testing.assert_close(values, model.decoder(z))
    (gradient,) = torch.autograd.grad(values.sum() + tangents.sum(), z)
    torch.testing.assert_close(gradient, torch.autograd.grad(model.decoder(z).sum(), z)[0])


def test_log_det_works_in_function_transforms() -> None:
    """`torch.func.grad` over a batch by `vmap`, against the gradient of each row by itself."""
    tangents = torch.randn(4, 2, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    got = torch.func.vmap(torch.func.grad(lambda t: geometry.log_det(t).sum()))(tangents)
    plain = tangents.clone().requires_grad_()
    sum(geometry.distortion(batch)[0].sum() for batch in plain).backward()
    torch.testing.assert_close(got, plain.grad)


def test_finite_differences() -> None:
    model = GeometricAutoencoder(4, hidden_dims=(6, 6), generator=torch.Generator().manual_seed(3))
    model = model.double()
    z = torch.tensor([[0.2, -0.4], [1.0, 0.5]], dtype=torch.float64)
    _, tangents = model.pushforward(z)
    for i in range(2):
        step = torch.zeros(2, dtype=torch.float64)
        step[i] = 1e-5
        difference = (model.decode(z + step) - model.decode(z - step)) / 2e-5
        torch.testing.assert_close(tangents[i], difference, rtol=1e-7, atol=1e-8)


def test_log_det_through_a_float32_network_of_high_condition() -> None:
    """Within 5e-3 of float64 where the decoder squeezes one direction ten-thousandfold."""
    model = GeometricAutoencoder(50, hidden_dims=(64, 64, 64), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        model.decoder.first.weight[:, 1] = model.decoder.first.weight[:, 0] + 1e-4 * model.decoder.first.weight[:, 1]
    z = torch.randn(100, 2, generator=torch.Generator().manual_seed(5))
    single = geometry.log_det(model.pushforward(z)[1])
    _, tangents = model.double().pushforward(z.double())
    assert anisotropy(tangents).median() > 5e3
    assert (single.double() - geometry.log_det(tangents)).abs().median() < 5e-3


def test_linear_decoder() -> None:
    model = GeometricAutoencoder(6, 3, hidden_dims=(), generator=torch.Generator().manual_seed(0)).double()
    model.observation.scale.fill_(2.0)
    w = model.decoder.last.weight * 2  # (6, 3)
    _, tangents = model.pushforward(torch.zeros(4, 3, dtype=torch.float64))
    torch.testing.assert_close(geometry.metric(tangents), (w.t() @ w).expand(4, 3, 3))
    largest, _, smallest = torch.linalg.svdvals(w)
    torch.testing.assert_close(anisotropy(tangents), (largest / smallest).expand(4))


def test_indicatrix_solves_its_equation() -> None:
    g = geometry.metric(random_tangents(0))
    lengths, axes = geometry.indicatrix(g, 1.5)
    for i in range(2):
        v = axes[:, :, i] * lengths[:, i, None]
        torch.testing.assert_close(torch.einsum("ni,nij,nj->n", v, g, v), torch.full((7,), 2.25, dtype=torch.float64))
    assert (lengths[:, 0] >= lengths[:, 1]).all()
    torch.testing.assert_close(lengths[:, 0] / lengths[:, 1], anisotropy(random_tangents(0)))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), d=st.integers(1, 4), factor=st.floats(1e-3, 1e3))
def test_invariances(seed: int, d: int, factor: float) -> None:
    tangents = random_tangents(seed, d=d)
    turn = torch.linalg.qr(random_tangents(seed + 1, d=5, n=1)[:, 0])[0]  # (5, 5)
    torch.testing.assert_close(geometry.metric(tangents @ turn), geometry.metric(tangents))
    # scaling the map by c divides every tangent by c
    log_det, scaled = geometry.log_det(tangents), geometry.log_det(tangents / factor)
    torch.testing.assert_close(scaled, log_det - d * np.log(factor))
    torch.testing.assert_close(anisotropy(tangents / factor), anisotropy(tangents))
    for name in REGULARIZERS:
        torch.testing.assert_close(regularizer(name, tangents / factor), regularizer(name, tangents), msg=name)


def test_regularizers_vanish_at_their_ideals() -> None:
    frame = torch.linalg.qr(random_tangents(0, d=2, n=6).permute(1, 2, 0))[0].permute(2, 0, 1)  # orthonormal
    stretch = torch.linspace(0.5, 3, 6, dtype=torch.float64)[:, None]
    shear = torch.stack([frame[0] * stretch, frame[1] / stretch])
    zero = torch.zeros((), dtype=torch.float64)
    for name, ideal in (("area", shear), ("isometry", 2.5 * frame), ("conformal", stretch * frame)):
        torch.testing.assert_close(regularizer(name, ideal), zero, msg=name)
    assert regularizer("area", stretch * frame) > 0.1
    assert regularizer("isometry", stretch * frame) > 0.1
    assert regularizer("conformal", shear) > 0.1
