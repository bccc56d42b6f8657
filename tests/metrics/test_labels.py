"""Measures of labels against scikit-learn."""

from __future__ import annotations

import doctest

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from scgeoae import metrics
from scgeoae.metrics import labels as labels_module


@pytest.fixture
def labels(embedding: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(2).normal(size=len(embedding))
    return np.array(["B", "NK", "T"])[np.digitize(embedding[:, 0] + noise, [-1, 1])]


@pytest.mark.parametrize("k", [1, 2, 5, 20])
def test_knn_accuracy_agrees_with_sklearn_leaving_out_one(embedding, labels, k):
    scores = cross_val_score(KNeighborsClassifier(k), embedding, labels, cv=LeaveOneOut())
    assert metrics.knn_accuracy(embedding, labels, k=k) == pytest.approx(scores.mean())


def test_of_equally_common_labels_the_first_is_taken():
    Z = np.array([[0.0], [1.0], [-1.1], [9.0], [10.0], [11.5]])
    # The two neighbors of row 0 vote for b and a: a. Of row 1: a and a. Of row 2: a and b: a.
    assert metrics.knn_accuracy(Z, list("abaaaa"), k=2) == pytest.approx(5 / 6)


@pytest.mark.parametrize("k", [1, 3])
def test_a_cell_among_more_than_k_duplicates_does_not_vote_for_itself(k):
    labels = np.array(["a"] * 16)
    labels[[5, 12]] = "b"  # one in each group of eight equal cells
    Z = np.repeat([[0.0, 0], [9, 9]], 8, axis=0)
    accuracy = metrics.knn_accuracy(Z, labels, k=k)
    assert accuracy == 14 / 16 if k == 3 else accuracy <= 14 / 16


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_cells_without_a_label_are_left_out(embedding, labels, missing):
    some = labels.astype(object)
    some[::3] = missing
    kept = np.arange(len(labels)) % 3 != 0
    for given in (some, list(some), pd.Series(some), pd.Categorical(some)):
        assert metrics.knn_accuracy(embedding, given) == metrics.knn_accuracy(embedding[kept], labels[kept])
        expected = metrics.cluster_agreement(embedding[kept], labels[kept])
        assert metrics.cluster_agreement(embedding, given) == expected


def test_labels_may_be_numbers(embedding, labels):
    codes = np.unique(labels, return_inverse=True)[1]
    expected = metrics.knn_accuracy(embedding, labels)
    assert metrics.knn_accuracy(embedding, codes) == expected
    assert metrics.knn_accuracy(embedding, codes.astype(float)) == expected
    assert metrics.knn_accuracy(embedding, codes == 1) > 0.5


def test_cluster_agreement_agrees_with_sklearn():
    rng = np.random.default_rng(3)
    Z = rng.normal(size=(150, 2)) + 6 * rng.integers(0, 3, size=(150, 1))
    clusters = KMeans(3, n_init=10, random_state=0).fit_predict(Z)
    mixed = np.where(rng.random(150) < 0.8, clusters, rng.integers(0, 3, size=150))
    agreement = metrics.cluster_agreement(Z, mixed)
    assert agreement.ari == pytest.approx(adjusted_rand_score(mixed, clusters))
    assert agreement.nmi == pytest.approx(normalized_mutual_info_score(mixed, clusters))


def test_classes_apart_score_perfectly(embedding, labels):
    codes = np.unique(labels, return_inverse=True)[1]
    apart = embedding + 100 * np.column_stack([codes, codes == 1])
    assert metrics.knn_accuracy(apart, labels) == 1
    assert metrics.cluster_agreement(apart, labels) == pytest.approx((1, 1))


def test_random_labels_score_at_chance(embedding):
    labels = np.random.default_rng(0).permutation(np.repeat(["a", "b", "c"], [90, 30, 30]))
    assert metrics.knn_accuracy(embedding, labels, k=70) == pytest.approx(0.6, abs=0.02)
    one = metrics.knn_accuracy(embedding, labels, k=1)
    assert one == pytest.approx(0.6**2 + 2 * 0.2**2, abs=3 * np.sqrt(0.25 / 150))
    agreement = metrics.cluster_agreement(embedding, labels)
    assert agreement.ari == pytest.approx(0, abs=0.05)
    assert agreement.nmi == pytest.approx(0, abs=0.05)


def test_a_sparse_map_is_taken(embedding, labels):
    assert metrics.knn_accuracy(sparse.csr_matrix(embedding), labels) == metrics.knn_accuracy(embedding, labels)
    metrics.cluster_agreement(sparse.csr_matrix(embedding), labels)


@pytest.mark.parametrize("measure", [metrics.knn_accuracy, metrics.cluster_agreement])
def test_bad_labels_are_refused(embedding, labels, measure):
    with pytest.raises(ValueError, match=r"one entry per cell, shape \(150,\)"):
        measure(embedding, labels[:-1])
    with pytest.raises(ValueError, match="one entry per cell"):
        measure(embedding, labels[:, None])
    with pytest.raises(ValueError, match="at least 2 classes, but they name 1"):
        measure(embedding, np.full(len(embedding), "a"))
    with pytest.raises(ValueError, match="at least 2 classes, but they name 0"):
        measure(embedding, np.full(len(embedding), np.nan))
    with pytest.raises(ValueError, match="without the cells that have no label, must hold at least 3 cells"):
        measure(embedding, ["a", "b"] + [None] * (len(embedding) - 2))


def test_too_many_neighbors_are_refused(embedding, labels):
    few = labels.astype(object)
    few[20:] = None
    with pytest.raises(ValueError, match="k is 20 and there are 20 cells"):
        metrics.knn_accuracy(embedding, few, k=20)


def test_too_few_points_for_clusters_are_refused(labels):
    with pytest.raises(ValueError, match="only 1 different points, too few for 3 clusters"):
        metrics.cluster_agreement(np.zeros((len(labels), 2)), labels)


def test_examples_in_docstrings_run():
    assert doctest.testmod(labels_module).failed == 0
