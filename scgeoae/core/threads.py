"""Choose the number of torch threads: one, unless the matrices are large enough that more pay on a busy machine too."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGE_STEP = 500_000
"""Entries of the largest matrix of an optimizer step above which all threads are used: 256 cells of 2,000 features."""
LARGE_PASS = 50_000_000
"""The same for one pass over all cells: half a million cells through layers of 100."""


@contextmanager
def threads_for(entries: int, large: int) -> Iterator[None]:
    """Use one torch thread for work on fewer than ``large`` entries; restore the previous number afterwards.

    A training consists of many small matrix products. Two threads gain little on them, and while other programs keep
    the cores busy each product waits for a thread that is not scheduled, which costs several times the work itself
    (``tests/benchmarks/speed.py busy``). One thread also gives the same map whatever the number of cores.
    """
    before = torch.get_num_threads()
    if entries < large:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
