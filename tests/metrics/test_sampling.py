"""The size of the blocks changes nothing; a sample of cells or pairs changes little, and says how much."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from helpers import PAIR_MEASURES

from scgeoae import metrics
from scgeoae.metrics import _points
from scgeoae.metrics._estimates import sample_cells
from scgeoae.metrics._points import Points, row_blocks
from scgeoae.metrics.neighborhoods import compare_ranks


def quality(X: np.ndarray, Z: np.ndarray, max_cells: int, rng: int) -> pd.Series:
    """The row of the table with all measures of data and map, and their standard errors."""
    labels = pd.Categorical((X[:, 0] > np.median(X[:, 0])).astype(str))
    obs = pd.DataFrame({"half": labels}, index=np.arange(len(X)).astype(str))
    adata = ad.AnnData(obs=obs, obsm={"X_data": X, "X_map": Z})
    table = metrics.embedding_quality(adata, ["map"], use_rep="X_data", labels="half", max_cells=max_cells, rng=rng)
    return table.loc["map"].drop("mean_rank")


@pytest.mark.parametrize("measure", PAIR_MEASURES)
@pytest.mark.parametrize("from_differences", [True, False])
def test_the_size_of_the_blocks_changes_nothing(
    monkeypatch, set_block_bytes, data, embedding, measure, from_differences
):
    if not from_differences:
        monkeypatch.setattr(_points, "MAX_FEATURES_FOR_DIFFERENCES", 1)
    whole = measure(data, embedding)
    for size in (1, 8 * 150 * 7, 8 * 150 * 100):
        set_block_bytes(size)
        assert measure(data, embedding) == pytest.approx(whole, abs=1e-9)


@pytest.mark.parametrize("measure", [metrics.spearman, metrics.stress, metrics.rmse])
def test_the_size_of_the_blocks_does_not_change_a_sample_of_pairs(set_block_bytes, data, embedding, measure):
    whole = measure(data, embedding, max_cells=50)
    set_block_bytes(8 * 6 * 31)
    assert measure(data, embedding, max_cells=50) == pytest.approx(whole, abs=1e-12)


def test_blocks_cover_the_rows_and_keep_to_the_bound(set_block_bytes):
    set_block_bytes(8 * 1_000 * 30)
    rows = np.arange(5, 500, 3)
    blocks = list(row_blocks(rows, 1_000))
    np.testing.assert_array_equal(np.concatenate(blocks), rows)
    assert max(map(len, blocks)) == 30


def test_the_sample_shrinks_so_that_the_work_stays_the_same():
    assert len(sample_cells(10_000, 10_000, 0)) == 10_000
    assert len(sample_cells(20_000, 10_000, 0)) == 5_000
    assert len(sample_cells(1_000_000, 10_000, 0)) == 1_000
    assert len(sample_cells(1_000_000, 500, 0)) == 500
    cells = sample_cells(20_000, 10_000, 0)
    assert (np.diff(cells) > 0).all()


@pytest.mark.usefixtures("allow_small_samples")
@pytest.mark.parametrize("measure", PAIR_MEASURES)
def test_the_same_seed_gives_the_same_number(data, embedding, measure):
    value = measure(data, embedding, max_cells=60, rng=4)
    assert measure(data, embedding, max_cells=60, rng=4) == value
    assert measure(data, embedding, max_cells=60, rng=np.random.default_rng(4)) == value
    assert measure(data, embedding, max_cells=60, rng=5) != value
    assert np.isfinite(measure(data, embedding, max_cells=60, rng=None)).all()


def test_labels_are_sampled_with_the_seed(embedding):
    labels = np.random.default_rng(0).integers(3, size=len(embedding))
    for measure in (metrics.knn_accuracy, metrics.cluster_agreement):
        value = measure(embedding, labels, max_cells=40, rng=4)
        assert measure(embedding, labels, max_cells=40, rng=4) == value
        assert measure(embedding, labels, max_cells=40, rng=5) != value


def test_global_random_state_is_left_alone(data, embedding):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    for measure in PAIR_MEASURES:
        measure(data, embedding, max_cells=60)
    metrics.cluster_agreement(embedding, data[:, 0] > 0)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_exact_values_have_no_standard_error(data, embedding):
    exact = quality(data, embedding, max_cells=150, rng=0)
    assert not [name for name in exact.index if name.endswith("_se")]
    assert exact["knn_recall"] == metrics.knn_recall(data, embedding)


@pytest.mark.usefixtures("allow_small_samples")
def test_samples_agree_with_exact_values_within_their_standard_errors():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 5)) * [3, 2, 1, 1, 1] + 4 * rng.integers(0, 2, size=(600, 1))
    Z = X[:, :2] + 0.5 * rng.normal(size=(600, 2))
    exact = quality(X, Z, max_cells=600, rng=0)
    runs = pd.DataFrame([quality(X, Z, max_cells=300, rng=seed) for seed in range(30)])
    without = ["ari", "nmi", "size_error", "distance_error", "gap"]  # the last three are of all cells
    assert [name for name in exact.index if f"{name}_se" not in runs] == without
    for name in exact.index.drop(without):
        deviations = (runs[name] - exact[name]) / runs[f"{name}_se"]
        assert deviations.abs().max() < 4.5, name
        assert 0.6 < np.sqrt((deviations**2).mean()) < 1.6, name  # standard errors of the right size


@pytest.mark.usefixtures("allow_small_samples")
def test_sampled_cells_have_their_neighbors_sought_among_all(data, embedding):
    (all_cells,) = compare_ranks(Points(data), [Points(embedding)], 10, max_cells=150, rng=0)
    (some,) = compare_ranks(Points(data), [Points(embedding)], 10, max_cells=60, rng=0)
    cells = sample_cells(150, 60, 0)
    assert len(cells) == 60**2 // 150
    np.testing.assert_array_equal(some.map_ranks, all_cells.map_ranks[cells])
    np.testing.assert_array_equal(some.data_ranks, all_cells.data_ranks[cells])
    np.testing.assert_allclose(some.local_auc, all_cells.local_auc[cells])
