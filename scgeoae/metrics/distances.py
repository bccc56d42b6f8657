"""Measures of distances: whether the distances between cells on the map agree with those in the data.

Stress and RMSE use all pairs of cells up to `max_cells` cells, and a random sample of pairs above. The rank correlation
needs the distances of all its pairs in memory, and uses a sample if there are more than 3,000 cells. The time grows
with n^2 up to `max_cells` cells; a few arrays of at most 36 MB each are in memory at a time, never an n x n matrix.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import orthogonal_procrustes
from scipy.stats import spearmanr

from .._checks import whole_number
from ._estimates import Estimate, Measure, Random
from ._points import Points, PointsLike, as_pair, as_points, row_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MEASURES = {
    "spearman": Measure("Spearman", "higher", ranked=True),
    "stress": Measure("stress", "lower", ranked=True),
    "rmse": Measure("RMSE (depends on scale)", "none"),
}

MAX_PAIRS = 3_000 * 2_999 // 2
"""Largest number of pairs whose distances are in memory at a time: all pairs of 3,000 cells."""

PAIRS_PER_CELL = 100
"""A sample has `PAIRS_PER_CELL * max_cells` pairs, or `MAX_PAIRS`, if that is less."""

N_GROUPS = 20
"""Number of parts of a sample, from whose spread the standard error is computed."""


def spearman(X: PointsLike, Z: PointsLike, *, max_cells: int = 10_000, rng: Random = 0) -> float:
    """Compute the rank correlation of the distances on the map with those in the data.

    Spearman's correlation of `d_X(i, j)` with `d_Z(i, j)` over the pairs i < j [1]_; equal distances share their mean
    rank. From -1 to 1, higher is better. A random map scores 0. Most pairs are far apart, so this measures the global
    arrangement.

    Parameters
    ----------
    X, Z
        Data, shape (cells, features), and map, shape (cells, map dimensions): arrays or sparse matrices.
    max_cells
        Up to this many cells, but at most 3,000, all pairs are used. Above, a random sample of `100 * max_cells` pairs,
        but at most 4,498,500, as many as 3,000 cells have.
    rng
        Seed or generator for the sample. The same seed gives the same value.

    Returns
    -------
    Correlation.

    Raises
    ------
    ValueError
        If X and Z are not finite arrays of the same 3 or more rows, or if all distances in one of them are equal.

    References
    ----------
    .. [1] Nazari, Damrich, Hamprecht (2023), Geometric Autoencoders - What You See is What You Decode, ICML,
       arXiv:2306.17638.

    Examples
    --------
    >>> import numpy as np, scgeoae
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(scgeoae.metrics.spearman(X, 3 * X), 3)
    1.0
    """
    data, embedding = as_pair(X, Z, varying_for="spearman")
    return Distances(data, [embedding], max_cells=max_cells, rng=rng).of_pairs("spearman", _spearman)[0].value


def displacement(Z1: PointsLike, Z2: PointsLike) -> float:
    """Compute how far the typical cell lies from its place on another map of the same cells.

    Both maps are centered and scaled to radius (root mean square distance from the mean) 1, the second one is turned
    and reflected to be nearest to the first by least squares, and the median over cells of the distance between both
    places is taken. 0 for maps that differ by a shift, a rotation, a reflection and a scale; about 1.2 for unrelated
    maps. Between maps of two seeds, of both halves of the counts, or of random parts of the cells, it says what the
    data decide.

    Parameters
    ----------
    Z1, Z2
        Maps, shape (cells, map dimensions).

    Returns
    -------
    Displacement in units of the radius.

    Raises
    ------
    ValueError
        If the maps are not finite arrays of the same shape, or all points of one of them are equal.

    Examples
    --------
    >>> import numpy as np, scgeoae
    >>> Z = np.random.default_rng(0).normal(size=(100, 2))
    >>> round(scgeoae.metrics.displacement(Z, 2 * Z[:, ::-1] + 1), 3)
    0.0
    """
    first, second = (as_points(Z, name, varying_for="displacement") for Z, name in ((Z1, "Z1"), (Z2, "Z2")))
    if first.shape != second.shape:
        msg = (
            f"Z1 and Z2 must be maps of the same cells and dimensions; their shapes are {first.shape}, {second.shape}."
        )
        raise ValueError(msg)
    one, two = ((Z - Z.mean(0)) / np.sqrt(Z.var(0).sum()) for Z in (first, second))
    turn, _ = orthogonal_procrustes(two, one)
    return float(np.median(np.linalg.norm(two @ turn - one, axis=1)))


def stress(X: PointsLike, Z: PointsLike, *, max_cells: int = 10_000, rng: Random = 0) -> float:
    """Compute the relative error of the distances on the map, at the scale of the map that makes it smallest.

    `sqrt(sum (d_X - a d_Z)^2 / sum d_X^2)` over the pairs i < j, with `a = sum d_X d_Z / sum d_Z^2` [1]_. From 0 to 1,
    lower is better. The value of a random map depends on the spread of the distances: if all distances in the data are
    about equal, a random Gaussian map in two dimensions scores `sqrt(1 - pi / 4)`, about 0.46.

    Parameters
    ----------
    X, Z
        Data, shape (cells, features), and map, shape (cells, map dimensions): arrays or sparse matrices.
    max_cells
        Up to this many cells all pairs are used. Above, a random sample of pairs, as in `spearman`.
    rng
        Seed or generator for the sample. The same seed gives the same value.

    Returns
    -------
    Stress.

    Raises
    ------
    ValueError
        If X and Z are not finite arrays of the same 3 or more rows, or if all points of one of them are equal.

    References
    ----------
    .. [1] Smelser, Miller, Kobourov (2024), "Normalized stress" is not normalized: how to interpret stress correctly,
       arXiv:2408.07724.

    Examples
    --------
    >>> import numpy as np, scgeoae
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(scgeoae.metrics.stress(X, X[:, :2]), 3)
    0.384
    """
    data, embedding = as_pair(X, Z, varying_for="stress")
    return Distances(data, [embedding], max_cells=max_cells, rng=rng).of_moments("stress", _stress)[0].value


def rmse(X: PointsLike, Z: PointsLike, *, max_cells: int = 10_000, rng: Random = 0) -> float:
    """Compute the root mean square difference of the distances on the map from those in the data.

    `sqrt(sum (d_X - d_Z)^2 / n^2)` over all ordered pairs, a cell with itself included [1]_. From 0, in the units of
    the data, lower is better. The only measure here that **depends on the scale of the map**: it says little about maps
    with arbitrary units, and cannot be compared between data sets. It has no chance value.

    Parameters
    ----------
    X, Z
        Data, shape (cells, features), and map, shape (cells, map dimensions): arrays or sparse matrices.
    max_cells, rng
        As in `stress`.

    Returns
    -------
    Root mean square difference.

    Raises
    ------
    ValueError
        If X and Z are not finite arrays of the same 3 or more rows.

    References
    ----------
    .. [1] Nazari, Damrich, Hamprecht (2023), Geometric Autoencoders - What You See is What You Decode, ICML,
       arXiv:2306.17638.

    Examples
    --------
    >>> import numpy as np, scgeoae
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(scgeoae.metrics.rmse(X, X[:, :2]), 3)
    1.595
    """
    data, embedding = as_pair(X, Z)
    return Distances(data, [embedding], max_cells=max_cells, rng=rng).of_moments("rmse", _rmse)[0].value


def estimates(data: Points, maps: Sequence[Points], *, max_cells: int, rng: Random) -> list[dict[str, Estimate]]:
    """Compute the columns of the table for several maps of the same cells, one dict per map."""
    distances = Distances(data, maps, max_cells=max_cells, rng=rng)
    columns = {
        "spearman": distances.of_pairs("spearman", _spearman),
        "stress": distances.of_moments("stress", _stress),
        "rmse": distances.of_moments("rmse", _rmse),
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _spearman(in_data: np.ndarray, on_map: np.ndarray) -> float:
    if np.ptp(in_data) == 0 or np.ptp(on_map) == 0:
        return float("nan")
    return float(spearmanr(in_data, on_map).statistic)


def _stress(moments: np.ndarray) -> float:
    """Compute the stress at the best scale: `sqrt(1 - c^2)` with c the cosine between the two vectors of distances."""
    data_squared, map_squared, product, _ = moments
    if data_squared == 0 or map_squared == 0:
        return float("nan")
    return float(np.sqrt(max(0.0, 1 - (product / data_squared) * (product / map_squared))))


def _rmse(moments: np.ndarray) -> float:
    return float(np.sqrt(moments[3]))


def _sums(in_data: np.ndarray, on_map: np.ndarray) -> np.ndarray:
    """Sum `d_X^2`, `d_Z^2`, `d_X d_Z` and `(d_X - d_Z)^2` over pairs; the distances have the shape (pairs,)."""
    difference = in_data - on_map
    return np.array([in_data @ in_data, on_map @ on_map, in_data @ on_map, difference @ difference])


class Distances:
    """Distances of pairs of cells in the data and on several maps, computed when a measure needs them, and once.

    Parameters
    ----------
    data, maps
        The cells in the data and on each map.
    max_cells
        Up to this many cells all pairs are used, as far as they fit into memory; above, a sample.
    rng
        Seed or generator for the sample.
    """

    def __init__(self, data: Points, maps: Sequence[Points], *, max_cells: int, rng: Random) -> None:
        self.points = [data, *maps]
        self.n_cells = data.n_cells
        self.max_cells = whole_number(max_cells, "max_cells", 3)
        self.all_in_memory = self.n_cells <= max_cells and self.n_cells * (self.n_cells - 1) // 2 <= MAX_PAIRS
        self.generator = np.random.default_rng(rng)

    def _blocks(self) -> Iterator[list[np.ndarray]]:
        """Yield the distances of all pairs i < j in the data and on each map, a block of rows at a time."""
        cells = np.arange(self.n_cells)
        for rows in row_blocks(cells, self.n_cells):
            yield [np.sqrt(points.squared_distances(rows)[cells > rows[:, None]]) for points in self.points]

    @cached_property
    def pairs(self) -> list[np.ndarray]:
        """Distances of the same pairs in the data and on each map, each of shape (pairs,): of all pairs or a sample."""
        if self.all_in_memory:
            return [np.concatenate(parts) for parts in zip(*self._blocks(), strict=True)]
        size = min(PAIRS_PER_CELL * self.max_cells, MAX_PAIRS)
        left = self.generator.integers(self.n_cells, size=size)
        right = self.generator.integers(self.n_cells - 1, size=size)
        right += right >= left
        return [np.sqrt(points.squared_distances_of_pairs(left, right)) for points in self.points]

    @cached_property
    def moments(self) -> list[np.ndarray]:
        """The `_sums` of each map as means over all n^2 pairs, in both orders and of a cell with itself."""
        totals = np.zeros((len(self.points) - 1, 4))
        for in_data, *on_maps in self._blocks():
            totals += [_sums(in_data, on_map) for on_map in on_maps]
        return list(totals / (self.n_cells**2 / 2))

    def of_pairs(self, name: str, measure: Callable[..., float]) -> list[Estimate]:
        """Estimate a measure of each map that is a function of the distances in the data and on the map."""
        in_data, *on_maps = self.pairs
        values = [_defined(name, measure(in_data, on_map)) for on_map in on_maps]
        if self.all_in_memory:
            return [Estimate(value) for value in values]
        spreads = []
        for on_map in on_maps:  # groups share no pair
            groups = zip(np.array_split(in_data, N_GROUPS), np.array_split(on_map, N_GROUPS), strict=True)
            spreads.append(np.std([measure(*group) for group in groups], ddof=1))
        return [Estimate(value, float(each / np.sqrt(N_GROUPS))) for value, each in zip(values, spreads, strict=True)]

    def of_moments(self, name: str, measure: Callable[..., float]) -> list[Estimate]:
        """Estimate a measure of each map that is a function of its `moments`: exact up to `max_cells` cells."""
        if self.n_cells <= self.max_cells:
            return [Estimate(_defined(name, measure(moments))) for moments in self.moments]
        different = 1 - 1 / self.n_cells  # share of pairs of different cells
        return self.of_pairs(name, lambda *pair: measure(_sums(*pair) / len(pair[0]) * different))


def _defined(name: str, value: float) -> float:
    if np.isnan(value):
        msg = f"{name} is undefined: all distances are equal in X or in Z."
        raise ValueError(msg)
    return value
