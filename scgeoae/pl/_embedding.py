"""The cells on the map, to scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..fields import DEFAULT_KEY
from ..result import Result
from ._scatter import finish, scatter, settle, view_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def embedding(
    adata: AnnData,
    *,
    key: str = DEFAULT_KEY,
    color: str | Sequence[str] | None = None,
    dimensions: tuple[int, int] = (0, 1),
    outliers: bool = False,
    lens: bool = False,
    graticule: bool = False,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Figure | Axes | list[Axes] | None:
    """Draw the cells on the map to scale, as :func:`scanpy.pl.embedding` draws them, with a scale bar.

    Both axes have one scale, and all plots of a map show the same square of it. The bar is a distance in the data:
    locally, on geometric average over the cells. Where lengths between groups are worth less or more, by at least a
    third, the key says what the bar is worth there. Maps that were made elsewhere have no bar.

    Parameters
    ----------
    adata
        Annotated data matrix with a result of :func:`scgeoae.tl.geometric_ae` or :func:`scgeoae.tl.fit_decoder`.
    key
        Name of the result.
    color
        Color of the cells, or several for several panels, as in :func:`scanpy.pl.embedding`.
    dimensions
        The two dimensions to draw.
    outliers
        Show all cells. By default cells far from the central 99 % are outside: triangles on the rim point to them, and
        the key says how many there are.
    lens
        Draw the map as :func:`scgeoae.tl.lens` bends it. The bent map has no scale bar; the key says up to how much
        larger than on the true map places are.
    graticule
        Draw the square mesh of the true map as it is bent, behind the cells: meshes are large where cells got more room
        than is true.
    ax, show, return_fig
        Draw here; one color only. Show the plot instead of returning it. Return the figure.
    **kwargs
        Passed on to :func:`scanpy.pl.embedding`.

    Returns
    -------
    The Axes, a list of them for several colors, the figure if `return_fig`, or `None` if shown.

    Raises
    ------
    KeyError
        If there is no result under this key, no such color, or no lens.
    ValueError
        If there is no cell, the map has one dimension, `dimensions` are not dimensions of the map, or `graticule` is
        asked for without `lens`.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=100)
    >>> ax = scgeoae.pl.embedding(adata, color="bulk_labels", show=False)
    """
    view = view_of(
        Result(adata, key),
        dimensions,
        outliers=outliers,
        needs_two="a scatter plot",
        lens=lens,
        graticule=graticule,
    )
    axes = scatter(view, color=color, ax=ax, **kwargs)
    settle(axes, view)
    return finish(axes, show=show, return_fig=return_fig)
