"""The decoder as a surface in the space of the data, in float64."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from . import geometry
from .rows import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from .autoencoder import GeometricAutoencoder

N_DIRECTIONS = 16
"""Points of an indicatrix at which the decoder is compared with its linear approximation."""


class Manifold:
    """The surface `f(z)` that the decoder of an autoencoder spans, and its geometry.

    The weights are copied once, so later changes to the autoencoder have no effect. Computation is on its device (on
    the host if the device has no float64), in blocks of bounded memory. Points ``z`` (n, d) are in units of the map,
    lengths in the data in input units; results are float64 on the host.

    If the last layer has more outputs than inputs, for example genes, the surface lies in a subspace of as many
    dimensions as there are inputs. Lengths and angles are then computed in an orthonormal basis of that subspace.

    Parameters
    ----------
    network
        The autoencoder.
    """

    def __init__(self, network: GeometricAutoencoder) -> None:
        self.n_features, self.n_components = network.n_features, network.n_components
        self._device = torch.device("cpu") if network.mean.device.type == "mps" else network.mean.device
        self._decoder = deepcopy(network.decoder).to(self._device).double().requires_grad_(requires_grad=False)
        last = self._decoder.last
        mean, scale = (statistic.to(self._device).double() for statistic in (network.mean, network.scale))
        self._origin, self._basis = mean + scale * last.bias, None  # (D,); orthonormal columns (D, width)
        weight = scale * last.weight  # (D, width)
        if last.out_features > last.in_features:
            self._basis, weight = torch.linalg.qr(weight)
        last.weight = nn.Parameter(weight, requires_grad=False)
        last.bias = nn.Parameter(weight.new_zeros(len(weight)), requires_grad=False)
        self._widest = max(len(weight), *network.hidden_dims, 1)

    def decode(self, z: np.ndarray) -> np.ndarray:
        """Decode points: data (n, D) at ``z`` (n, d)."""
        x = np.empty((len(z), self.n_features))
        for where, points in self._points(z, self.n_features):
            on_surface = self._decoder(points)
            if self._basis is not None:
                on_surface = on_surface @ self._basis.t()
            x[where] = (on_surface + self._origin).cpu().numpy()
        return x

    def on_surface(self, z: np.ndarray) -> np.ndarray:
        """Points (n, w) of the surface at ``z`` (n, d), up to a shift, in an orthonormal basis of its subspace.

        Distances between them are those between decoded points; ``w`` is at most the width of the last hidden layer.
        """
        x = np.empty((len(z), len(self._decoder.last.weight)))
        for where, points in self._points(z, x.shape[1]):
            x[where] = self._decoder(points).cpu().numpy()
        return x

    def pushforward(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same points (n, w) and the tangents (d, n, w) there: the columns of `J` in that basis."""
        x = np.empty((len(z), len(self._decoder.last.weight)))
        tangents = np.empty((self.n_components, *x.shape))
        for where, _, points, columns in self._pushforward(z):
            x[where], tangents[:, where] = points.cpu().numpy(), columns.numpy()
        return x, tangents

    def metric(self, z: np.ndarray) -> np.ndarray:
        """Pullback metric `G = J^T J`, (n, d, d), at ``z`` (n, d)."""
        metric = np.empty((len(z), self.n_components, self.n_components))
        for where, _, _, tangents in self._pushforward(z):
            metric[where] = geometry.metric(tangents).numpy()
        return metric

    def distortion(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log determinant and anisotropy, each (n,), at ``z`` (n, d)."""
        log_det, anisotropy = np.empty(len(z)), np.empty(len(z))
        for where, _, _, tangents in self._pushforward(z):
            log_det[where], anisotropy[where] = (values.numpy() for values in geometry.distortion(tangents))
        return log_det, anisotropy

    def indicatrix(self, z: np.ndarray, dimensions: tuple[int, int] = (0, 1)) -> tuple[np.ndarray, np.ndarray]:
        """Semi-axes of the ellipses that stand for circles of radius 1 in the data.

        Parameters
        ----------
        z
            (n, d), d at least 2.
        dimensions
            The two map dimensions in which the ellipses lie; the others are held fixed.

        Returns
        -------
        Lengths (n, 2) in units of the map, longest first, and directions (n, 2, 2), one axis per column.
        """
        restricted = self.metric(z)[:, dimensions][:, :, dimensions]
        lengths, directions = geometry.indicatrix(torch.from_numpy(restricted))
        return lengths.numpy(), directions.numpy()

    def nonlinearity(self, z: np.ndarray, radius: float, dimensions: tuple[int, int] = (0, 1)) -> np.ndarray:
        """How far the decoder departs from its linear approximation on the indicatrices of this radius.

        The root mean square of ``|f(z + v) - f(z) - J v| / radius`` over `N_DIRECTIONS` points ``z + v`` of the
        indicatrix, equally spaced on the circle in the data: 0 for a linear decoder, about
        radius / (2 radius of curvature) for a curved one.

        Parameters
        ----------
        z
            (n, d), d at least 2.
        radius
            Radius of the circles in the data, input units.
        dimensions
            The two map dimensions in which the indicatrix lies.

        Returns
        -------
        (n,), without unit.
        """
        result = np.empty(len(z))
        for where, points, on_surface, tangents in self._pushforward(z):
            pair = tangents[list(dimensions)]  # (2, n, width)
            lengths, axes = geometry.indicatrix(geometry.metric(pair), radius)
            center = on_surface.cpu()
            squares = torch.zeros(len(points), dtype=torch.float64)
            for angle in 2 * np.pi * np.arange(N_DIRECTIONS) / N_DIRECTIONS:
                on_circle = lengths * torch.tensor([np.cos(angle), np.sin(angle)])  # (n, 2)
                v = (axes @ on_circle[:, :, None])[:, :, 0]  # (n, 2)
                moved = points.clone()
                moved[:, list(dimensions)] += v.to(points.device)
                rest = self._decoder(moved).cpu() - center - (v.t()[:, :, None] * pair).sum(0)
                squares += rest.square().sum(1)
            result[where] = (squares / N_DIRECTIONS).sqrt().numpy() / radius
        return result

    def normal(self, z: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Lengths (n,) of the parts of vectors ``v`` (n, D) that are normal to the surface at ``z`` (n, d)."""
        length = np.empty(len(z))
        for where, _, _, tangents in self._pushforward(z):
            rest = torch.tensor(v[where], dtype=torch.float64)
            beside = torch.zeros(len(rest), dtype=torch.float64)
            if self._basis is not None:
                basis = self._basis.cpu()
                rest, whole = rest @ basis, rest  # (n, width), (n, D)
                beside = (whole - rest @ basis.t()).square().sum(1)  # normal to the subspace
            for direction in geometry.gram_schmidt(tangents)[0]:  # (n, width)
                rest = rest - (direction * rest).sum(1, keepdim=True) * direction
            length[where] = (rest.square().sum(1) + beside).sqrt().numpy()
        return length

    def _points(self, z: np.ndarray, width: int) -> Iterator[tuple[slice, Tensor]]:
        """Blocks of points on the device, small enough for arrays of this width."""
        for where in blocks(len(z), max(width, self._widest)):
            yield where, torch.tensor(z[where], dtype=torch.float64, device=self._device)

    def _pushforward(self, z: np.ndarray) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """Blocks of points on the device, decoded in the basis (n, width), with tangents (d, n, width) on the host."""
        for where, points in self._points(z, (1 + self.n_components) * self._widest):
            x, tangents = self._decoder.pushforward(points)
            if not torch.isfinite(tangents).all():
                msg = (
                    "The decoder has no finite derivative at some points: its weights or the points are far too large."
                )
                raise ValueError(msg)
            yield where, points, x, tangents.cpu()
