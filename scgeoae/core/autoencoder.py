"""The autoencoder: an encoder `e`, a decoder `f`, and the scaling of the input between them and the user's units."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from .network import DenseNetwork

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from torch import Tensor

    from .projection import Projection, ValueRange
    from .region import OccupiedRegion


class GeometricAutoencoder(nn.Module):
    """Encoder `e: R^D -> R^d` and decoder `f: R^d -> R^D`; both speak input units.

    The input is centred by feature and divided by one scalar, so that the geometry is kept; mean and scalar are
    buffers of the model, and a query cell is scaled by the statistics of the reference.

    Parameters
    ----------
    n_features
        D, number of input features.
    n_components
        d, dimension of the map.
    hidden_dims
        Widths of the hidden layers of the encoder; the decoder mirrors them.
    activation
        `'elu'`, `'gelu'`, `'silu'`, `'softplus'`, `'tanh'` or `'relu'`.
    with_encoder
        `False` for the decoder of a map made elsewhere.
    generator
        Source of the initial weights.

    Attributes
    ----------
    unit
        Distance in the data per unit of the map, on geometric average over the training cells.
    features
        Names of the input features, in order, or `None`.
    region
        The part of the map (d = 2) that the training cells occupy.
    error_quantiles
        Quantiles 0, 0.01, …, 1 of the training cells' reconstruction error, input units, shape (101,).
    obsm_key
        Key of the `obsm` that the input was, or `None`.
    projection
        How genes become the input, where that is known.
    value_range
        Range of what new cells are read from: genes before scaling, or the input.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        n_features: int,
        n_components: int = 2,
        *,
        hidden_dims: Sequence[int] = (100, 100, 100, 100),
        activation: str = "elu",
        with_encoder: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.n_features = n_features
        self.n_components = n_components
        self.hidden_dims = tuple(hidden_dims)
        self.activation = activation
        sizes = (n_features, *hidden_dims, n_components)
        self.encoder = DenseNetwork(sizes, activation, generator) if with_encoder else None
        self.decoder = DenseNetwork(sizes[::-1], activation, generator)
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(()))
        self.unit = 1.0
        self.features: np.ndarray | None = None
        self.region: OccupiedRegion | None = None
        self.error_quantiles: np.ndarray | None = None
        self.obsm_key: str | None = None
        self.projection: Projection | None = None
        self.value_range: ValueRange | None = None

    def standardize(self, x: Tensor) -> Tensor:
        """Input units (n, D) to the scaled units in which the networks work."""
        return (x - self.mean) / self.scale

    def encode(self, x: Tensor) -> Tensor:
        """Place cells ``x`` (n, D), input units, on the map (n, d)."""
        if self.encoder is None:
            msg = "This model decodes a map that was made elsewhere: it has no encoder."
            raise TypeError(msg)
        return self.encoder(self.standardize(x))

    def decode(self, z: Tensor) -> Tensor:
        """Data (n, D), input units, at the map points ``z`` (n, d)."""
        return self.decoder(z) * self.scale + self.mean

    def pushforward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Data (n, D) at the map points ``z`` (n, d) and the tangents (d, n, D) there: the columns of `J`."""
        x, tangents = self.decoder.pushforward(z)
        return x * self.scale + self.mean, tangents * self.scale

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct cells ``x`` (n, D)."""
        return self.decode(self.encode(x))
