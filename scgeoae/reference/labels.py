"""Carry labels of reference cells over to new cells: by their nearest reference cells, or by tiles of the map."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial import KDTree
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize

from .._lookup import column, holds_numbers, labels_of, palette_of
from ..core.rows import row_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anndata import AnnData
    from torch import Tensor

    from ..core.rows import Rows
    from .model import MapModel

N_NEIGHBORS = 15
"""Reference cells that vote on the label of a cell, as in `sc.tl.ingest`."""
N_TILE_NEIGHBORS = 30
"""Reference cells that vote on the label of a tile: no fewer than these share it in a published model."""
MANY_FEATURES = 10
"""Above this many features, neighbors are nearest in direction from the mean of the reference, because the length of a
cell's vector varies with its sequencing depth. Measured (``tests/benchmarks/mapping.py labels``): 1 to 9 % more labels
are right than by the nearest cells in Euclidean distance."""

Label = tuple[pd.Categorical, np.ndarray]
"""Labels (n,) and confidences (n,) float64 in (0, 1]: the share of the votes for the label; missing, and NaN, where
there is none."""


@dataclass(frozen=True)
class TileLabels:
    """Labels of a map without its cells: votes of reference cells for each occupied tile.

    Attributes
    ----------
    categories
        Names (c,) of the classes, object.
    counts
        Votes (m, c) uint8 of the reference cells nearest to the center of each tile, in the order of
        :meth:`~scgeoae.core.region.OccupiedRegion.points`; none for tiles that labeled cells do not occupy.
    colors
        Colors (c,) of the classes, object, or `None`.
    """

    categories: np.ndarray = field(metadata={"shape": ("classes",), "dtype": str})
    counts: np.ndarray = field(metadata={"shape": ("tiles", "classes"), "dtype": np.uint8})
    colors: np.ndarray | None = field(default=None, metadata={"shape": ("classes",), "dtype": str})

    def __post_init__(self) -> None:
        if not self.counts.any() or len(set(self.categories)) < len(self.categories):
            msg = "Labels of tiles are not made of votes for different classes."
            raise ValueError(msg)


class Labeling(NamedTuple):
    """How new cells are labeled.

    Attributes
    ----------
    label
        Labels cells, given their input and their map coordinates (n, d): label and confidence by name.
    colors
        Colors (c,) of the categories by name, where there are any.
    """

    label: Callable[[Rows, np.ndarray], dict[str, Label]]
    colors: dict[str, np.ndarray]


def labeling(
    model: MapModel,
    adata_ref: AnnData | None,
    obs: str | Sequence[str],
    read_input: Callable[[], Rows] | None = None,
) -> Labeling:
    """Choose how new cells are labeled: by the cells of the reference, or without them by the tiles of the map.

    The input (n, D) of the cells of the reference is read by ``read_input``, if they vote.

    Raises
    ------
    KeyError
        If there are no such labels, or the input of the reference is gone.
    ValueError
        If a column holds numbers or no label at all.
    """
    names = [obs] if isinstance(obs, str) else list(obs)
    if not names:
        return Labeling(lambda *_: {}, {})
    if adata_ref is None or read_input is None:
        if missing := [name for name in names if name not in model.labels]:
            msg = (
                f"The model holds no labels {missing} (labels there: {list(model.labels) or 'none'}) and no cells. "
                "Pass the AnnData of the reference, or write the model with `scgeoae.write_model(…, obs=…)`."
            )
            raise KeyError(msg)
        colors = {name: table.colors for name in names if (table := model.labels[name]).colors is not None}
        return Labeling(lambda _, z: look_up(model, z, names), colors)
    known = label_columns(adata_ref, names)
    voters = read_input()
    return Labeling(lambda rows, _: vote(model, rows, voters, known), label_colors(adata_ref, known))


def label_columns(adata_ref: AnnData, names: Sequence[str]) -> dict[str, pd.Categorical]:
    """Read columns of labels as categoricals, whose categories are texts.

    Raises
    ------
    KeyError
        If a column does not exist.
    ValueError
        If a column holds numbers or no label at all, several columns have this name, or several categories one name.
    TypeError
        If the values of a column, such as lists, are no labels.
    """
    labels: dict[str, pd.Categorical] = {}
    if missing := [name for name in names if name not in adata_ref.obs]:
        msg = f"Did not find {missing} in .obs of the reference, which holds {list(adata_ref.obs.columns)}."
        raise KeyError(msg)
    for name in names:
        if holds_numbers(column(adata_ref, name)):
            msg = f"obs[{name!r}] of the reference holds numbers; only labels can be voted on. Make it categorical."
            raise ValueError(msg)
        labels[name] = labels_of(adata_ref, name)
        if not (labels[name].codes >= 0).any():
            msg = f"obs[{name!r}] of the reference holds no label."
            raise ValueError(msg)
    return labels


def label_colors(adata_ref: AnnData, labels: Mapping[str, pd.Categorical]) -> dict[str, np.ndarray]:
    """Return scanpy's colors (c,) of the categories by name of the label; leave out labels without colors."""
    colors: dict[str, np.ndarray] = {}
    for name, known in labels.items():
        if (palette := palette_of(adata_ref, name, known.categories)) is not None:
            colors[name] = np.array(palette, dtype=object)
    return colors


