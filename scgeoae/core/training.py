"""Training: the loss, the schedule, held-out cells, the best weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch

from .neighbors import NeighborGraph, contrast
from .optimizer import HybridOptimizer
from .regularizers import weighted_sum
from .rows import block_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np
    from scipy import sparse
    from torch import Tensor

    from .autoencoder import GeometricAutoencoder
    from .network import DenseNetwork
    from .rows import Rows

MAX_VALIDATION_CELLS = 2_000
N_VALIDATIONS = 50
WARM_UP = 0.05
TOLERANCE = 0.02
"""Validation losses this much above the lowest differ from it by the noise of the few held-out cells: of such, the
latest weights are kept, which were trained at the lowest rate."""


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; every field is an argument of :func:`scgeoae.tl.geometric_ae`."""

    alpha: float
    regularizer: Mapping[str, float]
    regularizer_batch: int
    noise: float
    n_steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    validation_fraction: float
    patience: int | None
    neighbors_weight: float = 0.0


@dataclass
class History:
    """One entry a validation: means of the training losses since the last one, and the losses of held-out cells."""

    step: list[int] = field(default_factory=list)
    reconstruction: list[float] = field(default_factory=list)
    regularizer: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    validation_reconstruction: list[float] = field(default_factory=list)
    validation_regularizer: list[float] = field(default_factory=list)
    interrupted: bool = False


@dataclass(frozen=True)
class Loss:
    """The terms of the loss, without unit."""

    reconstruction: Tensor
    regularizer: Tensor


