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
    from ..reference import MapModel

SPACES = ("input", "genes")


def decode(adata: AnnData | MapModel, points: np.ndarray, *, key: str = DEFAULT_KEY, space: str = "input") -> AnnData:
    """Decode points of the map to profiles: those of a grid, a path between two cells, the centers of clusters.

    Parameters
    ----------
    adata
        Annotated data matrix with a result, or a model (:func:`scgeoae.read_model`).
    points
        Map coordinates (m, d).
    key
        Name of the result.
    space
        `'input'`: the features that the model was trained on. `'genes'`: expression before scaling, if the model
        holds how its input was made from genes. Principal components are multiplied by the pseudo-inverse of the
        loadings and the mean of the reference is added. Log-normalized expression can then be slightly below 0.

    Returns
    -------
    AnnData (m, D) or (m, g), float32, in input units or those of the expression before scaling, with the names of
    the features or genes, and

    `.obs['map1']`, `.obs['map2']`, … : `float64`
        The point.
    `.obs['det']` : `float64`
        Relative determinant there.
    `.obs['anisotropy']` : `float64`
        Anisotropy there.
    `.obs['occupied']` : `bool`
        Whether training cells lie there; elsewhere the profile is an extrapolation. Maps of two dimensions only.

    Raises
    ------
    KeyError
        If there is no result under this key.
    TypeError
        If `adata` is neither an AnnData nor a model.
    ValueError
        If the points have another dimension than the map or are not finite, the space is unknown, or the model does
        not hold how its input was made from genes.

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
    names, projection = _names(model, space), model.input.projection
    profiles = np.empty((len(points), len(names)), dtype=np.float32)
    for where in blocks(len(points), max(len(names), model.n_features)):
        x = surface.decode(points[where])
        profiles[where] = projection.undo(x) if projection is not None and space == "genes" else x
    log_det, anisotropy = surface.distortion(points)
    obs = {f"map{i + 1}": column.astype(np.float64) for i, column in enumerate(points.T)}
    obs |= {"det": model.relative_determinant(log_det), "anisotropy": anisotropy}
    if model.region is not None:
        obs["occupied"] = model.region.contains(points)
    index = pd.Index([str(i) for i in range(len(points))])
    return AnnData(profiles, obs=pd.DataFrame(obs, index=index), var=pd.DataFrame(index=names))


def _names(model: MapModel, space: str) -> np.ndarray:
    """Return the names (D,) or (g,) of what is decoded."""
    if space not in SPACES:
        msg = f"Unknown space {space!r}. Choose from {SPACES}."
        raise ValueError(msg)
    features, projection = model.input.features, model.input.projection
    if space == "input":
        return np.arange(model.n_features).astype(str) if features is None else features
    if projection is None:
        msg = (
            "The model does not know how genes became its input: it was trained on an obsm that X and varm['PCs'] do "
            "not reproduce. Pass space='input', or run `sc.pp.pca` on the same X and train again."
        )
        raise ValueError(msg)
    return projection.genes
