"""Indicatrices: equal circles in the data, as they appear on the map."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from matplotlib import rcParams
from matplotlib.collections import EllipseCollection
from matplotlib.offsetbox import AuxTransformBox, TextArea
from matplotlib.patches import Circle
from pandas.api.types import infer_dtype
from scipy import ndimage
from scipy.spatial import KDTree

from .._lookup import cells_named
from ..fields import DEFAULT_KEY
from ..result import Result
from ._scatter import finish, scatter, settle, view_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

    from ..core.region import OccupiedRegion
    from ._scatter import View

FILL = 0.35
"""Radius of the undistorted circle as a share of the grid spacing, unless elongated ellipses would overlap."""

LONGEST = 0.8
"""Bound on the 90th percentile of the longest semi-axes, as a share of the grid spacing."""

BELIEVED = 1.0
"""Nonlinearity up to which an indicatrix has a solid outline: at 1 the decoded ellipse is off by its radius."""

ISLAND = 3
"""Cells that make an island; fewer are outliers."""

DENSE, CORNERS = 1 / 3, 24
"""An outline has a halo if at least this share of its points, of which there are so many, lie on dots of cells."""

FULL_WIDTH = 3.0
"""Width of a panel in inches from which outlines are not made thinner."""

HALO = "halo"
"""Mark of the outlines below the outlines."""


def indicatrix(
    adata: AnnData,
    *,
    key: str = DEFAULT_KEY,
    color: str | Sequence[str] | None = None,
    n_grid: int = 8,
    cells: Sequence[str] | np.ndarray | None = None,
    dimensions: tuple[int, int] = (0, 1),
    outliers: bool = False,
    lens: bool = False,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Figure | Axes | list[Axes] | None:
    """Draw what equal circles in the data look like on the map (Nazari et al. 2023, section 4).

    Where an ellipse is large, the map is inflated. Where it is elongated, the map stretches directions unequally. Equal
    circles everywhere mean a map without distortion. All ellipses stand for circles of one radius in the data. The key,
    in a corner without cells or below the panel, shows this circle on an undistorted map, and a bar that is as long as
    a distance in the data (see :func:`scgeoae.pl.embedding`). Lengths on a map that was made elsewhere are no
    distances: there the key says instead what the radius of the circle is in the data, on average over the cells.
    Ellipses are drawn on a square grid and on islands of cells between its nodes; one whose center lies in a larger one
    is left out.

    An indicatrix shows the linearized decoder. Where the decoder is so curved that the decoded ellipse is farther than
    its own radius from the circle (:func:`scgeoae.get.nonlinearity` above 1), the ellipse is dashed: its area is valid
    at its center only. Smaller ellipses, with a larger `n_grid`, are valid in more places.

    On maps of more than two dimensions, ellipses are drawn at cells spread over the picture. They show the metric in
    the two drawn dimensions, with the others held fixed.

    Parameters
    ----------
    adata
        Annotated data matrix with a result of :func:`scgeoae.tl.geometric_ae`.
    key
        Name of the result.
    color
        Color of the cells, or several for several panels, as in :func:`scanpy.pl.embedding`.
    n_grid
        Ellipses along the side of the frame, where there are cells.
    cells
        Draw ellipses at these cells instead: names, positions or a mask.
    dimensions
        The two dimensions to draw.
    outliers
        Show all cells, and draw ellipses wherever there are some. By default cells far from the central 99 % are
        outside: triangles on the rim point to them, and the key says how many there are.
    lens
        Draw the map as :func:`scgeoae.tl.lens` bends it. The bent map has no scale bar; the key says up to how much
        larger than on the true map places are. The
        ellipses are those of the bent map, and the undistorted circle is that of its average over the cells.
    ax, show, return_fig
        Draw here; one color only. Show the plot instead of returning it. Return the figure.
    **kwargs
        Passed on to :func:`scanpy.pl.embedding`.

    Returns
    -------
    The Axes, a list of them for several colors, the figure if `return_fig`, or `None` if shown.

    Raises
    ------
    KeyError
        If there is no result under this key, no such cell, or no lens.
    ValueError
        If there is no cell, the map has one dimension, or `dimensions` are not dimensions of the map.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=100)
    >>> ax = scgeoae.pl.indicatrix(adata, color="bulk_labels", show=False)
    """
    if n_grid < 1:
        msg = f"n_grid must be at least 1; it is {n_grid}."
        raise ValueError(msg)
    result = Result(adata, key)
    view = view_of(result, dimensions, outliers=outliers, needs_two="an indicatrix", lens=lens)
    surface = result.model.bent_surface if lens else result.surface
    left, right, bottom, top = view.frame
    spacing = (right - left) / n_grid
    steps = (np.arange(n_grid) + 0.5) * spacing
    nodes = np.column_stack([nodes.ravel() for nodes in np.meshgrid(left + steps, bottom + steps)])
    region, unit = result.model.region, result.model.unit
    if lens and region is not None:
        region, unit = result.lens.bend(region), result.bent_unit
    if cells is not None:
        named = infer_dtype(np.ravel(cells)) == "string"
        points = view.z[cells_named(adata, np.ravel(cells).tolist())] if named else adata[cells].obsm[view.obsm]
    elif region is not None:
        points = _points_in_region(region, view.z, nodes[:, np.argsort(dimensions)], spacing)
    else:  # cells near the nodes
        distance, nearest = KDTree(view.drawn).query(nodes, p=np.inf)
        points = view.z[np.unique(nearest[distance <= spacing / 2])]
    if cells is None:
        x, y = points[:, dimensions].T
        points = points[(x >= left) & (x <= right) & (y >= bottom) & (y <= top)]
    points = result.decoder_points(points)
    lengths, directions = surface.indicatrix(points, dimensions)
    radius = spacing * min(FILL * unit, LONGEST / np.quantile(lengths[:, 0], 0.9) if len(lengths) else np.inf)
    semi_axes = radius * lengths[:, None] * directions  # (m, 2, 2), one per column
    believed = surface.nonlinearity(points, radius, dimensions) <= BELIEVED
    centers = points[:, dimensions]
    if cells is None:
        kept = _uncovered(centers, semi_axes, believed)
        centers, semi_axes, believed = centers[kept], semi_axes[kept], believed[kept]
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    outlines = centers[:, None] + np.stack([np.cos(angles), np.sin(angles)], 1) @ semi_axes.swapaxes(1, 2)  # (m, 24, 2)
    axes = scatter(view, color=color, ax=ax, **kwargs)
    for panel in axes:
        crowded = _on_dots(panel, view, outlines).mean(1) > DENSE if len(outlines) else np.zeros(0, dtype=bool)
        _draw_ellipses(panel, centers, semi_axes, believed, crowded)
    lines = partial(_explanation, view=view, radius=radius, unit=unit, dashed=not believed.all())
    settle(axes, view, lines, outlines.reshape(-1, 2))
    return finish(axes, show=show, return_fig=return_fig)


def _points_in_region(region: OccupiedRegion, z: np.ndarray, nodes: np.ndarray, spacing: float) -> np.ndarray:
    """Keep the nodes in the region, and add the cells in the middle of islands: pieces with some cells but no node.

    Larger islands come first. None is added nearer than half the spacing to a point, where ellipses would overlap.
    """
    nodes = nodes[region.contains(nodes)]
    pieces, n_pieces = ndimage.label(region.mask, np.ones((3, 3)))
    sizes = np.bincount(pieces[region.mask], minlength=n_pieces + 1)
    points = nodes.astype(z.dtype)
    for number in np.argsort(-sizes, kind="stable")[:n_pieces]:
        piece = replace(region, mask=pieces == number)
        if piece.contains(nodes).any() or (inside := piece.contains(z)).sum() < ISLAND:
            continue
        middle = z[inside][np.linalg.norm(z[inside] - piece.points().mean(0), axis=1).argmin()]
        if (np.linalg.norm(points - middle, axis=1) >= spacing / 2).all():
            points = np.vstack([points, middle])
    return points


def _uncovered(centers: np.ndarray, semi_axes: np.ndarray, believed: np.ndarray) -> np.ndarray:
    """Say which ellipses to keep, (m,) bool, so that the center of none lies in another.

    Larger ones come first and solid ones before dashed ones; a dashed one may cover the centers of others.
    """
    squares = (semi_axes**2).sum(1)  # (m, 2), of the lengths
    along = np.einsum("iab,ija->ijb", semi_axes, centers - centers[:, None]) / squares[:, None]
    covers = (along**2).sum(-1) < 1  # ellipse i the center of ellipse j
    kept = np.zeros(len(covers), dtype=bool)
    for i in np.lexsort((-squares.prod(1), ~believed)):
        kept[i] = not (covers[kept, i].any() or (believed[i] and covers[i, kept].any()))
    return kept


def _on_dots(ax: Axes, view: View, outlines: np.ndarray) -> np.ndarray:
    """Say which points of the outlines (m, 24, 2) lie on dots of cells, (m, 24) bool."""
    (side,) = np.diff(ax.get_xlim())
    (points,) = [drawn for drawn in ax.collections if drawn.get_rasterized()][-1:]
    width = np.sqrt(np.median(cast("PathCollection", points).get_sizes())) * ax.figure.dpi / 72  # in pixels
    dot = width / 2 * side / ax.bbox.width
    distance, _ = KDTree(view.drawn).query(outlines, distance_upper_bound=dot)
    return np.isfinite(distance)


def _draw_ellipses(
    ax: Axes, centers: np.ndarray, semi_axes: np.ndarray, believed: np.ndarray, crowded: np.ndarray
) -> None:
    """Draw ellipses with a solid or dashed outline; those that cross crowded cells on a halo, which is solid."""
    longer, shorter = np.linalg.norm(semi_axes, axis=1).T
    angles = np.degrees(np.arctan2(semi_axes[:, 1, 0], semi_axes[:, 0, 0]))
    thin = float(np.clip(ax.bbox.width / ax.figure.dpi / FULL_WIDTH, 0.4, 1))  # in a narrow panel
    common: dict[str, Any] = {"units": "xy", "offset_transform": ax.transData, "facecolors": "none"}
    halo = EllipseCollection(
        2 * longer[crowded],
        2 * shorter[crowded],
        angles[crowded],
        offsets=centers[crowded],
        edgecolors=ax.get_facecolor(),
        linewidths=2 * thin,
        alpha=0.8,
        zorder=2.4,
        gid=HALO,
        **common,
    )
    ellipses = EllipseCollection(
        2 * longer,
        2 * shorter,
        angles,
        offsets=centers,
        edgecolors=rcParams["text.color"],
        linestyles=["solid" if solid else (0, (2, 2)) for solid in believed],
        linewidths=0.7 * thin,
        zorder=2.5,  # above the cells, below names of groups on them
        **common,
    )
    ax.add_collection(halo)
    ax.add_collection(ellipses)


def _explanation(ax: Axes, *, view: View, radius: float, unit: float, dashed: bool) -> list[list[Artist]]:
    """Make the lines of the key that say what the circle and dashes mean; the radius is a length in the data."""
    circle = AuxTransformBox(ax.transData)
    circle.add_artist(Circle((0, 0), radius / unit, facecolor="none", edgecolor=rcParams["text.color"], linewidth=0.8))
    text = "undistorted circle"
    if view.unit is None:
        text += f", radius {float(f'{radius:.2g}'):g}\nin the data, locally, on average"
    lines: list[list[Artist]] = [[circle, TextArea(text)]]
    return [*lines, [TextArea("dashed: strongly curved")]] if dashed else lines
