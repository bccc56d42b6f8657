"""Fingerprints: what a result was made from, and whether that is still there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scanpy import logging as logg

if TYPE_CHECKING:
    from collections.abc import Callable

    from .core.rows import Rows

N_CELLS, N_SLOW_CELLS, N_COMPARED = 500, 100, 16
"""Cells of a sample; cells of a sample where each is read from disk or computed, and how many are compared then."""
N_COLUMNS = 64
"""Columns of a sample, at most."""
N_ENTRIES = 6_000_000
"""Entries of the largest matrix whose mean and spread are taken."""
CLOSE, CLOSE_MEAN = 1e-3, 1e-4
"""Largest difference of a value, and of the mean and the spread of all cells, as a share of the spread. Rounding to
float32 is a difference of 1e-7; a map does not show one of 1e-3."""
BLOCK = 2_048
"""Cells that are summed together."""
ROUNDING = 1e-6
"""The same as a share of the largest value: that of float32, for values far from 0."""


class Values(NamedTuple):
    """The values of cells, to take a fingerprint of them or to compare them with one.

    Attributes
    ----------
    shape
        Number of cells and of columns.
    take
        Reads the cells (m, D) at some positions (m,).
    whole
        All of them (n, D), if they are a dense array in memory.
    slow
        Whether each cell that is taken has to be read from disk or computed.
    """

    shape: tuple[int, int]
    take: Callable[[np.ndarray], np.ndarray]
    whole: np.ndarray | None = None
    slow: bool = False

    @classmethod
    def of(cls, array: np.ndarray) -> Values:
        """Values in a dense array (n, D)."""
        return cls((array.shape[0], array.shape[1]), array.__getitem__, array)

    @classmethod
    def of_rows(cls, rows: Rows) -> Values:
        """Rows (n, D), each of which may have to be computed."""
        import torch  # takes seconds, and coordinates do not need it

        def take(cells: np.ndarray) -> np.ndarray:
            parts = torch.from_numpy(cells).split(N_COMPARED)  # few at a time: they may be made of many genes
            return torch.cat([rows.take(part).cpu() for part in parts]).numpy()

        return cls(rows.shape, take, slow=True)


class Comparison(NamedTuple):
    """Whether values are those of a fingerprint: `True`, `False`, or `None` if that cannot be told; and the reason."""

    same: bool | None
    why: str = ""


NO_FINGERPRINT = Comparison(same=None, why="the result was written before scgeoae stored what results are made from")


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """A matrix of cells, known by some of them and by statistics of all.

    The sampled cells are found by their names, so subsets and other orders are the same. The statistics are compared if
    there are as many cells as there were.

    Attributes
    ----------
    n_cells, n_features
        Shape of the matrix.
    cells
        Names (m,) of the sampled cells, `object`; each of one cell only.
    values
        Their values (m, c) `float32`, in up to `N_COLUMNS` columns spread over all.
    mean, spread
        Of all cells in these columns: the mean of each (c,), and the standard deviation, root mean square over the
        columns; `None` if the matrix is large or not a dense array in memory.
    """

    n_cells: int
    n_features: int
    cells: np.ndarray = field(repr=False, metadata={"shape": ("m",), "dtype": str})
    values: np.ndarray = field(repr=False, metadata={"shape": ("m", "c")})
    mean: np.ndarray | None = field(default=None, repr=False, metadata={"shape": ("c",)})
    spread: float | None = None

    @classmethod
    def of(cls, values: Values, names: pd.Index) -> Fingerprint:
        """Take the fingerprint of ``values`` of cells with these ``names`` (n,)."""
        sampled = names[_spread_over(len(names), N_SLOW_CELLS if values.slow else N_CELLS)].astype(str).unique()
        positions = _find(sampled, names)
        cells, positions = sampled[positions >= 0].to_numpy(dtype=object), positions[positions >= 0]
        part = values.take(positions)[:, _columns(values)].astype(np.float32)
        return cls(*values.shape, cells, part, *_moments(values))

    def compare(self, values: Values, names: pd.Index) -> Comparison:
        """Compare ``values`` of cells with these ``names`` (n,) with the matrix that the fingerprint was taken of."""
        if values.shape[1] != self.n_features:
            return Comparison(same=False, why=f"there are {values.shape[1]} features instead of {self.n_features}")
        if not len(names):
            return Comparison(same=True)
        scale = float(np.sqrt(self.values.var(0, dtype=np.float64).mean())) if len(self.values) else 0.0
        rounding = ROUNDING * float(np.abs(self.values).max(initial=0))
        if len(names) == self.n_cells and self.mean is not None and self.spread is not None:
            mean, spread = _moments(values)
            if mean is not None and spread is not None:
                differences = np.abs([*(mean - self.mean), spread - self.spread])
                if not (differences <= CLOSE_MEAN * self.spread + rounding).all():  # also if one is missing
                    return Comparison(same=False, why="their mean or spread over all cells differs")
        positions = _find(self.cells, names)
        (here,) = np.nonzero(positions >= 0)
        if values.slow:
            here = here[_spread_over(len(here), N_COMPARED)]
        if not len(here):
            return Comparison(same=None, why="none of the sampled cells is found by its name")
        now = values.take(positions[here])[:, _columns(values)].astype(np.float32)
        same = (np.abs(now - self.values[here]) <= CLOSE * scale + rounding).all(1)
        if same.all():
            return Comparison(same=True)
        return Comparison(same=False, why=f"{(~same).sum()} of {len(same)} cells that were compared have other values")


def compare(fingerprint: Fingerprint | None, values: Values, names: pd.Index) -> Comparison:
    """Compare as :meth:`Fingerprint.compare`; a result of an earlier version has no fingerprint."""
    return NO_FINGERPRINT if fingerprint is None else fingerprint.compare(values, names)


def warn_if_unknown(found: Comparison, what: str) -> None:
    """Log a warning if it cannot be told whether a matrix is still ``what`` it was."""
    if found.same is None:
        logg.warning(f"It cannot be checked whether {what}: {found.why}.")


def _find(cells: np.ndarray | pd.Index, names: pd.Index) -> np.ndarray:
    """Find the positions (m,) of cells by their names; -1 where none, or more than one, has the name."""
    names = names if pd.api.types.is_string_dtype(names) else names.astype(str)
    number = pd.Index(cells, dtype=names.dtype).get_indexer(names)  # quicker than to hash all names
    (here,) = np.nonzero(number >= 0)
    positions = np.full(len(cells), -1)
    positions[number[here]] = here
    positions[np.bincount(number[here], minlength=len(cells)) > 1] = -1
    return positions


def _spread_over(n: int, n_chosen: int) -> np.ndarray:
    """Choose positions spread evenly over ``n``, or all if there are fewer."""
    return np.arange(n) if n <= n_chosen else np.linspace(0, n - 1, n_chosen).astype(np.int64)


def _columns(values: Values) -> slice:
    return slice(None, None, max(1, -(-values.shape[1] // N_COLUMNS)))


def _moments(values: Values) -> tuple[np.ndarray | None, float | None]:
    """Compute mean (c,) and spread of all cells in the columns of a sample, float64, where that is quick."""
    x = values.whole
    if x is None or not 0 < x.size <= N_ENTRIES:
        return None, None
    columns, first = _columns(values), x[0].astype(np.float32)
    total, squares = np.zeros(1), 0.0
    with np.errstate(all="ignore"):  # of missing and infinite values, which are found elsewhere
        for start in range(0, len(x), BLOCK):  # sums of float32 are exact enough for so few cells
            block = (x[start : start + BLOCK] - first).astype(np.float32, copy=False)[:, columns]
            total = total + np.ones(len(block), np.float32) @ block
            squares += float(np.vdot(block, block))
        mean = total / len(x)
        spread = np.sqrt(max(squares / len(x) / len(mean) - np.square(mean).mean(), 0))
    known = np.isfinite(mean).all() and np.isfinite(spread)  # squares of 1e30 are beyond float32
    return (first[columns] + mean, float(spread)) if known else (None, None)
