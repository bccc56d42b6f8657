"""Indicatrices: equal circles in the data, as they appear on the map."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib import rcParams
from matplotlib.collections import EllipseCollection
from matplotlib.colors import to_rgba
from matplotlib.patheffects import Normal, Stroke
from scipy import ndimage

from ..result import DEFAULT_KEY, Result
from ._foot import draw_foot
from ._scatter import box, color_list, drawn_coordinates, finish, map_dimensions, scatter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..core.manifold import Manifold
    from ..core.region import OccupiedRegion

FILL = 0.42
"""Radius of the undistorted circle as a share of the grid spacing, unless elongated ellipses would overlap."""

LONGEST = 0.8
"""Bound on the 90th percentile of the longest semi-axes, as a share of the grid spacing."""

ROOM = 1.5
"""How far ellipses may widen the frame, in grid spacings; one that is longer is cut."""

BELIEVED = 1.0
"""Nonlinearity up to which an indicatrix has a solid outline: at 1 the decoded ellipse is off by its radius."""

ISLAND = 3
"""Cells that make an island; fewer are outliers."""

OUTERMOST = (0.001, 0.999)
"""Quantiles between which most cells lie."""

HALO: dict[str, Any] = {"linewidth": 1.6, "dashes": {"dash_offset": 0, "dash_list": None}}
"""A line in the colour of the background, without gaps, below the outline: it shows on a dense cluster too."""


class Ellipses(NamedTuple):
    """Indicatrices at `points` (m, 2): semi-axes `lengths` (m, 2), `angles` (m,) in degrees, all for one `radius`.

    `believed` (m,) says where the linear picture holds at this radius.
    """

    points: np.ndarray
    lengths: np.ndarray
    angles: np.ndarray
    radius: float
    believed: np.ndarray


def indicatrix(
    adata: AnnData,
    *,
    key: str = DEFAULT_KEY,
    color: str | Sequence[str] | None = None,
    n_grid: int = 14,
    cells: Sequence[str] | np.ndarray | None = None,
    dimensions: tuple[int, int] = (0, 1),
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Figure | Axes | list[Axes] | None:
    """Draw what equal circles in the data look like on the map (Nazari et al. 2023, section 4).

    Where an ellipse is large, the map is inflated. Where it is elongated, the map stretches directions unequally. Equal
    circles everywhere mean a map without distortion. All ellipses stand for circles of one radius in the data. The
    circle at the foot shows this circle on an undistorted map, and the bar shows a distance in the data. Ellipses are
    drawn on a square grid and on islands of cells between its nodes; one whose centre lies in a larger one is left out.

    An indicatrix shows the linearised decoder. Where the decoder is so curved that the decoded ellipse is farther than
    its own radius from the circle (:func:`scgeoae.get.nonlinearity` above 1), the ellipse is dashed: its area is valid
    at its centre only. Smaller ellipses, with a larger `n_grid`, are valid in more places.

    On maps of more than two dimensions the ellipses are those of the metric restricted to the two drawn directions,
    the others held fixed, at cells spread over the picture.

    Parameters
    ----------
    adata
        Annotated data matrix with a result of :func:`scgeoae.tl.geometric_ae`.
    key
        Name of the result.
    color
        Colour of the cells, or several for several panels, as in :func:`scanpy.pl.embedding`.
    n_grid
        Ellipses along the longer side of the occupied region.
    cells
        Draw ellipses at these cells instead: names, positions or a mask.
    dimensions
        The two dimensions to draw.
    ax
        Draw here; one colour only.
    show
        Show the plot instead of returning it.
    return_fig
        Return the figure.
    **kwargs
        Passed on to :func:`scanpy.pl.embedding`.

    Returns
    -------
    The Axes, a list of them for several colours, the figure if `return_fig`, or `None` if shown.

    Raises
    ------
    KeyError
        If there is no result under this key, or no such cell.
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
    z = drawn_coordinates(result)
    dimensions = map_dimensions(dimensions, z.shape[1])
    drawn = z[:, dimensions]
    spacing = _longer_side(drawn) / n_grid
    manifold = result.manifold
    points = (
        z[_positions(adata, cells)] if cells is not None else _grid_points(result.model.region, z, dimensions, spacing)
    )
    ellipses = _ellipses(manifold, result.model.unit, result.decoder_points(points), dimensions, spacing)
    if cells is None:
        ellipses = _thinned(ellipses)
    framed = np.vstack([drawn, _corners(ellipses, ROOM * spacing)])
    colors = color_list(color)
    axes = scatter(result, ax=ax, color=colors[0] if len(colors) == 1 else colors, dimensions=dimensions, **kwargs)
    for panel in axes:
        panel.add_collection(_collection(ellipses, panel))
        draw_foot(panel, framed, radius=ellipses.radius, unit=result.model.unit, dashed=not ellipses.believed.all())
    return finish(axes, show=show, return_fig=return_fig)


def _longer_side(drawn: np.ndarray) -> float:
    """Measure the box of the cells without the outermost 0.1 % on each side; of all cells if most are at one place."""
    most = np.ptp(np.quantile(drawn.astype(np.float64), OUTERMOST, axis=0), axis=0).max()
    low, high = box(drawn)
    return float(most or (high - low).max())


