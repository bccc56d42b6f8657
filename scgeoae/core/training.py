"""Train: draw batches, sum the terms of the objective, step, validate, keep the best weights."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch

from . import sharding
from .batches import Batches
from .objective import Batch, Objective
from .optimizer import HybridOptimizer
from .sharding import Part
from .threads import LARGE_STEP, threads_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from .autoencoder import GeometricAutoencoder
    from .rows import Rows
    from .spec import Spec

N_VALIDATIONS = 50
WARM_UP = 0.02
TOLERANCE = 0.05
"""Relative margin above the lowest validation loss: differences within it are noise of the held-out cells. The latest
weights within it are kept, because they were trained at the lowest rate: they explain other held-out cells equally well
and training cells better."""
RETRY_SHARE = 0.1
"""Share of the learning rate at which training continues after a loss that was not finite."""


@dataclass
class History:
    """One entry a validation: mean training losses since the last one, and the losses of held-out cells.

    `kept_at` is the step of the weights that were kept, `retried_at` the one at which the loss was not finite, if ever.
    """

    step: list[int] = field(default_factory=list)
    reconstruction: list[float] = field(default_factory=list)
    regularizer: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    validation_reconstruction: list[float] = field(default_factory=list)
    validation_regularizer: list[float] = field(default_factory=list)
    interrupted: bool = False
    kept_at: int = 0
    retried_at: int | None = None


class HeldOut(NamedTuple):
    """Cells that validate the model: which ones, and those rows (m, D) that this process reads, standardized."""

    part: Part
    x: Tensor


class Best:
    """The weights to keep: the latest ones whose validation loss is within `TOLERANCE` of the lowest."""

    def __init__(self, model: GeometricAutoencoder) -> None:
        self.weights = weights_of(model)
        self.lowest, self.n_since_lowest = math.inf, 0

    def offer(self, model: GeometricAutoencoder, loss: float) -> bool:
        """Take the weights of ``model`` if their validation ``loss`` is low enough; return whether it is."""
        self.n_since_lowest += 1
        if loss < self.lowest:
            self.lowest, self.n_since_lowest = loss, 0
        if good := loss <= (1 + TOLERANCE) * self.lowest:
            self.weights = weights_of(model)
        return good


def weights_of(model: GeometricAutoencoder) -> dict[str, Tensor]:
    """Copy the weights and buffers."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


