"""Training: the loss, the schedule, held-out cells, the best weights."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import torch

from . import processes
from .batches import MAX_VALIDATION_CELLS, Batches, n_held_out, split
from .loss import Loss, interpolates, loss, plain_loss
from .neighbors import LOG_SCALE, NeighborGraph, contrast, nearest, spacing
from .optimizer import HybridOptimizer
from .rows import block_size
from .threads import LARGE_STEP, threads_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scipy import sparse
    from torch import Tensor

    from .autoencoder import GeometricAutoencoder
    from .network import DenseNetwork
    from .rows import Rows

N_VALIDATIONS = 50
WARM_UP = 0.02
STEPS, MIN_STEPS, MAX_STEPS = 150, (300, 600), 1_500
"""By default a training takes `STEPS` optimiser steps over the square of the spacing of cells, which counts the places
on a surface that can be told from each other; at least a tenth of the number of cells, itself kept between the bounds
of `MIN_STEPS`, and at most `MAX_STEPS`. Measured by counts that the maps never saw (``tests/benchmarks/quality.py
--replicate``): where neighbours differ by noise, more steps copy the noise; where cells lie dense on a surface, more
steps find more of their neighbours."""
NOISE_SHARE = 0.35
"""Default noise on the encoder's input as a share of the spacing of cells."""
CELLS_A_BATCH, BATCH = 0.02, (256, 2_048)
"""By default a batch holds this share of the cells, within these bounds, so that its nearest cell is a near one."""
TOLERANCE = 0.05
"""Validation losses this much above the lowest differ from it by the noise of the held-out cells: of such, the latest
weights are kept, which were trained at the lowest rate. Measured: other held-out cells are explained as well by them,
and training cells better."""
RETRY_SHARE = 0.1
"""Share of the learning rate at which a training whose loss was not finite goes on."""


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; every field is an argument of :func:`scgeoae.tl.geometric_ae`.

    `None` leaves a choice to the data.
    """

    alpha: float
    regularizer: Mapping[str, float]
    regularizer_batch: int
    noise: float | None
    n_steps: int | None
    batch_size: int | None
    learning_rate: float
    weight_decay: float
    validation_fraction: float
    patience: int | None
    contrast_weight: float = 0.0
    neighbors_weight: float = 0.0
    interpolation: float = 0.0


@dataclass
class History:
    """One entry a validation: means of the training losses since the last one, and the losses of held-out cells.

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


