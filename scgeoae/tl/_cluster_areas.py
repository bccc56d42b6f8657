"""Areas of groups of cells, on the map and in the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scanpy import logging as logg
from scipy.spatial import cKDTree

from .._lookup import groups_of
from ..fields import DEFAULT_KEY, Keys
from ..result import Result, region_of
from ._log import finish, rank_0_logs

if TYPE_CHECKING:
    from anndata import AnnData


@rank_0_logs()
def cluster_areas(adata: AnnData, groupby: str, *, key: str = DEFAULT_KEY, copy: bool = False) -> AnnData | None:
    """Measure the area of each group of cells on the map and in the data.

    The region of the map that the cells occupy is divided into small tiles, and each tile is assigned to the group of
    the cell nearest to its center. The area of a group on the map is the area of its tiles. Its area in the data is the
    integral of the decoder's determinant over these tiles, which is the area of the decoded surface. A cluster that
    looks three times as large as it is has ``ratio == 3``.

    Parameters
    ----------
    adata
        Annotated data matrix with a two-dimensional result of :func:`geometric_ae` or :func:`fit_decoder`.
    groupby
        Column of `obs` with the groups. Cells without a label, and the tiles nearest to them, are left out.
    key
        Name of the result.
    copy
        Return a copy instead of writing to `adata`.

    Returns
    -------
    `None`, or the copy if `copy=True`. Sets this field:

    `adata.uns['geoae_areas']` : :class:`pandas.DataFrame`
        (``f'{key}_areas'``.) One row a group, in the order of the categories; the name of the index is `groupby`.

        `'n_cells'` : `int`
            Number of cells.
        `'map_area'`, `'data_area'` : `float`
            Areas, in squared units of the map and of the input representation.
        `'map_share'`, `'data_share'` : `float`
            The same as shares of all groups.
        `'ratio'` : `float`
            Apparent over true share: above 1 the group looks larger than it is. NaN for a group without a tile.
        `'anisotropy'`, `'reconstruction_error'` : `float`
            Medians over the cells. Areas are unreliable where the error is large.

    Raises
    ------
    KeyError
        If there is no such result or column.
    ValueError
        If the map is not of two dimensions, the column holds measurements, there are fewer than two groups, or no tile
        belongs to one.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=100)
    >>> scgeoae.tl.cluster_areas(adata, "bulk_labels")
    >>> ax = scgeoae.pl.cluster_areas(adata, show=False)
    """
    result = Result(adata, key)
    region = region_of(result.model)
    names, codes = groups_of(adata, groupby, at_least=2)
    start = logg.info(f"measuring the areas of the groups of obs[{groupby!r}]")
    if result.other_cells:
        logg.warning(f"{result.other_cells}: areas are of the part of the map that these cells occupy.")
    tiles = region.points()[region.occupied_by(result.coordinates())]
    _, nearest = cKDTree(result.coordinates()).query(tiles)
    owner = codes[nearest]  # (m,)
    labeled = owner >= 0
    if not labeled.any():
        msg = "No piece of the map belongs to a group: cells without a label are nearest everywhere."
        raise ValueError(msg)
    determinant = np.exp(result.surface.distortion(tiles[labeled])[0])
    on_map = region.tile_area * np.bincount(owner[labeled], minlength=len(names))
    in_data = region.tile_area * np.bincount(owner[labeled], determinant, len(names))
    columns = {
        "n_cells": np.bincount(codes[codes >= 0]),
        "map_area": on_map,
        "data_area": in_data,
        "map_share": on_map / on_map.sum(),
        "data_share": in_data / in_data.sum(),
    }
    table = pd.DataFrame(columns, index=pd.Index(names, name=groupby))
    table["ratio"] = table["map_share"] / table["data_share"]
    for name, field in (("anisotropy", Keys.anisotropy), ("reconstruction_error", Keys.error)):
        table[name] = result.column(field).groupby(codes).median().drop(-1, errors="ignore").to_numpy()
    return finish(adata, result.keys, {Keys.areas: table}, start, copy=copy)