class Trainer:
    """Fits a model to rows; `run` returns the history and leaves the best weights in the model.

    Parameters
    ----------
    model
        On the device of ``rows``, its scaling set.
    rows
        All cells.
    spec
        What to train; nothing is left to the data.
    cells
        Positions of the training cells.
    held_out
        The cells that validate.
    generator
        Host generator, the only source of randomness.
    coordinates
        Standardized map coordinates (n, d) of all cells, for a model without encoder; with an encoder the landmarks of
        cells, NaN for cells that are free.
    """

    def __init__(
        self,
        model: GeometricAutoencoder,
        rows: Rows,
        spec: Spec,
        cells: Tensor,
        held_out: HeldOut,
        generator: torch.Generator,
        coordinates: Tensor | None = None,
    ) -> None:
        self.model, self.rows, self.spec, self.held_out, self.generator = model, rows, spec, held_out, generator
        self.coordinates = coordinates
        self.n_steps = cast("int", spec.n_steps)
        self.objective = Objective(spec, rows.device)
        self.batches = Batches(cells, cast("int", spec.batch_size), rows.chunk, generator)
        self.optimizer = HybridOptimizer(model, spec.learning_rate, spec.weight_decay, self.objective.parameters)
        self.history = History()
        self.rate = 1.0
        self._sums = torch.zeros(2, device=rows.device)
        self.best = Best(model)

    def run(self, after_validation: Callable[[int], Any] = lambda _: None) -> History:
        """Train; a Ctrl-C keeps the best weights so far, but ends all of several processes.

        Parameters
        ----------
        after_validation
            Called with the step.
        """
        widest = max(self.model.n_features, *self.model.hidden_dims, 1)
        try:
            with threads_for(self.batches.size * widest, LARGE_STEP):
                self._steps(after_validation)
        except KeyboardInterrupt:
            if sharding.world_size() > 1:  # the others would wait
                raise
            self.history.interrupted = True
        self.model.load_state_dict(self.best.weights)
        return self.history

    @property
    def step(self) -> int:
        """The last step after which the model was validated."""
        return (self.history.step or [0])[-1]

    def _steps(self, after_validation: Callable[[int], Any]) -> None:
        every = max(1, self.n_steps // N_VALIDATIONS)
        for step in range(self.step + 1, self.n_steps + 1):
            share = schedule(step, self.n_steps) * self.rate
            self._sums += self._backward(next(self.batches))
            self.optimizer.step(share)
            if step % every == 0 or step == self.n_steps:
                self._validate(step, share)
                after_validation(step)
                if self.held_out.part.size and self.best.n_since_lowest >= (self.spec.patience or math.inf):
                    break

    def _backward(self, cells: Tensor) -> Tensor:
        """Add the gradients of a batch's loss; return its measured terms (2,)."""
        part = Part(cells, self.rows.shape[0])
        x = self.model.standardize(self.rows.take(part.index))
        z = self._place(x, part, self.spec.noise or 0)
        is_free = self.coordinates is None or self.model.encoder is None
        landmarks = None if is_free else cast("Tensor", self.coordinates)[part.index.to(x.device)]
        batch = self.objective.batch(self.model.decoder, x, z, part, self.generator, landmarks)
        loss, measured = self.objective(batch)
        loss.backward()
        return measured

    def _place(self, x: Tensor, part: Part, noise: float = 0) -> Tensor:
        """Map coordinates (m, d) of standardized cells ``x`` (m, D)."""
        if self.model.encoder is None:
            return cast("Tensor", self.coordinates)[part.index.to(x.device)]
        if noise:  # drawn for all processes, so that it does not depend on their number
            x = x + noise * torch.randn(part.size, x.shape[1], generator=self.generator)[part.chosen].to(x.device)
        return self.model.encoder(x)

    @torch.no_grad()
    def _validate(self, step: int, share: float) -> None:
        history = self.history
        reconstruction, regularizer = (sharding.sum_(self._sums) / (step - self.step)).tolist()
        self._sums.zero_()
        if not math.isfinite(reconstruction + regularizer):
            self._retry(step)
        history.step.append(step)
        history.reconstruction.append(reconstruction)
        history.regularizer.append(regularizer)
        history.learning_rate.append(share * self.spec.learning_rate)
        reconstruction, regularizer = self._validation_losses()
        history.validation_reconstruction.append(reconstruction)
        history.validation_regularizer.append(regularizer)
        loss = reconstruction + self.spec.alpha * regularizer if self.held_out.part.size else 0.0
        if self.best.offer(self.model, loss):
            history.kept_at = step

    def _validation_losses(self) -> tuple[float, float]:
        """Reconstruction and regularizer of the held-out cells; NaN without any."""
        part, x = self.held_out
        if not part.size:
            return math.nan, math.nan
        batch = Batch.with_tangents(self.model.decoder, x, self._place(x, part), part, part.size)
        reconstruction, regularizer = sharding.sum_(self.objective.measure(batch)).tolist()
        return reconstruction, regularizer

    def _retry(self, step: int) -> None:
        """Continue from the last good weights at a lower rate, once."""
        if self.history.retried_at is not None:
            msg = (
                f"The loss is not finite at step {step} of {self.n_steps}, also not at {RETRY_SHARE:g} of the "
                f"learning rate. Lower learning_rate ({self.spec.learning_rate}) or alpha ({self.spec.alpha})."
            )
            raise FloatingPointError(msg)
        self.history.retried_at = step
        self.rate = RETRY_SHARE
        self.model.load_state_dict(self.best.weights)
        self.optimizer.forget()

    def state_dict(self) -> dict[str, Any]:
        """Everything that a training needs to continue, after a validation, with the same result."""
        return {
            "model": weights_of(self.model),
            "best": self.best.weights,
            "optimizer": self.optimizer.state_dict(),
            "log_scale": self.objective.log_scale.detach(),
            "batches": self.batches.state_dict(),
            "generator": self.generator.get_state(),
            "history": asdict(self.history),
            "rate": self.rate,
            "lowest": self.best.lowest,
            "n_since_lowest": self.best.n_since_lowest,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken, with a trainer that was made alike."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.objective.log_scale.data.copy_(state["log_scale"])
        self.batches.load_state_dict(state["batches"])
        self.generator.set_state(state["generator"])
        self.history, self.rate = History(**state["history"]), state["rate"]
        home = self.rows.device
        self.best.weights = {name: value.to(home) for name, value in state["best"].items()}
        self.best.lowest, self.best.n_since_lowest = state["lowest"], state["n_since_lowest"]


def schedule(step: int, n_steps: int) -> float:
    """Share of the peak learning rate: a linear warm-up over 2 % of the steps, then linearly down towards 0."""
    warm = max(1, round(WARM_UP * n_steps))
    if step <= warm:
        return step / warm
    return 1 - (step - warm) / (n_steps - warm + 1)
