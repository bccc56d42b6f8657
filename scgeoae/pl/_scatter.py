"""What plots share: the view of a map with its key, scanpy's scatter plot underneath, and what functions return."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import scanpy as sc
from adjustText import adjust_text
from matplotlib import pyplot as plt
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AuxTransformBox, DrawingArea, TextArea
from matplotlib.ticker import FixedLocator, NullLocator
from pandas.api.types import infer_dtype
from scipy.spatial import KDTree

from .._checks import INSTEAD, check_dimensions, check_points
from .._lookup import column, holds_numbers
from ..result import Result, frame_of
from ._key import Key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.artist import Artist
    from matplotlib.axis import Axis
    from matplotlib.collections import PathCollection


TOUCHING, SMALLEST_DOT, SCANPYS_DOTS = 50, 0.5, 120_000
"""A dot is as wide as it is far to the neighbor of this number, in the median. Its area in square points is at least
the second number. Those of scanpy's dots sum up to the third."""

NOT_PASSED_ON = {
    "basis": "Pass key, the name of a result.",
    "components": "Pass dimensions, which count from 0.",
    "projection": "Maps are drawn in two dimensions.",
    "save": INSTEAD["save"],
}
"""Arguments of :func:`scanpy.pl.embedding` that plots of a map do not take, and what to pass instead."""

A_THIRD = 1 / 3
"""How far the factor of lengths between groups may be from 1 without a word about it."""

OUTSIDE: dict[str, Any] = {"markersize": 3, "markeredgewidth": 0, "alpha": 0.7}
"""Style of the marks of cells outside the frame."""

MESH: dict[str, Any] = {"colors": "0.75", "linewidths": 0.4, "zorder": 0.5}
"""Style of the graticule, behind the cells."""

MARKS_PER_SIDE = 40
"""How many of them a side of the frame holds at most."""

LABEL = "label on the data"
"""Mark of the names that scanpy writes on groups of cells."""


def new_axes(width: float, height: float, n_panels: int = 1) -> list[Axes]:
    """Make a figure with panels side by side; inches are those for a font of 10 points and scale with the font."""
    size = np.array([width, height]) * rcParams["font.size"] / 10
    panels = plt.subplots(1, n_panels, figsize=tuple(size), layout="constrained", squeeze=False)[1]
    return list(panels[0])


@dataclass(frozen=True)
class View:
    """What plots show of a map: the same cells in the same frame, with the same key, in all of them.

    Attributes
    ----------
    adata
        The annotated data matrix.
    obsm
        Name of the coordinates that scanpy draws.
    z
        These coordinates (n, d).
    dimensions
        The two that are drawn.
    frame
        Left, right, bottom and top of what is drawn.
    unit
        Distance in the data per unit of the map, locally; `None` if lengths on the map are no distances.
    length_between
        By what far lengths are divided to be distances in the data.
    graticule
        Lines (m, 2) behind the cells.
    largest
        How many times larger than the true map the bent one shows a cell, at most; `None` for a true map.
    """

    adata: AnnData
    obsm: str
    z: np.ndarray
    dimensions: tuple[int, int]
    frame: tuple[float, float, float, float]
    unit: float | None = None
    length_between: float = 1.0
    graticule: Sequence[np.ndarray] = ()
    largest: float | None = None

    @property
    def drawn(self) -> np.ndarray:
        """The drawn coordinates (n, 2)."""
        return self.z[:, self.dimensions]

    @property
    def outside(self) -> np.ndarray:
        """Which cells lie outside the frame, (n,) bool."""
        left, right, bottom, top = self.frame
        x, y = self.drawn.T
        return (x < left) | (x > right) | (y < bottom) | (y > top)

    def key(self, ax: Axes) -> list[list[Artist]]:
        """Make the lines of the key that all plots have: the scale bar, and how many cells lie outside the frame."""
        color = rcParams["text.color"]
        lines: list[list[Artist]] = []
        if self.unit is not None:
            length = round_below(0.2 * (self.frame[1] - self.frame[0]) * self.unit)
            bar = AuxTransformBox(ax.transData)
            ends = [0, length / self.unit], [0, 0]
            bar.add_artist(Line2D(*ends, color=color, linewidth=2, solid_capstyle="butt"))
            between = length / self.length_between
            far = f",\n{between:.2g} between groups" if abs(self.length_between - 1) > A_THIRD else ""
            lines.append([bar, TextArea(f"{length:g} in the data, locally{far}")])
        if self.largest is not None:
            most = f"{self.largest:.2g}"
            lines.append([TextArea("true areas" if most == "1" else f"bent: areas up to {most} times")])
        if n_outside := int(self.outside.sum()):
            symbol = DrawingArea(6, 6)
            symbol.add_artist(Line2D([3], [3], linestyle="", marker="^", **OUTSIDE, color=color))
            lines.append([symbol, TextArea(f"{n_outside:,} cell{'s' * (n_outside > 1)} outside")])
        return lines


