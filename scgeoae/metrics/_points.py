"""The arguments of the measures: checks, and the distances between cells, a block of rows at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.metrics import euclidean_distances
from sklearn.utils.extmath import row_norms

from .._checks import refuse_masked, whole_number

if TYPE_CHECKING:
    from collections.abc import Iterator

PointsLike: TypeAlias = npt.ArrayLike | Any
"""An array of shape (cells, features), or the same as a `scipy.sparse` matrix."""

MIN_CELLS = 3

BLOCK_BYTES = 16 * 2**20
"""Largest size of one array of distances between a block of cells and all cells. A few are in memory at a time."""

MAX_FEATURES_FOR_DIFFERENCES = 100
"""Up to this many features, distances are sums of squared differences; with more, they come from scalar products."""


def as_points(points: PointsLike, name: str, *, varying_for: str | None = None) -> Any:
    """Return points as a float64 array or CSR matrix of shape (cells, features).

    Parameters
    ----------
    points, name
        The points, and what error messages call them.
    varying_for
        The measure that is undefined if all points are equal; `None` if there is none.

    Raises
    ------
    TypeError
        If the points are not real numbers.
    ValueError
        If they are masked, not finite, not a matrix of at least 3 rows and one column, or all equal.
    """
    refuse_masked(points, name)
    array: Any = sparse.csr_matrix(points) if sparse.issparse(points) else np.asarray(points)
    if array.dtype.kind not in "fiub":
        msg = f"{name} must hold real numbers, but its type is {array.dtype}."
        raise TypeError(msg)
    if array.ndim != 2:
        msg = f"{name} must have two dimensions (cells, features), but its shape is {array.shape}."
        raise ValueError(msg)
    if array.shape[0] < MIN_CELLS or array.shape[1] < 1:
        msg = f"{name} must hold at least {MIN_CELLS} cells and one feature, but its shape is {array.shape}."
        raise ValueError(msg)
    array = array.astype(np.float64)
    values = array.data if sparse.issparse(array) else array
    with np.errstate(over="ignore", invalid="ignore"):
        sum_of_squares = np.vdot(values, values)
    if not np.isfinite(sum_of_squares):
        msg = f"{name} contains NaN or infinite values, or values too large to be squared."
        raise ValueError(msg)
    if varying_for and (array.max(axis=0) - array.min(axis=0)).max() ** 2 == 0:
        msg = f"{varying_for} is undefined: all points of {name} are equal."
        raise ValueError(msg)
    return array


def as_pair(X: PointsLike, Z: PointsLike, *, varying_for: str | None = None) -> tuple[Points, Points]:
    """Return the data and the map, each checked by `as_points`; raise a `ValueError` if their rows differ in number."""
    data, embedding = as_points(X, "X", varying_for=varying_for), as_points(Z, "Z", varying_for=varying_for)
    if data.shape[0] != embedding.shape[0]:
        msg = f"X and Z must have the same cells as rows, but X has {data.shape[0]}, Z {embedding.shape[0]} rows."
        raise ValueError(msg)
    return Points(data), Points(embedding)


def check_neighbors(k: int, n_cells: int, *, below_half: bool = False) -> int:
    """Return the number of neighbors; raise an error unless it is smaller than the number of cells, or than half."""
    n_neighbors = whole_number(k, "k", 1)
    if n_neighbors >= n_cells or (below_half and n_neighbors >= n_cells / 2):
        limit = "less than half the number of cells" if below_half else "smaller than the number of cells"
        msg = f"k must be {limit}, but k is {n_neighbors} and there are {n_cells} cells."
        raise ValueError(msg)
    return n_neighbors


class Points:
    """Cells and the squared Euclidean distances between them.

    With few features (any map, principal components), squared distances are sums of squared differences: those of equal
    cells are exactly 0, and the result does not depend on the blocks. With many features, or sparse ones, they are
    computed as ``|x|^2 + |y|^2 - 2 x.y``, which is much faster; those within the rounding error of 0 are set to 0.

    Parameters
    ----------
    values
        Coordinates as `as_points` returns them, shape (cells, features). Dense ones are shifted so that the median of
        each feature is 0, because scalar products of points far from the origin lose digits. A single cell very far
        away would shift the mean, but not the median.
    """

    def __init__(self, values: Any) -> None:
        self.values = values if sparse.issparse(values) else values - np.median(values, axis=0)
        self.n_cells = int(values.shape[0])
        self._squared_norms = row_norms(self.values, squared=True)  # (cells,)

    def squared_distances(self, rows: np.ndarray) -> np.ndarray:
        """Compute the squared distances of the cells `rows` to all cells, shape (rows, cells)."""
        n_features = self.values.shape[1]
        if not sparse.issparse(self.values) and n_features <= MAX_FEATURES_FOR_DIFFERENCES:
            return cdist(self.values[rows], self.values, "sqeuclidean")
        norms = self._squared_norms[rows, None]
        both = {"X_norm_squared": norms, "Y_norm_squared": self._squared_norms[None]}
        squared = euclidean_distances(self.values[rows], self.values, squared=True, **both)
        squared[squared <= np.finfo(np.float64).eps * (8 + np.sqrt(n_features)) * norms] = 0
        return squared

    def squared_distances_of_pairs(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Compute the squared distances between the cells `left[i]` and `right[i]`, shape (pairs,)."""
        size = max(1, BLOCK_BYTES // (8 * self.values.shape[1]))
        blocks = (slice(start, start + size) for start in range(0, len(left), size))
        differences = (self.values[left[block]] - self.values[right[block]] for block in blocks)
        return np.concatenate([row_norms(difference, squared=True) for difference in differences])


def row_blocks(rows: np.ndarray, n_cells: int) -> Iterator[np.ndarray]:
    """Cut the rows into blocks whose distances to all cells take at most `BLOCK_BYTES` (but at least one row)."""
    size = max(1, BLOCK_BYTES // (8 * n_cells))
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
