"""Pairs of distances, in the data and on the map: all pairs of cells in blocks, or a random sample of pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ._checks import check_integer
from ._points import Points, prepare
from ._sampling import Random, row_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

PAIRS_PER_CELL = 100
"""A sample has `PAIRS_PER_CELL * max_cells` pairs."""


@dataclass(frozen=True)
class PairSample:
    """Distances of pairs of different cells drawn at random with replacement, each of shape (pairs,)."""

    in_data: npt.NDArray[np.float64]
    on_map: npt.NDArray[np.float64]


@dataclass(frozen=True)
class PairedDistances:
    """
    The distances of pairs of cells, from which the measures of distances are computed.

    Parameters
    ----------
    data, embedding
        The cells in the data and on the map.
    sample
        Distances of a random sample of pairs, or None where all pairs are used.
    """

    data: Points
    embedding: Points
    sample: PairSample | None

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.data.n_cells

    @property
    def n_pairs(self) -> int:
        """Number of all pairs of different cells."""
        return self.n_cells * (self.n_cells - 1) // 2

    def squared_blocks(self) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
        """Yield the squared distances of all pairs once, in the data and on the map, each of shape (pairs,)."""
        for rows in row_blocks(np.arange(self.n_cells), self.n_cells):
            first = rows[0]
            each_once = np.arange(first, self.n_cells) > rows[:, None]  # (rows, cells - first)
            yield (
                self.data.squared_distances(rows, first)[each_once],
                self.embedding.squared_distances(rows, first)[each_once],
            )


def pair_distances(X: Any, Z: Any, *, max_cells: int, rng: Random) -> PairedDistances:
    """
    Pair the distances in the data with those on the map, once for all measures.

    Parameters
    ----------
    X, Z
        Data and map as `as_pair` returns them, shapes (cells, features) and (cells, map dimensions).
    max_cells
        Above so many cells a random sample of pairs stands for all, `100 * max_cells` of them.
    rng
        Seed or generator for the sample.
    """
    max_cells = check_integer(max_cells, "max_cells", 3)
    generator = np.random.default_rng(rng)
    data, embedding = prepare(X), prepare(Z)
    if data.n_cells <= max_cells:
        return PairedDistances(data, embedding, None)
    pairs = _random_pairs(data.n_cells, PAIRS_PER_CELL * max_cells, generator)
    distances = [np.sqrt(points.squared_distances_of_pairs(*pairs)) for points in (data, embedding)]
    return PairedDistances(data, embedding, PairSample(*distances))


def _random_pairs(
    n_cells: int, n_pairs: int, generator: np.random.Generator
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    left = generator.integers(n_cells, size=n_pairs)
    right = generator.integers(n_cells - 1, size=n_pairs)
    return left, right + (right >= left)
