"""One method on one data set with one seed, in a process of its own: the map, its measures, its time and its memory."""

from __future__ import annotations

import ctypes
import inspect
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import baselines
import numpy as np
import torch
from baselines import REFERENCE, Embedding, share_left

import scgeoae

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULTS = {name: argument.default for name, argument in inspect.signature(scgeoae.tl.geometric_ae).parameters.items()}

VARIANTS: dict[str, dict[str, Any]] = {
    "ours": {},
    "ours: area only": {"regularizer": "area"},
    "ours: alpha 0": {"alpha": 0},
    "ours: plain": {"alpha": 0, "contrast_weight": 0},
    "ours: no noise": {"noise": 0},
    "ours: more noise": {"noise": 0.5},
    "ours: no interpolation": {"interpolation": 0},
    "ours: no contrast": {"contrast_weight": 0},
    "ours: more contrast": {"contrast_weight": 0.1},
    "ours: 200 steps": {"n_steps": 200},
    "ours: 300 steps": {"n_steps": 300},
    "ours: 500 steps": {"n_steps": 500},
    "ours: 1500 steps": {"n_steps": 1500},
    "ours: 3000 steps": {"n_steps": 3000},
    "ours: batch 512": {"batch_size": 512},
    "ours: 4 x 256, 3000 steps": {"hidden_dims": (256,) * 4, "n_steps": 3000},
    "ours: isometry": {"regularizer": "isometry"},
    "ours: less noise": {"noise": 0.25},
    "ours: alpha .05": {"alpha": 0.05},
    "ours: rate .02": {"learning_rate": 0.02},
    "ours: rate .1": {"learning_rate": 0.1},
    "ours: batch 128": {"batch_size": 128},
    "ours: alpha 1": {"alpha": 1.0},
    "ours: conformal only": {"regularizer": "conformal"},
    "ours: area + isometry": {"regularizer": {"area": 1.0, "isometry": 0.3}},
    "ours: gelu": {"activation": "gelu"},
    "ours: silu": {"activation": "silu"},
    "ours: softplus": {"activation": "softplus"},
    "ours: tanh": {"activation": "tanh"},
    "ours: 2 x 100": {"hidden_dims": (100, 100)},
    "ours: 6 x 100": {"hidden_dims": (100,) * 6},
    "ours: 3 x 256": {"hidden_dims": (256, 256, 256)},
    "ours: 256 and 64": {"hidden_dims": (256, 64)},
    "ours: 1 dimension": {"n_components": 1},
    "ours: 3 dimensions": {"n_components": 3},
    "ours: 5 dimensions": {"n_components": 5},
    "ours: 10 dimensions": {"n_components": 10},
}
"""Arguments of :func:`scgeoae.tl.geometric_ae`; what is not named is the default."""

METHODS = [*baselines.METHODS, *VARIANTS]
COMPILED = ("UMAP", "densMAP", "Parametric UMAP")
"""Methods of which numba compiles parts at their first call."""
TREE_SEARCH = 4096
"""Cells above which umap-learn, and later scanpy, search neighbours with pynndescent."""
WARM_UP_CELLS, WARM_UP_STEPS = 500, 10
N_NEIGHBORS = 20
FROM_TABLE = (
    "kl_density_0.1",
    "kl_density_100",
    "knn_recall",
    "trustworthiness",
    "continuity",
    "spearman",
    "stress",
    "knn_accuracy",
    "ari",
    "nmi",
)


def work(job_file: str, row_file: str) -> None:
    """Do the job that the first file describes and write the measures into the second."""
    job = json.loads(Path(job_file).read_text())
    Path(row_file).write_text(json.dumps(row_of(job["method"], job["data"], seed=job["seed"])))


