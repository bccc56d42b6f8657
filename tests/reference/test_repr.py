"""What prints itself in a line."""

from __future__ import annotations

import numpy as np

from scgeoae.reference.projection import Projection, Scaling


def test_a_projection_tells_its_sizes() -> None:
    genes = np.array([f"gene {i}" for i in range(2000)], dtype=object)
    scaling = Scaling(np.zeros(2000), np.ones(2000), max_value=10)
    loadings = np.zeros((2000, 50))
    assert repr(Projection(genes)) == "Projection(2000 genes)"
    full = Projection(genes, loadings, np.zeros(50), np.zeros(2000), scaling, layer="log")
    assert repr(full) == "Projection(2000 genes of layer 'log', scaled, 50 components)"
    assert repr(scaling) == "Scaling(max_value=10)"
