"""What to train and how: every choice that shapes a model, beside the data and the seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Spec:
    """Architecture, objective and schedule; every field is an argument of :func:`scgeoae.tl.geometric_ae`.

    Where `n_steps`, `noise` or `batch_size` is `None`, :func:`scgeoae.core.fit.fit` derives it from the data.
    """

    n_components: int
    hidden_dims: Sequence[int]
    activation: str
    alpha: float
    regularizer: Mapping[str, float]
    regularizer_batch: int
    noise: float | None
    n_steps: int | None
    batch_size: int | None
    learning_rate: float
    weight_decay: float
    validation_fraction: float
    patience: int | None
    contrast_weight: float = 0.0
    interpolation: float = 0.0
