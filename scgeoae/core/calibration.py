"""Give the map a unit, a center and an orientation without changing the reconstruction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.linalg import orthogonal_procrustes

from . import processes
from .evaluation import Cells, describe
from .frame import Frame
from .region import occupied_region
from .rows import row_blocks
from .surface import Surface

if TYPE_CHECKING:
    from .autoencoder import GeometricAutoencoder
    from .rows import Rows

REMEDY = "Lower learning_rate or alpha, or raise hidden_dims."
COLLAPSED = f"The map collapsed: its decoder sends all cells to one place. {REMEDY}"
BLEW_UP = f"The map blew up: what it says of its cells is not finite. {REMEDY}"
N_PAIRS = 2_000
"""Random pairs of cells that say how much longer the way along the surface is than the way through the data."""


def calibrate(
    network: GeometricAutoencoder, rows: Rows, plot: np.ndarray, landmarks: np.ndarray | None = None
) -> tuple[Cells, Frame]:
    """Calibrate a trained autoencoder in place; return its evaluation at the training cells, and their frame.

    The map is multiplied such that the unit is 1, centered, and rotated and reflected to be nearest to ``plot``, the
    first principal components (n, d, NaN where they are not known); or, with ``landmarks`` (n, d, NaN for cells without
    one), shifted, rotated and reflected to be nearest to them. Both by least squares. `ln det` then changes by a known
    constant and the anisotropy not at all, so one pass over the data is enough.

    Raises
    ------
    FloatingPointError
        If there is no map: see :func:`check_cells`.
    """
    cells = described(network, rows)
    if landmarks is None:
        center, home = cells.z.mean(0, dtype=np.float64), np.zeros(network.n_components)
        _, axes, _ = nearest_frame(cells.z, plot)
    else:
        center, axes, home = nearest_frame(cells.z, landmarks)
    cells = _moved(network, cells, center, axes, home, unit_of(cells.log_det, network.n_components))
    return cells, framed(network, cells, unit=1.0)


def calibrate_decoder(
    network: GeometricAutoencoder, rows: Rows, z: np.ndarray, center: np.ndarray, scale: float
) -> tuple[Cells, Frame]:
    """Absorb the standardization ``(z - center) / scale`` into the decoder of a given map; return as `calibrate`.

    The coordinates ``z`` (n, d) stay the user's; the unit says how much distance in the data one unit of them is worth
    on average.

    Raises
    ------
    FloatingPointError
        If there is no map: see :func:`check_cells`.
    """
    network.change_coordinates(scale * np.eye(len(center)), -center / scale)
    cells = described(network, rows, z)
    return cells, framed(network, cells, unit_of(cells.log_det, network.n_components))


def described(network: GeometricAutoencoder, rows: Rows, z: np.ndarray | None = None) -> Cells:
    """Evaluate the autoencoder at all cells; of several processes, each evaluates its own and gets those of all.

    Raises
    ------
    FloatingPointError
        If there is no map: see :func:`check_cells`.
    """
    mine = processes.owned(rows.shape[0])
    try:
        cells = describe(network, row_blocks(rows, mine), mine.stop - mine.start, None if z is None else z[mine])
    except ValueError as reason:  # no finite derivative: the training has read the rows before
        raise FloatingPointError(BLEW_UP) from reason
    z, error, log_det, anisotropy = (processes.joined(values, rows.device) for values in cells[:4])
    cells = Cells(z, error, log_det, anisotropy)
    check_cells(cells)
    return cells


def check_cells(cells: Cells) -> None:
    """Raise an error if there is no map that float32 can hold.

    Raises
    ------
    FloatingPointError
        If a coordinate, an error or a determinant is not finite, or the decoder sends all cells to one place.
    """
    if not all(np.isfinite(values).all() for values in (cells.z, cells.error, cells.log_det)):
        raise FloatingPointError(BLEW_UP)
    unit = unit_of(cells.log_det, cells.z.shape[1])
    size = unit * np.ptp(cells.z.astype(np.float64), axis=0).max()  # of the map, in units of the data
    limits = np.finfo(np.float32)
    if not min(unit, size) > limits.smallest_subnormal:
        raise FloatingPointError(COLLAPSED)
    if not max(unit, size) < limits.max:
        raise FloatingPointError(BLEW_UP)


def align(network: GeometricAutoencoder, cells: Cells, frame: Frame, places: np.ndarray) -> tuple[Cells, Frame]:
    """Shift, rotate and reflect a calibrated map in place to be nearest to ``places`` (n, d); return as `calibrate`.

    The unit stays what it is: lengths on the map do not change.
    """
    cells = _moved(network, cells, *nearest_frame(cells.z, places))
    return cells, frame if frame.region is None else replace(frame, region=occupied_region(cells.z))


def nearest_frame(z: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the center (d,), the axes (d, d) and the home (d,) with ``(z - center) @ axes + home`` nearest to places.

    By least squares over the cells that have a place: ``places`` (n, d) is NaN for the others.
    """
    known = np.isfinite(places).all(1)
    center, home = z[known].mean(0, dtype=np.float64), places[known].mean(0, dtype=np.float64)
    axes, _ = orthogonal_procrustes(z[known] - center, places[known] - home)
    return center, axes, home


def _moved(
    network: GeometricAutoencoder, cells: Cells, center: np.ndarray, axes: np.ndarray, home: np.ndarray, unit: float = 1
) -> Cells:
    """Replace ``z`` by ``(z - center) @ (unit * axes) + home``, in the network and in its evaluation at cells."""
    network.change_coordinates(unit * axes.T, center - home @ axes.T / unit)
    if not all(torch.isfinite(weights).all() for weights in network.parameters()):
        raise FloatingPointError(BLEW_UP)
    z = ((cells.z - center) @ (unit * axes) + home).astype(np.float32)
    return cells._replace(z=z, log_det=cells.log_det - network.n_components * np.log(unit))


def framed(network: GeometricAutoencoder, cells: Cells, unit: float) -> Frame:
    """Find where the training cells lie on the map, how well they are explained and what far lengths are worth."""
    region = occupied_region(cells.z) if cells.z.shape[1] == 2 else None
    i, j = np.random.default_rng(0).integers(len(cells.z), size=(2, N_PAIRS))
    z, surface = cells.z.astype(np.float64), Surface(network)
    on_map = unit * np.linalg.norm(z[i] - z[j], axis=1)
    decoded = np.linalg.norm(surface.on_surface(z[i]) - surface.on_surface(z[j]), axis=1)
    apart = decoded > 0
    between = float(np.median(on_map[apart] / decoded[apart])) if apart.any() else 1.0
    return Frame(unit, region, np.quantile(cells.error, np.linspace(0, 1, 101)), between, len(cells.z))


def unit_of(log_det: np.ndarray, n_components: int) -> float:
    """Return `exp(mean ln det / d)`: distance in the data per unit of the map, on geometric average."""
    return float(np.exp(log_det.mean() / n_components))
