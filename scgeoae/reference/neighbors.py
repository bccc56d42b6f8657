"""Place new cells on a map that was made elsewhere, by the encoder and by the reference cells that are nearest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

from ..core.rows import row_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from ..core.rows import Rows
    from .model import MapModel

N_NEIGHBORS = 15
"""Reference cells that say where a cell lies."""
ENCODER_SHARE = 0.3
"""Weight of the place by the encoder, relative to the sum of those of the reference cells; measured by
``tests/benchmarks/mapping.py foreign``."""
SAME = 1e-6
"""Distance in standardized features, and share of a distance, below which cells are the same."""
N_ITERATIONS = 50
"""Steps towards the median."""


def placed_by_neighbors(model: MapModel, reference: Rows, z: np.ndarray) -> Callable[[Tensor], Tensor]:
    """Return a function that places standardized cells (m, D) on the map (m, d) among the cells that lie on it.

    The place is the geometric median of the places of the `N_NEIGHBORS` nearest reference cells, with the weights
    ``1 / r - 1 / r_next`` by the distances `r` in the data and that of the next cell, so that it changes continuously,
    and of the place by the encoder. A mean would put a cell whose neighbors lie on two islands between them; the median
    puts it where most are. A reference cell keeps its place.

    Parameters
    ----------
    model
        The model of the reference.
    reference
        Input (n, D) of the cells of the reference.
    z
        Their map coordinates (n, d).
    """
    known = np.concatenate([model.standardize(x.to(model.device)).cpu().numpy() for _, x in row_blocks(reference)])
    nearest = NearestNeighbors(n_neighbors=min(N_NEIGHBORS + 1, len(known)), algorithm="brute").fit(known)

    def place(x: Tensor) -> Tensor:
        encoded = model.autoencoder.place(x)
        distance, index = nearest.kneighbors(x.cpu().numpy())  # (m, k)
        closeness = 1 / np.maximum(distance, SAME).astype(np.float64)
        weights = closeness[:, :N_NEIGHBORS]
        if closeness.shape[1] > N_NEIGHBORS:
            weights = weights - (1 - SAME) * closeness[:, N_NEIGHBORS:]
        weights = np.column_stack([weights, ENCODER_SHARE * weights.sum(1)])
        places = np.concatenate([z[index[:, :N_NEIGHBORS]], encoded.cpu().numpy()[:, None]], axis=1)  # (m, k, d)
        return torch.from_numpy(geometric_median(places, weights)).to(encoded)

    return place


def geometric_median(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Find the places (m, d), float64, with the least sum of weighted distances to points (m, k, d).

    By the steps of Weiszfeld (1937) from the mean.

    Parameters
    ----------
    points
        (m, k, d).
    weights
        Of the points, (m, k), positive.
    """
    center = points.mean(1, keepdims=True, dtype=np.float64)
    points = points - center  # small numbers, on a map far from the origin
    size = np.abs(points).max(axis=(1, 2), keepdims=True)
    points /= np.where(size > 0, size, 1)
    share, middle = weights, np.zeros_like(center)
    for _ in range(N_ITERATIONS):
        middle = (share[..., None] * points).sum(1, keepdims=True) / share.sum(1)[:, None, None]
        share = weights / np.maximum(np.linalg.norm(points - middle, axis=2), SAME**2)
    return (center + size * middle)[:, 0]
