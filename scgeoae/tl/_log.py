"""The end of each tool: its fields are written and logged; and logging from one process."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scanpy import logging as logg
from scanpy import settings

from .. import fields
from ..core import processes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from anndata import AnnData

    from ..fields import Field, Keys

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


def finish(adata: AnnData, keys: Keys, values: Mapping[Field, Any], start: datetime, *, copy: bool) -> AnnData | None:
    """Write what a tool has computed, to `adata` or a copy, and log its time and what was added; return the copy."""
    adata = adata.copy() if copy else adata
    added = fields.write(adata, keys, values)
    logg.info("    finished", time=start, deep="added" + "".join(f"\n    {line}" for line in added))
    return adata if copy else None
