"""Decoded profiles of points of the map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from .._checks import check_points
from ..core.rows import blocks
from ..fields import DEFAULT_KEY
from ..models import opened

if TYPE_CHECKING:
    from ..reference import MapModel, Space


def decode(adata: AnnData | MapModel, points: np.ndarray, *, key: str = DEFAULT_KEY, space: str = "input") -> AnnData:
    """Decode points of the map to profiles: those of a grid, a path between two cells, the centers of clusters.

    Parameters
    ----------
    adata
        Annotated data matrix with a result, or a model (:func:`scgeoae.read_model`).
    points
        Map coordinates (m, d). Those that were read off a bent map (:func:`scgeoae.tl.lens`) go through
        ``scgeoae.get.model(adata).lens.inverse`` first.
    key
        Name of the result.
    space
        `'input'`: the features that the model was trained on. `'genes'`: expression before scaling, by the readout of
        :func:`scgeoae.tl.gene_readout`, or else by the principal components, if the model holds how these were made
        from genes: they are multiplied by the pseudo-inverse of the loadings and the mean of the reference is added.
        Log-normalized expression can then be slightly below 0.

    Returns
    -------
    AnnData (m, D) or (m, g), float32, in input units or those of the expression before scaling, with the names of
    the features or genes, and

    `.obs['map1']`, `.obs['map2']`, … : `float64`
        The point.
    `.obs['occupied']` : `bool`
        Whether training cells lie there; elsewhere the profile is an extrapolation. Maps of two dimensions only.
    `.obs['det']` : `float64`
        Relative determinant there.
    `.obs['anisotropy']` : `float64`
        Anisotropy there.
    `.var['r2']` : `float64`
        Share of the variance of the gene that its readout explains in cells that were held out; where it is near 0,
        the decoded value is little more than the mean. Only with a readout.

    Raises
    ------
    KeyError
        If there is no result under this key.
    TypeError
        If `adata` is neither an AnnData nor a model.
    ValueError
        If the points have another dimension than the map or are not finite, the space is unknown, or the model holds
        neither a readout nor how its input was made from genes.

    Examples
    --------
    >>> import numpy as np, scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=100)
    >>> first, last = adata.obsm["X_geoae"][[0, -1]]
    >>> path = scgeoae.get.decode(adata, np.linspace(first, last, 20))
    >>> path.shape
    (20, 50)
    """
    result, model = opened(adata, key)
    surface = model.surface if result is None else result.surface
    points = check_points(points, model.n_components)
    read = model.space(space, None if result is None else key)
    profiles = np.empty((len(points), len(read.names)), dtype=np.float32)
    for where in blocks(len(points), max(len(read.names), model.n_features)):
        profiles[where] = read.values(surface.decode(points[where]))
    made = described(model, read, points)
    made.X = profiles
    log_det, anisotropy = surface.distortion(points)
    made.obs["det"], made.obs["anisotropy"] = model.relative_determinant(log_det), anisotropy
    return made


def described(model: MapModel, space: Space, points: np.ndarray) -> AnnData:
    """Make an AnnData of points (m, d) of the map and the features or genes of a space, without values."""
    obs = pd.DataFrame({f"map{i + 1}": column.astype(np.float64) for i, column in enumerate(points.T)})
    obs.index = obs.index.astype(str)
    if model.region is not None:
        obs["occupied"] = model.region.contains(points)
    var = pd.DataFrame(index=pd.Index(space.names))
    if space.r2 is not None:
        var["r2"] = space.r2
    return AnnData(obs=obs, var=var)
