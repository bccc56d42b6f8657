"""The table of measures as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

from ..metrics.quality import GROUPS, MEASURES
from ._scatter import finish, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


ARROWS = {"higher": "↑", "lower": "↓", "one": "→ 1"}
"""Where the better values are."""


def quality(
    table: pd.DataFrame,
    *,
    cmap: str = "Blues",
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool | None = None,
) -> Figure | Axes | list[Axes] | None:
    """Draw the table of :func:`scgeoae.metrics.embedding_quality`: a column for each map, a line for each measure.

    The arrow says which direction is better, or that 1 is. The best value and its ties after rounding are bold and
    framed. The color shows where a value lies between the worst (white) and the best of its line; how large the
    differences are is in the numbers only.

    Parameters
    ----------
    table
        As :func:`scgeoae.metrics.embedding_quality` returns it; columns may be left out, rows in any order.
    cmap
        A sequential color map that begins with a light color.
    ax, show, return_fig
        Draw here. Show the plot instead of returning it. Return the figure.

    Returns
    -------
    The Axes, the figure if `return_fig`, or `None` if shown.

    Raises
    ------
    ValueError
        If the table has no row or none of the measures.
    TypeError
        If it is no table.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> table = scgeoae.metrics.embedding_quality(adata, ["pca", "umap"])
    >>> ax = scgeoae.pl.quality(table, show=False)
    """
    if not isinstance(table, pd.DataFrame):
        msg = f"Pass the table that `scgeoae.metrics.embedding_quality` returns, not {type(table).__name__}."
        raise TypeError(msg)
    rows: dict[str, float] = {}  # where the line of each measure begins; groups are a third of a line apart
    labels: list[str] = []
    end = -1 / 3
    for group in GROUPS:
        shown = [name for name in group if name in table]
        rows |= {name: end + 1 / 3 + i for i, name in enumerate(shown)}
        labels += [f"{group[name].label} {ARROWS[group[name].better]}" for name in shown]
        end += len(shown) + 1 / 3 if shown else 0
    if not rows or not len(table):
        msg = f"The table must have a row and one of the columns {list(MEASURES)}."
        raise ValueError(msg)
    ax = ax or new_axes(2.6 + 1.15 * len(table), 0.6 + 0.29 * end)[0]
    for name, row in rows.items():
        _draw_line(ax, table, name, row, cmap)
    ax.set(xlim=(0, len(table)), ylim=(end, -0.1), xticks=np.arange(len(table)) + 0.5)
    ax.set_xticklabels([str(name).removeprefix("X_") for name in table.index], rotation=30 if len(table) > 4 else 0)
    ax.set_yticks([row + 0.5 for row in rows.values()], labels)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    return finish([ax], show=show, return_fig=return_fig)


def _draw_line(ax: Axes, table: pd.DataFrame, name: str, row: float, cmap: str) -> None:
    """Draw the tiles and numbers of one measure, and mark the best."""
    values = table[name].to_numpy(dtype=float)
    values = np.where(np.isfinite(values), values, np.nan)
    share, best = 0 * values, None  # share: 0 for the worst, 1 for the best
    scores = np.abs(np.log(values)) if MEASURES[name].better == "one" else values
    known = scores[~np.isnan(scores)]
    if len(known) > 1 and np.ptp(known):
        worst = known.min() if MEASURES[name].better == "higher" else known.max()
        share = np.abs(scores - worst) / np.ptp(known)
        best = _number(values[np.nanargmax(share)])
    colors = plt.get_cmap(cmap).with_extremes(bad="0.97")
    edges = np.arange(len(values) + 1), [row, row + 1]
    ax.pcolormesh(*edges, share[None], cmap=colors, vmin=0, vmax=1 / 0.55, edgecolors="white", linewidth=1.5)
    errors = table.get(f"{name}_se", np.full(len(values), np.nan))
    for column, (value, error) in enumerate(zip(values, errors, strict=True)):
        number = _number(value)
        text = number if np.isnan(value) or np.isnan(error) else f"{number} ± {error:.1g}"
        is_best = number == best  # values that print alike are alike
        if is_best:
            frame = Rectangle((column + 0.03, row + 0.05), 0.94, 0.9, fill=False, edgecolor="black", linewidth=1.2)
            ax.add_patch(frame)
        written = ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize="small")
        written.set(color="black", weight="bold" if is_best else "normal")  # the tiles are light


def _number(value: float) -> str:
    return f"{value:#.3g}" if np.isfinite(value) else "-"
