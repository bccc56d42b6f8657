"""How uneven a map is."""

from __future__ import annotations

import numpy as np
import pytest

from scgeoae.core.distortion import distortion_summary


def test_summary() -> None:
    det = np.exp(np.linspace(-1, 1, 101))
    summary = distortion_summary(np.log(det), np.arange(1, 102))
    assert summary["log_det_variance"] == pytest.approx(np.log(det).var(ddof=1))
    assert summary["det_p95_p5"] == pytest.approx(np.exp(1.8))
    assert summary["anisotropy"] == 51
