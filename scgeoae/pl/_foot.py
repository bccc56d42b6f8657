"""The foot of a panel of indicatrices: how to read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rcParams
from matplotlib.patches import Circle
from matplotlib.text import Text
from matplotlib.textpath import TextPath

from ._scatter import box

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase

ROW = 0.07
"""Height of a line, as a share of the longer side of the map."""

FILLED = 0.85
"""Share of the room that a line may fill, in both directions: letters of few pixels are drawn larger than they are."""

SMALLEST = 0.2
"""Share of the usual size below which text does not shrink."""


class FootText(Text):
    """A line of text. All lines shrink alike until each fits between its place and the frame, and into a row.

    The room that they have is known only when they are drawn: layouts move and shrink the panel until then.
    """

    def __init__(self, x: float, y: float, text: str, *, row: float, lines: list[FootText]) -> None:
        super().__init__(x, y, text, va="center", fontsize="small")
        self.row, self.lines = row, lines
        self.full = self.get_fontproperties().get_size_in_points()
        self.width = TextPath((0, 0), text, size=self.full, prop=self.get_fontproperties()).get_extents().width
        self.set_in_layout(False)
        lines.append(self)

    def draw(self, renderer: RendererBase, *args: Any, **kwargs: Any) -> None:
        """Draw the text as large as all lines can be."""
        size = self.full * min(line.largest(renderer) for line in self.lines)
        if size != self.get_fontsize():
            self.set_fontsize(size)
        super().draw(renderer, *args, **kwargs)

    def largest(self, renderer: RendererBase) -> float:
        """The largest size at which this line fits, as a share of its full size, at most 1."""
        if self.axes is None:
            return 1
        x, y = self.get_position()
        left, low = self.axes.transData.transform((x, y))
        high = self.axes.transData.transform((x, y + self.row))[1]
        points = renderer.points_to_pixels(1)
        width, height = (self.axes.bbox.x1 - left) / points, (high - low) / points
        return float(np.clip(FILLED * min(width / self.width, height / self.full), SMALLEST, 1))


def draw_foot(ax: Axes, z: np.ndarray, *, radius: float, unit: float, dashed: bool) -> None:
    """Draw the undistorted circle, a scale bar and what dashes mean, in a strip below the cells that is made for them.

    Parameters
    ----------
    ax
        The panel.
    z
        What is drawn above, (n, 2).
    radius
        Of the circles in the data.
    unit
        Length in the data of a unit of the map.
    dashed
        Whether there are dashed ellipses.
    """
    (left, bottom), (right, top) = box(z)
    width, height = right - left, top - bottom
    row = ROW * max(width, height)
    circle, length = radius / unit, round_length(0.2 * width * unit)
    circle_line = bottom - 0.06 * height - max(circle, row / 2)
    bar_line = circle_line - max(circle, row / 2) - row / 2
    last_line = bar_line - row * dashed
    ax.set(xlim=(left - 0.05 * width, right + 0.05 * width), ylim=(last_line - row, top + 0.05 * height))
    ax.add_patch(
        Circle((left + circle, circle_line), circle, facecolor="none", edgecolor=rcParams["text.color"], linewidth=0.8)
    )
    ax.plot(
        [left, left + length / unit],
        [bar_line, bar_line],
        color=rcParams["text.color"],
        linewidth=2,
        solid_capstyle="butt",
    )
    text = left + max(2 * circle, length / unit) + 0.03 * width
    texts = [(text, circle_line, "undistorted circle"), (text, bar_line, f"distance {length:g} in the data")]
    texts += [(left, last_line, "dashed: strongly curved")] if dashed else []
    lines: list[FootText] = []
    for place in texts:
        ax.add_artist(FootText(*place, row=row, lines=lines))


def round_length(length: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not above ``length``."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(step for step in (1, 2, 5) if step * power <= length * (1 + 1e-9)) * power)
