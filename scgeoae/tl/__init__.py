"""Tools: train a map, place new cells on it, measure it. They write their results to the AnnData."""

from __future__ import annotations

from ._alpha_path import alpha_path
from ._cluster_areas import cluster_areas
from ._fit_decoder import fit_decoder
from ._geometric_ae import geometric_ae
from ._map_cells import map_cells

__all__ = ["alpha_path", "cluster_areas", "fit_decoder", "geometric_ae", "map_cells"]
