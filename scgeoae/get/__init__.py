"""Read-only views of a stored result."""

from __future__ import annotations

from ._model import coordinates, metric, model

__all__ = ["coordinates", "metric", "model"]
