"""Train: draw batches, step, average the weights, validate, keep the best ones, stop when more steps do not pay."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch

from . import processes
from .batches import batches
from .step import Sample, State, draw, place, step
from .terms import Batch
from .threads import LARGE_STEP, threads_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from .autoencoder import GeometricAutoencoder
    from .spec import Spec

EVERY = 25
"""Steps from one validation to the next."""
WARM_UP, STEADY = 10, 50
"""Steps in which the learning rate rises, and after which it falls."""
AVERAGED = 8
"""Weights are averaged over about this fraction of the steps so far: the latest eighth, mostly."""
MIN_STEPS, STEPS_UNSEEN, MAX_STEPS = 300, 600, 1_200
"""Steps that are taken where held-out cells decide: at least, without any, and at most."""
PAYS = 0.01
"""More steps pay as long as twice as many lower the contrast of the held-out cells by this share of it. By counts that
the maps never saw, more copy the noise (``tests/benchmarks/quality.py --replicate``)."""
TOLERANCE = 0.05
"""Relative margin above the lowest validation loss: differences within it are noise of the held-out cells. The latest
weights within it are kept, because they were trained at the lowest rate: they explain other held-out cells equally well
and training cells better."""
RETRY_SHARE = 0.1
"""Share of the learning rate at which training continues after a loss that was not finite."""


class Record(NamedTuple):
    """One validation: mean training losses since the last one, and the losses of held-out cells, NaN without any."""

    step: int
    reconstruction: float
    regularizer: float
    learning_rate: float
    validation_reconstruction: float
    validation_regularizer: float
    validation_contrast: float


@dataclass
class History:
    """The course of a training.

    Attributes
    ----------
    records
        One a validation.
    interrupted
        Whether a Ctrl-C ended it.
    kept_at
        Step of the weights that were kept.
    retried_at
        Step at which the loss was not finite, if ever.
    """

    records: list[Record] = field(default_factory=list)
    interrupted: bool = False
    kept_at: int = 0
    retried_at: int | None = None

    @property
    def curves(self) -> dict[str, list[float]]:
        """Values of all records by name."""
        return {name: [record[i] for record in self.records] for i, name in enumerate(Record._fields)}

    @property
    def kept(self) -> Record | None:
        """Record of the weights that were kept; `None` if these are the first ones."""
        return next((record for record in self.records if record.step == self.kept_at), None)


class Best:
    """The weights to keep: the latest ones whose validation loss is within `TOLERANCE` of the lowest."""

    def __init__(self, model: GeometricAutoencoder) -> None:
        self.kept = weights_of(model), 0
        """These weights and their step, which an interruption must not part."""
        self.lowest, self.n_since_lowest = math.inf, 0

    def offer(self, model: GeometricAutoencoder, step: int, loss: float) -> None:
        """Take the weights of ``model`` if their validation ``loss`` is low enough."""
        self.n_since_lowest += 1
        if loss < self.lowest:
            self.lowest, self.n_since_lowest = loss, 0
        if loss <= (1 + TOLERANCE) * self.lowest:
            self.kept = weights_of(model), step


def weights_of(model: GeometricAutoencoder) -> dict[str, Tensor]:
    """Copy the weights and buffers."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def train(
    model: GeometricAutoencoder,
    spec: Spec,
    read: Callable[[Tensor], Sample],
    index: Tensor,
    held_out: Sample,
    generator: torch.Generator,
    *,
    chunk: int = 1,
    after_validation: Callable[[int, int], object] = lambda *_: None,
) -> History:
    """Train a model and leave its best weights in it.

    A Ctrl-C keeps the best weights so far, but ends all of several processes.

    Parameters
    ----------
    model
        Its scaling is set.
    spec
        What to train; without `n_steps`, the held-out cells say when to stop.
    read
        Reads cells by their positions.
    index
        Positions of the training cells.
    held_out
        The cells that validate, on the device.
    generator
        Host generator, the only source of randomness.
    chunk
        Rows that are read together, see :attr:`Rows.chunk`.
    after_validation
        Called with the step and the largest number of steps.

    Raises
    ------
    FloatingPointError
        If the loss is not finite, also after one retry from the best weights at a lower rate.
    """
    alpha = spec.weights.get("regularizer", 0.0)
    limit = spec.n_steps or (MAX_STEPS if len(held_out.x) else STEPS_UNSEEN)
    state = State(model, spec)
    averaged, average = state.optimizer.twin(model)
    history, best, rate = History(), Best(averaged), 1.0
    size = cast("int", spec.batch_size)
    drawn_from, before = batches(index, size, chunk, generator), 0
    sums = torch.zeros(2, dtype=torch.float32, device=model.device)
    try:
        with threads_for(min(size, len(index)) * model.widest, LARGE_STEP):
            for number in range(1, limit + 1):
                share = schedule(number) * rate
                cells = read(next(drawn_from))
                sums += step(state, cells, draw(spec, len(cells.x), model, generator), share)
                average.lerp_(state.optimizer.array, newest(number))
                if number % EVERY and number < limit:
                    continue
                reconstruction, regularizer = (processes.average(sums) / (number - before)).tolist()
                sums.zero_()
                if not math.isfinite(reconstruction + regularizer):
                    _check_first(history, spec, number, limit)
                    history.retried_at, rate = number, RETRY_SHARE
                    model.load_state_dict(best.kept[0])
                    averaged.load_state_dict(best.kept[0])
                    state.forget()
                losses = _validate(state, averaged, held_out)
                history.records.append(Record(number, reconstruction, regularizer, share * spec.learning_rate, *losses))
                best.offer(averaged, number, losses[0] + alpha * losses[1] if len(held_out.x) else 0.0)
                before = number
                after_validation(number, limit)
                if len(held_out.x) and (
                    best.n_since_lowest >= (spec.patience or math.inf)
                    or (spec.n_steps is None and number >= MIN_STEPS and not pays(history))
                ):
                    break
    except KeyboardInterrupt:
        if processes.count() > 1:  # the others would wait
            raise
        history.interrupted = True
    weights, history.kept_at = best.kept
    model.load_state_dict(weights)
    return history