def _positions(adata: AnnData, cells: Sequence[str] | np.ndarray) -> np.ndarray:
    cells = np.asarray(cells)
    if cells.dtype.kind in "iu":
        return cells
    if cells.dtype == bool:
        return np.flatnonzero(cells)
    positions = adata.obs_names.get_indexer(cells)
    if (positions < 0).any():
        msg = f"Did not find these cells in .obs_names: {cells[positions < 0][:5].tolist()}."
        raise KeyError(msg)
    return positions


def _grid_points(
    region: OccupiedRegion | None, z: np.ndarray, dimensions: tuple[int, int], spacing: float
) -> np.ndarray:
    """Where to draw: nodes of a square lattice in the occupied region and its islands, or cells nearest to nodes."""
    drawn = z[:, dimensions]
    low, high = _lattice_box(drawn)
    counts = np.maximum(np.ceil((high - low) / spacing).astype(int), 1)
    margin = (counts * spacing - (high - low)) / 2
    lines = [low[i] - margin[i] + (np.arange(counts[i]) + 0.5) * spacing for i in range(2)]
    lattice = np.column_stack([axis.ravel() for axis in np.meshgrid(*lines)])  # (m, 2)
    if region is not None:
        return _in_region(region, z, lattice[:, np.argsort(dimensions)], spacing)
    tile = np.round((drawn - lattice[0]) / spacing).astype(int)
    distance = np.abs(drawn - (lattice[0] + tile * spacing)).max(1)
    order = np.argsort(distance, kind="stable")
    _, first = np.unique(tile[order], axis=0, return_index=True)
    return z[order[first]]


def _lattice_box(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bound the lattice: all cells, but at most one longer side beyond most cells, which bounds the number of nodes."""
    low, high = np.quantile(drawn.astype(np.float64), OUTERMOST, axis=0)
    side = _longer_side(drawn)
    return np.maximum(drawn.min(0), low - side), np.minimum(drawn.max(0), high + side)


def _in_region(region: OccupiedRegion, z: np.ndarray, lattice: np.ndarray, spacing: float) -> np.ndarray:
    """Keep the nodes in the region, and add the cells in the middle of islands: pieces with some cells but no node.

    Larger islands come first. None is added nearer than half the spacing to a point, where ellipses would overlap.
    """
    nodes = lattice[region.contains(lattice)]
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


def _ellipses(
    manifold: Manifold, unit: float, points: np.ndarray, dimensions: tuple[int, int], spacing: float
) -> Ellipses:
    """Ellipses of one radius in the data, chosen from the spacing and the 90th percentile of the longest axes."""
    lengths, directions = manifold.indicatrix(points, dimensions)
    longest = np.quantile(lengths[:, 0], 0.9) if len(lengths) else 1.0
    radius = min(FILL * unit, LONGEST / longest) * spacing
    angles = np.degrees(np.arctan2(directions[:, 1, 0], directions[:, 0, 0]))
    believed = manifold.nonlinearity(points, radius, dimensions) <= BELIEVED
    return Ellipses(points[:, dimensions], radius * lengths, angles, radius, believed)


def _thinned(ellipses: Ellipses) -> Ellipses:
    """Leave out ellipses that would overlap: the centre of one lies in another.

    Larger ones come first and solid ones before dashed ones; a dashed one may cover the centres of others.
    """
    angles, offsets = np.radians(ellipses.angles), ellipses.points - ellipses.points[:, None]  # (m,), (m, m, 2)
    axes = np.stack(
        [np.column_stack([np.cos(angles), np.sin(angles)]), np.column_stack([-np.sin(angles), np.cos(angles)])]
    )
    along = np.einsum("kid,ijd->ijk", axes, offsets) / ellipses.lengths[:, None]  # (m, m, 2)
    covers = (along**2).sum(-1) < 1  # the ellipse i the middle of j
    kept = np.zeros(len(covers), dtype=bool)
    for i in np.lexsort((-ellipses.lengths.prod(1), ~ellipses.believed)):
        kept[i] = not (covers[kept, i].any() or (ellipses.believed[i] and covers[i, kept].any()))
    parts = (ellipses.points, ellipses.lengths, ellipses.angles, ellipses.believed)
    points, lengths, angles, believed = (part[kept] for part in parts)
    return Ellipses(points, lengths, angles, ellipses.radius, believed)


def _corners(ellipses: Ellipses, largest: float) -> np.ndarray:
    """Corners (2 m, 2) of the boxes around the ellipses, none farther than ``largest`` from the middle."""
    angles = np.radians(ellipses.angles)
    turns = np.column_stack([np.cos(angles), np.sin(angles)])  # of the longer axis; the shorter is orthogonal
    half = np.sqrt((ellipses.lengths[:, :1] * turns) ** 2 + (ellipses.lengths[:, 1:] * turns[:, ::-1]) ** 2)
    half = np.minimum(half, largest)
    return np.vstack([ellipses.points - half, ellipses.points + half])


def _collection(ellipses: Ellipses, ax: Axes) -> EllipseCollection:
    return EllipseCollection(
        2 * ellipses.lengths[:, 0],
        2 * ellipses.lengths[:, 1],
        ellipses.angles,
        units="xy",
        offsets=ellipses.points,
        offset_transform=ax.transData,
        facecolors=to_rgba(ax.get_facecolor(), 0.2),
        edgecolors=rcParams["text.color"],
        linestyles=["solid" if believed else (0, (2, 2)) for believed in ellipses.believed],
        linewidths=0.8,
        path_effects=[Stroke(foreground=ax.get_facecolor(), **HALO), Normal()],
        zorder=2.5,  # above the cells, below names of groups on them
    )
