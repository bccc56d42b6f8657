"""What training and evaluation ask of a data matrix: rows by index, rows in blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from .autoencoder import GeometricAutoencoder


class Rows(Protocol):
    """A matrix (n, D) of cells that hands out float32 rows in input units, on the device of the model."""

    shape: tuple[int, int]
    device: torch.device
    chunk: int
    """Rows that are read together: 1 where any row is at hand."""

    def take(self, index: Tensor) -> Tensor:
        """Rows (len(index), D) at the positions ``index``, an integer tensor on the host."""

    def block(self, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop``, in order."""


BLOCK_ENTRIES = 4_000_000
"""Entries of a block of rows: 16 MB of float32."""


def blocks(rows: Rows) -> Iterator[tuple[slice, Tensor]]:
    """All rows in order, in blocks of bounded size."""
    n = rows.shape[0]
    size = block_size(rows)
    for start in range(0, n, size):
        stop = min(start + size, n)
        yield slice(start, stop), rows.block(start, stop)


def block_size(rows: Rows) -> int:
    """Rows that a block of bounded size may have."""
    return max(1, BLOCK_ENTRIES // max(rows.shape[1], 1))


def fit_scaling(model: GeometricAutoencoder, rows: Rows) -> None:
    """Set the model's mean by feature and its one scalar ``s = sqrt(mean((x - mean)^2))``, in two passes.

    Raises
    ------
    ValueError
        If all cells are equal.
    """
    n, n_features = rows.shape
    total = torch.zeros(n_features, dtype=torch.float64)
    for _, x in blocks(rows):
        total += x.sum(0, dtype=_accumulator(x)).cpu()
    centre = (total / n).to(rows.device, torch.float32)
    squares = sum((x - centre).square().sum(dtype=_accumulator(x)).item() for _, x in blocks(rows))
    scale = (squares / (n * n_features)) ** 0.5
    if not scale > 1e-6 * centre.abs().max().item():
        msg = "All cells are equal: a map needs cells that differ."
        raise ValueError(msg)
    model.mean.copy_(centre)
    model.scale.fill_(scale)


def _accumulator(x: Tensor) -> torch.dtype:
    return torch.float32 if x.device.type == "mps" else torch.float64
