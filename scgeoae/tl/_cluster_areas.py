"""Sizes of groups of cells on the map and in the data, and their areas on the decoder's surface."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scanpy import logging as logg
from scipy.spatial import cKDTree

from ..core.region import reached_tiles
from ..fields import DEFAULT_KEY, Keys
from ..metrics import group_sizes
from ..result import Result, region_of
from ._groups import grouped_cells
from ._log import finish, tool

if TYPE_CHECKING:
    from anndata import AnnData

    from ._groups import GroupedCells

N_REPLICATES, INTERVAL = 500, (0.025, 0.975)
"""How often the cells of a group are drawn again, and the quantiles of the size ratio that are given."""

FEW, WIDE = 20, 2.0
"""A size is uncertain if there are fewer cells, or if the ends of the interval differ by a larger factor."""


@tool()
def cluster_areas(
    adata: AnnData, groupby: str, *, key: str = DEFAULT_KEY, other: AnnData | None = None, copy: bool = False
) -> AnnData | None:
    """Measure how large each group of cells is on the map and in the data, and its area on the decoder's surface.

    The size of a group is the root mean square distance of its cells from their mean
    (:func:`scgeoae.metrics.group_sizes`). No decoder has a part in it, so that in the data it is the same for all maps.
    A cluster that looks three times as large as it is, compared with the others, has ``size_ratio == 3``. Sizes in the
    data include noise, unless `other` holds the other half of the counts.

    The area of a group on the surface is that of what the decoder makes of the part of the map that the group occupies.
    It depends on the decoder: decoders of two maps of the same cells differ
    (``tests/benchmarks/sizes.py``). Counted are small tiles of the occupied region and, so that sparse groups are
    covered, too, those within the distance of a cell to its third neighbor. A tile belongs to the group of the nearest
    cell.

    Parameters
    ----------
    adata
        Annotated data matrix with a two-dimensional result of :func:`geometric_ae` or :func:`fit_decoder`, and the data
        that it was made from.
    groupby
        Column of `obs` with the groups. Cells without a label, and the tiles nearest to them, are left out.
    key
        Name of the result.
    other
        The other half of the counts (:func:`scgeoae.pp.split_counts`) of the cells of `adata`, which must hold the
        first half, prepared alike but not scaled. Cells and genes are matched by name. Noise then has no part in
        `data_size`, because that of the halves is independent.
    copy
        Return a copy instead of writing to `adata`.

    Returns
    -------
    `None`, or the copy if `copy=True`. Sets this field:

    `adata.uns['geoae_areas']` : :class:`pandas.DataFrame`
        (``f'{key}_areas'``.) One row a group, in the order of the categories; the name of the index is `groupby`.

        `'n_cells'` : `int`
            Number of cells.
        `'map_size'`, `'data_size'` : `float`
            Sizes, in units of the map and of the input. Of more than 5,000 cells so many are drawn. NaN for a group of
            one cell and, with `other`, for a group whose cells differ by noise alone.
        `'size_ratio'` : `float`
            Apparent over true size: map size over data size, divided by the geometric mean of this over all groups.
        `'size_ratio_low'`, `'size_ratio_high'` : `float`
            Between these it lies with 95 % confidence: bootstrap over the cells of the group. Infinite where noise may
            explain the whole size.
        `'uncertain'` : `bool`
            Whether there are fewer than 20 cells, the interval is wider than a factor of 2, or there is no ratio.
        `'free_of_noise'` : `bool`
            Whether `other` was passed; the same for all groups.
        `'map_area'`, `'surface_area'` : `float`
            Areas, in squared units of the map and of the input.
        `'map_share'`, `'surface_share'` : `float`
            The same as shares of all groups.
        `'surface_ratio'` : `float`
            Share on the map over share of the surface. NaN for a group without a tile.
        `'anisotropy'`, `'reconstruction_error'` : `float`
            Medians over the cells. Areas of the surface are unreliable where the error is large.

    Raises
    ------
    KeyError
        If there is no such result or column, or the data that the map was made from are missing.
    ValueError
        If the map is not of two dimensions, the column holds measurements, there are fewer than two groups, or no tile
        belongs to one; if `other` lacks cells or genes, holds raw counts, scaled values or the values of `adata`, or it
        is not known how genes became the input.

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
    cells = grouped_cells(result, groupby, other)
    medians = {
        name: result.column(field).groupby(cells.codes).median().drop(-1, errors="ignore").to_numpy()
        for name, field in (("anisotropy", Keys.anisotropy), ("reconstruction_error", Keys.error))
    }
    if result.other_cells:
        logg.warning(f"{result.other_cells}: areas are of the part of the map that these cells occupy.")
    start = logg.info(f"measuring the sizes of the groups of obs[{groupby!r}]")
    table = pd.DataFrame({"n_cells": np.bincount(cells.codes[cells.codes >= 0])}, index=cells.names)
    table = table.join(_sizes(cells)).assign(free_of_noise=other is not None)

    places = result.coordinates().astype(np.float64)
    tiles = reached_tiles(region, places)
    owner = cells.codes[cKDTree(places).query(tiles)[1]]  # (m,)
    labeled = owner >= 0
    if not labeled.any():
        msg = "No piece of the map belongs to a group: cells without a label are nearest everywhere."
        raise ValueError(msg)
    determinant = np.exp(result.surface.distortion(tiles[labeled])[0])
    for name, weights in (("map", None), ("surface", determinant)):
        table[f"{name}_area"] = region.tile_area * np.bincount(owner[labeled], weights, len(table))
    for name in ("map", "surface"):
        table[f"{name}_share"] = table[f"{name}_area"] / table[f"{name}_area"].sum()
    table["surface_ratio"] = table["map_share"] / table["surface_share"]
    return finish(adata, result.keys, {Keys.areas: table.assign(**medians).rename_axis(groupby)}, start, copy=copy)


