"""Give the map a unit, a centre and an orientation, without changing what the autoencoder reconstructs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from .autoencoder import GeometricAutoencoder


def principal_frame(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre (d,) and principal axes (d, d), one per column, largest variance first and skewness >= 0, of ``z``."""
    centre = z.mean(0, dtype=np.float64)
    centred = z - centre
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1]
    skewness = ((centred @ axes) ** 3).sum(0)
    return centre, axes * np.where(skewness < 0, -1.0, 1.0)


def unit_of(log_det: np.ndarray, n_components: int) -> float:
    """`exp(mean ln det / d)`: distance in the data per unit of the map, on geometric average."""
    return float(np.exp(log_det.mean() / n_components))


@torch.no_grad()
def substitute(model: GeometricAutoencoder, forward: np.ndarray, shift: np.ndarray) -> None:
    """Replace the map coordinate ``z`` by ``z' = forward (z - shift)``, absorbed exactly into the adjacent layers.

    Parameters
    ----------
    model
        Changed in place; ``f(e(x))`` stays what it was.
    forward
        (d, d), invertible.
    shift
        (d,).
    """
    linear, origin = torch.as_tensor(forward.copy()), torch.as_tensor(shift)
    if model.encoder is not None:
        _compose(model.encoder.last, left=linear, offset=-linear @ origin)
    first = model.decoder.first
    weight = _exact(first.weight)  # W z + b = W forward^-1 z' + (b + W shift)
    _assign(first.bias, _exact(first.bias) + weight @ origin)
    _assign(first.weight, torch.linalg.solve(linear, weight, left=False))


def _compose(layer: torch.nn.Linear, left: torch.Tensor, offset: torch.Tensor) -> None:
    _assign(layer.weight, left @ _exact(layer.weight))
    _assign(layer.bias, left @ _exact(layer.bias) + offset)


def _exact(parameter: torch.Tensor) -> torch.Tensor:
    return parameter.cpu().double()  # in this order: MPS has no float64


def _assign(parameter: torch.Tensor, value: torch.Tensor) -> None:
    parameter.copy_(value.to(parameter.dtype))
