"""Limits of colors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..fields import Keys

if TYPE_CHECKING:
    from ..result import Result

COVERED, SMALLEST = 99, 2.0
"""Percentage of the cells that the limits of the colors of the determinant cover, and the smallest limit, so that an
even map looks even."""


def log_det_limit(result: Result) -> float:
    """Return the limit of ``|ln det|`` for colors: the 99th percentile of the finite values, but at least ln 2."""
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = np.abs(np.log(result.numbers(Keys.determinant)))
    finite = sizes[np.isfinite(sizes)]
    return float(max(np.percentile(finite, COVERED) if len(finite) else 0, np.log(SMALLEST)))
