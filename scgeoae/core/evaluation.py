"""Evaluate a trained autoencoder at cells: place, reconstruction error and distortion, in one pass over the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from . import sharding
from .manifold import Manifold
from .rows import blocks
from .threads import LARGE_PASS, threads_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from .autoencoder import GeometricAutoencoder


class Cells(NamedTuple):
    """Evaluation of an autoencoder at cells.

    Coordinates `z` (n, d) float32 and, each (n,) float64, the reconstruction `error` in input units, the `log_det` and
    the `anisotropy` of the decoder at ``z``. `common` is the share of the squared reconstruction error that all cells
    have in common, ``|mean r|^2 / mean |r|^2`` with residuals `r`: near 0 for cells like those of the training, large
    for cells that are displaced as a whole.
    """

    z: np.ndarray
    error: np.ndarray
    log_det: np.ndarray
    anisotropy: np.ndarray
    common: float = 0.0


@torch.no_grad()
def describe(
    network: GeometricAutoencoder, read: Iterable[tuple[slice, Tensor]], n: int, z: np.ndarray | None = None
) -> Cells:
    """Evaluate the autoencoder at cells in one pass over the data.

    Parameters
    ----------
    network
        The autoencoder.
    read
        Blocks of the cells, in order, each with its place among all (:func:`~scgeoae.core.rows.row_blocks`). Of several
        processes, each reads a part.
    n
        Number of all cells.
    z
        Map coordinates (n, d) that were made elsewhere; the encoder makes them by default.
    """
    placed, error = np.zeros((n, network.n_components), dtype=np.float32), np.zeros(n)
    log_det, anisotropy = np.zeros(n), np.zeros(n)
    total = torch.zeros(network.n_features + 1, dtype=torch.float64)  # of residuals, and of their squares
    start, stop = n, 0
    with threads_for(n * network.widest, LARGE_PASS):
        for where, block in read:
            start, stop = min(start, where.start), where.stop
            for part in blocks(len(block), network.widest):
                x = network.standardize(block[part])
                here = slice(where.start + part.start, where.start + part.start + len(x))
                if z is None:
                    latent = network.encode(block[part])
                    placed[here] = latent.cpu().numpy()
                else:
                    latent = torch.tensor(z[here], dtype=x.dtype, device=x.device)
                residual = network.decoder(latent) - x  # of order 1, so that squares are finite for any unit
                error[here] = (residual.square().mean(1).sqrt() * network.scale).cpu().numpy()
                total += torch.cat([residual.sum(0), residual.square().sum().view(1)]).cpu().double()
        mine = slice(start, stop)
        log_det[mine], anisotropy[mine] = Manifold(network).distortion((placed if z is None else z)[mine])
    if stop - start < n:  # the others are read by other processes
        device = network.mean.device
        placed, error, log_det, anisotropy = (
            sharding.sum_on(device, torch.from_numpy(values)).numpy() for values in (placed, error, log_det, anisotropy)
        )
        total = sharding.sum_on(device, total)
    *mean, square = (total / max(n, 1)).tolist()
    common = float(np.square(mean).sum() / square) if square > 0 else 0.0
    return Cells(placed if z is None else z, error, log_det, anisotropy, common)
