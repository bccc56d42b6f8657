"""
A measure of densities: whether regions are as dense on the map, relative to each other, as in the data.

Time and memory are as for the measures of neighbourhoods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ._checks import PointsLike, as_pair, check_positive, check_varies
from ._points import Points, prepare
from ._sampling import Estimate, Random, row_blocks, sample_cells, standard_error_of_mean

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def kl_density(X: PointsLike, Z: PointsLike, *, sigma: float = 0.1, max_cells: int = 10_000, rng: Random = 0) -> float:
    """
    Kullback-Leibler divergence of the density of the cells on the map from that in the data.

    `sum_i p_i ln(p_i / q_i)`, where `p_i` is the density of cell i in the data and `q_i` on the map, each proportional
    to `sum_j exp(-(d_ij / d_max)^2 / sigma)` over all cells j, i included, and normalised to a sum of 1 over the
    cells; `d_max` is the largest distance [1]_ [2]_ [3]_. From 0, lower is better; does not depend on the scale of the
    map. There is no single chance value: for a map of the same density everywhere it is the divergence of `p` from the
    uniform density.

    Parameters
    ----------
    X
        Data, shape (cells, features): array or sparse matrix.
    Z
        Map, shape (cells, map dimensions).
    sigma
        Squared width of the kernel as a share of `d_max`: 0.1 compares local to global densities, 0.01 more local ones,
        100 only how central the cells are.
    max_cells
        Up to this many cells the value is exact. For more, densities are computed (over all cells) for a random
        sample of `max_cells**2 / n` cells (but at least 1,000) and normalised over these. `d_max` then is the largest
        distance from a sampled cell, or from a cell found in this way, to any cell.
    rng
        Seed or generator for the sample. The same seed gives the same value.

    Returns
    -------
    Divergence, in nats.

    Raises
    ------
    ValueError
        If X or Z is not a finite array of at least 3 rows, if their numbers of rows differ, if all points of one of
        them are equal, or if sigma is not positive.

    References
    ----------
    .. [1] Nazari, Damrich, Hamprecht (2023), Geometric Autoencoders - What You See is What You Decode, ICML,
       arXiv:2306.17638.
    .. [2] Moor, Horn, Rieck, Borgwardt (2020), Topological autoencoders, ICML, arXiv:1906.00722.
    .. [3] Chazal, Cohen-Steiner, Mérigot (2011), Geometric inference for probability measures, Foundations of
       Computational Mathematics 11.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae import metrics
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(metrics.kl_density(X, X[:, :2]), 3)
    0.053
    """
    data, embedding = as_pair(X, Z)
    check_varies(data, "X", "kl_density")
    check_varies(embedding, "Z", "kl_density")
    sigmas = [check_positive(sigma, "sigma")]
    return kl_density_estimates(data, embedding, sigmas, max_cells=max_cells, rng=rng)[0].value


def kl_density_estimates(X: Any, Z: Any, sigmas: Sequence[float], *, max_cells: int, rng: Random) -> list[Estimate]:
    """
    Divergences for several widths of the kernel, with standard errors, from the same distances.

    Parameters
    ----------
    X, Z
        Data and map as `as_pair` returns them, shapes (cells, features) and (cells, map dimensions).
    sigmas
        Widths of the kernel.
    max_cells, rng
        See `sample_cells`.
    """
    return kl_density_estimates_of_several(X, [Z], sigmas, max_cells=max_cells, rng=rng)[0]


def kl_density_estimates_of_several(
    X: Any, embeddings: Sequence[Any], sigmas: Sequence[float], *, max_cells: int, rng: Random
) -> list[list[Estimate]]:
    """Divergences of several maps of the same cells, one list per map; densities in the data are computed once."""
    data = prepare(X)
    cells = sample_cells(data.n_cells, max_cells, rng)
    in_data = _kernel_sums(data, cells, sigmas)
    return [
        [_divergence(p, q, data.n_cells) for p, q in zip(in_data, _kernel_sums(prepare(Z), cells, sigmas), strict=True)]
        for Z in embeddings
    ]


def _kernel_sums(points: Points, cells: npt.NDArray[np.intp], sigmas: Sequence[float]) -> npt.NDArray[np.float64]:
    """Density of the sampled cells before it is normalised, shape (sigmas, sampled cells)."""
    largest = _largest_squared_distance(points, cells)
    blocks = [
        _kernel_sums_of_block(points.squared_distances(rows) / largest, sigmas)
        for rows in row_blocks(cells, points.n_cells)
    ]
    return np.concatenate(blocks, axis=1)


def _largest_squared_distance(points: Points, cells: npt.NDArray[np.intp]) -> float:
    """
    Return the largest squared distance between two cells: always if all cells are sampled, else nearly always.

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


def _kernel_sums_of_block(relative: npt.NDArray[np.float64], sigmas: Sequence[float]) -> npt.NDArray[np.float64]:
    return np.stack([np.exp(relative / -sigma).sum(axis=1) for sigma in sigmas])


def _divergence(in_data: npt.NDArray[np.float64], on_map: npt.NDArray[np.float64], n_cells: int) -> Estimate:
    """
    Divergence of two densities, each of shape (sampled cells,), which need not be normalised.

    It is a function of three means over the cells; the standard error is that of its linearisation.
    """
    p, q = in_data / in_data.mean(), on_map / on_map.mean()
    log_ratio = np.log(p / q)
    value = float(np.mean(p * log_ratio))
    influence = p * (log_ratio - value) - p + q
    return Estimate(value, standard_error_of_mean(influence, n_cells))
