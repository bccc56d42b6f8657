"""The course of the training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter

from .._checks import instead
from ..fields import DEFAULT_KEY
from ..result import TERMS, Result
from ._scatter import finish, new_axes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@instead()
def history(
    adata: AnnData,
    *,
    key: str = DEFAULT_KEY,
    ax: Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool | None = None,
) -> Figure | Axes | list[Axes] | None:
    """Draw both terms of the loss over the steps, of training and held-out cells.

    Parameters
    ----------
    adata
        Annotated data matrix with a result of :func:`scgeoae.tl.geometric_ae`.
    key
        Name of the result.
    ax
        Two Axes to draw in, for the reconstruction and the regularizer.
    show, return_fig
        Show the plot instead of returning it. Return the figure.

    Returns
    -------
    Two Axes, the figure if `return_fig`, or `None` if shown.

    Raises
    ------
    KeyError
        If there is no result under this key, or no history with it, as with mapped cells.
    ValueError
        If `ax` are not two Axes.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=50)
    >>> axes = scgeoae.pl.history(adata, show=False)
    """
    curves = Result(adata, key).history
    axes = new_axes(8, 3, 2) if ax is None else ax
    if len(axes) != 2:
        msg = f"history draws two panels: ax must be two Axes, not {len(axes)}."
        raise ValueError(msg)
    for panel, term in zip(axes, TERMS, strict=True):
        training, held_out = curves[term], curves[f"validation_{term}"]
        panel.plot(curves["step"], training, color="C0", label="training")
        if np.isfinite(held_out).any():
            panel.plot(curves["step"], held_out, color="C1", label="held out")
        positive = (training > 0).any() or (held_out > 0).any()
        panel.set(xlabel="step", ylabel=term, yscale="log" if positive else "linear")
    axes[0].set_ylabel("reconstruction\n(share of variance left)")
    axes[0].legend(frameon=False)
    if axes[0].get_yscale() == "log":
        axes[0].yaxis.set(
            major_locator=LogLocator(subs=(1, 2, 3, 5)), major_formatter="{x:g}", minor_formatter=NullFormatter()
        )
    return finish(list(axes), show=show, return_fig=return_fig)
