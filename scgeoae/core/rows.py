"""The interface of a data matrix: rows by index, rows in blocks; its moments and finiteness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from . import processes
from .precision import as_written
from .threads import LARGE_PASS, threads_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor


class Rows(Protocol):
    """A matrix (n, D) of cells that returns float32 rows in input units, on the device of the autoencoder."""

    shape: tuple[int, int]
    device: torch.device
    chunk: int
    """Number of rows that are read together: 1 with random access."""

    def take(self, index: Tensor) -> Tensor:
        """Rows (len(index), D) at the positions ``index``, an integer tensor on the host."""

    def block(self, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop``, in order."""


BLOCK_ENTRIES = 4_000_000
"""Entries of the largest array that work on a block of rows may need: 16 MB of float32."""


def block_size(width: int) -> int:
    """Return the number of rows of this width in a block of at most `BLOCK_ENTRIES`."""
    return max(1, BLOCK_ENTRIES // max(width, 1))


def blocks(n: int, width: int) -> Iterator[slice]:
    """Split ``n`` rows of this width into blocks."""
    size = block_size(width)
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def row_blocks(rows: Rows, part: slice | None = None) -> Iterator[tuple[slice, Tensor]]:
    """Read all rows in order, or a part of them, in blocks or in the chunks of the storage."""
    start, end, _ = (part or slice(None)).indices(rows.shape[0])
    size = block_size(rows.shape[1]) if rows.chunk == 1 else rows.chunk
    while start < end:
        stop = min((start // size + 1) * size, end)
        yield slice(start, stop), rows.block(start, stop)
        start = stop


@as_written()
def moments(rows: Rows, place: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Compute the means of each feature of ``place(x)`` and of its square over all cells, each (D,), in one pass.

    Raises
    ------
    ValueError
        If a value is missing or infinite.
    """
    n, n_features = rows.shape
    sums = torch.zeros(2, n_features, dtype=torch.float64)
    with threads_for(n * n_features, LARGE_PASS):
        for _, x in row_blocks(rows, processes.owned(n)):
            wide = place(x.cpu().double())  # in this order: MPS has no float64
            sums += torch.stack([wide.sum(0), wide.square().sum(0)])
    mean, mean_square = processes.total(sums, rows.device) / n
    if not torch.isfinite(mean_square).all():
        msg = "The data hold missing or infinite values."
        raise ValueError(msg)
    return mean, mean_square


def check_finite(rows: Rows, name: str) -> None:
    """Raise if any entry is missing or infinite as float32, saying how many and where the first one is."""
    n_bad, first = 0, ""
    for where, x in row_blocks(rows):
        bad = ~torch.isfinite(x)
        if bad.any():
            row, column = (int(i) for i in bad.nonzero()[0])
            first = first or f"row {where.start + row}, column {column}"
            n_bad += int(bad.sum())
    if n_bad:
        msg = f"{name} holds {n_bad} missing, infinite or larger than float32 values, the first at {first}."
        raise ValueError(msg)
