"""What plots share: new figures, scanpy's scatter plot underneath, and what plotting functions return."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import scanpy as sc
from adjustText import adjust_text
from matplotlib import pyplot as plt
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from matplotlib.transforms import Bbox
from pandas.api.types import infer_dtype
from scipy.spatial import KDTree

from .._checks import check_dimensions
from .._lookup import column, holds_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axis import Axis
    from matplotlib.collections import PathCollection

    from ..result import Result

CENTRAL, MARGIN = 0.99, 0.1
"""The frame holds this share of the cells along each dimension, and a margin of this share of the longer side."""

ROOM = 1.1
"""Side of a panel as a multiple of the longer side of the frame."""

TOUCHING, SMALLEST_DOT, SCANPYS_DOTS = 20, 0.5, 120_000
"""A dot is as wide as it is far to the neighbor of this number, in the median. Its area in square points is at least
the second number. Those of scanpy's dots sum up to the third."""

NOT_PASSED_ON = {
    "basis": "Pass key, the name of a result.",
    "components": "Pass dimensions, which count from 0.",
    "projection": "Maps are drawn in two dimensions.",
    "save": "Pass show=False and save the figure: ax.figure.savefig(path).",
}
"""Arguments of :func:`scanpy.pl.embedding` that plots of a map do not take, and what to pass instead."""

LABEL = "label on the data"
"""Mark of the names that scanpy writes on groups of cells."""


def new_axes(width: float, height: float, n_panels: int = 1) -> list[Axes]:
    """Make a figure with panels side by side; inches are those for a font of 10 points and scale with the font."""
    size = np.array([width, height]) * rcParams["font.size"] / 10
    panels = plt.subplots(1, n_panels, figsize=tuple(size), layout="constrained", squeeze=False)[1]
    return list(panels[0])


def coordinates_to_draw(result: Result, dimensions: tuple[int, int], needs_two: str | None = None) -> np.ndarray:
    """Read the map coordinates (n, d) of the cells.

    Raises
    ------
    ValueError
        If there is no cell, the map does not have these dimensions, or it has one and ``needs_two`` names a plot.
    """
    z = result.coordinates()
    if not len(z):
        msg = "There is no cell to draw."
        raise ValueError(msg)
    if z.shape[1] > 1:
        check_dimensions(dimensions, z.shape[1])
    elif needs_two is not None:
        msg = f"The map has one dimension; {needs_two} needs two. Run `scgeoae.pl.det_heatmap` instead."
        raise ValueError(msg)
    return z


def framed(drawn: np.ndarray, *, outliers: bool) -> Bbox:
    """Frame the points (n, 2): all of them, or without outliers that lie far from the central 99 %."""
    drawn = drawn.astype(np.float64)
    low, high = drawn.min(0), drawn.max(0)
    inner = np.quantile(drawn, [(1 - CENTRAL) / 2, (1 + CENTRAL) / 2], axis=0)
    margin = MARGIN * np.ptp(inner, axis=0).max()
    if margin > 0 and not outliers:  # not if most cells are at one place
        low, high = np.maximum(low, inner[0] - margin), np.minimum(high, inner[1] + margin)
    return Bbox(box(np.array([low, high])))


