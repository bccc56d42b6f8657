"""Measures of groups of cells: whether their sizes and distances on the map are those in the data.

No decoder decides what is true. Where the counts were split (:func:`scgeoae.pp.split_counts`), noise does not enter:
with components `a` and `b` of both halves in one set of loadings, ``(a_i - a_j) . (b_i - b_j)`` estimates the squared
distance of the cells i and j without noise and without bias, because the noise of the halves is independent.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from ._estimates import Estimate, Measure
from ._points import PointsLike, as_points

if TYPE_CHECKING:
    from collections.abc import Callable

MEASURES = {
    "size_error": Measure("sizes of groups, error", "lower"),
    "distance_error": Measure("distances of groups, error", "lower"),
    "gap": Measure("gap between groups", "one"),
}


def group_sizes(X: PointsLike, groups: npt.ArrayLike, other: PointsLike | None = None) -> pd.Series:
    """Compute the size of each group: the root mean square distance of its cells from their mean.

    The square is ``sum_i (a_i - mean a) . (b_i - mean b) / (n - 1)`` over the `n` cells of the group, with `a` from `X`
    and `b` from `other`, or from `X` too if there is no `other`.

    Parameters
    ----------
    X
        Data or map, shape (cells, features).
    groups
        Name of the group of each cell, shape (cells,); missing for cells without one.
    other
        The other half of the counts in the features of `X`, shape (cells, features): sizes are then free of noise.

    Returns
    -------
    Sizes in units of `X`, indexed by the sorted names of the groups. NaN for a group of one cell and where the estimate
    of the square is not positive, which happens where a group differs by noise alone.

    Raises
    ------
    ValueError
        If the arrays are not finite or not of the same cells, or no cell has a group.

    Examples
    --------
    >>> import numpy as np, scgeoae
    >>> scgeoae.metrics.group_sizes(np.array([[0.0], [2.0], [7.0]]), ["a", "a", "b"])["a"].round(3)
    np.float64(1.414)
    """
    parts, _ = _grouped(X, groups, other)
    squares = {
        name: ((a - a.mean(0)) * (b - b.mean(0))).sum() / (len(a) - 1) if len(a) > 1 else np.nan
        for name, (a, b) in parts.items()
    }
    return _root(pd.Series(squares, dtype=float))


def group_distances(X: PointsLike, groups: npt.ArrayLike, other: PointsLike | None = None) -> pd.Series:
    """Compute the distance between the means of each pair of groups.

    The square is ``(mean a_g - mean a_h) . (mean b_g - mean b_h)`` for the groups `g` and `h`, with `a` from `X` and
    `b` from `other`, or from `X` too if there is no `other`.

    Parameters
    ----------
    X, groups, other
        As in :func:`group_sizes`.

    Returns
    -------
    Distances in units of `X`, indexed by pairs of the sorted names of the groups. NaN where the estimate of the square
    is not positive.

    Raises
    ------
    ValueError
        If the arrays are not finite or not of the same cells, or no cell has a group.

    Examples
    --------
    >>> import numpy as np, scgeoae
    >>> float(scgeoae.metrics.group_distances(np.array([[0.0], [2.0], [7.0]]), ["a", "a", "b"])["a", "b"])
    6.0
    """
    parts, names = _grouped(X, groups, other)
    means = {name: (a.mean(0), b.mean(0)) for name, (a, b) in parts.items()}
    pairs = list(combinations(names, 2))
    squares = [(means[g][0] - means[h][0]) @ (means[g][1] - means[h][1]) for g, h in pairs]
    return _root(pd.Series(squares, index=pd.MultiIndex.from_tuples(pairs, names=["group", "other"]), dtype=float))


def size_error(X: PointsLike, Z: PointsLike, groups: npt.ArrayLike, other: PointsLike | None = None) -> float:
    """Compute by how much the sizes of groups on the map are off, as one factor that all have in common does not count.

    The standard deviation over groups of the logarithm of map size over data size (:func:`group_sizes`): 0.2 means that
    sizes are typically off by 20 %. Lower is better; 0 is perfect.

    Parameters
    ----------
    X, Z
        Data, shape (cells, features), and map, shape (cells, map dimensions).
    groups, other
        As in :func:`group_sizes`.

    Returns
    -------
    Error; NaN if fewer than two groups have a size.

    Raises
    ------
    ValueError
        As :func:`group_sizes`.

    Examples
    --------
    >>> import numpy as np, scgeoae
    >>> X, groups = np.array([[0.0], [1.0], [5.0], [6.0]]), ["a", "a", "b", "b"]
    >>> Z = np.array([[0.0], [1.0], [5.0], [9.0]])  # one group is as large as it should be, the other 4 times
    >>> round(scgeoae.metrics.size_error(X, Z, groups), 3)
    0.693
    """
    return float(_log_ratios(group_sizes, X, Z, groups, other).std(ddof=0))


def distance_error(X: PointsLike, Z: PointsLike, groups: npt.ArrayLike, other: PointsLike | None = None) -> float:
    """Compute by how much the distances between groups on the map are off, as :func:`size_error` of sizes.

    Parameters
    ----------
    X, Z, groups, other
        As in :func:`size_error`.

    Returns
    -------
    Standard deviation over pairs of groups of the logarithm of map distance over data distance.

    Raises
    ------
    ValueError
        As :func:`group_distances`.

    Examples
    --------
    >>> import numpy as np, scgeoae
    >>> X, groups = np.array([[0.0], [1.0], [2.0]]), ["a", "b", "c"]
    >>> round(scgeoae.metrics.distance_error(X, 3 * X, groups), 3)
    0.0
    """
    return float(_log_ratios(group_distances, X, Z, groups, other).std(ddof=0))


def gap(X: PointsLike, Z: PointsLike, groups: npt.ArrayLike, other: PointsLike | None = None) -> float:
    """Compute how much more the map stretches the distances between groups than the groups themselves.

    The geometric mean over pairs of groups of map distance over data distance, divided by the geometric mean over
    groups of map size over data size. 1 is perfect; above, islands look farther apart than they are.

    Parameters
    ----------
    X, Z, groups, other
        As in :func:`size_error`.

    Returns
    -------
    Factor, without unit.

    Raises
    ------
    ValueError
        As :func:`group_sizes`.

    Examples
    --------
    >>> import numpy as np, scgeoae
    >>> X, groups = np.array([[0.0], [1.0], [5.0], [6.0]]), ["a", "a", "b", "b"]
    >>> Z = np.array([[0.0], [1.0], [10.0], [11.0]])  # groups of the right size, twice as far apart
    >>> scgeoae.metrics.gap(X, Z, groups)
    2.0
    """
    between, within = (_log_ratios(measure, X, Z, groups, other) for measure in (group_distances, group_sizes))
    return float(np.exp(between.mean() - within.mean()))


def estimates(
    halves: tuple[PointsLike, PointsLike | None] | None, Z: PointsLike, groups: npt.ArrayLike
) -> dict[str, Estimate]:
    """Compute the columns of the table; NaN without data, and the other half of them."""
    measures = {"size_error": size_error, "distance_error": distance_error, "gap": gap}
    if halves is None:
        return dict.fromkeys(measures, Estimate(np.nan))
    return {name: Estimate(measure(halves[0], Z, groups, halves[1])) for name, measure in measures.items()}


def _grouped(
    X: PointsLike, groups: npt.ArrayLike, other: PointsLike | None
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    """Both halves of the cells of each group, and the sorted names of the groups."""
    data = _dense(X, "X")
    second = data if other is None else _dense(other, "other")
    labels = pd.Series(np.asarray(groups, dtype=object))
    if second.shape != data.shape or len(labels) != len(data):
        msg = (
            f"X, other and groups must have the same cells, and X and other the same features; their shapes are "
            f"{data.shape}, {second.shape} and {labels.shape}."
        )
        raise ValueError(msg)
    found = {str(name): rows.to_numpy() for name, rows in labels.groupby(labels).groups.items()}
    if not found:
        msg = "groups names no group: it is missing for all cells."
        raise ValueError(msg)
    names = sorted(found)
    return {name: (data[found[name]], second[found[name]]) for name in names}, names


def _dense(points: PointsLike, name: str) -> np.ndarray:
    checked = as_points(points, name)
    return checked.toarray() if hasattr(checked, "toarray") else checked


def _root(squares: pd.Series) -> pd.Series:
    """Square roots; NaN of what is not positive."""
    return np.sqrt(squares.where(squares > 0))


def _log_ratios(
    measure: Callable[..., pd.Series], X: PointsLike, Z: PointsLike, groups: npt.ArrayLike, other: PointsLike | None
) -> pd.Series:
    """Logarithms of a measure on the map over the same in the data, where both are known."""
    ratio = (measure(Z, groups) / measure(X, groups, other)).dropna()
    return ratio.map(np.log)
