"""Carry labels of the reference over to cells on its map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

N_NEIGHBORS = 15
"""Reference cells that vote on a label, as in `sc.tl.ingest`."""

BLOCK = 100_000
"""Cells whose neighbours are held at a time."""


def label_columns(adata_ref: AnnData | None, obs: str | Sequence[str] | None) -> dict[str, pd.Categorical]:
    """The labels of the reference that are asked for, as categoricals.

    Raises
    ------
    KeyError
        If a column is not there.
    ValueError
        If the reference has no cells, or a column holds numbers or no label at all.
    """
    if obs is None:
        return {}
    names = [obs] if isinstance(obs, str) else list(obs)
    if adata_ref is None:
        msg = f"obs={names} asks for labels of reference cells, but adata_ref is a model without cells."
        raise ValueError(msg)
    missing = [name for name in names if name not in adata_ref.obs]
    if missing:
        msg = f"Did not find {missing} in .obs of the reference, which holds {list(adata_ref.obs.columns)}."
        raise KeyError(msg)
    return {name: _categorical(adata_ref.obs[name]) for name in names}


def _categorical(column: pd.Series) -> pd.Categorical:
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        msg = f"obs[{column.name!r}] of the reference holds numbers; only labels can be voted on. Make it categorical."
        raise ValueError(msg)
    labels = pd.Categorical(column)
    if not (labels.codes >= 0).any():
        msg = f"obs[{column.name!r}] of the reference holds no label."
        raise ValueError(msg)
    return labels


def label_colors(adata_ref: AnnData | None, labels: Mapping[str, pd.Categorical]) -> dict[str, np.ndarray]:
    """Scanpy's colours of the labels, one a category, by key of `uns`; nothing where the reference has none."""
    colors: dict[str, np.ndarray] = {}
    for name, known in labels.items():
        palette = [] if adata_ref is None else list(adata_ref.uns.get(f"{name}_colors", []))
        n_categories = len(known.categories)
        if len(palette) >= n_categories:  # as for scanpy, which passes over a palette that is too short
            colors[f"{name}_colors"] = np.array(palette[:n_categories], dtype=object)
    return colors


def vote(z: np.ndarray, z_ref: np.ndarray, labels: pd.Categorical) -> tuple[pd.Categorical, np.ndarray]:
    """Label of most of the nearest reference cells on the map, and the share of them that have it.

    Parameters
    ----------
    z
        Map coordinates (n, d) of the query.
    z_ref
        Map coordinates (m, d) of the reference.
    labels
        Of the reference cells, (m,); those without one do not vote.

    Returns
    -------
    Labels (n,) with the reference's categories; the earlier category where votes are equal. Confidences (n,) float64
    in (0, 1].
    """
    codes = np.asarray(labels.codes)
    known = codes >= 0
    winners, shares = np.empty(len(z), dtype=np.int64), np.empty(len(z))
    n_neighbors = min(N_NEIGHBORS, int(known.sum()))
    tree = NearestNeighbors(n_neighbors=n_neighbors).fit(z_ref[known])
    for start in range(0, len(z), BLOCK):
        where = slice(start, start + BLOCK)
        votes = codes[known][tree.kneighbors(z[where], return_distance=False)]  # (b, k)
        rows = np.arange(len(votes))
        counts = np.zeros((len(votes), len(labels.categories)), dtype=np.int32)
        for column in votes.T:
            counts[rows, column] += 1
        winners[where] = counts.argmax(1)
        shares[where] = counts.max(1) / n_neighbors
    return pd.Categorical.from_codes(winners, dtype=labels.dtype), shares
