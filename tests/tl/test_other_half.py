"""Sizes of groups and distances between them by the other half of the counts: the noise of both is independent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pytest
from helpers import as_it_is_now

import scgeoae

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

SIZES = {"small": 1.0, "middle": 2.0, "large": 4.0}
N_GENES, NOISE, APART, N_EACH = 6, 0.7, 12.0, 400
TOOLS = [scgeoae.tl.cluster_areas, scgeoae.tl.cluster_distances]


@pytest.fixture(scope="module")
def _halves_once() -> tuple[AnnData, AnnData]:
    """Three groups of known size in a row, seen twice with independent noise; the map shows all of the same size."""
    rng = np.random.default_rng(0)
    groups = np.repeat(list(SIZES), N_EACH)
    within = rng.normal(size=(len(groups), N_GENES)) / np.sqrt(N_GENES)
    place = np.repeat(np.arange(3.0), N_EACH)
    signal = within * np.repeat(list(SIZES.values()), N_EACH)[:, None]
    signal[:, 0] += APART * place
    first, second = (ad.AnnData(signal + NOISE * rng.normal(size=signal.shape)) for _ in range(2))
    first.obs["group"] = groups
    first.obsm["X_chart"] = np.column_stack([3 * place + within[:, 0], within[:, 1]])
    scgeoae.tl.fit_decoder(first, "chart", use_rep="X", n_steps=30, hidden_dims=(16, 16))
    del first.uns["geoae_chart"]["fingerprint"]  # which would tell of cells that tests change
    return first, second


@pytest.fixture
def halves(_halves_once: tuple[AnnData, AnnData]) -> tuple[AnnData, AnnData]:
    first, second = _halves_once
    return first.copy(), second.copy()


def sizes(adata: AnnData, other: AnnData | None = None):
    scgeoae.tl.cluster_areas(adata, "group", key="geoae_chart", other=other)
    return adata.uns["geoae_chart_areas"]


def test_sizes_are_free_of_noise(halves: tuple[AnnData, AnnData]) -> None:
    first, second = halves
    noisy, table = sizes(first), sizes(first, second[::-1].copy())
    for name, size in SIZES.items():
        assert table.loc[name, "data_size"] == pytest.approx(size, rel=0.1)
        assert noisy.loc[name, "data_size"] == pytest.approx(np.hypot(size, NOISE * np.sqrt(N_GENES)), rel=0.1)
        assert table.loc[name, "size_ratio"] == pytest.approx(2 / size, rel=0.12)  # 2 is the geometric mean
    assert not table["uncertain"].any()
    assert table["free_of_noise"].all()
    assert not noisy["free_of_noise"].any()


def test_the_interval_covers_the_truth_as_often_as_it_says(halves: tuple[AnnData, AnnData]) -> None:
    """Many groups of one size: about 95 % of the intervals hold the ratio of all of them."""
    first, _ = halves
    middle = first[first.obs["group"] == "middle"].copy()
    middle.obs["group"] = [f"part {number}" for number in np.arange(N_EACH) % 40]
    middle.obsm["X_chart"] = middle.X[:, :2]  # a part of the data, so that ratios vary by chance alone
    scgeoae.tl.fit_decoder(middle, "chart", use_rep="X", n_steps=5, hidden_dims=(8,))
    table = sizes(middle)
    inside = (table["size_ratio_low"] < 1) & (table["size_ratio_high"] > 1)
    assert 0.75 < inside.mean() <= 1
    assert table["uncertain"].all()  # ten cells each
    assert (table["size_ratio_low"] <= table["size_ratio_high"]).all()


def test_a_group_of_noise_alone_has_no_certain_size(halves: tuple[AnnData, AnnData]) -> None:
    first, second = halves
    small = (first.obs["group"] == "small").to_numpy()
    for half, seed in ((first, 1), (second, 2)):
        half.X[small] = np.random.default_rng(seed).normal(size=(small.sum(), N_GENES))
    as_it_is_now(first, "geoae_chart")
    row = sizes(first, second).loc["small"]
    assert row["uncertain"]
    assert np.isnan(row["size_ratio"]) or row["size_ratio_high"] == np.inf


def test_distances_are_those_between_means(halves: tuple[AnnData, AnnData]) -> None:
    first, second = halves
    scgeoae.tl.cluster_distances(first, "group", key="geoae_chart", other=second)
    table = first.uns["geoae_chart_distances"].set_index("other", append=True)
    expected = {("large", "middle"): APART, ("large", "small"): 2 * APART, ("middle", "small"): APART}
    for pair, distance in expected.items():
        assert table.loc[pair, "data_distance"] == pytest.approx(distance, rel=0.05)
        assert table.loc[pair, "straight_length"] == pytest.approx(distance, rel=0.05)
        assert table.loc[pair, "map_distance"] == pytest.approx(distance / 4, rel=0.05)
        assert table.loc[pair, "distance_ratio"] == pytest.approx(1, rel=0.1)
    assert table["free_of_noise"].all()


def test_large_groups_are_drawn(halves: tuple[AnnData, AnnData], monkeypatch) -> None:
    first, second = halves
    monkeypatch.setattr("scgeoae.tl._groups.MOST_CELLS", 200)
    table = sizes(first, second)
    assert (table["n_cells"] == N_EACH).all()
    assert table.loc["large", "data_size"] == pytest.approx(SIZES["large"], rel=0.1)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__)
@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda other: other[:-1].copy(), ValueError, "1 of the 1200 cells of adata are not in other"),
        (lambda other: other[:, 1:].copy(), ValueError, "other lacks 1 of the 6 genes of the map, such as '0'"),
        (lambda other: ad.AnnData(np.rint(other.X), other.obs, other.var), ValueError, "whole numbers, such as raw"),
        (lambda other: other.X, TypeError, "must be an AnnData"),
        (lambda other: ad.AnnData(np.full_like(other.X, np.nan), other.obs, other.var), ValueError, "missing"),
    ],
    ids=["cells", "genes", "raw counts", "matrix", "missing values"],
)
def test_an_other_half_that_is_none(
    halves: tuple[AnnData, AnnData],
    tool: Callable[..., None],
    spoil: Callable[[AnnData], AnnData],
    error: type[Exception],
    words: str,
) -> None:
    first, second = halves
    fields = set(first.uns)
    with pytest.raises(error, match=words):
        tool(first, "group", key="geoae_chart", other=spoil(second))
    with pytest.raises(ValueError, match="no other half of the counts"):
        tool(first, "group", key="geoae_chart", other=first)
    assert set(first.uns) == fields


def test_an_input_that_no_counts_belong_to(halves: tuple[AnnData, AnnData]) -> None:
    first, second = halves
    first.obsm["X_harmony"] = np.asarray(first.X)
    scgeoae.tl.fit_decoder(first, "chart", use_rep="X_harmony", n_steps=30, hidden_dims=(16, 16))
    with pytest.raises(ValueError, match=r"how genes became obsm\['X_harmony'\], .* cannot be said"):
        sizes(first, second)
    assert sizes(first)["data_size"].notna().all()
    del first.obsm["X_harmony"]
    with pytest.raises(KeyError, match=r"obsm\['X_harmony'\]"):
        sizes(first)
