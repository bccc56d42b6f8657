"""The autoencoder: an encoder `e`, a decoder `f`, and the observation model between the data and the networks."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from .network import DenseNetwork
from .observation import OBSERVATIONS
from .precision import as_written

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor


ACTIVATION = "elu"
"""What the stored architecture calls the activation of the networks."""


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
        `False` for the decoder of a map made elsewhere, to which no encoder is fitted yet.
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
        return self._known_encoder().pushforward(x, 0)[0]

    def encode(self, x: Tensor) -> Tensor:
        """Place cells ``x`` (n, D), input units, on the map (n, d)."""
        return self._known_encoder()(self.standardize(x))

    def encode_velocity(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Place cells ``x`` (n, D) with velocities ``v`` (n, D), and map the velocities: `J_e v`, (n, d) like `z`."""
        moved = self.observation.differential(x, v) / self.observation.scale
        return self._known_encoder().carry(self.standardize(x), moved)

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

    def to_arrays(self) -> dict[str, Any]:
        """Return the architecture and a copy of the weights as plain numbers and arrays."""
        observations = {kind: name for name, kind in OBSERVATIONS.items()}
        architecture = {
            "n_features": self.n_features,
            "n_components": self.n_components,
            "hidden_dims": np.array(self.hidden_dims, dtype=np.int64),
            "activation": ACTIVATION,
            "observation": observations[type(self.observation)],
            "with_encoder": self.encoder is not None,
        }
        weights = {name: value.detach().cpu().numpy().copy() for name, value in self.state_dict().items()}
        return {"architecture": architecture, "weights": weights}

    @classmethod
    @as_written()
    def from_arrays(cls, stored: Mapping[str, Any]) -> GeometricAutoencoder:
        """Rebuild the autoencoder from what :meth:`to_arrays` returned, in evaluation mode on the host.

        Raises
        ------
        ValueError, TypeError, KeyError
            If something is missing, of another shape or not finite.
        """
        weights = {name: np.asarray(value) for name, value in stored["weights"].items()}
        architecture = _architecture(stored["architecture"], weights)
        network = cls(**architecture, generator=torch.Generator())  # not the global one
        expected = network.state_dict()
        if weights.keys() != expected.keys():
            msg = f"missing or unexpected weights {sorted(weights.keys() ^ expected.keys())[:5]}"
            raise ValueError(msg)
        for name, tensor in expected.items():
            value = weights[name]
            if value.shape != tensor.shape:
                msg = f"{name} has shape {value.shape}, not {tuple(tensor.shape)}"
                raise ValueError(msg)
            if value.dtype.kind != "f" or not tensor.copy_(torch.tensor(value)).isfinite().all():
                msg = f"{name} is not made of finite numbers"
                raise ValueError(msg)
        if not network.observation.scale > 0:
            msg = f"observation.scale is {network.observation.scale}"
            raise ValueError(msg)
        return network.eval()

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
        linear, origin = torch.as_tensor(forward.copy()), torch.as_tensor(shift).double()
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
            msg = "This model has no encoder: run `scgeoae.tl.fit_decoder` again."
            raise TypeError(msg)
        return self.encoder


def _architecture(stored: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the arguments of an autoencoder that takes no more memory than the weights, whatever is stored."""
    for name, known in (("activation", [ACTIVATION]), ("observation", list(OBSERVATIONS))):
        if str(stored[name]) not in known:
            msg = f"the {name} {str(stored[name])!r} is unknown"
            raise ValueError(msg)
    sizes = {name: int(stored[name]) for name in ("n_features", "n_components")}
    hidden_dims = [int(width) for width in np.ravel(stored["hidden_dims"])[: len(weights) + 1]]
    widths = (sizes["n_features"], *hidden_dims, sizes["n_components"])
    n_stored = sum(value.size for value in weights.values())
    if min(widths) < 1 or len(hidden_dims) > len(weights) or sum(i * j for i, j in pairwise(widths)) > n_stored:
        msg = f"{n_stored} weights are not those of layers of widths {widths[:9]}"
        raise ValueError(msg)
    further = {"with_encoder": bool(stored["with_encoder"]), "observation": str(stored["observation"])}
    return {**sizes, "hidden_dims": hidden_dims, **further}


def _exact(parameter: Tensor) -> Tensor:
    return parameter.cpu().double()  # in this order: MPS has no float64


def _assign(parameter: Tensor, value: Tensor) -> None:
    parameter.copy_(value.to(parameter.dtype))
