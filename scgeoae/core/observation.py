"""Observation models: what the outputs of the decoder say of a cell, and what they are compared with.

Everything else speaks to an observation model through the methods of :class:`Observation`. To add one, write a subclass
and list it in `OBSERVATIONS`.

An observation model places cells and outputs of the decoder in one Euclidean space, in which lengths are lengths of the
data: for Gaussian values the data themselves, for counts their square roots, whose metric is the Fisher information.
The surface that the decoder spans in this space is the one whose metric is pulled back to the map.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from .rows import moments

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from .network import DenseNetwork
    from .rows import Rows


class Observation(nn.Module):
    """Interface of an observation model; `n` cells of `D` features, all tensors (n, D).

    A standardized cell is its place in the Euclidean space, minus the mean over the reference and divided by one
    scalar, which keeps the geometry. Mean and scalar are buffers, so new cells are standardized like the reference.

    Parameters
    ----------
    n_features
        D.

    Attributes
    ----------
    mean
        Of the places of the reference, (D,).
    scale
        Scalar: unit of the data in standardized units.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features, dtype=torch.float32))
        self.register_buffer("scale", torch.ones((), dtype=torch.float32))

    def fit(self, rows: Rows) -> None:
        """Set mean and scale to those of all cells; raise a `ValueError` if cells are not finite or all equal."""
        mean, mean_square = moments(rows, self.place)
        scale = (mean_square - mean.square()).clamp_min(0).mean().sqrt().item()
        if not scale > 1e-6 * mean.abs().max().item():
            msg = "All cells are equal: a map needs cells that differ."
            raise ValueError(msg)
        self.mean.copy_(mean)
        self.scale.fill_(scale)

    def standardize(self, x: Tensor) -> Tensor:
        """Standardized cells: what the encoder reads and the loss compares with, of cells ``x`` in input units."""
        return (self.place(x) - self.mean) / self.scale

    def place(self, x: Tensor) -> Tensor:
        """Place cells ``x``, input units, in the Euclidean space."""
        raise NotImplementedError

    def differential(self, x: Tensor, v: Tensor) -> Tensor:
        """Velocities of the places of cells, of velocities ``v`` of the cells ``x``, both in input units."""
        raise NotImplementedError

    def loss(self, outputs: Tensor, x: Tensor) -> Tensor:
        """Mean loss by cell and feature, a scalar, of decoder ``outputs`` for standardized cells ``x``.

        From 0, where the outputs say what the cells are, to about 1, where they say the mean: a weight of another term
        then means the same for all models, and a share of the lowest loss is a margin for the weights that are kept.
        """
        raise NotImplementedError

    def values(self, outputs: Tensor) -> Tensor:
        """Decoded values, input units."""
        raise NotImplementedError

    def on_surface(self, outputs: Tensor) -> Tensor:
        """Points of the surface, standardized."""
        raise NotImplementedError

    def carry(self, outputs: Tensor, tangents: Tensor) -> Tensor:
        """Tangents (d, n, D) of the surface, standardized, of those of the ``outputs``."""
        raise NotImplementedError

    def immersion(self, decoder: DenseNetwork) -> Immersion:
        """Return the map from points of the map to the surface, in float64; decoder and model are copied."""
        return Immersion(self, decoder)


class Gaussian(Observation):
    """Real values with errors of equal variance, compared by squares: the surface is that of the decoded data."""

    def place(self, x: Tensor) -> Tensor:
        """Cells are where they are."""
        return x

    def differential(self, x: Tensor, v: Tensor) -> Tensor:  # noqa: ARG002 - it is the same everywhere
        """Velocities stay as they are."""
        return v

    def loss(self, outputs: Tensor, x: Tensor) -> Tensor:
        """Mean squared residual."""
        return (outputs - x).square().sum() / x.numel()

    def values(self, outputs: Tensor) -> Tensor:
        """Undo the standardization."""
        return outputs * self.scale + self.mean

    def on_surface(self, outputs: Tensor) -> Tensor:
        """The outputs are points of the surface."""
        return outputs

    def carry(self, outputs: Tensor, tangents: Tensor) -> Tensor:  # noqa: ARG002 - they are the same everywhere
        """The tangents of the outputs are those of the surface."""
        return tangents

    def immersion(self, decoder: DenseNetwork) -> Immersion:
        """Return the affine immersion."""
        return AffineImmersion(self, decoder)


class Places(Gaussian):
    """Places on a map, compared by their distances.

    The best place is the median, as squares have the mean: a cell of one of two islands is not put between them.
    """

    def loss(self, outputs: Tensor, x: Tensor) -> Tensor:
        """Mean distance."""
        return torch.linalg.vector_norm(outputs - x, dim=1).mean()


OBSERVATIONS: dict[str, type[Observation]] = {"gaussian": Gaussian}