def view_of(
    result: Result,
    dimensions: tuple[int, int],
    *,
    outliers: bool = False,
    needs_two: str | None = None,
    lens: bool = False,
    graticule: bool = False,
) -> View:
    """Decide what plots of a result show: the true map, or the bent one, which has no scale.

    Raises
    ------
    KeyError
        If there is no lens.
    ValueError
        If there is no cell, the map does not have these dimensions, or it has one and ``needs_two`` names a plot; or
        if a graticule is asked for without the lens.
    """
    z = coordinates_to_draw(result.coordinates(), dimensions, needs_two)
    dimensions = dimensions if z.shape[1] > 1 else (0, 0)
    if lens:
        bent = result.bent_coordinates()
        mesh = [line[:, dimensions] for line in result.lens.graticule()] if graticule else []
        frame = frame_of(bent[:, dimensions], outliers=outliers)
        largest = float(result.magnification.max())
        return View(result.adata, result.keys.bent, bent, dimensions, frame, graticule=mesh, largest=largest)
    if graticule:
        msg = "The graticule shows what a lens has bent. Pass lens=True."
        raise ValueError(msg)
    return View(
        result.adata,
        result.keys.obsm,
        z,
        dimensions,
        result.frame(dimensions, outliers=outliers),
        None if result.model.made_elsewhere else result.model.unit,  # lengths on such maps are no distances
        result.model.length_between,
    )


def view_of_basis(adata: AnnData, obsm: str, dimensions: tuple[int, int], needs_two: str) -> View:
    """Decide what plots of any map show; raise as :func:`view_of` does."""
    trained = [result for result in Result.of_map(adata, obsm) if not result.model.made_elsewhere]
    if trained:
        return view_of(trained[0], dimensions, needs_two=needs_two)
    z = check_points(adata.obsm[obsm], None, f"obsm[{obsm!r}]")
    coordinates_to_draw(z, dimensions, needs_two)
    return View(adata, obsm, z, dimensions, frame_of(z[:, dimensions]))


def coordinates_to_draw(z: np.ndarray, dimensions: tuple[int, int], needs_two: str | None = None) -> np.ndarray:
    """Return the map coordinates (n, d) of the cells if they can be drawn; else raise as :func:`view_of` does."""
    if not len(z):
        msg = "There is no cell to draw."
        raise ValueError(msg)
    if z.shape[1] > 1:
        check_dimensions(dimensions, z.shape[1])
    elif needs_two is not None:
        msg = f"The map has one dimension; {needs_two} needs two. Run `scgeoae.pl.det_heatmap` instead."
        raise ValueError(msg)
    return z


def round_below(length: float) -> float:
    """Return the largest length of one digit, 1, 2 or 5, that is not above this one."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(step * power for step in (1, 2, 5) if step * power <= length * (1 + 1e-9)))


def show_frame(ax: Axes, frame: tuple[float, float, float, float]) -> None:
    """Show a square frame, to scale."""
    left, right, bottom, top = frame
    ax.set(aspect="equal", xlim=(left, right), ylim=(bottom, top))


def embedding(adata: AnnData, basis: str, **kwargs: Any) -> Any:
    """Draw by :func:`scanpy.pl.embedding`, with matplotlib whatever scanpy is set to draw with."""
    if hasattr(adata.obs, "to_memory"):
        msg = "Plots need .obs in memory, but it is on disk. Run `adata = adata.to_memory()` first."
        raise TypeError(msg)
    # from scanpy 1.13 on a preset may choose plots that are not matplotlib's
    by_matplotlib = sc.settings.preset.override(sc.Preset.ScanpyV1) if hasattr(sc, "Preset") else nullcontext()
    with by_matplotlib:
        return sc.pl.embedding(adata, basis, show=False, save=False, **kwargs)


def scatter(
    view: View,
    *,
    color: str | Sequence[str | None] | None,
    ax: Axes | None,
    colorbar_loc: str | None = "right",
    numbers: np.ndarray | None = None,
    **kwargs: Any,
) -> list[Axes]:
    """Draw the cells with :func:`scanpy.pl.embedding`, rasterized and to scale; return the Axes of each color.

    Panels show the square frame of the view. Cells that no number orders are drawn in random order, those without a
    color first. Unless ``kwargs`` hold a size, dots are as large as scanpy's, or smaller where those would overlap.
    ``numbers`` (n,) color the first panel instead of those of its column, which are not ordered then.
    """
    adata, basis = view.adata, view.obsm
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
    panels = embedding(adata, basis, dimensions=view.dimensions, ax=ax, **arguments | kwargs)
    axes = panels if isinstance(panels, list) else [panels]
    beside = colorbar_loc in {"right", None}
    if ax is None and beside:  # scanpy's color bars allow no other layout than its own
        axes[0].get_gridspec().figure = axes[0].figure  # the layout needs it, and scanpy's grid of panels has none
        axes[0].figure.set_layout_engine("compressed")
    sized = {"size", "s"}.isdisjoint(kwargs)
    sort_order = kwargs.get("sort_order", True)
    x, y = (f"{basis.removeprefix('X_')}{number + 1}" for number in view.dimensions)
    for panel in axes:
        panel.set(anchor="W" if beside else "C", xlabel=x, ylabel=y)  # left: room for a legend
        panel.set_in_layout(True)  # scanpy excludes panels with a legend
        show_frame(panel, view.frame)
        smaller = _smaller(panel, view) if sized else 1.0
        for label in panel.texts[n_texts:]:
            label.set_gid(LABEL)
        for points in panel.collections[n_drawn:]:
            points.set(rasterized=True, sizes=smaller * points.get_sizes())
            if numbers is not None and panel is axes[0]:
                points.set_array(numbers)
            if points.get_array() is None or not sort_order:
                shuffle(points, kwargs.get("na_color", "lightgray"))
            if colorbar_loc == "right" and points.get_array() is not None:
                panel.figure.colorbar(points, cax=panel.inset_axes((1.02, 0, 0.05, 1)))  # as high as the panel
        if view.graticule:
            panel.add_collection(LineCollection(view.graticule, **MESH), autolim=False)
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


def shuffle(points: PathCollection, na_color: Any) -> None:
    """Bring points into random order, those without a color first, so that no group covers another by its place."""
    offsets = np.ma.getdata(points.get_offsets())
    values, faces, sizes = points.get_array(), np.asarray(points.get_facecolor()), points.get_sizes()
    known = ~np.isnan(np.ma.filled(values, np.nan)) if values is not None else (faces != to_rgba(na_color)).any(1)
    if len(known) != len(offsets):  # all are of one color
        return
    order = np.lexsort((np.random.default_rng(0).random(len(known)), known))
    points.set_offsets(offsets[order])
    if values is not None:
        points.set_array(values[order])
    else:
        points.set_facecolor(list(map(tuple, faces[order])))
    if len(sizes) == len(order):
        points.set_sizes(sizes[order])


def _smaller(ax: Axes, view: View) -> float:
    """Return the factor, at most 1, that shrinks scanpy's dots so much that those of close cells hardly overlap."""
    in_points = 72 / ax.figure.dpi * ax.transData.transform(view.drawn)
    neighbor = min(TOUCHING, len(in_points) - 1)
    distance = KDTree(in_points).query(in_points, k=[neighbor + 1])[0]
    usual = SCANPYS_DOTS / len(in_points)
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


