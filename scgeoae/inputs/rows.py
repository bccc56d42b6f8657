"""Rows for :mod:`scgeoae.core`: in memory, read when they are needed, or buffered in chunks; and their device."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from scanpy import logging as logg

from ..core.batches import OPEN_CHUNKS
from .matrix import is_dask

if TYPE_CHECKING:
    from torch import Tensor

    from .matrix import Matrix

DEVICE_SHARE = 0.5
"""Largest share of a device's free memory that a matrix may take to be kept there."""
BUFFER_BYTES = 256 * 2**20
"""What the buffered chunks of a streamed matrix may take, as dense float32."""
MAX_CHUNK = 8_192


class DenseRows:
    """A dense matrix in memory, or on the device where it fits there."""

    chunk = 1

    def __init__(self, x: np.ndarray, device: torch.device) -> None:
        self.shape: tuple[int, int] = (x.shape[0], x.shape[1])
        self.device = device
        self.tensor = torch.from_numpy(x)
        if device.type != "cpu" and self.tensor.nbytes < DEVICE_SHARE * _free_memory(device):
            self.tensor = self.tensor.to(device)

    def take(self, index: Tensor) -> Tensor:
        """Rows at ``index``."""
        return self.tensor.index_select(0, index.to(self.tensor.device)).to(self.device)

    def block(self, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop``."""
        return self.tensor[start:stop].to(self.device)


class ReadRows:
    """Rows of a matrix that are read when they are needed, with random access: those of a sparse matrix.

    A subclass that computes its rows from those of the matrix says how in `_read`.
    """

    chunk = 1

    def __init__(self, matrix: Matrix, device: torch.device) -> None:
        self.matrix, self.device, self.shape = matrix, device, matrix.shape

    def take(self, index: Tensor) -> Tensor:
        """Rows at ``index``."""
        return self._read(index.numpy())

    def block(self, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop``."""
        result = torch.empty(stop - start, self.shape[1], dtype=torch.float32, device=self.device)
        for rows in self.matrix.blocks(start, stop):
            result[rows.start - start : rows.stop - start] = self._read(rows)
        return result

    def _read(self, rows: slice | np.ndarray) -> Tensor:
        return torch.from_numpy(self.matrix.dense(rows, np.float32)).to(self.device)


class StreamedRows(ReadRows):
    """Rows of a matrix that is not in memory. Chunks of rows are buffered on the device.

    The buffer holds `OPEN_CHUNKS` + 1 chunks, which is what shuffled batches of one epoch need
    (:func:`~scgeoae.core.batches.shuffled`), in `BUFFER_BYTES`. A chunk of a dask array consists of whole chunks of
    dask, since dask computes nothing less; where these are too large, one of them is in memory too.
    """

    def __init__(self, matrix: Matrix, device: torch.device) -> None:
        super().__init__(matrix, device)
        self.chunk = _dask_chunk(matrix) if is_dask(matrix.values) else chunk_rows(matrix.values.shape[1])
        self._slots: OrderedDict[int, int] = OrderedDict()
        """Buffered chunks and their place in the buffer, the one used last at the end."""

    def take(self, index: Tensor) -> Tensor:
        """Rows at ``index``, from buffered chunks; if they lie in too many chunks, they are read one by one."""
        numbers, of_row = torch.unique(index // self.chunk, return_inverse=True)
        if len(numbers) > OPEN_CHUNKS + 1:
            return super().take(index)
        first = self.chunk * index.new_tensor(self._places(numbers.tolist()))
        return self._buffer.index_select(0, (first[of_row] + index % self.chunk).to(self.device))

    @cached_property
    def _buffer(self) -> Tensor:
        n_chunks = min(OPEN_CHUNKS + 1, -(-self.shape[0] // self.chunk))
        return torch.empty(n_chunks * self.chunk, self.shape[1], dtype=torch.float32, device=self.device)

    def _places(self, numbers: list[int]) -> list[int]:
        """Places of chunks in the buffer; missing ones are read and replace those not used for longest."""
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


def chunk_rows(width: int) -> int:
    """Rows of a chunk of a matrix with ``width`` columns, at most `MAX_CHUNK` and few enough for the buffer."""
    return min(MAX_CHUNK, _rows_that_fit(width))


def _rows_that_fit(width: int) -> int:
    return max(2, BUFFER_BYTES // (4 * max(1, width) * (OPEN_CHUNKS + 1)))


def _dask_chunk(matrix: Matrix) -> int:
    """Rows of a chunk: several of dask's chunks or one; a part of one, with a warning, if they are too large."""
    width = matrix.values.shape[1]
    dasks, fit, ours = max(matrix.values.chunks[0]), _rows_that_fit(width), chunk_rows(width)
    if dasks > fit:
        logg.warning(
            f"The dask array has chunks of {dasks} rows, of which {fit} would fit into the buffer of "
            f"{BUFFER_BYTES // 2**20} MB: a whole chunk is in memory beside it, and is computed for each part that is "
            f"read. Make it with smaller chunks, or `.rechunk({{0: {ours}, 1: -1}})` it if it was made from an array."
        )
        return ours
    return max(2, dasks, ours // dasks * dasks)


def _free_memory(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return float("inf")


def resolve_device(device: str | torch.device | None) -> torch.device:
    """Return the device asked for, or by default the best one available.

    Raises
    ------
    ValueError
        If it is unknown or not available.
    """
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        best = resolve_device(None).type
        there = "'cpu'" if best == "cpu" else f"'{best}' and 'cpu'"
        msg = f"device={str(device)!r} is not available here; torch offers {there}."
        raise ValueError(msg) from error
    return chosen
