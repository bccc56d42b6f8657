"""Where the training cells lie on the map and how well they are explained."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .region import OccupiedRegion  # noqa: TC001 - a model in a file is read by the types of its fields

OUTSIDE_PERCENTILE = 99


@dataclass(frozen=True)
class Frame:
    """The frame of a map, which says where the map holds.

    Attributes
    ----------
    unit
        Distance in the data per unit of the map, on geometric average over the training cells: a length on the map,
        times this, is a distance in the data locally.
    region
        The part of the map (d = 2) that the training cells occupy.
    error_quantiles
        Quantiles 0, 0.01, …, 1 of the training cells' reconstruction error, input units, shape (101,).
    length_between
        Median over random pairs of training cells of their distance on the map, times `unit`, over the distance of what
        the decoder makes of them. The surface bends between far cells, so that the way along it is longer than the way
        through the data: far lengths are divided by this to be distances.
    n_cells
        Number of the training cells; `None` where it is not known.
    """

    unit: float = field(default=1.0, metadata={"positive": True})
    region: OccupiedRegion | None = None
    error_quantiles: np.ndarray | None = field(default=None, repr=False, metadata={"shape": (101,)})
    length_between: float = field(default=1.0, metadata={"positive": True, "later": True})
    n_cells: int | None = field(default=None, metadata={"positive": True})

    def outside(self, z: np.ndarray, error: np.ndarray) -> np.ndarray:
        """Flag cells that the training cells do not explain.

        Parameters
        ----------
        z
            Map coordinates (n, d).
        error
            Reconstruction errors (n,), input units.

        Returns
        -------
        (n,) bool: whether the error is above the 99th percentile of the training cells' errors, or the cell lies off
        the occupied region (d = 2).
        """
        flag = np.zeros(len(z), dtype=bool)
        if self.error_quantiles is not None:
            flag |= error > self.error_quantiles[OUTSIDE_PERCENTILE]
        if self.region is not None:
            flag |= ~self.region.contains(z)
        return flag
