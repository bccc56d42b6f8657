"""How certain a map is: displacement of the cells, and the maps side by side."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib import pyplot as plt
from matplotlib import rcParams
from matplotlib.lines import Line2D

from .._lookup import column, holds_numbers, labels_of, palette_of
from ..fields import DEFAULT_KEY, Keys
from ..result import Result
from ._scatter import View, colored, embedding, finish, mark_outside, scatter, settle, show_frame, shuffle, view_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT, TITLE, BAR, KEY, LETTER = 4.0, 0.3, 1.1, 0.5, 0.075
"""Inches for a font of 10 points: height of the figure and of a title, width of a color bar with its label, of the
marker of a group and of a letter of its name."""
SIZE = 30_000
"""Area of the points of the small panels, times the number of cells; scanpy's is 120,000."""
ROWS_OF_LEGEND = 14


def ensemble(
    adata: AnnData,
    *,
    key: str = DEFAULT_KEY,
    color: str | None = None,
    dimensions: tuple[int, int] = (0, 1),
    lens: bool = False,
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
    lens
        Draw the map as :func:`scgeoae.tl.lens` bends it. The bent map has no scale bar; the key says up to how much
        larger than on the true map places are.
    ax, show, return_fig
        Draw the displacement here, and nothing else. Show the plot instead of returning it. Return the figure.
    **kwargs
        Passed on to :func:`scanpy.pl.embedding` for all panels.

    Returns
    -------
    A list of the Axes, the large one first; the Axes for a given `ax`; the figure if `return_fig`; or `None` if shown.

    Raises
    ------
    KeyError
        If there is no such result, ensemble, column or lens.
    ValueError
        If the result is a decoder of another map or holds mapped cells, the map has one dimension, the dimensions are
        not those of the map, or `color` is passed together with `ax`.

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
    view, maps = view_of(result, dimensions, needs_two="the plot of an ensemble", lens=lens), result.ensemble_maps()
    if lens:
        maps = [result.lens.forward(z) for z in maps]
    if ax is not None and color is not None:
        msg = "With ax only the displacement is drawn; color is for the panels of the other maps."
        raise ValueError(msg)
    shown = result.column(Keys.displacement) if color is None else column(adata, color)
    if ax is not None:
        return finish(_draw_displacement(result, view, ax, kwargs), show=show, return_fig=return_fig)

    drawn = [view.z, *maps]
    n_rows = max(2, round(np.sqrt(len(drawn) / 2)))
    n_columns = ceil(len(drawn) / n_rows)
    numeric = holds_numbers(shown)
    shown = shown if numeric else pd.Series(labels_of(adata, str(color)), adata.obs_names)
    n_listed = 1 if numeric else ceil(len(shown.cat.categories) / ROWS_OF_LEGEND)
    letters = 0 if color is None else max(map(len, [color] if numeric else map(str, shown.cat.categories)), default=0)
    left = HEIGHT + BAR
    right = n_columns * (HEIGHT / n_rows - TITLE) + n_listed * (KEY + LETTER * letters)
    inches = np.array([left + right, HEIGHT]) * rcParams["font.size"] / 10
    figure = plt.figure(figsize=tuple(inches), layout="constrained")
    large, small = cast("np.ndarray", figure.subfigures(1, 2, width_ratios=[left, right]))
    axes = _draw_displacement(result, view, large.add_subplot(), kwargs)
    grid = small.subplots(n_rows, n_columns, squeeze=False).ravel()
    panels = list(grid[: len(drawn)])
    for unused in grid[len(drawn) :]:
        unused.remove()
    names = ["stored map", *(f"map {i + 1}" for i in range(len(maps)))]
    palette = None if numeric else palette_of(adata, str(color), shown.cat.categories)
    cells = AnnData(
        obs=pd.DataFrame({"shown": shown}, index=adata.obs_names),
        obsm=dict(zip(names, drawn, strict=True)),
        uns={} if palette is None else {"shown_colors": palette},
    )
    own: dict[str, Any] = {"legend_loc": None, "colorbar_loc": None, "frameon": True, "size": SIZE / len(cells)}
    own |= {"vmin": "p1", "vmax": "p99", "cmap": "viridis"} if numeric else {}
    for panel, name, places in zip(panels, names, drawn, strict=True):
        arguments = {"color": "shown", "title": name, "dimensions": dimensions} | own | kwargs
        embedding(cells, name, ax=panel, **arguments)
        show_frame(panel, view.frame)
        panel.set(xlabel="", ylabel="")
        panel.title.set_fontsize("medium")
        panel.set_in_layout(True)
        for points in panel.collections:
            points.set_rasterized(True)
            if not numeric:
                shuffle(points, kwargs.get("na_color", "lightgray"))
        mark_outside(panel, view.frame, places[:, dimensions])
    if color is not None and numeric:
        small.colorbar(panels[0].collections[0], ax=panels, label=color, aspect=30)
    elif color is not None:
        listed = zip(cells.obs["shown"].cat.categories, cells.uns["shown_colors"], strict=False)
        handles = [Line2D([], [], linestyle="", marker="o", color=shade, label=str(group)) for group, shade in listed]
        small.legend(handles=handles, loc="outside right center", frameon=False, fontsize="small", ncols=n_listed)
    return finish([*axes, *panels], show=show, return_fig=return_fig)


def _draw_displacement(result: Result, view: View, ax: Axes, kwargs: dict[str, Any]) -> list[Axes]:
    name = result.keys.displacement
    defaults: dict[str, Any] = {"title": "displacement", "vmin": 0, "vmax": "p99", "cmap": "viridis"}
    axes = scatter(view, color=name, ax=ax, **defaults | kwargs)
    colored(ax, "distance between maps\n(units of the data, locally)")
    settle(axes, view)
    return axes
