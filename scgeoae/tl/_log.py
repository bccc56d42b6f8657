"""What the tools log: from one process, and at the end the fields that were added."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from scanpy import logging as logg
from scanpy import settings

from ..core import processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

PROGRESS = 2
"""Verbosity of scanpy from which a progress bar is shown."""


@contextmanager
def rank_0_logs() -> Iterator[None]:
    """Let only the first of several processes log."""
    before = settings.verbosity
    if processes.rank() > 0:
        settings.verbosity = 0
    try:
        yield
    finally:
        settings.verbosity = before


def finished(start: datetime, *fields: str) -> None:
    """Log the end of a tool, its time and the fields that it added, as ``'geoae_det', determinant (adata.obs)``."""
    logg.info("    finished", time=start, deep="added" + "".join(f"\n    {field}" for field in fields))
