"""Apparent against true size of groups of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rcParams
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ..result import DEFAULT_KEY, areas_key, stored_table
from ._scatter import finish, new_axes

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLAIN = "0.35"
"""Colour of groups to which scanpy has given none."""


def cluster_areas(
    adata: AnnData,
    *,
    key: str = DEFAULT_KEY,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool | None = None,
) -> Figure | Axes | list[Axes] | None:
    """Draw how large each group looks on the map, and how large it is.

    One line a group, from the share that it has in the data (filled) to the share that it takes on the map (ring), on a
    logarithmic axis; on the right their ratio. Groups that look too large are at the top. In scanpy's colours of the
    groups where there are any.

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
    colors = _colors(adata, table)
    if ax is None:
        (ax,) = new_axes(6.5, 1.2 + 0.3 * len(table))
    rows = np.arange(len(table))
    ax.hlines(rows, table["data_share"], table["map_share"], colors=colors, linewidth=2, zorder=2)
    ax.scatter(table["data_share"], rows, s=55, c=colors, edgecolors=colors, zorder=3)
    ax.scatter(table["map_share"], rows, s=55, color=ax.get_facecolor(), edgecolors=colors, linewidths=1.8, zorder=4)
    for row, ratio in zip(rows, table["ratio"], strict=True):
        ax.text(1.02, float(row), _in_words(ratio), transform=ax.get_yaxis_transform(), va="center", fontsize="small")
    _decorate(ax, table)
    return finish([ax], show=show, return_fig=return_fig)


def _colors(adata: AnnData, table: pd.DataFrame) -> list[str]:
    groupby = table.index.name
    palette = adata.uns.get(f"{groupby}_colors")
    if palette is None or groupby not in adata.obs or adata.obs[groupby].dtype != "category":
        return [PLAIN] * len(table)
    names = adata.obs[groupby].cat.categories.astype(str)
    by_name = dict(zip(names, palette, strict=False))
    return [by_name.get(name, PLAIN) for name in table.index]


def _in_words(ratio: float) -> str:
    """Such as "2.3 times too large"."""
    factor, direction = (ratio, "large") if ratio >= 1 else (1 / ratio, "small")
    if factor < 1.05:
        return "true"
    return f"{factor:.{0 if factor >= 10 else 1}f} times too {direction}"


def _decorate(ax: Axes, table: pd.DataFrame) -> None:
    ax.set(xscale="log", xlabel="share of the area of all groups", ylim=(-0.7, len(table) - 0.3))
    ax.set_yticks(range(len(table)), table.index)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=20))  # left to itself it drops some
    ax.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.grid(visible=False)
    ax.grid(axis="y", color=rcParams["text.color"], alpha=0.1, linestyle="-", zorder=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    style: dict[str, Any] = {"color": PLAIN, "marker": "o", "markersize": 7, "linestyle": "none"}
    handles = [
        Line2D([], [], **style, label="true (in the data)"),
        Line2D(
            [],
            [],
            **style | {"markerfacecolor": ax.get_facecolor(), "markeredgewidth": 1.8},
            label="apparent (on the map)",
        ),
    ]
    ax.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False, fontsize="small")