def newest(step: int) -> float:
    """Share of the newest weights in the average: those of step `t` count as `t` to the power `AVERAGED`."""
    return (AVERAGED + 1) / (step + AVERAGED)


@torch.no_grad()
def _validate(state: State, model: GeometricAutoencoder, cells: Sample) -> tuple[float, ...]:
    """Reconstruction, regularizer and contrast of the held-out cells; NaN without any, or without a contrast."""
    if not len(cells.x):
        return math.nan, math.nan, math.nan
    n_points = len(cells.x) if state.spec.regularizer else 0
    batch = Batch.decoded(model, cells.x, place(model, cells), n_points)
    return tuple(processes.average(state.objective.measure(batch)).tolist())


def pays(history: History) -> bool:
    """Whether more steps pay: the contrast of held-out cells, else their reconstruction, still falls.

    Its mean over the last half of the steps is compared with that over the quarter before: a single one is too noisy.
    """
    curves = history.curves
    values, steps = np.array(curves["validation_contrast"]), np.array(curves["step"])
    if np.isnan(values).all():
        values = np.array(curves["validation_reconstruction"])
    late, early = steps > steps[-1] / 2, (steps > steps[-1] / 4) & (steps <= steps[-1] / 2)
    return bool(values[late].mean() < (1 - PAYS) * values[early].mean())


def _check_first(history: History, spec: Spec, number: int, limit: int) -> None:
    """Raise a `FloatingPointError` if the loss was not finite before, or at the only validation."""
    if history.retried_at is None and (history.records or number < limit):
        return
    msg = (
        f"The loss is not finite at step {number}, also not at {RETRY_SHARE:g} of the learning rate. "
        f"Lower learning_rate ({spec.learning_rate}) or alpha ({spec.weights.get('regularizer', 0)})."
    )
    raise FloatingPointError(msg)


def schedule(step: int) -> float:
    """Share of the peak learning rate: a short rise, then a fall with the root of the steps, which can end any time."""
    return min(1.0, step / WARM_UP, (STEADY / step) ** 0.5)
