"""How far an indicatrix can be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._keys import DEFAULT_KEY
from ..core import evaluation
from ._model import checked_points, coordinates, model

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData


def nonlinearity(
    adata: AnnData,
    points: np.ndarray | None = None,
    *,
    radius: float,
    dimensions: tuple[int, int] = (0, 1),
    key: str = DEFAULT_KEY,
) -> np.ndarray:
    """How far the decoder departs from the linear picture that an indicatrix of this radius draws.

    An indicatrix is what the *linearised* decoder makes a circle of the data look like. Here 16 points of the ellipse
    are decoded, and compared with where the linear picture puts them, on a circle of `radius` in the data: the root
    mean square distance, as a share of the radius. 0 where the decoder is linear. On a surface with radius of
    curvature `R` in all directions it is about ``radius / (2 R)``, so that it grows with the radius drawn. At 1 the
    decoded points are as far from their place as from their centre: the ellipse says nothing about a circle of this
    size. The determinant, a derivative, is not called in question.

    Parameters
    ----------
    adata
        Annotated data matrix with a result.
    points
        Map coordinates (m, d); the cells if `None`.
    radius
        Radius of the circles in the data, input units.
    dimensions
        The two dimensions of the map in which the indicatrices lie.
    key
        Name of the result.

    Returns
    -------
    (m,) float64, without unit.

    Raises
    ------
    KeyError
        If there is no result under this key.
    ValueError
        If the points have another dimension than the map, the map has one dimension only, or the radius is not
        positive.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=100)
    >>> scgeoae.get.nonlinearity(adata, radius=1.0).shape
    (700,)
    """
    if not 0 < radius < float("inf"):
        msg = f"radius must be a positive number; it is {radius}."
        raise ValueError(msg)
    z = coordinates(adata, points, key=key)
    if len(set(dimensions)) != 2 or not all(0 <= number < z.shape[1] for number in dimensions):
        msg = f"dimensions must be two different ones of the {z.shape[1]} of the map; they are {dimensions}."
        raise ValueError(msg)
    stored = model(adata, key=key)
    return evaluation.nonlinearity(stored, checked_points(z, stored.n_components), radius, dimensions)
