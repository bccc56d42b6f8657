"""Are groups as large on a map as they are, and do decoders of different maps agree on it?

``OMP_NUM_THREADS=1 python tests/benchmarks/sizes.py --sets pbmc3k,human_kidney_top2000 --data DIR --output DIR``

Each map (UMAP, t-SNE, ours) is made of one half of the counts. Sizes of cell types on it are compared with those in the
other half, free of noise and without a decoder (:func:`scgeoae.tl.cluster_areas`): for each set a picture,
``SET_sizes.png``, and a line a map, with how far sizes and distances of types are typically off (the standard deviation
of the logarithm, as a factor), and the types that look most too small and too large of those that are certain. A second
table compares shares of areas on the surface of our decoder with those by decoders of the UMAP and the t-SNE: the same
deviation, and the type that differs most. Without ``--sets``, the 1,500 cells of the tutorials.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import datasets
import matplotlib as mpl
import numpy as np
import scanpy as sc

import scgeoae

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

TUTORIAL = Path(__file__).parents[2] / "tutorials" / "data" / "pbmc3k_counts.h5ad"
MAPS = {"geoae_umap": "UMAP", "geoae_tsne": "t-SNE", "geoae": "ours"}


def halves_of(file: Path) -> tuple[AnnData, AnnData]:
    """Split the counts of a file: the first half up to components and three maps, the second log-normalized."""
    adata = datasets.read_counts(file)
    halves = scgeoae.pp.split_counts(adata)
    kept = np.all([np.asarray(half.X.sum(axis=1)).ravel() > 0 for half in halves], axis=0)
    first, second = (half[kept].copy() for half in halves)
    first.obs["label"] = datasets.labels_of(first.obs)
    first.obs["label"] = first.obs["label"].astype("category")
    first = datasets.log_normalized(first)
    sc.pp.scale(first, max_value=10)
    sc.pp.pca(first)
    sc.pp.neighbors(first)
    sc.tl.umap(first)
    sc.tl.tsne(first)
    scgeoae.tl.geometric_ae(first)
    for basis in ("umap", "tsne"):
        scgeoae.tl.fit_decoder(first, basis)
    sc.pp.normalize_total(second, target_sum=1e4)
    sc.pp.log1p(second)
    return first, second


def typical(ratios: pd.Series) -> str:
    """Return the standard deviation of the logarithm, as a factor."""
    return f"{np.exp(np.log(ratios.dropna()).std(ddof=0)):.2f}"


def extremes(table: pd.DataFrame) -> str:
    """Return the smallest and the largest certain ratio of sizes."""
    ratio = table["size_ratio"][~table["uncertain"]]
    return " | ".join(f"{name} {ratio[name]:.2f}" for name in (ratio.idxmin(), ratio.idxmax()))


def most_different(own: pd.DataFrame, foreign: pd.DataFrame) -> str:
    """Return how far shares of the surface differ, and the type whose shares differ most."""
    ratio = foreign["surface_share"] / own["surface_share"]
    name = np.log(ratio).abs().idxmax()
    shares = f"{100 * own['surface_share'][name]:.1f} %, {100 * foreign['surface_share'][name]:.1f} %"
    return f"{typical(ratio)} | {name} ({own['n_cells'][name]} cells): {shares}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of further data sets")
    parser.add_argument("--sets", help="names of sets with counts and cell types, with commas between")
    parser.add_argument("--output", type=Path, default=Path(), help="folder of the pictures")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    mpl.use("agg")
    sc.settings.verbosity = 0
    files = [TUTORIAL] if arguments.sets is None else [arguments.data / f"{n}.h5ad" for n in arguments.sets.split(",")]
    agreement = []
    print(f"| set | map | sizes off | distances off | most too small | most too large |\n|{'---|' * 6}")
    for file in files:
        first, second = halves_of(file)
        for key, name in MAPS.items():
            scgeoae.tl.cluster_areas(first, "label", key=key, other=second)
            scgeoae.tl.cluster_distances(first, "label", key=key, other=second)
            sizes, distances = first.uns[f"{key}_areas"], first.uns[f"{key}_distances"]
            off = f"{typical(sizes['size_ratio'])} | {typical(distances['distance_ratio'])}"
            print(f"| {file.stem} | {name} | {off} | {extremes(sizes)} |", flush=True)
        for key in ("geoae_umap", "geoae_tsne"):
            found = most_different(first.uns["geoae_areas"], first.uns[f"{key}_areas"])
            agreement.append(f"| {file.stem} | {MAPS[key]} | {found} |")
        panels = scgeoae.pl.cluster_areas(first, key=list(MAPS), show=False)
        for panel, (key, name) in zip(panels, MAPS.items(), strict=True):
            panel.set_title(panel.get_title().replace(key, name, 1), fontsize="medium")
        panels[0].figure.savefig(arguments.output / f"{file.stem}_sizes.png", dpi=150, bbox_inches="tight")
    print(f"\n| set | decoder of | shares off | most different: ours, theirs |\n|{'---|' * 4}")
    print("\n".join(agreement))


if __name__ == "__main__":
    main()
