"""Apparent against true distances between groups of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rcParams
from matplotlib.collections import LineCollection
from matplotlib.ticker import LogLocator
from scipy.cluster.hierarchy import dendrogram, linkage
from scipy.spatial.distance import squareform

from .._checks import instead
from ..fields import DEFAULT_KEY, Keys, read_table
from ._dumbbells import draw_dumbbells, write_ratios
from ._scatter import finish, new_axes

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = {"other", "data_distance", "distance_ratio", "free_of_noise"}
CLOSER, FARTHER = "C0", "C1"
"""Colors of pairs that look closer or farther apart than they are."""


@instead()
def cluster_distances(
    adata: AnnData,
    *,
    key: str = DEFAULT_KEY,
    n_pairs: int = 12,
    cmap: str = "viridis",
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool | None = None,
) -> Figure | Axes | list[Axes] | None:
    """Draw which groups look closer, or farther apart, than they are, and the distances in the data.

    On the left, each of the most distorted pairs has a line from its distance in the data (filled) to its distance on
    the map (ring), on a logarithmic axis. Both are those between the means of the groups. Distances on the map are
    multiplied by one number, such that over all pairs the two agree on geometric average. Pairs that look too close are
    at the top.

    On the right, as in the distance table of a road atlas, the color of a tile is the distance in the data between the
    group at the end of its row and the group at the top of its column. The tree (average linkage) joins groups that are
    near. Groups that differ by noise alone have no distance.

    Parameters
    ----------
    adata
        Annotated data matrix after :func:`scgeoae.tl.cluster_distances`.
    key
        Name of the result.
    n_pairs
        How many pairs to draw.
    cmap
        Color map of the distances.
    ax, show, return_fig
        Draw the pairs here, and nothing else. Show the plot instead of returning it. Return the figure.

    Returns
    -------
    The two Axes (or the one that was passed), the figure if `return_fig`, or `None` if shown.

    Raises
    ------
    KeyError
        If the distances have not been measured.
    ValueError
        If `n_pairs` is less than 1, or no two groups are apart.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.fit_decoder(adata, "umap", n_steps=100)
    >>> scgeoae.tl.cluster_distances(adata, "bulk_labels", key="geoae_umap")
    >>> axes = scgeoae.pl.cluster_distances(adata, key="geoae_umap", show=False)
    """
    if n_pairs < 1:
        msg = f"n_pairs must be at least 1, but it is {n_pairs}."
        raise ValueError(msg)
    table = read_table(adata, Keys.distances, key, COLUMNS)
    apart = table.dropna(subset="distance_ratio")
    if apart.empty:
        msg = f"In .uns[{Keys.named(key).distances!r}] no two groups are apart."
        raise ValueError(msg)
    order = np.abs(np.log(apart["distance_ratio"].to_numpy())).argsort(kind="stable")[::-1]
    shown = apart.iloc[order[:n_pairs]].sort_values("distance_ratio", ascending=False)
    n_groups = len({*table.index, *table["other"]})
    panels = [ax] if ax else new_axes(14, max(1.2 + 0.45 * len(shown), 2 + 0.22 * n_groups), 2)
    _draw_pairs(panels[0], shown)
    if ax is None:
        _draw_tree(panels[1], table, cmap)
    return finish(panels, show=show, return_fig=return_fig)


def _draw_pairs(ax: Axes, table: pd.DataFrame) -> None:
    """Draw a line for each pair of a table that is sorted by ratio."""
    rows = [f"{group}\n{other}" for group, other in zip(table.index, table["other"], strict=True)]
    true, ratio = table["data_distance"].set_axis(rows), table["distance_ratio"].set_axis(rows)
    names, label = (f"true (in the {_source(table)})", "apparent (on the map)"), "distance in units of the data"
    colors = np.where(ratio < 1, CLOSER, FARTHER).tolist()
    draw_dumbbells(ax, true, true * ratio, names, colors=colors, label=label)
    write_ratios(ax, ratio, "far", "close")
    ax.tick_params(axis="y", labelsize="small")
    ax.xaxis.set(
        major_locator=LogLocator(subs=(1, 2, 5), numticks=20),  # by default it leaves some out
        major_formatter="{x:g}",
    )


def _draw_tree(ax: Axes, table: pd.DataFrame, cmap: str) -> None:
    """Draw the distances of all pairs in the data as tiles, and the tree of the groups beside them."""
    known = table.fillna({"data_distance": 0.0})
    names = list(dict.fromkeys([*known.index, *known["other"]]))
    place = {name: number for number, name in enumerate(names)}
    square = np.zeros((len(names), len(names)))
    for group, other, length in zip(known.index, known["other"], known["data_distance"], strict=True):
        square[place[group], place[other]] = square[place[other], place[group]] = length
    tree = dendrogram(linkage(squareform(square), "average", optimal_ordering=True), no_plot=True)
    order = tree["leaves"]
    square = square[np.ix_(order, order)]
    np.fill_diagonal(square, np.nan)
    square[np.triu_indices(len(names))] = np.nan
    edges = np.arange(len(names) + 1)
    tiles = ax.pcolormesh(edges, edges, square, cmap=cmap, vmin=0, edgecolors=ax.get_facecolor(), linewidth=0.5)
    for row, number in enumerate(order):
        ax.text(row + 0.15, row + 0.5, names[number], va="center", fontsize="small")
    ax.set(aspect="equal", xlim=(0, len(names)), ylim=(len(names), 0))
    ax.axis("off")
    beside, below = ax.inset_axes((-0.2, 0, 0.19, 1)), ax.inset_axes((0, -0.07, 1, 0.03))
    branches = [np.column_stack(corners) for corners in zip(tree["dcoord"], tree["icoord"], strict=True)]
    beside.add_collection(LineCollection(branches, colors=rcParams["text.color"], linewidths=1))
    beside.set(xlim=(1.02 * np.max(tree["dcoord"]), 0), ylim=(10 * len(names), 0))  # scipy's leaves are 10 apart
    beside.axis("off")
    bar = ax.figure.colorbar(tiles, cax=below, orientation="horizontal", label=f"distance in the {_source(table)}")
    bar.outline.set_visible(False)
    below.grid(visible=False)


def _source(table: pd.DataFrame) -> str:
    """What the distances are distances in."""
    return "other half of the counts" if table["free_of_noise"].all() else "data"
