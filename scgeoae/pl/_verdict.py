"""Which cells of a map to doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib import rcParams
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from .._lookup import column, embedding_key, groups_of
from ..fields import DEFAULT_KEY, Keys
from ..result import check_verdict
from ._scatter import finish, scatter, settle, view_of_basis

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT, LEGEND, DISTRIBUTION, ROW = 4.0, 1.6, 3.0, 0.2
"""Inches for a font of 10 points: height of the figure, width of the legend and of the small panels, and height of the
bar of a group."""
BINS = 30


def verdict(
    adata: AnnData,
    basis: str = DEFAULT_KEY,
    *,
    groupby: str | None = None,
    dimensions: tuple[int, int] = (0, 1),
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Figure | Axes | list[Axes] | None:
    """Color the cells by whether their neighbors on the map can be believed, and draw why.

    The large panel is the map; the legend says how many cells have each verdict. The second shows how many cells keep
    which share of their neighbors, and, as a line, how many of a map of data without structure would. With `groupby`
    the third shows the verdicts of each group, those to doubt at the top.

    Parameters
    ----------
    adata
        Annotated data matrix after :func:`scgeoae.tl.verdict`.
    basis
        The map: a key of `obsm`, with or without ``X_``.
    groupby
        Column of `obs` with groups.
    dimensions
        The two dimensions to draw.
    ax, show, return_fig
        Draw the map here, and nothing else. Show the plot instead of returning it. Return the figure.
    **kwargs
        Passed on to :func:`scanpy.pl.embedding`.

    Returns
    -------
    A list of the Axes, the map first; the Axes for a given `ax`; the figure if `return_fig`; or `None` if shown.

    Raises
    ------
    KeyError
        If there is no such map or column, or the map has no verdict.
    ValueError
        If the map was changed after its verdict, it has one dimension, the dimensions are not those of the map, the
        column holds measurements, or `groupby` is passed together with `ax`.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.verdict(adata, "umap")
    >>> panels = scgeoae.pl.verdict(adata, "umap", groupby="bulk_labels", show=False)
    >>> len(panels)
    3
    """
    keys = Keys(DEFAULT_KEY, embedding_key(adata, basis))
    view = view_of_basis(adata, keys.obsm, dimensions, "the plot of a verdict")
    advice = f"Run `scgeoae.tl.verdict(adata, {basis!r})` first."
    kept, verdicts = (column(adata, name, advice) for name in (keys.kept, keys.verdict))
    entry = adata.uns.get(keys.null, {})
    if not {"null_quantiles"} <= set(entry) or keys.verdict_colors not in adata.uns:
        msg = f"Did not find in .uns the null of {keys.verdict!r}. {advice}"
        raise KeyError(msg)
    check_verdict(adata, keys)
    if ax is not None and groupby is not None:
        msg = "With ax only the map is drawn; groupby is for a panel beside it."
        raise ValueError(msg)
    groups = None if groupby is None else groups_of(adata, groupby)
    palette = dict(zip(verdicts.cat.categories, adata.uns[keys.verdict_colors], strict=True))
    options: dict[str, Any] = {"title": "verdict", "color": keys.verdict, "legend_loc": "none"} | kwargs
    if ax is not None:
        axes = _draw_map(scatter(view, ax=ax, **options), verdicts, palette)
        settle(axes, view)
        return finish(axes, show=show, return_fig=return_fig)

    n_panels = 1 if groups is None else 2
    widths = [HEIGHT + LEGEND, *[DISTRIBUTION] * n_panels]
    height = HEIGHT if groups is None else max(HEIGHT, ROW * len(groups[0]) + 1)
    inches = np.array([sum(widths), height]) * rcParams["font.size"] / 10
    figure = plt.figure(figsize=tuple(inches), layout="constrained")
    large, *small = cast("np.ndarray", figure.subplots(1, 1 + n_panels, width_ratios=widths))
    axes = _draw_map(scatter(view, ax=large, **options), verdicts, palette)
    settle(axes, view)
    _draw_shares(small[0], kept.to_numpy(), verdicts, palette, np.asarray(entry["null_quantiles"]))
    if groups is not None:
        _draw_groups(small[1], pd.crosstab(*_by_group(*groups, verdicts)), palette)
    return finish([*axes, *small], show=show, return_fig=return_fig)


def _draw_map(axes: list[Axes], verdicts: pd.Series, palette: Mapping[str, str]) -> list[Axes]:
    """Add a legend with the share of each verdict."""
    shares = verdicts.value_counts(normalize=True)
    handles = [
        Line2D([], [], linestyle="", marker="o", color=color, label=f"{name}, {shares[name]:.0%}")
        for name, color in palette.items()
    ]
    axes[0].legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return axes


def _draw_shares(
    ax: Axes, kept: np.ndarray, verdicts: pd.Series, palette: Mapping[str, str], null_quantiles: np.ndarray
) -> None:
    """Draw the distribution of the share of kept neighbors by verdict, and that of the null as a line."""
    edges = np.linspace(0, max(kept.max(), null_quantiles.max()) * (1 + 1e-9) or 1, BINS + 1)
    parts = [kept[(verdicts == name).to_numpy()] for name in palette]
    ax.hist(parts, edges.tolist(), stacked=True, color=list(palette.values()))
    below = np.interp(edges, null_quantiles, np.linspace(0, 1, len(null_quantiles)), left=0, right=1)
    ax.stairs(len(kept) * np.diff(below), edges, color=rcParams["text.color"], label="without structure")
    ax.set(xlabel="share of neighbors that are kept", ylabel="cells")
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.legend(frameon=False, fontsize="small")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(visible=False)


def _by_group(names: pd.Index, codes: np.ndarray, verdicts: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Return group and verdict of the cells that have a group."""
    known = codes >= 0
    return pd.Series(names[codes[known]]), pd.Series(verdicts.to_numpy()[known])


def _draw_groups(ax: Axes, counts: pd.DataFrame, palette: Mapping[str, str]) -> None:
    """Draw the shares of the verdicts in each group, from their counts (groups, verdicts)."""
    shares = counts.reindex(columns=list(palette), fill_value=0)
    shares = shares.div(shares.sum(axis=1), axis=0)
    first, *_, last = palette
    shares = shares.sort_values([last, first], ascending=[True, False])
    left = np.zeros(len(shares))
    for name, color in palette.items():
        ax.barh(shares.index, shares[name], left=left, color=color, height=0.8)
        left += shares[name].to_numpy()
    ax.set(xlim=(0, 1), xlabel="share of the cells")
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.tick_params(axis="y", length=0)
    ax.spines[:].set_visible(False)
    ax.grid(visible=False)
