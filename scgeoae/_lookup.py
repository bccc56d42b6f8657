"""Look up what a user names in an AnnData: a map, a column, its labels and their colors, cells, genes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.colors import is_color_like, to_hex, to_rgba

from ._checks import check_adata

if TYPE_CHECKING:
    from collections.abc import Collection

    from anndata import AnnData, Raw

PCA_KEYS = ("X_pca", "pca")
"""Where in `obsm` `sc.pp.pca` writes the components by default: as scanpy 1, and as its preset ``ScanpyV2Preview``."""

MAKERS = {
    "geoae": "scgeoae.tl.geometric_ae",
    "pca": "sc.pp.pca",
    "umap": "sc.tl.umap",
    "tsne": "sc.tl.tsne",
    "diffmap": "sc.tl.diffmap",
    "draw_graph_fa": "sc.tl.draw_graph",
}
"""What makes the maps of these names."""

ONE_OF_EACH = "adata.obs = adata.obs.loc[:, ~adata.obs.columns.duplicated()]"
"""Keeps the first of equally named columns."""

MOST_NUMBERS = 100
"""Columns of more different numbers are measurements; fewer may be numbers of clusters."""


def names_of_layers(adata: AnnData) -> list[str]:
    """Names of the layers; anndata 0.13 also lists `X`, as `None`."""
    return [name for name in adata.layers if name is not None]


def matrix_of(adata: AnnData, layer: str | None) -> tuple[Any, str]:
    """Return `X` or a layer, and what messages call it; raise a `KeyError` if there is no such layer."""
    if layer is None:
        return adata.X, "X"
    if layer not in adata.layers:
        msg = f"Did not find .layers[{layer!r}]; .layers holds {names_of_layers(adata) or 'nothing'}."
        raise KeyError(msg)
    return adata.layers[layer], f"layers[{layer!r}]"


def in_memory(table: Any, names: Collection[str]) -> pd.DataFrame:
    """Read columns of `obs` or `var` from disk, where :func:`anndata.experimental.read_lazy` leaves them."""
    return table[list(names)].to_memory() if hasattr(table, "to_memory") else table


def embedding_key(adata: AnnData, basis: str) -> str:
    """Find the name in `obsm` of ``basis``, as it is or after ``X_``, as :func:`scanpy.pl.embedding` does.

    Raises
    ------
    KeyError
        If there is none; names what is there.
    TypeError
        If it is not one name.
    """
    check_adata(adata)
    if not isinstance(basis, str):
        msg = f"Pass the name of one map, a key of .obsm, not {basis!r}."
        raise TypeError(msg)
    for name in (basis, f"X_{basis}"):
        if name in adata.obsm:
            return name
    maker = MAKERS.get(basis.removeprefix("X_"))
    advice = f"Run `{maker}` first, or choose one of them." if maker else "Choose one of them."
    stored = adata.uns.get(basis)
    params = stored.get("params") if isinstance(stored, Mapping) else None
    if isinstance(params, Mapping) and params.get("basis") in adata.obsm:
        advice = f"Pass {params['basis']!r}, the map that the result {basis!r} is of."
    msg = f"Did not find .obsm[{basis!r}] or .obsm['X_{basis}']; .obsm holds {list(adata.obsm) or 'nothing'}. {advice}"
    raise KeyError(msg)


def gene_names(adata: AnnData | Raw) -> pd.Index:
    """Names of the genes as `str`, as files hold them; `reset_index` leaves numbers."""
    return adata.var_names.astype(str)


def cells_named(adata: AnnData, names: Collection[str], advice: str = "") -> np.ndarray:
    """Find the positions (m,) of cells; raise a `KeyError` unless each name is that of one cell."""
    present = adata.obs_names.astype(str)
    (here,) = np.nonzero(present.isin(list(names)))
    places = pd.Series(here, index=present[here])
    for name in names:
        if (n_cells := np.count_nonzero(places.index == name)) != 1:
            msg = f"{n_cells} cells are named {name!r}. {advice}".rstrip()
            raise KeyError(msg)
    return places[list(names)].to_numpy()


def column(adata: AnnData, name: str, advice: str = "") -> pd.Series:
    """Read a column of `obs`.

    Raises
    ------
    KeyError
        If there is none of this name; names those that are there.
    ValueError
        If there are several.
    """
    if not isinstance(name, str):
        msg = f"Pass the name of one column of .obs, not {name!r}."
        raise TypeError(msg)
    if name not in adata.obs:
        msg = f"Did not find .obs[{name!r}]; .obs holds {list(adata.obs.columns) or 'nothing'}. {advice}".rstrip()
        raise KeyError(msg)
    if (n_columns := np.count_nonzero(adata.obs.columns == name)) > 1:
        msg = f".obs has {n_columns} columns named {name!r}. Rename all but one, or drop them: `{ONE_OF_EACH}`."
        raise ValueError(msg)
    return in_memory(adata.obs, [name])[name]


def holds_numbers(values: pd.Series) -> bool:
    """Whether the values of a column are numbers; others, such as texts and booleans, are names of groups."""
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def labels_of(adata: AnnData, name: str, advice: str = "") -> pd.Categorical:
    """Read a column of `obs` as labels (n,): whatever their type is, the categories become `str` and keep their order.

    Raises
    ------
    KeyError
        If there is no such column.
    ValueError
        If there are several, or several categories have one name, such as the number 1 and the text ``'1'``.
    TypeError
        If the values, such as lists, are no labels.
    """
    values = column(adata, name, advice)
    try:
        labels = pd.Categorical(values)
    except TypeError as error:
        msg = f"obs[{name!r}] holds values that are no labels: {error}."
        raise TypeError(msg) from error
    names = labels.categories.astype(str)
    if not names.is_unique:
        twice = names[names.duplicated()][0]
        msg = (
            f"Several categories of obs[{name!r}] are called {twice!r}, such as a number and a text. Rename one, or "
            f"make them one: `adata.obs[{name!r}] = adata.obs[{name!r}].astype(str)`."
        )
        raise ValueError(msg)
    return labels.rename_categories(dict(zip(labels.categories, names, strict=True)))


def palette_of(adata: AnnData, name: str, categories: Collection[str]) -> list[str] | None:
    """Read the colors of all categories of a column from ``uns[f'{name}_colors']``, as hexadecimal texts.

    They may be whatever matplotlib takes: names, hexadecimal texts, tuples or rows of RGB or RGBA, in the order of the
    categories or in a mapping by category. As for scanpy, there are no colors (`None`) if one is missing or invalid.
    """
    stored = adata.uns.get(f"{name}_colors", ())
    if isinstance(stored, Mapping):
        by_name = {str(category): color for category, color in stored.items()}
        stored = [by_name.get(category, "") for category in categories]
    try:
        colors = list(stored)[: len(categories)]
    except TypeError:  # a number
        return None
    if len(colors) < len(categories) or not all(map(is_color_like, colors)):
        return None
    return [to_hex(color, keep_alpha=to_rgba(color)[3] < 1) for color in colors]


def groups_of(adata: AnnData, groupby: str, at_least: int = 0) -> tuple[pd.Index, np.ndarray]:
    """Read a column of `obs`: names (k,) of the groups that have cells, `str`, and number of each cell's group (n,).

    Groups are in the order of the categories; the number of cells without a label is -1. Raises a `ValueError` if there
    are fewer groups than ``at_least``, or the column holds measurements.
    """
    values = column(adata, groupby)
    if holds_numbers(values) and (n_values := values.nunique()) > MOST_NUMBERS:
        msg = (
            f"obs[{groupby!r}] holds {n_values} different numbers, not groups. Choose a column of labels, or divide "
            "the numbers into groups by `pandas.cut`."
        )
        raise ValueError(msg)
    groups = labels_of(adata, groupby).remove_unused_categories()
    if (n_groups := len(groups.categories)) < at_least:
        msg = f"obs[{groupby!r}] names {n_groups} groups; at least {at_least} are compared. Choose another column."
        raise ValueError(msg)
    return groups.categories, groups.codes


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
