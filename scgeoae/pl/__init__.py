"""Plots: diagnostics of a map in scanpy's style."""

from __future__ import annotations

from ._alpha_path import alpha_path
from ._cluster_areas import cluster_areas
from ._cluster_distances import cluster_distances
from ._det_heatmap import det_heatmap
from ._embedding import embedding
from ._ensemble import ensemble
from ._explorer import explorer
from ._gene_arrows import gene_arrows
from ._history import history
from ._indicatrix import indicatrix
from ._quality import quality
from ._verdict import verdict

__all__ = [
    "alpha_path",
    "cluster_areas",
    "cluster_distances",
    "det_heatmap",
    "embedding",
    "ensemble",
    "explorer",
    "gene_arrows",
    "history",
    "indicatrix",
    "quality",
    "verdict",
]
