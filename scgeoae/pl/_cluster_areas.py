"""Apparent against true size of groups of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from matplotlib import rcParams
from matplotlib.ticker import LogLocator, NullFormatter

from ..result import DEFAULT_KEY, areas_key, stored_table
from ._scatter import finish, new_axes

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

PLAIN = "0.35"
"""Color of groups without one of scanpy's, and of the legend."""


def cluster_areas(
    adata: AnnData,
    *,
    key: str = DEFAULT_KEY,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool | None = None,
) -> Figure | Axes | list[Axes] | None:
    """Draw how large each group looks on the map, and how large it is in the data.

    Each group has a line from its share of the area in the data (filled) to its share of the area on the map (ring), on
    a logarithmic axis. The ratio is on the right. Groups that look too large are at the top. Colors are those that
    scanpy stores for the groups, if there are any.

    Parameters
    ----------
    adata
        Annotated data matrix after :func:`scgeoae.tl.cluster_areas`.
    key
        Name of the result.
    ax
        Draw here.
    show
        Show the plot instead of returning it.
    return_fig
        Return the figure.

    Returns
    -------
    The Axes, the figure if `return_fig`, or `None` if shown.

    Raises
    ------
    KeyError
        If the areas have not been measured.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=100)
    >>> scgeoae.tl.cluster_areas(adata, "bulk_labels")
    >>> ax = scgeoae.pl.cluster_areas(adata, show=False)
    """
    command = f"scgeoae.tl.cluster_areas(adata, groupby, key={key!r})"
    table = stored_table(adata, areas_key(key), {"data_share", "map_share", "ratio"}, command)
    table = table.dropna(subset="ratio").sort_values("ratio")
    groupby, palette = table.index.name, adata.uns.get(f"{table.index.name}_colors")
    by_name: dict[str, str] = {}
    if palette is not None and groupby in adata.obs and adata.obs[groupby].dtype == "category":
        by_name = dict(zip(adata.obs[groupby].cat.categories.astype(str), palette, strict=False))
    colors = [by_name.get(name, PLAIN) for name in table.index]
    if ax is None:
        (ax,) = new_axes(6.5, 1.2 + 0.3 * len(table))
    rows, background = np.arange(len(table)), ax.get_facecolor()
    ax.hlines(rows, table["data_share"], table["map_share"], colors=colors, linewidth=2, zorder=2)
    true: dict[str, Any] = {"c": colors, "label": "true (in the data)", "zorder": 3}
    apparent: dict[str, Any] = {"color": background, "linewidths": 1.8, "label": "apparent (on the map)", "zorder": 4}
    ax.scatter(table["data_share"], rows, s=55, edgecolors=colors, **true)
    ax.scatter(table["map_share"], rows, s=55, edgecolors=colors, **apparent)
    for row, ratio in enumerate(table["ratio"]):
        ax.text(1.02, row, _in_words(ratio), transform=ax.get_yaxis_transform(), va="center", fontsize="small")
    ax.set(xscale="log", xlabel="share of the area of all groups", ylim=(-0.7, len(table) - 0.3))
    ax.set_yticks(rows, table.index)
    ax.xaxis.set(
        major_locator=LogLocator(subs=(1, 3), numticks=20),  # by default it leaves some out
        major_formatter=lambda share, _: f"{100 * share:g} %",
        minor_formatter=NullFormatter(),
    )
    ax.grid(visible=False)
    ax.grid(axis="y", color=rcParams["text.color"], alpha=0.1, linestyle="-", zorder=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    legend = ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False, fontsize="small")
    for handle, color in zip(cast("list[PathCollection]", legend.legend_handles), (PLAIN, background), strict=True):
        handle.set(facecolor=color, edgecolor=PLAIN)
    return finish([ax], show=show, return_fig=return_fig)


def _in_words(ratio: float) -> str:
    """Write a ratio of areas, such as "2.3 times too large"."""
    factor, direction = (ratio, "large") if ratio >= 1 else (1 / ratio, "small")
    if factor < 1.05:
        return "true"
    return f"{factor:.{0 if factor >= 10 else 1}f} times too {direction}"
