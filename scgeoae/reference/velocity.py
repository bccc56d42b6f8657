"""Velocities of cells, in genes or components: read them in the space of a model's input."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .._lookup import names_of_layers
from ..inputs import choose, genes

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

    from ..inputs import Matrix
    from .model import MapModel


def velocities_of(adata: AnnData, model: MapModel, velocity: str) -> tuple[Callable[[slice], np.ndarray], int]:
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

    Returns
    -------
    A function that reads those of a slice of the cells in the space of the input, (n, D) float64, missing values and
    genes as 0; and how many numbers it reads for a cell.

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
        if (found := adata.obsm[velocity].shape[1]) < model.n_features:
            msg = f"obsm[{velocity!r}] has {found} columns; the input of the model has {model.n_features}."
            raise ValueError(msg)
        columns = choose(adata, use_rep=velocity, n_pcs=model.n_features)
        return partial(_read, columns), found
    if velocity not in adata.layers:
        msg = (
            f"Did not find {velocity!r} in .layers or .obsm: .layers holds {names_of_layers(adata) or 'nothing'}, "
            f".obsm holds {list(adata.obsm) or 'nothing'}. Run `scvelo.tl.velocity` first, or choose another."
        )
        raise KeyError(msg)
    projection = model.input.projection
    if projection is None:
        msg = (
            "The model does not know how genes became its input: it was trained on an obsm that X and varm['PCs'] do "
            f"not reproduce. Pass the key of an obsm that holds the velocity in the space of {model.input.obsm_key!r}."
        )
        raise ValueError(msg)
    matrix, present = genes(adata, projection.genes, velocity)
    if not present.any():
        msg = f"layers[{velocity!r}] holds none of the {len(present)} genes of the model."
        raise ValueError(msg)

    def read(rows: slice) -> np.ndarray:
        known = _read(matrix, rows)
        v = np.zeros((len(known), len(present)))
        v[:, present] = known
        return projection.apply_to_velocity(v)

    return read, len(present)


def _read(matrix: Matrix, rows: slice) -> np.ndarray:
    v = matrix.dense(rows)
    v[np.isnan(v)] = 0
    if not np.isfinite(v).all():
        msg = f"{matrix.source} holds infinite values."
        raise ValueError(msg)
    return v
