"""The key of a map: symbols and their meaning, where no cells are."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, VPacker
from matplotlib.text import Text
from matplotlib.transforms import Bbox

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase

CORNERS = ("lower left", "lower right", "upper left", "upper right")
"""Where the key may be, in the order of preference."""

SIZES = (1.0, 0.9, 0.8)
"""Sizes of the text, as shares of the full one, that are tried in the corners."""

SMALLEST, HIGHEST = 0.2, 0.4
"""Smallest text below a panel, as a share of the full one; largest height in a corner, as a share of the panel's."""


class Key(AnchoredOffsetbox):
    """Symbols and their meaning, one below the other: in a corner of a panel without points, or else below the panel.

    Where the figure ends there, and no layout makes room, the key is in the emptiest corner, on a background. The text
    shrinks until the key is no wider than the panel. The size of the panel is known only when it is drawn, so the key
    is placed then.
    """

    def __init__(self, lines: list[list[Artist]], points: np.ndarray) -> None:
        rows: list[Artist] = [HPacker(children=line, align="center", pad=0, sep=4) for line in lines]
        child = VPacker(children=rows, align="left", pad=0, sep=1)
        super().__init__("lower left", child=child, pad=0.5, borderpad=0, frameon=False)
        self.patch.set(edgecolor="none", alpha=0.8)
        self.points, self.full = points, FontProperties(size="small").get_size_in_points()

    def get_bbox(self, renderer: RendererBase) -> Bbox:
        """Choose the place and the size of the text; return the extent from there, in pixels."""
        ax = cast("Axes", self.axes)
        in_pixels = ax.transData.transform(self.points)
        inside = in_pixels[((in_pixels >= ax.bbox.min) & (in_pixels <= ax.bbox.max)).all(1)]
        self.patch.set(visible=False, facecolor=ax.get_facecolor())
        for size in SIZES:
            box = self._sized(size, renderer)
            if box.width <= ax.bbox.width and box.height <= HIGHEST * ax.bbox.height:
                corner, n_covered = _emptiest(inside, ax.bbox, box)
                if not n_covered:
                    return self._placed(box, corner, ax.bbox)
        for size in np.arange(1, SMALLEST, -0.05):
            box = self._sized(size, renderer)
            if box.width <= ax.bbox.width:
                break
        labels = ax.xaxis.get_tightbbox(renderer)
        low = ax.bbox.y0 if labels is None else labels.y0
        figure = ax.figure.figure  # of a subfigure, the whole figure
        if figure.get_layout_engine() is not None or low - box.height >= figure.bbox.y0:
            return self._placed(box, "upper left", Bbox([[ax.bbox.x0, low - 1], [ax.bbox.x1, low]]))
        self.patch.set_visible(True)
        return self._placed(box, _emptiest(inside, ax.bbox, box)[0], ax.bbox)

    def _sized(self, size: float, renderer: RendererBase) -> Bbox:
        points = size * self.full
        self.prop.set_size(points)  # of the padding
        for text in self.findobj(Text):
            text.set_fontsize(points)
        return super().get_bbox(renderer)

    def _placed(self, box: Bbox, corner: str, around: Bbox) -> Bbox:
        self.loc = self.codes[corner]
        self.set_bbox_to_anchor(Bbox(around.get_points()))
        return box


def _emptiest(points: np.ndarray, panel: Bbox, box: Bbox) -> tuple[str, int]:
    """Find the corner where the box would cover the fewest of the points (n, 2), in pixels, and how many."""
    x, y = points.T
    covered = {}
    for corner in CORNERS:
        beside = x < panel.x0 + box.width if "left" in corner else x > panel.x1 - box.width
        below = y < panel.y0 + box.height if "lower" in corner else y > panel.y1 - box.height
        covered[corner] = int((beside & below).sum())
    corner = min(covered, key=covered.__getitem__)
    return corner, covered[corner]
