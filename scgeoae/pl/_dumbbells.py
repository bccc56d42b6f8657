"""Pairs of values: a line for each row, from a filled point to a ring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from matplotlib import rcParams
from matplotlib.ticker import NullFormatter

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection

PLAIN = "0.5"
"""Color of the legend, and of groups without a color."""


def draw_dumbbells(
    ax: Axes, filled: pd.Series, rings: pd.Series, names: Sequence[str], *, colors: Sequence[str], label: str
) -> None:
    """Draw a line for each row from a filled point to a ring, on a logarithmic axis.

    Parameters
    ----------
    ax
        Draw here.
    filled, rings
        Values (n,) of the filled points and of the rings, from the bottom to the top; the index names the rows.
    names
        What the legend calls the two.
    colors
        Colors of the rows.
    label
        Label of the axis.
    """
    rows, background = np.arange(len(filled)), ax.get_facecolor()
    ax.hlines(rows, filled, rings, colors=colors, linewidth=2, zorder=2)
    ax.scatter(filled, rows, s=55, c=colors, edgecolors=colors, label=names[0], zorder=3)
    ring: dict[str, Any] = {"color": background, "linewidths": 1.8, "label": names[1], "zorder": 4}
    ax.scatter(rings, rows, s=55, edgecolors=colors, **ring)
    ax.set(xscale="log", ylim=(-0.7, len(rows) - 0.3), xlabel=label)
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.grid(visible=False)
    ax.grid(axis="y", color=rcParams["text.color"], alpha=0.1, linestyle="-", zorder=0)
    ax.set_yticks(rows, filled.index)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    legend = ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False, fontsize="small")
    for handle, color in zip(cast("list[PathCollection]", legend.legend_handles), (PLAIN, background), strict=True):
        handle.set(facecolor=color, edgecolor=PLAIN)


def write_ratios(ax: Axes, ratios: pd.Series, large: str, small: str, uncertain: Sequence[bool] | None = None) -> None:
    """Write at the right of each row how many times too ``large`` or ``small`` its value is; and if it is uncertain."""
    doubts = [False] * len(ratios) if uncertain is None else uncertain
    for row, (ratio, doubt) in enumerate(zip(ratios, doubts, strict=True)):
        factor, direction = (ratio, large) if ratio >= 1 else (1 / ratio, small)
        text = "true" if factor < 1.05 else f"{factor:.{0 if factor >= 10 else 1}f} times too {direction}"
        text = f"{text}, uncertain" if doubt else text
        ax.text(1.02, row, text, transform=ax.get_yaxis_transform(), va="center", fontsize="small")
