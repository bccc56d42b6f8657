"""What must not change a measure, what makes it perfect, and what chance gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scgeoae import metrics

K = 8
MEASURES = {
    "kl_density": metrics.kl_density,
    "knn_recall": lambda X, Z: metrics.knn_recall(X, Z, k=K),
    "trustworthiness": lambda X, Z: metrics.trustworthiness(X, Z, k=K),
    "continuity": lambda X, Z: metrics.continuity(X, Z, k=K),
    "spearman": metrics.spearman,
    "stress": metrics.stress,
    "lcmc": lambda X, Z: metrics.lcmc(X, Z, k=K),
    "mrre": lambda X, Z: metrics.mrre(X, Z, k=K),
    "rnx_auc": metrics.rnx_auc,
}
BOUNDS = {
    "kl_density": (0, np.inf),
    "knn_recall": (0, 1),
    "trustworthiness": (0, 1),
    "continuity": (0, 1),
    "spearman": (-1, 1),
    "stress": (0, 1),
    "lcmc": (-1, 1),
    "mrre": (0, 1.2),
    "rnx_auc": (-np.inf, 1),
}
few_examples = settings(max_examples=20, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)


def random_pair(seed: int, n_cells: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_cells, 5)) * rng.exponential(size=5)
    return X, np.tanh(X[:, :2]) + 0.3 * rng.normal(size=(n_cells, 2))


def rotation(seed: int, size: int = 2) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


@few_examples
@given(seed=seeds, shift=st.floats(-100, 100), log_scale=st.floats(-8, 8))
def test_rotation_translation_and_scaling_of_the_map_change_nothing(seed, shift, log_scale):
    X, Z = random_pair(seed)
    moved = 10**log_scale * (Z @ rotation(seed) + shift)
    for name, measure in MEASURES.items():
        assert measure(X, moved) == pytest.approx(measure(X, Z), rel=1e-6, abs=1e-6), name


@settings(max_examples=5, deadline=None, derandomize=True)
@given(seed=seeds)
def test_measures_of_labels_do_not_see_rotation_and_scaling(seed):
    X, Z = random_pair(seed)
    labels = X[:, 0] > 0
    moved = 3.7 * Z @ rotation(seed) - 5
    assert metrics.knn_accuracy(moved, labels, k=K) == metrics.knn_accuracy(Z, labels, k=K)
    assert metrics.cluster_agreement(moved, labels) == pytest.approx(metrics.cluster_agreement(Z, labels))


@few_examples
@given(seed=seeds, shift=st.floats(-100, 100))
def test_rotation_and_translation_do_not_change_rmse_but_scale_does(seed, shift):
    X, Z = random_pair(seed)
    value = metrics.rmse(X, Z)
    assert metrics.rmse(X, Z @ rotation(seed) + shift) == pytest.approx(value)
    assert metrics.rmse(3 * X, 3 * Z) == pytest.approx(3 * value)
    assert metrics.rmse(X, 100 * Z) > 2 * value


@few_examples
@given(seed=seeds)
def test_the_order_of_the_cells_does_not_matter(seed):
    X, Z = random_pair(seed)
    order = np.random.default_rng(seed).permutation(len(X))
    for name, measure in {**MEASURES, "rmse": metrics.rmse}.items():
        assert measure(X[order], Z[order]) == pytest.approx(measure(X, Z), rel=1e-9, abs=1e-9), name


@few_examples
@given(seed=seeds)
def test_values_keep_their_range(seed):
    X, Z = random_pair(seed)
    for name, measure in MEASURES.items():
        values = np.atleast_1d(measure(X, Z))
        assert (values >= BOUNDS[name][0]).all(), name
        assert (values <= BOUNDS[name][1]).all(), name


@few_examples
@given(seed=seeds)
def test_the_data_as_map_score_perfectly(seed):
    X, _ = random_pair(seed)
    n_cells = len(X)
    assert metrics.kl_density(X, X) == pytest.approx(0, abs=1e-12)
    assert metrics.knn_recall(X, X, k=[1, K, n_cells - 1]) == 1
    assert metrics.trustworthiness(X, X, k=K) == 1
    assert metrics.continuity(X, X, k=K) == 1
    assert metrics.spearman(X, X) == pytest.approx(1)
    assert metrics.stress(X, X) == pytest.approx(0, abs=1e-7)
    assert metrics.rmse(X, X) == 0
    assert metrics.lcmc(X, X, k=K) == pytest.approx(1 - K / (n_cells - 1))
    assert metrics.mrre(X, X, k=K) == (0, 0)
    assert metrics.rnx_auc(X, X) == pytest.approx((1, 1))


def test_a_random_map_scores_at_chance():
    n, k = 1_000, 20
    rng = np.random.default_rng(3)
    X, Z = rng.normal(size=(n, 5)), rng.normal(size=(n, 2))
    assert metrics.knn_recall(X, Z, k=k) == pytest.approx(k / (n - 1), abs=0.004)
    assert metrics.lcmc(X, Z, k=k) == pytest.approx(0, abs=0.004)
    chance = 1 - (n - 1 - k) * (n - k) / ((n - 1) * (2 * n - 3 * k - 1))
    assert chance == pytest.approx(0.5, abs=0.01)
    assert metrics.trustworthiness(X, Z, k=k) == pytest.approx(chance, abs=0.02)
    assert metrics.continuity(X, Z, k=k) == pytest.approx(chance, abs=0.02)
    assert metrics.mrre(X, Z, k=k) == pytest.approx((0.5, 0.5), abs=0.03)
    assert metrics.rnx_auc(X, Z) == pytest.approx((0, 0), abs=0.02)
    assert metrics.spearman(X, Z) == pytest.approx(0, abs=0.05)


def test_stress_of_a_random_map_of_equidistant_data():
    rng = np.random.default_rng(3)
    value = metrics.stress(np.eye(500), rng.normal(size=(500, 2)))
    assert value == pytest.approx(np.sqrt(1 - np.pi / 4), abs=0.01)


def test_the_type_of_the_numbers_does_not_matter():
    rng = np.random.default_rng(0)
    X, Z = rng.integers(-9, 9, size=(60, 4)), rng.integers(-9, 9, size=(60, 2))
    for name, measure in {**MEASURES, "rmse": metrics.rmse}.items():
        expected = measure(X.astype(np.float64), Z.astype(np.float64))
        assert measure(X.astype(np.int8), Z.astype(np.float32)) == expected, name
        assert measure(np.asfortranarray(X), Z.tolist()) == expected, name


def test_arguments_are_left_as_they_were(data, embedding):
    X, Z = data.copy(), embedding.copy()
    for measure in MEASURES.values():
        measure(X, Z)
    np.testing.assert_array_equal(X, data)
    np.testing.assert_array_equal(Z, embedding)
