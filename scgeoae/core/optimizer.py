"""Muon for the square-ish hidden matrices, Adam for everything else."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from .autoencoder import GeometricAutoencoder

ADAM_SHARE = 0.1
"""Learning rate of Adam as a share of Muon's."""


class Muon(torch.optim.Optimizer):
    """Momentum whose update is replaced by its nearest semi-orthogonal matrix (Jordan et al. 2024).

    Differs from `torch.optim.Muon` in that all matrices of one shape go through one batched Newton–Schulz iteration.
    """

    def __init__(self, matrices: list[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0) -> None:
        by_shape = defaultdict(list)
        for matrix in matrices:
            by_shape[matrix.shape].append(matrix)
        groups = [{"params": group} for group in by_shape.values()]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """One update of all matrices."""
        for group in self.param_groups:
            matrices = group["params"]
            gradient = torch.stack([matrix.grad for matrix in matrices])  # (k, rows, columns)
            average = group.setdefault("average", torch.zeros_like(gradient))
            average.lerp_(gradient, 1 - group["momentum"])
            update = orthogonalize(gradient.lerp_(average, group["momentum"]))
            rows, columns = update.shape[1:]
            step = group["lr"] * max(1, rows / columns) ** 0.5
            for matrix, direction in zip(matrices, update, strict=True):
                matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(direction, alpha=step)


def orthogonalize(matrices: Tensor, n_iterations: int = 3) -> Tensor:
    """Push all singular values of each matrix (k, rows, columns) towards 1 by a quintic Newton–Schulz iteration."""
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

    Parameters
    ----------
    model
        The autoencoder.
    learning_rate
        Peak rate of Muon.
    weight_decay
        Decoupled, relative to the learning rate, on all weights.
    others
        Further parameters for Adam.
    """

    def __init__(
        self, model: GeometricAutoencoder, learning_rate: float, weight_decay: float, others: Sequence[Tensor] = ()
    ) -> None:
        networks = [network for network in (model.encoder, model.decoder) if network is not None]
        hidden = [layer.weight for network in networks for layer in network.hidden]
        chosen = {id(matrix) for matrix in hidden}
        rest = [parameter for parameter in model.parameters() if id(parameter) not in chosen] + list(others)
        adam_rate = ADAM_SHARE * learning_rate
        adam = torch.optim.AdamW(rest, lr=adam_rate, weight_decay=weight_decay, fused=True)
        self.optimizers: list[torch.optim.Optimizer] = [adam]
        if hidden:
            self.optimizers.append(Muon(hidden, lr=learning_rate, weight_decay=weight_decay))
        self.parameters = hidden + rest
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["peak"] = group["lr"]

    def step(self, share: float) -> None:
        """Update with ``share`` of the peak learning rates and clear the gradients."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = share * group["peak"]
            optimizer.step()
            optimizer.zero_grad()

    def state_dict(self) -> list[dict[str, Any]]:
        """State of both optimisers."""
        return [optimizer.state_dict() for optimizer in self.optimizers]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        """Go on where `state_dict` was taken."""
        for optimizer, its in zip(self.optimizers, state, strict=True):
            optimizer.load_state_dict(its)

    def forget(self) -> None:
        """Drop the averages of past gradients."""
        for optimizer in self.optimizers:
            optimizer.state.clear()
            for group in optimizer.param_groups:
                group.pop("average", None)
