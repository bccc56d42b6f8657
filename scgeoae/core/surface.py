"""The decoder as a surface in the space of the data, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from . import geometry
from .lens import BentImmersion
from .rows import blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from .autoencoder import GeometricAutoencoder
    from .lens import Lens
    from .observation import Affine

N_DIRECTIONS = 16
"""Points of an indicatrix at which the decoder is compared with its linear approximation."""


class Surface:
    """The surface that the decoder of an autoencoder spans, and its geometry.

    The weights are copied once, so later changes to the autoencoder have no effect. Computation is on its device (on
    the host if the device has no float64), in blocks of bounded memory. Points ``z`` (n, d) are in units of the map,
    lengths in the data in input units; results are float64 on the host.

    Parameters
    ----------
    network
        The autoencoder.
    lens
        What bends the map; points are then those of the bent map.
    """

    def __init__(self, network: GeometricAutoencoder, lens: Lens | None = None) -> None:
        self.n_features, self.n_components = network.n_features, network.n_components
        immersion = network.observation.immersion(network.decoder)
        self._immersion = immersion if lens is None else BentImmersion(immersion, lens)

    def decode(self, z: np.ndarray) -> np.ndarray:
        """Decode points: data (n, D) at ``z`` (n, d)."""
        return self._values(self._immersion.values, z, self.n_features)

    def on_surface(self, z: np.ndarray) -> np.ndarray:
        """Points (n, w) of the surface at ``z`` (n, d), up to a shift.

        Distances between them are those in the data; ``w`` is the dimension of the subspace in which the surface lies,
        at most D.
        """
        return self._values(self._immersion, z, self._immersion.width)

    def pushforward(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same points (n, w) and the tangents (d, n, w) there: the columns of `J` in that subspace."""
        x = np.empty((len(z), self._immersion.width))
        tangents = np.empty((self.n_components, *x.shape))
        for where, _, points, columns in self._pushforward(z):
            x[where], tangents[:, where] = points.cpu().numpy(), columns.numpy()
        return x, tangents

    def differential(self, z: np.ndarray) -> np.ndarray:
        """Derivatives (d, n, D) of the decoded values along the map coordinates at ``z`` (n, d), input units."""
        columns = np.empty((self.n_components, len(z), self.n_features))
        for where, points in self._points(z, (1 + self.n_components) * self.n_features):
            columns[:, where] = self._immersion.differential(points).cpu().numpy()
        return columns

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
            squares = lengths.new_zeros(len(points))
            for angle in 2 * np.pi * np.arange(N_DIRECTIONS) / N_DIRECTIONS:
                on_circle = lengths * lengths.new_tensor([np.cos(angle), np.sin(angle)])  # (n, 2)
                v = (axes @ on_circle[:, :, None])[:, :, 0]  # (n, 2)
                moved = points.clone()
                moved[:, list(dimensions)] += v.to(points.device)
                rest = self._immersion(moved).cpu() - center - (v.t()[:, :, None] * pair).sum(0)
                squares += rest.square().sum(1)
            result[where] = (squares / N_DIRECTIONS).sqrt().numpy() / radius
        return result

    def normal(self, z: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Lengths (n,) of the parts of vectors ``v`` (n, D) that are normal to the surface at ``z`` (n, d)."""
        length = np.empty(len(z))
        for where, _, _, tangents in self._pushforward(z):
            vectors = torch.tensor(v[where], dtype=torch.float64, device=self._immersion.device)
            rest, beside = (part.cpu() for part in self._immersion.resolve(vectors))
            for direction in geometry.gram_schmidt(tangents)[0]:  # (n, width)
                rest = rest - (direction * rest).sum(1, keepdim=True) * direction
            length[where] = (rest.square().sum(1) + beside).sqrt().numpy()
        return length

    def hidden(self, z: np.ndarray) -> np.ndarray:
        """Values (n, width) before the last layer of the decoder at ``z`` (n, d)."""
        return self._values(self._immersion.hidden, z, self._immersion.decoder.last.in_features)

    def affine(self) -> Affine:
        """Return the decoder's parts for readers in another language; raise a `TypeError` if they are not affine."""
        return self._immersion.affine()

    def _values(self, function: Callable[[Tensor], Tensor], z: np.ndarray, width: int) -> np.ndarray:
        """Values (n, width) of a function of points at ``z`` (n, d)."""
        values = np.empty((len(z), width))
        for where, points in self._points(z, width):
            values[where] = function(points).cpu().numpy()
        return values

    def _points(self, z: np.ndarray, width: int) -> Iterator[tuple[slice, Tensor]]:
        """Blocks of points on the device, small enough for arrays of this width."""
        for where in blocks(len(z), max(width, self._immersion.widest)):
            yield where, torch.tensor(z[where], dtype=torch.float64, device=self._immersion.device)

    def _pushforward(self, z: np.ndarray) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """Blocks of points on the device, their places on the surface (n, w), with tangents (d, n, w) on the host."""
        for where, points in self._points(z, (1 + self.n_components) * self._immersion.widest):
            x, tangents = self._immersion.pushforward(points)
            if not torch.isfinite(tangents).all():
                msg = (
                    "The decoder has no finite derivative at some points: its weights or the points are far too large."
                )
                raise ValueError(msg)
            yield where, points, x, tangents.cpu()
