"""The part of a two-dimensional map that cells occupy: one definition for fields, grids, areas and outside cells."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import gaussian_filter, label
from scipy.spatial import cKDTree

RESOLUTION = 128
"""Grid cells along the longer side of the box."""

COVERAGE = 0.99
"""Share of the cells that the region holds."""

PADDING = 0.05
"""Margin of the box on each side, as a share of its longer side."""

NEIGHBOR, FARTHEST = 3, 0.9
"""Where groups are measured, a cell reaches as far as its neighbor of this number on the map is, but no farther than
this share of all cells: one that is far from all others does not cover the gap."""


@dataclass(frozen=True)
class OccupiedRegion:
    """A mask over a grid of square tiles.

    Attributes
    ----------
    mask
        (rows, columns) bool; row 0 is the lowest second coordinate.
    extent
        Left, right, bottom and top of the grid in units of the map.
    """

    mask: np.ndarray = field(metadata={"shape": ("rows", "columns"), "dtype": bool})
    extent: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        left, right, bottom, top = self.extent
        if not (0 < right - left < np.inf and 0 < top - bottom < np.inf and self.mask.any()):
            msg = "The occupied region is empty."
            raise ValueError(msg)

    @property
    def tile_area(self) -> float:
        """Area of one tile, in squared units of the map."""
        left, right, bottom, top = self.extent
        return (right - left) * (top - bottom) / self.mask.size

    def centers(self) -> tuple[np.ndarray, np.ndarray]:
        """First coordinates (columns,) and second coordinates (rows,) of the tile centers."""
        rows, columns = self.mask.shape
        left, right, bottom, top = self.extent
        x = left + (np.arange(columns) + 0.5) * (right - left) / columns
        y = bottom + (np.arange(rows) + 0.5) * (top - bottom) / rows
        return x, y

    def points(self) -> np.ndarray:
        """Centers (m, 2) of the occupied tiles, in the order of ``mask[mask]``."""
        x, y = self.centers()
        row, column = np.nonzero(self.mask)
        return np.column_stack([x[column], y[row]])

    def contains(self, z: np.ndarray) -> np.ndarray:
        """Whether each of the points ``z`` (n, 2) lies in the region, (n,) bool."""
        row, column, inside = _tiles(z, self.mask.shape, self.extent)
        inside[inside] = self.mask[row[inside], column[inside]]
        return inside

    def pieces(self, z: np.ndarray) -> np.ndarray:
        """Number of the connected piece in which each of the points ``z`` (n, 2) lies, (n,) int, 0 off the region."""
        row, column, inside = _tiles(z, self.mask.shape, self.extent)
        return np.where(inside, label(self.mask)[0][row, column], 0)

    def occupied_by(self, z: np.ndarray) -> np.ndarray:
        """Which of the occupied tiles, (m,) bool in the order of :meth:`points`, the cells ``z`` (n, 2) occupy.

        By the same definition, with the tiles of this region: for the cells that it was made of, all tiles.
        """
        return _occupied(z, self.mask.shape, self.extent)[self.mask]

    def whole(self) -> OccupiedRegion:
        """The region of all tiles of the grid."""
        return OccupiedRegion(np.ones_like(self.mask), self.extent)


def occupied_region(z: np.ndarray) -> OccupiedRegion:
    """Highest-density region of the points ``z`` (n, 2).

    The box of the points, without the outermost 0.1 % of each side and padded, is divided into square tiles. Counts are
    smoothed by a Gaussian as wide as half of Scott's rule asks (at least one tile, at most the grid), and tiles are
    occupied where the smoothed count reaches the level that 99 % of the points reach. Outliers, which are farther from
    the central 99 % than these are wide, are left out from the beginning: of few points, one is more than 0.1 %.
    """
    extent, shape = _grid(_without_outliers(z))
    return OccupiedRegion(_occupied(z, shape, extent), extent)


def _occupied(z: np.ndarray, shape: tuple[int, int], extent: tuple[float, float, float, float]) -> np.ndarray:
    """Mask (rows, columns) of the tiles of a grid that the points ``z`` (n, 2) occupy."""
    z = _without_outliers(z)
    row, column, inside = _tiles(z, shape, extent)
    if not inside.any():
        return np.zeros(shape, dtype=bool)
    counts = np.zeros(shape)
    np.add.at(counts, (row[inside], column[inside]), 1)
    tile = (extent[1] - extent[0]) / shape[1]
    scott = np.sqrt(z.var(0).mean()) * len(z) ** (-1 / 6)
    width = min(max(1.0, 0.5 * scott / tile), RESOLUTION)  # few cells, far from a box of equal ones, widen it endlessly
    density = gaussian_filter(counts, width, mode="constant")
    level = np.quantile(density[row[inside], column[inside]], 1 - COVERAGE)
    return np.asarray((density >= level) & (density > 0))


def reached_tiles(region: OccupiedRegion, z: np.ndarray) -> np.ndarray:
    """Centers (m, 2) of the tiles that the cells ``z`` (n, 2) occupy of a region or that lie within the reach of one.

    A kernel of one width for all cells leaves out most of a group that is sparse on the map. The reach of a cell widens
    with its distance to others, so that a group is covered on maps that show it dense and on those that show it sparse;
    it is at least a tile.
    """
    tiles = region.whole().points()
    distance = cKDTree(z).query(z, k=[min(NEIGHBOR, len(z) - 1) + 1])[0][:, 0]
    reach = np.maximum(np.minimum(distance, np.quantile(distance, FARTHEST)), np.sqrt(region.tile_area))
    reached = np.zeros(len(tiles), dtype=bool)
    reached[region.mask.ravel()] = region.occupied_by(z)
    for near in cKDTree(tiles).query_ball_point(z, reach):
        reached[near] = True
    return tiles[reached]


def _without_outliers(z: np.ndarray) -> np.ndarray:
    """Leave out points that are farther from the central 99 % than these are wide; float64."""
    z = z.astype(np.float64)  # squares and sums of large coordinates are beyond float32
    if not len(z):
        return z
    low, high = np.quantile(z, [0.005, 0.995], axis=0)
    width = (high - low).max()
    near = ((z >= low - width) & (z <= high + width)).all(1)
    return z[near] if width > 0 else z  # most points may be at one place


def _grid(z: np.ndarray) -> tuple[tuple[float, float, float, float], tuple[int, int]]:
    low, high = np.quantile(z, [0.001, 0.999], axis=0)
    smallest = np.finfo(np.float32).eps * np.abs(z).max()  # of most cells at one place: what float32 tells apart there
    longer = float(max((high - low).max(), smallest, np.finfo(np.float32).tiny))
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
    x, y = z.T.astype(np.float64)
    column = np.floor((x - left) / (right - left) * columns)
    row = np.floor((y - bottom) / (top - bottom) * rows)
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    row, column = (np.where(inside, tile, -1).astype(np.int64) for tile in (row, column))
    return row, column, inside