def _sizes(cells: GroupedCells) -> pd.DataFrame:
    """Sizes of the groups on the map and in the data, their ratio, and its interval by the bootstrap."""
    table = pd.DataFrame(
        {
            "map_size": group_sizes(cells.z, cells.groups).reindex(cells.names),
            "data_size": group_sizes(cells.x, cells.groups, cells.other).reindex(cells.names),
        }
    )
    ratio = table["map_size"] / table["data_size"]
    usual = np.exp(np.log(ratio[ratio > 0]).mean())
    table["size_ratio"] = ratio / usual
    rng, second = np.random.default_rng(0), cells.x if cells.other is None else cells.other
    low, high = np.array([_interval(cells.z[i], cells.x[i], second[i], rng) for i in cells.members()]).T / usual
    table["size_ratio_low"], table["size_ratio_high"] = low, high
    few = np.array([len(i) < FEW for i in cells.members()])
    table["uncertain"] = few | ~(high <= WIDE * low) | ~np.isfinite(table["size_ratio"])
    return table


def _interval(z: np.ndarray, x: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Quantiles (2,) of map size over data size over samples of the cells (n,) with replacement; NaN for one cell."""
    n = len(z)
    if n < 2:
        return np.full(2, np.nan)
    order = np.lexsort(z.T)  # the interval does not depend on the order of the cells in the AnnData
    z, x, second = z[order], x[order], second[order]
    weights = rng.multinomial(n, np.full(n, 1 / n), N_REPLICATES).astype(np.float64)  # (r, n)
    weights = weights[(weights < n).all(1)]  # of one cell drawn n times there is no size
    on_map, in_data = _squares(weights, z, z), _squares(weights, x, second)
    ratios = np.full(len(weights), np.inf)  # where noise explains all, the group may be of any smallness
    ratios[in_data > 0] = np.sqrt(np.maximum(on_map, 0)[in_data > 0] / in_data[in_data > 0])
    return np.quantile(ratios, INTERVAL, method="nearest")  # neighbors of infinity are not interpolated


def _squares(weights: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared sizes (r,), up to a factor, of cells `a`, `b` (n, D) that count as often as ``weights`` (r, n) say."""
    a, b = a - a.mean(0), b - b.mean(0)
    return weights @ (a * b).sum(1) - ((weights @ a) * (weights @ b)).sum(1) / len(a)
