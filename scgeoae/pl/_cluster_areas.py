"""Apparent against true size of groups of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.ticker import LogLocator

from .._lookup import labels_of, palette_of
from ..fields import DEFAULT_KEY, Keys, read_table
from ._dumbbells import PLAIN, draw_dumbbells, write_ratios
from ._scatter import finish, new_axes, write_factors

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def cluster_areas(
    adata: AnnData,
    *,
    key: str = DEFAULT_KEY,
    other: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool | None = None,
) -> Figure | Axes | list[Axes] | None:
    """Draw how large each group looks on the map, and how large it is in the data.

    Each group has a line from its share of the area in the data (filled) to its share of the area on the map (ring), on
    a logarithmic axis. The ratio is on the right. Groups that look too large are at the top. Colors are those that
    scanpy stores for the groups, if there are any.

    With `other`, two maps are compared instead: the line of a group leads from the ratio of apparent to true size on
    the map `key` (filled) to that on the map `other` (ring).

    Parameters
    ----------
    adata
        Annotated data matrix after :func:`scgeoae.tl.cluster_areas`.
    key
        Name of the result.
    other
        Name of a second result whose areas of the same groups have been measured.
    ax, show, return_fig
        Draw here. Show the plot instead of returning it. Return the figure.

    Returns
    -------
    The Axes, the figure if `return_fig`, or `None` if shown.

    Raises
    ------
    KeyError
        If the areas have not been measured.
    ValueError
        If those of the two maps are of different groups.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=100)
    >>> scgeoae.tl.cluster_areas(adata, "bulk_labels")
    >>> ax = scgeoae.pl.cluster_areas(adata, show=False)
    """
    table = _table(adata, key)
    ax = ax or new_axes(6.5, 1.2 + 0.3 * len(table))[0]
    if other is not None:
        _compare(ax, adata, {name: _table(adata, name)["ratio"] for name in (key, other)})
        return finish([ax], show=show, return_fig=return_fig)
    names, label = ("true (in the data)", "apparent (on the map)"), "share of the area of all groups"
    colors = _colors_of(adata, table.index)
    draw_dumbbells(ax, table["data_share"], table["map_share"], names, colors=colors, label=label)
    write_ratios(ax, table["ratio"], "large", "small")
    ax.xaxis.set(
        major_locator=LogLocator(subs=(1, 3), numticks=20),  # by default it leaves some out
        major_formatter=lambda share, _: f"{100 * share:g} %",
    )
    return finish([ax], show=show, return_fig=return_fig)


def _table(adata: AnnData, key: str) -> pd.DataFrame:
    """Read the areas of the groups that have a ratio, the smallest ratio first."""
    table = read_table(adata, Keys.areas, key, {"data_share", "map_share", "ratio"})
    return table.dropna(subset="ratio").sort_values("ratio")


def _colors_of(adata: AnnData, groups: pd.Index) -> list[str]:
    """Return the colors that scanpy stores for groups of the column that the index is named after, or `PLAIN`."""
    name = str(groups.name)
    if name not in adata.obs:
        return [PLAIN] * len(groups)
    categories = labels_of(adata, name).categories
    known = dict(zip(categories, palette_of(adata, name, categories) or [], strict=False))
    return [known.get(name, PLAIN) for name in groups]


def _compare(ax: Axes, adata: AnnData, ratios: dict[str, pd.Series]) -> None:
    """Draw the ratios (groups,) of two maps, in the order of the first."""
    filled, rings = ratios.values()
    if filled.index.name != rings.index.name or set(filled.index) != set(rings.index):
        first, second = (f"{name!r}: {series.index.name} {list(series.index)}" for name, series in ratios.items())
        msg = f"The areas are of different groups ({first}; {second}). Run `scgeoae.tl.cluster_areas` for both."
        raise ValueError(msg)
    colors, label = _colors_of(adata, filled.index), "size on the map / size in the data"
    draw_dumbbells(ax, filled, rings[filled.index], list(ratios), colors=colors, label=label)
    ax.axvline(1, color="0.6", linewidth=1, zorder=0)
    write_factors(ax.xaxis, [2, 3, 5, 10, 20, 50, 100])
