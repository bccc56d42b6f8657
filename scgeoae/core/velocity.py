"""Velocities on the map, by the differential of the encoder."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np
import torch

from .rows import blocks
from .surface import Surface

if TYPE_CHECKING:
    from collections.abc import Callable

    from .autoencoder import GeometricAutoencoder
    from .rows import Rows


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