def box(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower left and upper right corner (2,) of points (n, 2); no side is below a tenth of the other."""
    low, high = points.min(0).astype(np.float64), points.max(0).astype(np.float64)
    longer = (high - low).max() or np.abs(points).max() or 1.0  # a single place is as large as far from the origin
    missing = np.maximum(0.1 * longer - (high - low), 0)
    return low - missing / 2, high + missing / 2


def show_frame(ax: Axes, frame: Bbox) -> None:
    """Show the square around the frame, with a margin and to scale: panels of the same size line up."""
    low, high = frame.get_points()
    half = ROOM / 2 * (high - low).max()
    (left, bottom), (right, top) = (low + high) / 2 - half, (low + high) / 2 + half
    ax.set(aspect="equal", xlim=(left, right), ylim=(bottom, top))


def embedding(adata: AnnData, basis: str, **kwargs: Any) -> Any:
    """Draw by :func:`scanpy.pl.embedding`, with matplotlib whatever scanpy is set to draw with."""
    # from scanpy 1.13 on a preset may choose plots that are not matplotlib's
    by_matplotlib = sc.settings.preset.override(sc.Preset.ScanpyV1) if hasattr(sc, "Preset") else nullcontext()
    with by_matplotlib:
        return sc.pl.embedding(adata, basis, show=False, save=False, **kwargs)


def scatter(
    result: Result,
    *,
    color: str | Sequence[str | None] | None,
    dimensions: tuple[int, int],
    outliers: bool,
    ax: Axes | None,
    colorbar_loc: str | None = "right",
    **kwargs: Any,
) -> list[Axes]:
    """Draw the cells with :func:`scanpy.pl.embedding`, rasterized and to scale; return the Axes of each color.

    Panels are square and hold the frame of :func:`framed`. Unless ``kwargs`` hold a size, dots are as small as cells
    are close, and no larger than scanpy's.
    """
    adata, basis = result.adata, result.keys.obsm
    for argument in NOT_PASSED_ON.keys() & kwargs.keys():
        msg = f"There is no argument {argument!r} here. {NOT_PASSED_ON[argument]}"
        raise TypeError(msg)
    colors = [color] if color is None or isinstance(color, str) else list(color)
    if ax is not None and (len(colors) > 1 or not isinstance(ax, Axes)):
        msg = f"ax takes one matplotlib Axes and one color; there are {len(colors)} colors, and ax is {ax!r}."
        raise ValueError(msg)
    genes = adata.var_names if adata.raw is None else adata.var_names.union(adata.raw.var_names, sort=False)
    for name in colors if kwargs.get("gene_symbols") is None else []:
        if name is not None and name not in adata.obs and name not in genes:
            msg = f"Did not find {name!r} in .obs, which holds {list(adata.obs)}, nor among the genes."
            raise KeyError(msg)
        if name is not None and name in adata.obs:
            _check_drawable(column(adata, name))
    arguments = {
        "color": colors[0] if len(colors) == 1 else colors,
        "colorbar_loc": None if colorbar_loc == "right" else colorbar_loc,
        "legend_fontoutline": 2,
    }
    n_texts, n_drawn = (0, 0) if ax is None else (len(ax.texts), len(ax.collections))
    panels = embedding(adata, basis, dimensions=dimensions, ax=ax, **arguments | kwargs)
    axes = panels if isinstance(panels, list) else [panels]
    beside = colorbar_loc in {"right", None}
    if ax is None and beside:  # scanpy's color bars allow no other layout than its own
        axes[0].get_gridspec().figure = axes[0].figure  # the layout needs it, and scanpy's grid of panels has none
        axes[0].figure.set_layout_engine("constrained")
    drawn = result.coordinates()[:, dimensions]
    frame = framed(drawn, outliers=outliers)
    sized = {"size", "s"}.isdisjoint(kwargs)
    x, y = (f"{basis.removeprefix('X_')}{number + 1}" for number in dimensions)
    for panel in axes:
        panel.set(anchor="W" if beside else "C", xlabel=x, ylabel=y)  # left: room for a legend
        panel.set_in_layout(True)  # scanpy excludes panels with a legend
        show_frame(panel, frame)
        smaller = _smaller(panel, drawn) if sized else 1.0
        for label in panel.texts[n_texts:]:
            label.set_gid(LABEL)
        for points in panel.collections[n_drawn:]:
            points.set(rasterized=True, sizes=smaller * points.get_sizes())
            if colorbar_loc == "right" and points.get_array() is not None:
                panel.figure.colorbar(points, cax=panel.inset_axes((1.02, 0, 0.05, 1)))  # as high as the panel
    return axes


def _check_drawable(values: pd.Series) -> None:
    """Raise a `TypeError` unless scanpy can draw a column: numbers, categories, texts, or booleans of numpy."""
    if values.dtype not in ("category", "bool") and not holds_numbers(values):
        found = infer_dtype(values)
        if found not in {"string", "empty"}:
            msg = (
                f"obs[{values.name!r}] holds values that cannot be drawn ({found}). Convert it: "
                f"`adata.obs[{values.name!r}] = adata.obs[{values.name!r}].astype(str).astype('category')`."
            )
            raise TypeError(msg)


def _smaller(ax: Axes, drawn: np.ndarray) -> float:
    """Return the factor, at most 1, that shrinks scanpy's dots so much that those of close cells hardly overlap."""
    in_points = 72 / ax.figure.dpi * ax.transData.transform(drawn)
    neighbor = min(TOUCHING, len(drawn) - 1)
    distance = KDTree(in_points).query(in_points, k=[neighbor + 1])[0]
    usual = SCANPYS_DOTS / len(drawn)
    return float(np.clip(np.median(distance) ** 2, min(SMALLEST_DOT, usual), usual)) / usual


def colored(ax: Axes, label: str) -> PathCollection:
    """Find the cells that :func:`scatter` has colored by a number, and label their color bar, if there is one."""
    *_, points = (cast("PathCollection", drawn) for drawn in ax.collections if drawn.get_array() is not None)
    if (bar := points.colorbar) is not None:
        bar.set_label(label, fontsize="small")
        bar.ax.tick_params(labelsize="small")
    return points


def write_factors(axis: Axis, factors: Sequence[float]) -> None:
    """Write 1, the factors and their inverses at a logarithmic axis."""
    axis.set(
        major_locator=FixedLocator([*(1 / factor for factor in factors), 1, *factors]),
        major_formatter=lambda factor, _: f"{factor:g}" if factor >= 1 else f"1/{1 / factor:g}",
        minor_locator=NullLocator(),
    )


def settle(axes: Sequence[Axes], drawn: np.ndarray) -> None:
    """Move labels apart, and mark points (n, 2) outside the final frames by triangles on the rim."""
    for ax in axes:
        labels = [text for text in ax.texts if text.get_gid() == LABEL]
        if labels and isinstance(ax.figure, Figure):  # adjustText cannot draw a part of a figure
            adjust_text(labels, ax=ax, expand=(1.02, 1.1))
        (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
        x, y = drawn.T
        sides = {"<": x < left, ">": x > right, "v": y < bottom, "^": y > top}
        for marker, beyond in sides.items():
            if beyond.any():
                at = np.clip(x[beyond], left, right), np.clip(y[beyond], bottom, top)
                ax.scatter(
                    *at, s=12, marker=marker, color=rcParams["text.color"], linewidths=0, alpha=0.6, clip_on=False
                )


def finish(axes: Sequence[Axes], *, show: bool | None, return_fig: bool | None) -> Figure | Axes | list[Axes] | None:
    """Return the figure if asked for; else show it, or return the Axes (a list if there are several)."""
    if return_fig:
        return axes[0].figure.figure  # of a panel of a subfigure, the whole figure
    if sc.settings.autoshow if show is None else show:
        plt.show()
        return None
    return axes[0] if len(axes) == 1 else list(axes)
