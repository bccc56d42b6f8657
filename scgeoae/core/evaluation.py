"""Evaluate a trained autoencoder at cells in one pass over the data: place, error and distortion; velocities."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from .precision import as_written
from .rows import blocks
from .surface import Surface
from .threads import LARGE_PASS, threads_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

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


@as_written()
@torch.no_grad()
def describe(
    network: GeometricAutoencoder,
    cells: Iterable[tuple[slice, Tensor]],
    n: int,
    z: np.ndarray | None = None,
    *,
    place: Callable[[Tensor], Tensor] | None = None,
) -> Cells:
    """Evaluate the autoencoder at ``n`` cells in one pass over the data.

    Parameters
    ----------
    network
        The autoencoder.
    cells
        Blocks of the input (m, D) of the cells in order, as :func:`~scgeoae.core.rows.row_blocks` reads them.
    n
        How many there are.
    z
        Their map coordinates (n, d), if they were made elsewhere.
    place
        Places standardized cells (m, D) on the map (m, d), where `z` does not say; by default the encoder does.
    """
    place = network.place if place is None else place
    placed, error = np.empty((n, network.n_components), dtype=np.float32), np.empty(n)
    total = torch.zeros(network.n_features + 1, dtype=torch.float64)  # of residuals, and of their squares
    start = 0
    with threads_for(n * network.widest, LARGE_PASS):
        for _, block in cells:
            for part in blocks(len(block), network.widest):
                x = network.standardize(block[part])
                here = slice(start, start + len(x))
                if z is None:
                    latent = place(x)
                    placed[here] = latent.cpu().numpy()
                else:
                    latent = torch.tensor(z[here], dtype=x.dtype, device=x.device)
                residual = network.residual(x, latent)  # of order 1, so that squares are finite for any unit
                error[here] = (residual.square().mean(1).sqrt() * network.observation.scale).cpu().numpy()
                total += torch.cat([residual.sum(0), residual.square().sum().view(1)]).cpu().double()
                start = here.stop
        places = placed if z is None else z
        log_det, anisotropy = Surface(network).distortion(places)
    *mean, square = (total / max(n, 1)).tolist()
    common = float(np.square(mean).sum() / square) if square > 0 else 0.0
    return Cells(places, error, log_det, anisotropy, common)


@as_written()
@torch.no_grad()
def map_velocity(
    network: GeometricAutoencoder, rows: Rows, read: Callable[[slice], np.ndarray], width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Map the velocities of cells, in float64 and in blocks of bounded memory.

    Parameters
    ----------
    network
        The autoencoder, on the host.
    rows
        Cells (n, D).
    read
        Returns velocities (m, D), input units per unit of time, of a slice of the cells.
    width
        How many numbers `read` needs for a cell.

    Returns
    -------
    Velocities (n, d) on the map, `J_e v` with the Jacobian of the encoder, and the share of each velocity that is
    normal to the surface of the decoder at the cell, (n,), NaN where the velocity is 0.
    """
    exact, surface, n = deepcopy(network).double(), Surface(network), rows.shape[0]
    on_map, share = np.empty((n, network.n_components)), np.full(n, np.nan)
    for where in blocks(n, max(width, network.widest)):
        x, v = rows.block(where.start, where.stop).double(), torch.from_numpy(read(where))
        z, pushed = exact.encode_velocity(x, v)
        moved = exact.observation.differential(x, v).numpy()
        length = np.linalg.norm(moved, axis=1)
        on_map[where] = pushed.numpy()
        np.divide(surface.normal(z.numpy(), moved), length, out=share[where], where=length > 0)
    return on_map, share
