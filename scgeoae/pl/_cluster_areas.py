"""Apparent against true size of groups of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rcParams
from matplotlib.collections import LineCollection
from matplotlib.ticker import LogLocator

from .._checks import instead
from .._lookup import labels_of, palette_of
from ..fields import DEFAULT_KEY, Keys, read_table
from ._dumbbells import PLAIN, draw_dumbbells, write_ratios
from ._scatter import finish, new_axes, write_factors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = {"data_size", "size_ratio", "size_ratio_low", "size_ratio_high", "uncertain", "free_of_noise"}
GAP = 0.06
"""Between panels, as a share of the width of all."""
FACTORS = {4: (1.5, 2, 3), 20: (2, 5, 10), np.inf: (3, 10, 30, 100, 300, 1000)}
"""Up to which factor what is written at the axis of ratios."""
BEYOND = 1e9
"""Where intervals without an upper end lead."""


@instead()
def cluster_areas(
    adata: AnnData,
    *,
    key: str | Sequence[str] = DEFAULT_KEY,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool | None = None,
) -> Figure | Axes | list[Axes] | None:
    """Draw how large each group looks on a map, or on several, and how large it is in the data.

    On one map, each group has a line from its size in the data (filled) to its size on the map (ring), on a logarithmic
    axis, and another through the ring that shows where this lies with 95 % confidence. Sizes are root mean square
    distances from the mean of the group. Those on the map are multiplied by one number, such that over all groups the
    two agree on geometric average. The ratio is on the right.

    Several maps are drawn side by side. A line leads from 1, where a size is true, to the ratio of the size on the map
    to that in the data, with its interval. The title says how far sizes are typically off.

    Groups that look too large are at the top, by the first map. Colors are those that scanpy stores for the groups, if
    there are any. What is uncertain, because there are few cells or the interval is wide, is called so or, on several
    maps, hollow; such an interval may lead out of the plot.

    Parameters
    ----------
    adata
        Annotated data matrix after :func:`scgeoae.tl.cluster_areas`.
    key
        Name of the result, or of several whose sizes of the same groups have been measured.
    ax, show, return_fig
        Draw here. Show the plot instead of returning it. Return the figure.

    Returns
    -------
    The Axes (a list, if there are several maps), the figure if `return_fig`, or `None` if shown.

    Raises
    ------
    KeyError
        If the sizes have not been measured.
    ValueError
        If those of the maps are of different groups, no group has a ratio, or no key is passed.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=100)
    >>> scgeoae.tl.cluster_areas(adata, "bulk_labels")
    >>> ax = scgeoae.pl.cluster_areas(adata, show=False)
    """
    keys = [key] if isinstance(key, str) else list(key)
    tables = _tables(adata, keys)
    first = tables[keys[0]]
    colors = _colors_of(adata, first.index)
    height = 1.2 + 0.3 * len(first)
    if len(keys) == 1:
        ax = ax or new_axes(6.5, height)[0]
        _draw_sizes(ax, first, colors)
        return finish([ax], show=show, return_fig=return_fig)
    panels = _panels(ax or new_axes(2 + 2.2 * len(keys), height)[0], list(tables.values()))
    for panel, (name, table) in zip(panels, tables.items(), strict=True):
        _draw_ratios(panel, table, colors)
        panel.set_title(f"{name}\n{_typical(table)}", fontsize="medium")
    limits = [panel.get_xlim() for panel in panels]
    low, high = min(limit[0] for limit in limits), max(limit[1] for limit in limits)
    factors = next(factors for reach, factors in FACTORS.items() if max(1 / low, high) < reach)
    for panel in panels:
        panel.set_xlim(low, high)
        write_factors(panel.xaxis, factors)
        if panel is not panels[0]:
            panel.set_yticklabels([])
    return finish(panels, show=show, return_fig=return_fig)


def _tables(adata: AnnData, keys: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Read the sizes on each map of the groups that have a ratio on the first, the smallest ratio first."""
    if not keys:
        msg = "key must name at least one result."
        raise ValueError(msg)
    tables = {key: read_table(adata, Keys.areas, key, COLUMNS) for key in keys}
    first = tables[keys[0]]
    for key, table in tables.items():
        if table.index.name != first.index.name or set(table.index) != set(first.index):
            groups = (f"{name!r}: {tables[name].index.name} {list(tables[name].index)}" for name in (keys[0], key))
            msg = f"The sizes are of different groups ({'; '.join(groups)}). Run `scgeoae.tl.cluster_areas` for all."
            raise ValueError(msg)
    order = first["size_ratio"].dropna().sort_values().index
    if order.empty:
        name = Keys.named(keys[0]).areas
        msg = f"In .uns[{name!r}] no group has a ratio: each has one cell, or its cells differ by noise alone."
        raise ValueError(msg)
    return {key: table.loc[order] for key, table in tables.items()}


