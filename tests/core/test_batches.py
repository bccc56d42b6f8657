"""Which cells are held out, and the order of the others."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from helpers import on_host

from scgeoae.core.batches import OPEN_CHUNKS, batches, n_held_out, shuffled, split


def test_every_cell_is_seen_once_an_epoch() -> None:
    index = torch.arange(100, 110)
    drawn = batches(index, 4, 1, torch.Generator().manual_seed(0))
    seen = torch.cat([next(drawn) for _ in range(5)])
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == index.tolist()


def test_batches_of_fewer_cells_than_asked() -> None:
    batch = next(batches(torch.arange(3), 512, 1, torch.Generator()))
    assert sorted(batch.tolist()) == [0, 1, 2]


def test_chunks_are_shuffled_within_a_window() -> None:
    """Few chunks are open at once, each is read once, and neighbours in the file are far apart in the order."""
    index = torch.arange(50_000)
    order = shuffled(index, 500, torch.Generator().manual_seed(0))
    assert torch.equal(order.sort().values, index)
    chunks = (order // 500).numpy()
    for start in range(0, len(index) - 512, 512):
        assert OPEN_CHUNKS <= len(np.unique(chunks[start : start + 512])) <= OPEN_CHUNKS + 2
    held, n_read = OrderedDict(), 0
    for chunk in chunks.tolist():
        n_read += chunk not in held
        held[chunk] = None
        held.move_to_end(chunk)
        if len(held) > OPEN_CHUNKS + 1:
            held.popitem(last=False)
    assert n_read <= 100 + OPEN_CHUNKS


@pytest.mark.parametrize(("n", "fraction", "held_out"), [(3, 0.4, 0), (20, 0.1, 2), (100, 0, 0), (30_000, 0.1, 2000)])
def test_held_out_cells(n: int, fraction: float, held_out: int) -> None:
    index, validating = split(n, n_held_out(on_host(np.zeros((n, 5))), fraction, n), torch.Generator().manual_seed(0))
    assert len(validating) == held_out
    assert sorted(torch.cat([index, validating]).tolist()) == list(range(n))


def test_few_wide_cells_are_held_out() -> None:
    assert n_held_out(on_host(np.zeros((100, 5))), 0.5, limit=7) == 7
