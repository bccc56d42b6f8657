"""Ranks of neighbours in the data and on the map, from which all measures of neighbourhoods are computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ._points import Points, prepare
from ._sampling import Random, row_blocks, sample_cells

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    OrderAndRanks = tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]


@dataclass(frozen=True)
class RankComparison:
    """
    Ranks of the neighbours of the sampled cells. Rank 1 is the nearest other cell.

    Parameters
    ----------
    n_cells
        Number of all cells, among which neighbours are searched for.
    map_ranks
        Rank on the map of the first, second, ... neighbour in the data, shape (sampled cells, k).
    data_ranks
        Rank in the data of the first, second, ... neighbour on the map, shape (sampled cells, k).
    local_auc, global_auc
        Contribution of each sampled cell to the two areas under the curve R_NX, shape (sampled cells,).
    """

    n_cells: int
    map_ranks: npt.NDArray[np.int32]
    data_ranks: npt.NDArray[np.int32]
    local_auc: npt.NDArray[np.float64]
    global_auc: npt.NDArray[np.float64]


def compare_ranks(X: Any, Z: Any, k: int, *, max_cells: int, rng: Random) -> RankComparison:
    """
    Rank the neighbours in the data and on the map.

    Parameters
    ----------
    X, Z
        Data and map as `as_pair` returns them, shapes (cells, features) and (cells, map dimensions).
    k
        Number of neighbours whose ranks are returned: the largest number that a measure needs.
    max_cells, rng
        See `sample_cells`.
    """
    return compare_ranks_of_several(X, [Z], k, max_cells=max_cells, rng=rng)[0]


def compare_ranks_of_several(
    X: Any, embeddings: Sequence[Any], k: int, *, max_cells: int, rng: Random
) -> list[RankComparison]:
    """Compare several maps of the same cells; neighbours in the data take most of the time and are ranked once."""
    data, maps = prepare(X), [prepare(Z) for Z in embeddings]
    cells = sample_cells(data.n_cells, max_cells, rng)
    tables = _auc_tables(data.n_cells)
    blocks: list[list[tuple[npt.NDArray[Any], ...]]] = [[] for _ in maps]
    for rows in row_blocks(cells, data.n_cells):
        in_data = _order_and_ranks(data, rows, k)
        for done, embedding in zip(blocks, maps, strict=True):
            done.append(_compare_block(in_data, _order_and_ranks(embedding, rows, k), tables))
    return [
        RankComparison(data.n_cells, *(np.concatenate(parts) for parts in zip(*done, strict=True))) for done in blocks
    ]


def _compare_block(
    in_data: OrderAndRanks, on_map: OrderAndRanks, tables: tuple[_AucTable, _AucTable]
) -> tuple[npt.NDArray[Any], ...]:
    (data_order, data_ranks), (map_order, map_ranks) = in_data, on_map
    larger_ranks = np.maximum(data_ranks, map_ranks)  # (rows, cells)
    return (
        np.take_along_axis(map_ranks, data_order, axis=1),
        np.take_along_axis(data_ranks, map_order, axis=1),
        *(table.per_cell(larger_ranks) for table in tables),
    )


def _order_and_ranks(points: Points, rows: npt.NDArray[np.intp], k: int) -> OrderAndRanks:
    """Return the k nearest cells in order, shape (rows, k), and the rank of every cell, shape (rows, cells)."""
    order = _order_keys(points, rows)
    order.sort(axis=1)
    order &= _index_mask(points.n_cells)
    ranks = np.empty(order.shape, dtype=np.int32)
    np.put_along_axis(ranks, order, np.arange(points.n_cells, dtype=np.int32)[None], axis=1)
    return order[:, 1 : k + 1].copy(), ranks


def nearest_cells(points: Points, rows: npt.NDArray[np.intp], k: int) -> npt.NDArray[np.int64]:
    """Return the k nearest other cells of the cells `rows`, nearest first, shape (rows, k)."""
    blocks: list[npt.NDArray[np.int64]] = []
    for block in row_blocks(rows, points.n_cells):
        keys = _order_keys(points, block)
        keys.partition(k, axis=1)
        nearest = np.sort(keys[:, : k + 1], axis=1)[:, 1:]
        blocks.append(nearest & _index_mask(points.n_cells))
    return np.concatenate(blocks)


def _order_keys(points: Points, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
    """
    Integers that sort the cells by distance, and equally distant ones by row number, shape (rows, cells).

    Numbers that are not negative are in the same order as their bits, read as integers. The last bits are replaced by
    the row number of the cell: 14 of 52 for 10,000 cells, so that squared distances which agree to about 11 digits
    count as equal (9 digits for a million cells). The cell itself comes first, before cells with the same coordinates.
    """
    keys = points.squared_distances(rows).view(np.int64)
    keys &= ~_index_mask(points.n_cells)
    keys |= np.arange(points.n_cells)
    keys[np.arange(len(rows)), rows] = np.iinfo(np.int64).min | rows
    return keys


def _index_mask(n_cells: int) -> np.int64:
    return np.int64((1 << n_cells.bit_length()) - 1)


@dataclass(frozen=True)
class _AucTable:
    """
    A weighted mean of R_NX(K) over K, written as a sum over neighbours.

    With c(K) the number of cells among the K nearest both in the data and on the map, `Q_NX(K) = c(K) / K` and
    `R_NX(K) = ((n - 1) Q_NX(K) - K) / (n - 1 - K)` for one cell. Another cell counts in c(K) from the larger of its
    two ranks on, so its share of the mean depends on that rank only: `shares[rank]`.
    """

    shares: npt.NDArray[np.float64]
    constant: float

    def per_cell(self, larger_ranks: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        return np.asarray(np.take(self.shares, larger_ranks).sum(axis=1) - self.constant)


def _auc_tables(n_cells: int) -> tuple[_AucTable, _AucTable]:
    """Make the tables of the local and the global area: K weighted by 1/K, and all K equally."""
    sizes = np.arange(1, n_cells - 1, dtype=np.float64)  # K = 1, ..., n - 2
    return _auc_table(sizes, 1 / sizes, n_cells), _auc_table(sizes, np.ones_like(sizes), n_cells)


def _auc_table(sizes: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], n_cells: int) -> _AucTable:
    weights = weights / weights.sum() / (n_cells - 1 - sizes)
    shares = np.zeros(n_cells)  # by rank: 0 is the cell itself, n - 1 the farthest cell, which is in no c(K)
    shares[1:-1] = np.cumsum((weights * (n_cells - 1) / sizes)[::-1])[::-1]
    return _AucTable(shares, float((weights * sizes).sum()))
