"""How far can the determinant of a decoder that was fitted to a UMAP or t-SNE be believed?

``OMP_NUM_THREADS=1 python tests/benchmarks/decoders.py --data DIR``

Compares strengths of the smoothness prior of `tl.fit_decoder` (`weight_decay`) with kernel regression of three widths.
Prints one line for each map and prior: the Spearman correlation over cells of ln det between two seeds, and between
decoders of two halves of the cells, which do not share their noise; the ratio p95/p5 of det; and, on maps whose
Jacobian is known, the error of ln det.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import datasets
import numpy as np
import scanpy as sc
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr

import scgeoae

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

N_KNOWN = 2000
N_NEIGHBORS = 15


def fitted_log_det(x: np.ndarray, z: np.ndarray, at: np.ndarray, *, seed: int, weight_decay: float) -> np.ndarray:
    """Return ln det (m,) at map points `at` (m, 2) of a decoder fitted to cells `x` (n, D) on the map `z` (n, 2)."""
    adata = ad.AnnData(obsm={"X_pca": x.astype(np.float32), "X_map": z}, shape=(len(x), 0))
    scgeoae.tl.fit_decoder(adata, "map", weight_decay=weight_decay, rng=seed)
    return 0.5 * np.linalg.slogdet(scgeoae.get.metric(adata, at, key="geoae_map"))[1]


def kernel_log_det(x: np.ndarray, z: np.ndarray, at: np.ndarray, *, seed: int, width: float) -> np.ndarray:
    """Return ln det (m,) of kernel regression: the best fit to coordinates with Gaussian noise; `seed` has no effect.

    The kernel of a cell has the standard deviation `width` times the distance to its 15th neighbor on the map.
    """
    scale = width * cKDTree(z).query(z, k=N_NEIGHBORS + 1)[0][:, -1]  # (n,)
    log_det = []
    for points in np.array_split(at, max(1, len(at) // 500)):
        exponent = -0.5 * cdist(points, z, "sqeuclidean") / scale**2 - 2 * np.log(scale)  # (m, n)
        weight = np.exp(exponent - exponent.max(1, keepdims=True))
        weight /= weight.sum(1, keepdims=True)
        slope = (z - points[:, None]) / np.square(scale)[:, None]  # (m, n, 2), gradients of the exponents
        slope -= np.einsum("mn,mnd->md", weight, slope)[:, None]
        jacobian = np.einsum("mn,mnd,nD->mDd", weight, slope, x, optimize=True)
        log_det.append(0.5 * np.linalg.slogdet(jacobian.mT @ jacobian)[1])
    return np.concatenate(log_det)


PRIORS: dict[str, Callable[..., np.ndarray]] = {
    "weight_decay 0.3 (default)": partial(fitted_log_det, weight_decay=0.3),
    "weight_decay 0": partial(fitted_log_det, weight_decay=0),
    "weight_decay 0.1": partial(fitted_log_det, weight_decay=0.1),
    "weight_decay 1": partial(fitted_log_det, weight_decay=1),
    **{f"kernel {width}": partial(kernel_log_det, width=width) for width in (0.5, 1, 2)},
}


def known_maps() -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield name, cells, map and ln det of the surface without noise: a plane, a sphere and a Swiss roll."""
    rng = np.random.default_rng(0)
    u, turn = rng.uniform(-1, 1, (N_KNOWN, 2)), np.linalg.qr(rng.normal(size=(10, 10)))[0]
    plane = u @ turn[:2], np.sinh(1.2 * u), -np.log(1.2 * np.cosh(1.2 * u)).sum(1)
    longitude, latitude = rng.uniform(-1.5, 1.5, N_KNOWN), np.arcsin(rng.uniform(-0.94, 0.94, N_KNOWN))
    globe = np.column_stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)]
    )
    sphere = globe @ turn[:3], np.column_stack([longitude, latitude]), np.log(np.cos(latitude))
    t, height = rng.uniform(1.5 * np.pi, 4.5 * np.pi, N_KNOWN), rng.uniform(0, 21, N_KNOWN)
    rolled = np.column_stack([t * np.cos(t), height, t * np.sin(t)])
    roll = rolled @ turn[:3], np.column_stack([t, height / 3]), np.log(3 * np.sqrt(1 + t**2))
    for name, (x, z, truth), levels in (
        ("plane", plane, (0.03, 0.1)),
        ("sphere", sphere, (0.03, 0.1)),
        ("Swiss roll", roll, (0.2, 1.0)),
    ):
        for noise in levels:
            yield f"{name}, noise {noise}", x + noise * rng.normal(size=x.shape), z, truth


def real_maps(names: list[str], data: Path | None) -> Iterator[tuple[str, np.ndarray, np.ndarray, None]]:
    """Yield name, cells, and UMAP or t-SNE by scanpy's defaults."""
    for name in names:
        x, _ = datasets.load(name, data)
        adata = ad.AnnData(x)
        sc.pp.neighbors(adata, use_rep="X")
        sc.tl.umap(adata)
        sc.tl.tsne(adata, use_rep="X")
        for basis in ("umap", "tsne"):
            yield f"{name}, {basis}", x, adata.obsm[f"X_{basis}"], None


def line(log_det: Callable[..., np.ndarray], x: np.ndarray, z: np.ndarray, truth: np.ndarray | None) -> list[str]:
    """Return agreement of seeds, agreement of halves, spread, seconds, and the error where the truth is known."""
    start = time.perf_counter()
    first = log_det(x, z, z, seed=0)
    seconds = time.perf_counter() - start
    second = log_det(x, z, z, seed=1)
    order = np.random.default_rng(0).permutation(len(x))
    halves = [log_det(x[half], z[half], z, seed=0) for half in (order[::2], order[1::2])]
    low, high = np.percentile(first, [5, 95])
    agreement = spearmanr(first, second)[0], spearmanr(*halves)[0], np.exp(high - low)
    texts = [*(f"{value:.3f}" for value in agreement), f"{seconds:.1f}"]
    if truth is None:
        return [*texts, "", "", ""]
    error = first - truth
    spread = f"{np.sqrt(np.square(error).mean()):.3f} of {truth.std():.3f}"
    return [*texts, f"{error.mean():+.3f}", spread, f"{spearmanr(first, truth)[0]:.3f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of further data sets")
    parser.add_argument("--sets", default="pbmc68k_reduced", help="real data sets, names with commas between")
    parser.add_argument("--priors", default=",".join(PRIORS), help="names with commas between (default: all)")
    parser.add_argument("--known", action="store_true", help="only the maps whose Jacobian is known")
    arguments = parser.parse_args()
    print("| map | prior | seeds | halves | p95/p5 | seconds | bias | RMS error of standard deviation | truth |")
    print("|---|---|---|---|---|---|---|---|---|")
    real = () if arguments.known else real_maps(arguments.sets.split(","), arguments.data)
    for name, x, z, truth in chain(known_maps(), real):
        for prior in arguments.priors.split(","):
            print(f"| {name} | {prior} | {' | '.join(line(PRIORS[prior], x, z, truth))} |", flush=True)


if __name__ == "__main__":
    main()
