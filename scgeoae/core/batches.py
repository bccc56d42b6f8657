"""Hold cells out, shuffle the others, draw batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from .rows import Rows

MAX_VALIDATION_CELLS = 2_000
OPEN_CHUNKS = 16
"""Number of chunks of a file among which cells are shuffled at any moment."""


def split(n: int, n_held_out: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Split at random into training and held-out cells, the latter sorted; none if fewer than two, without variance."""
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


class Batches:
    """Endless batches of ``size`` cells, or of all if there are fewer: one shuffled epoch after the other.

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

    def __init__(self, index: Tensor, size: int, chunk: int, generator: torch.Generator) -> None:
        self.index, self.size, self.chunk, self.generator = index, min(size, len(index)), chunk, generator
        self.position = 0
        self.left_over = index[:0]
        self._begin_epoch()

    def __next__(self) -> Tensor:
        """The next batch."""
        while len(self.order) - self.position < self.size:
            self.left_over, self.position = self.order[self.position :], 0
            self._begin_epoch()
        batch = self.order[self.position : self.position + self.size]
        self.position += self.size
        return batch

    def _begin_epoch(self) -> None:
        self.began_with = self.generator.get_state()
        self.order = torch.cat([self.left_over, shuffled(self.index, self.chunk, self.generator)])

    def state_dict(self) -> dict[str, Any]:
        """Return what is needed to continue with the same batches; not the order, which can be drawn again."""
        return {"position": self.position, "left_over": self.left_over.clone(), "began_with": self.began_with}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken; leave the generator where it was after drawing the order."""
        self.generator.set_state(state["began_with"])
        self.position, self.left_over = state["position"], state["left_over"]
        self._begin_epoch()


def n_held_out(rows: Rows, fraction: float, limit: int) -> int:
    """Return how many cells to hold out: a share of all, at most ``limit`` and `MAX_VALIDATION_CELLS`."""
    return min(int(rows.shape[0] * fraction), MAX_VALIDATION_CELLS, limit)
