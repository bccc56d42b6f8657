"""Matrices that are not in memory: backed AnnData, zarr, dask, memory-mapped files. Rows are read a chunk at a time."""

from __future__ import annotations

import sys
import time
from collections import OrderedDict
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scanpy import logging as logg
from scipy import sparse

from .core.batches import OPEN_CHUNKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

BUFFER_BYTES = 256 * 2**20
"""What the chunks that are held may take; they are held as dense float32."""

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
    part = part.compute() if is_dask(part) else part
    return part.tocsr() if sparse.issparse(part) else part  # dask joins dense and sparse files to COO


def is_dask(matrix: Any) -> bool:
    """Whether this is a dask array; dask itself is not imported for it."""
    dask_array = sys.modules.get("dask.array")
    return dask_array is not None and isinstance(matrix, dask_array.Array)


def rows_that_fit(width: int) -> int:
    """Rows of a chunk, such that all chunks that are held fit into `BUFFER_BYTES`."""
    return max(2, BUFFER_BYTES // (4 * max(1, width) * (OPEN_CHUNKS + 1)))


def chunk_rows(width: int) -> int:
    """Rows of a chunk of a matrix of this width, where we choose."""
    return min(MAX_CHUNK, rows_that_fit(width))


class Files:
    """Files or folders that must stay as they are while they are read.

    Parameters
    ----------
    paths
        Those that are not there are left out.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._stamps = {path: _stamp(path) for path in paths if path.exists()}

    def __str__(self) -> str:
        """The first of them, for messages."""
        return f" of {next(iter(self._stamps))}" if self._stamps else ""

    def check(self) -> None:
        """Raise an `OSError` if one of them is not what it was."""
        for path, stamp in self._stamps.items():
            if _stamp(path) != stamp:
                msg = f"{path} {'changed' if path.exists() else 'vanished'} while it was read."
                raise OSError(msg)


class Source:
    """A matrix whose rows are read, and the files in which it lies.

    Of a dask array whole chunks are computed, and the last one is kept.

    Parameters
    ----------
    matrix
        (n, g); sliced by rows, gives numpy arrays, CSR, or dask arrays of these.
    """

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix
        self.files = Files(_paths(matrix))
        self._bounds = np.cumsum([0, *matrix.chunks[0]]) if is_dask(matrix) else np.empty(0, dtype=np.int64)
        self._last: tuple[tuple[int, int], Any] = (0, 0), None

    def read(self, rows: slice | np.ndarray) -> Any:
        """Rows as numpy array or CSR; an array of positions must be rising.

        Raises
        ------
        OSError
            If the files are not what they were at the beginning, or cannot be read.
        """
        with self._unchanged():
            if not len(self._bounds) or isinstance(rows, np.ndarray):
                return read(self.matrix, rows)
            return self._computed(rows.start, rows.stop)

    def _computed(self, start: int, stop: int) -> Any:
        """Rows of a dask array, from the chunks that hold them."""
        first, last = np.searchsorted(self._bounds, [start, stop - 1], side="right")
        low, high = self._bounds[first - 1].item(), self._bounds[last].item()
        if self._last[0] != (low, high):
            self._last = (0, 0), None  # before the next one is there
            self._last = (low, high), read(self.matrix, slice(low, high))
        return self._last[1][start - low : stop - low]

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        self.files.check()
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:  # what h5py, zarr and its codecs say of a damaged file
            self.files.check()
            msg = f"Rows{self.files} cannot be read: {str(error)[:300] or type(error).__name__}"
            raise OSError(msg) from error
        self.files.check()


def _paths(matrix: Any) -> list[Path]:
    """The files of a matrix, or the folders of a zarr store, as far as they are known."""
    group = getattr(matrix, "group", matrix)  # anndata's sparse datasets are groups of arrays
    if isinstance(matrix, np.memmap):
        return [Path(matrix.filename)] if matrix.filename else []
    if hasattr(group, "file"):
        return [Path(group.file.filename)]
    root = getattr(getattr(group, "store", None), "root", None)
    if root is None:
        return []
    folder = Path(root) / group.path
    arrays = [folder, folder / "data", folder / "indices", folder / "indptr"]
    return [place for array in arrays for place in (array, array / "c")]  # chunks lie in either


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


class StreamedRows:
    """Rows of a matrix that is not in memory, see :class:`~scgeoae.core.rows.Rows`.

    At most `OPEN_CHUNKS` + 1 chunks are held, which is what shuffled batches of one epoch need
    (:func:`~scgeoae.core.batches.shuffled`), on the device, in `BUFFER_BYTES`. A chunk of a dask array is made of
    dask's own, since parts of these cannot be had; where these are too large, one of them is in memory too.

    Parameters
    ----------
    matrix
        (n, g); see `Source`.
    columns
        Which columns to use, booleans (g,); all if `None`.
    device
        Device of the model.

    Attributes
    ----------
    seconds_waited
        Time spent so far until rows were at hand.
    """

    def __init__(self, matrix: Any, columns: np.ndarray | None, device: torch.device) -> None:
        self.columns = None if columns is None else np.flatnonzero(columns)
        self.shape = (matrix.shape[0], matrix.shape[1] if columns is None else int(columns.sum()))
        self.device = device
        self.chunk = _dask_chunk(matrix) if is_dask(matrix) else chunk_rows(matrix.shape[1])
        self.source = Source(matrix)
        self.seconds_waited = 0.0
        self._slots: OrderedDict[int, int] = OrderedDict()
        """Chunks that are held and where in the buffer, the one used last at the end."""

    def take(self, index: Tensor) -> Tensor:
        """Rows at ``index``, from the chunks that are held; many chunks at once are read row by row instead."""
        with self._waiting():
            numbers, of_row = torch.unique(index // self.chunk, return_inverse=True)
            if len(numbers) > OPEN_CHUNKS + 1:
                rising, place = torch.unique(index, return_inverse=True)
                return self._read(rising.numpy()).index_select(0, place.to(self.device))
            first = self.chunk * torch.tensor(self._places(numbers.tolist()), dtype=torch.int64)
            return self._buffer.index_select(0, (first[of_row] + index % self.chunk).to(self.device))

    def block(self, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop``, read now."""
        with self._waiting():
            return self._read(slice(start, stop))

    @cached_property
    def _buffer(self) -> Tensor:
        n_chunks = min(OPEN_CHUNKS + 1, -(-self.shape[0] // self.chunk))
        return torch.empty(n_chunks * self.chunk, self.shape[1], device=self.device)

    def _places(self, numbers: list[int]) -> list[int]:
        """Where in the buffer these chunks are; the missing ones take the places of those not used for longest."""
        for number in self._slots.keys() & numbers:
            self._slots.move_to_end(number)
        for number in numbers:
            if number not in self._slots:
                full = len(self._slots) * self.chunk == len(self._buffer)
                slot = self._slots.popitem(last=False)[1] if full else len(self._slots)
                start = number * self.chunk
                part = self._read(slice(start, min(start + self.chunk, self.shape[0])))
                self._buffer[slot * self.chunk :][: len(part)] = part
                self._slots[number] = slot
        return [self._slots[number] for number in numbers]

    def _read(self, rows: slice | np.ndarray) -> Tensor:
        part = self.source.read(rows)
        part = part if self.columns is None else part[:, self.columns]
        with np.errstate(over="ignore"):  # `check_finite` tells of values beyond float32
            part = part.astype(np.float32, copy=False)
        part = part.toarray() if sparse.issparse(part) else np.asarray(part)
        return torch.from_numpy(np.require(part, np.float32, ["C", "W"])).to(self.device)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds_waited += time.perf_counter() - start


def _dask_chunk(matrix: Any) -> int:
    """Rows of a chunk: some of dask's, one of dask's, or, of which a warning is told, part of one."""
    dasks, fit, ours = max(matrix.chunks[0]), rows_that_fit(matrix.shape[1]), chunk_rows(matrix.shape[1])
    if dasks > fit:
        logg.warning(
            f"The dask array has chunks of {dasks} rows, of which {fit} would fit into the buffer of "
            f"{BUFFER_BYTES // 2**20} MB: a whole chunk is in memory beside it, and is computed for each part that is "
            f"read. Make it with smaller chunks, or `.rechunk({{0: {ours}, 1: -1}})` it if it was made from an array."
        )
        return ours
    return max(2, dasks, ours // dasks * dasks)
