"""A dense network that carries tangent vectors along with the values."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor


class Activation(NamedTuple):
    """An elementwise function and its derivative."""

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


ELU = Activation(F.elu, lambda v: v.clamp(max=0).exp())
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
            x = self.activation.value(layer(x))
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
        r, first = tangents.shape[-2], (x, tangents)
        for layer in self.inner:
            v = layer(x)  # (n, width)
            x = self.activation.value(v)
            tangents = (tangents @ layer.weight.t()) * self.activation.slope(v[:r])  # (…, r, width)
        x, tangents = self.last(x), tangents @ self.last.weight.t()
        if self.shortcut is None:
            return x, tangents
        return x + first[0] @ self.shortcut.t(), tangents + first[1] @ self.shortcut.t()


def _initialized_linear(n_in: int, n_out: int, generator: torch.Generator | None) -> nn.Linear:
    """A linear layer with torch's own initialization, drawn from ``generator``."""
    layer = nn.utils.skip_init(nn.Linear, n_in, n_out, dtype=torch.float32)
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
    bound = 1 / math.sqrt(n_in)
    nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return layer
