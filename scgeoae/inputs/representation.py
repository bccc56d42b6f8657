"""Choose the matrix of an AnnData that a model is trained on, or genes by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from .._checks import check_adata
from .._lookup import PCA_KEYS, gene_names, matrix_of
from .matrix import Matrix
from .rows import DenseRows, ReadRows, StreamedRows

if TYPE_CHECKING:
    import torch
    from anndata import AnnData

    from ..core.rows import Rows

N_LISTED = 5
"""Names that a message lists at most."""


class Representation(Matrix):
    """The matrix (n, D) that was chosen, and where it comes from.

    Attributes
    ----------
    features
        Names of its columns (D,): genes, or the obsm key with a running number.
    obsm_key
        Its key in `obsm`; `None` for expression.
    layer
        Its layer; `None` for `X` and an `obsm`.
    """

    def __init__(
        self,
        values: Any,
        source: str,
        features: np.ndarray,
        columns: np.ndarray | None = None,
        *,
        obsm_key: str | None = None,
        layer: str | None = None,
    ) -> None:
        super().__init__(values, source, columns)
        self.features = features if columns is None else features[columns]
        self.obsm_key, self.layer = obsm_key, layer

    def rows(self, device: torch.device) -> Rows:
        """The matrix as float32 rows on ``device``."""
        if self.streamed:
            return StreamedRows(self, device)
        if sparse.issparse(self.values):
            return ReadRows(Matrix(self.read(), self.source), device)  # columns are chosen once, not in each batch
        return DenseRows(self.dense(dtype=np.float32), device)


def choose(
    adata: AnnData,
    *,
    use_rep: str | None = None,
    n_pcs: int | None = None,
    layer: str | None = None,
    mask_var: str | np.ndarray | None = None,
) -> Representation:
    """Choose the principal components by default, another `obsm`, `X` or a layer, and check its type.

    The components are ``obsm['X_pca']`` or else ``obsm['pca']``, as for scanpy.

    Raises
    ------
    KeyError
        If the field does not exist; lists those that do and says what to run.
    ValueError, TypeError
        If the arguments contradict each other or the matrix is not made of real numbers.
    """
    check_adata(adata)
    if layer is not None and use_rep is not None:
        msg = f"use_rep={use_rep!r} and layer={layer!r} name two inputs: pass one of them."
        raise ValueError(msg)
    if layer is None and use_rep != "X":
        if mask_var is not None:
            msg = "mask_var chooses genes of X or of a layer; it has no meaning for an obsm. Pass use_rep='X' or layer."
            raise ValueError(msg)
        if use_rep is None:
            use_rep = next((key for key in PCA_KEYS if key in adata.obsm), PCA_KEYS[0])
        return _of_obsm(adata, use_rep, n_pcs)
    if n_pcs is not None:
        msg = "n_pcs counts columns of an obsm; it has no meaning for X or a layer."
        raise ValueError(msg)
    values, source = _expression(adata, layer)
    features = gene_names(adata).to_numpy(dtype=object)
    return Representation(values, source, features, _var_mask(adata, mask_var), layer=layer)


def genes(adata: AnnData, names: np.ndarray, layer: str | None = None) -> tuple[Matrix, np.ndarray]:
    """Find the columns of `X` or of a layer that hold these genes (g,).

    Returns
    -------
    Those that are present, in the order of ``names``, and which genes these are, (g,) bool.

    Raises
    ------
    KeyError
        If the layer does not exist.
    ValueError, TypeError
        If names are not unique, or the matrix is not made of real numbers.
    """
    values, source = _expression(adata, layer)
    columns = gene_names(adata).get_indexer(pd.Index(names))
    present = columns >= 0
    return Matrix(values, source, columns[present]), present


def expression(adata: AnnData, layer: str | None = None, *, use_raw: bool = False) -> tuple[Matrix, np.ndarray]:
    """Return all genes of `X`, of a layer, or of the raw matrix (n, g), and their names (g,).

    Raises
    ------
    KeyError
        If the layer does not exist.
    ValueError, TypeError
        If both are asked for, there is no such matrix or no gene in it, names are not unique, or values are not real.
    """
    if use_raw and layer is not None:
        msg = f"use_raw=True and layer={layer!r} name two matrices: pass one of them."
        raise ValueError(msg)
    if use_raw and adata.raw is None:
        msg = "There is no .raw. Pass use_raw=False, or set adata.raw before genes are selected or scaled."
        raise ValueError(msg)
    if use_raw and not adata.raw.var_names.is_unique:
        msg = "The variable names of .raw are not unique, but genes are matched by name."
        raise ValueError(msg)
    values, source = (adata.raw.X, "raw.X") if use_raw else _expression(adata, layer)
    names = (adata.raw if use_raw else adata).var_names.to_numpy(dtype=object)
    if not len(names):
        msg = f"{source} holds no genes."
        raise ValueError(msg)
    return Matrix(values, source), names


def _of_obsm(adata: AnnData, name: str, n_pcs: int | None) -> Representation:
    if name not in adata.obsm:
        advice = "Run `sc.pp.pca` first, or pass use_rep='X' or layer." if name in PCA_KEYS else "Choose one of them."
        if (longer := f"X_{name}") in adata.obsm:
            advice = f"Pass use_rep={longer!r}."
        msg = f"Did not find .obsm[{name!r}]; .obsm holds {list(adata.obsm) or 'nothing'}. {advice}"
        raise KeyError(msg)
    source = f"obsm[{name!r}]"
    values = adata.obsm[name]
    n_columns = values.shape[1]
    if isinstance(values, pd.DataFrame):
        others = [column for column, dtype in values.dtypes.items() if dtype.kind not in "fiub"]
        if others:  # the codes of categories are not numbers
            msg = f"{source} must hold real numbers; its columns {others[:N_LISTED]} do not."
            raise TypeError(msg)
        features = values.columns.astype(str).to_numpy(dtype=object)
        values = values.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        features = np.array([f"{name}_{i + 1}" for i in range(n_columns)], dtype=object)
    if n_pcs is not None and not 1 <= n_pcs <= n_columns:
        msg = f"n_pcs={n_pcs}, but {source} has {n_columns} columns."
        raise ValueError(msg)
    return Representation(values, source, features, None if n_pcs is None else np.arange(n_pcs), obsm_key=name)


def _expression(adata: AnnData, layer: str | None) -> tuple[Any, str]:
    """`X` or a layer, and its name; the names of its genes are unique."""
    values, source = matrix_of(adata, layer)
    if values is None:
        msg = "adata.X is None. Fill it with expression, or choose a layer or an obsm."
        raise ValueError(msg)
    if not gene_names(adata).is_unique:
        msg = "The variable names are not unique, but genes are matched by name. Run `adata.var_names_make_unique()`."
        raise ValueError(msg)
    return values, source


def _var_mask(adata: AnnData, mask_var: str | np.ndarray | None) -> np.ndarray | None:
    if mask_var is None:
        return None
    if isinstance(mask_var, str):
        if mask_var not in adata.var:
            msg = f"Did not find .var[{mask_var!r}]; .var holds {list(adata.var.columns) or 'nothing'}."
            raise KeyError(msg)
        mask_var = adata.var[mask_var].to_numpy()
    mask = np.asarray(mask_var)
    if mask.dtype != bool or mask.shape != (adata.n_vars,):
        msg = f"mask_var must be {adata.n_vars} booleans, one a gene; it has dtype {mask.dtype} and shape {mask.shape}."
        raise ValueError(msg)
    if not mask.any():
        msg = "mask_var selects no gene."
        raise ValueError(msg)
    return mask
