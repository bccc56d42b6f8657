"""Carry labels of the reference over to cells on its map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.neighbors import KNeighborsClassifier

from ..core.rows import blocks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

N_NEIGHBORS = 15
"""Reference cells that vote on a label, as in `sc.tl.ingest`."""


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
    """Scanpy's colors of the labels, one a category, by key of `uns`; nothing where the reference has none."""
    colors: dict[str, np.ndarray] = {}
    for name, known in labels.items():
        palette = [] if adata_ref is None else list(adata_ref.uns.get(f"{name}_colors", []))
        n_categories = len(known.categories)
        if len(palette) >= n_categories:  # as for scanpy, which passes over a palette that is too short
            colors[f"{name}_colors"] = np.array(palette[:n_categories], dtype=object)
    return colors


def vote(z: np.ndarray, z_ref: np.ndarray, labels: pd.Categorical) -> tuple[pd.Categorical, np.ndarray]:
    """Label cells by a majority vote of the nearest reference cells on the map.

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
    in (0, 1]: the share of the neighbors that have the label.
    """
    codes = np.asarray(labels.codes)
    known = codes >= 0
    classifier = KNeighborsClassifier(n_neighbors=min(N_NEIGHBORS, int(known.sum()))).fit(z_ref[known], codes[known])
    winners, confidence = np.empty(len(z), dtype=np.int64), np.empty(len(z))
    for where in blocks(len(z), max(N_NEIGHBORS, len(labels.categories))):
        shares = classifier.predict_proba(z[where])  # (b, classes)
        winners[where] = classifier.classes_[shares.argmax(1)]
        confidence[where] = shares.max(1)
    return pd.Categorical.from_codes(winners, dtype=labels.dtype), confidence
