"""What a point of the map means: the decoded profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from anndata import AnnData

from .._keys import DEFAULT_KEY
from ..core import evaluation
from ._model import checked_points, model

if TYPE_CHECKING:
    from ..core.autoencoder import GeometricAutoencoder

SPACES = ("input", "genes")

BLOCK_ENTRIES = 500_000
"""Entries of a block of decoded profiles: 4 MB of float64."""


def decode(
    adata: AnnData | GeometricAutoencoder, points: np.ndarray, *, key: str = DEFAULT_KEY, space: str = "input"
) -> AnnData:
    """Decoded profiles at points of the map: a grid, a path between two cells, the centres of clusters.

    Parameters
    ----------
    adata
        Annotated data matrix with a result, or a model (:func:`scgeoae.read_model`).
    points
        Map coordinates (m, d).
    key
        Name of the result.
    space
        `'input'`: the features that the model was trained on. `'genes'`: expression, before scaling, where the model
        knows how genes became its input. Principal components are taken back by the pseudo-inverse of the loadings;
        what the components leave out is the mean of the reference. Log-normalised expression decoded so can be a
        little below 0.

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
    ValueError
        If the points have another dimension than the map or are not finite, the space is unknown, or the model does
        not know how genes became its input.

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
    stored = model(adata, key=key) if isinstance(adata, AnnData) else adata
    points = checked_points(points, stored.n_components)
    profiles = _profiles(stored, points, space)
    names = _names(stored, space)
    return AnnData(profiles, obs=_properties(stored, points), var=pd.DataFrame(index=names))


def _properties(stored: GeometricAutoencoder, points: np.ndarray) -> pd.DataFrame:
    log_det, anisotropy = evaluation.distortion(stored, points)
    columns = {f"map{i + 1}": column.astype(np.float64) for i, column in enumerate(points.T)}
    columns |= {"det": evaluation.relative_determinant(log_det, stored), "anisotropy": anisotropy}
    if stored.region is not None:
        columns["occupied"] = stored.region.contains(points)
    return pd.DataFrame(columns, index=pd.Index([str(i) for i in range(len(points))]))


def _names(stored: GeometricAutoencoder, space: str) -> np.ndarray:
    if space == "genes" and stored.projection is not None:
        return stored.projection.genes
    return np.arange(stored.n_features).astype(str) if stored.features is None else stored.features


@torch.no_grad()
def _profiles(stored: GeometricAutoencoder, points: np.ndarray, space: str) -> np.ndarray:
    if space not in SPACES:
        msg = f"Unknown space {space!r}. Choose from {SPACES}."
        raise ValueError(msg)
    projection = stored.projection
    if space == "genes" and projection is None:
        msg = (
            "The model does not know how genes became its input: it was trained on an obsm that X and varm['PCs'] do "
            "not reproduce. Pass space='input'."
        )
        raise ValueError(msg)
    width = stored.n_features if space == "input" or projection is None else len(projection.genes)
    result = np.empty((len(points), width), dtype=np.float32)
    size = max(1, BLOCK_ENTRIES // max(width, stored.n_features, *stored.hidden_dims, 1))
    for start in range(0, len(points), size):
        z = torch.tensor(points[start : start + size], dtype=stored.mean.dtype, device=stored.mean.device)
        x = stored.decode(z).cpu().numpy()
        result[start : start + size] = x if space == "input" or projection is None else projection.undo(x)
    return result
