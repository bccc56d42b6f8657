"""Neighbors that maps have in common, cell by cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.neighbors import NearestNeighbors

if TYPE_CHECKING:
    from collections.abc import Sequence


def kept_neighbors(x: np.ndarray, maps: Sequence[np.ndarray], k: int) -> np.ndarray:
    """Share of the k nearest neighbors of each cell that are among its k nearest on all maps, (n,).

    The search is exact. If there are fewer other cells than k, all of them are neighbors.

    Parameters
    ----------
    x
        Where the neighbors are searched for first: the data (n, D), or a map.
    maps
        Of the same cells, each (n, d).
    k
        Number of neighbors, the cell itself not counted.
    """
    search = (NearestNeighbors(n_neighbors=min(k, len(z) - 1)).fit(z) for z in (x, *maps))
    return shared_neighbors([each.kneighbors(return_distance=False) for each in search])


def shared_neighbors(neighbors: Sequence[np.ndarray]) -> np.ndarray:
    """Share of the neighbors of each cell that are in all of several lists (n, k) of row numbers, (n,)."""
    further = len(neighbors) - 1
    ordered = np.sort(np.concatenate(neighbors, axis=1), axis=1)  # a neighbor in all lists is there once for each
    shared: np.ndarray = (ordered[:, further:] == ordered[:, : ordered.shape[1] - further]).sum(1)
    return shared / neighbors[0].shape[1]
