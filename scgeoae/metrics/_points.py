"""Squared Euclidean distances between cells, a block of rows at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.metrics import euclidean_distances

from ._sampling import BLOCK_BYTES

MAX_FEATURES_FOR_DIFFERENCES = 100
"""Up to this many features, distances are sums of squared differences; with more, they come from scalar products."""


@dataclass(frozen=True)
class Points:
    """
    Cells, and the distances between them.

    With few features (any map, principal components) squared distances are sums of squared differences: those of equal
    cells are exactly 0, and the result does not depend on the blocks. With many features, or sparse ones, they are
    computed as `|x|^2 + |y|^2 - 2 x.y`, which is much faster but has rounding errors; squared distances within the
    rounding error of 0 are set to 0.

    Parameters
    ----------
    values
        Coordinates, shape (cells, features): float64 array, or CSR matrix.
    squared_norms
        Squared length of each row, shape (cells,).
    """

    values: Any
    squared_norms: npt.NDArray[np.float64]

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return int(self.values.shape[0])

    @property
    def from_differences(self) -> bool:
        """Whether distances are sums of squared differences."""
        return not sparse.issparse(self.values) and self.values.shape[1] <= MAX_FEATURES_FOR_DIFFERENCES

    @property
    def bound(self) -> float:
        """A bound on the largest squared distance."""
        return 4 * float(self.squared_norms.max())

    def squared_distances(self, rows: npt.NDArray[np.intp], first: int = 0) -> npt.NDArray[np.float64]:
        """Squared distances of the cells `rows` to the cells from number `first` on, shape (rows, cells - first)."""
        if self.from_differences:
            return np.asarray(cdist(self.values[rows], self.values[first:], "sqeuclidean"))
        return self._from_products(rows, first)

    def _from_products(self, rows: npt.NDArray[np.intp], first: int) -> npt.NDArray[np.float64]:
        row_norms = self.squared_norms[rows, None]
        squared = euclidean_distances(
            self.values[rows],
            self.values[first:],
            X_norm_squared=row_norms,
            Y_norm_squared=self.squared_norms[None, first:],
            squared=True,
        )
        rounding = np.finfo(np.float64).eps * (8 + np.sqrt(self.values.shape[1]))
        squared[squared <= rounding * row_norms] = 0
        return np.asarray(squared)

    def squared_distances_of_pairs(
        self, left: npt.NDArray[np.intp], right: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.float64]:
        """Squared distances between the cells `left[i]` and `right[i]`, shape (pairs,)."""
        size = max(1, BLOCK_BYTES // (8 * self.values.shape[1]))
        starts = range(0, len(left), size)
        return np.concatenate(
            [_squared_norms(self.values[left[i : i + size]] - self.values[right[i : i + size]]) for i in starts]
        )


def prepare(values: Any) -> Points:
    """
    Make `Points` of a checked array or CSR matrix.

    Dense values are shifted so that the median of each feature is 0, because scalar products of points far from the
    origin lose digits. The mean is not used, because a single cell that is very far away shifts it.
    """
    if not sparse.issparse(values):
        values = values - np.median(values, axis=0)
    return Points(values, _squared_norms(values))


def _squared_norms(values: Any) -> npt.NDArray[np.float64]:
    if sparse.issparse(values):
        return np.asarray(values.multiply(values).sum(axis=1)).ravel()
    return np.asarray(np.einsum("ij,ij->i", values, values))
