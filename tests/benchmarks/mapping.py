"""Do new cells land where they belong, and are cells noticed that the reference does not explain?

``OMP_NUM_THREADS=1 python tests/benchmarks/mapping.py halves --data DIR``
``OMP_NUM_THREADS=1 python tests/benchmarks/mapping.py left_out --data DIR``

`halves`: train on half of the cells and map the other half. Prints the accuracy of labels by a vote of neighbors on the
map, for training and for mapped cells; the share of mapped cells that are flagged; and the correlation of decoded genes
with the expression that the principal components keep. `left_out`: leave one cell type out of the training and map it.
Prints, for both flags of `tl.map_cells`, the share of its cells that are flagged (sensitivity) and of held-out cells of
the other types that are not (specificity), also after thinning the counts of the query to a half and a quarter; and the
means over the types.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import datasets
import numpy as np
import pandas as pd
import scanpy as sc

import scgeoae

if TYPE_CHECKING:
    from anndata import AnnData

SETS = "pbmc3k,cite_cbmc_top2000,human_kidney_top2000"
N_NEIGHBORS = 15
"""Of the vote of `tl.map_cells`."""
MIN_CELLS = 50
"""Smallest cell type that is left out."""
SHARES = (1, 0.5, 0.25)
"""Of the counts of a query that `left_out` maps."""
FLAGS = ("geoae_outside", "geoae_novel")


def labeled(data: Path, name: str) -> AnnData:
    """Return log-normalized expression of the labeled cells, their types in ``obs["label"]``."""
    return datasets.log_normalized(counts_of(data, name))


def counts_of(data: Path, name: str) -> AnnData:
    """Return raw counts of the labeled cells, their types in ``obs["label"]``."""
    adata = datasets.read_counts(data / f"{name}.h5ad")
    adata.obs["label"] = datasets.labels_of(adata.obs)
    adata = adata[adata.obs["label"].notna()].copy()
    adata.obs["label"] = adata.obs["label"].astype(str)
    return adata


def thinned(counts: AnnData, share: float) -> AnnData:
    """Log-normalize a random ``share`` of the counts."""
    counts = counts.copy() if share == 1 else scgeoae.pp.split_counts(counts, share=share)[0]
    sc.pp.normalize_total(counts, target_sum=1e4)
    sc.pp.log1p(counts)
    return counts


def train(adata: AnnData) -> None:
    """Scale, reduce and train."""
    sc.pp.scale(adata, max_value=10)
    sc.pp.pca(adata, n_comps=datasets.N_PCS)
    scgeoae.tl.geometric_ae(adata)


def halves(adata: AnnData, name: str, seed: int) -> None:
    """Train on a random half and map the other."""
    order = np.random.default_rng(seed).permutation(adata.n_obs)
    first, second = (adata[half].copy() for half in np.array_split(order, 2))
    train(first)
    truth = second.obs["label"].to_numpy()
    scgeoae.tl.map_cells(second, first, obs="label")
    mapped = float((second.obs["label"].astype(str) == truth).mean())
    z = first.obsm["X_geoae"]
    own = scgeoae.metrics.knn_accuracy(z, first.obs["label"], k=N_NEIGHBORS)
    decoded = scgeoae.get.decode(first, z, space="genes").X
    kept = scgeoae.get.model(first).input.projection.undo(first.obsm["X_pca"])
    x, y = (genes - genes.mean(0) for genes in (decoded, kept))
    by_gene = (x * y).sum(0) / np.sqrt(np.square(x).sum(0) * np.square(y).sum(0))
    print(
        f"{name}, seed {seed}: kNN accuracy of training cells {own:.3f}, of mapped cells {mapped:.3f} "
        f"({100 * (mapped - own):+.1f} points); flagged: {second.obs['geoae_outside'].mean():.3f} of the mapped half; "
        f"decoded genes against the components: correlation {np.corrcoef(decoded.ravel(), kept.ravel())[0, 1]:.3f} "
        f"over all entries, median over genes {np.median(by_gene):.3f}",
        flush=True,
    )


def left_out(adata: AnnData, queries: dict[float, AnnData], name: str, label: str) -> pd.DataFrame:
    """Train without one type of cells; map it and a fifth of the other cells."""
    missing, rest = (np.flatnonzero((adata.obs["label"] == label) == chosen) for chosen in (True, False))
    kept, held_out = datasets.split(len(rest))
    reference = adata[rest[kept]].copy()
    train(reference)
    rows = []
    for share, query in queries.items():
        foreign, known = (query[cells].copy() for cells in (missing, rest[held_out]))
        for cells in (foreign, known):
            scgeoae.tl.map_cells(cells, reference)
        rows += [(flag, share, foreign.obs[flag].mean(), 1 - known.obs[flag].mean()) for flag in FLAGS]
    table = pd.DataFrame(rows, columns=["flag", "share", "sensitivity", "specificity"])
    print(f"{name} without {label} ({len(missing)} cells)\n{as_text(table)}", flush=True)
    return table


def as_text(table: pd.DataFrame) -> str:
    """One line a flag, one column a measure and share of the counts."""
    return table.pivot_table(index="flag", columns="share", sort=False).round(3).to_string()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["halves", "left_out"])
    parser.add_argument("--data", type=Path, required=True, help="folder of .h5ad files with raw counts")
    parser.add_argument("--sets", default=SETS, help="names with commas between (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="number of splits of `halves`")
    arguments = parser.parse_args()
    for name in arguments.sets.split(","):
        adata = labeled(arguments.data, name)
        if arguments.what == "halves":
            for seed in range(arguments.seeds):
                halves(adata, name, seed)
        else:
            counts = counts_of(arguments.data, name)
            queries = {share: thinned(counts, share) for share in SHARES}
            sizes = adata.obs["label"].value_counts()
            tables = [left_out(adata, queries, name, label) for label in sizes.index[sizes >= MIN_CELLS]]
            print(f"{name}, mean of {len(tables)} types\n{as_text(pd.concat(tables))}", flush=True)


if __name__ == "__main__":
    main()
