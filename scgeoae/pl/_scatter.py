"""What plots share: new figures, scanpy's scatter plot underneath, and what plotting functions return."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import scanpy as sc
from matplotlib import pyplot as plt
from matplotlib import rcParams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..result import Result


def new_axes(width: float, height: float, n_panels: int = 1) -> list[Axes]:
    """Make a figure with panels side by side; inches are those for a font of 10 points and scale with the font."""
    size = np.array([width, height]) * rcParams["font.size"] / 10
    panels = plt.subplots(1, n_panels, figsize=tuple(size), layout="constrained", squeeze=False)[1]
    return list(panels[0])


def coordinates_to_draw(result: Result, dimensions: tuple[int, int]) -> np.ndarray:
    """Read the map coordinates (n, d) of the cells, after checking that there are cells and these dimensions of d."""
    z = result.coordinates()
    if not len(z):
        msg = "There is no cell to draw."
        raise ValueError(msg)
    if z.shape[1] > 1 and (len(set(dimensions)) != 2 or not all(0 <= number < z.shape[1] for number in dimensions)):
        msg = f"dimensions must be two different numbers below {z.shape[1]}; they are {dimensions}."
        raise ValueError(msg)
    return z


def scatter(
    result: Result,
    *,
    color: str | Sequence[str | None] | None,
    dimensions: tuple[int, int],
    ax: Axes | None,
    colorbar_loc: str | None = "right",
    **kwargs: Any,
) -> list[Axes]:
    """Draw the cells with :func:`scanpy.pl.embedding`, rasterized and to scale; return the Axes of each color."""
    adata, basis = result.adata, result.keys.obsm
    colors = [color] if color is None or isinstance(color, str) else list(color)
    genes = adata.var_names if adata.raw is None else adata.var_names.union(adata.raw.var_names, sort=False)
    for name in colors if kwargs.get("gene_symbols") is None else []:
        if name is not None and name not in adata.obs and name not in genes:
            msg = f"Did not find {name!r} in .obs, which holds {list(adata.obs)}, nor among the genes."
            raise KeyError(msg)
    arguments = {
        "color": colors[0] if len(colors) == 1 else colors,
        "colorbar_loc": None if colorbar_loc == "right" else colorbar_loc,
        "legend_fontoutline": 2,
    }
    drawn = sc.pl.embedding(adata, basis, dimensions=dimensions, ax=ax, show=False, save=False, **arguments | kwargs)
    axes = drawn if isinstance(drawn, list) else [drawn]
    beside = colorbar_loc in {"right", None}
    if ax is None and beside:  # scanpy's color bars allow no other layout than its own
        axes[0].get_gridspec().figure = axes[0].figure  # the layout needs it, and scanpy's grid of panels has none
        axes[0].figure.set_layout_engine("constrained")
    x, y = (f"{basis.removeprefix('X_')}{number + 1}" for number in dimensions)
    for panel in axes:
        panel.set(aspect="equal", anchor="W" if beside else "C", xlabel=x, ylabel=y)  # left: room for a legend
        panel.set_in_layout(True)  # scanpy excludes panels with a legend
        for points in panel.collections:
            points.set_rasterized(True)
            if colorbar_loc == "right" and points.get_array() is not None:
                panel.figure.colorbar(points, cax=panel.inset_axes((1.02, 0, 0.05, 1)))  # as high as the panel
    return axes


def finish(axes: Sequence[Axes], *, show: bool | None, return_fig: bool | None) -> Figure | Axes | list[Axes] | None:
    """Return the figure if asked for; else show it, or return the Axes (a list if there are several)."""
    if return_fig:
        return cast("Figure", axes[0].figure)
    if sc.settings.autoshow if show is None else show:
        plt.show()
        return None
    return axes[0] if len(axes) == 1 else list(axes)
