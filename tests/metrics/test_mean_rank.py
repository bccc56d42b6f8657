"""Which measures the mean rank counts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scgeoae.metrics.quality import MEASURES, _mean_rank


def test_a_wide_kernel_does_not_count() -> None:
    """All maps have nearly the same density at this sigma; their order is noise."""
    table = pd.DataFrame({name: [1.0, 1.0] for name in MEASURES}, index=["a", "b"])
    table["kl_density_100"] = [1e-7, 2e-7]
    np.testing.assert_array_equal(_mean_rank(table), 1.5)
    table["kl_density_0.1"] = [0.1, 0.2]
    np.testing.assert_allclose(_mean_rank(table), [1.4, 1.6])