def _colors_of(adata: AnnData, groups: pd.Index) -> list[str]:
    """Return the colors that scanpy stores for groups of the column that the index is named after, or `PLAIN`."""
    name = str(groups.name)
    if name not in adata.obs:
        return [PLAIN] * len(groups)
    categories = labels_of(adata, name).categories
    known = dict(zip(categories, palette_of(adata, name, categories) or [], strict=False))
    return [known.get(name, PLAIN) for name in groups]


def _draw_sizes(ax: Axes, table: pd.DataFrame, colors: list[str]) -> None:
    """Draw the sizes of groups in the data and on one map."""
    size, ratio = table["data_size"], table["size_ratio"]
    _draw_intervals(ax, table, colors, size)
    names, label = (f"true (in the {_source(table)})", "apparent (on the map)"), "size in units of the data"
    draw_dumbbells(ax, size, size * ratio, names, colors=colors, label=label)
    write_ratios(ax, ratio, "large", "small", table["uncertain"].tolist())
    ax.xaxis.set(major_locator=LogLocator(subs=(1, 2, 5), numticks=20), major_formatter="{x:g}")


def _draw_ratios(ax: Axes, table: pd.DataFrame, colors: list[str]) -> None:
    """Draw the ratios of groups on one map, with their intervals."""
    rows, ratio = np.arange(len(table)), table["size_ratio"]
    ax.hlines(rows, 1, ratio, colors=colors, linewidth=2, zorder=2)
    _draw_intervals(ax, table, colors, 1)
    filled = [ax.get_facecolor() if doubt else color for doubt, color in zip(table["uncertain"], colors, strict=True)]
    ax.scatter(ratio, rows, s=45, c=filled, edgecolors=colors, linewidths=1.5, zorder=3)
    ax.axvline(1, color="0.6", linewidth=1, zorder=0)
    ax.set(xscale="log", ylim=(-0.7, len(rows) - 0.3))
    ax.set_yticks(rows, table.index)
    ax.grid(visible=False)
    ax.grid(axis="y", color=rcParams["text.color"], alpha=0.1, linestyle="-", zorder=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)


def _draw_intervals(ax: Axes, table: pd.DataFrame, colors: list[str], size: pd.Series | float) -> None:
    """Draw thin lines where the ratio lies with confidence, times a size; uncertain ones may lead out of the plot."""
    ends = np.column_stack([size * table["size_ratio_low"], size * table["size_ratio_high"].replace(np.inf, BEYOND)])
    lines = [[(low, row), (high, row)] for row, (low, high) in enumerate(ends)]
    ax.add_collection(LineCollection(lines, colors=colors, linewidths=0.8, zorder=1), autolim=False)
    shown = ends[~table["uncertain"]].ravel()
    ax.update_datalim(np.column_stack([shown, np.zeros(len(shown))]))


def _typical(table: pd.DataFrame) -> str:
    """Say how far sizes are typically off: the standard deviation of the logarithm of the ratio, as a factor."""
    return f"typically {np.exp(np.log(table['size_ratio']).std(ddof=0)):.2g} times off"


def _source(table: pd.DataFrame) -> str:
    """What the sizes are sizes in."""
    return "other half of the counts" if table["free_of_noise"].all() else "data"


def _panels(ax: Axes, tables: Sequence[pd.DataFrame]) -> list[Axes]:
    """Divide an Axes into a panel for each table, with a label below all."""
    ax.axis("off")
    hollow = " (hollow: uncertain)" if any(table["uncertain"].any() for table in tables) else ""
    label = f"size on the map / size in the {_source(tables[0])}{hollow}"
    text = ax.annotate(label, (0.5, 0), (0, -2 * rcParams["font.size"]), "axes fraction", "offset points")
    text.set(ha="center", va="top")
    width = (1 - (len(tables) - 1) * GAP) / len(tables)
    return [ax.inset_axes((number * (width + GAP), 0, width, 1)) for number in range(len(tables))]
