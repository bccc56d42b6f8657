"""Evaluate a trained model at cells and at points of its map, in blocks of bounded memory."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import nn

from . import geometry, processes
from .rows import blocks
from .threads import LARGE_PASS, threads_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from .autoencoder import GeometricAutoencoder
    from .rows import Rows

BLOCK_ENTRIES = 1_000_000
"""Entries of the widest array that a block of points may need: 8 MB of float64."""

N_DIRECTIONS = 16
"""Points of an indicatrix at which the decoder is compared with its linearisation."""


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
        mine = error, *distortion(model, placed)
    if z is None:
        z = processes.gather_array(placed, rows.device)
    return Cells(z, *(processes.gather_array(values, rows.device) for values in mine))


def _error_at(model: GeometricAutoencoder, x: Tensor, z: np.ndarray) -> np.ndarray:
    latent = torch.tensor(z, dtype=x.dtype, device=x.device)
    return root_mean_square_error(model, x, latent).double().cpu().numpy()


def relative_determinant(log_det: np.ndarray, model: GeometricAutoencoder) -> np.ndarray:
    """Return `det / unit^d`: times the geometric average over the training cells."""
    return np.exp(log_det - model.n_components * np.log(model.unit))


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
    size = max(1, BLOCK_ENTRIES // max(model.n_features, *model.hidden_dims, 1))
    for where, block in blocks(rows):
        first = where.start - mine.start
        for start, x in zip(range(first, first + len(block), size), block.split(size), strict=True):
            latent = model.encode(x)
            z[start : start + len(x)] = latent.cpu().numpy()
            error[start : start + len(x)] = root_mean_square_error(model, x, latent).cpu().numpy()
    return z, error


def root_mean_square_error(model: GeometricAutoencoder, x: Tensor, z: Tensor) -> Tensor:
    """Return `|x - f(z)| / sqrt(D)`, (n,), input units."""
    residual = model.decoder(z) - model.standardize(x)  # of order 1, so that squares are finite for any unit
    return residual.square().mean(1).sqrt() * model.scale


@torch.no_grad()
def distortion(model: GeometricAutoencoder, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return log determinant and anisotropy, each (n,) float64, of the decoder at ``z`` (n, d)."""
    log_det, anisotropy = np.empty(len(z)), np.empty(len(z))
    for where, tangents in _tangent_blocks(_compact(model), z):
        log_det[where], anisotropy[where] = (values.numpy() for values in geometry.distortion(tangents))
    return log_det, anisotropy


@torch.no_grad()
def metric(model: GeometricAutoencoder, z: np.ndarray) -> np.ndarray:
    """Return the pullback metric (n, d, d) float64 at ``z`` (n, d)."""
    result = np.empty((len(z), model.n_components, model.n_components))
    for where, tangents in _tangent_blocks(_compact(model), z):
        result[where] = geometry.metric(tangents).numpy()
    return result


@torch.no_grad()
def nonlinearity(
    model: GeometricAutoencoder, z: np.ndarray, radius: float, dimensions: tuple[int, int] = (0, 1)
) -> np.ndarray:
    """Measure how far the decoder departs from its linearisation on the indicatrices of this radius.

    The root mean square of ``|f(z + v) - f(z) - J v| / radius`` over `N_DIRECTIONS` points ``z + v`` of the indicatrix,
    equally spaced on the circle in the data: 0 for a linear decoder, about radius / (2 radius of curvature) for a
    curved one.

    Parameters
    ----------
    z
        (n, d), d at least 2.
    radius
        Of the circles in the data, input units.
    dimensions
        The two map dimensions in which the indicatrix lies.

    Returns
    -------
    (n,) float64, without unit.
    """
    exact = _in_float64(model)
    result = np.empty(len(z))
    for where, tangents in _tangent_blocks(exact, z):
        points = torch.tensor(z[where], dtype=torch.float64, device=exact.mean.device)
        pair = tangents[list(dimensions)]  # (2, n, D)
        lengths, axes = geometry.indicatrix(geometry.metric(pair), radius)
        centre = exact.decode(points).cpu()
        squares = torch.zeros(len(points), dtype=torch.float64)
        for angle in 2 * np.pi * np.arange(N_DIRECTIONS) / N_DIRECTIONS:
            on_circle = lengths * torch.tensor([np.cos(angle), np.sin(angle)])  # (n, 2)
            v = (axes @ on_circle[:, :, None])[:, :, 0]  # (n, 2)
            moved = points.clone()
            moved[:, list(dimensions)] += v.to(points.device)
            rest = exact.decode(moved).cpu() - centre - (v.t()[:, :, None] * pair).sum(0)
            squares += rest.square().sum(1)
        result[where] = (squares / N_DIRECTIONS).sqrt().numpy() / radius
    return result


def _in_float64(model: GeometricAutoencoder) -> GeometricAutoencoder:
    """A copy on the model's device, or on the host where that has no float64."""
    home = model.mean.device
    return deepcopy(model).to(torch.device("cpu") if home.type == "mps" else home).double()


@torch.no_grad()
def _compact(model: GeometricAutoencoder) -> GeometricAutoencoder:
    """A float64 copy with the same pullback metric, but no more outputs than its last layer has inputs.

    Where that layer widens, to genes say, its outputs are replaced by their coordinates in an orthonormal basis of what
    it can reach.
    """
    exact = _in_float64(model)
    last = exact.decoder.last
    if last.out_features > last.in_features:
        basis, coordinates = torch.linalg.qr(last.weight)  # (D, width), (width, width)
        last.weight, last.bias = nn.Parameter(coordinates), nn.Parameter(last.bias @ basis)
        exact.mean = exact.mean @ basis
        exact.n_features = last.out_features = len(coordinates)
    return exact


def _tangent_blocks(exact: GeometricAutoencoder, z: np.ndarray) -> Iterator[tuple[slice, Tensor]]:
    """Tangents in float64, on the host; raises a `ValueError` where they are not finite."""
    widest = max(exact.n_features, *exact.hidden_dims, 1) * (1 + exact.n_components)
    size = max(1, BLOCK_ENTRIES // widest)
    for start in range(0, len(z), size):
        points = torch.tensor(z[start : start + size], dtype=torch.float64, device=exact.mean.device)
        _, tangents = exact.pushforward(points)
        if not torch.isfinite(tangents).all():
            msg = "The decoder has no finite derivative at some points: its weights or the points are far too large."
            raise ValueError(msg)
        yield slice(start, start + len(points)), tangents.cpu()
