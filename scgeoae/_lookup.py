"""Look up what a user names in an AnnData: a map, a column, its groups; in memory or on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from ._checks import check_adata

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy as np
    from anndata import AnnData

PCA_KEYS = ("X_pca", "pca")
"""Where in `obsm` `sc.pp.pca` writes the components by default: as scanpy 1, and as its preset ``ScanpyV2Preview``."""

SCANPY_TOOLS = ("umap", "tsne", "pca", "diffmap", "draw_graph")

MOST_NUMBERS = 100
"""Columns of more different numbers are measurements; fewer may be numbers of clusters."""


def names_of_layers(adata: AnnData) -> list[str]:
    """Names of the layers; anndata 0.13 also lists `X`, as `None`."""
    return [name for name in adata.layers if name is not None]


def in_memory(table: Any, names: Collection[str]) -> pd.DataFrame:
    """Read columns of `obs` or `var` from disk, where :func:`anndata.experimental.read_lazy` leaves them."""
    return table[list(names)].to_memory() if hasattr(table, "to_memory") else table


def embedding_key(adata: AnnData, basis: str) -> str:
    """Find the name in `obsm` of ``basis``, as it is or after ``X_``, as :func:`scanpy.pl.embedding` does.

    Raises
    ------
    KeyError
        If there is none; names what is there.
    """
    check_adata(adata)
    for name in (basis, f"X_{basis}"):
        if name in adata.obsm:
            return name
    tool = basis.removeprefix("X_")
    advice = f"Run `sc.tl.{tool}` first." if tool in SCANPY_TOOLS else "Choose one of them."
    msg = f"Did not find .obsm[{basis!r}] or .obsm['X_{basis}']; .obsm holds {list(adata.obsm) or 'nothing'}. {advice}"
    raise KeyError(msg)


def column(adata: AnnData, name: str, advice: str = "") -> pd.Series:
    """Read a column of `obs`, or raise a `KeyError` that names those that are there."""
    if not isinstance(name, str):
        msg = f"Pass the name of one column of .obs, not {name!r}."
        raise TypeError(msg)
    if name not in adata.obs:
        msg = f"Did not find .obs[{name!r}]; .obs holds {list(adata.obs.columns) or 'nothing'}. {advice}".rstrip()
        raise KeyError(msg)
    return in_memory(adata.obs, [name])[name]


def holds_numbers(values: pd.Series) -> bool:
    """Whether the values of a column are numbers; others, such as texts and booleans, are names of groups."""
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


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


def matched(adata: AnnData, other: AnnData) -> AnnData:
    """Return the cells of ``adata`` in ``other``, found by their names, in the order of ``adata``.

    Raises
    ------
    TypeError
        If ``other`` is no AnnData.
    ValueError
        If a name occurs more than once, or ``other`` lacks cells.
    """
    check_adata(other)
    for name, cells in (("adata", adata.obs_names), ("other", other.obs_names)):
        if n_equal := cells.duplicated(keep=False).sum():
            msg = (
                f"Cells are matched by name, but {n_equal} cells of {name} have a name that occurs more than once. "
                "Make the names unique, in the same way in adata and in other."
            )
            raise ValueError(msg)
    found = adata.obs_names.isin(other.obs_names)
    if not found.all():
        msg = (
            f"{(~found).sum()} of the {adata.n_obs} cells of adata are not in other, such as "
            f"{adata.obs_names[~found][0]!r}. Pass `adata[adata.obs_names.isin(other.obs_names)]`, those in both."
        )
        raise ValueError(msg)
    return other if adata.obs_names.equals(other.obs_names) else other[adata.obs_names]
