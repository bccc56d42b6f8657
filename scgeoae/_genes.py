"""Expression of genes chosen by name, dense, sparse or on disk, read in blocks of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse

from ._masks import refuse_masked
from ._streams import Source, is_streamed
from .core.projection import Projection, ValueRange

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData
    from torch import Tensor

    from ._input import Representation

BLOCK_ENTRIES = 4_000_000
"""Entries of a block, with all columns that must be read: 32 MB of float64."""

N_LISTED = 5
"""Missing genes that a message names."""

N_SAMPLED = 20
"""Blocks of a matrix on disk of which the range of its values is taken, where a sample is enough."""


class Genes:
    """The columns of `X` or of a layer that hold certain genes, in the order in which these are given.

    Parameters
    ----------
    adata
        Annotated data matrix; its `X` may be on disk.
    names
        Genes (g,) to read.
    layer
        Layer; `X` if `None`.

    Raises
    ------
    KeyError
        If the layer is missing.
    ValueError
        If genes are missing or names are not unique.
    """

    def __init__(self, adata: AnnData, names: np.ndarray, layer: str | None = None) -> None:
        self.names = np.asarray(names, dtype=object)
        self.source = "X" if layer is None else f"layers[{layer!r}]"
        self.columns = _columns(adata, names)
        self.matrix = _readable(_matrix(adata, layer), self.source)
        self._rows = Source(self.matrix)
        self.shape = (adata.n_obs, len(self.columns))
        width = 1 if sparse.issparse(self.matrix) else adata.n_vars
        self.block_size = max(1, BLOCK_ENTRIES // max(width, len(self.columns), 1))

    def block(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop``, dense (stop - start, g)."""
        return dense(self.rows(start, stop))

    def rows(self, start: int, stop: int) -> Any:
        """Rows ``start`` to ``stop`` as they are stored, dense or CSR."""
        return self._rows.read(slice(start, stop))[:, self.columns]

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[slice, np.ndarray]]:
        """Dense rows in order, in blocks of bounded size."""
        stop = self.shape[0] if stop is None else stop
        for first in range(start, stop, self.block_size):
            where = slice(first, min(first + self.block_size, stop))
            yield where, self.block(where.start, where.stop)

    def spread(self, n: int) -> Iterator[tuple[slice, np.ndarray]]:
        """Dense rows of at most about ``n`` cells, in runs spread evenly over all cells."""
        n_cells = self.shape[0]
        run = min(self.block_size, 1_000)
        n_runs = -(-min(n, n_cells) // run)
        starts = np.arange(0, n_cells, run) if n >= n_cells else np.linspace(0, n_cells - run, n_runs).astype(int)
        for start in starts.tolist():
            where = slice(start, min(start + run, n_cells))
            yield where, self.block(where.start, where.stop)

    def value_range(self) -> ValueRange:
        """Range of the values of all cells; 0 to 0 if there are none.

        Raises
        ------
        ValueError
            If a value is missing or infinite.
        """
        starts = range(0, self.shape[0], self.block_size)
        return _joined([_range(self.rows(i, min(i + self.block_size, self.shape[0])), self.source) for i in starts])


class ProjectedRows:
    """The input of a model, computed from genes where it is read, see :class:`~scgeoae.core.rows.Rows`.

    Parameters
    ----------
    genes
        The genes of the projection, in its order.
    projection
        How the input is computed from them.
    device
        Device of the model.
    scaled
        Whether the genes are scaled already.
    """

    chunk = 1

    def __init__(self, genes: Genes, projection: Projection, device: torch.device, *, scaled: bool) -> None:
        self.genes, self.projection, self.device, self.scaled = genes, projection, device, scaled
        self.shape = (genes.shape[0], projection.n_features)

    def take(self, index: Tensor) -> Tensor:
        """Rows at ``index``."""
        return torch.cat([self.block(int(i), int(i) + 1) for i in index])

    def block(self, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop``."""
        result = np.empty((stop - start, self.shape[1]), dtype=np.float32)
        for where, x in self.genes.blocks(start, stop):
            result[where.start - start : where.stop - start] = self.projection.apply(x, scaled=self.scaled)
        return torch.from_numpy(result).to(self.device)


def _joined(parts: list[ValueRange]) -> ValueRange:
    """Range of all ``parts`` together; 0 to 0 if there are none."""
    if not parts:
        return ValueRange(0.0, 0.0, whole=True)
    low, high, whole = zip(*parts, strict=True)
    return ValueRange(min(low), max(high), all(whole))


def value_range(representation: Representation, *, sampled: bool = False) -> ValueRange:
    """Range of the values of a data matrix, or of a sample of its rows if it is on disk; 0 to 0 if it is empty.

    Raises
    ------
    ValueError
        If a value is missing or infinite.
    """
    n, width = representation.matrix.shape
    size = max(1, BLOCK_ENTRIES // max(width, 1))
    starts = range(0, n, size)
    step = max(1, len(starts) // N_SAMPLED) if sampled and is_streamed(representation.matrix) else 1
    blocks = (representation.read(slice(start, min(start + size, n))) for start in starts[::step])
    return _joined([_range(block, representation.source) for block in blocks])


def _range(x: Any, source: str) -> ValueRange:
    values = x.data if sparse.issparse(x) else x
    if values.size == 0:
        return ValueRange(0.0, 0.0, whole=True)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(low) or not np.isfinite(high):  # where a value is NaN, both are
        msg = f"{source} holds missing or infinite values."
        raise ValueError(msg)
    if sparse.issparse(x) and values.size < np.prod(x.shape):
        low, high = min(low, 0.0), max(high, 0.0)
    return ValueRange(low, high, bool((values == np.rint(values)).all()))


def _columns(adata: AnnData, names: np.ndarray) -> np.ndarray:
    if not adata.var_names.is_unique:
        msg = "The variable names are not unique, but genes are matched by name. Run `adata.var_names_make_unique()`."
        raise ValueError(msg)
    columns = adata.var_names.get_indexer(names)
    missing = [str(name) for name in np.asarray(names)[columns < 0]]
    if missing:
        listed = ", ".join(missing[:N_LISTED]) + (", …" if len(missing) > N_LISTED else "")
        msg = (
            f"{len(missing)} of the {len(names)} genes of the reference are missing in the query: {listed} "
            f"(its var_names begin with {adata.var_names[:3].tolist()})."
        )
        raise ValueError(msg)
    return columns


def _matrix(adata: AnnData, layer: str | None) -> Any:
    if layer is None:
        if adata.X is None:
            msg = "adata.X is None, but expression is read from there."
            raise ValueError(msg)
        return adata.X
    if layer not in adata.layers:
        msg = f"Did not find .layers[{layer!r}]; .layers holds {list(adata.layers) or 'nothing'}."
        raise KeyError(msg)
    return adata.layers[layer]


def _readable(matrix: Any, source: str) -> Any:
    """Return the matrix in a form whose rows can be sliced: an array, CSR, or a data set of these on disk."""
    refuse_masked(matrix, source)
    if getattr(matrix, "format", None) == "csc":  # in memory or on disk; rows of a CSC matrix cannot be sliced
        matrix = (matrix if sparse.issparse(matrix) else matrix.to_memory()).tocsr()
    elif sparse.issparse(matrix):
        matrix = matrix.tocsr()
    elif not hasattr(matrix, "dtype"):
        matrix = np.asarray(matrix)
    if np.dtype(matrix.dtype).kind not in "fiub":
        msg = f"{source} must be a matrix of real numbers; it has dtype {matrix.dtype}."
        raise TypeError(msg)
    return matrix


def dense(x: Any) -> np.ndarray:
    """Return rows that were read, numpy array or CSR, as numpy array."""
    return x.toarray() if sparse.issparse(x) else np.asarray(x)
