"""Choose the data matrix of an AnnData, check it, and hand out its rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from ._masks import refuse_masked
from ._streams import StreamedRows, is_streamed, read

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import Tensor

    from .core.rows import Rows

DEVICE_SHARE = 0.5
"""Largest share of a device's free memory that the data set may take to live there."""


@dataclass(frozen=True)
class Representation:
    """A data matrix (n, D) of an AnnData and where it came from.

    Attributes
    ----------
    matrix
        numpy array or CSR, or something on disk or elsewhere that gives these, see `scgeoae._streams`.
    source
        How messages and parameters name it, such as ``obsm['X_pca']``.
    features
        Names of its columns: genes, or the obsm key with a running number.
    obsm_key
        Its name in `obsm`; `None` for expression.
    layer
        The layer; `None` for `X` and an `obsm`.
    """

    matrix: Any
    source: str
    features: np.ndarray
    obsm_key: str | None = None
    layer: str | None = None
    columns: np.ndarray | None = None
    """Columns of a streamed matrix that are used, booleans; `None`: all. Others are cut to what is used."""

    @property
    def shape(self) -> tuple[int, int]:
        """(n, D)."""
        return self.matrix.shape[0], len(self.features)

    def read(self, rows: slice = slice(None)) -> Any:
        """Rows (n, D), by default all of them, in memory: numpy array or CSR."""
        part = read(self.matrix, rows)
        return part if self.columns is None else part[:, self.columns]

    def rows(self, device: torch.device) -> Rows:
        """The matrix as float32 rows on ``device``."""
        if is_streamed(self.matrix):
            return StreamedRows(self.matrix, self.columns, device)
        if sparse.issparse(self.matrix):
            return CsrRows(self.matrix, device)
        return DenseRows(self.matrix, device)


def choose_representation(
    adata: AnnData,
    *,
    use_rep: str | None = None,
    n_pcs: int | None = None,
    layer: str | None = None,
    mask_var: str | np.ndarray | None = None,
) -> Representation:
    """Pick ``obsm['X_pca']`` unless told otherwise, any other `obsm`, `X` or a layer, and check its type.

    Raises
    ------
    KeyError
        If the field is not there; names what is there and what to run.
    ValueError, TypeError
        If the arguments contradict each other or the matrix is not made of real numbers.
    """
    if layer is not None and use_rep is not None:
        msg = f"use_rep={use_rep!r} and layer={layer!r} name two inputs: pass one of them."
        raise ValueError(msg)
    if layer is None and use_rep != "X":
        if mask_var is not None:
            msg = "mask_var chooses genes of X or of a layer; it has no meaning for an obsm. Pass use_rep='X' or layer."
            raise ValueError(msg)
        return _from_obsm(adata, use_rep, n_pcs)
    if n_pcs is not None:
        msg = "n_pcs counts columns of an obsm; it has no meaning for X or a layer."
        raise ValueError(msg)
    return _from_expression(adata, layer, mask_var)


def _from_obsm(adata: AnnData, use_rep: str | None, n_pcs: int | None) -> Representation:
    name = "X_pca" if use_rep is None else use_rep
    if name not in adata.obsm:
        advice = "Run `sc.pp.pca` first, or pass use_rep='X' or layer." if name == "X_pca" else "Choose one of them."
        msg = f"Did not find .obsm[{name!r}]; .obsm holds {list(adata.obsm) or 'nothing'}. {advice}"
        raise KeyError(msg)
    source = f"obsm[{name!r}]"
    matrix = adata.obsm[name]
    if isinstance(matrix, pd.DataFrame):
        features = matrix.columns.astype(str).to_numpy(dtype=object)
        matrix = _of_frame(matrix, source)
    else:
        features = np.array([f"{name}_{i + 1}" for i in range(matrix.shape[1])], dtype=object)
    if n_pcs is not None and not 1 <= n_pcs <= matrix.shape[1]:
        msg = f"n_pcs={n_pcs}, but {source} has {matrix.shape[1]} columns."
        raise ValueError(msg)
    chosen = None if n_pcs is None else np.arange(len(features)) < n_pcs
    return _selected(_real_matrix(matrix, source), chosen, Representation(None, source, features, obsm_key=name))


