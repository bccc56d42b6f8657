"""Apparent against true size of groups of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.ticker import LogLocator

from ..fields import DEFAULT_KEY, Keys, read_table
from ._dumbbells import colors_of, draw_dumbbells, write_ratios
from ._scatter import finish, new_axes

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
    table = read_table(adata, Keys.areas, key, {"data_share", "map_share", "ratio"})
    table = table.dropna(subset="ratio").sort_values("ratio")
    if ax is None:
        (ax,) = new_axes(6.5, 1.2 + 0.3 * len(table))
    names, label = ("true (in the data)", "apparent (on the map)"), "share of the area of all groups"
    colors = colors_of(adata, table.index)
    draw_dumbbells(ax, table["data_share"], table["map_share"], names, colors=colors, label=label)
    write_ratios(ax, table["ratio"], "large", "small")
    ax.xaxis.set(
        major_locator=LogLocator(subs=(1, 3), numticks=20),  # by default it leaves some out
        major_formatter=lambda share, _: f"{100 * share:g} %",
    )
    return finish([ax], show=show, return_fig=return_fig)
