"""What the decoder is asked to preserve: functions of its tangents (d, n, D), zero at the ideal and without unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .geometry import log_det, metric

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor


def area(tangents: Tensor) -> Tensor:
    """Unbiased variance of `ln det` over the cells: 0 where areas are true (Nazari et al. 2023, section 3)."""
    return log_det(tangents).var()


def isometry(tangents: Tensor) -> Tensor:
    """`d E[tr G^2] / E[tr G]^2 - 1`: 0 exactly for a scaled isometry (Lee et al. 2022)."""
    g = metric(tangents)  # (n, d, d)
    trace = g.diagonal(dim1=1, dim2=2).sum(1).mean().clamp_min(torch.finfo(g.dtype).tiny ** 0.5)
    return len(tangents) * g.square().sum((1, 2)).mean() / trace.square() - 1


def conformal(tangents: Tensor) -> Tensor:
    """`E[ln(tr G / d) - ln(det G) / d]`: 0 exactly where `G` is a multiple of the identity, angles kept."""
    d = len(tangents)
    trace = tangents.square().sum((0, 2)).clamp_min(torch.finfo(tangents.dtype).tiny)  # (n,)
    return ((trace / d).log() - 2 * log_det(tangents) / d).mean()


REGULARIZERS: dict[str, Callable[[Tensor], Tensor]] = {"area": area, "isometry": isometry, "conformal": conformal}


def weighted_sum(weights: Mapping[str, float], tangents: Tensor) -> Tensor:
    """Sum of the named regularisers, each times its weight."""
    return sum((weight * REGULARIZERS[name](tangents) for name, weight in weights.items()), tangents.new_zeros(()))
