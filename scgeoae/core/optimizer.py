"""Muon for the square-ish hidden matrices, Adam for everything else."""

from __future__ import annotations

from collections import defaultdict
from copy import deepcopy
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, cast

import torch

from . import processes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from .autoencoder import GeometricAutoencoder

MOMENTUM = 0.95
"""Of Muon (Jordan et al. 2024)."""
ADAM_SHARE = 0.1
"""Learning rate of Adam as a share of Muon's."""
BETAS, EPSILON = (0.9, 0.999), 1e-8
"""Of Adam."""


class HybridOptimizer:
    """Muon on the matrices between hidden layers, AdamW at a tenth of the rate on the rest, under one schedule.

    Muon is momentum whose update is replaced by its nearest semi-orthogonal matrix (Jordan et al. 2024). All parameters
    are moved into one array, of which they become views. A step is then a handful of operations on long vectors and
    stacks of matrices, instead of several on each of two dozen parameters, and one message between processes.

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

    Attributes
    ----------
    parameters
        In the order of the array: biases and others, then the first and the last layers, then stacks of equal matrices.
    array, gradient
        Of all parameters, (n,), and that of the last step, averaged over processes.
    n_steps
        Since the start or the last :meth:`forget`.
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
        self.array = _moved_together(self.parameters)
        ends = [0, *accumulate(sum(parameter.numel() for parameter in group) for group in groups)]
        self._free, self._outer = ends[1:3]
        self._stacks = [(slice(*pair), shape) for pair, shape in zip(pairwise(ends[2:]), by_shape, strict=True)]
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.gradient = torch.zeros_like(self.array)
        self._average, self._square = torch.zeros_like(self.array), torch.zeros_like(self.array[: self._outer])
        self.n_steps = 0

    def forget(self) -> None:
        """Drop the averages of past gradients."""
        self._average.zero_()
        self._square.zero_()
        self.n_steps = 0

    def twin(self, model: GeometricAutoencoder) -> tuple[GeometricAutoencoder, Tensor]:
        """Copy the model; its parameters, too, are views of one array in the same order, (n,), which is returned."""
        copied = deepcopy(model)
        theirs = {id(ours): copy for ours, copy in zip(model.parameters(), copied.parameters(), strict=True)}
        return copied, _moved_together([theirs.get(id(p), p.detach().clone()) for p in self.parameters])

    def step(self, share: float) -> None:
        """Update with ``share`` of the peak learning rates by the gradients, averaged over processes; clear these."""
        self.n_steps += 1
        self.update(self.rates(share))

    def rates(self, share: float) -> Tensor:
        """The numbers of a step, on the device: for both optimizers decay and rate, and the bias of Adam's squares."""
        muon = share * self.learning_rate
        adam = ADAM_SHARE * muon
        first, second = (1 - beta**self.n_steps for beta in BETAS)
        decays = (1 - rate * self.weight_decay for rate in (adam, muon))
        return self.array.new_tensor([*decays, adam / first, second**0.5, muon])

    @torch.no_grad()
    def update(self, rates: Tensor) -> None:
        """Update all parameters, all on the device.

        Adam is decoupled from the decay (Loshchilov and Hutter 2019). Torch's own takes longer to begin than to compute
        on so few numbers.
        """
        adam_decay, muon_decay, adam_rate, bias, muon_rate = rates.unbind()
        flat = torch.cat([cast("Tensor", parameter.grad).flatten() for parameter in self.parameters])
        self.gradient = processes.average(flat)
        for parameter in self.parameters:
            parameter.grad = None
        outer, hidden = slice(self._outer), slice(self._outer, None)
        gradient, average = self.gradient[outer], self._average[outer]
        average.lerp_(gradient, 1 - BETAS[0])
        self._square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        self.array[self._free : self._outer].mul_(adam_decay)
        root = self._square.sqrt().div_(bias).add_(EPSILON)
        self.array[outer].addcmul_(average / root, adam_rate, value=-1)

        self._average[hidden].lerp_(self.gradient[hidden], 1 - MOMENTUM)
        self.array[hidden].mul_(muon_decay)
        for part, (rows, columns) in self._stacks:
            ahead = self.gradient[part].lerp(self._average[part], MOMENTUM)
            direction = orthogonalize(ahead.view(-1, rows, columns)).flatten()
            self.array[part].addcmul_(direction, muon_rate, value=-(max(1, rows / columns) ** 0.5))


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


@torch.no_grad()
def _moved_together(parameters: Sequence[Tensor]) -> Tensor:
    """Move all parameters into one array, of which they become views."""
    array = torch.cat([parameter.flatten() for parameter in parameters])
    for parameter, place in zip(parameters, array.split([p.numel() for p in parameters]), strict=True):
        parameter.data = place.view_as(parameter)
    return array
