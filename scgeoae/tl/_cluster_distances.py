"""Distances between groups of cells: in the data, on the map, and along the decoder's surface."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scanpy import logging as logg

from ..core.geodesic import paths
from ..fields import DEFAULT_KEY, Keys
from ..metrics import group_distances
from ..result import Result, region_of
from ._groups import grouped_cells
from ._log import finish, tool

if TYPE_CHECKING:
    from anndata import AnnData

FAR_OFF = 2.0
"""A path on the surface that is longer than the straight line by a larger factor is noted."""


@tool()
def cluster_distances(
    adata: AnnData, groupby: str, *, key: str = DEFAULT_KEY, other: AnnData | None = None, copy: bool = False
) -> AnnData | None:
    """Measure the distance of each pair of groups in the data, on the map, and along the decoder's surface.

    The distance in the data is that between the means of the groups (:func:`scgeoae.metrics.group_distances`). No
    decoder has a part in it. It includes noise, unless `other` holds the other half of the counts. A map has no scale
    for distances between its islands, so `distance_ratio` compares each pair with all pairs: two groups that look three
    times closer than they are have a ratio of 1/3.

    The distance along the surface is the length of the shortest path (:func:`scgeoae.get.geodesic`) between the medoids
    of the groups on the map: of each the cell with the smallest sum of distances to the others, among its cells in the
    occupied region. If both lie in one piece of the region, the path stays in it; otherwise it crosses the gap, and the
    table says which share of its length lies there, where the decoder extrapolates. The decoder decides how long it is:
    no path can be shorter than the straight line, but that of a decoder that smooths groups together is. The table
    notes such pairs. Paths consist of steps between tiles here, which makes them up to 6 % longer than those of
    :func:`scgeoae.get.geodesic` (``tests/benchmarks/distances.py``).

    Parameters
    ----------
    adata
        Annotated data matrix with a two-dimensional result of :func:`geometric_ae` or :func:`fit_decoder`, and the data
        that it was made from.
    groupby
        Column of `obs` with the groups. Cells without a label are left out; a group of one cell lies at this cell.
    key
        Name of the result.
    other
        The other half of the counts, as in :func:`cluster_areas`. Noise then has no part in `data_distance`.
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
        `'data_distance'` : `float`
            Distance between the means in the data, in input units. Of groups of more than 5,000 cells so many are
            drawn. NaN where, by `other`, the groups differ by noise alone.
        `'surface_length'` : `float`
            Length of the shortest path on the surface, in input units. If all cells of a group lie off the region, its
            place is joined to it by a straight piece (:func:`scgeoae.get.geodesic`).
        `'share_off_data'` : `float`
            Which share of `'surface_length'` lies off the occupied region.
        `'note'` : `str`
            `'shorter than straight'` or `'over twice straight'`, where `'detour'` is below 1 or above 2; else empty.
        `'detour'` : `float`
            `'surface_length'` over `'straight_length'`.
        `'straight_length'` : `float`
            Length of the straight line in the data between the means of the groups, in input units, noise included:
            without `other`, `'data_distance'`. The surface was fitted to these data.
        `'map_distance'` : `float`
            Distance between the means on the map, in units of the map.
        `'distance_ratio'` : `float`
            Apparent over true distance: `'map_distance'` over `'data_distance'`, divided by the geometric mean of this
            over all pairs. Below 1 the two groups look closer than they are. Of one pair alone it is 1. NaN for groups
            at one place of the map.
        `'map_length'` : `float`
            Straight distance on the map between the ends of the path, in units of the map.
        `'surface_ratio'` : `float`
            `'map_length'` over `'surface_length'`, divided by the geometric mean of this over all pairs.
        `'free_of_noise'` : `bool`
            Whether `other` was passed; the same for all pairs.

    Raises
    ------
    KeyError
        If there is no such result or column, or the data that the map was made from are missing.
    ValueError
        If the map is not of two dimensions, the column holds measurements, or there are fewer than two groups; if
        `other` is not the other half, as in :func:`cluster_areas`.

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
    cells = grouped_cells(result, groupby, other)
    names = cells.names
    start = logg.info(f"measuring the distances between the groups of obs[{groupby!r}]")
    places = np.array([result.medoid(cells.codes == number) for number in range(len(names))])
    first, second = np.triu_indices(len(names), 1)  # (p,)
    pairs, surface = np.column_stack([first, second]), result.surface
    length, off_data = np.full((2, len(pairs)), np.nan)
    for anywhere in (False, True):  # across gaps only where there is no other way
        (missing,) = np.nonzero(np.isnan(length))
        found = paths(surface, region, places, pairs[missing], anywhere=anywhere, refine=False)
        for number, path in zip(missing, found, strict=True):
            if path is not None:
                length[number], off_data[number] = path.along[-1], path.length_off_data
    on_map = np.linalg.norm(places[first] - places[second], axis=1)
    table = pd.DataFrame({"other": names[second].to_numpy()}, index=pd.Index(names[first], name=groupby))
    pair_names = [tuple(sorted(pair)) for pair in zip(names[first], names[second], strict=True)]
    in_data, straight, between = (
        group_distances(points, cells.groups, half).reindex(pair_names).to_numpy()
        for points, half in ((cells.x, cells.other), (cells.x, None), (cells.z, None))
    )
    detour = _over(length, straight)
    table["data_distance"] = in_data
    table["surface_length"] = length
    table["share_off_data"] = _over(off_data, length)
    table["note"] = np.select([detour < 1, detour > FAR_OFF], ["shorter than straight", "over twice straight"], "")
    table["detour"] = detour
    table["straight_length"] = straight
    table["map_distance"] = between
    table["distance_ratio"] = _relative(between, in_data)
    table["map_length"] = on_map
    table["surface_ratio"] = _relative(on_map, length)
    table["free_of_noise"] = other is not None
    return finish(adata, result.keys, {Keys.distances: table}, start, copy=copy)


def _over(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Ratio (p,) of lengths; NaN where one is missing or the whole is 0."""
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _relative(apparent: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Ratio (p,) of lengths, divided by its geometric mean; NaN where one is missing or 0."""
    ratio = _over(np.where(apparent > 0, apparent, np.nan), true)
    known = np.isfinite(ratio)
    return ratio / np.exp(np.log(ratio[known]).mean()) if known.any() else ratio
