"""How certain a map is: the same training with other seeds, and how far the maps agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from .calibration import align, described
from .fit import fit
from .precision import as_written
from .surface import Surface
from .threads import threads_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from .autoencoder import GeometricAutoencoder
    from .frame import Frame
    from .rows import Rows
    from .spec import Spec


class Member(NamedTuple):
    """One more training of a map, aligned to it.

    The network and its frame, coordinates `z` (n, d) float32, the log determinant `log_det` (n,) and, for maps of two
    dimensions, the direction in which the decoder stretches most at each cell, angles (n,) in radians.
    """

    network: GeometricAutoencoder
    frame: Frame
    z: np.ndarray
    log_det: np.ndarray
    direction: np.ndarray | None


class Resampled:
    """The rows of a matrix at positions ``index`` (m,), an integer tensor on the host, as rows."""

    chunk = 1

    def __init__(self, rows: Rows, index: Tensor) -> None:
        self.rows, self.index, self.device = rows, index, rows.device
        self.shape = (len(index), rows.shape[1])

    def take(self, index: Tensor) -> Tensor:
        """Rows at ``index``."""
        return self.rows.take(self.index[index])

    def block(self, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop``."""
        return self.rows.take(self.index[start:stop])


@as_written()
def train_member(
    rows: Rows,
    spec: Spec,
    seed: int,
    places: np.ndarray,
    *,
    landmarks: np.ndarray | None = None,
    bootstrap: bool = False,
    name: str = "The data",
) -> Member:
    """Train one more model of a map and align it to the map by a shift, a rotation and a reflection.

    One torch thread is used whatever the size of a step, so that the result is the same in any process.

    Parameters
    ----------
    rows, spec, landmarks, name
        As of :func:`~scgeoae.core.fit.fit`; those of the map.
    seed
        Of the training, and of the resampling.
    places
        The map (n, d).
    bootstrap
        Train on as many cells as there are, drawn with replacement. A cell that is drawn several times counts once:
        duplicates would be mutual nearest neighbors, and be held out and trained on at once.

    Raises
    ------
    FloatingPointError
        If the training diverges or the map collapses.
    KeyboardInterrupt
        If the training was interrupted.
    """
    with threads_for(0, 1):
        sample = rows
        if bootstrap:
            n = rows.shape[0]
            drawn = np.unique(np.random.default_rng(seed).integers(n, size=n))
            landmarks = None if landmarks is None else landmarks[drawn]
            sample = Resampled(rows, torch.from_numpy(drawn))
        fitted = fit(sample, spec, seed, landmarks=landmarks, name=name)
        if fitted.history.interrupted:
            raise KeyboardInterrupt
        network = fitted.network
        cells = described(network, rows) if bootstrap else fitted.cells
        cells, frame = align(network, cells, fitted.frame, places)
        direction = None
        if places.shape[1] == 2:
            _, axes = np.linalg.eigh(Surface(network).metric(cells.z))  # (n, 2, 2), largest last
            direction = np.arctan2(axes[:, 1, 1], axes[:, 0, 1])
        return Member(network, frame, cells.z, cells.log_det, direction)


def displacement(places: np.ndarray, members: Sequence[Member]) -> np.ndarray:
    """Root mean square over members of the distance of each cell from its place, (n,), of ``places`` (n, d)."""
    squares = [np.square(member.z.astype(np.float64) - places).sum(1) for member in members]
    return np.sqrt(np.mean(squares, axis=0))


def axial_deviation(angles: np.ndarray) -> np.ndarray:
    """Angular deviation of axes, (n,) degrees, of their directions ``angles`` (m, n) in radians.

    An axis has no sign: ``sqrt(2 (1 - R)) / 2`` with the length `R` of the mean of ``exp(2 i angle)``. From 0 for equal
    axes to 40.5 for axes in all directions.
    """
    length = np.abs(np.exp(2j * angles).mean(0))
    return np.rad2deg(np.sqrt(2 * np.clip(1 - length, 0, None)) / 2)
