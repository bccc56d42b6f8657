"""The loss: reconstruction, and how unevenly the decoder stretches the map at cells and between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from .regularizers import weighted_sum

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from .autoencoder import GeometricAutoencoder


class Loss(NamedTuple):
    """The terms of the loss, without unit.

    The squared residuals are sums over features, one a cell (n,). With several processes these are the cells of this
    one, while the regulariser is that of all.
    """

    squares: Tensor
    regularizer: Tensor


def loss(
    model: GeometricAutoencoder,
    x: Tensor,
    z: Tensor,
    weights: Mapping[str, float],
    n_tangents: int,
    between: Tensor | None = None,
) -> Loss:
    """Squared residuals of standardised cells ``x`` (n, D) decoded from ``z`` (n, d), and the regulariser.

    The regulariser is taken at the first ``n_tangents`` of the cells and at the map points ``between`` (k, d).
    """
    points = z if between is None else torch.cat([between, z])
    k = len(points) - len(z)
    decoded, tangents = model.decoder.pushforward(points, k + n_tangents, up_to_isometry=True)
    return Loss((decoded[k:] - x).square().sum(1), weighted_sum(weights, tangents))


def plain_loss(model: GeometricAutoencoder, x: Tensor, z: Tensor) -> Loss:
    """The same without regulariser."""
    return Loss((model.decoder(z) - x).square().sum(1), x.new_zeros(()))


def interpolates(z: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """``n`` points (n, d) on straight lines between cells ``z`` (m, d) that have nothing to do with each other."""
    share = torch.rand(n, 1, generator=generator).to(z)
    return torch.lerp(z[:n], z.flip(0)[:n], share)
