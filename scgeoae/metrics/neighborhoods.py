"""Measures of neighborhoods: whether neighbors in the data stay neighbors on the map, and the reverse.

All depend on the ranks of distances only, so neither the scale nor a rotation of the map matters. Neighbors are the k
nearest *other* cells; equally distant ones are ordered by row number.

The time grows with n^2 up to `max_cells` cells (by default 10,000). Above, a sample of cells keeps it about constant up
to `max_cells**2 / 1,000` cells (by default 100,000); above that it grows with n. About six arrays of at most 16 MB each
are in memory at a time (or of n numbers each, if that is more), never an n x n matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from ..core.neighbors import shared_neighbors
from ._estimates import Estimate, Measure, Random, mean_estimate, sample_cells
from ._points import Points, PointsLike, as_pair, check_neighbors, row_blocks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

MEASURES = {
    "knn_recall": Measure("higher", ranked=True),
    "trustworthiness": Measure("higher", ranked=True),
    "continuity": Measure("higher"),
    "lcmc": Measure("higher"),
    "mrre_data": Measure("lower"),
    "mrre_map": Measure("lower"),
    "rnx_local": Measure("higher"),
    "rnx_global": Measure("higher"),
}


class RankErrors(NamedTuple):
    """Mean relative rank errors over the neighbors in the data, and over those on the map."""

    data_side: float
    map_side: float


class RnxAuc(NamedTuple):
    """Areas under R_NX(K): `local_auc` with K weighted by 1/K, `global_auc` with all K weighted equally."""

    local_auc: float
    global_auc: float


def knn_recall(
    X: PointsLike, Z: PointsLike, *, k: int | Sequence[int] = 20, max_cells: int = 10_000, rng: Random = 0
) -> float:
    """Compute the share of the k nearest neighbors in the data that are among the k nearest on the map.

    `mean_i |N_X(i) ∩ N_Z(i)| / k`, where `N(i)` are the k nearest other cells of cell i. For several `k` the mean over
    them; the paper [1]_ takes 10, 20, ..., 200. From 0 to 1, higher is better. A random map scores `k / (n - 1)`.

    Parameters
    ----------
    X, Z
        Data, shape (cells, features), and map, shape (cells, map dimensions): arrays or sparse matrices.
    k
        Number of neighbors, or several numbers.
    max_cells
        Up to this many cells the value is exact. Above, it is the mean over a random sample of `max_cells**2 / n` cells
        (but at least 1,000), whose neighbors are searched for among all cells.
    rng
        Seed or generator for the sample. The same seed gives the same value.

    Returns
    -------
    Recall.

    Raises
    ------
    ValueError
        If X and Z are not finite arrays of the same 3 or more rows, or if k is not in 1 ... n-1.

    References
    ----------
    .. [1] Nazari, Damrich, Hamprecht (2023), Geometric Autoencoders - What You See is What You Decode, ICML,
       arXiv:2306.17638.

    Examples
    --------
    >>> import numpy as np, scgeoae
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> scgeoae.metrics.knn_recall(X, 3 * X, k=[5, 10])
    1.0
    """
    numbers = list(k) if np.iterable(k) else [k]
    if not numbers:
        msg = "k must be an integer or a sequence of integers, but it is an empty sequence."
        raise ValueError(msg)
    ranks = _ranks(X, Z, *numbers, max_cells=max_cells, rng=rng)
    return float(np.mean([_recall(ranks, number) for number in numbers]))


def trustworthiness(X: PointsLike, Z: PointsLike, *, k: int = 20, max_cells: int = 10_000, rng: Random = 0) -> float:
    """Measure whether cells that are neighbors on the map are near each other in the data.

    `1 - 2 / (n k (2n - 3k - 1)) sum_i sum_{j in N_Z(i)} max(0, r_X(i, j) - k)`, where `N_Z(i)` are the k nearest other
    cells of cell i on the map and `r_X(i, j)` is the rank of cell j among the neighbors of i in the data [1]_. The
    same as `sklearn.manifold.trustworthiness`, without its n x n matrix. From 0 to 1, higher is better. A random map
    scores `1 - (n-1-k)(n-k) / ((n-1)(2n-3k-1))` on average, which is about 0.5 for small k.

    Parameters
    ----------
    X, Z
        Data, shape (cells, features), and map, shape (cells, map dimensions): arrays or sparse matrices.
    k
        Number of neighbors, less than half the number of cells.
    max_cells, rng
        As in `knn_recall`.

    Returns
    -------
    Trustworthiness.

    Raises
    ------
    ValueError
        If X and Z are not finite arrays of the same 3 or more rows, or if k is not at least 1 and below n/2.

    References
    ----------
    .. [1] Venna, Kaski (2001), Neighborhood preservation in nonlinear projection methods: an experimental study,
       ICANN.

    Examples
    --------
    >>> import numpy as np, scgeoae
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(scgeoae.metrics.trustworthiness(X, X[:, :2], k=10), 3)
    0.728
    """
    ranks = _ranks(X, Z, k, below_half=True, max_cells=max_cells, rng=rng)
    return float(_without_intruders(ranks.data_ranks, ranks.n_cells).mean())


def continuity(X: PointsLike, Z: PointsLike, *, k: int = 20, max_cells: int = 10_000, rng: Random = 0) -> float:
    """Measure whether cells that are neighbors in the data are near each other on the map.

    Trustworthiness with data and map exchanged:
    `1 - 2 / (n k (2n - 3k - 1)) sum_i sum_{j in N_X(i)} max(0, r_Z(i, j) - k)` [1]_. From 0 to 1, higher is better. A
    random map scores as in `trustworthiness`, about 0.5 for small k.

    Parameters
    ----------
    X, Z
        Data, shape (cells, features), and map, shape (cells, map dimensions): arrays or sparse matrices.
    k
        Number of neighbors, less than half the number of cells.
    max_cells, rng
        As in `knn_recall`.

    Returns
    -------
    Continuity.

    Raises
    ------
    ValueError
        If X and Z are not finite arrays of the same 3 or more rows, or if k is not at least 1 and below n/2.

    References
    ----------
    .. [1] Venna, Kaski (2006), Local multidimensional scaling, Neural Networks 19.

    Examples
    --------
    >>> import numpy as np, scgeoae
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(scgeoae.metrics.continuity(X, X[:, :2], k=10), 3)
    0.841
    """
    ranks = _ranks(X, Z, k, below_half=True, max_cells=max_cells, rng=rng)
    return float(_without_intruders(ranks.map_ranks, ranks.n_cells).mean())


def lcmc(X: PointsLike, Z: PointsLike, *, k: int = 20, max_cells: int = 10_000, rng: Random = 0) -> float:
    """Compute the local continuity meta-criterion: the kNN recall above chance.

    `recall - k / (n - 1)` [1]_. From `-k / (n - 1)` to `1 - k / (n - 1)`, higher is better. A random map scores 0.

    Parameters
    ----------
    X, Z
        Data, shape (cells, features), and map, shape (cells, map dimensions): arrays or sparse matrices.
    k
        Number of neighbors.
    max_cells, rng
        As in `knn_recall`.

    Returns
    -------
    The criterion.

    Raises
    ------
    ValueError
        If X and Z are not finite arrays of the same 3 or more rows, or if k is not in 1 ... n-1.

    References
    ----------
    .. [1] Chen, Buja (2009), Local multidimensional scaling for nonlinear dimension reduction, graph drawing, and
       proximity analysis, Journal of the American Statistical Association 104.

    Examples
    --------
    >>> import numpy as np, scgeoae
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(scgeoae.metrics.lcmc(X, X[:, :2], k=10), 3)
    0.207
    """
    ranks = _ranks(X, Z, k, max_cells=max_cells, rng=rng)
    return float(_recall(ranks, k).mean()) - k / (ranks.n_cells - 1)


def mrre(X: PointsLike, Z: PointsLike, *, k: int = 20, max_cells: int = 10_000, rng: Random = 0) -> RankErrors:
    """Compute the mean relative rank errors: how much the ranks of neighbors change, near neighbors weighted most.

    On the data side `sum_i sum_{j in N_X(i)} |r_X(i, j) - r_Z(i, j)| / r_X(i, j)`, over the neighbors in the data; on
    the map side `sum_i sum_{j in N_Z(i)} |r_X(i, j) - r_Z(i, j)| / r_Z(i, j)`, over the neighbors on the map. Both are
    divided by `n sum_{l=1}^k |n - 2l + 1| / l` [1]_. From 0 to about 1, lower is better. A random map scores about 0.5.
    (The package `zadu` reports 1 minus these errors, as `mrre_missing` and `mrre_false`.)

    Parameters
    ----------
    X, Z
        Data, shape (cells, features), and map, shape (cells, map dimensions): arrays or sparse matrices.
    k
        Number of neighbors.
    max_cells, rng
        As in `knn_recall`.

    Returns
    -------
    The errors `data_side` (from lost neighbors, as in continuity) and `map_side` (from false neighbors, as in
    trustworthiness).

    Raises
    ------
    ValueError
        If X and Z are not finite arrays of the same 3 or more rows, or if k is not in 1 ... n-1.

    References
    ----------
    .. [1] Lee, Verleysen (2007), Nonlinear Dimensionality Reduction, Springer, chapter 6.

    Examples
    --------
    >>> import numpy as np, scgeoae
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> scgeoae.metrics.mrre(X, 3 * X, k=10)
    RankErrors(data_side=0.0, map_side=0.0)
    """
    ranks = _ranks(X, Z, k, max_cells=max_cells, rng=rng)
    sides = (ranks.map_ranks, ranks.data_ranks)
    return RankErrors(*(float(_relative_error(side, ranks.n_cells).mean()) for side in sides))


def rnx_auc(X: PointsLike, Z: PointsLike, *, max_cells: int = 10_000, rng: Random = 0) -> RnxAuc:
    """Compute the areas under the curve of kNN recall above chance, over neighborhoods of every size.

    With `Q(K)` the kNN recall, `R(K) = ((n - 1) Q(K) - K) / (n - 1 - K)` for K = 1, ..., n-2 is 1 for a perfect and 0
    for a random map. The local area is `sum R(K) / K / sum 1 / K`, which is the area on a logarithmic axis [1]_ and
    weights near neighbors most; the global one is the plain mean of `R(K)` [2]_. At most 1, higher is better. A random
    map scores 0.

    Parameters
    ----------
    X, Z
        Data, shape (cells, features), and map, shape (cells, map dimensions): arrays or sparse matrices.
    max_cells, rng
        As in `knn_recall`.

    Returns
    -------
    The areas `local_auc` and `global_auc`.

    Raises
    ------
    ValueError
        If X and Z are not finite arrays of the same 3 or more rows.

    References
    ----------
    .. [1] Lee, Peluffo-Ordóñez, Verleysen (2015), Multi-scale similarities in stochastic neighbour embedding:
       Reducing dimensionality while preserving both local and global structure, Neurocomputing 169.
    .. [2] Novak and others (2023), A framework for quantifiable local and global structure preservation in
       single-cell dimensionality reduction (ViScore), bioRxiv 2023.11.23.568428.

    Examples
    --------
    >>> import numpy as np, scgeoae
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(scgeoae.metrics.rnx_auc(X, X[:, :2]).local_auc, 3)
    0.21
    """
    ranks = _ranks(X, Z, 1, max_cells=max_cells, rng=rng)
    return RnxAuc(float(ranks.local_auc.mean()), float(ranks.global_auc.mean()))


def estimates(
    data: Points, maps: Sequence[Points], k: int, *, max_cells: int, rng: Random
) -> list[dict[str, Estimate]]:
    """Compute the columns of the table for several maps of the same cells, one dict per map."""
    rows = []
    for ranks in compare_ranks(data, maps, k, max_cells=max_cells, rng=rng):
        n_cells, recall = ranks.n_cells, _recall(ranks, k)
        per_cell = {
            "knn_recall": recall,
            "trustworthiness": _without_intruders(ranks.data_ranks, n_cells),
            "continuity": _without_intruders(ranks.map_ranks, n_cells),
            "lcmc": recall - k / (n_cells - 1),
            "mrre_data": _relative_error(ranks.map_ranks, n_cells),
            "mrre_map": _relative_error(ranks.data_ranks, n_cells),
            "rnx_local": ranks.local_auc,
            "rnx_global": ranks.global_auc,
        }
        rows.append({name: mean_estimate(values, n_cells) for name, values in per_cell.items()})
    return rows


def _recall(ranks: Ranks, k: int) -> npt.NDArray[np.float64]:
    """Compute the kNN recall of each sampled cell, shape (sampled cells,)."""
    return shared_neighbors([ranks.data_neighbors[:, :k], ranks.map_neighbors[:, :k]])


def _without_intruders(ranks: npt.NDArray[np.int32], n_cells: int) -> npt.NDArray[np.float64]:
    """Compute the trustworthiness of each cell from `data_ranks`, its continuity from `map_ranks`."""
    k = ranks.shape[1]
    excess = np.maximum(ranks - k, 0).sum(axis=1)
    return np.asarray(1 - excess * (2 / (k * (2 * n_cells - 3 * k - 1))))


def _relative_error(ranks: npt.NDArray[np.int32], n_cells: int) -> npt.NDArray[np.float64]:
    """Compute the relative rank error of each cell on the data side from `map_ranks`, else from `data_ranks`."""
    own_ranks = np.arange(1, ranks.shape[1] + 1)
    worst = (np.abs(n_cells - 2 * own_ranks + 1) / own_ranks).sum()
    return np.asarray((np.abs(ranks - own_ranks) / own_ranks).sum(axis=1) / worst)


@dataclass(frozen=True)
class Ranks:
    """Ranks of the neighbors of the sampled cells. Rank 1 is the nearest other cell.

    Parameters
    ----------
    n_cells
        Number of all cells, among which neighbors are searched for.
    data_neighbors, map_neighbors
        Row numbers of the first, second, ... neighbor in the data, and on the map, each of shape (sampled cells, k).
    map_ranks
        Rank on the map of the first, second, ... neighbor in the data, shape (sampled cells, k).
    data_ranks
        Rank in the data of the first, second, ... neighbor on the map, shape (sampled cells, k).
    local_auc, global_auc
        Contribution of each sampled cell to the two areas under the curve R_NX, shape (sampled cells,).
    """

    n_cells: int
    data_neighbors: npt.NDArray[np.int64]
    map_neighbors: npt.NDArray[np.int64]
    map_ranks: npt.NDArray[np.int32]
    data_ranks: npt.NDArray[np.int32]
    local_auc: npt.NDArray[np.float64]
    global_auc: npt.NDArray[np.float64]


def _ranks(X: PointsLike, Z: PointsLike, *numbers: int, below_half: bool = False, max_cells: int, rng: Random) -> Ranks:
    """Check the arguments of a measure, and rank as many neighbors as the largest of its numbers of neighbors."""
    data, embedding = as_pair(X, Z)
    k = max(check_neighbors(number, data.n_cells, below_half=below_half) for number in numbers)
    return compare_ranks(data, [embedding], k, max_cells=max_cells, rng=rng)[0]


def compare_ranks(data: Points, maps: Sequence[Points], k: int, *, max_cells: int, rng: Random) -> list[Ranks]:
    """Rank the k nearest neighbors of the sampled cells in the data and on several maps of the same cells.

    Neighbors in the data take most of the time and are ranked once. `max_cells` and `rng` are as in `sample_cells`.
    """
    n_cells = data.n_cells
    curves = _rnx_shares(n_cells)
    blocks: list[list[tuple[npt.NDArray[Any], ...]]] = [[] for _ in maps]
    for rows in row_blocks(sample_cells(n_cells, max_cells, rng), n_cells):
        data_order, data_ranks = _order_and_ranks(data, rows, k)
        for done, points in zip(blocks, maps, strict=True):
            map_order, map_ranks = _order_and_ranks(points, rows, k)
            larger_ranks = np.maximum(data_ranks, map_ranks)  # (rows, cells)
            done.append((
                data_order,
                map_order,
                np.take_along_axis(map_ranks, data_order, axis=1),
                np.take_along_axis(data_ranks, map_order, axis=1),
                *(shares[larger_ranks].sum(axis=1) - constant for shares, constant in curves),
            ))  # fmt: skip
    return [Ranks(n_cells, *(np.concatenate(parts) for parts in zip(*done, strict=True))) for done in blocks]


def _order_and_ranks(
    points: Points, rows: npt.NDArray[np.intp], k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Return the k nearest cells in order, shape (rows, k), and the rank of every cell, shape (rows, cells).

    Cells are sorted by distance, and equally distant ones by row number. Both are put into one integer, which numpy
    sorts without a table of positions: the bits of a positive float, read as an integer, have the order of the floats,
    and the last bits are replaced by the row number. That takes 14 of 52 bits for 10,000 cells: squared distances that
    agree to about 11 digits count as equal (9 digits for a million cells). The cell itself is first, before its
    duplicates.
    """
    n_cells = points.n_cells
    row_bits = np.int64((1 << n_cells.bit_length()) - 1)
    keys = points.squared_distances(rows).view(np.int64)  # (rows, cells)
    keys &= ~row_bits
    keys |= np.arange(n_cells)
    keys[np.arange(len(rows)), rows] = np.iinfo(np.int64).min | rows
    keys.sort(axis=1)
    order = keys & row_bits
    ranks = np.empty(order.shape, dtype=np.int32)
    np.put_along_axis(ranks, order, np.arange(n_cells, dtype=np.int32)[None], axis=1)
    return order[:, 1 : k + 1].copy(), ranks


def _rnx_shares(n_cells: int) -> list[tuple[npt.NDArray[np.float64], float]]:
    """Write the local and the global area under R_NX(K) as a sum over neighbors.

    With c(K) the number of cells among the K nearest both in the data and on the map, `Q_NX(K) = c(K) / K` and
    `R_NX(K) = ((n - 1) Q_NX(K) - K) / (n - 1 - K)` for one cell. Another cell counts in c(K) from the larger of its
    two ranks on, so its share of the weighted mean over K depends on that rank only.

    Returns
    -------
    For K weighted by 1/K and for all K weighted equally: the share by rank, shape (cells,), and what is subtracted from
    the sum of the shares.
    """
    sizes = np.arange(1, n_cells - 1, dtype=np.float64)  # K = 1, ..., n - 2
    curves = []
    for weights in (1 / sizes, np.ones_like(sizes)):
        scaled = weights / weights.sum() / (n_cells - 1 - sizes)
        shares = np.zeros(n_cells)  # rank 0 is the cell itself, n - 1 the farthest cell, which is in no c(K)
        shares[1:-1] = np.cumsum((scaled * (n_cells - 1) / sizes)[::-1])[::-1]
        curves.append((shares, float(scaled @ sizes)))
    return curves
