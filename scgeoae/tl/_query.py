"""Bring new cells to the input of a trained model, or say why that cannot be done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scanpy import logging as logg

from .._genes import Genes, ProjectedRows, value_range
from .._input import choose_representation
from ..core.rows import check_finite
from ._projection import scaling_columns

if TYPE_CHECKING:
    import torch
    from anndata import AnnData

    from ..core.map_model import MapModel
    from ..core.projection import Scaling, ValueRange
    from ..core.rows import Rows

ZERO_SHARE = 0.1
"""Least share of entries at the reference's zero level for a query to count as scaled with the reference's numbers.
Measured on pbmc3k: 0.9 where it was, 0.001 where the query was scaled by itself."""

SAMPLE = 2_000
"""Cells of a query on which the zero level is looked for."""

RATIO = 10.0
"""A query whose values span less than this fraction of the reference's is suspicious."""


def query_rows(adata: AnnData, model: MapModel) -> Rows:
    """Rows of the query as input of the model, on the model's device.

    Raises
    ------
    KeyError
        If the layer or `obsm` is not there.
    ValueError
        If genes are missing, values are not finite, or the query was scaled by itself.
    """
    device = model.device
    projection = model.input.projection
    if projection is None:
        return _obsm_rows(adata, model, device)
    genes = Genes(adata, projection.genes, projection.layer)
    values = genes.value_range()
    scaled = projection.scaling is not None and is_scaled(adata, genes, projection.scaling, values)
    if not scaled:
        _warn_of_range(values, model.input.value_range, genes.source, signed=True)
    return ProjectedRows(genes, projection, device, scaled=scaled)


def is_scaled(adata: AnnData, genes: Genes, scaling: Scaling, values: ValueRange) -> bool:
    """Whether the query was scaled with the reference's means and deviations.

    Without negative values it was not scaled. With them it was, and the reference's numbers show in the values: a zero
    became `Scaling.zero_level`, which no other numbers hit. Where the data hold no zeros, the query's own
    ``var['mean']`` and ``var['std']`` must be the reference's.

    Raises
    ------
    ValueError
        If it was scaled by itself: its cells would land in the wrong place.
    """
    if values.low >= 0:
        return False
    if _zero_share(genes, scaling) >= ZERO_SHARE:
        return True
    own = scaling_columns(adata, genes)
    if own is not None and np.allclose(own[0], scaling.mean, 1e-4) and np.allclose(own[1], scaling.std, 1e-4):
        return True
    msg = (
        f"{genes.source} of the query was scaled, but not with the mean and standard deviation of the reference: its "
        "cells would land in the wrong place. Pass log-normalized values; they are scaled as the reference was."
    )
    raise ValueError(msg)


def _zero_share(genes: Genes, scaling: Scaling) -> float:
    level = scaling.zero_level
    hits = [np.abs(x - level) <= 1e-4 * np.abs(level) for _, x in genes.spread(SAMPLE)]
    return sum(int(hit.sum()) for hit in hits) / max(1, sum(hit.size for hit in hits))


def _obsm_rows(adata: AnnData, model: MapModel, device: torch.device) -> Rows:
    key = model.input.obsm_key
    if key is None:
        msg = "The model does not know what it was trained on: pass its features to `get.model(...).encode` yourself."
        raise ValueError(msg)
    if key not in adata.obsm:
        msg = (
            f"The reference was trained on obsm[{key!r}], which cannot be computed from genes (no PCA projection that "
            f"reproduces it is stored). Put the query's cells into the same space as .obsm[{key!r}] first; .obsm holds "
            f"{list(adata.obsm) or 'nothing'}."
        )
        raise KeyError(msg)
    n_features = model.n_features
    found = adata.obsm[key].shape[1]
    if found < n_features:
        msg = f"obsm[{key!r}] of the query has {found} columns; the reference was trained on {n_features}."
        raise ValueError(msg)
    representation = choose_representation(adata, use_rep=key, n_pcs=n_features)
    rows = representation.rows(device)
    check_finite(rows, representation.source)
    if key == "X_pca":
        logg.warning(
            "The reference holds no PCA projection: obsm['X_pca'] of the query is taken as it is. It must be in the "
            "components of the reference; a PCA of the query by itself is another space."
        )
    values = value_range(representation)
    _warn_of_range(values, model.input.value_range, representation.source, signed=False)
    return rows


def _warn_of_range(query: ValueRange, reference: ValueRange | None, source: str, *, signed: bool) -> None:
    """Tell of values that differ from the reference's as raw counts differ from log-normalized or scaled values.

    One kind is of whole numbers and the other is not; the values reach twice as far, or less than a tenth as far;
    or, where ``signed`` values mean something, one has negative values and the other has none.
    """
    if reference is None or query.low == query.high:
        return
    span = reference.high - reference.low
    if (
        query.whole != reference.whole
        or not reference.low - span <= query.low <= query.high <= reference.high + span
        or query.high - query.low < span / RATIO
        or (signed and (query.low < 0) != (reference.low < -1e-6 * span))
    ):
        logg.warning(
            f"{source} of the query ranges from {query}, in the reference it ranged from {reference}. "
            "Were both preprocessed in the same way?"
        )
