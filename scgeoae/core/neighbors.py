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
    nearest, *others = (
        NearestNeighbors(n_neighbors=min(k, len(z) - 1)).fit(z).kneighbors(return_distance=False) for z in (x, *maps)
    )
    kept = np.ones(nearest.shape, dtype=bool)  # (n, k)
    for other in others:
        for place in range(kept.shape[1]):
            kept[:, place] &= (other == nearest[:, place, None]).any(1)
    return kept.mean(1)
