"""Muon for the square-ish hidden matrices, Adam for everything else."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from . import processes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from .autoencoder import GeometricAutoencoder

ADAM_SHARE = 0.1
"""Learning rate of Adam as a share of Muon's."""


class Muon(torch.optim.Optimizer):
    """Momentum whose update is replaced by its nearest semi-orthogonal matrix (Jordan et al. 2024).

    Differs from `torch.optim.Muon` in that a parameter is a stack of matrices (k, rows, columns), which go through one
    batched Newton–Schulz iteration.
    """

    def __init__(self, stacks: list[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0) -> None:
        super().__init__(stacks, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """One update of all matrices."""
        for group in self.param_groups:
            for stack in group["params"]:
                state = self.state[stack]
                average = state.setdefault("average", torch.zeros_like(stack))
                average.lerp_(stack.grad, 1 - group["momentum"])
                update = orthogonalize(stack.grad.lerp(average, group["momentum"]))
                rows, columns = update.shape[1:]
                step = group["lr"] * max(1, rows / columns) ** 0.5
                stack.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=step)


def orthogonalize(matrices: Tensor, n_iterations: int = 3) -> Tensor:
    """Push the singular values of each matrix (k, rows, columns) towards 1 by a quintic Newton–Schulz iteration."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(n_iterations):
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.mT if tall else x


class HybridOptimizer:
    """Muon on the matrices between hidden layers, Adam at a tenth of the rate on the rest, under one schedule.

    All parameters are moved into one array, of which they become views. A step is then a handful of operations on long
    vectors and stacks of matrices, instead of several on each of two dozen parameters, and one message between
    processes.

    Parameters
    ----------
    model
        The autoencoder.
    learning_rate
        Peak rate of Muon.
    weight_decay
        Decoupled, relative to the learning rate, on the weights of layers; not on biases, nor on `others`.
    others
        Further parameters for Adam.
    """

    def __init__(
        self, model: GeometricAutoencoder, learning_rate: float, weight_decay: float, others: Sequence[Tensor] = ()
    ) -> None:
        hidden: list[Tensor] = [layer.weight for network in model.networks for layer in network.inner[1:]]
        chosen = {id(matrix) for matrix in hidden}
        biases = [*(parameter for parameter in model.parameters() if parameter.ndim < 2), *others]
        outer: list[Tensor] = [matrix for matrix in model.parameters() if matrix.ndim == 2 and id(matrix) not in chosen]
        by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for matrix in hidden:
            by_shape[matrix.shape].append(matrix)
        groups = [biases, outer, *by_shape.values()]
        self.parameters = [parameter for group in groups for parameter in group]
        free, decayed, *stacks = _moved_together(groups)
        stacks = [nn.Parameter(stack.view(-1, *shape)) for stack, shape in zip(stacks, by_shape, strict=True)]
        self.joined = [nn.Parameter(free), nn.Parameter(decayed), *stacks]
        vectors = [
            {"params": self.joined[:1], "weight_decay": 0.0},
            {"params": self.joined[1:2], "weight_decay": weight_decay},
        ]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(vectors, ADAM_SHARE * learning_rate, fused=True)
        ]
        if stacks:
            self.optimizers.append(Muon(stacks, lr=learning_rate, weight_decay=weight_decay))
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["peak"] = group["lr"]

    def step(self, share: float) -> None:
        """Update with ``share`` of the peak learning rates by the gradients, averaged over processes; clear these."""
        gradient = torch.cat([cast("Tensor", parameter.grad).flatten() for parameter in self.parameters])
        parts = processes.average(gradient).split([joined.numel() for joined in self.joined])
        for joined, part in zip(self.joined, parts, strict=True):
            joined.grad = part.view_as(joined)
        for parameter in self.parameters:
            parameter.grad = None
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = share * group["peak"]
            optimizer.step()

    def forget(self) -> None:
        """Drop the averages of past gradients."""
        for optimizer in self.optimizers:
            optimizer.state.clear()


@torch.no_grad()
def _moved_together(groups: Sequence[Sequence[Tensor]]) -> tuple[Tensor, ...]:
    """Move all parameters into one array, of which they become views; return its part (a vector) for each group."""
    parameters = [parameter for group in groups for parameter in group]
    array = torch.cat([parameter.flatten() for parameter in parameters])
    for parameter, place in zip(parameters, array.split([p.numel() for p in parameters]), strict=True):
        parameter.data = place.view_as(parameter)
    return array.split([sum(parameter.numel() for parameter in group) for group in groups])
