"""
Measures of distances: whether the distances between cells on the map agree with those in the data.

Up to `max_cells` cells they use all pairs of cells: the time grows with n^2, and about six arrays of at most 16 MB
each are in memory at a time (and six tables of 32 MB by `spearman`), never an n x n matrix. Above, a random sample of
pairs is used.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ._checks import PointsLike, as_pair, check_varies
from ._pairs import PairedDistances, PairSample, pair_distances, squared_blocks
from ._rank_correlation import spearman_of_arrays, spearman_of_blocks
from ._sampling import Estimate, Random, standard_error_by_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_SORTED_PAIRS = 2**20
"""Up to this many pairs are ranked by sorting; the ranks of more are counted in a table."""


def spearman(X: PointsLike, Z: PointsLike, *, max_cells: int = 10_000, rng: Random = 0) -> float:
    """
    Rank correlation of the distances on the map with those in the data.

    Spearman's correlation of `d_X(i, j)` with `d_Z(i, j)` over the pairs i < j [1]_; equal distances share their mean
    rank. From -1 to 1, higher is better; does not depend on the scale of the map. A random map scores 0. Most pairs
    are far apart, so this is a measure of the global arrangement.

    With more than 1,448 cells, squared distances that agree in their first 17 binary digits (a relative difference of
    2^-16) count as equal: ranks are then counted in a table of fixed size, and distances need not be sorted. This
    changes the value by about 1e-7, or 1e-6 where nearly all distances agree to three digits.

    Parameters
    ----------
    X
        Data, shape (cells, features): array or sparse matrix.
    Z
        Map, shape (cells, map dimensions).
    max_cells
        Up to this many cells all pairs are used. Above, a random sample of `100 * max_cells` pairs.
    rng
        Seed or generator for the sample. The same seed gives the same value.

    Returns
    -------
    Correlation.

    Raises
    ------
    ValueError
        If X or Z is not a finite array of at least 3 rows, if their numbers of rows differ, or if all distances in one
        of them are equal.

    References
    ----------
    .. [1] Nazari, Damrich, Hamprecht (2023), Geometric Autoencoders - What You See is What You Decode, ICML,
       arXiv:2306.17638.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae import metrics
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(metrics.spearman(X, 3 * X), 3)
    1.0
    """
    data, embedding = as_pair(X, Z)
    check_varies(data, "X", "spearman")
    check_varies(embedding, "Z", "spearman")
    return spearman_of_several([pair_distances(data, embedding, max_cells=max_cells, rng=rng)])[0]


def stress(X: PointsLike, Z: PointsLike, *, max_cells: int = 10_000, rng: Random = 0) -> float:
    """
    Relative error of the distances on the map, at the scale of the map that makes it smallest.

    `sqrt(sum (d_X - a d_Z)^2 / sum d_X^2)` over the pairs i < j, with `a = sum d_X d_Z / sum d_Z^2` [1]_. From 0 to 1,
    lower is better; does not depend on the scale of the map. There is no single chance value: it depends on the spread
    of the distances. If all distances in the data are about equal, a random Gaussian map in two dimensions scores
    `sqrt(1 - pi / 4)`, about 0.46.

    Parameters
    ----------
    X
        Data, shape (cells, features): array or sparse matrix.
    Z
        Map, shape (cells, map dimensions).
    max_cells, rng
        As in `spearman`.

    Returns
    -------
    Stress.

    Raises
    ------
    ValueError
        If X or Z is not a finite array of at least 3 rows, if their numbers of rows differ, or if all points of one of
        them are equal.

    References
    ----------
    .. [1] Smelser, Miller, Kobourov (2024), "Normalized stress" is not normalized: how to interpret stress correctly,
       arXiv:2408.07724.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae import metrics
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(metrics.stress(X, X[:, :2]), 3)
    0.384
    """
    data, embedding = as_pair(X, Z)
    check_varies(data, "X", "stress")
    check_varies(embedding, "Z", "stress")
    pairs = pair_distances(data, embedding, max_cells=max_cells, rng=rng)
    return stress_estimate(pairs, sum_distances(pairs)).value


def rmse(X: PointsLike, Z: PointsLike, *, max_cells: int = 10_000, rng: Random = 0) -> float:
    """
    Root mean square difference of the distances on the map from those in the data.

    `sqrt(sum (d_X - d_Z)^2 / n^2)` over all ordered pairs, a cell with itself included [1]_. From 0, in the units of
    the data, lower is better. The only measure here that **depends on the scale of the map**: it says little about maps
    with arbitrary units, and cannot be compared between data sets. No chance value.

    Parameters
    ----------
    X
        Data, shape (cells, features): array or sparse matrix.
    Z
        Map, shape (cells, map dimensions).
    max_cells, rng
        As in `spearman`.

    Returns
    -------
    Root mean square difference.

    Raises
    ------
    ValueError
        If X or Z is not a finite array of at least 3 rows, or if their numbers of rows differ.

    References
    ----------
    .. [1] Nazari, Damrich, Hamprecht (2023), Geometric Autoencoders - What You See is What You Decode, ICML,
       arXiv:2306.17638.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae import metrics
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(metrics.rmse(X, X[:, :2]), 3)
    1.595
    """
    data, embedding = as_pair(X, Z)
    pairs = pair_distances(data, embedding, max_cells=max_cells, rng=rng)
    return rmse_of_sums(sum_distances(pairs), pairs.n_cells)


@dataclass(frozen=True)
class DistanceSums:
    """Sums over pairs of cells, from which stress and RMSE are computed."""

    n_pairs: int
    data_squared: float
    map_squared: float
    product: float
    difference_squared: float


def sum_distances(pairs: PairedDistances) -> DistanceSums:
    """Sum over all pairs, or over the sample."""
    return sum_distances_of_several([pairs])[0]


def sum_distances_of_several(several: Sequence[PairedDistances]) -> list[DistanceSums]:
    """Sum over all pairs, or over the sample, for several maps of the same data."""
    samples = [pairs.sample for pairs in several if pairs.sample is not None]
    if samples:
        return [_sums(sample.in_data, sample.on_map) for sample in samples]
    totals = np.zeros((len(several), len(fields(DistanceSums))))
    for block in squared_blocks(several):
        in_data, *on_maps = map(np.sqrt, block)
        totals += [astuple(_sums(in_data, on_map)) for on_map in on_maps]
    return [DistanceSums(int(total[0]), *total[1:].tolist()) for total in totals]


def _sums(in_data: npt.NDArray[np.float64], on_map: npt.NDArray[np.float64]) -> DistanceSums:
    difference = in_data - on_map
    return DistanceSums(
        len(in_data),
        float(in_data @ in_data),
        float(on_map @ on_map),
        float(in_data @ on_map),
        float(difference @ difference),
    )


def stress_of_sums(sums: DistanceSums) -> float:
    """Stress at the best scale: `sqrt(1 - c^2)` with c the cosine between the two vectors of distances."""
    if sums.data_squared == 0 or sums.map_squared == 0:
        return float("nan")
    squared_cosine = (sums.product / sums.data_squared) * (sums.product / sums.map_squared)
    return float(np.sqrt(max(0.0, 1 - squared_cosine)))


def rmse_of_sums(sums: DistanceSums, n_cells: int) -> float:
    """Root mean square difference over ordered pairs, a cell with itself included."""
    share_of_different_cells = (n_cells - 1) / n_cells
    return float(np.sqrt(sums.difference_squared / sums.n_pairs * share_of_different_cells))


def spearman_of_several(several: Sequence[PairedDistances]) -> list[float]:
    """Spearman correlation over all pairs, or over the sample, of several maps of the same data."""
    samples = [pairs.sample for pairs in several if pairs.sample is not None]
    if samples:
        correlations = [spearman_of_arrays(sample.in_data, sample.on_map) for sample in samples]
    elif several[0].n_pairs <= MAX_SORTED_PAIRS:
        in_data, *on_maps = (np.concatenate(blocks) for blocks in zip(*squared_blocks(several), strict=True))
        correlations = [spearman_of_arrays(in_data, on_map) for on_map in on_maps]
    else:
        bounds = [several[0].data.bound, *(pairs.embedding.bound for pairs in several)]
        correlations = spearman_of_blocks(lambda: squared_blocks(several), bounds)
    return [_defined(value, "spearman", "all distances are equal in X or in Z") for value in correlations]


def spearman_estimates(several: Sequence[PairedDistances]) -> list[Estimate]:
    """Spearman correlations with their standard errors, of several maps of the same data."""
    values = zip(spearman_of_several(several), several, strict=True)
    return [_estimate(value, pairs.sample, spearman_of_arrays) for value, pairs in values]


def stress_estimate(pairs: PairedDistances, sums: DistanceSums) -> Estimate:
    """Stress with its standard error, from `pairs` and the sums over them."""
    value = _defined(stress_of_sums(sums), "stress", "all distances are 0 in X or in Z")
    return _estimate(value, pairs.sample, lambda *group: stress_of_sums(_sums(*group)))


def rmse_estimate(pairs: PairedDistances, sums: DistanceSums) -> Estimate:
    """RMSE with its standard error, from `pairs` and the sums over them."""
    return _estimate(
        rmse_of_sums(sums, pairs.n_cells), pairs.sample, lambda *group: rmse_of_sums(_sums(*group), pairs.n_cells)
    )


def _defined(value: float, measure: str, reason: str) -> float:
    if np.isnan(value):
        msg = f"{measure} is undefined: {reason}."
        raise ValueError(msg)
    return value


def _estimate(value: float, sample: PairSample | None, measure: Callable[..., float]) -> Estimate:
    if sample is None:
        return Estimate(value, 0.0)
    return Estimate(value, standard_error_by_groups(measure, sample.in_data, sample.on_map))
