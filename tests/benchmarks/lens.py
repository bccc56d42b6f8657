"""What does a readable map cost: neighbors, sizes and distances at several strengths of the lens.

``OMP_NUM_THREADS=1 python tests/benchmarks/lens.py --sets pbmc3k,human_kidney_top2000 --data DIR --output DIR``

Each map is made of one half of the counts, ours bent by :func:`scgeoae.tl.lens` with strength 0, .35, .7 and 1, and
compared with the other half, beside a UMAP and a t-SNE: one row a map of kNN recall, and of how far sizes and distances
of types are typically off, as factors. Further columns: the largest and the median magnification of the cells; how
unequal the density of cells is, as the standard deviation of the logarithm of the distance to the 15th neighbor; how
far points are from where they were after going forward and back, in tiles, at most; how far the determinant of the flow
is from the density, at most; and seconds to bend the cells. Without ``--sets``, the 1,500 cells of the tutorials. The
pictures are ``SET_lens.png``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd
import scanpy as sc
from matplotlib import pyplot as plt
from scipy.spatial import cKDTree
from sizes import TUTORIAL, halves_of

import scgeoae

if TYPE_CHECKING:
    from anndata import AnnData

STRENGTHS = (0.0, 0.35, 0.7, 1.0)
N_NEIGHBORS = 15


def bent(adata: AnnData, strength: float) -> dict[str, float]:
    """Bend the map, keep its coordinates under a name of their own, and measure the lens."""
    start = time.perf_counter()
    scgeoae.tl.lens(adata, strength)
    seconds = time.perf_counter() - start
    adata.obsm[name_of(strength)] = adata.obsm["X_geoae_lens"].copy()
    lens, z = scgeoae.get.model(adata).lens, scgeoae.get.coordinates(adata)
    w, jacobian = lens.forward_with_jacobian(z)
    larger = lens.magnification(z)
    return {
        "largest": larger.max(),
        "median": np.median(larger),
        "back, tiles": np.linalg.norm(lens.inverse(w) - z, axis=1).max() / lens.tile,
        "det / density - 1": np.abs(np.linalg.det(jacobian) / larger - 1)[inside(lens.extent, z)].max(),
        "seconds": seconds,
    }


def inside(extent: tuple[float, float, float, float], z: np.ndarray) -> np.ndarray:
    left, right, bottom, top = extent
    x, y = z.T
    return (x > left) & (x < right) & (y > bottom) & (y < top)


def name_of(strength: float) -> str:
    return f"ours, {strength:g}"


def unevenness(z: np.ndarray) -> float:
    distance = cKDTree(z).query(z, k=[N_NEIGHBORS + 1])[0][:, 0]
    return float(np.log(distance[distance > 0]).std())


def table_of(first: AnnData, second: AnnData) -> pd.DataFrame:
    lenses = {name_of(strength): bent(first, strength) for strength in STRENGTHS}
    bases = ["X_umap", "X_tsne", *lenses]
    quality = scgeoae.metrics.embedding_quality(first, bases, other=second, labels="label")
    table = quality[["knn_recall"]].copy()
    for measure in ("size_error", "distance_error"):
        table[measure] = np.exp(quality[measure])
    table["unevenness"] = [unevenness(first.obsm[basis]) for basis in bases]
    return table.join(pd.DataFrame(lenses).T)


def picture(adata: AnnData, path: Path) -> None:
    """Draw the UMAP and the map at each strength."""
    figure, axes = plt.subplots(1, len(STRENGTHS) + 1, figsize=(4 * len(STRENGTHS) + 4, 4), layout="compressed")
    scgeoae.pl.embedding(adata, key="geoae_umap", color="label", ax=axes[0], title="UMAP", legend_loc=None, show=False)
    for ax, strength in zip(axes[1:], STRENGTHS, strict=True):
        scgeoae.tl.lens(adata, strength)
        title = "true areas" if strength == 0 else f"lens {strength:g}"
        scgeoae.pl.embedding(
            adata, color="label", lens=True, graticule=True, ax=ax, title=title, legend_loc=None, show=False
        )
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of data sets")
    parser.add_argument("--sets", help="names with commas between")
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    mpl.use("agg")
    files = [TUTORIAL] if arguments.sets is None else [arguments.data / f"{n}.h5ad" for n in arguments.sets.split(",")]
    for file in files:
        first, second = halves_of(file)
        scaled = sc.pp.scale(second, max_value=10, copy=True)  # its neighbors are those in its own components
        second.obsm["X_pca"] = sc.pp.pca(scaled, copy=True).obsm["X_pca"]
        print(file.stem, table_of(first, second).to_markdown(floatfmt=".3g"), sep="\n\n", flush=True)
        picture(first, arguments.output / f"{file.stem}_lens.png")


if __name__ == "__main__":
    main()
