"""Genes that point: in which direction of the map they rise, and how much."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData
from matplotlib import rcParams
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AuxTransformBox, TextArea
from matplotlib.patheffects import withStroke

from .._checks import whole_number
from .._lookup import groups_of
from ..fields import DEFAULT_KEY
from ..get import decode, gene_gradient
from ..result import Result, region_of
from ._scatter import LABEL, colored, finish, round_below, scatter, settle, view_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

N_GRID = 16
"""Arrows of a field along the longer side of the map."""

LONGEST = 0.14
"""Length of the longest arrow of a group, as a share of the longer side of the map."""

APART = np.cos(np.pi / 6)
"""Arrows of a group are at least 30 degrees apart, in either direction: of genes that rise and fall together, the one
that changes most is shown."""

SHORTEST = 0.1
"""Arrows of a field that are shorter than this share of the longest ones are not drawn."""

HALO = [withStroke(linewidth=2.5, foreground="white")]


def gene_arrows(
    adata: AnnData,
    genes: str | Sequence[str] | None = None,
    *,
    groupby: str | None = None,
    key: str = DEFAULT_KEY,
    n_genes: int = 3,
    outliers: bool = False,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Figure | Axes | list[Axes] | None:
    """Draw in which direction genes rise: those that change most at each group, or given genes over the whole map.

    An arrow points to where the gene rises most per distance in the data, and is as long as it rises
    (:func:`scgeoae.get.gene_gradient`); the key shows an arrow of a known rise. With `groupby`, arrows start at the
    medoid of each group and bear the names of genes. Of genes whose arrows are less than 30 degrees apart, or opposite,
    only the one that changes most is drawn. With `genes`, a panel for each gene shows its decoded expression as the
    color of the cells, and arrows on a grid.

    Parameters
    ----------
    adata
        Annotated data matrix with a result whose model knows genes, on a map of two dimensions.
    genes
        Genes, each for a panel of its own.
    groupby
        Column of `obs` with groups, instead of genes.
    key
        Name of the result.
    n_genes
        Arrows for each group, at most.
    outliers
        Frame all cells. By default the frame leaves out cells far from the central 99 %, and triangles on its rim stand
        for them.
    ax, show, return_fig
        Draw here; one panel only. Show the plot instead of returning it. Return the figure.
    **kwargs
        Passed on to :func:`scanpy.pl.embedding`.

    Returns
    -------
    The Axes, a list of them for several genes, the figure if `return_fig`, or `None` if shown.

    Raises
    ------
    KeyError
        If there is no result under this key, no such column, or no such gene.
    ValueError
        If both or neither of `genes` and `groupby` are given, there is no cell, the model does not know genes, or the
        map is not of two dimensions.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=100)
    >>> scgeoae.tl.gene_readout(adata, use_raw=True)
    >>> ax = scgeoae.pl.gene_arrows(adata, groupby="bulk_labels", show=False)
    """
    if (genes is None) == (groupby is None):
        msg = "Pass either genes, for a field of arrows, or groupby, for the genes that change most at each group."
        raise ValueError(msg)
    result = Result(adata, key)
    view = view_of(result, (0, 1), outliers=outliers, needs_two="gene arrows")
    region = region_of(result.model)
    side = view.frame[1] - view.frame[0]
    scales: dict[Axes, tuple[float, float]] = {}
    if groupby is not None:
        n_genes = whole_number(n_genes, "n_genes", 1)
        names, codes = groups_of(adata, groupby, at_least=1)
        points = np.array([result.medoid(codes == number) for number in range(len(names))])
        found = gene_gradient(adata, points, key=key)
        axes = scatter(view, color=groupby, ax=ax, **kwargs)
        scales[axes[0]] = _draw_at_groups(axes[0], found, result.model.space("genes").readable, n_genes, side)
    else:
        wanted = [genes] if isinstance(genes, str) else list(genes or ())
        spacing = side / N_GRID
        lines = [np.arange(start, stop, spacing) for start, stop in np.reshape(region.extent, (2, 2))]
        nodes = np.stack(np.meshgrid(*lines), axis=-1).reshape(-1, 2)
        found = gene_gradient(adata, nodes[region.contains(nodes)], key=key, genes=wanted)
        decoded = decode(adata, view.z, key=key, space="genes")[:, wanted]
        shown = AnnData(decoded.X, obs=adata.obs[[]], var=decoded.var, uns={key: adata.uns[key]})
        shown.obsm[result.keys.obsm] = adata.obsm[result.keys.obsm]
        arguments = {"use_raw": False, "sort_order": False} | kwargs
        axes = scatter(replace(view, adata=shown), color=wanted, ax=ax, **arguments)
        for panel, gene in zip(axes, wanted, strict=True):
            colored(panel, "decoded expression")
            scales[panel] = _draw_field(panel, found[:, gene], spacing)
    settle(axes, view, lambda panel: _key(panel, *scales[panel]))
    return finish(axes, show=show, return_fig=return_fig)


def _vectors(found: AnnData) -> np.ndarray:
    """Return the arrows (m, g, 2) of gradients: as long as genes rise per unit of the data."""
    return found.X[:, :, None] * np.stack([found.layers["direction1"], found.layers["direction2"]], axis=2)


def _draw_at_groups(ax: Axes, found: AnnData, readable: np.ndarray, n_genes: int, side: float) -> tuple[float, float]:
    """Draw and name the largest arrows at each point, of genes that can be read; return the largest and the scale."""
    found = found[:, readable]
    vectors = _vectors(found)
    starts, ends, names = [], [], []
    for place, at in enumerate(found.obs[["map1", "map2"]].to_numpy()):
        for gene in _apart(vectors[place], n_genes):
            starts.append(at)
            ends.append(vectors[place, gene])
            names.append(found.var_names[gene])
    if not names:
        return 0.0, 1.0
    start, vector = np.array(starts), np.array(ends)
    longest = np.linalg.norm(vector, axis=1).max()
    scale = longest / (LONGEST * side)  # rise per unit of the map
    _draw_arrows(ax, start, vector, scale, color=rcParams["text.color"], edgecolor="white")
    for name, (x, y), (right, up) in zip(names, start + vector / scale, vector, strict=True):
        beyond: dict[str, Any] = {"ha": "left" if right > 0 else "right", "va": "bottom" if up > 0 else "top"}
        ax.text(x, y, name, fontsize="small", fontstyle="italic", path_effects=HALO, gid=LABEL, **beyond)
    return float(longest), float(scale)


def _apart(vectors: np.ndarray, n_genes: int) -> list[int]:
    """Choose the longest of the vectors (g, 2) whose directions differ."""
    length = np.linalg.norm(vectors, axis=1)
    unit = vectors / np.maximum(length, np.finfo(np.float32).tiny)[:, None]
    chosen: list[int] = []
    for gene in np.argsort(-length, kind="stable"):
        if len(chosen) == n_genes or not length[gene] > 0:
            break
        if (np.abs(unit[chosen] @ unit[gene]) < APART).all():
            chosen.append(int(gene))
    return chosen


def _draw_field(ax: Axes, found: AnnData, spacing: float) -> tuple[float, float]:
    """Draw the arrows of one gene, the longest as long as the grid is wide; return the largest rise and the scale."""
    vectors = _vectors(found)[:, 0]
    length = np.linalg.norm(vectors, axis=1)
    longest = float(np.quantile(length, 0.95)) if len(length) else 0.0
    if longest > 0:
        long = length > SHORTEST * longest
        places = found.obs[["map1", "map2"]].to_numpy()[long]
        _draw_arrows(ax, places, vectors[long], longest / spacing, color="white", edgecolor="black", pivot="mid")
    return longest, longest / spacing


def _draw_arrows(ax: Axes, start: np.ndarray, vector: np.ndarray, scale: float, **style: Any) -> None:
    """Draw arrows from ``start`` (m, 2) of length ``vector / scale`` (m, 2)."""
    ax.quiver(
        *start.T, *vector.T, angles="xy", scale_units="xy", scale=scale, width=0.005, linewidth=0.5, zorder=3, **style
    )


def _key(ax: Axes, largest: float, scale: float) -> list[list[Artist]]:
    """Make the line of the key that shows an arrow of a round rise; none without arrows."""
    if not largest > 0:
        return []
    rise = round_below(largest)
    arrow = AuxTransformBox(ax.transData)
    arrow.add_artist(Line2D([0, rise / scale], [0, 0], color=rcParams["text.color"], marker=">", markevery=[1]))
    return [[arrow, TextArea(f"rises by {rise:.1g} per unit of the data")]]
