"""The table of measures as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

from ..metrics.quality import MEASURES
from ._scatter import finish, new_axes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GROUPS = {
    "density": ["kl_density_0.1", "kl_density_100"],
    "neighbours": [
        "knn_recall", "trustworthiness", "continuity", "lcmc", "mrre_data", "mrre_map", "rnx_local", "rnx_global",
    ],
    "distances": ["spearman", "stress", "rmse"],
    "labels": ["knn_accuracy", "ari", "nmi"],
    "decoder": ["log_det_variance", "det_p95_p5", "anisotropy"],
    "all": ["mean_rank"],
}  # fmt: skip
"""Measures by what they look at."""

LABELS = {
    "kl_density_0.1": "KL density, sigma 0.1",
    "kl_density_100": "KL density, sigma 100",
    "knn_recall": "kNN recall",
    "lcmc": "LCMC",
    "mrre_data": "MRRE, data side",
    "mrre_map": "MRRE, map side",
    "rnx_local": "RNX, local",
    "rnx_global": "RNX, global",
    "spearman": "Spearman",
    "rmse": "RMSE (depends on scale)",
    "knn_accuracy": "kNN accuracy",
    "ari": "ARI",
    "nmi": "NMI",
    "log_det_variance": "variance of ln det",
    "det_p95_p5": "det, p95 / p5",
    "anisotropy": "anisotropy, median",
    "mean_rank": "mean rank",
}
ARROWS = {"higher": "↑", "lower": "↓"}


def quality(
    table: pd.DataFrame,
    *,
    cmap: str = "Blues",
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool | None = None,
) -> Figure | Axes | list[Axes] | None:
    """Draw the table of :func:`scgeoae.metrics.embedding_quality`: maps side by side, one line a measure.

    Every value is printed; the arrow says which direction is better, bold print and a frame mark the best (and what
    prints like it), and the colour the place between the worst (white) and the best of its line. A line's colours say
    nothing about how large the differences are: read the numbers.

    Parameters
    ----------
    table
        As :func:`scgeoae.metrics.embedding_quality` returns it; columns may be left out, rows in any order.
    cmap
        A sequential colour map that begins with a light colour.
    ax
        Draw here.
    show
        Show the plot instead of returning it.
    return_fig
        Return the figure.

    Returns
    -------
    The Axes, the figure if `return_fig`, or `None` if shown.

    Raises
    ------
    ValueError
        If the table has no row or none of the measures.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> table = scgeoae.metrics.embedding_quality(adata, ["pca", "umap"])
    >>> ax = scgeoae.pl.quality(table, show=False)
    """
    groups = {group: [name for name in names if name in table] for group, names in GROUPS.items()}
    lines = _lines(groups)
    if not lines or not len(table):
        msg = f"The table must have a row and one of the columns {list(MEASURES)}."
        raise ValueError(msg)
    if ax is None:
        (ax,) = new_axes(2.6 + 1.15 * len(table), 0.9 + 0.29 * max(lines.values()))
    for name, line in lines.items():
        _draw_line(ax, table, name, line, cmap)
    ax.set(xlim=(0, len(table)), ylim=(max(lines.values()) + 1, -0.1), xticks=np.arange(len(table)) + 0.5)
    ax.set_xticklabels([str(name).removeprefix("X_") for name in table.index], rotation=30 if len(table) > 4 else 0)
    ax.set_yticks([line + 0.5 for line in lines.values()], [_label(name) for name in lines])
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    return finish([ax], show=show, return_fig=return_fig)


def _lines(groups: dict[str, list[str]]) -> dict[str, float]:
    """Where each measure's line begins: groups are a third of a line apart."""
    lines: dict[str, float] = {}
    top = 0.0
    for names in groups.values():
        lines |= {name: top + i for i, name in enumerate(names)}
        top += len(names) + (1 / 3 if names else 0)
    return lines


def _label(name: str) -> str:
    return f"{LABELS.get(name, name)} {ARROWS[MEASURES[name].better]}"


def _draw_line(ax: Axes, table: pd.DataFrame, name: str, line: float, cmap: str) -> None:
    values = table[name].to_numpy(dtype=float)
    share = _share_of_best(values, MEASURES[name].better)
    errors = table.get(f"{name}_se")
    best_number = _number(values[np.nanargmax(share)]) if np.nansum(share) else None
    for column, value in enumerate(values):
        best = _number(value) == best_number  # values that print alike are alike
        color = plt.get_cmap(cmap)(0.55 * share[column]) if np.isfinite(value) else "0.97"
        ax.add_patch(Rectangle((column, line), 1, 1, facecolor=color, edgecolor="white", linewidth=1.5))
        if best:
            inner = Rectangle((column + 0.03, line + 0.05), 0.94, 0.9, fill=False, edgecolor="black", linewidth=1.2)
            ax.add_patch(inner)
        text = _number(value)
        if errors is not None and np.isfinite(value):
            text += f" ± {_number(float(errors.iloc[column]), 1)}"
        weight = "bold" if best else "normal"
        place: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": "small"}
        ax.text(column + 0.5, line + 0.5, text, color="black", weight=weight, **place)  # the tiles are light


def _share_of_best(values: np.ndarray, better: str) -> np.ndarray:
    """0 for the worst, 1 for the best, in between in proportion; 0 where there is nothing to be compared with."""
    known = values[np.isfinite(values)]
    if len(known) < 2 or np.ptp(known) == 0:
        return np.zeros(len(values))
    share = (values - known.min()) / np.ptp(known)
    return share if better == "higher" else 1 - share


def _number(value: float, digits: int = 3) -> str:
    if not np.isfinite(value):
        return "-"
    return f"{value:#.3g}" if digits == 3 else f"{value:.{digits}g}"
