"""What several test modules need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scgeoae import metrics
from scgeoae.core.spec import Spec
from scgeoae.fingerprint import Fingerprint, Values
from scgeoae.inputs import DenseRows, choose
from scgeoae.reference.projection import Projection, Scaling
from scgeoae.result import Result
from scgeoae.storage import to_arrays

if TYPE_CHECKING:
    from anndata import AnnData

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


def as_it_is_now(adata: AnnData, key: str) -> None:
    """Take the fingerprint of a result again: its map and its input are meant to be what a test made of them."""
    result = Result(adata, key)
    parts = {
        "input": choose(adata, use_rep=result.model.input.obsm_key or "X").by_cell(),
        "coordinates": Values.of(adata.obsm[result.keys.obsm]),
    }
    adata.uns[key]["fingerprint"] = {
        part: to_arrays(Fingerprint.of(values, adata.obs_names)) for part, values in parts.items()
    }
