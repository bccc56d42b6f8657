"""Preparation: split counts, so that a map can be evaluated on other data of the same cells."""

from __future__ import annotations

from ._split_counts import split_counts

__all__ = ["split_counts"]
