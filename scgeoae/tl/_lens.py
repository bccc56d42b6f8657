"""A lens: bend a map so that crowded places get more room, invertibly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scanpy import logging as logg

from .._checks import real_number
from ..core.lens import lens as lens_of
from ..fields import DEFAULT_KEY
from ..result import Result, lens_fields
from ._log import finish, tool

if TYPE_CHECKING:
    from anndata import AnnData


@tool()
def lens(adata: AnnData, strength: float = 0.35, *, key: str = DEFAULT_KEY, copy: bool = False) -> AnnData | None:
    """Bend a map so that crowded places get more room, for pictures.

    On a map with true areas, uniform cell types, which often are most of the cells, are small and dense. The lens
    spreads them by a smooth, invertible map of the plane, made from the density of the cells by density-equalizing flow
    [1]_ [2]_. At strength 0 nothing moves and areas are true. At strength 1, equal numbers of cells have about equal
    areas. Places are bent without folds, so neighbors remain neighbors.

    The coordinates of the result stay as they are; plots draw the bent map if they are asked for it by ``lens=True``.
    What was bent is known: the determinant and the indicatrices of the bent map are those of its decoder, computed
    exactly, and the graticule shows the square mesh of the true map. The functions of ``scgeoae.get`` take and return
    points of the true map: :func:`scgeoae.get.coordinates` with ``lens=True`` bends them for a picture, and
    ``scgeoae.get.model(adata).lens.inverse`` straightens points that were read off a bent one.

    Parameters
    ----------
    adata
        Annotated data matrix with a two-dimensional result of :func:`geometric_ae` or :func:`fit_decoder`. Mapped cells
        keep the density of the reference, if that had a lens, so that both can be compared.
    strength
        How far to bend the map, from 0 (true areas) to 1 (equal areas for equal numbers of cells).
    key
        Name of the result.
    copy
        Return a copy instead of writing to `adata`.

    Returns
    -------
    `None`, or the copy if `copy=True`. Sets these fields:

    `adata.obsm['X_geoae_lens']` : :class:`numpy.ndarray` (n, 2), `float32`
        Coordinates on the bent map. (The name of the coordinates of the result, followed by ``_lens``.)
    `adata.uns['geoae_lens']` : :class:`dict`
        (``f'{key}_lens'``.) What it takes to bend other points: `'density'`, the smoothed density of the cells on
        square tiles; `'extent'`, left, right, bottom and top of these; `'strength'`. :func:`scgeoae.write_model` writes
        it to the model file, and :func:`map_cells` bends new cells by it.

    Raises
    ------
    KeyError
        If there is no such result.
    TypeError, ValueError
        If the strength is not a number from 0 to 1, the map is not of two dimensions, there is no cell, or the
        coordinates are no longer those of the result.

    Notes
    -----
    The density is a histogram of the cells on 256 tiles along the longer side of the map, smoothed by a Gaussian as
    wide as Scott's rule asks, plus a floor of a fifth of its mean, so that empty places keep a sixth of the room at
    strength 1. To the power of the strength and scaled to mean 1, it is the determinant of the map from true to bent
    coordinates. What that means for the neighborhoods, sizes and distances that the picture shows is measured by
    ``tests/benchmarks/lens.py``.

    References
    ----------
    .. [1] Gastner & Newman (2004), Diffusion-based method for producing density-equalizing maps, PNAS 101.
    .. [2] Gastner, Seguy & More (2018), Fast flow-based algorithm for creating density-equalizing map projections,
       PNAS 115.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=100)
    >>> scgeoae.tl.lens(adata)
    >>> ax = sc.pl.embedding(adata, "X_geoae_lens", color="bulk_labels", show=False)
    """
    strength = real_number(strength, "strength")
    if strength > 1:
        msg = f"strength must be at most 1, but it is {strength}."
        raise ValueError(msg)
    result = Result(adata, key)
    region, z = result.model.region, result.decoder_points()
    if region is None:
        msg = f"A lens is for maps of two dimensions; this map has {z.shape[1]}."
        raise ValueError(msg)
    if not len(z):
        msg = "There is no cell, so there is no density to even out."
        raise ValueError(msg)
    start = logg.info(f"bending the map with strength {strength:g}")
    known = result.model.lens if result.mapped else None
    made = lens_of(z, region, strength) if known is None else known.at(strength)
    return finish(adata, result.keys, lens_fields(made, z), start, copy=copy)
