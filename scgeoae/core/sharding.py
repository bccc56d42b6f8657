"""Which of some cells this process reads; all of them, unless several processes train one model."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from . import processes

if TYPE_CHECKING:
    from torch import Tensor


class Part:
    """The part of a batch or of the held-out cells that this process reads; a single process reads all.

    Parameters
    ----------
    cells
        Positions of the cells among all, the same in every process.
    n
        Number of all cells of the data.

    Attributes
    ----------
    size
        Number of ``cells`` of all processes.
    chosen
        Which of ``cells`` this process reads.
    index
        Positions of these among all cells of the data.
    """

    def __init__(self, cells: Tensor, n: int) -> None:
        self.cells, self.n, self.size = cells, n, len(cells)
        self.chosen = processes.positions_owned(cells, n)
        self.index = cells[self.chosen]

    def n_among_first(self, k: int) -> int:
        """How many of the first ``k`` cells this process reads."""
        return k if isinstance(self.chosen, slice) else int((self.chosen < k).sum())

    def whole(self, values: Tensor) -> Tensor:
        """Rows of all cells, in their order, from each process's rows ``values``."""
        if processes.world_size() == 1:
            return values
        return processes.gather(values)[self._order.to(values.device)]

    @cached_property
    def _order(self) -> Tensor:
        joined = processes.owners(self.cells, self.n).argsort(stable=True)  # as `gather` joins the rows
        return joined.argsort()

    def deal(self, values: Tensor) -> Tensor:
        """Divide rows among processes that all hold the same ``values``, of points and not of cells."""
        return values[processes.rank() :: processes.world_size()]

    def share(self, value: Tensor) -> Tensor:
        """The summand of this process of a ``value`` that every process has computed."""
        return value if processes.world_size() == 1 else value / processes.world_size()
