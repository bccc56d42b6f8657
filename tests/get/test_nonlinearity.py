"""The indicatrix against the decoded circle, on a surface whose curvature is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

import scgeoae
from scgeoae.core.evaluation import nonlinearity

if TYPE_CHECKING:
    from anndata import AnnData

A = 0.3


class Paraboloid(nn.Module):
    """``f(u, v) = (u, v, A (u^2 + v^2))``, with a third coordinate that is a flat direction of its own."""

    n_features, hidden_dims = 4, ()

    def __init__(self, n_components: int = 2) -> None:
        super().__init__()
        self.n_components = n_components
        self.register_buffer("mean", torch.zeros(()))

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        flat = z[:, 2] if self.n_components == 3 else torch.zeros_like(z[:, 0])
        return torch.stack([z[:, 0], z[:, 1], A * z[:, :2].square().sum(1), flat], 1)

    def pushforward(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        jacobian = torch.func.vmap(torch.func.jacfwd(lambda point: self.decode(point[None])[0]))(z)  # (n, D, d)
        return self.decode(z), jacobian.permute(2, 0, 1)


@pytest.mark.parametrize("radius", [0.1, 1.0, 3.0])
def test_on_a_paraboloid(radius: float) -> None:
    """`f(z + v) - f(z) - J v = A |v|^2`, where `v` is shorter uphill by sqrt(L), L = 1 + 4 A^2 |z|^2."""
    z = np.array([[0.0, 0.0], [1.0, 0.0], [-2.0, 3.0]])
    steepness = 1 + 4 * A**2 * (z**2).sum(1)
    expected = A * radius * np.sqrt(3 / 8 + 1 / (4 * steepness) + 3 / (8 * steepness**2))
    np.testing.assert_allclose(nonlinearity(Paraboloid(), z, radius), expected, rtol=1e-9)
    assert nonlinearity(Paraboloid(), z[:1], radius)[0] == pytest.approx(radius / (2 * 1 / (2 * A)))  # r / 2R


def test_in_two_of_three_dimensions() -> None:
    z = np.zeros((1, 3))
    curved = A * np.sqrt(3 / 8)  # the other direction is flat
    assert nonlinearity(Paraboloid(3), z, 1.0, (0, 1))[0] == pytest.approx(A)
    assert nonlinearity(Paraboloid(3), z, 1.0, (2, 0))[0] == pytest.approx(curved)


def test_grows_with_the_radius_and_does_not_depend_on_blocks(mapped: AnnData, monkeypatch) -> None:
    small, large = (scgeoae.get.nonlinearity(mapped, radius=radius) for radius in (0.01, 5))
    assert small.shape == (700,)
    assert (small < 0.02).all()
    assert (small < large).all()
    monkeypatch.setattr("scgeoae.core.evaluation.BLOCK_ENTRIES", 150 * 64)
    np.testing.assert_allclose(scgeoae.get.nonlinearity(mapped, radius=5), large, rtol=1e-12)
    assert scgeoae.get.nonlinearity(mapped, np.zeros((0, 2)), radius=1).shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"radius": 0}, "radius"),
        ({"radius": np.nan}, "radius"),
        ({"radius": np.inf}, "radius"),
        ({"radius": 1, "dimensions": (0, 2)}, "dimensions"),
        ({"radius": 1, "dimensions": (1, 1)}, "dimensions"),
        ({"radius": 1, "points": np.zeros((2, 3))}, "points"),
    ],
)
def test_bad_input(mapped: AnnData, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scgeoae.get.nonlinearity(mapped, **arguments)
