"""Some thousand cells, as people have: from counts to a map, sizes, labels of new cells and a picture.

Where 700 cells are all read, held out or drawn, here samples are taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import scgeoae
from scgeoae.tl._groups import MOST_CELLS

if TYPE_CHECKING:
    from io import StringIO

    from anndata import AnnData

N_CELLS = {"a": 5_400, "b": 1_200, "c": 800, "d": 400, "e": 200}
"""Cells of each group; one has more than are read of a group."""
SPREADS = dict(zip(N_CELLS, [0.2, 0.6, 0.3, 0.8, 0.4], strict=True))
N_GENES, N_FACTORS = 120, 8


@pytest.fixture(scope="module")
def _halves_once() -> tuple[AnnData, AnnData]:
    """8,000 cells in five groups of known spread, their counts split, with components and a map of the first half."""
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(list(N_CELLS), list(N_CELLS.values())))
    centers = pd.DataFrame(1.2 * rng.normal(size=(len(N_CELLS), N_FACTORS)), index=list(N_CELLS))
    factors = (
        centers.loc[groups] + rng.normal(size=(len(groups), N_FACTORS)) * np.vectorize(SPREADS.get)(groups)[:, None]
    )
    rates = np.exp(1 + factors.to_numpy() @ rng.normal(size=(N_FACTORS, N_GENES)) / np.sqrt(N_FACTORS))
    obs = pd.DataFrame({"group": pd.Categorical(groups)}, index=[f"cell {i}" for i in range(len(groups))])
    counts = ad.AnnData(rng.poisson(rates).astype(np.float32), obs=obs)
    halves = scgeoae.pp.split_counts(counts)
    for half in halves:
        sc.pp.normalize_total(half, target_sum=300)
        sc.pp.log1p(half)
    sc.pp.pca(halves[0], n_comps=10)
    scgeoae.tl.geometric_ae(halves[0], n_steps=200, hidden_dims=(64, 64))
    return halves


@pytest.fixture
def halves(_halves_once: tuple[AnnData, AnnData]) -> tuple[AnnData, AnnData]:
    first, second = _halves_once
    return first.copy(), second.copy()


def test_sizes_of_groups_of_which_samples_are_read(halves: tuple[AnnData, AnnData]) -> None:
    first, second = halves
    assert max(N_CELLS.values()) > MOST_CELLS
    tables = {}
    for name, other in {"noisy": None, "true": second}.items():
        scgeoae.tl.cluster_areas(first, "group", other=other)
        tables[name] = first.uns["geoae_areas"]
    assert tables["true"]["n_cells"].to_dict() == N_CELLS
    assert list(tables["true"]["data_size"].sort_values().index) == sorted(SPREADS, key=SPREADS.get)
    assert (tables["true"]["data_size"] < tables["noisy"]["data_size"]).all()
    true, spread = (np.log(sizes) for sizes in (tables["true"]["data_size"], pd.Series(SPREADS)))
    assert np.polyfit(spread, true, 1)[0] == pytest.approx(1, abs=0.15)  # in proportion to what was simulated
    narrower = tables["true"]["size_ratio_high"] / tables["true"]["size_ratio_low"]
    assert narrower["a"] < narrower["e"]  # more cells, more certain


def test_labels_of_new_cells(halves: tuple[AnnData, AnnData], log: StringIO) -> None:
    reference, query = halves[0], halves[1][::4].copy()
    scgeoae.tl.map_cells(query, reference, obs="group")
    assert (query.obs["geoae_group"].astype(str) == query.obs["group"].astype(str)).mean() > 0.95
    assert query.obs["geoae_outside"].mean() < 0.05
    z, there = query.obsm["X_geoae"], reference.obsm["X_geoae"][::4]
    assert np.median(np.linalg.norm(z - there, axis=1)) < 0.2 * np.sqrt(reference.obsm["X_geoae"].var(0).sum())


def test_dots_shrink_so_that_cells_do_not_cover_each_other(halves: tuple[AnnData, AnnData]) -> None:
    first, _ = halves
    sizes = []
    for adata in (first, first[::20].copy()):
        ax = scgeoae.pl.embedding(adata, color="group", show=False)
        sizes.append(np.median(ax.collections[0].get_sizes()))
    assert 0 < sizes[0] < sizes[1] / 4
