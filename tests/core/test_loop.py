"""The course of a training: the schedule, which weights are kept, when it stops."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
import torch
from helpers import SPEC, on_host, paraboloid

from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.loop import TOLERANCE, Best, History, schedule, train, weights_of
from scgeoae.core.step import Sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from scgeoae.core.spec import Spec

Weights = dict[str, torch.Tensor]


class Training(NamedTuple):
    """The model that is trained, the cells that are held out, and the weights at each validation."""

    model: GeometricAutoencoder
    history: History
    held_out: torch.Tensor
    weights: dict[int, Weights]


def trained(
    spec: Spec = SPEC, n: int = 400, at: Callable[[int, GeometricAutoencoder], object] = lambda *_: None
) -> Training:
    """Train on a paraboloid, of which the last fifth is held out; call ``at`` after each validation."""
    x = paraboloid(n)
    generator = torch.Generator().manual_seed(0)
    model = GeometricAutoencoder(5, hidden_dims=spec.hidden_dims, generator=generator)
    model.observation.fit(on_host(x))
    x = model.standardize(x)
    n_trained, weights = n - n // 5, {0: weights_of(model)}

    def after_validation(step: int, _: int) -> None:
        weights[step] = weights_of(model)
        at(step, model)

    history = train(
        model,
        spec,
        lambda index: Sample(x[index]),
        torch.arange(n_trained),
        Sample(x[n_trained:]),
        generator,
        after_validation=after_validation,
    )
    return Training(model, history, x[n_trained:], weights)


def latest_good(losses: np.ndarray) -> int:
    """Position of the weights to keep, of their validation losses."""
    lowest = np.minimum.accumulate(losses)
    return int(np.flatnonzero(losses <= (1 + TOLERANCE) * lowest)[-1])


def losses_of(history: History) -> np.ndarray:
    curves = history.curves
    return np.add(curves["validation_reconstruction"], 0.1 * np.array(curves["validation_regularizer"]))


def assert_equal(one: Weights, other: Weights) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_learns_a_paraboloid() -> None:
    curves = trained(replace(SPEC, n_steps=500)).history.curves
    assert curves["reconstruction"][-1] < 0.05
    assert min(curves["validation_reconstruction"]) < 0.05
    assert curves["regularizer"][-1] < 0.1
    assert curves["step"] == list(range(10, 501, 10))


def test_best_weights_are_kept() -> None:
    model, history, x, weights = trained()
    kept = latest_good(losses_of(history))
    assert history.kept == history.records[kept]
    assert history.kept_at == history.kept.step == 4 * (kept + 1)
    assert_equal(weights_of(model), weights[history.kept_at])
    with torch.no_grad():
        left = (model.decoder(model.place(x)) - x).square().mean()
    assert history.kept.validation_reconstruction == pytest.approx(left.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("later", "kept"),
    [
        (1.5, 0),
        (1.025, 4),  # above the lowest by less than the tolerance
        (np.nan, 0),
    ],
)
def test_weights_of_a_worse_validation_are_dropped(later: float, kept: int) -> None:
    """Also where none of the later losses is a new lowest, and where they are not finite."""
    model = GeometricAutoencoder(3, hidden_dims=(4,))
    best = Best(model)
    for i, loss in enumerate([1.0, *[later] * 4]):
        with torch.no_grad():
            model.decoder.last.bias.fill_(i)
        best.offer(model, i, loss)
        assert best.n_since_lowest == i
    weights, step = best.kept
    assert step == kept
    assert (weights["decoder.layers.1.bias"] == kept).all()


def test_patience_stops_early() -> None:
    """After the lowest validation loss there are `patience` more."""
    losses = losses_of(trained(replace(SPEC, patience=3, learning_rate=0.3)).history)
    assert 4 < len(losses) < 50
    assert len(losses) == losses.argmin() + 1 + 3


def test_non_finite_loss_names_the_step() -> None:
    with pytest.raises(FloatingPointError, match="step 8 of 200"):
        trained(replace(SPEC, learning_rate=1e20))


def test_one_non_finite_loss_is_survived() -> None:
    """Training goes on from the last good weights at a lower rate."""

    def spoil(step: int, model: GeometricAutoencoder) -> None:
        if step == 100:
            with torch.no_grad():
                model.decoder.last.bias.fill_(torch.inf)

    _, history, _, weights = trained(at=spoil)
    assert history.retried_at == 104
    assert_equal(weights[104], weights[4 * (latest_good(losses_of(history)[:25]) + 1)])
    curves = history.curves
    assert curves["step"][-1] == 200
    assert np.isfinite(curves["validation_reconstruction"]).all()
    assert curves["learning_rate"][26] < 0.11 * curves["learning_rate"][24]
    assert curves["validation_reconstruction"][-1] <= 1.05 * curves["validation_reconstruction"][24]


def test_interruption_keeps_the_best_weights() -> None:
    def interrupt(step: int, _: GeometricAutoencoder) -> None:
        if step >= 40:
            raise KeyboardInterrupt

    model, history, _, weights = trained(at=interrupt)
    assert history.interrupted
    assert history.curves["step"] == list(range(4, 41, 4))
    assert history.kept == history.records[latest_good(losses_of(history))]
    assert_equal(weights_of(model), weights[history.kept_at])


def test_without_held_out_cells_the_last_weights_are_kept() -> None:
    """There is nothing to choose by, and nothing to stop for."""
    model, history, _, weights = trained(replace(SPEC, patience=1), n=4)
    assert len(history.records) == 50
    assert np.isnan(history.curves["validation_reconstruction"]).all()
    assert history.kept_at == 200
    assert_equal(weights_of(model), weights[200])


def test_schedule_rises_and_falls() -> None:
    shares = [schedule(step, 200) for step in range(1, 201)]
    assert shares[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(np.diff(shares[3:]), -1 / 197)  # a straight line
    assert 0 < shares[-1] < 0.01


@pytest.mark.parametrize(("size", "expected"), [(64, 1), (25_000, 3)])
def test_small_steps_take_one_thread(size: int, expected: int) -> None:
    torch.set_num_threads(3)
    seen = []
    trained(replace(SPEC, batch_size=size, n_steps=2), n=32_000, at=lambda *_: seen.append(torch.get_num_threads()))
    assert seen == [expected] * 2
    assert torch.get_num_threads() == 3


def test_threads_are_restored_after_an_error() -> None:
    torch.set_num_threads(3)
    with pytest.raises(ZeroDivisionError):
        trained(at=lambda *_: 1 / (torch.get_num_threads() - 1))
    assert torch.get_num_threads() == 3
