"""How many threads torch takes: one, unless the matrices are so large that more of them pay on a busy machine too."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGE_STEP = 500_000
"""Entries of the largest matrix of an optimiser step above which all threads are used: 256 cells of 2,000 features."""
LARGE_PASS = 50_000_000
"""The same for one pass over all cells: half a million cells through layers of 100."""


@contextmanager
def threads_for(entries: int, large: int) -> Iterator[None]:
    """One thread of torch for work on fewer than ``large`` entries; the number that was set before for more.

    A training is a thousand small products. Two threads gain little on them, and where other programs keep the cores
    busy each product waits for a thread that is not scheduled, which costs several times the work itself
    (``tests/benchmarks/speed.py busy``). One thread also gives the same map whatever the number of cores.
    """
    before = torch.get_num_threads()
    if entries < large:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
