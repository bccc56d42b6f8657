"""Run one method on one data set with one seed, in a process of its own: maps, their measures, time and memory."""

from __future__ import annotations

import ctypes
import inspect
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from unittest.mock import patch

import anndata as ad
import baselines
import numpy as np
import torch
from baselines import REFERENCE, Embedding, share_left

import scgeoae
from scgeoae.tl.plan import plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

    from scgeoae.tl.plan import Plan

Returned = TypeVar("Returned")

VARIANTS: dict[str, dict[str, Any]] = {
    "ours": {},
    "ours: random start": {"init": "random"},
    "ours: no distances": {"distance_weight": 0},
    "ours: 300 steps": {"n_steps": 300},
    "ours: 500 steps": {"n_steps": 500},
    "ours: 1500 steps": {"n_steps": 1500},
    "ours: batch 128": {"batch_size": 128},
    "ours: batch 512": {"batch_size": 512},
    "ours: no contrast": {"contrast_weight": 0},
    "ours: more contrast": {"contrast_weight": 0.1},
    "ours: no noise": {"noise": 0},
    "ours: less noise": {"noise": 0.25},
    "ours: more noise": {"noise": 0.5},
    "ours: no interpolation": {"interpolation": 0},
    "ours: alpha 0": {"alpha": 0},
    "ours: alpha .05": {"alpha": 0.05},
    "ours: alpha 1": {"alpha": 1.0},
    "ours: area only": {"regularizer": "area"},
    "ours: isometry": {"regularizer": "isometry"},
    "ours: conformal only": {"regularizer": "conformal"},
    "ours: area + isometry": {"regularizer": {"area": 1.0, "isometry": 0.3}},
    "ours: 2 x 100": {"hidden_dims": (100, 100)},
    "ours: 3 x 256": {"hidden_dims": (256, 256, 256)},
    "ours: 1 dimension": {"n_components": 1},
    "ours: 3 dimensions": {"n_components": 3},
    "ours: 5 dimensions": {"n_components": 5},
    "ours: 10 dimensions": {"n_components": 10},
}
"""Arguments of :func:`scgeoae.tl.geometric_ae`, or fields of its `Spec`; the others keep their defaults."""

METHODS = [*baselines.METHODS, *VARIANTS]
COMPILED = ("UMAP", "densMAP", "Parametric UMAP")
"""Methods of which numba compiles parts at their first call."""
TREE_SEARCH = 4096
"""Number of cells above which umap-learn, and later scanpy, search neighbors with pynndescent."""
WARM_UP_CELLS, WARM_UP_STEPS = 500, 10
N_NEIGHBORS = 20
MIN_CELLS = 10
"""Of a group whose size and distances are measured."""
SHARE = 0.8
"""Of the cells on maps of parts of them."""
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
    "size_error",
    "distance_error",
    "gap",
)


def work(job_file: str, row_file: str) -> None:
    """Read a job from the first file, do it and write the measures to the second."""
    job = json.loads(Path(job_file).read_text())
    Path(row_file).write_text(json.dumps(row_of(job["method"], job["data"], seed=job["seed"])))


def row_of(method: str, data: str, *, seed: int) -> dict[str, float]:
    """Run a method on the arrays of an ``.npz`` file and measure its map, against the other half if there is one."""
    with np.load(data) as arrays:
        X, labels, train, test = (arrays[name] for name in ("X", "labels", "train", "test"))
        other, projected = (arrays.get(name) for name in ("other", "projected"))
    judges = {"train": None, "test": None} if other is None else {"train": other[train], "test": other[test]}
    fit = method_named(method, n_cells=len(train))
    result, _, memory = with_cost(lambda: fit(X[train], X[test], seed=seed))
    row = quality(X[train], result.train, labels[train], seed, other=judges["train"])
    if other is not None:
        row |= groups(X[train], projected[train], result, labels[train])
        if method != REFERENCE:
            row["same_half_knn_recall"] = scgeoae.metrics.knn_recall(X[train], result.train, k=N_NEIGHBORS, rng=seed)
            row |= displacements(fit, X[train], other[train], result.train, seed)
    if result.test is not None:
        held_out = quality(X[test], result.test, None, seed, other=judges["test"])
        row |= {f"held_out_{name}": held_out[name] for name in ("knn_recall", "trustworthiness")}
    row |= {"reconstruction": result.reconstruct_train, "held_out_reconstruction": result.reconstruct_test}
    row |= distortion(result) | {"seconds": result.seconds, "memory_mb": memory, "threads": torch.get_num_threads()}
    return {name: float(value) for name, value in row.items() if value is not None}


def method_named(name: str, *, n_cells: int) -> Callable[..., Embedding]:
    """Return a method after a small first call, so that imports and compilation are not timed."""
    if name in COMPILED and n_cells > TREE_SEARCH:
        baselines.warm_up()
    if name in VARIANTS:
        method, first = ours(VARIANTS[name]), ours({**VARIANTS[name], "n_steps": WARM_UP_STEPS})
    else:
        method = first = baselines.components if name == REFERENCE else baselines.METHODS[name]
    small = np.random.default_rng(0).normal(size=(WARM_UP_CELLS, 10)).astype(np.float32)
    first(small, small, seed=0)
    return method