class Trainer:
    """Fits a model to rows; `run` returns the history and leaves the best weights in the model.

    Parameters
    ----------
    model
        On the device of ``rows``, its scaling set.
    rows
        The cells.
    recipe
        How to train.
    generator
        Host generator: the only source of randomness.
    coordinates
        Map coordinates (n, d) made elsewhere, standardised, for a model without encoder.
    adjacency
        Graph (n, n) of the neighbour term, CSR; `None` without that term.
    """

    def __init__(
        self,
        model: GeometricAutoencoder,
        rows: Rows,
        recipe: Recipe,
        generator: torch.Generator,
        coordinates: Tensor | None = None,
        adjacency: sparse.csr_matrix | sparse.csr_array | None = None,
    ) -> None:
        self.model, self.rows, self.generator = model, rows, generator
        self.coordinates = coordinates
        n, limit = rows.shape[0], block_size(rows)
        training, self.held_out = split(n, n_held_out(rows, recipe.validation_fraction, limit), generator)
        self.n_steps, self.noise, batch_size = self._chosen(recipe, training[:limit])
        self.recipe = replace(recipe, n_steps=self.n_steps, noise=self.noise, batch_size=batch_size)
        self.batches = Batches(training, batch_size, rows.chunk, generator)
        self.graph = None if adjacency is None else NeighborGraph(adjacency, training)
        self.log_scale = torch.full((), LOG_SCALE, device=rows.device, requires_grad=True)
        others = [self.log_scale] if recipe.contrast_weight or self.graph is not None else []
        self.optimizer = HybridOptimizer(model, recipe.learning_rate, recipe.weight_decay, others)
        self.history = History()
        self.rate = 1.0
        self._sums = torch.zeros(2, device=rows.device)
        self._lowest, self._lowest_at = math.inf, 0
        self._best = self._weights()

    def _chosen(self, recipe: Recipe, training: Tensor) -> tuple[int, float, int]:
        """Steps, noise and cells a batch: those of the recipe, or what the data say."""
        n, n_steps, noise, batch_size = self.rows.shape[0], recipe.n_steps, recipe.noise, recipe.batch_size
        if batch_size is None:
            batch_size = round(clip(CELLS_A_BATCH * n, *BATCH))
        if n_steps is None or noise is None:
            apart = self._spacing(training)
            if noise is None:
                noise = NOISE_SHARE * apart
            if n_steps is None:
                places = 1 / max(apart, 0.01) ** 2
                n_steps = round(clip(STEPS * places, clip(0.1 * n, *MIN_STEPS), MAX_STEPS))
        return n_steps, noise, batch_size

    def _spacing(self, training: Tensor) -> float:
        """The spacing of cells, of which the held-out ones, that are read anyway, are taken first."""
        more = training[: MAX_VALIDATION_CELLS - len(self.held_out)]
        mine = processes.positions_owned(more, self.rows.shape[0])
        x = self.model.standardize(self.rows.take(more[mine]))
        x = processes.gather(torch.cat([self._held_out_rows, x]))
        with threads_for(x.numel(), LARGE_STEP):
            return spacing(x)

    def run(self, progress: Callable[[int], Any] = lambda _: None) -> History:
        """Train; on Ctrl-C keep what was learned so far, unless there are other processes, which would wait."""
        widest = max(self.model.n_features, *self.model.hidden_dims, 1)
        try:
            with threads_for(self.batches.size * widest, LARGE_STEP):
                self._steps(progress)
        except KeyboardInterrupt:
            if processes.world_size() > 1:
                raise
            self.history.interrupted = True
        self.model.load_state_dict(self._best)
        return self.history

    def _steps(self, progress: Callable[[int], Any]) -> None:
        n_steps = self.n_steps
        every = max(1, n_steps // N_VALIDATIONS)
        for step in range(self.step + 1, n_steps + 1):
            share = schedule(step, n_steps) * self.rate
            self._sums += self._backward(next(self.batches))
            self.optimizer.step(share)
            if step % every == 0 or step == n_steps:
                self._validate(step, share)
                progress(step)
                if self._out_of_patience():
                    break

    @property
    def step(self) -> int:
        """The last step after which the model was validated."""
        return (self.history.step or [0])[-1]

    def _backward(self, index: Tensor) -> Tensor:
        """Gradients of the loss of one batch, and its terms (2,), reconstruction and regulariser.

        With a graph the batch's second half are neighbours of the first.
        """
        recipe = self.recipe
        if self.graph is not None:
            heads = index[: (len(index) + 1) // 2]
            index = torch.cat([heads, self.graph.partners(heads, self.generator)])
        mine = processes.positions_owned(index, self.rows.shape[0])
        x = self.model.standardize(self.rows.take(index[mine]))
        z = self._latent(x, index, mine, self.noise)
        terms = self._loss(x, z, index, mine) if recipe.alpha else plain_loss(self.model, x, z)
        reconstruction = terms.squares.sum() / (len(index) * x.shape[1])
        shared = recipe.alpha * terms.regularizer + self._contrasts(x, z, index)
        (reconstruction + shared / processes.world_size()).backward()
        return torch.stack([reconstruction, terms.regularizer]).detach()

    def _contrasts(self, x: Tensor, z: Tensor, index: Tensor) -> Tensor:
        """How hard neighbours are to recognise on the map: those in the batch, and those in the graph."""
        recipe, total = self.recipe, x.new_zeros(())
        if self.graph is None and not recipe.contrast_weight:
            return total
        z = self._everywhere(z, index)
        if recipe.contrast_weight:
            partners = nearest(self._everywhere(x, index))
            total = total + recipe.contrast_weight * contrast(z, partners, self.log_scale)
        if self.graph is not None:
            partners = torch.arange(len(z) // 2, len(z), device=z.device)
            total = total + recipe.neighbors_weight * contrast(z, partners, self.log_scale)
        return total

    def _loss(self, x: Tensor, z: Tensor, index: Tensor, mine: Tensor | slice) -> Loss:
        """With the regulariser at the batch's first cells, and between cells."""
        n_points = min(self.recipe.regularizer_batch, len(index))
        n_between = int(self.recipe.interpolation * n_points)
        n_cells = n_points - n_between
        n_tangents = n_cells if isinstance(mine, slice) else int((mine < n_cells).sum())
        between = None
        if n_between:
            points = interpolates(self._everywhere(z, index), n_between, self.generator)
            between = points[processes.rank() :: processes.world_size()]
        return loss(self.model, x, z, self.recipe.regularizer, n_tangents, between)

    def _latent(self, x: Tensor, index: Tensor, mine: Tensor | slice, noise: float = 0) -> Tensor:
        """Map coordinates of this process's cells ``x``, those at ``mine`` of the batch ``index``."""
        if self.coordinates is not None:
            return self.coordinates[index[mine].to(x.device)]
        if noise:  # drawn for the whole batch, so that it does not depend on the number of processes
            x = x + noise * torch.randn(len(index), x.shape[1], generator=self.generator)[mine].to(x.device)
        encoder = cast("DenseNetwork", self.model.encoder)
        return encoder(x)

    def _everywhere(self, values: Tensor, index: Tensor) -> Tensor:
        """Rows of the whole batch, in its order."""
        if processes.world_size() == 1:
            return values
        order = processes.owners(index, self.rows.shape[0]).argsort(stable=True)  # as `gather` joins them
        return processes.gather(values)[order.argsort().to(values.device)]

    @torch.no_grad()
    def _validate(self, step: int, share: float) -> None:
        history = self.history
        n_since = step - self.step
        processes.sum_(self._sums[:1])
        reconstruction, regularizer = (self._sums / n_since).tolist()
        self._sums.zero_()
        if not math.isfinite(reconstruction + regularizer):
            self._retry(step)
        history.step.append(step)
        history.reconstruction.append(reconstruction)
        history.regularizer.append(regularizer)
        history.learning_rate.append(share * self.recipe.learning_rate)
        losses, regularizer = self._validation_loss()
        history.validation_reconstruction.append(losses.mean().item())
        history.validation_regularizer.append(regularizer)
        total = losses.mean().item() + self.recipe.alpha * regularizer if len(losses) else 0.0
        if total < self._lowest:
            self._lowest, self._lowest_at = total, len(history.step)
        if total <= (1 + TOLERANCE) * self._lowest:
            self._best, history.kept_at = self._weights(), step

    def _retry(self, step: int) -> None:
        """Go on from the last good weights at a lower rate, once."""
        if self.history.retried_at is not None:
            msg = (
                f"The loss is not finite at step {step} of {self.n_steps}, also not at {RETRY_SHARE:g} of the "
                f"learning rate. Lower learning_rate ({self.recipe.learning_rate}) or alpha ({self.recipe.alpha})."
            )
            raise FloatingPointError(msg)
        self.history.retried_at = step
        self.rate = RETRY_SHARE
        self.model.load_state_dict(self._best)
        self.optimizer.forget()

    def state_dict(self) -> dict[str, Any]:
        """Everything that a training needs to go on with the same result, after a validation."""
        return {
            "model": self._weights(),
            "best": self._best,
            "optimizer": self.optimizer.state_dict(),
            "log_scale": self.log_scale.detach(),
            "batches": self.batches.state_dict(),
            "generator": self.generator.get_state(),
            "history": asdict(self.history),
            "rate": self.rate,
            "lowest": self._lowest,
            "lowest_at": self._lowest_at,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken, with a trainer that was made alike."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.log_scale.data.copy_(state["log_scale"])
        self.batches.load_state_dict(state["batches"])
        self.generator.set_state(state["generator"])
        self.history, self.rate = History(**state["history"]), state["rate"]
        home = self.rows.device
        self._best = {name: value.to(home) for name, value in state["best"].items()}
        self._lowest, self._lowest_at = state["lowest"], state["lowest_at"]

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def _validation_loss(self) -> tuple[Tensor, float]:
        """Reconstruction loss of each held-out cell (m,), and their regulariser; NaN without any."""
        if not len(self.held_out):
            return self.held_out.float(), math.nan
        index = self.held_out
        mine = processes.positions_owned(index, self.rows.shape[0])
        x = self._held_out_rows
        terms = loss(self.model, x, self._latent(x, index, mine), self.recipe.regularizer, len(x))
        return processes.gather(terms.squares) / x.shape[1], terms.regularizer.item()

    @cached_property
    def _held_out_rows(self) -> Tensor:
        mine = processes.positions_owned(self.held_out, self.rows.shape[0])
        return self.model.standardize(self.rows.take(self.held_out[mine]))

    def _out_of_patience(self) -> bool:
        if self.recipe.patience is None or not len(self.held_out):
            return False
        return len(self.history.step) - self._lowest_at >= self.recipe.patience


def clip(value: float, low: float, high: float) -> float:
    """``value``, or the bound that it is beyond."""
    return min(max(value, low), high)


def schedule(step: int, n_steps: int) -> float:
    """Share of the peak learning rate: a linear warm-up over 2 % of the steps, then linearly down towards 0."""
    warm = max(1, round(WARM_UP * n_steps))
    if step <= warm:
        return step / warm
    return 1 - (step - warm) / (n_steps - warm + 1)
