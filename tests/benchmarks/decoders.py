"""How far the determinant of a fitted decoder can be believed, and what the table of measures costs.

Run by hand::

    OMP_NUM_THREADS=1 python tests/benchmarks/decoders.py fields --data DIR
    OMP_NUM_THREADS=1 python tests/benchmarks/decoders.py priors --data DIR
    OMP_NUM_THREADS=1 python tests/benchmarks/decoders.py table

`fields`: `tl.fit_decoder` at its defaults on UMAP and t-SNE of real cells. Spearman correlation over cells of ln det
between two seeds, and between decoders of two halves of the cells (which do not share noise: the harder question); and
the error of ln det on maps whose Jacobian is known. `priors`: the same for other smoothness priors, jittered
coordinates among them. `table`: time and peak memory of `metrics.embedding_quality`.
"""

from __future__ import annotations

import argparse
import resource
import time
from itertools import chain
from typing import TYPE_CHECKING, Any

import anndata as ad
import datasets
import numpy as np
import scanpy as sc
import torch
from scipy.spatial import cKDTree
from scipy.stats import spearmanr

import scgeoae
from scgeoae.core import fit, training

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scgeoae.core.sharding import Part

SETS = ("pbmc68k_reduced", "pbmc3k", "hpc_tusi", "human_kidney_top2000", "cite_cbmc_top2000")
PRIORS: dict[str, dict[str, Any]] = {
    "weight_decay 0.3 (default)": {},
    "none": {"weight_decay": 0},
    "weight_decay 0.1": {"weight_decay": 0.1},
    "weight_decay 1": {"weight_decay": 1.0},
    "alpha 0.01": {"weight_decay": 0, "alpha": 0.01},
    "jitter": {"weight_decay": 0, "jitter": 0.5},
}
"""Arguments of `tl.fit_decoder`; `jitter` is the kernel's width as a share of the distance to the 15th neighbour."""


class JitteredTrainer(training.Trainer):
    """Gaussian noise on the coordinates: what is fitted is a kernel regression of this width."""

    jitter = 0.0

    def _place(self, x: torch.Tensor, part: Part, noise: float = 0) -> torch.Tensor:
        z = super()._place(x, part, noise)
        if not self.jitter or not torch.is_grad_enabled():
            return z
        if not hasattr(self, "widths"):
            distances, _ = cKDTree(self.coordinates).query(self.coordinates, k=16)
            self.widths = torch.tensor(self.jitter * distances[:, -1:], dtype=torch.float32)
        return z + self.widths[part.index] * torch.randn(z.shape, generator=self.generator)


def log_det(x: np.ndarray, z: np.ndarray, at: np.ndarray, **arguments: Any) -> np.ndarray:
    """`ln det` (m,) at the map points `at` (m, 2) of a decoder fitted to cells `x` (n, D) on the map `z` (n, 2)."""
    JitteredTrainer.jitter = arguments.pop("jitter", 0.0)
    adata = ad.AnnData(obsm={"X_pca": x.astype(np.float32), "X_map": z}, shape=(len(x), 0))
    scgeoae.tl.fit_decoder(adata, "map", **arguments)
    return 0.5 * np.linalg.slogdet(scgeoae.get.metric(adata, at, key="geoae_map"))[1]


def report(name: str, x: np.ndarray, z: np.ndarray, truth: np.ndarray | None = None, **arguments: Any) -> None:
    """Print one line: agreement of seeds, agreement of halves, spread, and the error where the truth is known."""
    start = time.perf_counter()
    first = log_det(x, z, z, rng=0, **arguments)
    seconds = time.perf_counter() - start
    second = log_det(x, z, z, rng=1, **arguments)
    order = np.random.default_rng(0).permutation(len(x))
    halves = [log_det(x[half], z[half], z, rng=0, **arguments) for half in (order[::2], order[1::2])]
    low, high = np.percentile(first, [5, 95])
    line = (
        f"{name:<48} seeds {spearmanr(first, second)[0]:.3f}  halves {spearmanr(*halves)[0]:.3f}  "
        f"p95/p5 {np.exp(high - low):6.2f}  {seconds:5.1f} s"
    )
    if truth is not None:
        error = first - truth
        line += (
            f"  bias {error.mean():+.3f}  RMS error {np.sqrt(np.square(error).mean()):.3f} of sd {truth.std():.3f}  "
            f"Spearman with truth {spearmanr(first, truth)[0]:.3f}"
        )
    print(line, flush=True)


