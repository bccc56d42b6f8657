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
    """What a model says of cells.

    Coordinates `z` (n, d) float32 and, each (n,) float64, the reconstruction `error` in input units, the `log_det` and
    the `anisotropy` of the decoder at ``z``.
    """

    z: np.ndarray
    error: np.ndarray
    log_det: np.ndarray
    anisotropy: np.ndarray


def describe(model: GeometricAutoencoder, rows: Rows) -> Cells:
    """Place all rows on the map and evaluate the decoder there: one pass over the data, shared by all processes."""
    with threads_for(rows.shape[0] * max(model.n_features, *model.hidden_dims, 1), LARGE_PASS):
        z, error = embed(model, rows)
        mine = z, error, *manifold.Manifold(model).distortion(z)
    return Cells(*(processes.gather_array(values, rows.device) for values in mine))


def describe_at(model: GeometricAutoencoder, rows: Rows, z: np.ndarray) -> Cells:
    """The same for cells whose coordinates ``z`` (n, d) were made elsewhere."""
    with threads_for(rows.shape[0] * max(model.n_features, *model.hidden_dims, 1), LARGE_PASS):
        mine = _error_at(model, rows, z), *manifold.Manifold(model).distortion(z[processes.owned(len(z))])
    return Cells(z, *(processes.gather_array(values, rows.device) for values in mine))


@torch.no_grad()
def _error_at(model: GeometricAutoencoder, rows: Rows, z: np.ndarray) -> np.ndarray:
    errors = [np.empty(0)]
    for where, x in blocks(rows):
        latent = torch.tensor(z[where], dtype=x.dtype, device=x.device)
        errors.append(root_mean_square_error(model, x, latent).double().cpu().numpy())
    return np.concatenate(errors)


@torch.no_grad()
def embed(model: GeometricAutoencoder, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (n, d) float32 and reconstruction errors (n,) float64: root mean squares over features.

    Of the rows that this process reads.
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
    """`|x - f(z)| / sqrt(D)`, (n,), input units."""
    residual = model.decoder(z) - model.standardize(x)  # of order 1, so that squares are finite for any unit
    return residual.square().mean(1).sqrt() * model.scale
