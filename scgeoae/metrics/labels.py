"""Measures of labels: whether the cells of one class are together on the map, separate from the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from scipy.stats import mode
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.neighbors import NearestNeighbors

from .._checks import refuse_masked, whole_number
from ._estimates import Estimate, Measure, Random, mean_estimate, sample_cells
from ._points import PointsLike, as_points, check_neighbors

if TYPE_CHECKING:
    from collections.abc import Sequence

MEASURES = {
    "knn_accuracy": Measure("kNN accuracy", "higher"),
    "ari": Measure("ARI", "higher"),
    "nmi": Measure("NMI", "higher"),
}


class ClusterAgreement(NamedTuple):
    """Adjusted Rand index and normalized mutual information of clusters on the map with labels."""

    ari: float
    nmi: float


def knn_accuracy(
    Z: PointsLike, labels: Sequence[Any] | npt.ArrayLike, *, k: int = 20, max_cells: int = 10_000, rng: Random = 0
) -> float:
    """Compute the share of the cells whose label is the commonest one among their k nearest other cells on the map.

    This is the accuracy of the k-nearest-neighbor classifier [1]_, cross-validated by leaving out one cell at a time,
    as `sklearn.neighbors.KNeighborsClassifier` gives it: of labels that are equally common the first in sorted order is
    taken. From 0 to 1, higher is better. On a random map it is, for large k, the share of the commonest label; for
    k = 1, the sum of the squared shares of the labels.

    Parameters
    ----------
    Z
        Map, shape (cells, map dimensions).
    labels
        Label of each cell, shape (cells,). Cells whose label is missing (None, NaN) are left out, also as neighbors.
    k
        Number of neighbors.
    max_cells
        Up to this many cells all are classified. Above, a random sample of `max_cells**2 / n` cells (but at least
        1,000), whose neighbors are searched for among all cells.
    rng
        Seed or generator for the sample. The same seed gives the same value.

    Returns
    -------
    Accuracy.

    Raises
    ------
    ValueError
        If Z is not a finite array of at least 3 labeled rows, if there is not one label per row, if there are fewer
        than 2 classes, or if k is not smaller than the number of labeled cells.

    References
    ----------
    .. [1] Cover, Hart (1967), Nearest neighbor pattern classification, IEEE Transactions on Information Theory 13.

    Examples
    --------
    >>> import numpy as np, scgeoae
    >>> Z = np.random.default_rng(0).normal(size=(60, 2))
    >>> labels = np.repeat(["B cell", "T cell", "monocyte"], 20)
    >>> Z[:, 0] += 100 * (labels == "B cell") - 100 * (labels == "monocyte")
    >>> scgeoae.metrics.knn_accuracy(Z, labels, k=5)
    1.0
    """
    points, codes = as_labeled(Z, labels)
    k = check_neighbors(k, len(codes))
    return float(_is_correct(points, codes, k, max_cells=max_cells, rng=rng).mean())


def cluster_agreement(
    Z: PointsLike, labels: Sequence[Any] | npt.ArrayLike, *, max_cells: int = 10_000, rng: Random = 0
) -> ClusterAgreement:
    """Measure how well clusters found on the map agree with labeled classes.

    The cells are put into as many clusters as there are labels by k-means on the map (the best of ten starts), and the
    clusters are compared with the labels: adjusted Rand index [1]_ and normalized mutual information [2]_, mutual
    information divided by the mean of the two entropies. At most 1, higher is better. On a random map the index is 0 on
    average, the information a little above 0 (it grows with the number of classes, and is not corrected for chance).
    K-means expects round clusters of like size: a low value can also mean that the clusters have another shape.

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
        If Z is not a finite array of at least 3 labeled rows, if there is not one label per row, if there are fewer
        than 2 classes, or more classes than different points on the map.

    References
    ----------
    .. [1] Hubert, Arabie (1985), Comparing partitions, Journal of Classification 2.
    .. [2] Strehl, Ghosh (2002), Cluster ensembles - a knowledge reuse framework for combining multiple partitions,
       Journal of Machine Learning Research 3.

    Examples
    --------
    >>> import numpy as np, scgeoae
    >>> labels = np.repeat(["B cell", "T cell"], 30)
    >>> Z = np.random.default_rng(0).normal(size=(60, 2))
    >>> Z[:, 0] += 100 * (labels == "B cell")
    >>> scgeoae.metrics.cluster_agreement(Z, labels).ari
    1.0
    """
    points, codes = as_labeled(Z, labels)
    max_cells = whole_number(max_cells, "max_cells", 3)
    generator = np.random.default_rng(rng)
    if len(codes) > max_cells:
        kept = np.sort(generator.choice(len(codes), max_cells, replace=False))
        points, codes = points[kept], codes[kept]
    n_clusters, n_different = len(np.unique(codes)), len(np.unique(points, axis=0))
    if n_different < n_clusters:
        msg = f"Z has only {n_different} different points, too few for {n_clusters} clusters, one per label."
        raise ValueError(msg)
    seed = int(generator.integers(2**31))
    clusters = KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(points)
    return ClusterAgreement(
        float(adjusted_rand_score(codes, clusters)), float(normalized_mutual_info_score(codes, clusters))
    )


def estimates(Z: Any, labels: pd.Series, k: int, *, max_cells: int, rng: Random) -> dict[str, Estimate]:
    """Compute the columns of the table for one map, shape (cells, map dimensions)."""
    points, codes = as_labeled(Z, labels)
    correct = _is_correct(points, codes, k, max_cells=max_cells, rng=rng)
    agreement = cluster_agreement(Z, labels, max_cells=max_cells, rng=rng)
    return {
        "knn_accuracy": mean_estimate(correct, len(codes)),
        "ari": Estimate(agreement.ari),
        "nmi": Estimate(agreement.nmi),
    }


def as_labeled(Z: PointsLike, labels: Sequence[Any] | npt.ArrayLike) -> tuple[Any, np.ndarray]:
    """Return the cells that have a label, and their labels as codes.

    Returns
    -------
    points
        The cells whose label is not missing, shape (labeled cells, map dimensions).
    codes
        Their labels, numbered from 0 in sorted order, shape (labeled cells,).

    Raises
    ------
    ValueError
        If there is not one label per cell, if there are fewer than 2 classes, or fewer than 3 labeled cells.
    """
    points = as_points(Z, "Z")
    points = points.toarray() if sparse.issparse(points) else points
    refuse_masked(labels, "labels")
    # without `object`, numpy turns a missing label among texts into the text "nan"
    values: Any = labels if hasattr(labels, "dtype") else np.asarray(labels, dtype=object)
    if np.shape(values) != (points.shape[0],):
        msg = f"labels must have one entry per cell, shape ({points.shape[0]},), but their shape is {np.shape(values)}."
        raise ValueError(msg)
    codes, classes = pd.factorize(values, sort=True)
    if len(classes) < 2:
        msg = f"labels must name at least 2 classes, but they name {len(classes)}."
        raise ValueError(msg)
    kept = codes >= 0
    return as_points(points[kept], "Z, without the cells that have no label,"), codes[kept].astype(np.int64)


def _is_correct(points: Any, codes: np.ndarray, k: int, *, max_cells: int, rng: Random) -> np.ndarray:
    """Compute whether the k nearest neighbors of each sampled cell vote for its label, 0 or 1, shape (sampled cells,).

    Points and labels are as `as_labeled` returns them, the sample is that of `sample_cells`.
    """
    cells = sample_cells(len(codes), max_cells, rng)
    nearest = NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points[cells], return_distance=False)
    is_other = nearest != cells[:, None]  # (sampled cells, k + 1)
    is_other[is_other.all(axis=1), -1] = False  # more than k cells have the same coordinates: one of them is left out
    votes = mode(codes[nearest[is_other].reshape(len(cells), k)], axis=1).mode
    return np.asarray(votes == codes[cells], dtype=np.float64)
