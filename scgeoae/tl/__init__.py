"""Tools: train a map, place new cells on it, measure it. They write their results to the AnnData."""

from __future__ import annotations

from ._alpha_path import alpha_path
from ._cluster_areas import cluster_areas
from ._cluster_distances import cluster_distances
from ._ensemble import ensemble
from ._fit_decoder import fit_decoder
from ._gene_readout import gene_readout
from ._geometric_ae import geometric_ae
from ._lens import lens
from ._map_cells import map_cells
from ._velocity import velocity
from ._verdict import verdict

__all__ = [
    "alpha_path",
    "cluster_areas",
    "cluster_distances",
    "ensemble",
    "fit_decoder",
    "gene_readout",
    "geometric_ae",
    "lens",
    "map_cells",
    "velocity",
    "verdict",
]
