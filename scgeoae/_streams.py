"""Matrices that are not in memory: backed AnnData, zarr, dask, memory-mapped files. Rows are read a chunk at a time."""

from __future__ import annotations

import sys
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse

from .core.batches import OPEN_CHUNKS

if TYPE_CHECKING:
    from torch import Tensor

BUFFER_BYTES = 256 * 2**20
"""What the chunks that are held may take if they are dense float32; sparse ones take less."""

MAX_CHUNK = 8_192


def is_streamed(matrix: Any) -> bool:
    """Whether a matrix is read from elsewhere when it is sliced: h5py, zarr, dask, sparse datasets, memory maps."""
    if isinstance(matrix, np.memmap):
        return True
    if isinstance(matrix, np.ndarray) or sparse.issparse(matrix):  # in a view of an AnnData of classes of anndata
        return False
    return hasattr(matrix, "shape") and hasattr(matrix, "dtype") and type(matrix).__module__.split(".")[0] in _LAZY


_LAZY = {"h5py", "zarr", "dask", "anndata"}


def read(matrix: Any, rows: slice | np.ndarray) -> Any:
    """Rows of a matrix, wherever it lies, as numpy array or CSR; an array of positions must be rising."""
    if isinstance(rows, np.ndarray) and type(matrix).__module__.startswith("zarr"):
        return matrix.oindex[rows]
    part = matrix[rows]
    return part.compute() if is_dask(part) else part


def is_dask(matrix: Any) -> bool:
    """Whether this is a dask array; dask itself is not imported for it."""
    dask_array = sys.modules.get("dask.array")
    return dask_array is not None and isinstance(matrix, dask_array.Array)


class StreamedRows:
    """Rows of a matrix that is not in memory, see :class:`~scgeoae.core.rows.Rows`.

    At most `OPEN_CHUNKS` + 1 chunks are held, which is what shuffled batches of one epoch need
    (:func:`~scgeoae.core.batches.shuffled`). A chunk has as many rows as fit into `BUFFER_BYTES`; of a dask array it is
    dask's own, since parts of it cannot be had.

    Parameters
    ----------
    matrix
        (n, g); sliced by rows, gives numpy arrays, CSR, or dask arrays of these.
    columns
        Which columns to use, booleans (g,); all if `None`.
    device
        Device of the model.

    Attributes
    ----------
    seconds_waited
        Time spent reading so far.
    """

    def __init__(self, matrix: Any, columns: np.ndarray | None, device: torch.device) -> None:
        self.columns = None if columns is None else np.flatnonzero(columns)
        self.shape = (matrix.shape[0], matrix.shape[1] if columns is None else int(columns.sum()))
        self.device = device
        width = max(1, matrix.shape[1])
        self.chunk = max(2, min(MAX_CHUNK, BUFFER_BYTES // (4 * width * (OPEN_CHUNKS + 1))))
        if is_dask(matrix):
            self.chunk = max(2, matrix.chunksize[0])
            matrix = matrix.rechunk({0: self.chunk})
        self.matrix = matrix
        self.seconds_waited = 0.0
        self._held: OrderedDict[int, Any] = OrderedDict()

    def take(self, index: Tensor) -> Tensor:
        """Rows at ``index``, from the chunks that are held; many chunks at once are read row by row instead."""
        positions = index.numpy()
        chunks, of_row = np.unique(positions // self.chunk, return_inverse=True)
        if len(chunks) > OPEN_CHUNKS + 1:
            rising, place = np.unique(positions, return_inverse=True)
            return self._dense(self._read(rising)).index_select(0, torch.from_numpy(place))
        result = np.empty((len(positions), self.shape[1]), dtype=np.float32)
        for i, number in enumerate(chunks.tolist()):
            here = of_row == i
            result[here] = _to_dense(self._chunk(number)[positions[here] - number * self.chunk])
        return torch.from_numpy(result).to(self.device)

    def block(self, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop``, read now."""
        return self._dense(self._read(slice(start, stop)))

    def _chunk(self, number: int) -> Any:
        if number in self._held:
            self._held.move_to_end(number)
        else:
            while len(self._held) > OPEN_CHUNKS:
                self._held.popitem(last=False)
            first = number * self.chunk
            self._held[number] = self._read(slice(first, min(first + self.chunk, self.shape[0])))
        return self._held[number]

    def _read(self, rows: slice | np.ndarray) -> Any:
        start = time.perf_counter()
        part = read(self.matrix, rows)
        part = part if self.columns is None else part[:, self.columns]
        part = part.astype(np.float32, copy=False)
        part = part.tocsr() if sparse.issparse(part) else part
        self.seconds_waited += time.perf_counter() - start
        return part

    def _dense(self, part: Any) -> Tensor:
        return torch.from_numpy(np.require(_to_dense(part), np.float32, ["C", "W"])).to(self.device)


def _to_dense(part: Any) -> np.ndarray:
    return part.toarray() if sparse.issparse(part) else np.asarray(part)
