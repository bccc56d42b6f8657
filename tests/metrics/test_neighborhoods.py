"""Measures of neighborhoods against loops over full lists of neighbors, written from the definitions."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from scipy import sparse
from sklearn.manifold import trustworthiness as sklearn_trustworthiness

from scgeoae import metrics
from scgeoae.metrics import _points, neighborhoods


def neighbor_lists(points: np.ndarray) -> list[list[int]]:
    """All other cells of each cell, by distance and then by row number."""
    lists = []
    for i, point in enumerate(points):
        distances = [(float(((point - other) ** 2).sum()), j) for j, other in enumerate(points) if j != i]
        lists.append([j for _, j in sorted(distances)])
    return lists


def reference_recall(in_data: list[list[int]], on_map: list[list[int]], k: int) -> float:
    shared = [len(set(x[:k]) & set(z[:k])) / k for x, z in zip(in_data, on_map, strict=True)]
    return float(np.mean(shared))


def reference_trustworthiness(in_data: list[list[int]], on_map: list[list[int]], k: int) -> float:
    n, total = len(in_data), 0
    for x, z in zip(in_data, on_map, strict=True):
        for j in z[:k]:
            total += max(0, x.index(j) + 1 - k)
    return 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * total


def reference_rank_error(own: list[list[int]], other: list[list[int]], k: int) -> float:
    n, total = len(own), 0.0
    for neighbors, others in zip(own, other, strict=True):
        for rank, j in enumerate(neighbors[:k], start=1):
            total += abs(rank - others.index(j) - 1) / rank
    return total / (n * sum(abs(n - 2 * rank + 1) / rank for rank in range(1, k + 1)))


def reference_rnx_auc(in_data: list[list[int]], on_map: list[list[int]]) -> tuple[float, float]:
    n = len(in_data)
    sizes = np.arange(1, n - 1)
    recall = np.array([reference_recall(in_data, on_map, k) for k in sizes])
    curve = ((n - 1) * recall - sizes) / (n - 1 - sizes)
    return float((curve / sizes).sum() / (1 / sizes).sum()), float(curve.mean())


def grid_with_duplicates() -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers: many equal distances and equal cells, without rounding."""
    rng = np.random.default_rng(5)
    return rng.integers(0, 3, size=(80, 3)), rng.integers(0, 4, size=(80, 2))


@pytest.fixture(params=["continuous", "ties", "many features"])
def pair(request: pytest.FixtureRequest, data: np.ndarray, embedding: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if request.param == "continuous":
        return data, embedding
    if request.param == "ties":
        return grid_with_duplicates()
    rng = np.random.default_rng(6)
    return rng.poisson(0.1, size=(70, 300)), rng.normal(size=(70, 2))


@pytest.mark.parametrize("k", [1, 7, 20])
def test_measures_of_neighbors_agree_with_their_definitions(pair, k):
    X, Z = pair
    in_data, on_map = neighbor_lists(X), neighbor_lists(Z)
    recall = reference_recall(in_data, on_map, k)
    assert metrics.knn_recall(X, Z, k=k) == pytest.approx(recall)
    assert metrics.lcmc(X, Z, k=k) == pytest.approx((k * recall - k**2 / (len(X) - 1)) / k)
    assert metrics.trustworthiness(X, Z, k=k) == pytest.approx(reference_trustworthiness(in_data, on_map, k))
    assert metrics.continuity(X, Z, k=k) == pytest.approx(reference_trustworthiness(on_map, in_data, k))
    errors = metrics.mrre(X, Z, k=k)
    assert errors.data_side == pytest.approx(reference_rank_error(in_data, on_map, k))
    assert errors.map_side == pytest.approx(reference_rank_error(on_map, in_data, k))


def test_areas_under_rnx_agree_with_the_curve(pair):
    X, Z = pair
    expected = reference_rnx_auc(neighbor_lists(X), neighbor_lists(Z))
    assert metrics.rnx_auc(X, Z) == pytest.approx(expected)


def test_recall_of_several_numbers_is_their_mean(data, embedding):
    numbers = [5, 10, 40]
    each = [metrics.knn_recall(data, embedding, k=k) for k in numbers]
    assert metrics.knn_recall(data, embedding, k=numbers) == pytest.approx(np.mean(each))
    assert metrics.knn_recall(data, embedding, k=np.array(numbers)) == pytest.approx(np.mean(each))


def test_recall_of_all_other_cells_is_one(data, embedding):
    assert metrics.knn_recall(data, embedding, k=len(data) - 1) == 1


@pytest.mark.parametrize("k", [1, 5, 20, 74])
def test_trustworthiness_and_continuity_agree_with_sklearn(data, embedding, k):
    expected = sklearn_trustworthiness(data, embedding, n_neighbors=k)
    assert metrics.trustworthiness(data, embedding, k=k) == pytest.approx(expected, abs=1e-12)
    expected = sklearn_trustworthiness(embedding, data, n_neighbors=k)
    assert metrics.continuity(data, embedding, k=k) == pytest.approx(expected, abs=1e-12)


def test_a_cell_is_not_its_own_neighbor_even_among_its_duplicates():
    X = np.zeros((6, 2))
    X[5] = 1
    Z = np.zeros((6, 2))
    # Equally distant cells come in the order of their rows, so the neighbors are the same in X and Z but for row 5.
    assert metrics.knn_recall(X, Z, k=4) == 1
    assert metrics.knn_recall(X, X, k=1) == 1


def test_sparse_data_give_the_same_as_dense(embedding):
    dense = np.random.default_rng(7).poisson(0.3, size=(150, 40)).astype(np.float32)
    for convert in (sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix):
        assert metrics.mrre(convert(dense), embedding) == pytest.approx(metrics.mrre(dense, embedding), abs=1e-12)


def test_distances_from_products_agree_with_differences(monkeypatch, data, embedding):
    data = data + 1e6  # far from the origin, where scalar products lose digits
    data[0] += 1e6
    expected = metrics.mrre(data, embedding)
    monkeypatch.setattr(_points, "MAX_FEATURES_FOR_DIFFERENCES", 1)
    assert metrics.mrre(data, embedding) == pytest.approx(expected, abs=1e-6)


def test_distances_from_products_are_0_between_duplicates(monkeypatch):
    monkeypatch.setattr(_points, "MAX_FEATURES_FOR_DIFFERENCES", 1)
    X = np.repeat(np.random.default_rng(8).normal(size=(40, 20)), 2, axis=0)
    points = _points.Points(X)
    squared = points.squared_distances(np.arange(80))
    equal = np.arange(80) // 2 == np.arange(80)[:, None] // 2
    assert (squared[equal] == 0).all()
    assert (squared[~equal] > 0.1).all()


def test_examples_in_docstrings_run():
    assert doctest.testmod(neighborhoods).failed == 0
