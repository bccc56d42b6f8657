"""
Measures of neighbourhoods: whether neighbours in the data stay neighbours on the map, and the reverse.

All depend on the ranks of distances only, so neither the scale nor a rotation of the map matters. Neighbours are the k
nearest *other* cells; equally distant ones are ordered by row number.

The time grows with n^2 up to `max_cells` cells (by default 10,000). Above, a sample of cells keeps it about
constant up to `max_cells**2 / 1,000` cells (by default 100,000); above that it grows with n. About six arrays of at
most 16 MB each are in memory at a time (or of n numbers each, if that is more), never an n x n matrix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from ._checks import (
    PointsLike,
    as_pair,
    check_neighbors,
    check_neighbors_below_half,
    check_several_neighbors,
)
from ._ranks import RankComparison, compare_ranks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._sampling import Random


class RankErrors(NamedTuple):
    """Mean relative rank errors over the neighbours in the data, and over those on the map."""

    data_side: float
    map_side: float


class RnxAuc(NamedTuple):
    """Areas under R_NX(K): `local_auc` with K weighted by 1/K, `global_auc` with all K weighted equally."""

    local_auc: float
    global_auc: float


def knn_recall(
    X: PointsLike, Z: PointsLike, *, k: int | Sequence[int] = 20, max_cells: int = 10_000, rng: Random = 0
) -> float:
    """
    Share of the k nearest neighbours in the data that are among the k nearest on the map.

    `mean_i |N_X(i) ∩ N_Z(i)| / k`, where `N(i)` are the k nearest other cells of cell i. For several `k` the mean over
    them; the paper [1]_ takes 10, 20, ..., 200. From 0 to 1, higher is better; does not depend on the scale of the
    map. A random map scores `k / (n - 1)`.

    Parameters
    ----------
    X
        Data, shape (cells, features): array or sparse matrix.
    Z
        Map, shape (cells, map dimensions).
    k
        Number of neighbours, or several numbers.
    max_cells
        Up to this many cells the value is exact. Above, it is the mean over a random sample of `max_cells**2 / n` cells
        (but at least 1,000), whose neighbours are searched for among all cells.
    rng
        Seed or generator for the sample. The same seed gives the same value.

    Returns
    -------
    Recall.

    Raises
    ------
    ValueError
        If X or Z is not a finite array of at least 3 rows, if their numbers of rows differ, or if k is not in
        1 ... n-1.

    References
    ----------
    .. [1] Nazari, Damrich, Hamprecht (2023), Geometric Autoencoders - What You See is What You Decode, ICML,
       arXiv:2306.17638.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae import metrics
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> metrics.knn_recall(X, 3 * X, k=[5, 10])
    1.0
    """
    data, embedding = as_pair(X, Z)
    numbers = check_several_neighbors(k, data.shape[0])
    ranks = compare_ranks(data, embedding, max(numbers), max_cells=max_cells, rng=rng)
    return float(recall_per_cell(ranks, numbers).mean())


def trustworthiness(X: PointsLike, Z: PointsLike, *, k: int = 20, max_cells: int = 10_000, rng: Random = 0) -> float:
    """
    Whether cells that are neighbours on the map are near each other in the data.

    `1 - 2 / (n k (2n - 3k - 1)) sum_i sum_{j in N_Z(i)} max(0, r_X(i, j) - k)`, where `N_Z(i)` are the k nearest other
    cells of cell i on the map and `r_X(i, j)` is the rank of cell j among the neighbours of i in the data [1]_. The
    same as `sklearn.manifold.trustworthiness`, without its n x n matrix. From 0 to 1, higher is better; does not
    depend on the scale of the map. A random map scores `1 - (n-1-k)(n-k) / ((n-1)(2n-3k-1))` on average, which is
    about 0.5 for small k.

    Parameters
    ----------
    X
        Data, shape (cells, features): array or sparse matrix.
    Z
        Map, shape (cells, map dimensions).
    k
        Number of neighbours, less than half the number of cells.
    max_cells, rng
        As in `knn_recall`.

    Returns
    -------
    Trustworthiness.

    Raises
    ------
    ValueError
        If X or Z is not a finite array of at least 3 rows, if their numbers of rows differ, or if k is not in
        1 ... n/2 (n/2 excluded).

    References
    ----------
    .. [1] Venna, Kaski (2001), Neighborhood preservation in nonlinear projection methods: an experimental study,
       ICANN.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae import metrics
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(metrics.trustworthiness(X, X[:, :2], k=10), 3)
    0.728
    """
    data, embedding = as_pair(X, Z)
    n_neighbors = check_neighbors_below_half(k, data.shape[0])
    ranks = compare_ranks(data, embedding, n_neighbors, max_cells=max_cells, rng=rng)
    return float(trustworthiness_per_cell(ranks, n_neighbors).mean())


def continuity(X: PointsLike, Z: PointsLike, *, k: int = 20, max_cells: int = 10_000, rng: Random = 0) -> float:
    """
    Whether cells that are neighbours in the data are near each other on the map.

    Trustworthiness with data and map exchanged:
    `1 - 2 / (n k (2n - 3k - 1)) sum_i sum_{j in N_X(i)} max(0, r_Z(i, j) - k)` [1]_. From 0 to 1, higher is better;
    does not depend on the scale of the map. Chance is as for `trustworthiness`, about 0.5 for small k.

    Parameters
    ----------
    X
        Data, shape (cells, features): array or sparse matrix.
    Z
        Map, shape (cells, map dimensions).
    k
        Number of neighbours, less than half the number of cells.
    max_cells, rng
        As in `knn_recall`.

    Returns
    -------
    Continuity.

    Raises
    ------
    ValueError
        If X or Z is not a finite array of at least 3 rows, if their numbers of rows differ, or if k is not in
        1 ... n/2 (n/2 excluded).

    References
    ----------
    .. [1] Venna, Kaski (2006), Local multidimensional scaling, Neural Networks 19.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae import metrics
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(metrics.continuity(X, X[:, :2], k=10), 3)
    0.841
    """
    data, embedding = as_pair(X, Z)
    n_neighbors = check_neighbors_below_half(k, data.shape[0])
    ranks = compare_ranks(data, embedding, n_neighbors, max_cells=max_cells, rng=rng)
    return float(continuity_per_cell(ranks, n_neighbors).mean())


def lcmc(X: PointsLike, Z: PointsLike, *, k: int = 20, max_cells: int = 10_000, rng: Random = 0) -> float:
    """
    Local continuity meta-criterion: the kNN recall above chance.

    `(k recall - k^2 / (n - 1)) / k = recall - k / (n - 1)` [1]_. From `-k / (n - 1)` to `1 - k / (n - 1)`, higher is
    better; does not depend on the scale of the map. A random map scores 0.

    Parameters
    ----------
    X
        Data, shape (cells, features): array or sparse matrix.
    Z
        Map, shape (cells, map dimensions).
    k
        Number of neighbours.
    max_cells, rng
        As in `knn_recall`.

    Returns
    -------
    The criterion.

    Raises
    ------
    ValueError
        If X or Z is not a finite array of at least 3 rows, if their numbers of rows differ, or if k is not in
        1 ... n-1.

    References
    ----------
    .. [1] Chen, Buja (2009), Local multidimensional scaling for nonlinear dimension reduction, graph drawing, and
       proximity analysis, Journal of the American Statistical Association 104.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae import metrics
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(metrics.lcmc(X, X[:, :2], k=10), 3)
    0.207
    """
    data, embedding = as_pair(X, Z)
    n_neighbors = check_neighbors(k, data.shape[0])
    ranks = compare_ranks(data, embedding, n_neighbors, max_cells=max_cells, rng=rng)
    return float(lcmc_per_cell(ranks, n_neighbors).mean())


def mrre(X: PointsLike, Z: PointsLike, *, k: int = 20, max_cells: int = 10_000, rng: Random = 0) -> RankErrors:
    """
    Mean relative rank errors: by how much the ranks of neighbours change, near neighbours weighted most.

    On the data side `sum_i sum_{j in N_X(i)} |r_X(i, j) - r_Z(i, j)| / r_X(i, j)`, over the neighbours in the data; on
    the map side `sum_i sum_{j in N_Z(i)} |r_X(i, j) - r_Z(i, j)| / r_Z(i, j)`, over the neighbours on the map. Both are
    divided by `n sum_{l=1}^k |n - 2l + 1| / l` [1]_. From 0 to about 1, lower is better; does not depend on the scale
    of the map. A random map scores about 0.5. (The package `zadu` reports 1 minus these errors, as `mrre_missing` and
    `mrre_false`.)

    Parameters
    ----------
    X
        Data, shape (cells, features): array or sparse matrix.
    Z
        Map, shape (cells, map dimensions).
    k
        Number of neighbours.
    max_cells, rng
        As in `knn_recall`.

    Returns
    -------
    The errors `data_side` (from lost neighbours, as in continuity) and `map_side` (from false neighbours, as in
    trustworthiness).

    Raises
    ------
    ValueError
        If X or Z is not a finite array of at least 3 rows, if their numbers of rows differ, or if k is not in
        1 ... n-1.

    References
    ----------
    .. [1] Lee, Verleysen (2007), Nonlinear Dimensionality Reduction, Springer, chapter 6.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae import metrics
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> metrics.mrre(X, 3 * X, k=10)
    RankErrors(data_side=0.0, map_side=0.0)
    """
    data, embedding = as_pair(X, Z)
    n_neighbors = check_neighbors(k, data.shape[0])
    ranks = compare_ranks(data, embedding, n_neighbors, max_cells=max_cells, rng=rng)
    per_cell = mrre_per_cell(ranks, n_neighbors)
    return RankErrors(*(float(errors.mean()) for errors in per_cell))


def rnx_auc(X: PointsLike, Z: PointsLike, *, max_cells: int = 10_000, rng: Random = 0) -> RnxAuc:
    """
    Areas under the curve of kNN recall above chance, over neighbourhoods of every size.

    With `Q(K)` the kNN recall, `R(K) = ((n - 1) Q(K) - K) / (n - 1 - K)` for K = 1, ..., n-2 is 1 for a perfect and 0
    for a random map. The local area is `sum R(K) / K / sum 1 / K`, which is the area on a logarithmic axis [1]_ and
    weights near neighbours most; the global one is the plain mean of `R(K)` [2]_. At most 1, higher is better; does not
    depend on the scale of the map. A random map scores 0.

    Parameters
    ----------
    X
        Data, shape (cells, features): array or sparse matrix.
    Z
        Map, shape (cells, map dimensions).
    max_cells, rng
        As in `knn_recall`.

    Returns
    -------
    The areas `local_auc` and `global_auc`.

    Raises
    ------
    ValueError
        If X or Z is not a finite array of at least 3 rows, or if their numbers of rows differ.

    References
    ----------
    .. [1] Lee, Peluffo-Ordóñez, Verleysen (2015), Multi-scale similarities in stochastic neighbour embedding:
       Reducing dimensionality while preserving both local and global structure, Neurocomputing 169.
    .. [2] Novak and others (2023), A framework for quantifiable local and global structure preservation in
       single-cell dimensionality reduction (ViScore), bioRxiv 2023.11.23.568428.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae import metrics
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> metrics.rnx_auc(X, X[:, :2])
    RnxAuc(local_auc=0.21000464475233802, global_auc=0.32548077506938894)
    """
    data, embedding = as_pair(X, Z)
    ranks = compare_ranks(data, embedding, 1, max_cells=max_cells, rng=rng)
    return RnxAuc(float(ranks.local_auc.mean()), float(ranks.global_auc.mean()))


def recall_per_cell(ranks: RankComparison, numbers: Sequence[int]) -> npt.NDArray[np.float64]:
    """KNN recall of each sampled cell, the mean over several numbers of neighbours, shape (sampled cells,)."""
    recalls = [(ranks.map_ranks[:, :k] <= k).mean(axis=1) for k in numbers]
    return np.asarray(np.mean(recalls, axis=0))


def lcmc_per_cell(ranks: RankComparison, k: int) -> npt.NDArray[np.float64]:
    """Local continuity meta-criterion of each sampled cell, shape (sampled cells,)."""
    return recall_per_cell(ranks, [k]) - k / (ranks.n_cells - 1)


def trustworthiness_per_cell(ranks: RankComparison, k: int) -> npt.NDArray[np.float64]:
    """Trustworthiness of each sampled cell, shape (sampled cells,)."""
    return _without_intruders(ranks.data_ranks[:, :k], ranks.n_cells)


def continuity_per_cell(ranks: RankComparison, k: int) -> npt.NDArray[np.float64]:
    """Continuity of each sampled cell, shape (sampled cells,)."""
    return _without_intruders(ranks.map_ranks[:, :k], ranks.n_cells)


def _without_intruders(ranks: npt.NDArray[np.int32], n_cells: int) -> npt.NDArray[np.float64]:
    k = ranks.shape[1]
    excess = np.maximum(ranks - k, 0).sum(axis=1)
    return np.asarray(1 - excess * (2 / (k * (2 * n_cells - 3 * k - 1))))


def mrre_per_cell(ranks: RankComparison, k: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Relative rank errors of each sampled cell, data side and map side, each of shape (sampled cells,)."""
    return (
        _relative_rank_error(ranks.map_ranks[:, :k], ranks.n_cells),
        _relative_rank_error(ranks.data_ranks[:, :k], ranks.n_cells),
    )


def _relative_rank_error(ranks: npt.NDArray[np.int32], n_cells: int) -> npt.NDArray[np.float64]:
    own_ranks = np.arange(1, ranks.shape[1] + 1)
    worst = (np.abs(n_cells - 2 * own_ranks + 1) / own_ranks).sum()
    return np.asarray((np.abs(ranks - own_ranks) / own_ranks).sum(axis=1) / worst)
