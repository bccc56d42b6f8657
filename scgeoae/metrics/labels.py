"""Measures of labels: whether the cells of one class are together on the map, separate from the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from ._checks import PointsLike, as_labelled, check_integer, check_neighbors
from ._points import prepare
from ._ranks import nearest_cells
from ._sampling import Random, sample_cells

if TYPE_CHECKING:
    from collections.abc import Sequence


class ClusterAgreement(NamedTuple):
    """Adjusted Rand index and normalised mutual information of clusters on the map with labels."""

    ari: float
    nmi: float


def knn_accuracy(
    Z: PointsLike,
    labels: Sequence[Any] | npt.ArrayLike,
    *,
    k: int = 20,
    max_cells: int = 10_000,
    rng: Random = 0,
) -> float:
    """
    Share of the cells whose label is the commonest one among their k nearest other cells on the map.

    This is the accuracy of the k-nearest-neighbour classifier [1]_, cross-validated by leaving out one cell at a time,
    as `sklearn.neighbors.KNeighborsClassifier` gives it: of labels that are equally common the first in sorted order is
    taken. From 0 to 1, higher is better; does not depend on the scale of the map. On a random map it is, for large
    k, the share of the commonest label; for k = 1, the sum of the squared shares of the labels.

    Parameters
    ----------
    Z
        Map, shape (cells, map dimensions).
    labels
        Label of each cell, shape (cells,). Cells whose label is missing (None, NaN) are left out, also as neighbours.
    k
        Number of neighbours.
    max_cells
        Up to this many cells all are classified. Above, a random sample of `max_cells**2 / n` cells (but at least
        1,000), whose neighbours are searched for among all cells.
    rng
        Seed or generator for the sample. The same seed gives the same value.

    Returns
    -------
    Accuracy.

    Raises
    ------
    ValueError
        If Z is not a finite array of at least 3 labelled rows, if there is not one label per row, if there are fewer
        than 2 classes, or if k is not smaller than the number of labelled cells.

    References
    ----------
    .. [1] Cover, Hart (1967), Nearest neighbor pattern classification, IEEE Transactions on Information Theory 13.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae import metrics
    >>> Z = np.random.default_rng(0).normal(size=(60, 2))
    >>> labels = np.repeat(["B cell", "T cell", "monocyte"], 20)
    >>> Z[:, 0] += 100 * (labels == "B cell") - 100 * (labels == "monocyte")
    >>> metrics.knn_accuracy(Z, labels, k=5)
    1.0
    """
    points, codes = as_labelled(Z, labels)
    n_neighbors = check_neighbors(k, len(codes))
    return float(correct_per_cell(points, codes, n_neighbors, max_cells=max_cells, rng=rng).mean())


def correct_per_cell(
    Z: Any, codes: npt.NDArray[np.int64], k: int, *, max_cells: int, rng: Random
) -> npt.NDArray[np.float64]:
    """
    Whether the neighbours of each sampled cell vote for its label, 0 or 1, shape (sampled cells,).

    Parameters
    ----------
    Z, codes
        Map and labels as `as_labelled` returns them.
    k
        Number of neighbours.
    max_cells, rng
        See `sample_cells`.
    """
    cells = sample_cells(len(codes), max_cells, rng)
    neighbor_codes = codes[nearest_cells(prepare(Z), cells, k)]  # (sampled cells, k)
    return np.asarray(_commonest(neighbor_codes) == codes[cells], dtype=np.float64)


def _commonest(codes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the commonest number in each row, of equally common ones the smallest, shape (rows,)."""
    ordered = np.sort(codes, axis=1)
    is_new = np.diff(ordered, axis=1, prepend=-1) != 0
    positions = np.arange(codes.shape[1])
    run_lengths = positions - np.maximum.accumulate(np.where(is_new, positions, 0), axis=1)
    return np.take_along_axis(ordered, run_lengths.argmax(axis=1)[:, None], axis=1)[:, 0]


def cluster_agreement(
    Z: PointsLike, labels: Sequence[Any] | npt.ArrayLike, *, max_cells: int = 10_000, rng: Random = 0
) -> ClusterAgreement:
    """
    Agreement of clusters found on the map with labelled classes.

    The cells are put into as many clusters as there are labels by k-means on the map (the best of ten starts), and the
    clusters are compared with the labels: adjusted Rand index [1]_ and normalised mutual information [2]_, mutual
    information divided by the mean of the two entropies. At most 1, higher is better; neither depends on the scale of
    the map. On a random map the index is 0 on average, the information a little above 0 (it grows with the number
    of classes, and is not corrected for chance). K-means expects round clusters of like size: a low value can also
    mean that the clusters have another shape.

    Parameters
    ----------
    Z
        Map, shape (cells, map dimensions).
    labels
        Label of each cell, shape (cells,). Cells whose label is missing (None, NaN) are left out.
    max_cells
        If there are more cells, a random sample of this size is clustered and compared.
    rng
        Seed or generator for the sample and for the starts of k-means. The same seed gives the same value.

    Returns
    -------
    The two numbers, `ari` and `nmi`.

    Raises
    ------
    ValueError
        If Z is not a finite array of at least 3 labelled rows, if there is not one label per row, if there are fewer
        than 2 classes, or more classes than different points on the map.

    References
    ----------
    .. [1] Hubert, Arabie (1985), Comparing partitions, Journal of Classification 2.
    .. [2] Strehl, Ghosh (2002), Cluster ensembles - a knowledge reuse framework for combining multiple partitions,
       Journal of Machine Learning Research 3.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae import metrics
    >>> labels = np.repeat(["B cell", "T cell"], 30)
    >>> Z = np.random.default_rng(0).normal(size=(60, 2))
    >>> Z[:, 0] += 100 * (labels == "B cell")
    >>> metrics.cluster_agreement(Z, labels).ari
    1.0
    """
    points, codes = as_labelled(Z, labels)
    max_cells = check_integer(max_cells, "max_cells", 3)
    generator = np.random.default_rng(rng)
    if len(codes) > max_cells:
        kept = np.sort(generator.choice(len(codes), max_cells, replace=False))
        points, codes = points[kept], codes[kept]
    clusters = _k_means(points, len(np.unique(codes)), int(generator.integers(2**31)))
    return ClusterAgreement(
        float(adjusted_rand_score(codes, clusters)), float(normalized_mutual_info_score(codes, clusters))
    )


def _k_means(points: Any, n_clusters: int, seed: int) -> npt.NDArray[np.int32]:
    n_different = len(np.unique(points, axis=0))
    if n_different < n_clusters:
        msg = f"Z has only {n_different} different points, too few for {n_clusters} clusters, one per label."
        raise ValueError(msg)
    return np.asarray(KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(points))
