"""What several test modules need."""

from __future__ import annotations

import numpy as np

from scgeoae import metrics
from scgeoae.reference.projection import Projection, Scaling

QUICK = {"n_steps": 150, "hidden_dims": (32, 32), "batch_size": 128}
"""Arguments of a training that takes a second."""

PAIR_MEASURES = [
    metrics.kl_density,
    metrics.knn_recall,
    metrics.trustworthiness,
    metrics.continuity,
    metrics.spearman,
    metrics.stress,
    metrics.rmse,
    metrics.lcmc,
    metrics.mrre,
    metrics.rnx_auc,
]
"""Measures that compare a map with data."""


def principal(x: np.ndarray, d: int, scaling: Scaling | None = None) -> tuple[Projection, np.ndarray]:
    """PCA by hand of expression ``x`` (n, g): the projection and the components (n, d)."""
    y = x if scaling is None else scaling.apply(x)
    center = y.mean(0)
    loadings = np.linalg.svd(y - center, full_matrices=False)[2][:d].T
    genes = np.array([f"g{i}" for i in range(x.shape[1])], dtype=object)
    return Projection(genes, loadings, center @ loadings, center, scaling), (y - center) @ loadings
