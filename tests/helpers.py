"""What several test modules need."""

from __future__ import annotations

import numpy as np
import torch

from scgeoae import metrics
from scgeoae.core.spec import Spec
from scgeoae.inputs import DenseRows
from scgeoae.reference.projection import Projection, Scaling

QUICK = {"n_steps": 150, "hidden_dims": (32, 32), "batch_size": 128}
"""Arguments of a training that takes a second."""

SPEC = Spec(
    n_components=2,
    hidden_dims=(24, 24, 24),
    n_steps=200,
    batch_size=64,
    learning_rate=0.03,
    validation_fraction=0.2,
    patience=None,
    weights={"regularizer": 0.1},
    noise=0.1,
    regularizer_batch=32,
)
"""A small training for the tests of `core`."""

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


def on_host(x: np.ndarray | torch.Tensor) -> DenseRows:
    """Cells ``x`` (n, D) as rows in float32."""
    return DenseRows(np.asarray(x, dtype=np.float32), torch.device("cpu"))


def paraboloid(n: int) -> torch.Tensor:
    """Cells (n, 5) on a paraboloid, with noise in two more dimensions."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(n, 2, generator=generator)
    return torch.column_stack([z, z.square().sum(1), 0.1 * torch.randn(n, 2, generator=generator)])


def principal(x: np.ndarray, d: int, scaling: Scaling | None = None) -> tuple[Projection, np.ndarray]:
    """PCA by hand of expression ``x`` (n, g): the projection and the components (n, d)."""
    y = x if scaling is None else scaling.apply(x)
    center = y.mean(0)
    loadings = np.linalg.svd(y - center, full_matrices=False)[2][:d].T
    genes = np.array([f"g{i}" for i in range(x.shape[1])], dtype=object)
    return Projection(genes, loadings, center @ loadings, center, scaling), (y - center) @ loadings