def vote(model: MapModel, rows: Rows, reference: Rows, labels: Mapping[str, pd.Categorical]) -> dict[str, Label]:
    """Label cells by a majority vote of their nearest reference cells in the input of the model.

    Parameters
    ----------
    model
        The model of the reference.
    rows
        Input (n, D) of the cells.
    reference
        Input (m, D) of the reference cells.
    labels
        Labels of the reference cells, each (m,); cells without a label do not vote.

    Returns
    -------
    The label and its confidence by name, with the reference's categories; the earlier category where votes are equal.
    """

    def directions(x: Tensor) -> np.ndarray:
        standard = model.standardize(x.to(model.device)).cpu().numpy()
        return normalize(standard) if model.n_features > MANY_FEATURES else standard

    x_ref = np.concatenate([directions(x) for _, x in row_blocks(reference)])
    classifiers: dict[str, KNeighborsClassifier] = {}
    for name, known in labels.items():
        has_label = known.codes >= 0
        classifier = KNeighborsClassifier(min(N_NEIGHBORS, int(has_label.sum())), algorithm="brute")
        classifiers[name] = classifier.fit(x_ref[has_label], known.codes[has_label])
    winners = {name: np.empty(rows.shape[0], dtype=np.int64) for name in labels}
    confidence = {name: np.empty(rows.shape[0]) for name in labels}
    for where, x in row_blocks(rows):
        x_new = directions(x)
        for name, classifier in classifiers.items():
            shares = classifier.predict_proba(x_new)  # (b, classes)
            winners[name][where] = classifier.classes_[shares.argmax(1)]
            confidence[name][where] = shares.max(1)
    return {
        name: (pd.Categorical.from_codes(winners[name], dtype=known.dtype), confidence[name])
        for name, known in labels.items()
    }


def tile_labels(adata_ref: AnnData, model: MapModel, z: np.ndarray, obs: str | Sequence[str]) -> dict[str, TileLabels]:
    """Count, for each tile of the map that labeled cells occupy, the labels of those nearest to its center.

    Parameters
    ----------
    adata_ref
        The reference.
    model
        Its model.
    z
        Its map coordinates (n, 2).
    obs
        Columns of labels.

    Raises
    ------
    KeyError
        If a column does not exist.
    ValueError
        If a column holds numbers or fewer than `N_TILE_NEIGHBORS` labels, or the map is not of two dimensions.
    """
    labels = label_columns(adata_ref, [obs] if isinstance(obs, str) else list(obs))
    if model.region is None:
        msg = "Labels are stored by tiles of a map of two dimensions; this map has no tiles."
        raise ValueError(msg)
    colors = label_colors(adata_ref, labels)
    tables: dict[str, TileLabels] = {}
    for name, known in labels.items():
        has_label = known.codes >= 0
        if (n_known := int(has_label.sum())) < N_TILE_NEIGHBORS:
            msg = f"obs[{name!r}] labels {n_known} cells; at least {N_TILE_NEIGHBORS} labeled cells are needed."
            raise ValueError(msg)
        _, nearest = KDTree(z[has_label]).query(model.region.points(), k=N_TILE_NEIGHBORS)  # (m, k)
        codes = known.codes[has_label][nearest]
        counts = np.zeros((len(codes), len(known.categories)), dtype=np.uint8)
        for voters in codes.T:
            counts[np.arange(len(codes)), voters] += 1
        counts[~model.region.occupied_by(z[has_label])] = 0  # the nearest labeled cells say nothing of other cells
        if not counts.any():
            msg = f"The cells that obs[{name!r}] labels lie off the region of the map that the training cells occupy."
            raise ValueError(msg)
        tables[name] = TileLabels(known.categories.to_numpy(dtype=object), counts, colors.get(name))
    return tables


def look_up(model: MapModel, z: np.ndarray, names: Sequence[str]) -> dict[str, Label]:
    """Label map points ``z`` (n, 2) by the tile whose center is nearest; return as :func:`vote`."""
    if model.region is None:
        return {}
    _, tile = KDTree(model.region.points()).query(z)  # (n,)
    found: dict[str, Label] = {}
    for name in names:
        table = model.labels[name]
        votes = table.counts[tile].astype(float)  # (n, classes)
        known = votes.any(1)
        codes = np.where(known, votes.argmax(1), -1)
        confidence = votes.max(1) / np.where(known, votes.sum(1), np.nan)
        found[name] = pd.Categorical.from_codes(codes, pd.Index(table.categories)), confidence
    return found


def without(label: Label, cells: np.ndarray) -> Label:
    """Take the label from some of the cells, (n,) bool."""
    names, confidence = label
    codes = np.where(cells, -1, names.codes)
    return pd.Categorical.from_codes(codes, dtype=names.dtype), np.where(cells, np.nan, confidence)
