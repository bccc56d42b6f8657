"""Distances between groups of cells: how far maps are from them, how exact and how fast they are.

``OMP_NUM_THREADS=1 python tests/benchmarks/distances.py --data DIR --sets pbmc3k``

Prints three tables. For each map (ours, UMAP and t-SNE with a decoder) and all pairs of groups: the Spearman
correlation of the map lengths with the surface lengths, and of the distances on the map and along the surface with
those between the means of the groups in the data; the ratio of the worst pair on either side; the share of the surface
lengths that lies off the data; and the share of the pairs whose surface length is shorter than the straight line or
more than twice as long. Then how far the lengths of the table, by Dijkstra's algorithm alone, are from those of
`get.geodesic`. Last, the CPU seconds for 10, 30 and 100 groups.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import datasets
import numpy as np
import scanpy as sc
from scipy.stats import spearmanr
from sklearn.cluster import KMeans

import scgeoae

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

KEYS = {"ours": "geoae", "UMAP": "geoae_umap", "t-SNE": "geoae_tsne"}
N_CHECKED = 15  # pairs whose paths are refined


def prepared(name: str, data: Path | None, max_cells: int | None) -> AnnData:
    """Load a data set with our map, UMAP and t-SNE, their decoders and the labels of its cells in `obs`."""
    x, labels = datasets.load(name, data, max_cells=max_cells)
    adata = ad.AnnData(obsm={"X_pca": x}, shape=(len(x), 0))
    adata.obs["label"] = KMeans(10, random_state=0).fit_predict(x) if labels is None else labels
    adata.obs["label"] = adata.obs["label"].astype("category")
    sc.pp.neighbors(adata, use_rep="X_pca")
    sc.tl.umap(adata)
    sc.tl.tsne(adata, use_rep="X_pca")
    scgeoae.tl.geometric_ae(adata)
    for basis in ("umap", "tsne"):
        scgeoae.tl.fit_decoder(adata, basis)
    return adata


def distances(adata: AnnData, key: str, groupby: str = "label") -> pd.DataFrame:
    """Measure the distances, with the names of both groups as index, without those at one place or off the map."""
    scgeoae.tl.cluster_distances(adata, groupby, key=key)
    return adata.uns[f"{key}_distances"].set_index("other", append=True).dropna()


def comparison(adata: AnnData, key: str) -> list[str]:
    """Compare the lengths of a map's pairs with each other and with the data."""
    table = distances(adata, key)
    pairs = [("map_length", "surface_length"), ("map_distance", "data_distance"), ("surface_length", "data_distance")]
    worst = (f"{first} and {second}: {ratio:.2f}" for first, second, ratio in extremes(table))
    off = (table["share_off_data"] * table["surface_length"]).sum() / table["surface_length"].sum()
    noted = (table["note"] != "").mean()
    correlations = (spearmanr(table[one], table[other])[0] for one, other in pairs)
    return [*(f"{value:.3f}" for value in correlations), *worst, f"{off:.2f}", f"{noted:.2f}"]


def extremes(table: pd.DataFrame) -> list[tuple[str, str, float]]:
    """Return the pairs with the smallest and with the largest ratio."""
    ratio = table["distance_ratio"]
    return [(*pair, ratio[pair]) for pair in (ratio.idxmin(), ratio.idxmax())]


def accuracy(adata: AnnData, key: str) -> list[str]:
    """Compare lengths by Dijkstra's algorithm with those of refined paths: quantiles of their ratio."""
    table = distances(adata, key)
    some = table.iloc[np.unique(np.linspace(0, len(table) - 1, N_CHECKED).astype(int))]
    start, refined = time.process_time(), []
    for pair in some.index:
        try:
            path = scgeoae.get.geodesic(adata, *pair, groupby="label", key=key)
        except ValueError:  # in different pieces
            path = scgeoae.get.geodesic(adata, *pair, groupby="label", key=key, region="anywhere")
        refined.append(path.length)
    seconds = (time.process_time() - start) / len(some)
    quantiles = np.quantile(some["surface_length"] / refined, [0, 0.1, 0.5, 0.9, 1])
    return [*(f"{value:.3f}" for value in quantiles), f"{seconds:.2f}"]


def seconds(adata: AnnData, key: str, n_groups: int) -> str:
    """Time `tl.cluster_distances` for groups by k-means."""
    groups = KMeans(n_groups, n_init=1, random_state=0).fit_predict(adata.obsm["X_pca"])
    adata.obs["group"] = groups.astype(str)
    start = time.process_time()
    distances(adata, key, "group")
    return f"{time.process_time() - start:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of further data sets")
    parser.add_argument("--sets", default="pbmc68k_reduced", help="names with commas between")
    parser.add_argument("--max-cells", type=int, help="use at most this many cells")
    arguments = parser.parse_args()
    sc.settings.verbosity = 0
    sets = {name: prepared(name, arguments.data, arguments.max_cells) for name in arguments.sets.split(",")}
    maps = [(f"{name}, {label}", adata, key) for name, adata in sets.items() for label, key in KEYS.items()]
    columns = "map, surface | map, data | surface, data | too close | too far | off data | noted"
    print(f"| map | {columns} |\n|{'---|' * 8}")
    for name, adata, key in maps:
        print(f"| {name} | {' | '.join(comparison(adata, key))} |", flush=True)
    print(f"\n| table / refined | min | 10 % | median | 90 % | max | CPU seconds a path |\n|{'---|' * 7}")
    for name, adata, key in maps:
        print(f"| {name} | {' | '.join(accuracy(adata, key))} |", flush=True)
    print(f"\n| CPU seconds for | 10 groups | 30 groups | 100 groups |\n|{'---|' * 4}")
    for name, adata, key in maps:
        print(f"| {name} | {' | '.join(seconds(adata, key, n) for n in (10, 30, 100))} |", flush=True)


if __name__ == "__main__":
    main()
