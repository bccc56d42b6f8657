"""Every choice that shapes a model, apart from the data and the seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Spec:
    """Architecture, objective and schedule; the fields are arguments of :func:`scgeoae.tl.geometric_ae`.

    Where `n_steps`, `noise` or `batch_size` is `None`, :func:`scgeoae.core.fit.fit` derives it from the data. The
    defaults are those of a decoder that is fitted to a given map: plain reconstruction.
    """

    n_components: int
    hidden_dims: Sequence[int]
    n_steps: int | None
    batch_size: int | None
    learning_rate: float
    weight_decay: float
    validation_fraction: float
    patience: int | None
    noise: float | None = 0.0
    alpha: float = 0.0
    regularizer: Mapping[str, float] = field(default_factory=lambda: {"area": 1.0})
    regularizer_batch: int = 64
    interpolation: float = 0.0
    contrast_weight: float = 0.0
    landmark_weight: float = 0.0
