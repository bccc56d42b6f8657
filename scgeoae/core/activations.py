"""Activation functions with the two derivatives that a tangent pass and its gradient need."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


class Activation(NamedTuple):
    """An elementwise function ``a(v)``.

    ``value(v)`` is ``a(v)``; ``value_and_slope(v)`` is the pair ``a(v), a'(v)``, which share most of their work;
    ``curvature(v, slope)`` is ``a''(v)``, given ``slope = a'(v)``. All keep the shape of ``v``.
    """

    value: Callable[[Tensor], Tensor]
    value_and_slope: Callable[[Tensor], tuple[Tensor, Tensor]]
    curvature: Callable[[Tensor, Tensor], Tensor]


def _elu_slope(v: Tensor) -> tuple[Tensor, Tensor]:
    slope = v.clamp(max=0).exp_()
    return torch.maximum(v, slope - 1), slope  # exp(v) - 1 >= v, with equality at 0


def _elu_curvature(v: Tensor, slope: Tensor) -> Tensor:
    return torch.where(v < 0, slope, 0)


def _gelu_slope(v: Tensor) -> tuple[Tensor, Tensor]:
    distribution = torch.special.ndtr(v)
    return v * distribution, distribution + v * _normal_density(v)


def _gelu_curvature(v: Tensor, slope: Tensor) -> Tensor:  # noqa: ARG001
    return _normal_density(v) * (2 - v * v)


def _normal_density(v: Tensor) -> Tensor:
    return torch.exp(-0.5 * v * v) / math.sqrt(2 * math.pi)


def _silu_slope(v: Tensor) -> tuple[Tensor, Tensor]:
    sigmoid = torch.sigmoid(v)
    value = v * sigmoid
    return value, sigmoid + value * (1 - sigmoid)


def _silu_curvature(v: Tensor, slope: Tensor) -> Tensor:  # noqa: ARG001
    sigmoid = torch.sigmoid(v)
    return sigmoid * (1 - sigmoid) * (2 + v * (1 - 2 * sigmoid))


def _softplus_slope(v: Tensor) -> tuple[Tensor, Tensor]:
    return F.softplus(v), torch.sigmoid(v)


def _softplus_curvature(v: Tensor, slope: Tensor) -> Tensor:  # noqa: ARG001
    return slope * (1 - slope)


def _tanh_slope(v: Tensor) -> tuple[Tensor, Tensor]:
    value = torch.tanh(v)
    return value, 1 - value * value


def _tanh_curvature(v: Tensor, slope: Tensor) -> Tensor:
    return -2 * torch.tanh(v) * slope


def _relu_slope(v: Tensor) -> tuple[Tensor, Tensor]:
    return F.relu(v), (v > 0).to(v.dtype)


def _relu_curvature(v: Tensor, slope: Tensor) -> Tensor:  # noqa: ARG001
    return torch.zeros_like(v)


ACTIVATIONS: dict[str, Activation] = {
    "elu": Activation(F.elu, _elu_slope, _elu_curvature),
    "gelu": Activation(F.gelu, _gelu_slope, _gelu_curvature),
    "silu": Activation(F.silu, _silu_slope, _silu_curvature),
    "softplus": Activation(F.softplus, _softplus_slope, _softplus_curvature),
    "tanh": Activation(torch.tanh, _tanh_slope, _tanh_curvature),
    "relu": Activation(F.relu, _relu_slope, _relu_curvature),
}
