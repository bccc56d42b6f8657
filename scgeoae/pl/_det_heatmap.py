"""The determinant heat map: area in the data per area on the map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from matplotlib import rcParams
from matplotlib.colors import LogNorm
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from ..result import DEFAULT_KEY, Result
from ._scatter import color_list, drawn_coordinates, finish, map_dimensions, new_axes, scatter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

LABEL = "data area per map area\n(times the average)"
PERCENTILE = 99
DOT, DOT_ALPHA = 60, 0.3
"""Area of scanpy's points over that of the dots on a field; how opaque these are, so that it shows below clusters."""

SMALLEST_LIMIT = 2.0


def det_heatmap(
    adata: AnnData,
    *,
    key: str = DEFAULT_KEY,
    field: bool = False,
    color: str | Sequence[str] | None = None,
    dimensions: tuple[int, int] = (0, 1),
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: str = "coolwarm",
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Figure | Axes | list[Axes] | None:
    """Colour the map by its relative determinant (Nazari et al. 2023, section 4).

    The scale is logarithmic, diverging and centred on 1, the geometric average. Red: the map is compressed, with more
    data per area than elsewhere. Blue: the map is inflated. A map that preserves area is evenly grey. For maps of one
    dimension the determinant is plotted against the coordinate.

    Parameters
    ----------
    adata
        Annotated data matrix with a result of :func:`scgeoae.tl.geometric_ae`.
    key
        Name of the result.
    field
        Draw the determinant over the whole occupied region (maps of two dimensions), cells as dots on it.
    color
        Further panels beside the determinant, as in :func:`scanpy.pl.embedding`.
    dimensions
        The two dimensions to draw.
    vmin, vmax
        Limits of the colours. By default a symmetric range that holds 99 % of the cells, and at least 1/2 to 2, so that
        a map that is even looks even. With one of them the other is its inverse.
    cmap
        A diverging colour map.
    ax
        Draw here; one panel only.
    show
        Show the plot instead of returning it.
    return_fig
        Return the figure.
    **kwargs
        Passed on to :func:`scanpy.pl.embedding`.

    Returns
    -------
    The Axes, a list of them for several panels, the figure if `return_fig`, or `None` if shown.

    Raises
    ------
    KeyError
        If there is no result under this key.
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
    column = result.keys.determinant
    determinant = result.column(column).to_numpy()
    z = drawn_coordinates(result)
    norm = _norm(determinant, vmin, vmax)
    if z.shape[1] == 1:
        return finish([_profile(z[:, 0], determinant, norm, ax)], show=show, return_fig=return_fig)
    panels = [column, *(name for name in color_list(color) if name is not None)]
    axes = scatter(
        result,
        ax=ax,
        color=panels if len(panels) > 1 else column,
        dimensions=map_dimensions(dimensions, z.shape[1]),
        norm=[norm, *[None] * (len(panels) - 1)] if len(panels) > 1 else norm,
        **{"cmap": cmap, "title": ["relative determinant", *panels[1:]], "sort_order": False} | kwargs,
    )
    for panel in axes[1:]:
        _undo_cmap(panel, kwargs.get("color_map"))
    points = cast("PathCollection", axes[0].collections[0])
    if field:
        _draw_field(result, axes[0], dimensions, norm, cmap)
        points.set_visible(False)
        sizes, drawn = points.get_sizes() / DOT, z[:, dimensions]
        axes[0].scatter(
            drawn[:, 0], drawn[:, 1], s=sizes, color="black", alpha=DOT_ALPHA, linewidths=0, rasterized=True
        )
    _label_colorbar(points, norm)
    return finish(axes, show=show, return_fig=return_fig)


def _norm(determinant: np.ndarray, vmin: float | None, vmax: float | None) -> LogNorm:
    for limit in (vmin, vmax):
        if limit is not None and not limit > 0:
            msg = f"Limits of the determinant must be positive, not {limit}."
            raise ValueError(msg)
    if vmin is None:
        vmin = 1 / vmax if vmax is not None else 1 / _symmetric_limit(determinant)
    return LogNorm(vmin, 1 / vmin if vmax is None else vmax, clip=True)


def _symmetric_limit(determinant: np.ndarray) -> float:
    spread = np.exp(np.nanpercentile(np.abs(np.log(determinant)), PERCENTILE))
    return max(float(spread), SMALLEST_LIMIT)


def _profile(z: np.ndarray, determinant: np.ndarray, norm: LogNorm, ax: Axes | None) -> Axes:
    ax = ax or new_axes(6.4, 4.8)[0]
    ax.scatter(z, determinant, s=4, color=rcParams["text.color"], rasterized=True)
    ax.axhline(1, color="0.6", linewidth=1)
    ax.set(yscale="log", ylim=(norm.vmin, norm.vmax), xlabel="map coordinate", ylabel="relative determinant")
    _write_factors(ax, norm)
    return ax


def _draw_field(result: Result, ax: Axes, dimensions: tuple[int, int], norm: LogNorm, cmap: str) -> None:
    """Draw the determinant over the region; limits are those of the cells and the region together."""
    region = result.model.region
    if region is None:
        msg = "The field is drawn on maps of two dimensions only."
        raise ValueError(msg)
    values = np.full(region.mask.shape, np.nan)
    values[region.mask] = result.relative_determinant(region.points())
    extent = region.extent
    if dimensions == (1, 0):
        values, extent = values.T, (*extent[2:], *extent[:2])
    left, right, bottom, top = extent
    x, y = [left, right, *ax.get_xlim()], [bottom, top, *ax.get_ylim()]
    image = ax.imshow(values, extent=extent, origin="lower", norm=norm, cmap=cmap, interpolation="nearest")
    image.set_zorder(0)
    ax.set(xlim=(min(x), max(x)), ylim=(min(y), max(y)))


def _undo_cmap(panel: Axes, cmap: str | None) -> None:
    """Give a panel of another quantity scanpy's colours: its scale is not centred on 1."""
    points = panel.collections[0]
    if points.get_array() is not None:
        points.set_cmap(cmap or rcParams["image.cmap"])


def _label_colorbar(points: PathCollection, norm: LogNorm) -> None:
    bar = points.colorbar
    if bar is None:
        return
    _write_factors(bar.ax, norm)
    bar.set_label(LABEL, fontsize="small")
    bar.ax.tick_params(labelsize="small")


def _write_factors(ax: Axes, norm: LogNorm) -> None:
    """Round factors and their inverses at the second axis."""
    ax.yaxis.set_major_locator(FixedLocator(_ticks(norm)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value >= 1 else f"1/{1 / value:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_minor_formatter(NullFormatter())


def _ticks(norm: LogNorm) -> list[float]:
    """Round factors on both sides of 1, few enough to be read."""
    low, high = float(norm.vmin or 1), float(norm.vmax or 1)
    widest = max(1 / low, high)
    if widest < 4:
        factors = [1.25, 1.5, 2.0, 3.0]
    elif widest < 100:
        factors = [2.0, 5.0, 10.0, 20.0, 50.0]
    else:
        factors = [10.0**power for power in range(1, 20)]
    ticks = [1 / factor for factor in reversed(factors)] + [1.0] + factors
    return [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
