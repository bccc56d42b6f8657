"""What a trained model says of cells and of points of its map, in blocks of bounded memory."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from . import geometry
from .rows import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from .autoencoder import GeometricAutoencoder
    from .rows import Rows

BLOCK_ENTRIES = 2_000_000
"""Entries of the widest array that a block of points may need: 16 MB of float64."""


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
    """Place all rows on the map and evaluate the decoder there: one pass over the data."""
    z, error = embed(model, rows)
    return Cells(z, error, *distortion(model, z))


def relative_determinant(log_det: np.ndarray, model: GeometricAutoencoder) -> np.ndarray:
    """`det / unit^d`: times the geometric average over the training cells."""
    return np.exp(log_det - model.n_components * np.log(model.unit))


@torch.no_grad()
def embed(model: GeometricAutoencoder, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (n, d) float32 and reconstruction errors (n,) float64: root mean squares over features."""
    n = rows.shape[0]
    z = np.empty((n, model.n_components), dtype=np.float32)
    error = np.empty(n)
    for where, x in blocks(rows):
        latent = model.encode(x)
        z[where] = latent.cpu().numpy()
        error[where] = root_mean_square_error(model, x, latent).cpu().numpy()
    return z, error


def root_mean_square_error(model: GeometricAutoencoder, x: Tensor, z: Tensor) -> Tensor:
    """`|x - f(z)| / sqrt(D)`, (n,), input units."""
    return (model.decode(z) - x).square().mean(1).sqrt()


@torch.no_grad()
def distortion(model: GeometricAutoencoder, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log determinant and anisotropy, each (n,) float64, of the decoder at ``z`` (n, d)."""
    log_det, anisotropy = np.empty(len(z)), np.empty(len(z))
    for where, tangents in _tangent_blocks(model, z):
        log_det[where] = geometry.log_det(tangents).numpy()
        anisotropy[where] = geometry.anisotropy(tangents).numpy()
    return log_det, anisotropy


@torch.no_grad()
def metric(model: GeometricAutoencoder, z: np.ndarray) -> np.ndarray:
    """Pullback metric (n, d, d) float64 at ``z`` (n, d)."""
    result = np.empty((len(z), model.n_components, model.n_components))
    for where, tangents in _tangent_blocks(model, z):
        result[where] = geometry.metric(tangents).numpy()
    return result


def _tangent_blocks(model: GeometricAutoencoder, z: np.ndarray) -> Iterator[tuple[slice, Tensor]]:
    """Tangents in float64: on the model's device, or on the host where it has no float64."""
    home = model.mean.device
    wide = torch.device("cpu") if home.type == "mps" else home
    exact = deepcopy(model).to(wide, torch.float64)
    widest = max(model.n_features, *model.hidden_dims, 1) * (1 + model.n_components)
    size = max(1, BLOCK_ENTRIES // widest)
    for start in range(0, len(z), size):
        points = torch.tensor(z[start : start + size], dtype=torch.float64, device=wide)
        _, tangents = exact.pushforward(points)
        yield slice(start, start + len(points)), tangents.cpu()
