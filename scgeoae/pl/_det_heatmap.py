"""The determinant heat map: area in the data per area on the map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from matplotlib import colormaps, rcParams
from matplotlib.colors import Colormap, LogNorm, to_rgba

from ..explore import DIVERGING, log_det_limit
from ..fields import DEFAULT_KEY, Keys
from ..result import Result
from ._scatter import colored, finish, new_axes, scatter, settle, view_of, write_factors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

    from ..core.region import OccupiedRegion

FEW = 1 / 3
"""Area of all dots, as a share of that of the occupied region, below which the field is drawn."""

DOT, DOT_COLOR = 1 / 5, to_rgba("black", 0.3)
"""Area, as a share of that of dots on other plots, and color of the cells on a field, which must show between them."""


def det_heatmap(
    adata: AnnData,
    *,
    key: str = DEFAULT_KEY,
    field: bool | None = None,
    color: str | Sequence[str] | None = None,
    dimensions: tuple[int, int] = (0, 1),
    outliers: bool = False,
    lens: bool = False,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: str | Colormap = DIVERGING,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Figure | Axes | list[Axes] | None:
    """Color the map by its relative determinant (Nazari et al. 2023, section 4).

    The scale is logarithmic, diverging and centered on 1, the geometric average. Red: the map is compressed, with more
    data per area than elsewhere. Blue: the map is inflated. A map that preserves area is evenly gray. For maps of one
    dimension the determinant is plotted against the coordinate.

    Parameters
    ----------
    adata
        Annotated data matrix with a result of :func:`scgeoae.tl.geometric_ae`.
    key
        Name of the result.
    field
        Draw the determinant over the whole occupied region, with cells as dots on it (maps of two dimensions only). By
        default where the cells are so few that they would cover less than a third of the region.
    color
        Further panels beside the determinant, as in :func:`scanpy.pl.embedding`.
    dimensions
        The two dimensions to draw.
    outliers
        Show all cells. By default cells far from the central 99 % are outside: triangles on the rim point to them, and
        the key says how many there are.
    lens
        Draw the map as :func:`scgeoae.tl.lens` bends it. The bent map has no scale bar; the key says up to how much
        larger than on the true map places are. The
        determinant is that of the bent map, what one sees there, relative to its geometric mean over the cells.
    vmin, vmax
        Limits of the colors. By default a symmetric range that holds 99 % of the cells, and at least 1/2 to 2, so that
        a map that is even looks even. If only one is given, the other is its inverse.
    cmap
        A diverging color map.
    ax, show, return_fig
        Draw here; one panel only. Show the plot instead of returning it. Return the figure.
    **kwargs
        Passed on to :func:`scanpy.pl.embedding`.

    Returns
    -------
    The Axes, a list of them for several panels, the figure if `return_fig`, or `None` if shown.

    Raises
    ------
    KeyError
        If there is no result under this key, or no lens.
    ValueError
        If there is no cell, the dimensions are not those of the map, or the limits are not positive.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=100)
    >>> ax = scgeoae.pl.det_heatmap(adata, show=False)
    """
    result = Result(adata, key)
    determinant = result.numbers(Keys.determinant)
    view = view_of(result, dimensions, outliers=outliers, lens=lens)
    if lens:
        determinant = determinant / result.magnification * (result.model.unit / result.bent_unit) ** 2
    z = view.z
    for limit in (vmin, vmax):
        if limit is not None and not limit > 0:
            msg = f"Limits of the determinant must be positive, not {limit}."
            raise ValueError(msg)
    largest = vmax or (1 / vmin if vmin else float(np.exp(log_det_limit(determinant))))
    norm = LogNorm(vmin or 1 / largest, largest, clip=True)
    if z.shape[1] == 1:
        ax = ax or new_axes(6.4, 4.8)[0]
        ax.scatter(z, determinant, s=4, color=rcParams["text.color"], rasterized=True)
        ax.axhline(1, color="0.6", linewidth=1)
        ax.set(yscale="log", ylim=(norm.vmin, norm.vmax), xlabel="map coordinate", ylabel="relative determinant")
        write_factors(ax.yaxis, _factors(norm))
        return finish([ax], show=show, return_fig=return_fig)
    if field and result.model.region is None:
        msg = f"The field is drawn on maps of two dimensions only; the map has {z.shape[1]}."
        raise ValueError(msg)
    others = [color] if isinstance(color, str) else [name for name in color or () if name is not None]
    colors = [result.keys.determinant, *others]
    title = "relative determinant of the bent map" if lens else "relative determinant"
    defaults: dict[str, Any] = {"title": [title, *others], "sort_order": False}
    axes = scatter(view, color=colors, ax=ax, numbers=determinant if lens else None, **defaults | kwargs)
    where = "bent map" if lens else "map"
    points = colored(axes[0], f"data area per {where} area\n(times the average)")
    points.set(norm=norm, cmap=colormaps.get_cmap(cmap).with_extremes(bad=tuple(points.get_cmap().get_bad())))
    region = result.lens.bend(result.model.region) if lens and result.model.region is not None else result.model.region
    if region is not None and (_are_few(region, points, len(z)) if field is None else field):
        _draw_field(result, region, points, dimensions, lens=lens)
    settle(axes, view)
    if (bar := points.colorbar) is not None:
        write_factors(bar.ax.yaxis if bar.orientation == "vertical" else bar.ax.xaxis, _factors(norm))
    return finish(axes, show=show, return_fig=return_fig)


def _are_few(region: OccupiedRegion, points: PathCollection, n: int) -> bool:
    """Say whether the dots of n cells are too few to show the colors of the region."""
    ax, sizes = cast("Axes", points.axes), points.get_sizes()
    points_per_unit = 72 / ax.figure.dpi * ax.bbox.width / np.ptp(ax.get_xlim())
    return bool(np.mean(sizes) * n < FEW * region.mask.sum() * region.tile_area * points_per_unit**2)


def _draw_field(
    result: Result, region: OccupiedRegion, points: PathCollection, dimensions: tuple[int, int], *, lens: bool
) -> None:
    """Draw the determinant over the region below the cells, which become dots."""
    ax = cast("Axes", points.axes)
    values = np.full(region.mask.shape, np.nan)
    values[region.mask] = result.relative_determinant(region.points(), lens=lens)
    extent = region.extent
    if tuple(dimensions) == (1, 0):
        values, extent = values.T, (*extent[2:], *extent[:2])
    cmap = points.get_cmap().with_extremes(bad="none")  # elsewhere the background
    image = ax.imshow(
        values, extent=extent, origin="lower", norm=cast("LogNorm", points.norm), cmap=cmap, interpolation="nearest"
    )
    image.set_zorder(0)
    points.set(array=None, facecolor=DOT_COLOR, sizes=DOT * points.get_sizes())


def _factors(norm: LogNorm) -> list[float]:
    """Choose round factors for a color bar, few enough to be read."""
    widest = max(1 / cast("float", norm.vmin), cast("float", norm.vmax))
    if widest < 4:
        return [1.25, 1.5, 2, 3]
    return [2, 5, 10, 20, 50] if widest < 100 else [10.0**power for power in range(1, 20)]