def settle(
    axes: Sequence[Axes],
    view: View,
    lines: Callable[[Axes], list[list[Artist]]] | None = None,
    others: np.ndarray | None = None,
) -> None:
    """Move labels apart, mark the cells outside the frame, and draw the key.

    Parameters
    ----------
    axes
        The panels.
    view
        What they show.
    lines
        Makes further lines of the key, which come first.
    others
        Points (m, 2) that the key leaves free, besides the cells.
    """
    for ax in axes:
        labels = [text for text in ax.texts if text.get_gid() == LABEL]
        if labels and isinstance(ax.figure, Figure):  # adjustText cannot draw a part of a figure
            adjust_text(labels, ax=ax, expand=(1.05, 1.25), avoid_self=False)
        mark_outside(ax, view.frame, view.drawn)
        key = [*(lines(ax) if lines is not None else []), *view.key(ax)]
        if key:
            ax.add_artist(Key(key, view.drawn if others is None else np.vstack([view.drawn, others])))


def mark_outside(ax: Axes, frame: tuple[float, float, float, float], points: np.ndarray) -> None:
    """Mark those of points (n, 2) that lie outside a frame by triangles on its rim, on the way to them from the middle.

    One triangle stands for all points in a stretch of the rim, so that many do not smear.
    """
    corners = np.reshape(frame, (2, 2)).T  # (2, 2), lower left and upper right
    middle, half = corners.mean(0), np.ptp(corners, axis=0) / 2
    rays = (points.astype(np.float64) - middle) / half  # 1 is the rim
    rays = rays[np.abs(rays).max(1) > 1]
    rim = rays / np.abs(rays).max(1, keepdims=True)
    stretch = np.round(rim * MARKS_PER_SIDE / 2)
    places = np.unique(stretch / np.maximum(np.abs(stretch).max(1, keepdims=True), 1), axis=0)
    x, y = places.T
    sides = {"<": x <= -1, ">": x >= 1, "v": y <= -1, "^": y >= 1}
    for marker, side in sides.items():
        if side.any():
            at = middle + half * places[side]
            ax.plot(*at.T, linestyle="", marker=marker, **OUTSIDE, color=rcParams["text.color"], clip_on=False)


def finish(axes: Sequence[Axes], *, show: bool | None, return_fig: bool | None) -> Figure | Axes | list[Axes] | None:
    """Return the figure if asked for; else show it, or return the Axes (a list if there are several)."""
    if return_fig:
        return axes[0].figure.figure  # of a panel of a subfigure, the whole figure
    if sc.settings.autoshow if show is None else show:
        plt.show()
        return None
    return axes[0] if len(axes) == 1 else list(axes)
