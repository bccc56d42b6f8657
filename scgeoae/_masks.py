"""Masked arrays: numpy drops their masks silently, and what was masked would be taken for numbers."""

from __future__ import annotations

from typing import Any

import numpy as np


def refuse_masked(values: Any, name: str) -> None:
    """Raise a `ValueError` if values of a masked array are masked."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        msg = f"{name} has masked values. Fill them in first."
        raise ValueError(msg)
