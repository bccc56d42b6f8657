"""How certain are maps, and how often is a verdict on their cells wrong?

``OMP_NUM_THREADS=1 python tests/benchmarks/certainty.py ensemble --data DIR``
``OMP_NUM_THREADS=1 python tests/benchmarks/certainty.py verdict --data DIR``
``OMP_NUM_THREADS=1 python tests/benchmarks/certainty.py null --data DIR``
``OMP_NUM_THREADS=1 python tests/benchmarks/certainty.py replicate --data DIR``

`ensemble`: print the time of `tl.ensemble` with five models over that of one training, in one and in two processes, and
how far the maps agree, with all cells and with resampled ones.
`verdict`: print the shares of the verdicts by cell type for three maps, with genes and with components exchanged.
`null`: print the shares of cells without structure that get each verdict. The data are the expression with the values
of each gene exchanged and its components, or the components with their values exchanged, for several seeds.
`replicate`: make maps of one half of the counts and print the share of the 30 nearest neighbors on the map that are so
in the components of the other half, by verdict, and the verdicts on cells that are put in the place of other cells.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import datasets
import numpy as np
import pandas as pd
import scanpy as sc

import scgeoae
from scgeoae.core.neighbors import kept_neighbors

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

SETS = "pbmc68k_reduced,human_kidney_top2000"
BASES = ("geoae", "umap", "tsne")
VERDICTS = ("trustworthy", "uncertain", "dubious")
N_MODELS = 5
N_NEIGHBORS = 30
MISPLACED = 0.05
"""Share of the cells that `replicate` misplaces."""


def prepared(name: str, data: Path | None, max_cells: int | None = None) -> AnnData:
    """Return scaled expression with 50 principal components and the types of the cells in ``obs["label"]``."""
    if name == "pbmc68k_reduced":
        adata = sc.datasets.pbmc68k_reduced()
        expression = adata.X
    else:
        adata = datasets.log_normalized(datasets.read_counts(data / f"{name}.h5ad"))
        sc.pp.scale(adata, max_value=10)
        expression = adata.X
    labels = datasets.labels_of(adata.obs)
    cells = ad.AnnData(np.asarray(expression), obs=pd.DataFrame({"label": labels}, index=adata.obs_names))
    if max_cells is not None and max_cells < cells.n_obs:
        cells = cells[np.sort(np.random.default_rng(0).choice(cells.n_obs, max_cells, replace=False))].copy()
    sc.pp.pca(cells, n_comps=datasets.N_PCS)
    return cells


def add_map(adata: AnnData, basis: str, seed: int = 0) -> None:
    """Make a map by the defaults of its method."""
    if basis == "geoae":
        scgeoae.tl.geometric_ae(adata, rng=seed)
    elif basis == "umap":
        sc.pp.neighbors(adata, random_state=seed)
        sc.tl.umap(adata, random_state=seed)
    else:
        sc.tl.tsne(adata, random_state=seed)


def shares(adata: AnnData, basis: str, cells: np.ndarray | slice = slice(None)) -> list[float]:
    """Return the share of the cells that get each verdict."""
    verdict = adata.obs[f"{basis}_verdict"].to_numpy()[cells]
    return [float(np.mean(verdict == name)) for name in VERDICTS]


def table(heading: str) -> None:
    """Print the head of a table."""
    print(f"\n{heading}\n|{'---|' * (heading.count('|') - 1)}", flush=True)


def row(*values: object) -> None:
    """Print a row of a table."""
    texts = [f"{value:.3f}" if isinstance(value, float) else str(value) for value in values]
    print(f"| {' | '.join(texts)} |", flush=True)


def seconds(call: Callable[[], object]) -> float:
    """Return the time of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ensemble(sets: list[str], data: Path | None, max_cells: int | None, n_seeds: int) -> None:
    table(
        "| set | trained on | one training, s | five, s | in two processes, s | displacement, map radii: median, 95 % "
        "| agreement, mean | std of ln det, median | direction, median |"
    )
    for name in sets:
        adata = prepared(name, data, max_cells)
        once = seconds(lambda adata=adata: scgeoae.tl.geometric_ae(adata))
        z = adata.obsm["X_geoae"]
        radius = np.sqrt(np.square(z - z.mean(0)).sum(1).mean())
        for case in ("all cells", "resampled"):
            train = partial(scgeoae.tl.ensemble, adata, N_MODELS, bootstrap=case == "resampled")
            times = [seconds(partial(train, n_jobs=n_jobs)) for n_jobs in (1, 2)]
            moved = np.quantile(adata.obs["geoae_displacement"] / radius, [0.5, 0.95])
            row(
                name,
                case,
                f"{once:.1f}",
                *(f"{value:.1f} ({value / once:.1f} times)" for value in times),
                f"{moved[0]:.3f}, {moved[1]:.3f}",
                float(adata.obs["geoae_agreement"].mean()),
                float(adata.obs["geoae_log_det_std"].median()),
                f"{adata.obs['geoae_direction_std'].median():.0f} degrees",
            )


