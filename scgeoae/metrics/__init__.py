"""Measures of the quality of a map: functions that take arrays and return numbers.

The docstring of each gives its definition, its range, whether higher or lower is better, and the value of a random map.

X is the data, shape (cells, features); Z is the map, shape (cells, map dimensions), with the same cells in the same
order. Only `rmse` depends on the scale of the map.
"""

from .density import kl_density
from .distances import displacement, rmse, spearman, stress
from .groups import distance_error, gap, group_distances, group_sizes, size_error
from .labels import ClusterAgreement, cluster_agreement, knn_accuracy
from .neighborhoods import (
    RankErrors,
    RnxAuc,
    continuity,
    knn_recall,
    lcmc,
    mrre,
    rnx_auc,
    trustworthiness,
)
from .quality import embedding_quality

__all__ = [
    "ClusterAgreement",
    "RankErrors",
    "RnxAuc",
    "cluster_agreement",
    "continuity",
    "displacement",
    "distance_error",
    "embedding_quality",
    "gap",
    "group_distances",
    "group_sizes",
    "kl_density",
    "knn_accuracy",
    "knn_recall",
    "lcmc",
    "mrre",
    "rmse",
    "rnx_auc",
    "size_error",
    "spearman",
    "stress",
    "trustworthiness",
]