def loss(model: GeometricAutoencoder, x: Tensor, z: Tensor, weights: Mapping[str, float], n_tangents: int) -> Loss:
    """Reconstruction and regulariser of standardised cells ``x`` (n, D) decoded from ``z`` (n, d).

    The regulariser is estimated on the first ``n_tangents`` of them.
    """
    if n_tangents == 0:
        return Loss((model.decoder(z) - x).square().mean(), x.new_zeros(()))
    decoded, tangents = model.decoder.pushforward(z, n_tangents)
    return Loss((decoded - x).square().mean(), weighted_sum(weights, tangents))


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
        self.model, self.rows, self.recipe, self.generator = model, rows, recipe, generator
        self.coordinates = coordinates
        n_held_out = min(int(rows.shape[0] * recipe.validation_fraction), MAX_VALIDATION_CELLS, block_size(rows))
        self.training, self.held_out = _split(rows.shape[0], n_held_out, generator)
        self.graph = None if adjacency is None else NeighborGraph(adjacency, self.training)
        self.log_scale = torch.ones((), device=rows.device, requires_grad=True)
        self.history = History()
        self._lowest, self._lowest_at = math.inf, 0
        self._best: dict[str, Tensor] | None = None

    def run(self, progress: Callable[[int], Any] = lambda _: None) -> History:
        """Train; on Ctrl-C keep what was learned so far."""
        others = [] if self.graph is None else [self.log_scale]
        optimizer = HybridOptimizer(self.model, self.recipe.learning_rate, self.recipe.weight_decay, others)
        try:
            self._steps(optimizer, progress)
        except KeyboardInterrupt:
            self.history.interrupted = True
        if self._best is not None:
            self.model.load_state_dict(self._best)
        return self.history

    def _steps(self, optimizer: HybridOptimizer, progress: Callable[[int], Any]) -> None:
        n_steps = self.recipe.n_steps
        every = max(1, n_steps // N_VALIDATIONS)
        sums = torch.zeros(2, device=self.rows.device)
        batches = _batches(self.training, self.recipe.batch_size, self.generator)
        for step in range(1, n_steps + 1):
            share = schedule(step, n_steps)
            terms = self._backward(next(batches))
            optimizer.step(share)
            sums += torch.stack([terms.reconstruction, terms.regularizer]).detach()
            if step % every == 0 or step == n_steps:
                self._validate(step, sums / (step - (self.history.step or [0])[-1]), share)
                sums.zero_()
                progress(step)
                if self._out_of_patience():
                    break

    def _backward(self, index: Tensor) -> Loss:
        """Gradients of the loss of one batch; with a graph its second half are neighbours of the first."""
        recipe = self.recipe
        if self.graph is not None:
            heads = index[: (len(index) + 1) // 2]
            index = torch.cat([heads, self.graph.partners(heads, self.generator)])
        x = self.model.standardize(self.rows.take(index))
        z = self._latent(x, index, recipe.noise)
        n_tangents = min(recipe.regularizer_batch, len(index)) if recipe.alpha else 0
        terms = loss(self.model, x, z, recipe.regularizer, n_tangents)
        total = terms.reconstruction + recipe.alpha * terms.regularizer
        if self.graph is not None:
            head, tail = z.chunk(2)
            total = total + recipe.neighbors_weight * contrast(head, tail, self.log_scale)
        total.backward()
        return terms

    def _latent(self, x: Tensor, index: Tensor, noise: float = 0) -> Tensor:
        if self.coordinates is not None:
            return self.coordinates[index.to(x.device)]
        if noise:
            x = x + noise * torch.randn(x.shape, generator=self.generator).to(x.device)
        encoder = cast("DenseNetwork", self.model.encoder)
        return encoder(x)

    @torch.no_grad()
    def _validate(self, step: int, training: Tensor, share: float) -> None:
        history = self.history
        reconstruction, regularizer = training.tolist()
        if not math.isfinite(reconstruction + regularizer):
            msg = (
                f"The loss is not finite at step {step} of {self.recipe.n_steps}. "
                f"Lower learning_rate ({self.recipe.learning_rate}) or alpha ({self.recipe.alpha})."
            )
            raise FloatingPointError(msg)
        history.step.append(step)
        history.reconstruction.append(reconstruction)
        history.regularizer.append(regularizer)
        history.learning_rate.append(share * self.recipe.learning_rate)
        validation = self._validation_loss() if len(self.held_out) else (math.nan, math.nan)
        history.validation_reconstruction.append(validation[0])
        history.validation_regularizer.append(validation[1])
        total = validation[0] + self.recipe.alpha * validation[1] if len(self.held_out) else 0.0
        if total < self._lowest:
            self._lowest, self._lowest_at = total, len(history.step)
        if is_kept(total, self._lowest):
            self._best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def _validation_loss(self) -> tuple[float, float]:
        x = self.model.standardize(self.rows.take(self.held_out))
        terms = loss(self.model, x, self._latent(x, self.held_out), self.recipe.regularizer, len(x))
        return terms.reconstruction.item(), terms.regularizer.item()

    def _out_of_patience(self) -> bool:
        if self.recipe.patience is None or not len(self.held_out):
            return False
        return len(self.history.step) - self._lowest_at >= self.recipe.patience


def is_kept(total: float | np.ndarray, lowest: float | np.ndarray) -> bool | np.ndarray:
    """Whether weights of this validation loss are kept, when ``lowest`` is the lowest so far; numbers or arrays."""
    return total <= (1 + TOLERANCE) * lowest


def schedule(step: int, n_steps: int) -> float:
    """Share of the peak learning rate: a linear warm-up over 5 % of the steps, then half a cosine down towards 0."""
    warm = max(1, round(WARM_UP * n_steps))
    if step <= warm:
        return step / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / (n_steps - warm + 1)))


def _split(n: int, n_held_out: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Training and held-out cells; fewer than two held-out cells have no variance, so then there are none."""
    if n_held_out < 2:
        n_held_out = 0
    order = torch.randperm(n, generator=generator)
    return order[n_held_out:], order[:n_held_out]


def _batches(index: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Endless batches of ``size``: one shuffled epoch after the other, no cell left over."""
    size = min(size, len(index))
    queue = index[:0]
    while True:
        while len(queue) < size:
            queue = torch.cat([queue, index[torch.randperm(len(index), generator=generator)]])
        yield queue[:size]
        queue = queue[size:]
