"""How far a cell expresses genes beyond what its components say: cells of a kind that the reference does not hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..core.rows import blocks
from .preparation import DETECTED

if TYPE_CHECKING:
    from .projection import Projection

TOP_SHARE = 0.01
"""Share of the genes that count: those that exceed their reconstruction most. Few genes mark a type of cells, and over
all genes their excess drowns in noise."""

SPECIFICITY = 0.95
"""Share of cells like those of the reference that are not novel."""

NEGLIGIBLE = 1e-3
"""If the typical excess is below this many standard deviations, the components hold all that the genes hold."""

SMALLEST_GAP = 0.05
"""Least difference between the variances of a component and of a residual, as a share of the component's."""


@dataclass(frozen=True)
class Novelty:
    """The excess of genes over their reconstruction from the components, as cells of the reference have it.

    The excess of a cell is the mean of the largest 1 % of its residuals, each in standard deviations of the gene over
    the reference. Over the reference, its logarithm is linear in the logarithm of the share of genes that are detected,
    which stands for the sequencing depth. The novelty of a cell is its excess over this expectation.

    Attributes
    ----------
    intercept, slope
        The expectation: ``log excess = intercept + slope * log share``.
    threshold
        The 95th percentile of the novelty of reference cells.
    spread
        Standard deviation of each gene over the reference, (g,) float64; `None` if genes are scaled.
    """

    intercept: float
    slope: float
    threshold: float = field(metadata={"positive": True})
    spread: np.ndarray | None = field(default=None, repr=False, metadata={"shape": ("g",), "positive": True})

    def of(self, projection: Projection, x: np.ndarray, y: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
        """Novelty (n,), about 1 for a typical reference cell, of scaled genes ``x`` (n, g) with components ``y``.

        If not all genes are ``known`` (g,) bool, the others are left out.
        """
        genes: np.ndarray | slice = slice(None) if known is None else known
        expected = np.exp(self.intercept + self.slope * np.log(_detected(projection, x, genes)))
        spread = None if self.spread is None else self.spread[genes]
        return _excess((x - projection.expected(y))[:, genes], spread) / expected


def fit_novelty(
    projection: Projection, x: np.ndarray, variances: np.ndarray, n_reference: int, spread: np.ndarray | None
) -> Novelty | None:
    """Calibrate the novelty by cells of the reference.

    Principal components fit the cells that they were computed from better than new cells. So each residual is
    multiplied by what leaving the cell out of the PCA does to it, in first order: ``1 + 1/n + sum_k z_k^2 / (n (v_k -
    v))``, where `z_k` is the `k`-th component of the cell, `v_k` the variance of this component, and `v` the variance
    of all cells along the residual of the cell.

    Parameters
    ----------
    projection
        How genes become components.
    x
        Scaled genes (m, g), float32, of m cells of the reference; overwritten.
    variances
        Of the components over the reference, (D,).
    n_reference
        n, number of cells of the reference.
    spread
        Standard deviation of each gene over the reference, (g,); `None` if genes are scaled.

    Returns
    -------
    The novelty, or `None` if the components leave nothing out or there are fewer than two cells.
    """
    m, n_genes = x.shape
    z, (excess, share, size) = np.empty((m, len(variances))), np.empty((3, m))
    for rows in blocks(m, n_genes):
        part = x[rows].astype(np.float64)
        z[rows], share[rows] = projection.apply(part, scaled=True), _detected(projection, part)
        part -= projection.expected(z[rows])
        excess[rows], size[rows] = _excess(part, spread), np.square(part).sum(1)
        x[rows] = part / np.sqrt(np.maximum(size[rows], np.finfo(float).tiny))[:, None]
    if m < 2 or not np.median(excess) > NEGLIGIBLE:
        return None
    cosines = x @ x.T  # (m, m)
    np.fill_diagonal(cosines, 0)
    along = np.square(cosines) @ size / (m - 1) + size / n_reference  # (m,)
    gap = np.maximum(variances - along[:, None], SMALLEST_GAP * variances)  # (m, D)
    excess *= 1 + 1 / n_reference + (np.square(z) / gap).sum(1) / n_reference
    depth, height = np.log(share), np.log(np.maximum(excess, NEGLIGIBLE))
    varied = depth - depth.mean()
    slope = float(varied @ height / (varied @ varied)) if np.ptp(depth) > 0 else 0.0
    intercept = float(height.mean() - slope * depth.mean())
    novelty = np.exp(height - intercept - slope * depth)
    return Novelty(intercept, slope, float(np.quantile(novelty, SPECIFICITY)), spread)


def _excess(residual: np.ndarray, spread: np.ndarray | None) -> np.ndarray:
    """Mean (n,) of the largest 1 % of each cell's residuals (n, g), in standard deviations."""
    residual = residual if spread is None else residual / spread
    n_genes = residual.shape[1]
    n_top = max(1, round(TOP_SHARE * n_genes))
    return np.partition(residual, n_genes - n_top, axis=1)[:, n_genes - n_top :].mean(1)


def _detected(projection: Projection, x: np.ndarray, genes: np.ndarray | slice = slice(None)) -> np.ndarray:
    """Share (n,) of some genes of scaled cells ``x`` (n, g) that are detected, at least one gene."""
    zero = np.zeros(x.shape[1]) if projection.scaling is None else projection.scaling.zero_level
    found = (x > zero + DETECTED)[:, genes]
    return np.maximum(found.sum(1), 1) / found.shape[1]
