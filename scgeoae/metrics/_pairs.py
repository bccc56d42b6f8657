"""Distances of pairs of cells, in the data and on the map: of all pairs, in blocks, or of a random sample of pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ._checks import check_integer
from ._points import Points, prepare
from ._sampling import Random, row_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


def squared_blocks(several: Sequence[PairedDistances]) -> Iterator[list[npt.NDArray[np.float64]]]:
    """
    Yield the squared distances of all pairs of cells, in the data and on several maps of these data.

    Those in the data take most of the time and are computed once for all maps. Each array has the shape (pairs of the
    block,).
    """
    data = several[0].data
    for rows in row_blocks(np.arange(data.n_cells), data.n_cells):
        first = rows[0]
        each_once = np.arange(first, data.n_cells) > rows[:, None]  # (rows, cells - first)
        points = [data, *(pairs.embedding for pairs in several)]
        yield [each.squared_distances(rows, first)[each_once] for each in points]


def pair_distances(X: Any, Z: Any, *, max_cells: int, rng: Random) -> PairedDistances:
    """
    Return the distances in the data and on the map, from which all measures of distances are computed.

    Parameters
    ----------
    X, Z
        Data and map as `as_pair` returns them, shapes (cells, features) and (cells, map dimensions).
    max_cells
        If there are more cells, a random sample of `100 * max_cells` pairs is used.
    rng
        Seed or generator for the sample.
    """
    return pair_distances_of_several(X, [Z], max_cells=max_cells, rng=rng)[0]


def pair_distances_of_several(
    X: Any, embeddings: Sequence[Any], *, max_cells: int, rng: Random
) -> list[PairedDistances]:
    """Return the distances in the data and on several maps of the same cells, of the same pairs."""
    max_cells = check_integer(max_cells, "max_cells", 3)
    generator = np.random.default_rng(rng)
    data, maps = prepare(X), [prepare(Z) for Z in embeddings]
    if data.n_cells <= max_cells:
        return [PairedDistances(data, embedding, None) for embedding in maps]
    pairs = _random_pairs(data.n_cells, PAIRS_PER_CELL * max_cells, generator)
    in_data, *on_maps = (np.sqrt(points.squared_distances_of_pairs(*pairs)) for points in (data, *maps))
    samples = [PairSample(in_data, on_map) for on_map in on_maps]
    return [PairedDistances(data, embedding, sample) for embedding, sample in zip(maps, samples, strict=True)]


def _random_pairs(
    n_cells: int, n_pairs: int, generator: np.random.Generator
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    left = generator.integers(n_cells, size=n_pairs)
    right = generator.integers(n_cells - 1, size=n_pairs)
    return left, right + (right >= left)