def ours(arguments: dict[str, Any]) -> Callable[..., Embedding]:
    """Return the method that calls :func:`scgeoae.tl.geometric_ae`."""

    def fit(X_train: np.ndarray, X_test: np.ndarray, *, seed: int) -> Embedding:
        adata, seconds = trained(X_train, arguments, seed=seed)
        model = scgeoae.get.model(adata)
        found = Embedding(
            adata.obsm["X_geoae"],
            None,
            seconds,
            log_det=np.log(adata.obs["geoae_det"].to_numpy()),
            anisotropy=adata.obs["geoae_anisotropy"].to_numpy(),
            far=model.length_between,
        )
        return with_reconstruction(found, model, X_train, X_test)

    return fit


def trained(X: np.ndarray, arguments: dict[str, Any], *, seed: int) -> tuple[AnnData, float]:
    """Call :func:`scgeoae.tl.geometric_ae` on cells (n, D); return the result and the seconds of the call."""
    adata = ad.AnnData(obsm={"X_pca": X})
    known = inspect.signature(scgeoae.tl.geometric_ae).parameters
    spec = {name: value for name, value in arguments.items() if name not in known}

    def changed(*args: Any, **kwargs: Any) -> Plan:
        planned = plan(*args, **kwargs)
        return replace(planned, spec=replace(planned.spec, **spec))

    start = time.perf_counter()
    with patch("scgeoae.tl._geometric_ae.plan", changed):
        scgeoae.tl.geometric_ae(adata, **{n: v for n, v in arguments.items() if n in known}, rng=seed)
    return adata, time.perf_counter() - start


@torch.no_grad()
def with_reconstruction(found: Embedding, model: Any, X_train: np.ndarray, X_test: np.ndarray) -> Embedding:
    """Add the coordinates of the held-out cells, and the share of variance left of both."""
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


def groups(X: np.ndarray, projected: np.ndarray, found: Embedding, labels: np.ndarray) -> dict[str, float]:
    """Compare sizes and distances of groups with those in the data, free of the noise of one half of the counts."""
    names, counts = np.unique(labels, return_counts=True)
    known = names[(counts >= MIN_CELLS) & (names != "")]
    if len(known) < 2:
        return {}
    labels = np.where(np.isin(labels, known), labels, None)
    measures = scgeoae.metrics
    row = {
        name: getattr(measures, name)(X, found.train, labels, projected)
        for name in ("size_error", "distance_error", "gap")
    }
    if found.far is None:
        return row
    within, between = (
        np.log(of(found.train, labels) / of(X, labels, projected)).mean()
        for of in (measures.group_sizes, measures.group_distances)
    )
    return row | {"lengths_within": np.exp(within), "lengths_between": np.exp(between) / found.far}


def displacements(
    fit: Callable[..., Embedding], X: np.ndarray, other: np.ndarray, Z: np.ndarray, seed: int
) -> dict[str, float]:
    """Lay over the map `Z` that of another seed and that of the other half, and over each other two of random cells."""

    def mapped(cells: np.ndarray, seed: int = seed) -> np.ndarray:
        return fit(cells, cells[:2], seed=seed).train

    rng = np.random.default_rng(seed)
    parts = [np.sort(rng.choice(len(X), round(SHARE * len(X)), replace=False)) for _ in range(2)]
    common = np.intersect1d(*parts)
    some = [mapped(X[part])[np.searchsorted(part, common)] for part in parts]
    pairs = {"seeds": (Z, mapped(X, seed + 1)), "halves": (Z, mapped(other)), "cells": some}
    return {f"displacement_{name}": scgeoae.metrics.displacement(*pair) for name, pair in pairs.items()}


def distortion(result: Embedding) -> dict[str, float | None]:
    """Summarize determinant and anisotropy, where there is a decoder; a map of one dimension has no anisotropy."""
    if result.log_det is None or result.anisotropy is None:
        return {}
    low, high = np.percentile(result.log_det, [5, 95])
    anisotropy = float(np.median(result.anisotropy)) if result.train.shape[1] > 1 else None
    return {
        "log_det_variance": float(np.var(result.log_det, ddof=1)),
        "det_p95_p5": float(np.exp(high - low)),
        "anisotropy": anisotropy,
    }


def with_cost(call: Callable[[], Returned]) -> tuple[Returned, float, float]:
    """Return what a call returns, its seconds, and its peak memory beyond what was held before, MB (Linux)."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak to what is held now
    before, start = peak_memory(), time.perf_counter()
    returned = call()
    seconds = time.perf_counter() - start
    return returned, seconds, peak_memory() - before


def peak_memory() -> float:
    """Return the largest resident memory since the start or the last :func:`with_cost`, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
