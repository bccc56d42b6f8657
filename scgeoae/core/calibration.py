"""Give the map a unit, a centre and an orientation without changing the reconstruction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from .evaluation import describe
from .region import occupied_region

if TYPE_CHECKING:
    from .autoencoder import GeometricAutoencoder
    from .evaluation import Cells
    from .rows import Rows


def calibrate(model: GeometricAutoencoder, rows: Rows) -> Cells:
    """Calibrate the trained model in place; return what it says of the training cells, in calibrated coordinates.

    The map is centred, multiplied such that the unit is 1, and rotated to its principal axes. `ln det` then changes by
    a known constant and the anisotropy not at all, so that one pass over the data is enough.
    """
    cells = describe(model, rows)
    centre, axes = principal_frame(cells.z)
    unit = unit_of(cells.log_det, model.n_components)
    substitute(model, unit * axes.T, centre)
    z = ((cells.z - centre) @ (unit * axes)).astype(np.float32)
    remember_cells(model, z, cells.error)
    return cells._replace(z=z, log_det=cells.log_det - model.n_components * np.log(unit))


def restore_coordinates(
    model: GeometricAutoencoder, rows: Rows, z: np.ndarray, centre: np.ndarray, scale: float
) -> Cells:
    """Absorb the standardisation ``(z - centre) / scale`` into the decoder; return what it says at ``z`` (n, d).

    The coordinates stay the user's; the unit says how much distance in the data one unit of them is worth on average.
    """
    substitute(model, scale * np.eye(len(centre)), -centre / scale)
    cells = describe(model, rows, z)
    model.unit = unit_of(cells.log_det, model.n_components)
    remember_cells(model, z, cells.error)
    return cells


def remember_cells(model: GeometricAutoencoder, z: np.ndarray, error: np.ndarray) -> None:
    """Store with the model where its training cells lie and how well they are explained."""
    if model.n_components == 2:
        model.region = occupied_region(z)
    model.error_quantiles = np.quantile(error, np.linspace(0, 1, 101))


def principal_frame(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the centre (d,) and the principal axes (d, d) of ``z``: columns, largest variance first, skewness >= 0."""
    centre = z.mean(0, dtype=np.float64)
    centred = z - centre
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1]
    skewness = ((centred @ axes) ** 3).sum(0)
    return centre, axes * np.where(skewness < 0, -1.0, 1.0)


def unit_of(log_det: np.ndarray, n_components: int) -> float:
    """Return `exp(mean ln det / d)`: distance in the data per unit of the map, on geometric average."""
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
