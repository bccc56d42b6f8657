"""True against apparent values: a line for each row, from a filled point to a ring."""

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


def draw_dumbbells(
    ax: Axes,
    true: pd.Series,
    apparent: pd.Series,
    ratios: pd.Series,
    *,
    colors: Sequence[str],
    measured: str,
    directions: tuple[str, str],
    plain: str,
) -> None:
    """Draw lines from true (filled) to apparent (ring) values on a logarithmic axis, with their ratios in words.

    Parameters
    ----------
    ax
        Draw here.
    true, apparent, ratios
        Values (n,) and the apparent over the true ones, from the bottom to the top.
    colors
        Of the rows.
    measured
        Where the true values are measured, for the legend.
    directions
        What a value is too much with a ratio above and below 1, such as "large" and "small".
    plain
        Color of the legend.
    """
    rows, background = np.arange(len(true)), ax.get_facecolor()
    ax.hlines(rows, true, apparent, colors=colors, linewidth=2, zorder=2)
    ax.scatter(true, rows, s=55, c=colors, edgecolors=colors, label=f"true ({measured})", zorder=3)
    ring: dict[str, Any] = {"color": background, "linewidths": 1.8, "label": "apparent (on the map)", "zorder": 4}
    ax.scatter(apparent, rows, s=55, edgecolors=colors, **ring)
    for row, ratio in enumerate(ratios):
        text = _in_words(ratio, directions)
        ax.text(1.02, row, text, transform=ax.get_yaxis_transform(), va="center", fontsize="small")
    ax.set(xscale="log", ylim=(-0.7, len(rows) - 0.3))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.grid(visible=False)
    ax.grid(axis="y", color=rcParams["text.color"], alpha=0.1, linestyle="-", zorder=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    legend = ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False, fontsize="small")
    for handle, color in zip(cast("list[PathCollection]", legend.legend_handles), (plain, background), strict=True):
        handle.set(facecolor=color, edgecolor=plain)


def _in_words(ratio: float, directions: tuple[str, str]) -> str:
    """Write a ratio, such as "2.3 times too large"."""
    factor, direction = (ratio, directions[0]) if ratio >= 1 else (1 / ratio, directions[1])
    if factor < 1.05:
        return "true"
    return f"{factor:.{0 if factor >= 10 else 1}f} times too {direction}"
