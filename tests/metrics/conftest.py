from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from scgeoae.metrics import _estimates, _points

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def data() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(150, 6)) * [3, 2, 1, 1, 1, 1]


@pytest.fixture
def embedding(data: np.ndarray) -> np.ndarray:
    return data[:, :2] + 0.5 * np.random.default_rng(1).normal(size=(len(data), 2))


@pytest.fixture
def set_block_bytes(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def set_bytes(size: int) -> None:
        monkeypatch.setattr(_points, "BLOCK_BYTES", size)

    return set_bytes


@pytest.fixture
def allow_small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_estimates, "MIN_SAMPLE", 1)
