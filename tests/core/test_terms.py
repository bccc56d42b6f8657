"""The terms of the objective."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from helpers import SPEC, on_host, paraboloid

from scgeoae.core import geometry
from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.fit import fit
from scgeoae.core.terms import TERMS, Batch, Objective, Term, cross_entropy, distance, landmark, nearest

if TYPE_CHECKING:
    from scgeoae.core.spec import Spec

SPEC = replace(SPEC, weights={"regularizer": 0.1, "contrast": 0.5}, regularizer_batch=16, interpolation=0.25)


def loss(spec: Spec) -> tuple[float, list[float], Batch, GeometricAutoencoder]:
    """Of 40 cells that an untrained model places; the regularizer is that of 12 of them and of 4 points between."""
    generator = torch.Generator().manual_seed(0)
    model = GeometricAutoencoder(5, hidden_dims=(8, 8), generator=generator)
    x = torch.randn(40, 5, generator=generator)
    z = model.place(x)
    tangents = (12, z[:4] + 0.1) if spec.weights.get("regularizer") else (0, None)
    batch = Batch.decoded(model, x, z, *tangents)
    total, measured = Objective(spec, x.device)(batch)
    return total.item(), measured.tolist(), batch, model


def test_objective_is_the_weighted_sum_of_its_terms() -> None:
    total, (reconstruction, regularizer), batch, model = loss(SPEC)
    residual = model.decode(model.encode(batch.x)) - batch.x
    assert reconstruction == pytest.approx(residual.square().mean().item())
    _, tangents = model.pushforward(torch.cat([batch.z[:4] + 0.1, batch.z[:12]]))
    assert batch.tangents.shape[1] == 16
    torch.testing.assert_close(geometry.log_det(batch.tangents), geometry.log_det(tangents))
    assert regularizer == pytest.approx(geometry.log_det(batch.tangents).var().item())
    contrast = cross_entropy(batch.z, nearest(batch.x), torch.tensor(2.0)).item()
    assert total == pytest.approx(reconstruction + 0.1 * regularizer + 0.5 * contrast, rel=1e-6)


def test_terms_without_weight_are_left_out() -> None:
    total, (reconstruction, regularizer), batch, _ = loss(replace(SPEC, weights={"regularizer": 0, "contrast": 0}))
    assert total == reconstruction
    assert regularizer == 0
    assert batch.tangents is None
    with pytest.raises(ValueError, match="without tangents"):
        Objective(SPEC, torch.device("cpu")).measure(batch)


def test_contrast_does_not_depend_on_the_unit_and_prefers_neighbours() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(25, 2, generator=generator)
    z = torch.cat([z, z + 0.01 * torch.randn(25, 2, generator=generator)])
    scale, partners = torch.tensor(1.0), torch.arange(25, 50)
    near, far = cross_entropy(z, partners, scale), cross_entropy(z, partners.roll(1), scale)
    assert near < far
    torch.testing.assert_close(cross_entropy(100 * z - 300, partners, scale), near)
    # by hand: softmax of the Cauchy kernel over the other cells
    spread = np.exp(1.0) / (z - z.mean(0)).std().item()
    kernel = 1 / (1 + spread**2 * ((z[:25, None] - z[None]) ** 2).sum(2))
    kernel[torch.arange(25), torch.arange(25)] = 0
    torch.testing.assert_close(near, -(kernel[torch.arange(25), partners] / kernel.sum(1)).log().mean())


def test_nearest_is_that_of_all_distances() -> None:
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    distances = torch.cdist(x, x).fill_diagonal_(torch.inf)
    assert torch.equal(nearest(x, 10), distances.argmin(1)[:10])
    assert torch.equal(nearest(x[:2]), torch.tensor([1, 0]))


def test_gradient_of_the_contrast() -> None:
    """Against autograd, in float64."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(12, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    partners = torch.tensor([5, 0, 7, 11])
    got = torch.autograd.grad(cross_entropy(z, partners, scale), (z, scale))
    y = (z - z.mean(0).detach()) * scale.exp() / (z - z.mean(0)).detach().std()
    kernel = 1 / (1 + (y[:4, None] - y[None]).square().sum(2))
    kernel = torch.where(torch.eye(4, 12, dtype=torch.bool), 0, kernel)
    by_hand = (kernel.sum(1) / kernel[torch.arange(4), partners]).log().mean()
    for value, expected in zip(got, torch.autograd.grad(by_hand, (z, scale)), strict=True):
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("log_scale", [-50.0, 0.0, 20.0])
def test_contrast_stays_finite(log_scale: float) -> None:
    """Cells at one place, far away, and a kernel much too narrow or wide."""
    z = torch.cat([torch.zeros(5, 2), torch.randn(5, 2, generator=torch.Generator().manual_seed(0))])
    z[9] = 1e4
    z.requires_grad_()
    scale = torch.tensor(log_scale, requires_grad=True)
    value = cross_entropy(z, torch.tensor([1, 9, 5]), scale)
    value.backward()
    assert all(torch.isfinite(each).all() for each in (value, z.grad, scale.grad))


