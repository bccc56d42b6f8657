"""What a trained model says of cells: place, reconstruction error and distortion, in one pass over the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from . import manifold, processes
from .rows import blocks
from .threads import LARGE_PASS, threads_for

if TYPE_CHECKING:
    from torch import Tensor

    from .autoencoder import GeometricAutoencoder
    from .rows import Rows


class Cells(NamedTuple):
    """Evaluation of a model at cells.

    Coordinates `z` (n, d) float32 and, each (n,) float64, the reconstruction `error` in input units, the `log_det` and
    the `anisotropy` of the decoder at ``z``.
    """

    z: np.ndarray
    error: np.ndarray
    log_det: np.ndarray
    anisotropy: np.ndarray


@torch.no_grad()
def describe(model: GeometricAutoencoder, rows: Rows, z: np.ndarray | None = None) -> Cells:
    """Evaluate the decoder at all rows in one pass over the data, which all processes share.

    Parameters
    ----------
    z
        Coordinates (n, d) that were made elsewhere; by default the encoder makes them.
    """
    with threads_for(rows.shape[0] * max(model.n_features, *model.hidden_dims, 1), LARGE_PASS):
        if z is None:
            placed, error = embed(model, rows)
        else:
            placed = z[processes.owned(len(z))]
            error = np.concatenate([np.empty(0), *(_error_at(model, x, z[where]) for where, x in blocks(rows))])
        mine = error, *manifold.Manifold(model).distortion(placed)
    if z is None:
        z = processes.gather_array(placed, rows.device)
    return Cells(z, *(processes.gather_array(values, rows.device) for values in mine))


def _error_at(model: GeometricAutoencoder, x: Tensor, z: np.ndarray) -> np.ndarray:
    latent = torch.tensor(z, dtype=x.dtype, device=x.device)
    return root_mean_square_error(model, x, latent).double().cpu().numpy()


@torch.no_grad()
def embed(model: GeometricAutoencoder, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Place the rows that this process reads on the map.

    Returns
    -------
    Coordinates (n, d) float32 and reconstruction errors (n,) float64: root mean squares over features, input units.
    """
    mine = processes.owned(rows.shape[0])
    z = np.empty((mine.stop - mine.start, model.n_components), dtype=np.float32)
    error = np.empty(len(z))
    for where, block in blocks(rows):
        for part in manifold.blocks(len(block), max(model.n_features, *model.hidden_dims, 1)):
            x, start = block[part], where.start - mine.start + part.start
            latent = model.encode(x)
            z[start : start + len(x)] = latent.cpu().numpy()
            error[start : start + len(x)] = root_mean_square_error(model, x, latent).cpu().numpy()
    return z, error


def root_mean_square_error(model: GeometricAutoencoder, x: Tensor, z: Tensor) -> Tensor:
    """Return `|x - f(z)| / sqrt(D)`, (n,), input units."""
    residual = model.decoder(z) - model.standardize(x)  # of order 1, so that squares are finite for any unit
    return residual.square().mean(1).sqrt() * model.scale
