"""What the plots share: scanpy's scatter underneath, and the end of every plotting function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import scanpy as sc
from matplotlib import pyplot as plt
from matplotlib import rcParams
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.transforms import Bbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure

    from ..result import Result


def new_axes(width: float, height: float, n_panels: int = 1) -> list[Axes]:
    """Panels side by side in a new figure, of this size in inches at a font of 10 points, larger with a larger one."""
    size = np.array([width, height]) * rcParams["font.size"] / 10
    panels = plt.subplots(1, n_panels, figsize=tuple(size), layout="constrained", squeeze=False)[1]
    return list(panels[0])


def drawn_coordinates(result: Result) -> np.ndarray:
    """Read the cells' map coordinates (n, d), of at least one cell."""
    z = result.coordinates()
    if not len(z):
        msg = "There is no cell to draw."
        raise ValueError(msg)
    return z


def box(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower left and upper right corner (2,) of ``z`` (n, 2), no side of which is below a tenth of the other."""
    low, high = z.min(0).astype(np.float64), z.max(0).astype(np.float64)
    longer = (high - low).max() or np.abs(z).max() or 1.0  # a single place is as large as it is far from the middle
    missing = np.maximum(0.1 * longer - (high - low), 0)
    return low - missing / 2, high + missing / 2


def scatter(result: Result, *, ax: Axes | None, **kwargs: Any) -> list[Axes]:
    """Draw the cells by `sc.pl.embedding`, points rasterised, lengths equal in both directions; one Axes a panel."""
    adata, basis = result.adata, result.keys.obsm
    _check_colors(adata, kwargs)
    defaults: dict[str, Any] = {"legend_fontoutline": 2} if kwargs.get("legend_loc") == "on data" else {}
    if len(colors := color_list(kwargs.get("color"))) > 1:
        defaults["wspace"] = max(gap(), *(legend_gap(adata, name) for name in colors[:-1]))
    drawn = sc.pl.embedding(adata, basis=basis, ax=ax, show=False, save=False, **defaults | kwargs)
    axes = drawn if isinstance(drawn, list) else [drawn]
    first, second = (number + 1 for number in kwargs["dimensions"])
    for panel in axes:
        name = basis.removeprefix("X_")
        panel.set(aspect="equal", xlabel=f"{name}{first}", ylabel=f"{name}{second}")
        for points in panel.collections:
            points.set_rasterized(True)
            if points.colorbar is not None:
                _tie(points.colorbar, panel)
    return axes


def gap() -> float:
    """Room between panels for the colour bar, its numbers and its label, as a share of a panel."""
    return float((0.3 + 8 * rcParams["font.size"] / 72) / rcParams["figure.figsize"][0])


def legend_gap(adata: AnnData, name: str | None) -> float:
    """The same for the legend of a column of categories, which scanpy puts on the right; 0 without one."""
    if name not in adata.obs or adata.obs[name].dtype != "category":
        return 0
    font = FontProperties(size=rcParams["legend.fontsize"])
    names = adata.obs[name].cat.categories.astype(str)
    size = font.get_size_in_points()
    width = TextPath((0, 0), max(names, key=len, default="") or " ", size=size, prop=font).get_extents().width
    columns = 1 if len(names) <= 14 else 2 if len(names) <= 30 else 3  # as scanpy does
    return float((columns * (width + 4 * size) + 2 * rcParams["font.size"]) / 72 / rcParams["figure.figsize"][0])


def _check_colors(adata: AnnData, kwargs: dict[str, Any]) -> None:
    """Raise an error that lists the columns if a colour is missing; scanpy names the colour only."""
    if kwargs.get("gene_symbols") is not None:
        return
    genes = adata.var_names if adata.raw is None else adata.var_names.union(adata.raw.var_names, sort=False)
    for name in color_list(kwargs.get("color")):
        if name is not None and name not in adata.obs and name not in genes:
            msg = f"Did not find {name!r} in .obs, which holds {list(adata.obs)}, nor among the genes."
            raise KeyError(msg)


def _tie(bar: Colorbar, panel: Axes) -> None:
    """Keep the colour bar beside the panel and as high, also where equal lengths make the panel smaller."""

    def beside(_axes: object, _renderer: object) -> Bbox:
        place, width = panel.get_position(), bar.ax.get_position(original=True).width
        left = place.x1 + 0.02 * place.width
        return Bbox.from_extents(left, place.y0, left + width, place.y1)

    bar.ax.set_axes_locator(beside)


def finish(axes: Sequence[Axes], *, show: bool | None, return_fig: bool | None) -> Figure | Axes | list[Axes] | None:
    """Return the figure if asked for; else show, or return the Axes (a list if there are several)."""
    if return_fig:
        return cast("Figure", axes[0].figure)
    if sc.settings.autoshow if show is None else show:
        plt.show()
        return None
    return axes[0] if len(axes) == 1 else list(axes)


def map_dimensions(dimensions: tuple[int, int], n_components: int) -> tuple[int, int]:
    """Two different dimensions of the map, or a clear error."""
    if n_components < 2:
        msg = "The map has one dimension; this plot needs two. `scgeoae.pl.det_heatmap` draws one."
        raise ValueError(msg)
    if len(set(dimensions)) != 2 or not all(0 <= number < n_components for number in dimensions):
        msg = f"dimensions must be two different numbers below {n_components}; they are {dimensions}."
        raise ValueError(msg)
    return dimensions


def color_list(color: str | Sequence[str] | None) -> list[str | None]:
    """The colours of the panels as a list; ``[None]`` for plain grey."""
    return [color] if color is None or isinstance(color, str) else list(color)