def test_landmarks_pull_only_the_cells_that_have_one() -> None:
    spec = replace(SPEC, weights={"landmark": 2.0})
    _, _, batch, model = loss(spec)
    places = batch.z.detach() + 1
    places[::2] = torch.nan
    z = batch.z.detach().requires_grad_()
    with_places = replace(batch, z=z, landmarks=places)
    assert landmark(with_places).item() == pytest.approx(0.5)  # half of the cells are 1 away in both dimensions
    landmark(with_places).backward()
    assert (z.grad[::2] == 0).all()
    assert (z.grad[1::2] < 0).all()
    total, _ = Objective(spec, z.device)(with_places)
    residual = (model.decode(batch.z) - batch.x).square().mean()
    assert total.item() == pytest.approx(residual.item() + 1, rel=1e-5)
    assert landmark(batch).item() == 0


def test_a_new_term_is_one_function_and_one_entry(monkeypatch) -> None:
    """Here one that flattens the map, with a learned strength."""
    seen: list[tuple[torch.Size, torch.Tensor]] = []

    def flat(batch: Batch, _: Spec, strength: torch.Tensor) -> torch.Tensor:
        seen.append((batch.x.shape, strength))
        return (1 + strength.square()) * batch.z[:, 1].var() / batch.z[:, 0].var()

    def flatness(weight: float) -> float:
        fitted = fit(on_host(paraboloid(200)), replace(SPEC, weights={"flat": weight}, n_steps=100), seed=0)
        return float(np.divide(*fitted.cells.z.std(0)))

    monkeypatch.setitem(TERMS, "flat", Term(flat, initial=2.0))
    free = flatness(0)
    assert not seen  # a term without weight is not computed
    assert flatness(10) > 5 * free
    shape, strength = seen[0]
    assert shape == (64, 5)
    assert 0 < strength.item() < 2  # it is learned: a smaller one lowers the loss


def test_distance_is_the_squared_stress_of_its_pairs() -> None:
    """0 for a similarity, and as the measure of the same name by hand."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 5, generator=generator, dtype=torch.float64)
    similar = Batch(None, x, 3 * x.flip(1) + 1, x)
    assert distance(similar).item() == pytest.approx(0, abs=1e-12)
    batch = Batch(None, x, x[:, :2] ** 3, x)
    d_x, d_z = ((values[:20] - values[20:]).norm(dim=1).numpy() for values in (batch.x, batch.z))
    scale = d_x @ d_z / (d_z @ d_z)
    assert distance(batch).item() == pytest.approx(((d_x - scale * d_z) ** 2).sum() / (d_x @ d_x))
    z = torch.zeros(6, 2, requires_grad=True)
    distance(Batch(None, x[:6].float(), z, x[:6].float())).backward()
    assert torch.isfinite(z.grad).all()
