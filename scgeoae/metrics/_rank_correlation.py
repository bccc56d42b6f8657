"""Spearman's correlation of two long series of numbers, without storing or sorting them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Series = Sequence[npt.NDArray[np.float64]]

FRACTION_BITS = 16
OCTAVES = 64
N_LEVELS = OCTAVES << FRACTION_BITS


@dataclass(frozen=True)
class Levels:
    """
    Numbered levels for numbers from 0 to a bound: 2^16 in each of the 64 octaves below the bound.

    A number is rounded down to 16 binary digits after the first. Numbers more than 64 octaves below the bound are on
    level 0. The leading bits of a float64 that is not negative, read as an integer, are the number of its level, up to
    a constant.
    """

    bound: float

    def of(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Level of each number, shape as the numbers', from 0 to `N_LEVELS - 1`."""
        return np.asarray(np.maximum(_leading_bits(values) - self._lowest, 0))

    @property
    def _lowest(self) -> np.int64:
        return np.int64(_leading_bits(np.array([self.bound]))[0] - (N_LEVELS - 1))


def _leading_bits(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    return values.view(np.int64) >> (np.finfo(np.float64).nmant - FRACTION_BITS)


def spearman_of_blocks(blocks: Callable[[], Iterable[Series]], bounds: Sequence[float]) -> list[float]:
    """
    Spearman's correlation of the first of several series with each of the others, NaN if one of the two does not vary.

    The series arrive in blocks. The first pass counts the numbers on each of 2^22 levels, which gives the mean rank of
    a level; the second multiplies the ranks.

    Parameters
    ----------
    blocks
        Called once for each pass; yields one array per series, each of shape (numbers of the block,), not negative.
    bounds
        Upper bounds on the numbers of each series.
    """
    levels = [Levels(bound) for bound in bounds]
    counts = [np.zeros(N_LEVELS, dtype=np.int64) for _ in levels]
    for block in blocks():
        for count, level, values in zip(counts, levels, block, strict=True):
            count += np.bincount(level.of(values), minlength=N_LEVELS)
    ranks, squared = [], []
    while counts:
        count = counts.pop(0)  # tables take 32 MB each
        ranks.append(_centred_mean_ranks(count))
        squared.append(float(count @ ranks[-1] ** 2))
    products = np.zeros(len(ranks) - 1)
    for block in blocks():
        first, *others = (rank[level.of(values)] for rank, level, values in zip(ranks, levels, block, strict=True))
        products += [float(first @ other) for other in others]
    return [_correlation(float(product), squared[0], each) for product, each in zip(products, squared[1:], strict=True)]


def _centred_mean_ranks(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Mean rank of the numbers on each level, as a share of all and relative to the middle, shape as the counts'."""
    last_ranks = np.cumsum(counts)
    return np.asarray((last_ranks - counts / 2) / last_ranks[-1] - 0.5)


def spearman_of_arrays(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    """Spearman's correlation of two arrays of shape (pairs,), NaN if one of the two does not vary."""
    ranks = np.stack([rankdata(first), rankdata(second)]) - (len(first) + 1) / 2
    return _correlation(float(ranks[0] @ ranks[1]), *(ranks**2).sum(axis=1).tolist())


def _correlation(product: float, first_squared: float, second_squared: float) -> float:
    scale = float(np.sqrt(first_squared) * np.sqrt(second_squared))
    return product / scale if scale > 0 else float("nan")
