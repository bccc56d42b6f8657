"""A dense network that carries tangent vectors along with the values."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import nn
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor


class Activation(NamedTuple):
    """An elementwise function: its values and slopes, and by both of these its second derivative over the first."""

    value: Callable[[Tensor], tuple[Tensor, Tensor]]
    bend: Callable[[Tensor, Tensor], Tensor]


def elu(v: Tensor) -> tuple[Tensor, Tensor]:
    """Values and slopes of the exponential linear unit, from one exponential."""
    slope = v.clamp(max=0).exp_()
    return torch.maximum(v, slope - 1), slope


ELU = Activation(elu, lambda values, _: values < 0)
"""The exponential linear unit, as in the paper."""


class DenseNetwork(nn.Module):
    """Linear layers with an activation between them; plain linear at both ends.

    Parameters
    ----------
    sizes
        Width of the input, of each hidden layer and of the output.
    generator
        Source of the initial weights; the global random state is not touched.
    with_shortcut
        Whether a fixed linear map from the input to the output, 0 at first, is added.

    Attributes
    ----------
    activation
        The function between the layers.
    shortcut
        The fixed linear map (n_out, n_in), or `None`.
    """

    shortcut: Tensor | None

    def __init__(
        self, sizes: Sequence[int], generator: torch.Generator | None = None, *, with_shortcut: bool = False
    ) -> None:
        super().__init__()
        zeros = torch.zeros(sizes[-1], sizes[0], dtype=torch.float32) if with_shortcut else None
        self.register_buffer("shortcut", zeros)
        self.activation = ELU
        self.layers = nn.ModuleList(_initialized_linear(n_in, n_out, generator) for n_in, n_out in pairwise(sizes))

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
        """All layers but the last: those that an activation follows."""
        return [cast("nn.Linear", layer) for layer in self.layers[:-1]]

    def hidden(self, x: Tensor) -> Tensor:
        """Map rows ``x`` (n, n_in) to the values (n, width) that the last layer reads."""
        for layer in self.inner:
            x, _ = self.activation.value(layer(x))
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Map rows ``x`` (n, n_in) to (n, n_out)."""
        out = self.last(self.hidden(x))
        return out if self.shortcut is None else out + x @ self.shortcut.t()

    def pushforward(self, x: Tensor, n_tangents: int | None = None) -> tuple[Tensor, Tensor]:
        """Map rows and carry the coordinate tangents of the first ones along (forward-mode differentiation).

        Parameters
        ----------
        x
            (n, n_in).
        n_tangents
            Number of leading rows whose tangents are wanted; all of them if `None`.

        Returns
        -------
        Values (n, n_out) and tangents (n_in, n_tangents, n_out): ``tangents[i, j]`` is the derivative of the outputs at
        row ``j`` in the direction of input coordinate ``i``, the ``i``-th column of the Jacobian.
        """
        n_in = x.shape[1]
        r = len(x) if n_tangents is None else n_tangents
        tangents = torch.eye(n_in, dtype=x.dtype, device=x.device)[:, None].expand(-1, r, -1)  # (n_in, r, n_in)
        return self.carry(x, tangents)

    def carry(self, x: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        """Map rows ``x`` (n, n_in), and tangents (…, r, n_in) at the first r of them to tangents (…, r, n_out)."""
        parameters = (parameter for layer in self.layers for parameter in (layer.weight, layer.bias))
        values, carried = _Carried.apply(self.activation, x, tangents, *parameters)
        if self.shortcut is None:
            return values, carried
        return values + x @ self.shortcut.t(), carried + tangents @ self.shortcut.t()


class _Carried(torch.autograd.Function):
    """Values and tangents through all layers, with the gradient of both.

    Autograd takes longer, because it records each operation by itself (``tests/benchmarks/speed.py gradients``).
    """

    @staticmethod
    def forward(
        ctx: Any, activation: Activation, x: Tensor, tangents: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        *lead, r, _ = tangents.shape
        k, rows = math.prod(lead), tangents.flatten(0, -2)  # (k r, n_in)
        kept: list[Tensor] = []  # what the gradient needs of each layer: what it read, and the slopes after it
        for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
            kept += x, rows
            x, slope = activation.value(torch.addmm(bias, x, weight.t()))  # (n, width)
            if r:
                rows = rows @ weight.t()  # (k r, width)
                rows.view(k, r, len(bias)).mul_(slope[:r])
            kept.append(slope)
        weight, bias = parameters[-2:]
        ctx.activation, ctx.k = activation, k
        ctx.save_for_backward(*kept, x, rows, *parameters[::2])
        carried = rows @ weight.t() if r else rows.new_empty(0)
        return torch.addmm(bias, x, weight.t()), carried.view(*lead, r, len(bias))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor, h: Tensor) -> tuple[Tensor | None, ...]:
        *lead, r, _ = h.shape
        *kept, x, rows = ctx.saved_tensors[: 3 * (len(ctx.saved_tensors) // 4) + 2]
        weights = ctx.saved_tensors[len(kept) + 2 :]
        h = h.flatten(0, -2)  # (k r, n_out)
        gradients: list[Tensor | None] = []
        for weight in reversed(weights):
            gradients += [g.sum(0), torch.addmm(g.t() @ x, h.t(), rows) if r else g.t() @ x]
            if not kept:
                break
            slope = kept.pop()
            g = (g @ weight).mul_(slope)  # (n, width)
            if r:
                h, shape = h @ weight, (ctx.k, r, weight.shape[1])  # (k r, width)
                bend = (h * rows).view(shape).sum(0)  # (r, width)
                g[:r].add_(bend.mul_(ctx.activation.bend(x[:r], slope[:r])))
                h.view(shape).mul_(slope[:r])
            rows, x = kept.pop(), kept.pop()
        by_x, by_tangents = ctx.needs_input_grad[1:3]
        gradients += [
            (h @ weights[0]).view(*lead, r, weights[0].shape[1]) if by_tangents else None,
            g @ weights[0] if by_x else None,
            None,
        ]
        return tuple(gradients[::-1])


def _initialized_linear(n_in: int, n_out: int, generator: torch.Generator | None) -> nn.Linear:
    """A linear layer with torch's own initialization, drawn from ``generator``."""
    layer = nn.utils.skip_init(nn.Linear, n_in, n_out, dtype=torch.float32)
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
    bound = 1 / math.sqrt(n_in)
    nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return layer
