"""Read-only views of a stored result."""

from __future__ import annotations

from ._decode import decode
from ._gene_gradient import gene_gradient
from ._geodesic import geodesic
from ._model import coordinates, metric, model, nonlinearity

__all__ = ["coordinates", "decode", "gene_gradient", "geodesic", "metric", "model", "nonlinearity"]
