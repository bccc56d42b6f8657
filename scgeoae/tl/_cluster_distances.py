"""Distances between groups of cells, on the map, along the surface and straight through the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scanpy import logging as logg

from .._lookup import groups_of
from ..core.geodesic import paths
from ..fields import DEFAULT_KEY, Keys
from ..result import Result, region_of
from ._log import finish, rank_0_logs

if TYPE_CHECKING:
    from anndata import AnnData


@rank_0_logs()
def cluster_distances(adata: AnnData, groupby: str, *, key: str = DEFAULT_KEY, copy: bool = False) -> AnnData | None:
    """Measure the distance of each pair of groups on the map, along the decoder's surface, and straight in the data.

    The place of a group is its medoid on the map: the cell with the smallest sum of distances to the others, among the
    cells of the group in the occupied region. The distance along the surface is the length of the shortest path
    (:func:`scgeoae.get.geodesic`). If both places lie in one piece of the occupied region, the path stays in it;
    otherwise it crosses the gap, and the table says how much of its length lies there, where the decoder extrapolates.
    Paths consist of steps between tiles here, which makes them up to 6 % longer than those of
    :func:`scgeoae.get.geodesic` (``tests/benchmarks/distances.py``).

    A map has no scale for distances between its islands, so `ratio` compares each pair with all pairs: two groups that
    look three times closer than they are have a ratio of 1/3.

    Parameters
    ----------
    adata
        Annotated data matrix with a two-dimensional result of :func:`geometric_ae` or :func:`fit_decoder`.
    groupby
        Column of `obs` with the groups. Cells without a label are left out; a group of one cell lies at this cell.
    key
        Name of the result.
    copy
        Return a copy instead of writing to `adata`.

    Returns
    -------
    `None`, or the copy if `copy=True`. Sets this field:

    `adata.uns['geoae_distances']` : :class:`pandas.DataFrame`
        (``f'{key}_distances'``.) One row a pair, in the order of the categories. The index, which is named `groupby`,
        holds the first group.

        `'other'` : `str`
            The second group.
        `'map_length'` : `float`
            Straight distance on the map, in units of the map.
        `'surface_length'` : `float`
            Length of the shortest path on the surface, in input units. If all cells of a group lie off the region, its
            place is joined to it by a straight piece (:func:`scgeoae.get.geodesic`).
        `'straight_length'` : `float`
            Distance between the decoded places, in input units; at most `'surface_length'`.
        `'length_off_data'` : `float`
            How much of `'surface_length'` lies off the occupied region.
        `'ratio'` : `float`
            Apparent over true distance: `'map_length'` over `'surface_length'`, divided by the geometric mean of this
            over all pairs. Below 1 the two groups look closer than they are. Of one pair alone it is 1.
        `'detour'` : `float`
            `'surface_length'` over `'straight_length'`, at least 1. Large where the data bend between the groups. Like
            `'ratio'`, NaN for two groups at one place.

    Raises
    ------
    KeyError
        If there is no such result or column.
    ValueError
        If the map is not of two dimensions, the column holds measurements, or there are fewer than two groups.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=100)
    >>> scgeoae.tl.cluster_distances(adata, "bulk_labels")
    >>> axes = scgeoae.pl.cluster_distances(adata, show=False)
    """
    result = Result(adata, key)
    region = region_of(result.model)
    names, codes = groups_of(adata, groupby, at_least=2)
    start = logg.info(f"measuring the distances between the groups of obs[{groupby!r}]")
    places = np.array([result.medoid(codes == number) for number in range(len(names))])
    first, second = np.triu_indices(len(names), 1)  # (p,)
    pairs, surface = np.column_stack([first, second]), result.surface
    length, off_data = np.full((2, len(pairs)), np.nan)
    for anywhere in (False, True):  # across gaps only where there is no other way
        (missing,) = np.nonzero(np.isnan(length))
        found = paths(surface, region, places, pairs[missing], anywhere=anywhere, refine=False)
        for number, path in zip(missing, found, strict=True):
            if path is not None:
                length[number], off_data[number] = path.along[-1], path.length_off_data
    on_map, straight = (
        np.linalg.norm(points[first] - points[second], axis=1) for points in (places, surface.on_surface(places))
    )
    ratio, detour = np.full((2, len(pairs)), np.nan)
    known = (on_map > 0) & (length > 0) & (straight > 0)
    if known.any():
        ratio[known] = on_map[known] / length[known]
        ratio /= np.exp(np.log(ratio[known]).mean())
        detour[known] = length[known] / straight[known]
    columns = {
        "other": names[second].to_numpy(),
        "map_length": on_map,
        "surface_length": length,
        "straight_length": straight,
        "length_off_data": off_data,
        "ratio": ratio,
        "detour": detour,
    }
    table = pd.DataFrame(columns, index=pd.Index(names[first], name=groupby))
    return finish(adata, result.keys, {Keys.distances: table}, start, copy=copy)
