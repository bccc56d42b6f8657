"""The stored model and the geometry of its decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._checks import check_dimensions
from ..fields import DEFAULT_KEY
from ..reference import from_state
from ..result import Result

if TYPE_CHECKING:
    from anndata import AnnData

    from ..reference import MapModel


def model(adata: AnnData, *, key: str = DEFAULT_KEY) -> MapModel:
    """Return the model of a result.

    Parameters
    ----------
    adata
        Annotated data matrix with a result of :func:`scgeoae.tl.geometric_ae` or :func:`scgeoae.tl.fit_decoder`.
    key
        Name of the result.

    Returns
    -------
    The model, on the host. ``encode`` takes cells (n, D) in input units to the map (n, d), ``decode`` goes back,
    ``pushforward`` returns the tangents as well; ``autoencoder`` is the torch module, in evaluation mode. ``unit``,
    ``region`` and ``input`` tell the scale of the map, the part that cells occupy, and how the input is made. ``lens``
    bends the map, if there is one (:func:`scgeoae.tl.lens`), ``lens.inverse`` takes points (m, 2) of the bent map to
    the true one, and ``bent_surface.metric`` returns the metric of the bent map there.

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
    return Result(adata, key).model


def metric(
    adata: AnnData, points: np.ndarray | None = None, *, expected: bool = False, key: str = DEFAULT_KEY
) -> np.ndarray:
    """Return the pullback metric `G = J^T J` of the decoder at points of the map (Nazari et al. 2023, section 3).

    Parameters
    ----------
    adata
        Annotated data matrix with a result.
    points
        Map coordinates (m, d); the cells if `None`.
    expected
        Return the mean of the metrics of the stored decoder and of the models that :func:`scgeoae.tl.ensemble` kept,
        which are aligned to it. It is large where the decoders are uncertain, so that lengths are not underestimated
        there [1]_.
    key
        Name of the result.

    Returns
    -------
    (m, d, d) float64: for a small step ``v`` on the map, ``v @ G @ v`` is the squared distance in the data, in input
    units.

    Raises
    ------
    KeyError
        If there is no result under this key, or no kept models of an ensemble.
    ValueError
        If the points, or the stored coordinates, have another dimension than the map, or `expected` is asked of a
        decoder of another map or of mapped cells, which have no ensemble.

    References
    ----------
    .. [1] Syrota and others (2024), Decoder ensembling for learned latent geometries, arXiv:2408.07507.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=50)
    >>> scgeoae.get.metric(adata).shape
    (700, 2, 2)
    """
    result = Result(adata, key)
    points = result.decoder_points(points)
    surfaces = [result.surface]
    if expected:
        name = result.keys.ensemble
        models = adata.uns.get(name, {}).get("models")
        if models is None:
            result.check_trained()
            msg = (
                f"Did not find models in .uns[{name!r}]. Run `scgeoae.tl.ensemble(adata, key={key!r}, "
                "keep_models=True)` first."
            )
            raise KeyError(msg)
        surfaces += [from_state(state).surface for state in models.values()]
    return np.mean([surface.metric(points) for surface in surfaces], axis=0)


def coordinates(
    adata: AnnData, points: np.ndarray | None = None, *, lens: bool = False, key: str = DEFAULT_KEY
) -> np.ndarray:
    """Return the cells' map coordinates, or other points of the map, after checking them.

    Parameters
    ----------
    adata
        Annotated data matrix with a result.
    points
        Map coordinates (m, d) to return instead of those of the cells.
    lens
        Return where they lie on the bent map (:func:`scgeoae.tl.lens`), such as a path that is to be drawn there. Back
        goes ``scgeoae.get.model(adata).lens.inverse``.
    key
        Name of the result.

    Returns
    -------
    (n, d) or (m, d), in units of the map.

    Raises
    ------
    KeyError
        If there is no result under this key, or no lens.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=50)
    >>> scgeoae.get.coordinates(adata).shape
    (700, 2)
    """
    result = Result(adata, key)
    points = result.coordinates(points)
    return result.lens.forward(points) if lens else points


def nonlinearity(
    adata: AnnData,
    points: np.ndarray | None = None,
    *,
    radius: float,
    dimensions: tuple[int, int] = (0, 1),
    key: str = DEFAULT_KEY,
) -> np.ndarray:
    """Measure how far the decoder departs from its linear approximation, which an indicatrix of this radius shows.

    An indicatrix is the ellipse that the *linearized* decoder takes to a circle in the data. Here 16 points of the
    ellipse are decoded and compared with their places on that circle: the result is the root mean square distance, as
    a share of the radius. It is 0 where the decoder is linear. On a surface with radius of curvature `R` in all
    directions it is about ``radius / (2 R)``, so it grows with the radius. At 1 the decoded points are as far from
    their places on the circle as from its center, and the ellipse says nothing about a circle of this size. The
    determinant is a derivative and is unaffected.

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
    result = Result(adata, key)
    points = result.decoder_points(points)
    check_dimensions(dimensions, points.shape[1])
    return result.surface.nonlinearity(points, radius, dimensions)
