"""How certain a map is: displacement of the cells, and the maps side by side."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData
from matplotlib import pyplot as plt
from matplotlib import rcParams
from matplotlib.lines import Line2D

from ..result import DEFAULT_KEY, Result, column
from ._scatter import coordinates_to_draw, finish, framed, scatter, settle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

HEIGHT, BAR = 4.0, 1.1
"""Height of the figure and width of a color bar with its label, in inches for a font of 10 points."""
OUTERMOST = 0.001
"""Share of the cells on each side of all maps that may lie outside the frame of the small panels."""
ROWS_OF_LEGEND = 14


def ensemble(
    adata: AnnData,
    *,
    key: str = DEFAULT_KEY,
    color: str | None = None,
    dimensions: tuple[int, int] = (0, 1),
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Figure | Axes | list[Axes] | None:
    """Color the cells by their displacement, and draw the maps of an ensemble side by side.

    The large panel is the stored map. A bright cell lies elsewhere on other maps: its place is decided by the training
    rather than by the data. The small panels are the stored map and the others, aligned to it, all at one scale and in
    the same frame.

    Parameters
    ----------
    adata
        Annotated data matrix after :func:`scgeoae.tl.ensemble`.
    key
        Name of the result.
    color
        Column of `obs` that colors the small panels; by default the displacement.
    dimensions
        The two dimensions to draw.
    ax
        Draw the displacement here, and nothing else.
    show
        Show the plot instead of returning it.
    return_fig
        Return the figure.
    **kwargs
        Passed on to :func:`scanpy.pl.embedding` for all panels.

    Returns
    -------
    A list of the Axes, the large one first; the Axes for a given `ax`; the figure if `return_fig`; or `None` if shown.

    Raises
    ------
    KeyError
        If there is no such result, ensemble or column.
    ValueError
        If the map has one dimension, the dimensions are not those of the map, or `color` is passed together with `ax`.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=50)
    >>> scgeoae.tl.ensemble(adata, n_models=3)
    >>> panels = scgeoae.pl.ensemble(adata, color="bulk_labels", show=False)
    >>> len(panels)
    5
    """
    result = Result(adata, key)
    z, maps = coordinates_to_draw(result, dimensions), result.ensemble_maps()
    if z.shape[1] == 1:
        msg = "An ensemble is drawn for maps of two dimensions and more; this one has one dimension."
        raise ValueError(msg)
    if ax is not None and color is not None:
        msg = "With ax only the displacement is drawn; color is for the panels of the other maps."
        raise ValueError(msg)
    shown = result.column(result.keys.displacement) if color is None else column(adata, color)
    if ax is not None:
        return finish(_draw_displacement(result, dimensions, ax, kwargs), show=show, return_fig=return_fig)

    drawn = [z, *maps]
    low, high = np.quantile(np.vstack(drawn)[:, dimensions], [OUTERMOST, 1 - OUTERMOST], axis=0)
    n_rows = max(2, round(np.sqrt(len(drawn) / 2)))
    n_columns = ceil(len(drawn) / n_rows)
    width, small = (
        HEIGHT * _aspect(*framed(z[:, dimensions], outliers=False).get_points()),
        HEIGHT / n_rows * _aspect(low, high),
    )
    inches = np.array([width + BAR + n_columns * small + BAR, HEIGHT])
    figure = plt.figure(figsize=tuple(inches * rcParams["font.size"] / 10), layout="constrained")
    grid = figure.add_gridspec(n_rows, n_columns + 1, width_ratios=[width + BAR, *[small] * n_columns])
    axes = _draw_displacement(result, dimensions, figure.add_subplot(grid[:, 0]), kwargs)
    panels = [figure.add_subplot(grid[i // n_columns, 1 + i % n_columns]) for i in range(len(drawn))]
    for panel in panels:
        panel.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    _draw_maps(panels, drawn, shown, adata.uns.get(f"{color}_colors"), dimensions, kwargs)
    return finish([*axes, *panels], show=show, return_fig=return_fig)


def _aspect(low: np.ndarray, high: np.ndarray) -> float:
    """Width over height of a box, within reason."""
    width, height = high - low
    return float(np.clip(width / height, 0.5, 2))


def _draw_displacement(result: Result, dimensions: tuple[int, int], ax: Axes, kwargs: dict[str, Any]) -> list[Axes]:
    name = result.keys.displacement
    defaults: dict[str, Any] = {"title": "displacement", "vmin": 0, "vmax": "p99", "cmap": "viridis"}
    axes = scatter(result, color=name, dimensions=dimensions, outliers=False, ax=ax, **defaults | kwargs)
    settle(axes, result.coordinates()[:, dimensions])
    points = next(cast("PathCollection", drawn) for drawn in ax.collections if drawn.get_array() is not None)
    if (bar := points.colorbar) is not None:
        bar.set_label("distance between maps\n(units of the data)", fontsize="small")
        bar.ax.tick_params(labelsize="small")
    return axes


def _draw_maps(
    panels: Sequence[Axes],
    maps: Sequence[np.ndarray],
    shown: pd.Series,
    palette: Any,
    dimensions: tuple[int, int],
    kwargs: dict[str, Any],
) -> None:
    """Draw the maps (n, d), the stored one first, colored by a column, in one frame, with one legend."""
    numeric = pd.api.types.is_numeric_dtype(shown) and not pd.api.types.is_bool_dtype(shown)
    names = ["stored map", *(f"map {i}" for i in range(1, len(maps)))]
    cells = AnnData(
        obs=pd.DataFrame({"shown": shown if numeric else shown.astype("category")}, index=shown.index),
        obsm=dict(zip(names, maps, strict=True)),
        uns={} if palette is None else {"shown_colors": palette},
    )
    defaults: dict[str, Any] = {"legend_loc": None, "colorbar_loc": None, "frameon": True}
    if numeric:
        defaults |= {"vmin": "p1", "vmax": "p99", "cmap": "viridis"}
    frame = panels[0].get_xlim(), panels[0].get_ylim()
    for panel, name in zip(panels, names, strict=True):
        own: dict[str, Any] = {"color": "shown", "title": name, "dimensions": dimensions, "size": 30_000 / len(cells)}
        sc.pl.embedding(cells, name, ax=panel, show=False, save=False, **own | defaults | kwargs)
        panel.set(aspect="equal", xlim=frame[0], ylim=frame[1], xlabel="", ylabel="")
        panel.title.set_fontsize("medium")
        panel.set_in_layout(True)
        for points in panel.collections:
            points.set_rasterized(True)
    figure = cast("Figure", panels[0].figure)
    if not numeric:
        categories, colors = cells.obs["shown"].cat.categories, cells.uns["shown_colors"]
        handles = [
            Line2D([], [], linestyle="none", marker="o", color=color, label=str(category))
            for category, color in zip(categories, colors, strict=False)
        ]
        n_columns = ceil(len(handles) / ROWS_OF_LEGEND)
        figure.legend(handles=handles, loc="outside right center", frameon=False, fontsize="small", ncols=n_columns)
