"""Regularizers: functions of the decoder's pullback geometry, without unit and zero at the ideal."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import torch

from . import geometry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor


class Pullback:
    """Metric and log determinant of ``tangents`` (d, n, D), each computed once for all regularizers."""

    def __init__(self, tangents: Tensor) -> None:
        self.tangents = tangents
        self.n_components = len(tangents)

    @cached_property
    def metric(self) -> Tensor:
        """`G`, (n, d, d)."""
        return geometry.metric(self.tangents)

    @cached_property
    def trace(self) -> Tensor:
        """`tr G = |J|^2`, (n,), bounded below so that its logarithm is finite."""
        trace = self.tangents.square().sum((0, 2))
        return trace + torch.finfo(trace.dtype).tiny ** 0.5

    @cached_property
    def log_det(self) -> Tensor:
        """`ln sqrt(det G)`, (n,)."""
        return geometry.log_det(self.tangents)


def area(pullback: Pullback) -> Tensor:
    """Unbiased variance of `ln det` over the cells: 0 where areas are true (Nazari et al. 2023, section 3)."""
    return pullback.log_det.var()


def isometry(pullback: Pullback) -> Tensor:
    """`d E[tr G^2] / E[tr G]^2 - 1`: 0 exactly for a scaled isometry (Lee et al. 2022)."""
    d = pullback.n_components
    return d * pullback.metric.square().sum((1, 2)).mean() / pullback.trace.mean().square() - 1


def conformal(pullback: Pullback) -> Tensor:
    """`E[ln(tr G / d) - ln(det G) / d]`: 0 exactly where `G` is a multiple of the identity, angles kept."""
    d = pullback.n_components
    return ((pullback.trace / d).log() - 2 * pullback.log_det / d).mean()


REGULARIZERS: dict[str, Callable[[Pullback], Tensor]] = {"area": area, "isometry": isometry, "conformal": conformal}


def weighted_sum(weights: Mapping[str, float], tangents: Tensor) -> Tensor:
    """Sum of the named regularizers of ``tangents`` (d, n, D), each times its weight."""
    pullback = Pullback(tangents)
    return sum((weight * REGULARIZERS[name](pullback) for name, weight in weights.items()), tangents.new_zeros(()))
