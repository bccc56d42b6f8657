"""The trade-off between reconstruction and true areas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib import rcParams
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, NullFormatter

from .._checks import instead
from ..fields import ALPHA_PATH, Keys, read_table
from ._scatter import finish, new_axes

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES = {"reconstruction": ("all cells", "C0", "o"), "validation_reconstruction": ("held-out cells", "C1", "s")}
"""Label, color and marker of each column."""


@instead()
def alpha_path(
    adata: AnnData,
    *,
    key: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool | None = None,
) -> Figure | Axes | list[Axes] | None:
    """Draw what true areas cost: reconstruction against the variance of ln det, with one point for each alpha.

    Both axes are logarithmic; lower left is better. One curve is of all cells, the other of the cells that were held
    out of training. A ring marks the default alpha if it is in the table.

    Parameters
    ----------
    adata
        Annotated data matrix after :func:`scgeoae.tl.alpha_path`.
    key
        Name of the table in `uns`; by default `'geoae_alpha_path'`.
    ax, show, return_fig
        Draw here. Show the plot instead of returning it. Return the figure.

    Returns
    -------
    The Axes, the figure if `return_fig`, or `None` if shown.

    Raises
    ------
    KeyError
        If there is no such table.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.alpha_path(adata, [0, 0.01, 0.1, 1], n_steps=50)
    >>> ax = scgeoae.pl.alpha_path(adata, show=False)
    """
    columns = {"alpha", "log_det_variance", "default", *CURVES}
    table = read_table(adata, Keys.alpha_path, ALPHA_PATH if key is None else key, columns)
    ax = ax or new_axes(5, 3.8)[0]
    for column, (label, color, marker) in CURVES.items():
        if table[column].notna().any():
            (line,) = ax.plot(table["log_det_variance"], table[column], color=color, linewidth=1.2, label=label)
            line.set(marker=marker, markersize=5)
    for _, row in table[table["default"]].iterrows():
        x, y = [row["log_det_variance"]] * len(CURVES), row[list(CURVES)]
        label = rf"default, $\alpha$ = {row['alpha']:g}"
        ax.plot(x, y, "o", color=rcParams["text.color"], markersize=11, markerfacecolor="none", label=label)
    upper, first = table[list(CURVES)].max(axis=1), table["log_det_variance"].idxmin()
    for row, alpha, x in table[["alpha", "log_det_variance"]].itertuples():
        ax.annotate(
            rf"$\alpha$ = {alpha:g}" if row == first else f"{alpha:g}",
            (x, upper[row]),
            xytext=(2, 9),  # clear of the ring
            textcoords="offset points",
            rotation=45,  # so that near ones do not touch
            rotation_mode="anchor",
            fontsize="small",
            path_effects=[withStroke(linewidth=2, foreground=ax.get_facecolor())],  # readable across a line
        )
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="variance of ln det (0: areas are true)",
        ylabel="reconstruction\n(share of variance left)",
    )
    ax.yaxis.set(
        major_locator=LogLocator(subs=(1, 1.5, 2, 2.5, 3, 4, 5, 7)),
        major_formatter="{x:g}",
        minor_formatter=NullFormatter(),
    )
    ax.margins(0.12, 0.16)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize="small")
    return finish([ax], show=show, return_fig=return_fig)
