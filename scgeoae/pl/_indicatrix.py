"""Indicatrices: equal circles in the data, as they appear on the map."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from matplotlib import rcParams
from matplotlib.collections import EllipseCollection
from matplotlib.colors import to_rgba
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnchoredOffsetbox, AuxTransformBox, HPacker, TextArea, VPacker
from matplotlib.patches import Circle
from matplotlib.patheffects import Normal, Stroke
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from pandas.api.types import infer_dtype
from scipy import ndimage
from scipy.spatial import KDTree

from .._lookup import cells_named
from ..fields import DEFAULT_KEY
from ..result import Result
from ._scatter import box, coordinates_to_draw, finish, framed, scatter, settle, show_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase
    from matplotlib.figure import Figure

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

ROW = 0.07
"""Height of a line of the key, as a share of the longer side of the map."""


def indicatrix(
    adata: AnnData,
    *,
    key: str = DEFAULT_KEY,
    color: str | Sequence[str] | None = None,
    n_grid: int = 14,
    cells: Sequence[str] | np.ndarray | None = None,
    dimensions: tuple[int, int] = (0, 1),
    outliers: bool = False,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Figure | Axes | list[Axes] | None:
    """Draw what equal circles in the data look like on the map (Nazari et al. 2023, section 4).

    Where an ellipse is large, the map is inflated. Where it is elongated, the map stretches directions unequally. Equal
    circles everywhere mean a map without distortion. All ellipses stand for circles of one radius in the data. The key
    below the cells shows this circle on an undistorted map, and a bar that is as long as a distance in the data.
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
        Ellipses along the longer side of the occupied region.
    cells
        Draw ellipses at these cells instead: names, positions or a mask.
    dimensions
        The two dimensions to draw.
    outliers
        Frame all cells, and draw ellipses wherever there are some. By default the frame leaves out cells far from the
        central 99 %, and triangles on its rim stand for them.
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
    z = coordinates_to_draw(result, dimensions, "an indicatrix")
    drawn = z[:, dimensions]
    frame = framed(drawn, outliers=outliers)
    spacing, nodes = _grid(np.clip(drawn, frame.min, frame.max), n_grid)
    region, unit = result.model.region, result.model.unit
    if cells is not None:
        named = infer_dtype(np.ravel(cells)) == "string"
        points = z[cells_named(adata, np.ravel(cells).tolist())] if named else adata[cells].obsm[result.keys.obsm]
    elif region is not None:
        points = _points_in_region(region, z, nodes[:, np.argsort(dimensions)], spacing)
    else:  # cells near the nodes
        distance, nearest = KDTree(drawn).query(nodes, p=np.inf)
        points = z[np.unique(nearest[distance <= spacing / 2])]
    if cells is None:
        points = points[((points[:, dimensions] >= frame.min) & (points[:, dimensions] <= frame.max)).all(1)]
    points = result.decoder_points(points)
    lengths, directions = result.surface.indicatrix(points, dimensions)
    radius = spacing * min(FILL * unit, LONGEST / np.quantile(lengths[:, 0], 0.9) if len(lengths) else np.inf)
    semi_axes = radius * lengths[:, None] * directions  # (m, 2, 2), one per column
    believed = result.surface.nonlinearity(points, radius, dimensions) <= BELIEVED
    centers = points[:, dimensions]
    if cells is None:
        kept = _uncovered(centers, semi_axes, believed)
        centers, semi_axes, believed = centers[kept], semi_axes[kept], believed[kept]
    reach = np.minimum(np.linalg.norm(semi_axes, axis=2), ROOM * spacing)  # (m, 2), half the box around an ellipse
    corners = np.vstack([frame.min, frame.max, centers - reach, centers + reach])
    axes = scatter(result, color=color, dimensions=dimensions, outliers=outliers, ax=ax, **kwargs)
    for panel in axes:
        _draw_ellipses(panel, centers, semi_axes, believed)
        _draw_key(panel, corners, radius, unit, dashed=not believed.all())
    settle(axes, drawn)
    return finish(axes, show=show, return_fig=return_fig)


