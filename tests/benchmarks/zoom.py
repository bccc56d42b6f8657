"""What does a zoom keep: a map of one type's cells, with and without their earlier places as landmarks.

``OMP_NUM_THREADS=1 python tests/benchmarks/zoom.py --sets human_kidney_top2000,pbmc3k --data DIR``

Counts are split into two halves. All cells of the first half are mapped, and then the cells of each of the three
largest types alone: from their own 500 variable genes and 50 components, once with their places on the first map as
landmarks and once without. One row a type, means of two seeds: which share of the 20 nearest neighbors on a map is so
in the components of the other half, and how far the zooms are from the first map
(:func:`scgeoae.metrics.displacement`). Without ``--sets``, the 1,500 cells of the tutorials.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import scanpy as sc
from datasets import labels_of, read_counts
from sizes import TUTORIAL

import scgeoae

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

SEEDS = (0, 1)
N_GENES, N_GENES_OF_ALL, N_TYPES = 500, 2_000, 3
EARLIER = "all cells"


def prepare(halves: Sequence[AnnData], n_genes: int) -> None:
    """Prepare both halves alike, by the variable genes of the first, up to the components."""
    for half in halves:
        sc.pp.normalize_total(half)
        sc.pp.log1p(half)
    sc.pp.highly_variable_genes(halves[0], n_top_genes=min(n_genes, halves[0].n_vars))
    halves[1].var["highly_variable"] = halves[0].var["highly_variable"]
    for half in halves:
        sc.pp.pca(half)


def row_of(halves: Sequence[AnnData]) -> dict[str, float]:
    """Zoom into these cells of both halves, and compare the maps with the other half."""
    prepare(halves, N_GENES)
    first, second = halves
    rows = []
    for seed in SEEDS:
        scgeoae.tl.geometric_ae(first, landmarks=EARLIER, key_added="zoom", rng=seed)
        scgeoae.tl.geometric_ae(first, key_added="without landmarks", rng=seed)
        maps = [EARLIER, "zoom", "without landmarks"]
        kept = scgeoae.metrics.embedding_quality(first, maps, other=second)["knn_recall"]
        moved = {f"{z}, moved": scgeoae.metrics.displacement(first.obsm[EARLIER], first.obsm[z]) for z in maps[1:]}
        rows.append({**kept, **moved})
    return {"cells": first.n_obs, **pd.DataFrame(rows).mean()}


def table_of(file: Path) -> pd.DataFrame:
    """Make one row for each of the largest types."""
    counts = read_counts(file)
    labels = pd.Series(labels_of(counts.obs))
    halves = scgeoae.pp.split_counts(counts)
    whole = [half.copy() for half in halves]
    prepare(whole, N_GENES_OF_ALL)
    scgeoae.tl.geometric_ae(whole[0])
    halves[0].obsm[EARLIER] = whole[0].obsm["X_geoae"]
    types = labels.value_counts().index[:N_TYPES]
    return pd.DataFrame(
        {name: row_of([half[(labels == name).to_numpy()].copy() for half in halves]) for name in types}
    ).T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of data sets")
    parser.add_argument("--sets", help="names with commas between")
    arguments = parser.parse_args()
    files = [TUTORIAL] if arguments.sets is None else [arguments.data / f"{n}.h5ad" for n in arguments.sets.split(",")]
    for file in files:
        print(file.stem, table_of(file).to_markdown(floatfmt=".4g"), sep="\n\n", flush=True)


if __name__ == "__main__":
    main()
