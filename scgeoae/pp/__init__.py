"""Prepare data so that what is made from them can be judged."""

from __future__ import annotations

from ._split_counts import split_counts

__all__ = ["split_counts"]
