"""One step: which cells and points it uses, and that it follows the gradient of the objective."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers import SPEC, paraboloid

from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.regularizers import weighted_sum
from scgeoae.core.step import Drawn, Sample, State, draw, interpolates, place, step

X = paraboloid(64)


@pytest.fixture
def model() -> GeometricAutoencoder:
    return GeometricAutoencoder(5, hidden_dims=SPEC.hidden_dims, generator=torch.Generator().manual_seed(0))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_interpolates_lie_between_cells() -> None:
    z = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    shares = torch.rand(15, 1, generator=seeded())
    points = interpolates(z, shares)
    assert 0 <= shares.min() < 0.3 < 0.7 < shares.max() <= 1
    torch.testing.assert_close(points, (1 - shares) * z[:15] + shares * z.flip(0)[:15])


@pytest.mark.parametrize(
    ("spec", "size", "n_between"),
    [
        (SPEC, 64, 16),  # half of 32 points
        (SPEC, 10, 5),  # of fewer cells than points
        (replace(SPEC, interpolation=0.0), 64, None),
        (replace(SPEC, weights={}), 64, None),
    ],
)
def test_random_numbers(spec: object, size: int, n_between: int | None, model: GeometricAutoencoder) -> None:
    noise, shares = draw(spec, size, model, seeded())
    assert noise.shape == (size, 5)
    assert noise.std().item() == pytest.approx(0.1, rel=0.3)
    assert (shares is None) if n_between is None else shares.shape == (n_between, 1)


def test_a_given_map_has_no_noise() -> None:
    decoder = GeometricAutoencoder(5, hidden_dims=(8,), with_encoder=False)
    assert draw(replace(SPEC, weights={}), 64, decoder, seeded()) == (None, None)
    z = torch.randn(64, 2)
    assert place(decoder, Sample(X, z)) is z


def test_noise_is_on_the_input_and_not_on_the_target(model: GeometricAutoencoder) -> None:
    noise = torch.randn(64, 5, generator=seeded())
    with torch.no_grad():
        expected = (model.decoder(model.encoder(X + noise)) - X).square().mean()
    measured = step(State(model, replace(SPEC, weights={})), Sample(X), Drawn(noise, None), 1.0)
    torch.testing.assert_close(measured, torch.stack([expected, torch.zeros(())]))


def test_gradient_is_that_of_the_objective(model: GeometricAutoencoder) -> None:
    """By autograd of the Jacobian of 16 points between cells and of 16 cells."""
    shares = torch.rand(16, 1, generator=seeded())
    z = model.encoder(X)
    points = torch.cat([torch.lerp(z[:16], z.flip(0)[:16], shares), z[:16]])
    columns = torch.func.vmap(torch.func.jacrev(model.decoder))(points)  # (32, 5, 2)
    regularizer = weighted_sum({"area": 1.0}, columns.permute(2, 0, 1))
    reconstruction = (model.decoder(z) - X).square().mean()
    parameters = list(model.parameters())
    loss = reconstruction + 0.1 * regularizer
    gradients = {id(p): g for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True)}

    state = State(model, replace(SPEC, noise=0.0))
    measured = step(state, Sample(X), Drawn(None, shares), 1.0)
    torch.testing.assert_close(measured, torch.stack([reconstruction, regularizer]).detach())
    expected = torch.cat([gradients[id(parameter)].flatten() for parameter in state.optimizer.parameters])
    torch.testing.assert_close(state.optimizer.gradient, expected, rtol=1e-3, atol=1e-6)


def test_a_step_against_the_gradient_lowers_the_loss(model: GeometricAutoencoder) -> None:
    state = State(model, replace(SPEC, weights={"landmark": 1.0}))
    cells = Sample(X, landmarks=X[:, :2] + 3)
    losses = [step(state, cells, Drawn(None, None), 0.2)[0].item() for _ in range(100)]
    assert losses[-1] < 0.9 * losses[0]
    with torch.no_grad():
        away = (model.encoder(X) - cells.landmarks).square().mean().item()
    assert away < cells.landmarks.square().mean().item() / 2
