"""Every choice that shapes a model, apart from the data and the seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Spec:
    """Architecture, objective and schedule, as :func:`scgeoae.tl.geometric_ae` and :func:`scgeoae.tl.fit_decoder` say.

    Where `n_steps`, `noise` or `batch_size` is `None`, :func:`scgeoae.core.fit.fit` derives it from the data.

    Attributes
    ----------
    weights
        Weight of each term but the reconstruction, by its name in :data:`~scgeoae.core.terms.TERMS`; 0 if left out.
    regularizer
        Weight of each regularizer within the term, by its name.
    regularizer_batch
        Points per batch at which the regularizer is estimated.
    interpolation
        Share of these points that lie at random places on straight lines between two cells, so that determinants and
        decoding are meaningful between clusters too. The others are cells.
    weight_decay
        Of the weights of layers at each step, relative to the learning rate. A little keeps the surface smooth, so that
        further trainings agree.
    init, observation
        Names in :data:`~scgeoae.core.start.STARTS` and :data:`~scgeoae.core.observation.OBSERVATIONS`.
    """

    n_components: int
    hidden_dims: Sequence[int]
    n_steps: int | None
    batch_size: int | None
    learning_rate: float
    validation_fraction: float
    patience: int | None
    weights: Mapping[str, float] = field(default_factory=dict)
    regularizer: Mapping[str, float] = field(default_factory=lambda: {"area": 1.0})
    noise: float | None = 0.0
    regularizer_batch: int = 64
    interpolation: float = 0.5
    weight_decay: float = 0.05
    init: str = "random"
    observation: str = "gaussian"
