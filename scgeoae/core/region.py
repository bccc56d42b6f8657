"""The part of a two-dimensional map that cells occupy: one definition for fields, grids, areas and outside cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

RESOLUTION = 128
"""Grid cells along the longer side of the box."""

COVERAGE = 0.99
"""Share of the cells that the region holds, and of those whose reconstruction error is within the limit."""

PRIOR = 1e-3
"""Weight of the overall mean error beside the cells of a tile, in cells: it decides only where there are none."""

PADDING = 0.05
"""Margin of the box on each side, as a share of its longer side."""


@dataclass(frozen=True)
class OccupiedRegion:
    """A mask over a grid of square tiles.

    Attributes
    ----------
    mask
        (rows, columns) bool; row 0 is the lowest second coordinate.
    extent
        Left, right, bottom and top of the grid in units of the map.
    error_limit
        (rows, columns) float32, input units: the reconstruction error up to which a cell at this place is explained.
    """

    mask: np.ndarray
    extent: tuple[float, float, float, float]
    error_limit: np.ndarray

    @property
    def tile_area(self) -> float:
        """Area of one tile, in squared units of the map."""
        left, right, bottom, top = self.extent
        return (right - left) * (top - bottom) / self.mask.size

    def centers(self) -> tuple[np.ndarray, np.ndarray]:
        """First coordinates (columns,) and second coordinates (rows,) of the tile centres."""
        rows, columns = self.mask.shape
        left, right, bottom, top = self.extent
        x = left + (np.arange(columns) + 0.5) * (right - left) / columns
        y = bottom + (np.arange(rows) + 0.5) * (top - bottom) / rows
        return x, y

    def points(self) -> np.ndarray:
        """Centres (m, 2) of the occupied tiles, in the order of ``mask[mask]``."""
        x, y = self.centers()
        row, column = np.nonzero(self.mask)
        return np.column_stack([x[column], y[row]])

    def contains(self, z: np.ndarray) -> np.ndarray:
        """Whether each of the points ``z`` (n, 2) lies in the region, (n,) bool."""
        row, column, inside = _tiles(z, self.mask.shape, self.extent)
        inside[inside] = self.mask[row[inside], column[inside]]
        return inside

    def explains(self, z: np.ndarray, error: np.ndarray) -> np.ndarray:
        """Whether cells at ``z`` (n, 2) lie in the region with an ``error`` (n,) within its limit there, (n,) bool."""
        row, column, _ = _tiles(z, self.mask.shape, self.extent)
        explained = self.contains(z)
        explained[explained] = error[explained] <= self.error_limit[row[explained], column[explained]]
        return explained


def occupied_region(z: np.ndarray, error: np.ndarray) -> OccupiedRegion:
    """Highest-density region of the points ``z`` (n, 2), and the usual reconstruction ``error`` (n,) at its places.

    The box of the points, without the outermost 0.1 % of each side and padded, is divided into square tiles. Counts are
    smoothed by a Gaussian as wide as half of Scott's rule asks (at least one tile), and tiles are occupied where the
    smoothed count reaches the level that 99 % of the points reach. The limit of the error is its mean, smoothed in the
    same way, times the factor within which 99 % of the points stay: cell types differ in how much a map explains of
    them, and a limit for all would be that of the least explained.
    """
    extent, shape = _grid(z)
    row, column, inside = _tiles(z, shape, extent)
    at = row[inside], column[inside]
    tile = (extent[1] - extent[0]) / shape[1]
    scott = np.sqrt(z.var(0).mean()) * len(z) ** (-1 / 6)
    width = max(1.0, 0.5 * scott / tile)

    def smoothed(weights: np.ndarray | float) -> np.ndarray:
        tally = np.zeros(shape)
        np.add.at(tally, at, weights)
        return gaussian_filter(tally, width, mode="constant")

    density = smoothed(1.0)
    level = np.quantile(density[at], 1 - COVERAGE)
    usual = (smoothed(error[inside]) + PRIOR * error.mean()) / (density + PRIOR)
    usual = np.maximum(usual, np.finfo(np.float32).tiny)
    factor = np.quantile(error[inside] / usual[at], COVERAGE)
    return OccupiedRegion((density >= level) & (density > 0), extent, (factor * usual).astype(np.float32))


def _grid(z: np.ndarray) -> tuple[tuple[float, float, float, float], tuple[int, int]]:
    low, high = np.quantile(z, [0.001, 0.999], axis=0).astype(float)
    longer = float(max((high - low).max(), np.finfo(np.float32).tiny))
    low, high = low - PADDING * longer, high + PADDING * longer
    tile = (1 + 2 * PADDING) * longer / RESOLUTION
    columns, rows = (int(count) for count in np.ceil((high - low) / tile - 1e-6))
    middle = (low + high) / 2
    half = np.array([columns, rows]) * tile / 2
    (left, bottom), (right, top) = (middle - half).tolist(), (middle + half).tolist()
    return (left, right, bottom, top), (rows, columns)


def _tiles(
    z: np.ndarray, shape: tuple[int, int], extent: tuple[float, float, float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row and column of each point's tile, and whether it lies on the grid at all."""
    rows, columns = shape
    left, right, bottom, top = extent
    column = np.floor((z[:, 0] - left) / (right - left) * columns).astype(np.int64)
    row = np.floor((z[:, 1] - bottom) / (top - bottom) * rows).astype(np.int64)
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    return row, column, inside
