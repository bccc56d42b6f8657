"""What the measures share: the sample of cells, values with their standard errors, columns of the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from .._checks import whole_number

MIN_SAMPLE = 1_000
"""Smallest sample of cells, however many cells there are; `max_cells` if that is less."""

Random = int | np.random.Generator | None


@dataclass(frozen=True)
class Measure:
    """A column of the table: what plots call it, which values are better, and whether it is part of `mean_rank`.

    Higher or lower values are better, or those nearer to one by their ratio, or none: then values are no judgement.
    """

    label: str
    better: Literal["higher", "lower", "one", "none"]
    ranked: bool = False


class Estimate(NamedTuple):
    """The value of a measure, and its standard error: `None` if the value is exact or its error is unknown."""

    value: float
    standard_error: float | None = None


def sample_cells(n_cells: int, max_cells: int, rng: Random) -> np.ndarray:
    """Choose the cells for which a measure is computed, among all cells.

    Up to `max_cells` cells, all of them. Of more, a random sample of `max_cells**2 / n_cells`, so that the number of
    distances stays the same, but of at least 1,000 (or `max_cells`, if that is less).

    Returns
    -------
    Row numbers in rising order, without repetition.
    """
    max_cells = whole_number(max_cells, "max_cells", 3)
    generator = np.random.default_rng(rng)
    if n_cells <= max_cells:
        return np.arange(n_cells)
    size = min(max_cells, max(MIN_SAMPLE, max_cells**2 // n_cells))
    return np.sort(generator.choice(n_cells, size, replace=False))


def mean_estimate(values: np.ndarray, n_cells: int, influence: np.ndarray | None = None) -> Estimate:
    """Estimate the mean over `n_cells` cells from the values of the sampled cells, drawn without replacement.

    Parameters
    ----------
    values
        Value of each sampled cell, shape (sampled cells,).
    n_cells
        Number of all cells.
    influence
        Values from whose spread the standard error is computed, shape (sampled cells,), where it is not that of
        `values`.
    """
    value, spread = float(np.mean(values)), values if influence is None else influence
    if len(values) == n_cells:
        return Estimate(value)
    share_left_out = 1 - len(values) / n_cells
    return Estimate(value, float(np.std(spread, ddof=1) * np.sqrt(share_left_out / len(values))))
