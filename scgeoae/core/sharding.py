"""Train one model in several processes: which rows each one reads, sums and gathers over all of them.

The processes belong to a process group of `torch.distributed`, as made by `torchrun` and
:func:`torch.distributed.init_process_group`. Without a group there is one process, which reads all rows.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import distributed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


def world_size() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return distributed.get_rank() if world_size() > 1 else 0


def owned(n: int) -> slice:
    """Return the rows of ``n`` that this process reads: one contiguous part, all of equal size."""
    return slice(n * rank() // world_size(), n * (rank() + 1) // world_size())


def same_everywhere(value: object) -> bool:
    """Return whether all processes hold an equal value.

    If not, every process waits until all know it: the first to fail would otherwise break the exchange of the others.
    """
    if world_size() == 1:
        return True
    values = [None] * world_size()
    with _naming_a_lost_process():
        distributed.all_gather_object(values, value)
    alike = all(other == values[0] for other in values)
    if not alike:
        with suppress(RuntimeError):  # one that has passed the barrier may end before another has
            distributed.barrier()
    return alike


def _owners(index: Tensor, n: int) -> Tensor:
    """Return the rank that reads each of the rows ``index`` of `n`."""
    starts = torch.tensor([n * r // world_size() for r in range(1, world_size())])
    return torch.bucketize(index, starts, right=True)


def gather(values: Tensor) -> Tensor:
    """Join the rows (n_r, ...) of all processes (n, ...) in the order of their ranks.

    Differentiable for a loss that is the sum of the processes' parts.
    """
    return values if world_size() == 1 else _Gather.apply(values)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        sizes = _sizes(len(values), values.device)
        ctx.start, ctx.stop = sum(sizes[: rank()]), sum(sizes[: rank() + 1])
        padded = values.new_zeros(max(sizes), *values.shape[1:])
        padded[: len(values)] = values
        parts = [torch.empty_like(padded) for _ in sizes]
        with _naming_a_lost_process():
            distributed.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = sum_(grad.contiguous())
        return total[ctx.start : ctx.stop]


def _sizes(size: int, device: torch.device) -> list[int]:
    sizes = torch.zeros(world_size(), dtype=torch.int64, device=device)
    sizes[rank()] = size
    return sum_(sizes).tolist()


def sum_(values: Tensor) -> Tensor:
    """Add up ``values`` over all processes, in place."""
    if world_size() > 1:
        with _naming_a_lost_process():
            distributed.all_reduce(values)
    return values


@contextmanager
def _naming_a_lost_process() -> Iterator[None]:
    """Translate the error of a message that was not answered."""
    try:
        yield
    except RuntimeError as error:  # of gloo and of nccl
        msg = f"Process {rank()} of {world_size()} has lost another one, which failed or was ended: {error}"
        raise ConnectionError(msg) from error


def sum_on(device: torch.device, values: Tensor) -> Tensor:
    """Add up host ``values`` over all processes, exchanged through ``device``."""
    return values if world_size() == 1 else sum_(values.to(device)).cpu()


def gather_array(values: np.ndarray, device: torch.device) -> np.ndarray:
    """Join the host rows of all processes in the order of their ranks, exchanged through ``device``."""
    if world_size() == 1:
        return values
    return gather(torch.from_numpy(np.ascontiguousarray(values)).to(device)).cpu().numpy()


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
        Number of ``cells`` over all processes.
    chosen
        Which of ``cells`` this process reads.
    index
        Positions of these among all cells of the data.
    """

    def __init__(self, cells: Tensor, n: int) -> None:
        self.cells, self.n, self.size = cells, n, len(cells)
        self.chosen = slice(None) if world_size() == 1 else (_owners(cells, n) == rank()).nonzero()[:, 0]
        self.index = cells[self.chosen]

    def n_among_first(self, k: int) -> int:
        """How many of the first ``k`` cells this process reads."""
        return k if isinstance(self.chosen, slice) else int((self.chosen < k).sum())

    def gathered(self, values: Tensor) -> Tensor:
        """Rows of all cells, in their order, from each process's rows ``values``."""
        if world_size() == 1:
            return values
        return gather(values)[self._order.to(values.device)]

    @cached_property
    def _order(self) -> Tensor:
        joined = _owners(self.cells, self.n).argsort(stable=True)  # as `gather` joins the rows
        return joined.argsort()

    def deal(self, values: Tensor) -> Tensor:
        """Divide rows among processes that all hold the same ``values``, of points and not of cells."""
        return values[rank() :: world_size()]

    def share(self, value: Tensor) -> Tensor:
        """The summand of this process of a ``value`` that every process has computed."""
        return value if world_size() == 1 else value / world_size()
