"""Samples of cells, and standard errors of the measures that are computed from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from ._checks import check_integer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK_BYTES = 16 * 2**20
"""Largest size of one array of distances between a block of cells and all cells. A few are in memory at a time."""

MIN_SAMPLE = 1_000
"""Smallest sample of cells, however many cells there are; `max_cells` if that is less."""

Random = int | np.random.Generator | None


class Estimate(NamedTuple):
    """The value of a measure, and its standard error: 0 where it was computed from all cells."""

    value: float
    standard_error: float


def sample_cells(n_cells: int, max_cells: int, rng: Random) -> npt.NDArray[np.intp]:
    """
    Choose the cells whose neighbours are searched for.

    Up to `max_cells` cells, all. Of more, a random sample of `max_cells**2 / n_cells`, so that the number of distances
    stays the same, but of at least 1,000 (or `max_cells`, if that is less).

    Returns
    -------
    Row numbers in rising order, without repetition.
    """
    max_cells = check_integer(max_cells, "max_cells", 3)
    generator = np.random.default_rng(rng)
    if n_cells <= max_cells:
        return np.arange(n_cells)
    size = min(max_cells, max(MIN_SAMPLE, max_cells**2 // n_cells))
    return np.sort(generator.choice(n_cells, size, replace=False))


def row_blocks(rows: npt.NDArray[np.intp], n_cells: int) -> Iterator[npt.NDArray[np.intp]]:
    """Cut the rows into blocks whose distances to all cells take at most `BLOCK_BYTES` (but at least one row)."""
    size = max(1, BLOCK_BYTES // (8 * n_cells))
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def mean_estimate(values: npt.NDArray[np.floating], n_cells: int) -> Estimate:
    """Return the mean of a value per sampled cell, shape (sampled cells,), with its standard error."""
    return Estimate(float(np.mean(values)), standard_error_of_mean(values, n_cells))


def standard_error_of_mean(values: npt.NDArray[np.floating], n_cells: int) -> float:
    """Return the standard error of the mean of values of cells drawn without replacement from `n_cells`."""
    share_left_out = 1 - len(values) / n_cells
    return float(np.std(values, ddof=1) * np.sqrt(share_left_out / len(values)))


def standard_error_by_groups(
    measure: Callable[..., float], *samples: npt.NDArray[np.float64], n_groups: int = 20
) -> float:
    """Return the standard error of a measure of paired samples, from its spread over groups that share no pair."""
    groups = zip(*(np.array_split(sample, n_groups) for sample in samples), strict=True)
    return float(np.std([measure(*group) for group in groups], ddof=1) / np.sqrt(n_groups))
