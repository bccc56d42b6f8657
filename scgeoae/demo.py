"""A demonstration on data that comes with scanpy: train, draw and store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import matplotlib as mpl
import scanpy as sc
from matplotlib import pyplot as plt
from threadpoolctl import threadpool_limits

from . import pl, tl
from .result import Result

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RESULTS: dict[str, dict[str, Any]] = {"vanilla": {"alpha": 0, "contrast_weight": 0}, "geoae": {}}
"""Key of each autoencoder and the arguments in which it differs from the default."""

TITLES = {"vanilla": "vanilla autoencoder", "geoae": "geometric autoencoder"}
MAPS = {"geoae_umap": "UMAP", "geoae": "scgeoae"}
"""Key and title of the maps whose sizes are compared."""

LABELS = "bulk_labels"
TRAINING: dict[str, Any] = {}
"""Arguments of the training that differ from the defaults."""


def run_demo(directory: Path) -> Iterator[str]:
    """Train a vanilla and a geometric autoencoder on 700 blood cells, and compare the map with a UMAP.

    Writes an h5ad, pictures and a page into a directory.

    Yields
    ------
    Lines to print: what was measured and where the files are.
    """
    mpl.use("agg")
    adata = sc.datasets.pbmc68k_reduced()
    with threadpool_limits(1):  # several threads round otherwise, and the map would depend on their number
        sc.pp.pca(adata)  # the components that come with it are those of other genes, which could not be decoded
    for key, difference in RESULTS.items():
        tl.geometric_ae(adata, key_added=None if key == "geoae" else key, **difference, **TRAINING)
        yield f"{TITLES[key]:<22} {_numbers(adata, key)}"
    tl.fit_decoder(adata, "umap", **TRAINING)  # scanpy's data come with a UMAP
    for key in MAPS:
        tl.cluster_areas(adata, LABELS, key=key)
    directory.mkdir(exist_ok=True)
    adata.write_h5ad(directory / "pbmc68k_reduced.h5ad")
    written = ["pbmc68k_reduced.h5ad"]
    for name, figure in _pictures(adata):
        figure.savefig(directory / f"{name}.png", dpi=150, bbox_inches="tight")
        plt.close(figure)
        written.append(f"{name}.png")
    pl.explorer(adata, directory / "explorer.html", color=LABELS)
    written.append("explorer.html")
    yield f"wrote {', '.join(sorted(written))} to {directory}"


def _numbers(adata: AnnData, key: str) -> str:
    result = Result(adata, key)
    distortion = result.distortion()
    return (
        f"reconstruction {result.reconstruction():.3f} of the variance left, "
        f"variance of ln det {distortion['log_det_variance']:.4f}, "
        f"p95/p5 of det {distortion['det_p95_p5']:.2f}, median anisotropy {distortion['anisotropy']:.2f}"
    )


def _pictures(adata: AnnData) -> Iterator[tuple[str, Figure]]:
    cells = sc.pl.embedding(adata, basis="geoae", color=LABELS, show=False)
    cells.set_aspect("equal")
    yield "map", cells.figure
    yield "history", cast("Figure", pl.history(adata, return_fig=True))
    yield "diagnostics", _diagnostics(adata)
    yield "comparison", _comparison(adata)


def _diagnostics(adata: AnnData) -> Figure:
    """Draw the determinant above, indicatrices below; vanilla on the left, geometric on the right."""
    figure, axes = plt.subplots(2, 2, figsize=(10, 8), layout="compressed")
    for key, (above, below) in zip(RESULTS, axes.T, strict=True):
        pl.det_heatmap(adata, key=key, vmax=8, ax=above, show=False, title=TITLES[key])
        legend = "right margin" if key == "geoae" else "none"
        pl.indicatrix(adata, key=key, color=LABELS, legend_loc=legend, ax=below, show=False, title="")
    return figure


def _comparison(adata: AnnData) -> Figure:
    """Draw a UMAP and our map of the same cells with equal circles, and how large each cell type looks on both."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.4), layout="compressed")
    for ax, (key, title) in zip(axes, MAPS.items(), strict=False):
        pl.indicatrix(adata, key=key, color=LABELS, legend_loc="none", title=title, ax=ax, show=False)
    panels = cast("list[Axes]", pl.cluster_areas(adata, key=list(MAPS), ax=axes[2], show=False))
    for panel, (key, title) in zip(panels, MAPS.items(), strict=True):
        panel.set_title(panel.get_title().replace(key, title, 1), fontsize="medium")
    return figure
