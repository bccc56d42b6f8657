"""Summarize how uneven a map is."""

from __future__ import annotations

import numpy as np


def distortion_summary(log_det: np.ndarray, anisotropy: np.ndarray) -> dict[str, float]:
    """Summarize log determinant, up to a constant, and anisotropy of the cells, each (n,); leave out missing values.

    Returns
    -------
    `'log_det_variance'` : the variance of ln det over cells, 0 where all areas are true.
    `'det_p95_p5'` : 95th over 5th percentile of det.
    `'anisotropy'` : its median, at least 1.
    """
    low, high = np.percentile(log_det, [5, 95])
    with np.errstate(invalid="ignore"):  # of infinite values, the variance is NaN
        variance = np.nanvar(log_det, ddof=1)
    return {
        "log_det_variance": float(variance),
        "det_p95_p5": float(np.exp(high - low)),
        "anisotropy": float(np.nanmedian(anisotropy)),
    }
