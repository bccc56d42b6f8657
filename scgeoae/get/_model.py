"""The stored model and the geometry of its decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from .._keys import DEFAULT_KEY, ResultKeys, result
from .._masks import refuse_masked
from ..core import evaluation
from ..core.state import from_state

if TYPE_CHECKING:
    from anndata import AnnData

    from ..core.autoencoder import GeometricAutoencoder


def model(adata: AnnData, *, key: str = DEFAULT_KEY) -> GeometricAutoencoder:
    """Rebuild the torch module of a result.

    Parameters
    ----------
    adata
        Annotated data matrix with a result of :func:`scgeoae.tl.geometric_ae`.
    key
        Name of the result.

    Returns
    -------
    The module in evaluation mode, on the host. ``encode`` takes cells (n, D) in input units to the map (n, d),
    ``decode`` goes back, ``pushforward`` gives the tangents as well.

    Raises
    ------
    KeyError
        If there is no result under this key.
    ValueError
        If the stored model is damaged or of a newer format.

    Examples
    --------
    >>> import scanpy as sc, scgeoae, torch
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=50)
    >>> scgeoae.get.model(adata).decode(torch.zeros(1, 2)).shape
    torch.Size([1, 50])
    """
    return from_state(result(adata, key)["model"])


def metric(adata: AnnData, points: np.ndarray | None = None, *, key: str = DEFAULT_KEY) -> np.ndarray:
    """Pullback metric `G = J^T J` of the decoder at points of the map (Nazari et al. 2023, section 3).

    Parameters
    ----------
    adata
        Annotated data matrix with a result.
    points
        Map coordinates (m, d); the cells if `None`.
    key
        Name of the result.

    Returns
    -------
    (m, d, d) float64: ``v @ G @ v`` is the squared distance in the data, input units, that a small step ``v`` on the
    map is worth.

    Raises
    ------
    KeyError
        If there is no result under this key.
    ValueError
        If the points, or the stored coordinates, have another dimension than the map.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=50)
    >>> scgeoae.get.metric(adata).shape
    (700, 2, 2)
    """
    stored = model(adata, key=key)
    return evaluation.metric(stored, checked_points(coordinates(adata, points, key=key), stored.n_components))


def coordinates(adata: AnnData, points: np.ndarray | None = None, *, key: str = DEFAULT_KEY) -> np.ndarray:
    """The cells' map coordinates, or other points of the map, checked.

    Parameters
    ----------
    adata
        Annotated data matrix with a result.
    points
        Map coordinates (m, d) to return instead of those of the cells.
    key
        Name of the result.

    Returns
    -------
    (n, d) or (m, d), in units of the map.

    Raises
    ------
    KeyError
        If there is no result under this key.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=50)
    >>> scgeoae.get.coordinates(adata).shape
    (700, 2)
    """
    name = ResultKeys.stored(adata, key).obsm
    if name not in adata.obsm:
        msg = f"Did not find .obsm[{name!r}], the coordinates of the result {key!r}; .obsm holds {list(adata.obsm)}."
        raise KeyError(msg)
    cells = adata.obsm[name]
    cells = cells.toarray() if sparse.issparse(cells) else np.asanyarray(cells)  # a mask must be seen
    if cells.ndim != 2:
        msg = f"obsm[{name!r}] must be a matrix; it has shape {cells.shape}."
        raise ValueError(msg)
    if points is None:
        return checked_points(cells, cells.shape[1], f"obsm[{name!r}]")
    return checked_points(points, cells.shape[1])


def checked_points(points: np.ndarray, n_components: int, name: str = "points") -> np.ndarray:
    """``points`` (m, d) of a map of this dimension, or a `ValueError`, or a `TypeError` if they are no numbers."""
    refuse_masked(points, name)
    points = np.asarray(points)
    if points.dtype.kind not in "fiub":
        msg = f"{name} must hold real numbers; the dtype is {points.dtype}."
        raise TypeError(msg)
    if points.ndim != 2 or points.shape[1] != n_components or not np.isfinite(points).all():
        msg = f"{name} must be finite and of shape (m, {n_components}); the shape is {points.shape}."
        raise ValueError(msg)
    return points
