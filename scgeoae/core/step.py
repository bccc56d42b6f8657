"""One step of the optimizer: a function of the state, a batch and drawn numbers, all on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import torch

from .optimizer import HybridOptimizer
from .terms import TERMS, Batch, Objective

if TYPE_CHECKING:
    from torch import Tensor

    from .autoencoder import GeometricAutoencoder
    from .spec import Spec


class State:
    """What a step changes: the model, the learned parameters of the objective and the averages of the optimizer."""

    def __init__(self, model: GeometricAutoencoder, spec: Spec) -> None:
        self.model, self.spec = model, spec
        self.objective = Objective(spec, model.device)
        self.optimizer = HybridOptimizer(
            model, spec.learning_rate, spec.weight_decay, list(self.objective.learned.values())
        )

    @torch.no_grad()
    def forget(self) -> None:
        """Begin again, but for the model: with the initial learned parameters and without averages."""
        for name, parameter in self.objective.learned.items():
            parameter.fill_(cast("float", TERMS[name].initial))
        self.optimizer.forget()


class Sample(NamedTuple):
    """Some cells: standardized (m, D), and their coordinates and landmarks on the map (m, d), if these are given.

    Landmarks are NaN for cells that are free.
    """

    x: Tensor
    coordinates: Tensor | None = None
    landmarks: Tensor | None = None


class Drawn(NamedTuple):
    """Random numbers of a step.

    Noise (m, D) on the encoder's input, and where the regularized points (k, 1) lie between two cells, as shares.
    """

    noise: Tensor | None
    shares: Tensor | None


def draw(spec: Spec, size: int, model: GeometricAutoencoder, generator: torch.Generator) -> Drawn:
    """Draw the random numbers of a step with ``size`` cells, on the host, and bring them to the device."""
    noise = shares = None
    if spec.noise and model.encoder is not None:
        noise = spec.noise * torch.randn(size, model.n_features, generator=generator, dtype=torch.float32).to(
            model.device
        )
    if spec.weights.get("regularizer") and (n_between := int(spec.interpolation * min(spec.regularizer_batch, size))):
        shares = torch.rand(n_between, 1, generator=generator, dtype=torch.float32).to(model.device)
    return Drawn(noise, shares)


def step(state: State, cells: Sample, drawn: Drawn, share: float) -> Tensor:
    """Take one step at ``share`` of the peak learning rate; return the measured terms (2,) of the loss before it."""
    measured = backward(state, cells, drawn)
    state.optimizer.step(share)
    return measured


def backward(state: State, cells: Sample, drawn: Drawn) -> Tensor:
    """Compute the gradients of the loss; return its measured terms (2,)."""
    model, spec = state.model, state.spec
    z = place(model, cells, drawn.noise)
    n_points = min(spec.regularizer_batch, len(z)) if spec.weights.get("regularizer") else 0
    between = None if drawn.shares is None else interpolates(z, drawn.shares)
    n_cells = n_points - (0 if between is None else len(between))
    loss, measured = state.objective(Batch.decoded(model, cells.x, z, n_cells, between, cells.landmarks))
    loss.backward()
    return measured


def place(model: GeometricAutoencoder, cells: Sample, noise: Tensor | None = None) -> Tensor:
    """Map coordinates (m, d) of cells: those that are given, else by the encoder of cells with ``noise``."""
    if cells.coordinates is not None:
        return cells.coordinates
    return model.place(cells.x if noise is None else cells.x + noise)


def interpolates(z: Tensor, shares: Tensor) -> Tensor:
    """Points (k, d) on straight lines between unrelated cells of ``z`` (m, d), at ``shares`` (k, 1) of the way."""
    k = len(shares)
    return torch.lerp(z[:k], z.flip(0)[:k], shares)
