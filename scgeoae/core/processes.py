"""Several processes that train one model: averages over them, and which cells each one owns.

The processes belong to a process group of `torch.distributed`, as made by `torchrun` and
:func:`torch.distributed.init_process_group`. Each draws batches from its own cells, and gradients are averaged. Without
a group there is one process, which owns all cells, and all functions here return what they are given.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import distributed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


def count() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return distributed.get_rank() if count() > 1 else 0


def owned(n: int) -> slice:
    """Return which of ``n`` cells this process owns: one contiguous part, all of equal size."""
    return slice(n * rank() // count(), n * (rank() + 1) // count())


def average(values: Tensor) -> Tensor:
    """Average ``values`` over all processes, in place."""
    return values if count() == 1 else _summed(values).div_(count())


def total(values: Tensor, device: torch.device) -> Tensor:
    """Add up host ``values`` over all processes, exchanged through ``device``."""
    return values if count() == 1 else _summed(values.to(device)).cpu()


def joined(values: np.ndarray, device: torch.device) -> np.ndarray:
    """Join the rows (n_r, ...) of all processes (n, ...) in the order of their ranks, exchanged through ``device``."""
    if count() == 1:
        return values
    sizes = torch.zeros(count(), dtype=torch.int64)
    sizes[rank()] = len(values)
    sizes = total(sizes, device)
    padded = torch.zeros(int(sizes.max()), *values.shape[1:], dtype=torch.from_numpy(values).dtype, device=device)
    padded[: len(values)] = torch.from_numpy(np.ascontiguousarray(values))
    parts = [torch.empty_like(padded) for _ in sizes]
    with _naming_a_lost_process():
        distributed.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes.tolist(), strict=True)]).cpu().numpy()


def same_everywhere(value: object) -> bool:
    """Return whether all processes hold an equal value.

    If not, every process waits until all know it: the first to fail would otherwise break the exchange of the others.
    """
    if count() == 1:
        return True
    values = [None] * count()
    with _naming_a_lost_process():
        distributed.all_gather_object(values, value)
    alike = all(other == values[0] for other in values)
    if not alike:
        with suppress(RuntimeError):  # one that has passed the barrier may end before another has
            distributed.barrier()
    return alike


def _summed(values: Tensor) -> Tensor:
    with _naming_a_lost_process():
        distributed.all_reduce(values)
    return values


@contextmanager
def _naming_a_lost_process() -> Iterator[None]:
    """Translate the error of a message that was not answered."""
    try:
        yield
    except RuntimeError as error:  # of gloo and of nccl
        msg = f"Process {rank()} of {count()} has lost another one, which failed or was ended: {error}"
        raise ConnectionError(msg) from error
