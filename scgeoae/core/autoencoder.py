"""The autoencoder: an encoder `e`, a decoder `f`, and the observation model between the data and the networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from .network import DenseNetwork
from .observation import OBSERVATIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from torch import Tensor


class GeometricAutoencoder(nn.Module):
    """Encoder `e: R^D -> R^d` and decoder `f: R^d -> R^D`; both speak input units.

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
    observation
        Name of the observation model, in :data:`~scgeoae.core.observation.OBSERVATIONS`.
    generator
        Source of the initial weights.
    """

    def __init__(
        self,
        n_features: int,
        n_components: int = 2,
        *,
        hidden_dims: Sequence[int] = (100, 100, 100, 100),
        with_encoder: bool = True,
        observation: str = "gaussian",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.n_features = n_features
        self.n_components = n_components
        self.hidden_dims = tuple(hidden_dims)
        sizes = (n_features, *hidden_dims, n_components)
        self.encoder = DenseNetwork(sizes, generator, with_shortcut=True) if with_encoder else None
        self.decoder = DenseNetwork(sizes[::-1], generator)
        self.observation = OBSERVATIONS[observation](n_features)

    @property
    def widest(self) -> int:
        """Width of the widest layer: the most numbers that a cell takes."""
        return max(self.n_features, self.n_components, *self.hidden_dims)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.observation.mean.device

    @property
    def networks(self) -> list[DenseNetwork]:
        """The encoder, if there is one, and the decoder."""
        return [network for network in (self.encoder, self.decoder) if network is not None]

    def standardize(self, x: Tensor) -> Tensor:
        """Bring cells (n, D) from input units to the units of the networks."""
        return self.observation.standardize(x)

    def place(self, x: Tensor) -> Tensor:
        """Place standardized cells ``x`` (n, D) on the map (n, d)."""
        return self._known_encoder()(x)

    def encode(self, x: Tensor) -> Tensor:
        """Place cells ``x`` (n, D), input units, on the map (n, d)."""
        return self.place(self.standardize(x))

    def encode_velocity(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Place cells ``x`` (n, D) with velocities ``v`` (n, D), and map the velocities: `J_e v`, (n, d) like `z`."""
        return self._known_encoder().carry(self.standardize(x), self.observation.differential(x, v))

    def decode(self, z: Tensor) -> Tensor:
        """Decode map points ``z`` (n, d) to data (n, D), input units."""
        return self.observation.values(self.decoder(z))

    def pushforward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Decode map points ``z`` (n, d) to data (n, D) and tangents (d, n, D) of the surface, the columns of `J`."""
        outputs, tangents = self.decoder.pushforward(z)
        return self.observation.values(outputs), self.observation.carry(outputs, tangents) * self.observation.scale

    def residual(self, x: Tensor, z: Tensor) -> Tensor:
        """Standardized differences (n, D) between the surface at ``z`` (n, d) and standardized cells ``x`` (n, D)."""
        return self.observation.on_surface(self.decoder(z)) - x

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct cells ``x`` (n, D)."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def change_coordinates(self, forward: np.ndarray, shift: np.ndarray) -> None:
        """Replace the map coordinate ``z`` by ``z' = forward (z - shift)``, absorbed exactly into the adjacent layers.

        Parameters
        ----------
        forward
            (d, d), invertible.
        shift
            (d,).
        """
        linear, origin = torch.as_tensor(forward.copy()), torch.as_tensor(shift)
        if self.encoder is not None:
            last = self.encoder.last
            bias = linear @ _exact(last.bias) - linear @ origin
            _assign(last.weight, linear @ _exact(last.weight))
            _assign(last.bias, bias)
            if self.encoder.shortcut is not None:
                _assign(self.encoder.shortcut, linear @ _exact(self.encoder.shortcut))
        first = self.decoder.first
        weight = _exact(first.weight)  # W z + b = W forward^-1 z' + (b + W shift)
        _assign(first.bias, _exact(first.bias) + weight @ origin)
        _assign(first.weight, torch.linalg.solve(linear, weight, left=False))

    def _known_encoder(self) -> DenseNetwork:
        if self.encoder is None:
            msg = "This model decodes a map that was made elsewhere: it has no encoder."
            raise TypeError(msg)
        return self.encoder


def _exact(parameter: Tensor) -> Tensor:
    return parameter.cpu().double()  # in this order: MPS has no float64


def _assign(parameter: Tensor, value: Tensor) -> None:
    parameter.copy_(value.to(parameter.dtype))
