"""From genes to the input of a model and back: scaling, principal components, or the genes as they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Scaling:
    """What `scanpy.pp.scale` did to the reference: ``clip((x - mean) / std, -max_value, max_value)``.

    Attributes
    ----------
    mean, std
        Of each gene before scaling, (g,) float64.
    max_value
        Where the values were clipped, or `None`.
    """

    mean: np.ndarray = field(repr=False, metadata={"shape": ("g",)})
    std: np.ndarray = field(repr=False, metadata={"shape": ("g",), "positive": True})
    max_value: float | None = field(default=None, metadata={"positive": True})

    def subset(self, genes: np.ndarray) -> Scaling:
        """Return the scaling of some genes, (g,) bool."""
        return Scaling(self.mean[genes], self.std[genes], self.max_value)

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Scale rows ``x`` (n, g)."""
        scaled = (x - self.mean) / self.std
        return scaled if self.max_value is None else np.clip(scaled, -self.max_value, self.max_value)

    def undo(self, x: np.ndarray) -> np.ndarray:
        """Values (n, g) before scaling; those that were clipped stay at the clip."""
        x = x * self.std
        x += self.mean
        return x

    @property
    def zero_level(self) -> np.ndarray:
        """What a zero becomes, (g,): the fingerprint that these very means and deviations leave in sparse data."""
        return self.apply(np.zeros_like(self.mean))


@dataclass(frozen=True, repr=False)
class Projection:
    """How the expression of named genes becomes the input of a model: ``scale(x) P - o``.

    Attributes
    ----------
    genes
        Names, (g,) object.
    loadings
        `P`, (g, D); `None` where the genes are the input themselves.
    offset
        `o`, (D,) float64; `None` without loadings.
    center
        Mean of the scaled expression over the reference, (g,) float64: what the components leave out is decoded as
        this; `None` without loadings.
    scaling
        What was done before, or `None`.
    layer
        Layer that holds the genes; `X` if `None`.
    """

    genes: np.ndarray = field(metadata={"shape": ("g",), "dtype": str})
    loadings: np.ndarray | None = field(default=None, metadata={"shape": ("g", "D")})
    offset: np.ndarray | None = field(default=None, metadata={"shape": ("D",)})
    center: np.ndarray | None = field(default=None, metadata={"shape": ("g",)})
    scaling: Scaling | None = None
    layer: str | None = None

    def __post_init__(self) -> None:
        if len({part is None for part in (self.loadings, self.offset, self.center)}) > 1:
            msg = "Loadings, offset and center of a projection go together."
            raise ValueError(msg)

    def __repr__(self) -> str:
        """Sizes instead of arrays."""
        parts = [f"{len(self.genes)} genes" + (f" of layer {self.layer!r}" if self.layer is not None else "")]
        parts += [] if self.scaling is None else ["scaled"]
        parts += [] if self.loadings is None else [f"{self.n_features} components"]
        return f"Projection({', '.join(parts)})"

    @property
    def n_features(self) -> int:
        """D, the number of input features."""
        return len(self.genes) if self.loadings is None else self.loadings.shape[1]

    def scale(self, x: np.ndarray) -> np.ndarray:
        """Scale rows ``x`` (n, g) as the reference was scaled, if it was."""
        return x if self.scaling is None else self.scaling.apply(x)

    def apply(self, x: np.ndarray, *, scaled: bool = False) -> np.ndarray:
        """Input (n, D), float64, of rows ``x`` (n, g) that are ``scaled`` already, or not."""
        x = np.asarray(x, dtype=np.float64)  # X P and o are large beside their difference
        x = x if scaled else self.scale(x)
        return x if self.loadings is None or self.offset is None else x @ self.loadings - self.offset

    def apply_to_velocity(self, v: np.ndarray) -> np.ndarray:
        """Velocity (n, D) of the input, given that of the expression before scaling, (n, g): `apply` is linear.

        Where the scaling clips a value, its velocity counts nevertheless.
        """
        v = v if self.scaling is None else v / self.scaling.std
        return v if self.loadings is None else v @ self.loadings

    def undo(self, y: np.ndarray) -> np.ndarray:
        """Expression (n, g), float64, before scaling, of inputs ``y`` (n, D)."""
        x = self.expected(y)
        return x if self.scaling is None else self.scaling.undo(x)

    def undo_differential(self, v: np.ndarray) -> np.ndarray:
        """Rates of change (n, g) of the expression before scaling along vectors ``v`` (n, D) of the input."""
        x = np.asarray(v, dtype=np.float64)
        x = x if self._inverse is None else x @ self._inverse[0]
        return x if self.scaling is None else x * self.scaling.std

    def expected(self, y: np.ndarray) -> np.ndarray:
        """Scaled expression (n, g), float64, of inputs ``y`` (n, D).

        Of all expressions that `apply` takes to ``y`` the one nearest to the mean of the reference: with `P^+` the
        pseudo-inverse, ``c + (y + o - c P) P^+``. The columns of PCA loadings are orthonormal, so that this is the
        usual reconstruction ``mean + Z P^T``.
        """
        x = np.asarray(y, dtype=np.float64)
        if self._inverse is not None:
            inverse, constant = self._inverse
            x = x @ inverse
            x += constant
        return x

    @cached_property
    def _inverse(self) -> tuple[np.ndarray, np.ndarray] | None:
        """`P^+` (D, g) and what is added to ``y P^+`` (g,)."""
        if self.loadings is None or self.offset is None or self.center is None:
            return None
        loadings = self.loadings.astype(np.float64)
        inverse = np.linalg.pinv(loadings)
        return inverse, self.center + (self.offset - self.center @ loadings) @ inverse
