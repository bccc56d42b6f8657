"""Velocities of cells, in genes or components: read them in the space of a model's input, and map them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .._lookup import names_of_layers
from ..core.velocity import map_velocity
from ..inputs import choose, genes

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

    from ..core.rows import Rows
    from ..inputs import Matrix
    from .model import MapModel


class Velocities(NamedTuple):
    """Velocities of cells in the space of the input.

    Attributes
    ----------
    read
        Reads those of a slice of the cells, (n, D) float64; missing values and genes are 0.
    width
        How many numbers are read for a cell.
    """

    read: Callable[[slice], np.ndarray]
    width: int

    def on_map(self, model: MapModel, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Map the velocities of cells with input ``rows`` (n, D); see :func:`~scgeoae.core.velocity.map_velocity`."""
        return map_velocity(model.autoencoder, rows, self.read, self.width)


def velocities_of(adata: AnnData, model: MapModel, velocity: str) -> Velocities:
    """Find velocities by name.

    Parameters
    ----------
    adata
        The cells.
    model
        The model.
    velocity
        A layer, whose genes are matched by name with those of the model, or a key of `obsm` with a column for each
        input feature; as with the input, further columns are left out.

    Raises
    ------
    KeyError
        If there is no such layer or key.
    ValueError, TypeError
        If there are both, the values are infinite or do not fit the model, or it does not know its genes.
    """
    if velocity in adata.layers and velocity in adata.obsm:
        msg = f"Both .layers and .obsm hold {velocity!r}. Rename one of them."
        raise ValueError(msg)
    if velocity in adata.obsm:
        return _of_obsm(adata, model, velocity)
    if velocity in adata.layers:
        return _of_layer(adata, model, velocity)
    there = f".layers holds {names_of_layers(adata) or 'nothing'}, .obsm holds {list(adata.obsm) or 'nothing'}"
    msg = f"Did not find {velocity!r} in .layers or .obsm: {there}. Run `scvelo.tl.velocity` first, or choose another."
    raise KeyError(msg)


def _of_obsm(adata: AnnData, model: MapModel, name: str) -> Velocities:
    found = adata.obsm[name].shape[1]
    if found < model.n_features:
        msg = f"obsm[{name!r}] has {found} columns; the input of the model has {model.n_features}."
        raise ValueError(msg)
    matrix = choose(adata, use_rep=name, n_pcs=model.n_features)
    return Velocities(lambda rows: _read(matrix, rows), found)


def _of_layer(adata: AnnData, model: MapModel, name: str) -> Velocities:
    projection = model.input.projection
    if projection is None:
        msg = (
            "The model does not know how genes became its input: it was trained on an obsm that X and varm['PCs'] do "
            f"not reproduce. Pass the key of an obsm that holds the velocity in the space of {model.input.obsm_key!r}."
        )
        raise ValueError(msg)
    matrix, present = genes(adata, projection.genes, name)
    if not present.any():
        msg = f"layers[{name!r}] holds none of the {len(present)} genes of the model."
        raise ValueError(msg)

    def read(rows: slice) -> np.ndarray:
        known = _read(matrix, rows)
        v = np.zeros((len(known), len(present)))
        v[:, present] = known
        return projection.apply_to_velocity(v)

    return Velocities(read, len(present))


def _read(matrix: Matrix, rows: slice) -> np.ndarray:
    v = matrix.dense(rows)
    v[np.isnan(v)] = 0
    if not np.isfinite(v).all():
        msg = f"{matrix.source} holds infinite values."
        raise ValueError(msg)
    return v
