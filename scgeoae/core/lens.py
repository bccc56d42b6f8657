"""A lens: an invertible map of the plane that gives crowded places more room, by density-equalizing flow.

The density of the cells, to the power of the strength and scaled to mean 1, is a mass that flows until it is even. With
the density `rho` at time 0 and 1 at time 1, `rho_t = (1 - t) rho + t`, the flow `v = grad psi / rho_t` with
`laplace psi = rho - 1` conserves the mass, so the map `T` from where a point starts to where it ends has
`det DT = rho`: a place that is twice as crowded as the average gets twice its area, at strength 1 (Gastner & Newman
2004; in this form Moser 1965, Gastner, Seguy & More 2018). Nothing flows through the sides of the box.

`psi` is a spline of degree 5 on a grid, and the density is that of the spline, so the flow is smooth and all of this
holds between the nodes, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy.fft import dctn, idctn
from scipy.interpolate import BSpline, PPoly
from scipy.ndimage import gaussian_filter

from .observation import Immersion
from .region import OccupiedRegion
from .rows import blocks

if TYPE_CHECKING:
    from torch import Tensor

RESOLUTION = 256
"""Tiles along the longer side of the box."""

MARGIN = 0.15
"""Empty margin of the box on each side, as a share of its longer side: room into which crowded places expand."""

FLOOR = 0.2
"""Density of empty places, as a share of the mean density. It takes a share `FLOOR` / (1 + `FLOOR`) of the room."""

WIDTHS = (4.0, 16.0)
"""Limits, in tiles, of the width of the Gaussian that makes a density of counts. Below, steps would have to be many."""

STEPS = 3
"""Steps of the integration, beyond 4, times the square of the duration. Forward and back, points of pbmc3k and of human
kidney then return within 1e-4 of a tile at strength 0.35 and 1e-3 of a tile at 1."""

EVEN = 1e-6
"""Deviations of the density from 1 that count as none."""

RUNGE_KUTTA = ((0.0, 1 / 6), (0.5, 1 / 3), (0.5, 1 / 3), (1.0, 1 / 6))
"""Time of each stage, as a share of the step, and its weight."""

BLOCK_WIDTH = 2000
"""Points are moved in blocks as if each took so many numbers: what blocks need then fits into a cache."""

DEGREE, HALO = 5, 3
"""Degree of the splines, and nodes beyond the sides that they need."""

PIECES = PPoly.from_spline(BSpline.basis_element(np.arange(DEGREE + 2.0))).c[::-1, 2 * DEGREE : DEGREE - 1 : -1]
"""Coefficients (6 powers, 6 nodes) of the basis splines that are not 0 between two nodes, from left to right."""

DIFFERENTIATE = np.diag(np.arange(1.0, DEGREE + 1), 1)
"""Takes powers of a number to their derivatives."""

PROFILES = {0: [66 / 120, 26 / 120, 1 / 120], 2: [-1.0, 1 / 3, 1 / 6]}
"""Values and second derivatives of the basis spline at its center and at the nodes beside."""


@dataclass(frozen=True, eq=False)
class Lens:
    """An invertible map of the plane onto itself.

    Points are in units of the map. Beyond the sides of the box a point moves as the nearest point of the box does.

    Attributes
    ----------
    density
        Density of the cells on square tiles, (rows, columns), positive; row 0 is the lowest second coordinate.
    extent
        Left, right, bottom and top of the box.
    strength
        0: nothing moves. 1: equal numbers of cells get equal areas.
    """

    density: np.ndarray = field(metadata={"shape": ("lens_rows", "lens_columns"), "positive": True})
    extent: tuple[float, float, float, float]
    strength: float

    def __post_init__(self) -> None:
        left, right, bottom, top = self.extent
        if not (0 < right - left < np.inf and 0 < top - bottom < np.inf and 0 <= self.strength <= 1):
            msg = f"A lens of strength {self.strength} and extent {self.extent} is none."
            raise ValueError(msg)

    @property
    def tile(self) -> float:
        """Side of a tile, in units of the map."""
        return (self.extent[1] - self.extent[0]) / self.density.shape[1]

    def forward(self, z: np.ndarray) -> np.ndarray:
        """Bend: points (n, 2) where the points ``z`` (n, 2) go."""
        return self._flow(z)[0]

    def inverse(self, w: np.ndarray) -> np.ndarray:
        """Straighten: points (n, 2) that go to the points ``w`` (n, 2)."""
        return self._flow(w, back=True)[0]

    def forward_with_jacobian(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bend points (n, 2); return the derivative `DT` (n, 2, 2) as well, integrated along the same flow."""
        return self._flow(z, with_jacobian=True)

    def inverse_with_jacobian(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Straighten points (n, 2); return the derivative of the inverse (n, 2, 2) as well."""
        return self._flow(w, back=True, with_jacobian=True)

    def magnification(self, z: np.ndarray) -> np.ndarray:
        """Return `det DT`, (n,), at points ``z`` (n, 2) of the box: how many times larger the bent map shows a place.

        It is the density there.
        """
        psi = self._derivatives(self._inside(z)[1], 2)
        return 1 + psi[0, 2] + psi[2, 0]

    def at(self, strength: float) -> Lens:
        """Return the lens of the same cells with another strength."""
        return replace(self, strength=strength)

    def bend(self, region: OccupiedRegion) -> OccupiedRegion:
        """Return the region that an occupied region becomes: tiles of the box whose centers go back into it.

        Its tiles are twice as wide as those of the density, about as wide as those of the occupied region.
        """
        grid = OccupiedRegion(np.ones([size // 2 for size in self.density.shape], dtype=bool), self.extent)
        inside = region.contains(self.inverse(grid.points()))
        return OccupiedRegion(inside.reshape(grid.mask.shape), self.extent)

    def graticule(self, n_lines: int = 24, n_points: int = 200) -> list[np.ndarray]:
        """Return the bent lines (n_points, 2) of a square mesh of the box, its sides first and last."""
        left, right, bottom, top = self.extent
        spacing = max(right - left, top - bottom) / n_lines
        lines = []
        for start, stop, low, high, turned in ((left, right, bottom, top, 1), (bottom, top, left, right, -1)):
            along = np.linspace(low, high, n_points)
            for place in np.linspace(start, stop, round((stop - start) / spacing) + 1):
                lines.append(np.column_stack([np.full(n_points, place), along][::turned]))
        return np.split(self.forward(np.concatenate(lines)), len(lines))

    @cached_property
    def _coefficients(self) -> np.ndarray:
        """Coefficients of `psi`, of length 1 tile, with a halo of mirror images around the grid."""
        rho = self.density.astype(np.float64) ** self.strength
        symbols = {
            order: [
                first + 2 * sum(b * np.cos(np.pi * m * np.arange(n) / n) for m, b in enumerate(beside, start=1))
                for n in rho.shape
            ]
            for order, (first, *beside) in PROFILES.items()
        }
        (value_y, value_x), (second_y, second_x) = symbols[0], symbols[2]
        laplacian = np.multiply.outer(second_y, value_x) + np.multiply.outer(value_y, second_x)
        laplacian[0, 0] = 1.0  # constants are free
        modes = dctn(rho / rho.mean() - 1) / laplacian
        return np.pad(idctn(modes), HALO, mode="symmetric")

    @cached_property
    def _clock(self) -> Clock:
        """The pace that suits the most crowded and the emptiest place."""
        rho = self.density.astype(np.float64) ** self.strength
        rho /= rho.mean()
        return Clock(rho.min() / max(1 - rho.min(), EVEN), 1 / max(rho.max() - 1, EVEN))

    def _inside(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (n, 2) in tiles, 0 at the center of the first one, and the nearest places of the box."""
        u = (points.astype(np.float64) - self.extent[::2]) / self.tile - 0.5
        return u, np.clip(u, -0.5, np.array(self.density.shape[::-1]) - 0.5)

    def _derivatives(self, u: np.ndarray, order: int) -> np.ndarray:
        """Derivatives of `psi` at points (n, 2) in tiles: (order + 1, order + 1, n), by order in y and in x."""
        nodes = np.clip(np.floor(u), -1, np.array(self.density.shape[::-1]) - 1).astype(np.intp)  # (n, 2)
        powers = np.vander((u - nodes).T.ravel(), DEGREE + 1, increasing=True).reshape(2, -1, DEGREE + 1)
        derivatives = [np.eye(DEGREE + 1)]
        for _ in range(order):
            derivatives.append(derivatives[-1] @ DIFFERENTIATE)
        weights = np.stack([powers @ matrix @ PIECES for matrix in derivatives], 2)  # (2, n, order + 1, 6)
        column, row = (nodes[:, :, None] + np.arange(DEGREE + 1) + HALO - 2).transpose(1, 0, 2)  # (n, 6)
        around = self._coefficients[row[:, :, None], column[:, None, :]]  # (n, 6, 6)
        return (weights[1] @ around @ weights[0].mT).transpose(1, 2, 0)

    def _velocity(self, u: np.ndarray, time: float, *, with_gradient: bool) -> tuple[np.ndarray, np.ndarray]:
        """Velocities (n, 2) of points in tiles, and their gradient (n, 2, 2), one component per row, or (0, 2, 2)."""
        psi = self._derivatives(u, 3 if with_gradient else 2)
        rho = 1 + (1 - time) * (psi[0, 2] + psi[2, 0])
        v = np.column_stack([psi[0, 1], psi[1, 0]]) / rho[:, None]
        if not with_gradient:
            return v, np.empty((0, 2, 2))
        slope = (1 - time) * np.column_stack([psi[0, 3] + psi[2, 1], psi[1, 2] + psi[3, 0]])
        hessian = np.array([[psi[0, 2], psi[1, 1]], [psi[1, 1], psi[2, 0]]]).transpose(2, 0, 1)
        return v, (hessian - v[:, :, None] * slope[:, None, :]) / rho[:, None, None]

    def _flow(
        self, points: np.ndarray, *, back: bool = False, with_jacobian: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Move points (n, 2) with the flow or back; return their derivatives (n, 2, 2), or (0, 2, 2), as well."""
        moved = points.astype(np.float64)
        jacobian = np.tile(np.eye(2), (len(points) if with_jacobian else 0, 1, 1))
        if self.strength == 0:
            return moved, jacobian
        u, inside = self._inside(moved)
        for where in blocks(len(u), BLOCK_WIDTH):
            end, derivative = self._integrated(inside[where], back=back, with_jacobian=with_jacobian)
            moved[where] += self.tile * (end - inside[where])
            if with_jacobian:  # beyond a side, only the way along it matters
                jacobian[where] = np.where((u == inside)[where, None], derivative, jacobian[where])
        return moved, jacobian

    def _integrated(self, u: np.ndarray, *, back: bool, with_jacobian: bool) -> tuple[np.ndarray, np.ndarray]:
        """Integrate the flow from points (n, 2) in tiles by the classical Runge–Kutta method.

        The method is applied to places and derivatives together, so the derivative is that of the numerical flow.
        """
        m = np.tile(np.eye(2), (len(u) if with_jacobian else 0, 1, 1))
        clock = self._clock
        n_steps = 4 + ceil(STEPS * clock.duration**2)
        h = (-1 if back else 1) / n_steps
        for step in range(n_steps):
            du, dm = np.zeros_like(u), np.zeros_like(m)
            sum_u, sum_m = u, m
            for share, weight in RUNGE_KUTTA:
                time, pace = clock(float(back) + (step + share) * h)
                at, frame = u + share * h * du, m + share * h * dm
                v, gradient = self._velocity(at, time, with_gradient=with_jacobian)
                du, dm = pace * v, pace * gradient @ frame
                sum_u, sum_m = sum_u + weight * h * du, sum_m + weight * h * dm
            u, m = sum_u, sum_m
        return u, m


class BentImmersion(Immersion):
    """An immersion behind a lens: from points ``w`` (n, 2) of the bent map to points of the same surface.

    Parameters
    ----------
    immersion
        That of the true map.
    lens
        What bends it.
    """

    def __init__(self, immersion: Immersion, lens: Lens) -> None:
        self.device, self.observation, self.decoder = immersion.device, immersion.observation, immersion.decoder
        self._immersion, self._lens = immersion, lens

    @property
    def width(self) -> int:
        """As on the true map."""
        return self._immersion.width

    @property
    def widest(self) -> int:
        """As on the true map."""
        return self._immersion.widest

    def __call__(self, z: Tensor) -> Tensor:
        """Points (n, w) of the surface, up to a shift."""
        return self._immersion(self._straight(z))

    def pushforward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Points (n, w) and tangents (d, n, w) there, the columns of `J DT^-1`."""
        straight, derivative = self._straight_with_derivative(z)
        x, tangents = self._immersion.pushforward(straight)
        return x, _along(tangents, derivative)

    def values(self, z: Tensor) -> Tensor:
        """Decoded values (n, D)."""
        return self._immersion.values(self._straight(z))

    def hidden(self, z: Tensor) -> Tensor:
        """Values (n, width) before the last layer of the decoder."""
        return self._immersion.hidden(self._straight(z))

    def differential(self, z: Tensor) -> Tensor:
        """Derivatives (d, n, D) of the decoded values along the coordinates of the bent map."""
        straight, derivative = self._straight_with_derivative(z)
        return _along(self._immersion.differential(straight), derivative)

    def resolve(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """As on the true map."""
        return self._immersion.resolve(v)

    def _straight(self, z: Tensor) -> Tensor:
        return torch.from_numpy(self._lens.inverse(z.numpy(force=True))).to(z.device)

    def _straight_with_derivative(self, z: Tensor) -> tuple[Tensor, Tensor]:
        straight, derivative = self._lens.inverse_with_jacobian(z.numpy(force=True))
        return torch.from_numpy(straight).to(z.device), torch.from_numpy(derivative).to(z.device)


def _along(tangents: Tensor, derivative: Tensor) -> Tensor:
    """Tangents (d, n, w) of the bent map: `J DT^-1`."""
    return torch.einsum("bnw,nba->anw", tangents, derivative)


class Clock(NamedTuple):
    """A pace of time at which the density changes evenly: slow at the start if some places are empty, and at the end.

    ``t`` runs from 0 to 1 with ``s`` by the logistic equation ``dt/ds = (t + early) (1 - t + late) duration / total``.
    """

    early: float
    late: float

    @property
    def duration(self) -> float:
        """How much the logarithm of the density changes."""
        return float(np.log((1 + self.early) / self.early * (1 + self.late) / self.late))

    def __call__(self, s: float) -> tuple[float, float]:
        """Return ``t`` and ``dt/ds``."""
        q = np.exp(s * self.duration) * self.early / (1 + self.late)
        t = ((1 + self.late) * q - self.early) / (1 + q)
        return t, (t + self.early) * (1 - t + self.late) * self.duration / (1 + self.early + self.late)


def lens(z: np.ndarray, occupied: OccupiedRegion, strength: float) -> Lens:
    """Make the lens of cells at the points ``z`` (n, 2) of a map, of which they occupy a region.

    Counts on a grid are smoothed by a Gaussian as wide as Scott's rule asks, within bounds, and `FLOOR` is added.
    """
    left, right, bottom, top = occupied.extent
    margin = MARGIN * max(right - left, top - bottom)
    tile = (max(right - left, top - bottom) + 2 * margin) / RESOLUTION
    columns, rows = (2 * round((side / 2 + margin) / tile) for side in (right - left, top - bottom))
    middle, half = np.array([left + right, bottom + top]) / 2, np.array([columns, rows]) * tile / 2
    (left, bottom), (right, top) = (middle - half).tolist(), (middle + half).tolist()
    column, row = np.floor((z.astype(np.float64) - [left, bottom]) / tile).T
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    counts = np.zeros((rows, columns))
    np.add.at(counts, (row[inside].astype(int), column[inside].astype(int)), 1)
    scott = np.sqrt(z.astype(np.float64).var(0).mean()) * len(z) ** (-1 / 6)
    smooth = gaussian_filter(counts, np.clip(scott / tile, *WIDTHS), mode="reflect")
    density = (smooth / smooth.mean() + FLOOR) / (1 + FLOOR)
    return Lens(density.astype(np.float32), (left, right, bottom, top), strength)