def _from_expression(adata: AnnData, layer: str | None, mask_var: str | np.ndarray | None) -> Representation:
    if layer is not None and layer not in adata.layers:
        msg = f"Did not find .layers[{layer!r}]; .layers holds {list(adata.layers) or 'nothing'}."
        raise KeyError(msg)
    if layer is None and adata.X is None:
        msg = "adata.X is None. Pass a layer or an obsm through use_rep."
        raise ValueError(msg)
    if not adata.var_names.is_unique:
        msg = "The variable names are not unique, but genes are matched by name. Run `adata.var_names_make_unique()`."
        raise ValueError(msg)
    chosen = _var_mask(adata, mask_var)
    matrix, source = (adata.X, "X") if layer is None else (adata.layers[layer], f"layers[{layer!r}]")
    features = adata.var_names.to_numpy(dtype=object)
    return _selected(_real_matrix(matrix, source), chosen, Representation(None, source, features, layer=layer))


def _selected(matrix: Any, chosen: np.ndarray | None, whole: Representation) -> Representation:
    """The representation with its matrix, cut to the ``chosen`` columns, at once if it is in memory."""
    if chosen is None or chosen.all():
        return replace(whole, matrix=matrix)
    features = whole.features[chosen]
    if is_streamed(matrix):
        return replace(whole, matrix=matrix, features=features, columns=chosen)
    return replace(whole, matrix=matrix[:, chosen], features=features)


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


def _of_frame(frame: pd.DataFrame, source: str) -> np.ndarray:
    """The numbers of a data frame, missing ones as NaN; codes of categories and texts are none."""
    others = [name for name, dtype in frame.dtypes.items() if dtype.kind not in "fiub"]
    if others:
        msg = f"{source} must hold real numbers; its columns {others[:5]} do not."
        raise TypeError(msg)
    return frame.to_numpy(dtype=np.float64, na_value=np.nan)


def _real_matrix(matrix: Any, source: str) -> Any:
    refuse_masked(matrix, source)
    if is_streamed(matrix):
        if getattr(matrix, "format", "csr") == "csc":
            msg = f"{source} lies on disk by columns (CSC), so that rows cannot be read by themselves. Write it as CSR."
            raise TypeError(msg)
    else:
        matrix = matrix.tocsr() if sparse.issparse(matrix) else np.asarray(matrix)
    if len(matrix.shape) != 2 or np.dtype(matrix.dtype).kind not in "fiub":
        found = f"dtype {matrix.dtype} and shape {matrix.shape}"
        msg = f"{source} must be a two-dimensional matrix of real numbers; it has {found}."
        raise TypeError(msg)
    return matrix


class DenseRows:
    """A dense matrix; moved to the device once where it fits there, else batch by batch."""

    chunk = 1

    def __init__(self, matrix: np.ndarray, device: torch.device) -> None:
        self.shape = matrix.shape
        self.device = device
        # torch reads native, writeable, positively strided memory; anything else is copied
        with np.errstate(over="ignore"):  # `check_finite` tells of values beyond float32
            self.tensor = torch.from_numpy(np.require(matrix, np.float32, ["C", "W", "A"]))
        if device.type != "cpu" and self.tensor.nbytes < DEVICE_SHARE * _free_memory(device):
            self.tensor = self.tensor.to(device)

    def take(self, index: Tensor) -> Tensor:
        """Rows at ``index``."""
        return self.tensor.index_select(0, index.to(self.tensor.device)).to(self.device)

    def block(self, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop``."""
        return self.tensor[start:stop].to(self.device)


class CsrRows:
    """A CSR matrix, densified batch by batch and never as a whole."""

    chunk = 1

    def __init__(self, matrix: sparse.csr_matrix | sparse.csr_array, device: torch.device) -> None:
        self.shape = matrix.shape
        self.device = device
        self.matrix = matrix

    def take(self, index: Tensor) -> Tensor:
        """Rows at ``index``."""
        return self._dense(self.matrix[index.numpy()])

    def block(self, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop``."""
        return self._dense(self.matrix[start:stop])

    def _dense(self, part: sparse.csr_matrix | sparse.csr_array) -> Tensor:
        with np.errstate(over="ignore"):
            return torch.from_numpy(part.astype(np.float32, copy=False).toarray()).to(self.device)


def _free_memory(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return float("inf")


def resolve_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, or the best one there is.

    Raises
    ------
    ValueError
        If it is unknown or not there.
    """
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        msg = f"device={device!r} is not there. Use 'cpu', 'cuda', 'mps' or None."
        raise ValueError(msg) from error
    return chosen
