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


@pytest.mark.parametrize(("n", "size"), [(100, 512), (30_000, 600), (200_000, 2_048)])
def test_default_batch_grows_with_the_cells(n: int, size: int) -> None:
    given = replace(BY_DATA, n_steps=1, noise=0.0)
    assert choose_by_data(given, n, torch.empty(0, 3)).batch_size == size


def test_what_is_given_is_not_chosen() -> None:
    chosen = choose_by_data(replace(BY_DATA, batch_size=7, noise=0.1), 4_500, torch.empty(0, 3))
    assert (chosen.batch_size, chosen.noise) == (7, 0.1)


def test_steps_that_held_out_cells_chose_give_the_same_map() -> None:
    """What is stored of a training trains it again, bit for bit."""
    rows = on_host(paraboloid(300))
    chosen = fit(rows, replace(BY_DATA, weights={"regularizer": 0.1, "contrast": 0.05}), seed=0)
    assert chosen.spec.n_steps == chosen.history.records[-1].step
    again = fit(rows, chosen.spec, seed=0)
    np.testing.assert_array_equal(again.cells.z, chosen.cells.z)


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
