"""The course of a training: the schedule, which weights are kept, when it stops."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
import torch
from helpers import SPEC, on_host, paraboloid

from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.loop import (
    EVERY,
    MAX_STEPS,
    MIN_STEPS,
    TOLERANCE,
    Best,
    History,
    Record,
    newest,
    pays,
    schedule,
    train,
    weights_of,
)
from scgeoae.core.step import Sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from scgeoae.core.spec import Spec

Weights = dict[str, torch.Tensor]


class Training(NamedTuple):
    """The model that is trained, the cells that are held out, and its weights at each validation, not averaged."""

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
    assert curves["step"] == list(range(EVERY, 501, EVERY))


def test_averaged_weights_of_the_best_validation_are_kept() -> None:
    model, history, x, _ = trained()
    kept = latest_good(losses_of(history))
    assert history.kept == history.records[kept]
    assert history.kept_at == history.kept.step == EVERY * (kept + 1)
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
    losses = losses_of(trained(replace(SPEC, patience=3, learning_rate=0.3, n_steps=5_000)).history)
    assert len(losses) < 200
    assert len(losses) == losses.argmin() + 1 + 3


def test_non_finite_loss_names_the_step() -> None:
    with pytest.raises(FloatingPointError, match="step 50,"):
        trained(replace(SPEC, learning_rate=1e20))


def test_one_non_finite_loss_is_survived() -> None:
    """Training goes on from the last good weights at a lower rate."""

    def spoil(step: int, model: GeometricAutoencoder) -> None:
        if step == 100:
            with torch.no_grad():
                model.decoder.last.bias.fill_(torch.inf)

    model, history, _, weights = trained(at=spoil)
    assert history.retried_at == 125
    curves = history.curves
    assert curves["step"][-1] == 200
    assert np.isfinite(curves["validation_reconstruction"]).all()
    assert curves["learning_rate"][5] < 0.1 * curves["learning_rate"][4]
    assert curves["validation_reconstruction"][-1] <= 1.05 * curves["validation_reconstruction"][3]
    assert all(torch.isfinite(value).all() for value in [*weights[125].values(), *weights_of(model).values()])


def test_interruption_keeps_the_best_weights() -> None:
    def interrupt(step: int, _: GeometricAutoencoder) -> None:
        if step >= 100:
            raise KeyboardInterrupt

    model, history, x, _ = trained(at=interrupt)
    assert history.interrupted
    assert history.curves["step"] == [25, 50, 75, 100]
    assert history.kept == history.records[latest_good(losses_of(history))]
    with torch.no_grad():
        left = (model.decoder(model.place(x)) - x).square().mean()
    assert history.kept.validation_reconstruction == pytest.approx(left.item(), rel=1e-6)


def test_without_held_out_cells_the_last_weights_are_kept() -> None:
    """There is nothing to choose by, and nothing to stop for."""
    history = trained(replace(SPEC, patience=1), n=4).history
    assert len(history.records) == 200 // EVERY
    assert np.isnan(history.curves["validation_reconstruction"]).all()
    assert history.kept_at == 200


def test_schedule_rises_and_falls() -> None:
    """It is the same whenever it ends."""
    shares = [schedule(step) for step in range(1, 801)]
    np.testing.assert_allclose(shares[:10], np.arange(1, 11) / 10)
    assert set(shares[9:50]) == {1.0}
    np.testing.assert_allclose(np.square(shares[49:]) * np.arange(50, 801), 50)


def test_weights_are_averaged_by_a_power_of_the_steps() -> None:
    """Of steps `t` to the power 8 each: in closed form ``1 / (1 + 9 / n)`` of the last one, for weights ``w_t = t``."""
    average, n = 0.0, 400
    for step in range(1, n + 1):
        average += newest(step) * (step - average)
    assert average == pytest.approx(0.9 * n, rel=0.01)  # the integral of t^9 over that of t^8


def course(
    contrast: Callable[[float], float], last: int, reconstruction: Callable[[float], float] | None = None
) -> History:
    """A course with this contrast of held-out cells, and this reconstruction, by the step."""
    return History(
        [
            Record(t, 0.0, 0.0, 1.0, reconstruction(t) if reconstruction else 1.0, 0.0, contrast(t))
            for t in range(EVERY, last + 1, EVERY)
        ]
    )


def test_steps_pay_while_held_out_cells_are_told_apart_better() -> None:
    """By a hundredth when the steps double; without a contrast, while their reconstruction falls."""
    assert pays(course(lambda t: 4 * t**-0.1, 400))
    assert not pays(course(lambda t: 4 * t**-0.01, 400))
    assert pays(course(lambda t: 3 + 20 / t, 400))
    assert not pays(course(lambda t: 3 + 20 / t, 1_200))
    nothing = float("nan")
    assert pays(course(lambda _: nothing, 400, lambda t: t**-0.1))
    assert not pays(course(lambda _: nothing, 400, lambda _: 0.5))


@pytest.mark.parametrize(
    ("spec", "n", "steps"),
    [
        ({"weights": {"contrast": 0.05}, "noise": 1.0}, 400, None),
        ({"weights": {"contrast": 0.05}, "noise": 1.0, "n_steps": 350}, 400, 350),
        ({}, 4, 600),
    ],
)
def test_held_out_cells_decide_the_steps(spec: dict, n: int, steps: int | None) -> None:
    """Without any, there is nothing to decide by."""
    history = trained(replace(SPEC, **{"n_steps": None, "hidden_dims": (8,), **spec}), n=n).history
    taken = history.records[-1].step
    if steps is None:
        assert MIN_STEPS <= taken <= MAX_STEPS
        ends = [History(history.records[:i]) for i in range(MIN_STEPS // EVERY, len(history.records) + 1)]
        assert all(pays(end) for end in ends[:-1])
        assert taken == MAX_STEPS or not pays(ends[-1])
    else:
        assert taken == steps


@pytest.mark.parametrize(("size", "expected"), [(64, 1), (25_000, 3)])
def test_small_steps_take_one_thread(size: int, expected: int) -> None:
    torch.set_num_threads(3)
    seen = []
    trained(replace(SPEC, batch_size=size, n_steps=2), n=32_000, at=lambda *_: seen.append(torch.get_num_threads()))
    assert seen == [expected]
    assert torch.get_num_threads() == 3


def test_threads_are_restored_after_an_error() -> None:
    torch.set_num_threads(3)
    with pytest.raises(ZeroDivisionError):
        trained(at=lambda *_: 1 / (torch.get_num_threads() - 1))
    assert torch.get_num_threads() == 3
