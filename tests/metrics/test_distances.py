"""Measures of distances against full matrices of distances."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist, pdist
from scipy.stats import rankdata, spearmanr

from scgeoae import metrics
from scgeoae.metrics import distances
from scgeoae.metrics._rank_correlation import spearman_of_arrays, spearman_of_blocks


def test_stress_is_the_smallest_over_all_scales(data, embedding):
    in_data, on_map = pdist(data), pdist(embedding)
    scales = np.linspace(0, 3, 30_001)
    errors = [np.sqrt(((in_data - scale * on_map) ** 2).sum() / (in_data**2).sum()) for scale in scales[::10]]
    value = metrics.stress(data, embedding)
    assert value == pytest.approx(min(errors), abs=1e-6)
    best = (in_data * on_map).sum() / (on_map**2).sum()
    assert value == pytest.approx(np.sqrt(((in_data - best * on_map) ** 2).sum() / (in_data**2).sum()))


def test_rmse_counts_all_ordered_pairs(data, embedding):
    difference = cdist(data, data) - cdist(embedding, embedding)
    assert metrics.rmse(data, embedding) == pytest.approx(np.sqrt((difference**2).sum() / len(data) ** 2))


def test_rmse_of_a_map_whose_cells_are_all_equal_is_defined(data):
    assert metrics.rmse(data, np.ones((len(data), 2))) == pytest.approx(np.sqrt((cdist(data, data) ** 2).mean()))


def test_rmse_depends_on_the_scale_of_the_map(data):
    assert metrics.rmse(data, data) == 0
    assert metrics.rmse(data, 2 * data) == pytest.approx(np.sqrt((cdist(data, data) ** 2).mean()))


def test_spearman_agrees_with_scipy(data, embedding):
    expected = spearmanr(pdist(data), pdist(embedding)).statistic
    assert metrics.spearman(data, embedding) == pytest.approx(expected, abs=1e-12)


def test_spearman_gives_equal_distances_their_mean_rank():
    rng = np.random.default_rng(5)
    X, Z = rng.integers(0, 3, size=(80, 3)), rng.integers(0, 4, size=(80, 2))
    expected = spearmanr(pdist(X), pdist(Z)).statistic
    assert metrics.spearman(X, Z) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("factor", [1e-30, 1.0, 3e40])
def test_spearman_of_many_cells_stands_an_outlier_and_any_scale(factor):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1_500, 10))
    Z = X[:, :2] + rng.normal(size=(1_500, 2))
    X[3] = 1e6
    assert len(pdist(X)) > distances.MAX_SORTED_PAIRS
    expected = spearmanr(pdist(X), pdist(Z)).statistic
    assert metrics.spearman(factor * X, Z) == pytest.approx(expected, abs=1e-6)


def test_counting_in_tables_agrees_with_sorting(monkeypatch, data, embedding):
    expected = metrics.spearman(data, embedding)
    monkeypatch.setattr(distances, "MAX_SORTED_PAIRS", 0)
    assert metrics.spearman(data, embedding) == pytest.approx(expected, abs=1e-5)
    X, Z = np.round(3 * data), np.round(3 * embedding)  # whole numbers, which the table tells apart
    expected = spearmanr(pdist(X), pdist(Z)).statistic
    assert metrics.spearman(X, Z) == pytest.approx(expected, abs=1e-12)


def test_spearman_of_blocks_is_the_correlation_of_mean_ranks():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 90, size=5_000).astype(float), rng.integers(0, 50, size=5_000).astype(float)
    second += first

    def blocks():
        yield from ((first[i : i + 999], second[i : i + 999]) for i in range(0, 5_000, 999))

    expected = np.corrcoef(rankdata(first), rankdata(second))[0, 1]
    assert spearman_of_blocks(blocks, (first.max(), second.max())) == pytest.approx([expected], abs=1e-12)
    assert spearman_of_arrays(first, second) == pytest.approx(expected, abs=1e-12)


def test_sparse_data_give_the_same_as_dense(embedding):
    dense = np.random.default_rng(7).poisson(0.3, size=(150, 40))
    for measure in (metrics.spearman, metrics.stress, metrics.rmse):
        expected = measure(dense, embedding)
        assert measure(sparse.csr_matrix(dense), embedding) == pytest.approx(expected, abs=1e-9)
        exact = measure(sparse.csr_matrix(dense), embedding, max_cells=149)
        assert exact == pytest.approx(measure(dense, embedding, max_cells=149), abs=1e-9)
