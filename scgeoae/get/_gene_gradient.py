"""How the expression of genes changes on the surface of the decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from .._checks import check_points
from ..core import geometry
from ..core.rows import blocks
from ..fields import DEFAULT_KEY
from ..models import opened
from ._decode import described

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from ..reference import MapModel


def gene_gradient(
    adata: AnnData | MapModel, points: np.ndarray, *, key: str = DEFAULT_KEY, genes: str | Sequence[str] | None = None
) -> AnnData:
    """Measure how the expression of each gene changes at points of the map: how much, and in which direction it rises.

    The derivative of a decoded gene along a step on the map depends on how the map is distorted there. Divided by the
    length of the step in the data, it does not: the amount is the rise of the gene per unit of the data in the
    direction in which it rises most, whatever the map. It is exact: the differential of the decoder, through the
    readout of :func:`scgeoae.tl.gene_readout` or the loadings.

    Parameters
    ----------
    adata
        Annotated data matrix with a result, or a model (:func:`scgeoae.read_model`), which knows genes.
    points
        Map coordinates (m, d). Those that were read off a bent map (:func:`scgeoae.tl.lens`) go through
        ``scgeoae.get.model(adata).lens.inverse`` first.
    key
        Name of the result.
    genes
        Names of genes; all that are decoded if `None`.

    Returns
    -------
    AnnData (m, g), float32, with the names of the genes, and

    `.X`
        ``sqrt(grad^T G^-1 grad)``, where ``grad`` is the gradient of the gene along the map coordinates and ``G`` the
        metric: in units of the expression before scaling per unit of the data.
    `.layers['direction1']`, `.layers['direction2']`, …
        ``G^-1 grad`` scaled to length 1: the direction on the map, in map coordinates, in which the gene rises most per
        distance in the data. 0 where it does not change.
    `.obs['map1']`, `.obs['map2']`, …, `.obs['occupied']`, `.var['r2']`
        As of :func:`decode`.

    Raises
    ------
    KeyError
        If there is no result under this key, or no such gene.
    TypeError
        If `adata` is neither an AnnData nor a model.
    ValueError
        If the points have another dimension than the map or are not finite, or the model does not know genes.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=100)
    >>> scgeoae.tl.gene_readout(adata, use_raw=True)
    >>> rises = scgeoae.get.gene_gradient(adata, adata.obsm["X_geoae"][:5])
    >>> names = rises.var_names[rises.X[0].argsort()[::-1][:3]]  # what changes most at the first cell
    """
    result, model = opened(adata, key)
    surface, space = model.surface, model.space("genes", None if result is None else key)
    points = check_points(points, model.n_components)
    chosen = space.positions(genes)
    made = described(model, space, points)[:, chosen].copy()
    size = np.empty(made.shape, dtype=np.float32)
    direction = np.empty((model.n_components, *made.shape), dtype=np.float32)
    for where in blocks(len(points), model.n_components * max(len(space.names), model.n_features)):
        tangents = surface.differential(points[where])  # (d, b, D)
        x = surface.decode(points[where])
        rates = np.stack([space.differential(x, v)[:, chosen] for v in tangents])  # (d, b, g)
        found = geometry.gradient(torch.from_numpy(surface.metric(points[where])), torch.from_numpy(rates))
        size[where], direction[:, where] = (part.numpy() for part in found)
    made.X = size
    made.layers.update({f"direction{i + 1}": component for i, component in enumerate(direction)})
    return made
