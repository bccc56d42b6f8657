"""Hold cells out, shuffle the others, draw batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from .rows import Rows

MAX_VALIDATION_CELLS = 2_000
OPEN_CHUNKS = 16
"""Number of chunks of a file among which cells are shuffled at any moment."""


def split(n: int, n_held_out: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Split at random into training and held-out cells, the latter sorted; fewer than two are not held out."""
    if n_held_out < 2:
        n_held_out = 0
    order = torch.randperm(n, generator=generator)
    return order[n_held_out:], order[:n_held_out].sort().values


def shuffled(index: Tensor, chunk: int, generator: torch.Generator) -> Tensor:
    """Shuffle the cells ``index``.

    Rows that can only be read in chunks are shuffled within a window that slides over the chunks in random order: the
    rows of the chunk at place ``p`` are spread evenly over the moments ``p`` to ``p + OPEN_CHUNKS``, and the end of the
    epoch wraps around to its beginning, so that at any moment at most `OPEN_CHUNKS` chunks are in use.
    """
    if chunk == 1:
        return index[torch.randperm(len(index), generator=generator)]
    place = torch.randperm(int(index.max()) // chunk + 1, generator=generator)
    moment = place[index // chunk] + OPEN_CHUNKS * torch.rand(len(index), generator=generator, dtype=torch.float64)
    return index[moment.remainder(len(place)).argsort()]


def batches(index: Tensor, size: int, chunk: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield batches of ``size`` cells, or of all if there are fewer, without end: one shuffled epoch after the other.

    Cells that do not fill a batch at the end of an epoch come first in the next.

    Parameters
    ----------
    index
        The training cells.
    size
        Cells a batch.
    chunk
        Rows that are read together, see :attr:`Rows.chunk`.
    generator
        Source of the order.
    """
    size, order = min(size, len(index)), index[:0]
    while True:
        while len(order) < size:
            order = torch.cat([order, shuffled(index, chunk, generator)])
        yield order[:size]
        order = order[size:]


def n_held_out(rows: Rows, fraction: float, limit: int) -> int:
    """Return how many cells to hold out: a share of all, at most ``limit`` and `MAX_VALIDATION_CELLS`."""
    return min(int(rows.shape[0] * fraction), MAX_VALIDATION_CELLS, limit)
