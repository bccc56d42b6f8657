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
    the `anisotropy` of the decoder at ``z``.
    """

    z: np.ndarray
    error: np.ndarray
    log_det: np.ndarray
    anisotropy: np.ndarray


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
        log_det, anisotropy = Manifold(network).distortion(placed if z is None else z[mine])
    everywhere = [sharding.gather_array(values, rows.device) for values in (error, log_det, anisotropy)]
    return Cells(sharding.gather_array(placed, rows.device) if z is None else z, *everywhere)
