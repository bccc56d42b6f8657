"""The table of measures as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

from .._checks import instead
from ..metrics.quality import GROUPS, MEASURES
from ._scatter import finish, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


ARROWS = {"higher": " ↑", "lower": " ↓", "one": " → 1", "none": ""}
"""Where the better values are."""

MISSING = "-"
"""What is printed where there is no value."""


@instead()
def quality(
    table: pd.DataFrame,
    *,
    cmap: str = "Blues",
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool | None = None,
) -> Figure | Axes | list[Axes] | None:
    """Draw the table of :func:`scgeoae.metrics.embedding_quality`: a column for each map, a row for each measure.

    This is the transpose of the table, which has a row for each map. The arrow says which direction is better, or that
    1 is; the RMSE has none, because it depends on the scale of the map. The best values of a row, which are several if
    they are equal as they are printed, are bold and framed. The color shows where a value lies between the worst
    (white) and the best of its row; how large the differences are is in the numbers only.

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
    rows: dict[str, float] = {}  # where that of each measure begins; groups are a third of a row apart
    labels: list[str] = []
    end = -1 / 3
    for group in GROUPS:
        shown = [name for name in group if name in table]
        rows |= {name: end + 1 / 3 + i for i, name in enumerate(shown)}
        labels += [f"{group[name].label}{ARROWS[group[name].better]}" for name in shown]
        end += len(shown) + 1 / 3 if shown else 0
    if not rows or not len(table):
        msg = f"The table must have a row and one of the columns {list(MEASURES)}."
        raise ValueError(msg)
    ax = ax or new_axes(2.6 + 1.15 * len(table), 0.6 + 0.29 * end)[0]
    for name, row in rows.items():
        _draw_row(ax, table, name, row, cmap)
    ax.set(xlim=(0, len(table)), ylim=(end, -0.1), xticks=np.arange(len(table)) + 0.5)
    ax.set_xticklabels([str(name).removeprefix("X_") for name in table.index], rotation=30 if len(table) > 4 else 0)
    ax.set_yticks([row + 0.5 for row in rows.values()], labels)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    return finish([ax], show=show, return_fig=return_fig)


def _draw_row(ax: Axes, table: pd.DataFrame, name: str, row: float, cmap: str) -> None:
    """Draw the tiles and numbers of one measure, and mark the best."""
    values, better = table[name].to_numpy(dtype=float), MEASURES[name].better
    numbers = [_number(value) for value in values]
    # scores are those of the printed numbers, so that what looks alike is alike; the lowest is best
    printed = np.array([float(number) if number != MISSING else np.nan for number in numbers])
    with np.errstate(divide="ignore", invalid="ignore"):
        by_kind = {"higher": -printed, "lower": printed, "one": np.abs(np.log(printed)), "none": np.nan * printed}
        scores = by_kind[better]
    known = np.isfinite(scores)
    share, best = np.where(np.isfinite(printed), 0.0, np.nan), np.zeros(len(values), dtype=bool)  # 0 worst, 1 best
    if known.sum() > 1:
        lowest, highest = scores[known].min(), scores[known].max()
        best[known] = np.isclose(scores[known], lowest, rtol=1e-9, atol=0)
        share[known] = (highest - scores[known]) / ((highest - lowest) or 1)
    colors = plt.get_cmap(cmap).with_extremes(bad="0.97")
    edges = np.arange(len(values) + 1), [row, row + 1]
    ax.pcolormesh(*edges, share[None], cmap=colors, vmin=0, vmax=1 / 0.55, edgecolors="white", linewidth=1.5)
    errors = table.get(f"{name}_se", np.full(len(values), np.nan))
    for column, (number, error, is_best) in enumerate(zip(numbers, errors, best, strict=True)):
        text = number if number == MISSING or np.isnan(error) else f"{number} ± {error:.1g}"
        if is_best:
            frame = Rectangle((column + 0.03, row + 0.05), 0.94, 0.9, fill=False, edgecolor="black", linewidth=1.2)
            ax.add_patch(frame)
        written = ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize="small")
        written.set(color="black", weight="bold" if is_best else "normal")  # the tiles are light


def _number(value: float) -> str:
    return f"{value:#.3g}" if np.isfinite(value) else MISSING
