"""The stored model and the geometry of its decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._keys import DEFAULT_KEY, ResultKeys, result
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
        If the points have another dimension than the map.
    """
    stored = model(adata, key=key)
    return evaluation.metric(stored, coordinates(adata, points, key=key))


def coordinates(adata: AnnData, points: np.ndarray | None = None, *, key: str = DEFAULT_KEY) -> np.ndarray:
    """The cells' map coordinates (n, d), or checked ``points`` (m, d) instead."""
    cells = np.asarray(adata.obsm[ResultKeys.stored(adata, key).obsm])
    if points is None:
        return cells
    return checked_points(points, cells.shape[1])


def checked_points(points: np.ndarray, n_components: int) -> np.ndarray:
    """``points`` (m, d) of a map of this dimension, or a `ValueError`."""
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] != n_components or not np.isfinite(points).all():
        msg = f"points must be finite and of shape (m, {n_components}); they have shape {points.shape}."
        raise ValueError(msg)
    return points
