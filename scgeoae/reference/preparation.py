"""How expression was prepared: told by its values, so that the cells of a query can be compared with the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..inputs import ValueRange

PREPARATIONS = {
    "counts": "raw counts",
    "normalized": "normalized counts without a logarithm",
    "log": "log-normalized values, as `sc.pp.log1p` makes them",
    "log2": "log-normalized values to base 2",
    "log10": "log-normalized values to base 10",
    "scaled": "scaled values, as `sc.pp.scale` makes them",
    "uncentered": "values scaled without centering, as by `sc.pp.scale(zero_center=False)`",
    "residuals": "values around 0, as after `sc.pp.regress_out`",
}
"""All preparations that are told apart, and what messages call them."""

COMPATIBLE = {
    *((name, name) for name in PREPARATIONS),
    *(("residuals", name) for name in PREPARATIONS),
    *((name, "residuals") for name in ("log", "log2", "log10", "scaled", "uncentered")),
}
"""Preparations of a query and of a reference that are the same, or may fit: residuals are also what the correction of a
batch makes of values like those of the reference."""

BASES = {"normalized": 0.0, "log": 1.0, "log2": np.log(2), "log10": np.log(10)}
"""Logarithm of the base by preparation; 0 without a logarithm."""

DETECTED = 1e-4
"""A gene is detected if it lies this far above its zero level: by more than rounding error."""

SMALL, CLOSE = 20.0, 0.02
"""Multiples of the smallest value of a cell up to which they are whole numbers if they are counts, within this."""

MIN_VALUES, MIN_CELLS, MIN_GENES, DETECTED_IN = 50, 20, 10, 0.1
"""Values, cells and genes that it takes to tell a preparation; and in which share of the cells a gene must be detected
for its standard deviation to be known from a sample."""

UNIT = 0.1
"""Values are scaled if the logarithm of the standard deviation of the median gene is below this. Measured on five data
sets: 0.02 to 0.07 after `sc.pp.scale`, 0.15 to 0.7 for log-normalized values."""


def recognize(x: np.ndarray, values: ValueRange) -> str | None:
    """Tell how expression ``x`` (n, g), float64, of sampled cells was prepared, given the ``values`` of all cells.

    Counts of a cell that were divided by its depth are whole multiples of its smallest one, which is a single count:
    the logarithm after which this holds is the one that was taken. Scaled genes have the standard deviation 1.

    Returns
    -------
    One of `PREPARATIONS`, or `None` if the values do not say.
    """
    if values.whole and values.low >= 0:
        return "counts" if values.high > 1 else None
    if values.low >= -DETECTED and (found := _of_multiples(x)) is not None:
        return found
    spread = _spread(x)
    if spread is not None and np.median(np.abs(np.log(spread))) < UNIT:
        if abs(values.low) <= DETECTED:
            return "uncentered"
        return "scaled" if values.low < 0 else None
    return "residuals" if values.low < -DETECTED else None


def is_scaled(x: np.ndarray, std: np.ndarray) -> bool:
    """Whether genes ``x`` (n, g) were divided by their standard deviations, which were about ``std`` (g,) before.

    Also if there are too few cells to tell.
    """
    spread = _spread(x, genes := _well_detected(x))
    return spread is None or bool(np.median(np.abs(np.log(spread))) <= np.median(np.abs(np.log(spread / std[genes]))))


def _of_multiples(x: np.ndarray) -> str | None:
    detected = x > DETECTED
    x = x[detected.any(1)]
    smallest = np.where(x > DETECTED, x, np.inf).min(1, keepdims=True)  # (n, 1)
    found = []
    for name, log_base in BASES.items():
        with np.errstate(over="ignore", invalid="ignore"):
            counts, single = (np.expm1(log_base * part) if log_base else part for part in (x, smallest))
            multiples = (counts / single)[x > DETECTED]
        multiples = multiples[(multiples > 1 + CLOSE) & (multiples < SMALL)]
        # measured: 1.00 for the right logarithm, up to 0.07 for the others
        if len(multiples) >= MIN_VALUES and np.mean(np.abs(multiples - np.rint(multiples)) < CLOSE) > 1 / 2:
            found.append(name)
    return found[0] if len(found) == 1 else None


def _well_detected(x: np.ndarray) -> np.ndarray:
    """Which genes (g,) bool of ``x`` (n, g) are above their lowest value in enough cells."""
    return np.asarray((x > x.min(0, initial=np.inf) + DETECTED).mean(0) >= DETECTED_IN)


def _spread(x: np.ndarray, genes: np.ndarray | None = None) -> np.ndarray | None:
    """Standard deviations of the well detected genes; `None` if there are too few of them, or of cells."""
    if len(x) < MIN_CELLS:
        return None
    x = x[:, _well_detected(x) if genes is None else genes]
    return x.std(0, ddof=1) if x.shape[1] >= MIN_GENES else None
