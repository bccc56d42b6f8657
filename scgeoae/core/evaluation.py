"""Evaluate a trained autoencoder at cells: place, reconstruction error and distortion, in one pass over the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from . import sharding
from .manifold import Manifold
from .rows import blocks, row_blocks
from .threads import LARGE_PASS, threads_for

if TYPE_CHECKING:
    from .autoencoder import GeometricAutoencoder
    from .rows import Rows


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
def describe(network: GeometricAutoencoder, rows: Rows, z: np.ndarray | None = None) -> Cells:
    """Evaluate the autoencoder at all rows in one pass over the data, which all processes share.

    Parameters
    ----------
    network
        The autoencoder.
    rows
        Cells (n, D).
    z
        Map coordinates (n, d) that were made elsewhere; the encoder makes them by default.
    """
    mine = sharding.owned(rows.shape[0])
    n = mine.stop - mine.start
    placed, error = np.empty((n, network.n_components), dtype=np.float32), np.empty(n)
    total = torch.zeros(network.n_features + 1, dtype=torch.float64)  # of residuals, and of their squares
    with threads_for(rows.shape[0] * network.widest, LARGE_PASS):
        for where, block in row_blocks(rows):
            for part in blocks(len(block), network.widest):
                x = network.standardize(block[part])
                start = where.start + part.start
                here = slice(start - mine.start, start - mine.start + len(x))
                if z is None:
                    latent = network.encode(block[part])
                    placed[here] = latent.cpu().numpy()
                else:
                    latent = torch.tensor(z[start : start + len(x)], dtype=x.dtype, device=x.device)
                residual = network.decoder(latent) - x  # of order 1, so that squares are finite for any unit
                error[here] = (residual.square().mean(1).sqrt() * network.scale).cpu().numpy()
                total += torch.cat([residual.sum(0), residual.square().sum().view(1)]).cpu().double()
        log_det, anisotropy = Manifold(network).distortion(placed if z is None else z[mine])
    if z is None:
        z = sharding.gather_array(placed, rows.device)
    error, log_det, anisotropy = (sharding.gather_array(v, rows.device) for v in (error, log_det, anisotropy))
    *mean, square = (sharding.sum_on(rows.device, total) / max(rows.shape[0], 1)).tolist()
    common = float(np.square(mean).sum() / square) if square > 0 else 0.0
    return Cells(z, error, log_det, anisotropy, common)
