"""Plots: diagnostics of a map in scanpy's style."""

from __future__ import annotations

from ._det_heatmap import det_heatmap
from ._history import history
from ._indicatrix import indicatrix

__all__ = ["det_heatmap", "history", "indicatrix"]
