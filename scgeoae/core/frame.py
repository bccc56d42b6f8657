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
        Distance in the data per unit of the map, on geometric average over the training cells.
    region
        The part of the map (d = 2) that the training cells occupy.
    error_quantiles
        Quantiles 0, 0.01, …, 1 of the training cells' reconstruction error, input units, shape (101,).
    """

    unit: float = field(default=1.0, metadata={"positive": True})
    region: OccupiedRegion | None = None
    error_quantiles: np.ndarray | None = field(default=None, repr=False, metadata={"shape": (101,)})

    def relative_determinant(self, log_det: np.ndarray, n_components: int) -> np.ndarray:
        """`det / unit^d`, (n,), of ``log_det`` (n,): times the geometric average over the training cells."""
        return np.exp(log_det - n_components * np.log(self.unit))

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
