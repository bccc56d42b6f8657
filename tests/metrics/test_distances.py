"""Measures of distances against full matrices of distances."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist, pdist
from scipy.stats import spearmanr

from scgeoae import metrics
from scgeoae.metrics import distances
from scgeoae.metrics._points import Points


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
    expected = spearmanr(pdist(X), pdist(Z)).statistic
    assert metrics.spearman(factor * X, Z) == pytest.approx(expected, abs=1e-6)


def test_spearman_of_more_pairs_than_fit_into_memory_comes_from_a_sample(monkeypatch, data, embedding):
    grids = np.round(3 * data), np.round(3 * embedding)  # many equal distances
    for X, Z in ((data, embedding), grids):
        exact = metrics.spearman(X, Z)
        stress, rmse = metrics.stress(X, Z), metrics.rmse(X, Z)
        with monkeypatch.context() as patch:
            patch.setattr(distances, "MAX_PAIRS", 11_000)  # 150 cells have 11,175 pairs
            sampled = [metrics.spearman(X, Z, rng=seed) for seed in range(20)]
            assert metrics.stress(X, Z) == pytest.approx(stress, abs=1e-12)  # needs no memory: still exact
            assert metrics.rmse(X, Z) == pytest.approx(rmse, abs=1e-12)
        assert len(set(sampled)) == 20
        assert np.mean(sampled) == pytest.approx(exact, abs=0.005)
        assert sampled == pytest.approx([exact] * 20, abs=0.04)


def test_a_sample_has_at_most_the_pairs_that_fit_into_memory(monkeypatch, data, embedding):
    def n_pairs(max_cells: int) -> int:
        pairs = distances.Distances(Points(data), [Points(embedding)], max_cells=max_cells, rng=0).pairs
        assert len(pairs[0]) == len(pairs[1])
        return len(pairs[0])

    assert n_pairs(150) == 150 * 149 // 2
    assert n_pairs(50) == 5_000
    monkeypatch.setattr(distances, "MAX_PAIRS", 4_000)
    assert n_pairs(50) == n_pairs(150) == n_pairs(10_000) == 4_000


def test_sparse_data_give_the_same_as_dense(embedding):
    dense = np.random.default_rng(7).poisson(0.3, size=(150, 40))
    for measure in (metrics.spearman, metrics.stress, metrics.rmse):
        expected = measure(dense, embedding)
        assert measure(sparse.csr_matrix(dense), embedding) == pytest.approx(expected, abs=1e-9)
        exact = measure(sparse.csr_matrix(dense), embedding, max_cells=149)
        assert exact == pytest.approx(measure(dense, embedding, max_cells=149), abs=1e-9)
