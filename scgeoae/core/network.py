"""A dense network through which tangent vectors travel together with the values."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from .activations import ACTIVATIONS, Activation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


MIN_RATIO = 2
"""An orthonormal basis of what the last layer can reach pays where that layer has more than this many outputs and takes
more than this many tangents per input. A step with the regulariser on a whole batch of 512 to 4,096 cells of 2,000
features then takes 1.6 to 1.3 times a plain one, else 2.2 to 3.1 times (``tests/benchmarks/speed.py steps``)."""


class DenseNetwork(nn.Module):
    """Linear layers with one activation between them; plain linear at both ends.

    Parameters
    ----------
    sizes
        Width of the input, of each hidden layer and of the output.
    activation
        A name in :data:`~scgeoae.core.activations.ACTIVATIONS`.
    generator
        Source of the initial weights; the global random state is not touched.
    """

    def __init__(self, sizes: Sequence[int], activation: str, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.layers = nn.ModuleList(_initialised_linear(n_in, n_out, generator) for n_in, n_out in pairwise(sizes))

    @property
    def first(self) -> nn.Linear:
        """The layer that reads the input."""
        return cast("nn.Linear", self.layers[0])

    @property
    def last(self) -> nn.Linear:
        """The layer that writes the output."""
        return cast("nn.Linear", self.layers[-1])

    @property
    def inner(self) -> list[nn.Linear]:
        """All layers but the last: those that the activation follows."""
        return [cast("nn.Linear", layer) for layer in self.layers[:-1]]

    @property
    def hidden(self) -> list[nn.Linear]:
        """The layers between hidden layers."""
        return self.inner[1:]

    def forward(self, x: Tensor) -> Tensor:
        """Map rows ``x`` (n, n_in) to (n, n_out)."""
        for layer in self.inner:
            x = self.activation.value(layer(x))
        return self.last(x)

    def pushforward(
        self, x: Tensor, n_tangents: int | None = None, *, up_to_isometry: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Map rows and carry the coordinate tangents of the first ones along (forward-mode differentiation).

        Parameters
        ----------
        x
            (n, n_in).
        n_tangents
            Number of leading rows whose tangents are wanted; all of them if `None`.
        up_to_isometry
            Tangents may come in an orthonormal basis of what the last layer can reach, where that is faster: what is
            computed from their metric, and its gradients, are the same.

        Returns
        -------
        Values (n, n_out) and tangents (n_in, n_tangents, n_out): ``tangents[i, j]`` is the derivative of the outputs at
        row ``j`` in the direction of input coordinate ``i``, the ``i``-th column of the Jacobian.
        """
        n, n_in = x.shape
        r = n if n_tangents is None else n_tangents
        units = torch.eye(n_in, dtype=x.dtype, device=x.device)[:, None].expand(-1, r, -1)
        rows = torch.cat([x, units.reshape(n_in * r, n_in)])  # values above tangents
        for layer in self.inner:
            rows = _TangentLayer.apply(rows, (n, n_in, r), layer.weight, layer.bias, self.activation)
        weight = self.last.weight
        if up_to_isometry and _basis_pays(weight, n_in * r):
            values, tangents = rows[:n] @ weight.t(), rows[n:] @ _Coordinates.apply(weight).t()
        else:
            values, tangents = (rows @ weight.t()).split([n, n_in * r])
        return values + self.last.bias, tangents.view(n_in, r, tangents.shape[1])


class _TangentLayer(torch.autograd.Function):
    """``a(W x + b)`` for values and ``a'(W x + b) * W t`` for tangents, differentiated by hand.

    One product takes values (n, n_in) and, below them, tangents (d r, n_in) through the layer. Two to three times
    faster than letting autograd differentiate the product rule; `torch.func.jacfwd` is the oracle in the tests.
    """

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, sizes: tuple[int, int, int], weight: Tensor, bias: Tensor, activation: Activation
    ) -> Tensor:
        n, d, r = sizes
        pre = rows @ weight.t()  # (n + d r, n_out)
        value, slope = activation.value_and_slope(pre[:n].add_(bias))
        pushed = pre[n:].view(d, r, pre.shape[1])  # (d, r, n_out)
        ctx.sizes, ctx.activation = sizes, activation
        ctx.save_for_backward(rows, weight, pre, slope)
        return torch.cat([value, (pushed * slope[:r]).flatten(0, 1)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, pre, slope = ctx.saved_tensors
        n, d, r = ctx.sizes
        grad_tangents, pushed = (part[n:].view(d, r, part.shape[1]) for part in (grad, pre))
        curvature = ctx.activation.curvature(pre[:r], slope[:r])
        grad_pre = torch.empty_like(grad)
        torch.mul(grad[:n], slope, out=grad_pre[:n])
        grad_pre[:r].addcmul_((grad_tangents * pushed).sum(0), curvature)
        torch.mul(grad_tangents, slope[:r], out=grad_pre[n:].view_as(pushed))
        return grad_pre @ weight, None, grad_pre.t() @ rows, grad_pre[:n].sum(0), None


def _basis_pays(weight: Tensor, n_tangents: int) -> bool:
    n_out, width = weight.shape
    return min(n_out, n_tangents) > MIN_RATIO * width and weight.device.type != "mps"  # which has no QR


class _Coordinates(torch.autograd.Function):
    """Coordinates `R` (width, width) of the columns of a tall ``weight = Q R`` in an orthonormal basis `Q`.

    The gradient ``Q dR`` is that of functions of the metric ``R^T R`` alone, for which `Q` does not matter; it needs no
    inverse of `R`, so that it is finite for a singular one too.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        basis, coordinates = torch.linalg.qr(weight)
        ctx.save_for_backward(basis)
        return coordinates

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (basis,) = ctx.saved_tensors
        return basis @ grad


def _initialised_linear(n_in: int, n_out: int, generator: torch.Generator | None) -> nn.Linear:
    """Torch's own initialisation of a linear layer, from our own generator."""
    layer = nn.utils.skip_init(nn.Linear, n_in, n_out)
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
    bound = 1 / math.sqrt(n_in)
    nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return layer