def _grid(drawn: np.ndarray, n_grid: int) -> tuple[float, np.ndarray]:
    """Lay a square grid over the cells, with `n_grid` nodes along the longer side of most of them.

    Returns
    -------
    Spacing and nodes (m, 2). Nodes lie at most one such side beyond most cells, which bounds their number.
    """
    low, high = np.quantile(drawn.astype(np.float64), OUTERMOST, axis=0)
    corner, opposite = box(drawn)
    side = (high - low).max() or (opposite - corner).max()  # most cells may be at one place
    spacing = float(side) / n_grid
    low, high = np.maximum(drawn.min(0), low - side), np.minimum(drawn.max(0), high + side)
    counts = np.maximum(np.ceil((high - low) / spacing).astype(int), 1)
    lines = [(low[i] + high[i]) / 2 + (np.arange(counts[i]) - (counts[i] - 1) / 2) * spacing for i in range(2)]
    return spacing, np.column_stack([nodes.ravel() for nodes in np.meshgrid(*lines)])


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


def _draw_ellipses(ax: Axes, centers: np.ndarray, semi_axes: np.ndarray, believed: np.ndarray) -> None:
    """Draw ellipses with a solid or dashed outline, on a solid halo that makes it visible on dense clusters too."""
    longer, shorter = np.linalg.norm(semi_axes, axis=1).T
    halo = Stroke(linewidth=1.6, dashes={"dash_offset": 0, "dash_list": None}, foreground=ax.get_facecolor())
    ellipses = EllipseCollection(
        2 * longer,
        2 * shorter,
        np.degrees(np.arctan2(semi_axes[:, 1, 0], semi_axes[:, 0, 0])),
        units="xy",
        offsets=centers,
        offset_transform=ax.transData,
        facecolors=to_rgba(ax.get_facecolor(), 0.2),
        edgecolors=rcParams["text.color"],
        linestyles=["solid" if solid else (0, (2, 2)) for solid in believed],
        linewidths=0.8,
        path_effects=[halo, Normal()],
        zorder=2.5,  # above the cells, below names of groups on them
    )
    ax.add_collection(ellipses)


def _draw_key(ax: Axes, corners: np.ndarray, radius: float, unit: float, *, dashed: bool) -> None:
    """Draw the undistorted circle, a scale bar and what dashes mean, in a strip below the corners (n, 2).

    The radius of the circles and the unit of the map are lengths in the data.
    """
    (left, bottom), (right, top) = box(corners)
    longest = 0.2 * (right - left) * unit
    power = 10.0 ** np.floor(np.log10(longest))
    length = max(step * power for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9))
    color, row = rcParams["text.color"], ROW * max(right - left, top - bottom)
    strip = max(2 * radius / unit, row) + row * (1 + dashed)
    show_frame(ax, Bbox([[left, bottom - strip], [right, top]]))
    low, high = ax.get_ylim()
    circle, bar = AuxTransformBox(ax.transData), AuxTransformBox(ax.transData)
    circle.add_artist(Circle((0, 0), radius / unit, facecolor="none", edgecolor=color, linewidth=0.8))
    bar.add_artist(Line2D([0, length / unit], [0, 0], color=color, linewidth=2, solid_capstyle="butt"))
    lines: list[list[Artist]] = [
        [circle, TextArea("undistorted circle")],
        [bar, TextArea(f"distance {length:g} in the data")],
        [TextArea("dashed: strongly curved")],
    ]
    ax.add_artist(Key(lines[: 2 + dashed], share=(bottom - low) / (high - low)))


class Key(AnchoredOffsetbox):
    """Symbols and their meaning, one below the other in the lower left corner of a panel.

    The text shrinks until the key is no wider than the panel and no higher than a share of it. The size of the panel is
    known only when it is drawn.
    """

    def __init__(self, lines: list[list[Artist]], share: float) -> None:
        rows: list[Artist] = [HPacker(children=line, align="center", pad=0, sep=4) for line in lines]
        child = VPacker(children=rows, align="left", pad=0, sep=1)
        super().__init__("lower left", child=child, pad=0.5, borderpad=0, frameon=False)
        self.set_in_layout(False)
        self.share, self.full = share, FontProperties(size="small").get_size_in_points()

    def draw(self, renderer: RendererBase) -> None:
        """Draw the key with the largest text that fits."""
        panel = cast("Axes", self.axes).bbox
        for size in self.full * np.linspace(1, 0.2, 17):
            self.prop.set_size(size)  # of the padding
            for text in self.findobj(Text):
                text.set_fontsize(size)
            box = self.get_bbox(renderer)
            if box.width <= panel.width and box.height <= self.share * panel.height:
                break
        super().draw(renderer)
