"""The autoencoder: an encoder `e`, a decoder `f`, and the scaling between the input's units and the networks'."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from .network import DenseNetwork

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class GeometricAutoencoder(nn.Module):
    """Encoder `e: R^D -> R^d` and decoder `f: R^d -> R^D`; both speak input units.

    The input is centered by feature and divided by one scalar, which keeps its geometry. The mean and the scalar are
    buffers of the module, so new cells are standardized by the statistics of the reference.

    Parameters
    ----------
    n_features
        D, number of input features.
    n_components
        d, dimension of the map.
    hidden_dims
        Widths of the hidden layers of the encoder; the decoder mirrors them.
    with_encoder
        `False` for the decoder of a map made elsewhere.
    generator
        Source of the initial weights.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        n_features: int,
        n_components: int = 2,
        *,
        hidden_dims: Sequence[int] = (100, 100, 100, 100),
        with_encoder: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.n_features = n_features
        self.n_components = n_components
        self.hidden_dims = tuple(hidden_dims)
        sizes = (n_features, *hidden_dims, n_components)
        self.encoder = DenseNetwork(sizes, generator) if with_encoder else None
        self.decoder = DenseNetwork(sizes[::-1], generator)
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(()))

    @property
    def widest(self) -> int:
        """Width of the widest layer: the most numbers that a cell takes."""
        return max(self.n_features, self.n_components, *self.hidden_dims)

    def standardize(self, x: Tensor) -> Tensor:
        """Bring cells (n, D) from input units to the units of the networks."""
        return (x - self.mean) / self.scale

    def encode(self, x: Tensor) -> Tensor:
        """Place cells ``x`` (n, D), input units, on the map (n, d)."""
        return self._known_encoder()(self.standardize(x))

    def encode_velocity(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Place cells ``x`` (n, D) with velocities ``v`` (n, D), and map the velocities: `J_e v`, (n, d) like `z`."""
        return self._known_encoder().carry(self.standardize(x), v / self.scale)

    def decode(self, z: Tensor) -> Tensor:
        """Decode map points ``z`` (n, d) to data (n, D), input units."""
        return self.decoder(z) * self.scale + self.mean

    def pushforward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Decode map points ``z`` (n, d) to data (n, D) and tangents (d, n, D), the columns of `J`."""
        x, tangents = self.decoder.pushforward(z)
        return x * self.scale + self.mean, tangents * self.scale

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct cells ``x`` (n, D)."""
        return self.decode(self.encode(x))

    def _known_encoder(self) -> DenseNetwork:
        if self.encoder is None:
            msg = "This model decodes a map that was made elsewhere: it has no encoder."
            raise TypeError(msg)
        return self.encoder
