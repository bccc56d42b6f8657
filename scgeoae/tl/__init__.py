"""Tools: read AnnData, call the core, write AnnData."""

from __future__ import annotations

from ._geometric_ae import geometric_ae

__all__ = ["geometric_ae"]
