"""What is left to the data, and which cells are read for what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import SPEC, on_host, paraboloid

from scgeoae.core.fit import choose_by_data, fit, spacing
from scgeoae.inputs import DenseRows

BY_DATA = replace(SPEC, n_steps=None, noise=None, batch_size=None)


class NotedRows(DenseRows):
    """Rows that remember which of them were taken."""

    def __init__(self, x: torch.Tensor) -> None:
        super().__init__(x.numpy(), torch.device("cpu"))
        self.taken: list[torch.Tensor] = []

    def take(self, index: torch.Tensor) -> torch.Tensor:
        self.taken.append(index)
        return super().take(index)


def test_spacing() -> None:
    """On a square lattice every cell has its nearest one lattice constant away; scaling the cells scales it."""
    side = torch.arange(8.0)
    lattice = torch.cartesian_prod(side, side)
    assert spacing(lattice) == pytest.approx(1 / np.sqrt(2))
    assert spacing(3 * torch.column_stack([lattice, torch.zeros(64, 6)])) == pytest.approx(3 / np.sqrt(8))
    assert spacing(torch.cat([lattice, lattice])) == 0
    # independent normal features: two cells differ by sqrt(2) in each
    scattered = torch.randn(300, 4000, generator=torch.Generator().manual_seed(0))
    assert spacing(scattered) == pytest.approx(np.sqrt(2), rel=0.05)


@pytest.mark.parametrize(("n", "size"), [(100, 256), (20_000, 400), (200_000, 2_048)])
def test_default_batch_grows_with_the_cells(n: int, size: int) -> None:
    given = replace(BY_DATA, n_steps=1, noise=0.0)
    assert choose_by_data(given, n, torch.empty(0, 3)).batch_size == size


@pytest.mark.parametrize(
    ("n", "spread", "steps"),
    [(500, 0.0, 1_500), (500, 0.05, None), (500, 3.0, 300), (4_500, 3.0, 450), (9_000, 3.0, 600)],
)
def test_steps_and_noise_come_from_the_spacing(n: int, spread: float, steps: int | None) -> None:
    """Cells on a dense curve are worth many steps, cells that scatter in 40 dimensions few."""
    x = torch.zeros(500, 40)
    x[:, 0] = torch.linspace(-1, 1, 500)
    x += spread * torch.randn(500, 40, generator=torch.Generator().manual_seed(0))
    x = (x - x.mean(0)) / x.std(0, correction=0).square().mean().sqrt()
    spec = choose_by_data(BY_DATA, n, x)
    assert spec.noise == pytest.approx(0.35 * spacing(x), rel=1e-6)
    assert spec.n_steps == steps if steps else 300 < spec.n_steps < 1_500
    given = choose_by_data(replace(BY_DATA, n_steps=7, noise=0.1), n, torch.empty(0, 3))
    assert (given.n_steps, given.noise) == (7, 0.1)


@pytest.mark.parametrize("n", [400, 3_000])
def test_the_spacing_is_that_of_held_out_and_further_cells(n: int) -> None:
    rows = NotedRows(paraboloid(n))
    fitted = fit(rows, replace(SPEC, noise=None, n_steps=1), seed=0)
    held_out, more = rows.taken[:2]
    assert len(held_out) == n // 5
    cells = torch.cat([held_out, more])
    assert len(cells.unique()) == len(cells) == min(n, 2_000)
    assert fitted.spec.noise == pytest.approx(0.35 * spacing(fitted.network.standardize(rows.take(cells))), rel=1e-6)


def test_held_out_cells_are_not_trained_on() -> None:
    rows = NotedRows(paraboloid(400))
    fit(rows, SPEC, seed=0)
    held_out, _, *batches = rows.taken  # and some by which the data choose
    assert {len(batch) for batch in batches} == {64}
    trained = torch.cat(batches).unique()
    assert torch.equal(torch.cat([trained, held_out]).sort().values, torch.arange(400))


def test_one_seed_one_map() -> None:
    rows = on_host(paraboloid(100))
    one, again, other = (fit(rows, replace(SPEC, n_steps=5), seed).cells.z for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
