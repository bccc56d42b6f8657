"""Velocities on the map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scanpy import logging as logg

from ..core.evaluation import map_velocity
from ..fields import DEFAULT_KEY, Field, Keys
from ..reference import velocities_of
from ..result import Result
from ._log import finish, tool

if TYPE_CHECKING:
    from anndata import AnnData


@tool()
def velocity(
    adata: AnnData, velocity: str = "velocity", *, key: str = DEFAULT_KEY, copy: bool = False
) -> AnnData | None:
    """Turn velocities of genes or components into arrows on the map, exactly.

    An arrow is the differential of the encoder applied to the velocity of the cell, `J_e v`: where the cell would move
    on the map, per unit of time. There are no transition probabilities, and no other cell has an influence.
    ``scvelo.pl.velocity_embedding(adata, basis="geoae")`` draws the arrows; they keep their unit, so choose its
    `arrow_length` where they are too short or too long.

    The decoder's surface has as many dimensions as the map, and a velocity may point away from it. The share of the
    velocity that does so is written as well: where it is near 1, the arrow shows little of the velocity.

    Parameters
    ----------
    adata
        Annotated data matrix with a result of :func:`geometric_ae` or :func:`map_cells`. Cells and input as at the
        training: the `obsm`, or the genes.
    velocity
        A layer with the velocities of genes, or a key of `obsm` with the velocities of the input features, such as
        principal components. Genes are those of the expression before scaling, in its units: see the notes. A missing
        value (NaN) counts as 0: scvelo writes it for genes without a velocity.
    key
        Name of the result.
    copy
        Return a copy instead of writing to `adata`.

    Returns
    -------
    `None`, or the copy if `copy=True`. Sets these fields:

    `adata.obsm['velocity_geoae']` : :class:`numpy.ndarray` (`n_obs`, d), `float32`
        (``velocity_`` and the name of the coordinates without ``X_``.) In units of the map per unit of time. 0 for a
        cell without a velocity.
    `adata.obs['geoae_velocity_normal']` : :class:`pandas.Series`, `float64`
        (``f'{key}_velocity_normal'``.) Share of the velocity that is normal to the surface: length of the normal part
        over length of the whole, in the space of the input, from 0 to 1. NaN for a cell without a velocity.

    If scvelo has written `adata.uns['velocity_params']`, the map is added to its `'embeddings'`: scvelo then draws
    these arrows instead of computing its own.

    Raises
    ------
    KeyError
        If there is no such result, layer or `obsm`, or the input of the model is missing.
    ValueError
        If the velocities are infinite or do not fit the model, the model does not know how genes became its input, or
        the map was made elsewhere: an encoder that was fitted to it says where cells lie, not where they move.

    Notes
    -----
    Velocities of genes go through the scaling and the loadings that the model stores, which are linear. A velocity is
    a derivative of the expression that the model saw. scvelo computes it from normalized counts (``layers['Ms']``),
    and scanpy's expression is usually their logarithm, so use the chain rule:
    ``adata.layers["velocity_log"] = adata.layers["velocity"] / (1 + adata.layers["Ms"])``.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=100)
    >>> adata.obsm["velocity_pca"] = adata.obsm["X_pca"][::-1] - adata.obsm["X_pca"]
    >>> scgeoae.tl.velocity(adata, "velocity_pca")
    >>> adata.obsm["velocity_geoae"].shape
    (700, 2)
    """
    result = Result(adata, key)
    model, keys = result.model, result.keys
    if model.made_elsewhere:
        msg = (
            f"The map of the result {key!r} was made elsewhere: an encoder that was fitted to it says where cells lie, "
            "not where they move. Choose a result of `scgeoae.tl.geometric_ae`."
        )
        raise ValueError(msg)
    read, width = velocities_of(adata, model, velocity)
    rows = result.rows()
    start = logg.info(f"mapping the velocities {velocity!r}")
    on_map, normal = map_velocity(model.autoencoder, rows, read, width)
    if np.isnan(normal).all():
        logg.warning(f"No cell has a velocity: {velocity!r} is 0 or missing in all features of the model.")
    values: dict[Field, Any] = {Keys.velocity: on_map.astype(np.float32), Keys.velocity_normal: normal}
    if isinstance(params := adata.uns.get(keys.scvelo), dict):
        known = [name for name in params.get("embeddings", []) if name != keys.basis]
        values[Keys.scvelo] = {**params, "embeddings": [*known, keys.basis]}
    return finish(adata, keys, values, start, copy=copy)
