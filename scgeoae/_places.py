"""Places on a two-dimensional map: its region, and the medoids of groups of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .core.geodesic import medoid
from .result import column, holds_numbers

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from .core.region import OccupiedRegion
    from .reference import MapModel
    from .result import Result

MOST_NUMBERS = 100
"""Columns of more different numbers are measurements; fewer may be numbers of clusters."""


def region_of(model: MapModel) -> OccupiedRegion:
    """Return the occupied region of a map; raise a `ValueError` if the map is not of two dimensions."""
    if model.region is None:
        msg = f"Areas and paths are measured on maps of two dimensions only; this map has {model.n_components}."
        raise ValueError(msg)
    return model.region


def groups_of(adata: AnnData, groupby: str, at_least: int = 0) -> tuple[pd.Index, np.ndarray]:
    """Read a column of `obs`: names (k,) of the groups that have cells, `str`, and number of each cell's group (n,).

    Groups are in the order of the categories; the number of cells without a label is -1. Raises a `ValueError` if there
    are fewer groups than ``at_least``, or the column holds measurements.
    """
    labels = column(adata, groupby)
    if holds_numbers(labels) and (n_values := labels.nunique()) > MOST_NUMBERS:
        msg = (
            f"obs[{groupby!r}] holds {n_values} different numbers, not groups. Choose a column of labels, or divide "
            "the numbers into groups by `pandas.cut`."
        )
        raise ValueError(msg)
    groups = labels.astype("category").cat.remove_unused_categories()
    if (n_groups := len(groups.cat.categories)) < at_least:
        msg = f"obs[{groupby!r}] names {n_groups} groups; at least {at_least} are compared. Choose another column."
        raise ValueError(msg)
    return groups.cat.categories.astype(str), groups.cat.codes.to_numpy()


def medoid_of(result: Result, cells: np.ndarray) -> np.ndarray:
    """Find the medoid (2,) of the cells (n,) bool on the map: among those in the occupied region, if there are any."""
    z = result.decoder_points()[cells].astype(np.float64)
    inside = region_of(result.model).contains(z)
    chosen = z[inside] if inside.any() else z
    return chosen[medoid(chosen)]
