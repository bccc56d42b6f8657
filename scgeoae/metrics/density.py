"""A measure of densities: whether regions are as dense on the map, relative to each other, as in the data.

Time and memory are as for the measures of neighborhoods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._estimates import Estimate, Measure, Random, mean_estimate, sample_cells
from ._points import Points, PointsLike, as_pair, row_blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

SIGMAS = {"kl_density_0.1": 0.1, "kl_density_100": 100.0}
"""Kernel widths of the columns of the table, as in the paper."""

MEASURES = {
    "kl_density_0.1": Measure("KL density, sigma 0.1", "lower", ranked=True),
    "kl_density_100": Measure("KL density, sigma 100", "lower"),
}


def kl_density(X: PointsLike, Z: PointsLike, *, sigma: float = 0.1, max_cells: int = 10_000, rng: Random = 0) -> float:
    """Compute the Kullback-Leibler divergence of the density of the cells on the map from that in the data.

    `sum_i p_i ln(p_i / q_i)`, where `p_i` is the density of cell i in the data and `q_i` on the map, each proportional
    to `sum_j exp(-(d_ij / d_max)^2 / sigma)` over all cells j, i included, and normalized to a sum of 1 over the
    cells; `d_max` is the largest distance [1]_ [2]_ [3]_. From 0, lower is better. The value of a random map depends on
    the data: a map of the same density everywhere has the divergence of `p` from the uniform density.

    Parameters
    ----------
    X, Z
        Data, shape (cells, features), and map, shape (cells, map dimensions): arrays or sparse matrices.
    sigma
        Squared width of the kernel as a share of `d_max`: 0.1 compares local to global densities, 0.01 more local ones,
        100 only how central the cells are.
    max_cells
        Up to this many cells the value is exact. For more, densities are computed (over all cells) for a random
        sample of `max_cells**2 / n` cells (but at least 1,000) and normalized over these. `d_max` then is the largest
        distance found by going from the sampled cells to the farthest cell, and from that on to its farthest.
    rng
        Seed or generator for the sample. The same seed gives the same value.

    Returns
    -------
    Divergence, in nats.

    Raises
    ------
    ValueError
        If X and Z are not finite arrays of the same 3 or more rows, if all points of one of them are equal, or if sigma
        is not positive.

    References
    ----------
    .. [1] Nazari, Damrich, Hamprecht (2023), Geometric Autoencoders - What You See is What You Decode, ICML,
       arXiv:2306.17638.
    .. [2] Moor, Horn, Rieck, Borgwardt (2020), Topological autoencoders, ICML, arXiv:1906.00722.
    .. [3] Chazal, Cohen-Steiner, Mérigot (2011), Geometric inference for probability measures, Foundations of
       Computational Mathematics 11.

    Examples
    --------
    >>> import numpy as np, scgeoae
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(scgeoae.metrics.kl_density(X, X[:, :2]), 3)
    0.053
    """
    pair = as_pair(X, Z, varying_for="kl_density")
    if not (np.isfinite(sigma) and sigma > 0):
        msg = f"sigma must be a positive number, but it is {sigma}."
        raise ValueError(msg)
    cells = sample_cells(pair[0].n_cells, max_cells, rng)
    (in_data,), (on_map,) = (_kernel_sums(points, cells, [sigma]) for points in pair)
    return _divergence(in_data, on_map, pair[0].n_cells).value


def estimates(data: Points, maps: Sequence[Points], *, max_cells: int, rng: Random) -> list[dict[str, Estimate]]:
    """Compute the columns of the table for several maps of the same cells, one dict per map."""
    cells = sample_cells(data.n_cells, max_cells, rng)
    in_data, *on_maps = (_kernel_sums(points, cells, list(SIGMAS.values())) for points in (data, *maps))
    return [
        {name: _divergence(p, q, data.n_cells) for name, p, q in zip(SIGMAS, in_data, on_map, strict=True)}
        for on_map in on_maps
    ]


def _kernel_sums(points: Points, cells: np.ndarray, sigmas: Sequence[float]) -> np.ndarray:
    """Compute the density of the sampled cells before it is normalized, shape (sigmas, sampled cells)."""
    largest = _largest_squared_distance(points, cells)
    blocks = []
    for rows in row_blocks(cells, points.n_cells):
        relative = points.squared_distances(rows) / largest  # (rows, cells)
        blocks.append(np.stack([np.exp(relative / -sigma).sum(axis=1) for sigma in sigmas]))
    return np.concatenate(blocks, axis=1)


def _largest_squared_distance(points: Points, cells: np.ndarray) -> float:
    """Find the largest squared distance between two cells: always if all cells are sampled, else nearly always.

    The cell that is farthest from a sampled cell is found first, then the cell that is farthest from that one, and so
    on until the distance no longer grows. This finds pairs of cells at the border that are not in the sample.
    """
    largest, farthest = 0.0, 0
    for rows in row_blocks(cells, points.n_cells):
        squared = points.squared_distances(rows)
        if squared.max() > largest:
            largest, farthest = float(squared.max()), int(squared.argmax()) % points.n_cells
    while (squared := points.squared_distances(np.array([farthest]))).max() > largest:
        largest, farthest = float(squared.max()), int(squared.argmax())
    return largest


def _divergence(in_data: np.ndarray, on_map: np.ndarray, n_cells: int) -> Estimate:
    """Compute the divergence of two densities, each of shape (sampled cells,), which need not be normalized.

    It is a function of three means over the cells; the standard error is that of its linearization.
    """
    p, q = in_data / in_data.mean(), on_map / on_map.mean()
    log_ratio = np.log(p / q)
    terms = p * log_ratio
    return mean_estimate(terms, n_cells, influence=terms - p * terms.mean() - p + q)
