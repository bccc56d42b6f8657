"""Expression of named genes, read in blocks of rows: dense, sparse or on disk, and never the whole at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse

from ._masks import refuse_masked
from ._streams import Source, is_streamed, read
from .core.projection import Projection, ValueRange

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData
    from torch import Tensor

BLOCK_ENTRIES = 4_000_000
"""Entries of a block, of all genes that are read: 32 MB of float64."""

N_LISTED = 5
N_SAMPLED = 20
"""Blocks on which the range of a reference on disk is found."""


class Genes:
    """Columns of `X` or of a layer, in the order of their names.

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
        If the layer is not there.
    ValueError
        If genes are missing, or twice there.
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
        return _dense(self.rows(start, stop))

    def rows(self, start: int, stop: int) -> Any:
        """Rows ``start`` to ``stop`` as they are stored, dense or CSR."""
        return self._rows.read(slice(start, stop))[:, self.columns]

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[slice, np.ndarray]]:
        """Dense rows in order, in blocks of bounded size."""
        stop = self.shape[0] if stop is None else stop
        for first in range(start, stop, self.block_size):
            where = slice(first, min(first + self.block_size, stop))
            yield where, self.block(where.start, where.stop)

    def spread(self, n: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Positions and dense rows of at most about ``n`` cells, in runs spread evenly over all of them."""
        n_cells = self.shape[0]
        run = min(self.block_size, 1_000)
        n_runs = -(-min(n, n_cells) // run)
        starts = np.arange(0, n_cells, run) if n >= n_cells else np.linspace(0, n_cells - run, n_runs).astype(int)
        for start in starts.tolist():
            stop = min(start + run, n_cells)
            yield np.arange(start, stop), self.block(start, stop)

    def value_range(self, *, sampled: bool = False) -> ValueRange:
        """Range over all cells, or over a sample of those on disk; of an empty matrix 0 to 0.

        Raises
        ------
        ValueError
            If a value is missing or infinite.
        """
        blocks = _slices(self.shape[0], self.block_size, sampled and is_streamed(self.matrix))
        return _joined([_range(self.rows(block.start, block.stop), self.source) for block in blocks])


class ProjectedRows:
    """Genes brought to the input of a model: rows for training and evaluation, see :class:`~scgeoae.core.rows.Rows`.

    Parameters
    ----------
    genes
        The genes of the projection, in its order.
    projection
        How they become the input.
    scaled
        Whether they are scaled already.
    device
        Device of the model.
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
    """The range that holds all ``parts``; 0 to 0 if there are none."""
    if not parts:
        return ValueRange(0.0, 0.0, whole=True)
    low, high, whole = zip(*parts, strict=True)
    return ValueRange(min(low), max(high), all(whole))


def value_range(x: Any, source: str, *, sampled: bool = False) -> ValueRange:
    """Range of a matrix, dense or sparse, or of a sample of one on disk; 0 to 0 if it is empty.

    Raises
    ------
    ValueError
        If a value is missing or infinite.
    """
    size = max(1, BLOCK_ENTRIES // max(x.shape[1], 1))
    blocks = _slices(x.shape[0], size, sampled and is_streamed(x))
    return _joined([_range(read(x, block), source) for block in blocks])


def _slices(n: int, size: int, sampled: bool) -> Iterator[slice]:  # noqa: FBT001
    """Blocks of ``size`` rows: all of `n`, or `N_SAMPLED` spread over them."""
    starts = range(0, n, size)
    step = max(1, len(starts) // N_SAMPLED) if sampled else 1
    return (slice(start, min(start + size, n)) for start in starts[::step])


def _range(x: Any, source: str) -> ValueRange:
    values = x.data if sparse.issparse(x) else x
    if values.size == 0:
        return ValueRange(0.0, 0.0, whole=True)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(low) or not np.isfinite(high):  # NaN goes through both
        msg = f"{source} holds missing or infinite values."
        raise ValueError(msg)
    if sparse.issparse(x) and values.size < np.prod(x.shape):
        low, high = min(low, 0.0), max(high, 0.0)
    return ValueRange(low, high, bool((values == np.rint(values)).all()))


def _columns(adata: AnnData, names: np.ndarray) -> np.ndarray:
    if not adata.var_names.is_unique:
        msg = "The variable names are not unique: genes go by name. Run `adata.var_names_make_unique()`."
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
            msg = "adata.X is None: the genes are read from there."
            raise ValueError(msg)
        return adata.X
    if layer not in adata.layers:
        msg = f"Did not find .layers[{layer!r}]; .layers holds {list(adata.layers) or 'nothing'}."
        raise KeyError(msg)
    return adata.layers[layer]


def _readable(matrix: Any, source: str) -> Any:
    """Something whose rows can be sliced: arrays, CSR, and datasets of these on disk."""
    refuse_masked(matrix, source)
    if getattr(matrix, "format", None) == "csc":  # on disk or not; its rows are scattered
        matrix = (matrix if sparse.issparse(matrix) else matrix.to_memory()).tocsr()
    elif sparse.issparse(matrix):
        matrix = matrix.tocsr()
    elif not hasattr(matrix, "dtype"):
        matrix = np.asarray(matrix)
    if np.dtype(matrix.dtype).kind not in "fiub":
        msg = f"{source} must be a matrix of real numbers; it has dtype {matrix.dtype}."
        raise TypeError(msg)
    return matrix


def _dense(x: Any) -> np.ndarray:
    return x.toarray() if sparse.issparse(x) else np.asarray(x)