def row_of(method: str, data: str, *, seed: int) -> dict[str, float]:
    """Run a method on the arrays of an ``.npz`` file and measure what came of it, on `other` if that is there."""
    with np.load(data) as arrays:
        X, labels, train, test = (arrays[name] for name in ("X", "labels", "train", "test"))
        other = arrays.get("other")
    judges = {"train": None, "test": None} if other is None else {"train": other[train], "test": other[test]}
    fit = method_named(method, n_cells=len(train))
    reset_peak_memory()
    before = peak_memory()
    result = fit(X[train], X[test], seed=seed)
    used = peak_memory() - before
    row = quality(X[train], result.train, labels[train], seed, other=judges["train"])
    if other is not None and method != REFERENCE:
        row["same_half_knn_recall"] = scgeoae.metrics.knn_recall(X[train], result.train, k=N_NEIGHBORS, rng=seed)
    if result.test is not None:
        held_out = quality(X[test], result.test, None, seed, other=judges["test"])
        row |= {f"held_out_{name}": held_out[name] for name in ("knn_recall", "trustworthiness")}
    row |= {"reconstruction": result.reconstruct_train, "held_out_reconstruction": result.reconstruct_test}
    row |= distortion(result) | {"seconds": result.seconds, "memory_mb": used, "threads": torch.get_num_threads()}
    return {name: float(value) for name, value in row.items() if value is not None}


def method_named(name: str, *, n_cells: int) -> Callable[..., Embedding]:
    """Return a method after a first small call, so that neither imports nor compilation are timed."""
    small = np.random.default_rng(0).normal(size=(WARM_UP_CELLS, 10)).astype(np.float32)
    if name in COMPILED and n_cells > TREE_SEARCH:
        baselines.warm_up()
    if name in VARIANTS:
        arguments = VARIANTS[name]
        ours({**arguments, "n_steps": WARM_UP_STEPS})(small, small, seed=0)
        return ours(arguments)
    method = baselines.components if name == REFERENCE else baselines.METHODS[name]
    method(small, small, seed=0)
    return method


def ours(arguments: dict[str, Any]) -> Callable[..., Embedding]:
    """Return the method that calls :func:`scgeoae.tl.geometric_ae`."""

    def fit(X_train: np.ndarray, X_test: np.ndarray, *, seed: int) -> Embedding:
        adata = ad.AnnData(obsm={"X_pca": X_train})
        start = time.perf_counter()
        scgeoae.tl.geometric_ae(adata, **arguments, rng=seed)
        seconds = time.perf_counter() - start
        found = Embedding(
            adata.obsm["X_geoae"],
            None,
            seconds,
            log_det=np.log(adata.obs["geoae_det"].to_numpy()),
            anisotropy=adata.obs["geoae_anisotropy"].to_numpy(),
        )
        return with_reconstruction(found, scgeoae.get.model(adata), X_train, X_test)

    return fit


@torch.no_grad()
def with_reconstruction(found: Embedding, model: Any, X_train: np.ndarray, X_test: np.ndarray) -> Embedding:
    """Add the held-out cells' places, and the share of variance left of both."""
    mean = X_train.mean(axis=0)
    test = model.encode(torch.from_numpy(X_test)).numpy()
    left = [
        share_left(X, model.decode(torch.from_numpy(z)).numpy(), mean)
        for X, z in ((X_train, found.train), (X_test, test))
    ]
    return replace(found, test=test, reconstruct_train=left[0], reconstruct_test=left[1])


def quality(
    X: np.ndarray, Z: np.ndarray, labels: np.ndarray | None, seed: int, *, other: np.ndarray | None = None
) -> dict[str, float]:
    """Measure a map by :func:`scgeoae.metrics.embedding_quality`, or on `other` data of the same cells."""
    adata = ad.AnnData(obsm={"data": X, "map": Z})
    judge = None if other is None else ad.AnnData(obsm={"data": other})
    column = None
    if labels is not None and len(set(labels) - {""}) > 1:
        column = "label"
        adata.obs[column] = [label or None for label in labels.tolist()]
    table = scgeoae.metrics.embedding_quality(
        adata, ["map"], use_rep="data", other=judge, labels=column, k=N_NEIGHBORS, rng=seed
    )
    return table.reindex(columns=FROM_TABLE).iloc[0].dropna().to_dict()


def distortion(result: Embedding) -> dict[str, float | None]:
    """How unevenly and how obliquely the decoder stretches the map, where there is one; a line has no anisotropy."""
    if result.log_det is None or result.anisotropy is None:
        return {}
    low, high = np.percentile(result.log_det, [5, 95])
    anisotropy = float(np.median(result.anisotropy)) if result.train.shape[1] > 1 else None
    return {
        "log_det_variance": float(np.var(result.log_det, ddof=1)),
        "det_p95_p5": float(np.exp(high - low)),
        "anisotropy": anisotropy,
    }


def reset_peak_memory() -> None:
    """Give free memory back and begin to watch the peak anew, at what is held now (Linux)."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> float:
    """Largest resident memory since the last reset, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