class Immersion:
    """The map from points ``z`` (n, d) of the map to points (n, w) of the surface, in input units and float64.

    Parameters
    ----------
    observation, decoder
        Copied, to the host or to a device with float64.

    Attributes
    ----------
    width
        w, number of coordinates of a point of the surface.
    widest
        Most numbers that a point takes on the way.
    device
        Where points must lie.
    """

    def __init__(self, observation: Observation, decoder: DenseNetwork) -> None:
        device = observation.mean.device
        self.device = torch.device("cpu") if device.type == "mps" else device  # MPS has no float64
        self.observation, self.decoder = deepcopy(observation), deepcopy(decoder)
        for module in (self.observation, self.decoder):
            module.to(self.device).double().requires_grad_(requires_grad=False)

    @property
    def width(self) -> int:
        """Outputs of the decoder."""
        return self.decoder.last.out_features

    @property
    def widest(self) -> int:
        """Width of the widest layer."""
        return max(self.width, *(layer.out_features for layer in self.decoder.inner), 1)

    def __call__(self, z: Tensor) -> Tensor:
        """Points (n, w) of the surface, up to a shift."""
        return self.observation.on_surface(self.decoder(z)) * self.observation.scale

    def pushforward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Points (n, w) and tangents (d, n, w) there."""
        outputs, tangents = self.decoder.pushforward(z)
        scale = self.observation.scale
        return self.observation.on_surface(outputs) * scale, self.observation.carry(outputs, tangents) * scale

    def values(self, z: Tensor) -> Tensor:
        """Decoded values (n, D)."""
        return self.observation.values(self.decoder(z))

    def hidden(self, z: Tensor) -> Tensor:
        """Values (n, width) before the last layer of the decoder."""
        return self.decoder.hidden(z)

    def differential(self, z: Tensor) -> Tensor:
        """Derivatives (d, n, D) of the decoded values along the map coordinates."""
        axes = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
        return torch.stack([torch.func.jvp(self.values, (z,), (axis.expand_as(z),))[1] for axis in axes])

    def resolve(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates (n, w) of vectors ``v`` (n, D) and the squared length (n,) of what these leave out."""
        return v, v.new_zeros(len(v))

    def affine(self) -> Affine:
        """Return the parts of an affine immersion; raise a `TypeError` if this is none."""
        msg = f"The decoded values of a model of type {type(self.observation).__name__} are not affine."
        raise TypeError(msg)


class Affine(NamedTuple):
    """A decoder whose points and values are affine functions of the values ``h`` (n, width) before its last layer.

    Attributes
    ----------
    layers
        Weight and bias of each layer but the last; an ELU follows each.
    surface
        (w, width): points of the surface are ``h surface^T``, up to a shift.
    weight, bias
        (D, width) and (D,): decoded values are ``h weight^T + bias``, input units.
    """

    layers: list[tuple[np.ndarray, np.ndarray]]
    surface: np.ndarray
    weight: np.ndarray
    bias: np.ndarray


class AffineImmersion(Immersion):
    """Immersion of Gaussian values, which are affine functions of the values before the decoder's last layer.

    If the last layer has more outputs than inputs, for example genes, the surface lies in a subspace of as many
    dimensions as there are inputs. Points and tangents are then coordinates in an orthonormal basis of that subspace.
    """

    def __init__(self, observation: Observation, decoder: DenseNetwork) -> None:
        super().__init__(observation, decoder)
        last, scale = self.decoder.last, self.observation.scale
        self._origin, self._basis = self.observation.mean + scale * last.bias, None  # (D,); columns (D, w)
        self._weight = weight = scale * last.weight  # (D, width)
        if last.out_features > last.in_features:
            self._basis, weight = torch.linalg.qr(weight)
        self.decoder.last.weight = nn.Parameter(weight, requires_grad=False)
        self.decoder.last.bias = nn.Parameter(weight.new_zeros(len(weight)), requires_grad=False)

    @property
    def width(self) -> int:
        """Dimension of the subspace."""
        return len(self.decoder.last.weight)

    def __call__(self, z: Tensor) -> Tensor:
        """Points (n, w) in the basis, up to a shift."""
        return self.decoder(z)

    def pushforward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Points (n, w) and tangents (d, n, w) in the basis."""
        return self.decoder.pushforward(z)

    def values(self, z: Tensor) -> Tensor:
        """Decoded values (n, D)."""
        points = self.decoder(z)
        return (points if self._basis is None else points @ self._basis.t()) + self._origin

    def resolve(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates in the basis, and the squared length of the part normal to the subspace."""
        if self._basis is None:
            return super().resolve(v)
        inside = v @ self._basis  # (n, w)
        return inside, (v - inside @ self._basis.t()).square().sum(1)

    def affine(self) -> Affine:
        """Return the parts, as float64 arrays."""
        layers = [(layer.weight.numpy(force=True), layer.bias.numpy(force=True)) for layer in self.decoder.inner]
        surface, weight, origin = self.decoder.last.weight, self._weight, self._origin
        return Affine(layers, *(part.numpy(force=True) for part in (surface, weight, origin)))