def verdict(sets: list[str], data: Path | None, max_cells: int | None, n_seeds: int) -> None:
    for name in sets:
        adata = prepared(name, data, max_cells)
        for basis in BASES:
            add_map(adata, basis)
        for null in ("genes", "features"):
            exchanged = "genes" if null == "genes" else "components"
            heads = " | ".join(f"{basis}: trustworthy, uncertain, dubious" for basis in BASES)
            table(f"| {name}, {exchanged} exchanged | cells | {heads} |")
            for basis in BASES:
                scgeoae.tl.verdict(adata, basis, null=null)
            types = adata.obs["label"].value_counts()
            for kind in [*sorted(types.index), None]:
                cells = np.flatnonzero(adata.obs["label"] == kind) if kind is not None else np.arange(adata.n_obs)
                texts = [", ".join(f"{share:.2f}" for share in shares(adata, basis, cells)) for basis in BASES]
                row("all" if kind is None else kind, len(cells), *texts)


def null(sets: list[str], data: Path | None, max_cells: int | None, n_seeds: int) -> None:
    table("| set | exchanged | map | trustworthy: mean | largest | dubious: mean |")
    for name in sets:
        adata = prepared(name, data, max_cells)
        for exchanged in ("genes", "components"):
            for basis in BASES:
                found = np.array([false_positives(adata, exchanged, basis, seed) for seed in range(n_seeds)])
                row(name, exchanged, basis, *map(float, (found[:, 0].mean(), found[:, 0].max(), found[:, 2].mean())))


def false_positives(adata: AnnData, exchanged: str, basis: str, seed: int) -> list[float]:
    """Return the shares of the verdicts on a map of data without structure."""
    rng = np.random.default_rng(1000 + seed)
    cells = ad.AnnData(rng.permuted(adata.X, axis=0))
    if exchanged == "genes":
        sc.pp.pca(cells, n_comps=datasets.N_PCS)
    else:
        cells.obsm["X_pca"] = rng.permuted(adata.obsm["X_pca"], axis=0)
    add_map(cells, basis, seed=1000 + seed)
    scgeoae.tl.verdict(cells, basis, rng=seed)
    return shares(cells, basis)


def replicate(sets: list[str], data: Path | None, max_cells: int | None, n_seeds: int) -> None:
    heads = " | ".join(f"kept in the other half: {name}" for name in VERDICTS)
    table(f"| set | null | map | {heads} | misplaced cells: trustworthy, uncertain, dubious |")
    for name in sets:
        if name not in datasets.names_with_counts(data):
            continue
        halves = scgeoae.pp.split_counts(datasets.read_counts(data / f"{name}.h5ad"))
        used = np.flatnonzero(np.logical_and(*(np.asarray(half.X.sum(1)).ravel() > 0 for half in halves)))
        used = np.random.default_rng(0).permutation(used)[:max_cells]
        first, second = (datasets.log_normalized(half[used].copy()) for half in halves)
        for half in (first, second):
            sc.pp.scale(half, max_value=10)
            sc.pp.pca(half, n_comps=datasets.N_PCS)
        misplaced = np.random.default_rng(0).choice(first.n_obs, round(MISPLACED * first.n_obs), replace=False)
        elsewhere = np.random.default_rng(1).choice(first.n_obs, len(misplaced), replace=False)
        for basis in BASES:
            add_map(first, basis)
            kept = kept_neighbors(second.obsm["X_pca"], [first.obsm[f"X_{basis}"]], N_NEIGHBORS)
            wrong = first.copy()
            wrong.obsm[f"X_{basis}"][misplaced] = first.obsm[f"X_{basis}"][elsewhere]
            for kind in ("genes", "features"):
                scgeoae.tl.verdict(first, basis, null=kind)
                scgeoae.tl.verdict(wrong, basis, null=kind)
                by_verdict = pd.Series(kept).groupby(first.obs[f"{basis}_verdict"].to_numpy()).mean()
                caught = ", ".join(f"{share:.2f}" for share in shares(wrong, basis, misplaced))
                row(name, kind, basis, *(float(by_verdict.get(verdict, np.nan)) for verdict in VERDICTS), caught)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("ensemble", "verdict", "null", "replicate"))
    parser.add_argument("--data", type=Path, help="folder of further data sets")
    parser.add_argument("--sets", default=SETS, help="names with commas between (default: %(default)s)")
    parser.add_argument("--max-cells", type=int, help="use at most so many cells of a set, drawn at random")
    parser.add_argument("--seeds", type=int, default=5, help="data sets without structure (default: %(default)s)")
    arguments = parser.parse_args()
    commands = {"ensemble": ensemble, "verdict": verdict, "null": null, "replicate": replicate}
    commands[arguments.command](arguments.sets.split(","), arguments.data, arguments.max_cells, arguments.seeds)


if __name__ == "__main__":
    main()
