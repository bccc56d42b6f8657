"""Draw the picture of the README: a UMAP, our map, and the sizes of cell types on both.

``python tutorials/front.py [FILE]``, by default ``tutorials/figures/front.png``

The maps are made of one half of the counts of 1,500 blood cells, and the sizes of the types on them are compared with
those in the other half, which neither map has seen.
"""

from __future__ import annotations

import sys
from pathlib import Path

import scanpy as sc
from matplotlib import pyplot as plt

import scgeoae

FOLDER = Path(__file__).parent
TYPES = "cell_type"
LABELS = {"legend_loc": "on data", "legend_fontsize": 8, "legend_fontoutline": 2, "legend_fontweight": "normal"}
MAPS = {"geoae_umap": "UMAP", "geoae": "scgeoae"}


def main(file: Path) -> None:
    """Make both maps of the first half, measure them by the second, and draw them."""
    counts = sc.read_h5ad(FOLDER / "data" / "pbmc3k_counts.h5ad")
    first, second = scgeoae.pp.split_counts(counts)
    for half in (first, second):
        sc.pp.normalize_total(half)
        sc.pp.log1p(half)
    sc.pp.pca(first)
    sc.pp.neighbors(first)
    sc.tl.umap(first)
    scgeoae.tl.geometric_ae(first)
    scgeoae.tl.fit_decoder(first, "umap")

    plt.rcParams["font.size"] = 9
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained", width_ratios=(1, 1, 1.1))
    for ax, (key, title) in zip(axes, MAPS.items(), strict=False):
        scgeoae.tl.cluster_areas(first, TYPES, key=key, other=second)
        scgeoae.pl.embedding(first, key=key, color=TYPES, title=title, ax=ax, show=False, size=30, **LABELS)
    panels = scgeoae.pl.cluster_areas(first, key=list(MAPS), ax=axes[2], show=False)
    for panel, (key, title) in zip(panels, MAPS.items(), strict=True):
        panel.set_title(panel.get_title().replace(key, title, 1), fontsize="medium")
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER / "figures" / "front.png")