def known_maps() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Cells, map and `ln det` of the surface under noise: 2,000 cells on a plane, a sphere and a Swiss roll."""
    rng = np.random.default_rng(0)
    u, turn = rng.uniform(-1, 1, (2000, 2)), np.linalg.qr(rng.normal(size=(10, 10)))[0]
    plane = u @ turn[:2], np.sinh(1.2 * u), -np.log(1.2 * np.cosh(1.2 * u)).sum(1)
    longitude, latitude = rng.uniform(-1.5, 1.5, 2000), np.arcsin(rng.uniform(-0.94, 0.94, 2000))
    globe = np.column_stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)]
    )
    sphere = globe @ turn[:3], np.column_stack([longitude, latitude]), np.log(np.cos(latitude))
    t, height = rng.uniform(1.5 * np.pi, 4.5 * np.pi, 2000), rng.uniform(0, 21, 2000)
    rolled = np.column_stack([t * np.cos(t), height, t * np.sin(t)])
    roll = rolled @ turn[:3], np.column_stack([t, height / 3]), np.log(3 * np.sqrt(1 + t**2))
    return {
        f"{name}, noise {noise}": (x + noise * rng.normal(size=x.shape), z, truth)
        for name, (x, z, truth), levels in (
            ("plane", plane, (0.03, 0.1)),
            ("sphere", sphere, (0.03, 0.1)),
            ("Swiss roll", roll, (0.2, 1.0)),
        )
        for noise in levels
    }


def real_maps(data: str | None, names: tuple[str, ...]) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Cells and their UMAP and t-SNE, by scanpy's defaults."""
    for name in names if data else SETS[:1]:
        x, _ = datasets.load(name, data)
        adata = ad.AnnData(x)
        sc.pp.neighbors(adata, use_rep="X")
        sc.tl.umap(adata)
        sc.tl.tsne(adata, use_rep="X")
        yield from ((f"{name}, {basis}", (x, adata.obsm[f"X_{basis}"])) for basis in ("umap", "tsne"))


def table(n_cells: int) -> None:
    """Print seconds and peak memory of the table of five maps of `n_cells` cells with 50 features."""
    rng = np.random.default_rng(0)
    group = rng.integers(10, size=n_cells)
    x = rng.normal(size=(n_cells, 50)).astype(np.float32) + 3 * rng.normal(size=(10, 50)).astype(np.float32)[group]
    adata = ad.AnnData(obsm={"X_pca": x}, shape=(n_cells, 0))
    adata.obs["group"] = group.astype(str)
    for i in range(5):
        adata.obsm[f"X_map{i}"] = x[:, 2 * i : 2 * i + 2].copy()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, worked = time.perf_counter(), time.process_time()
    scgeoae.metrics.embedding_quality(adata, [f"map{i}" for i in range(5)], labels="group")
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    cost = f"{seconds:6.1f} s ({worked:.1f} s of processor), peak memory grew by {grown:.0f} MB"
    print(f"{n_cells:>7} cells, 5 maps: {cost}", flush=True)


def main() -> None:
    """Choose what to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["fields", "priors", "table"])
    parser.add_argument("--data")
    chosen = parser.parse_args()
    if chosen.what == "table":
        for n_cells in (10_000, 100_000):
            table(n_cells)
        return
    fit.Trainer = JitteredTrainer
    real = real_maps(chosen.data, SETS if chosen.what == "fields" else SETS[1:2])
    for name, cells in chain(known_maps().items(), real):
        for prior, arguments in (PRIORS if chosen.what == "priors" else {"": {}}).items():
            report(f"{name} {prior}", *cells, **arguments)


if __name__ == "__main__":
    main()
