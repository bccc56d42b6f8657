"""The divergence of densities against full matrices of distances."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist
from scipy.stats import entropy

from scgeoae import metrics


def reference_density(points: np.ndarray, sigma: float) -> np.ndarray:
    distances = cdist(points, points)
    density = np.exp(-((distances / distances.max()) ** 2) / sigma).sum(axis=1)
    return density / density.sum()


@pytest.mark.parametrize("sigma", [0.01, 0.1, 1.0, 100.0])
def test_agrees_with_full_matrices(data, embedding, sigma):
    expected = entropy(reference_density(data, sigma), reference_density(embedding, sigma))
    assert metrics.kl_density(data, embedding, sigma=sigma) == pytest.approx(expected, rel=1e-6)


def test_a_map_of_equal_density_scores_the_divergence_from_the_uniform(data):
    angles = 2 * np.pi * np.arange(len(data)) / len(data)
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    uniform = np.full(len(data), 1 / len(data))
    assert metrics.kl_density(data, circle) == pytest.approx(entropy(reference_density(data, 0.1), uniform))


def test_sparse_data_give_the_same_as_dense(embedding):
    dense = np.random.default_rng(7).poisson(0.3, size=(150, 40))
    expected = metrics.kl_density(dense, embedding)
    assert metrics.kl_density(sparse.csr_array(dense), embedding) == pytest.approx(expected)


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf")])
def test_sigma_must_be_positive(data, embedding, sigma):
    with pytest.raises(ValueError, match="sigma must be a positive number"):
        metrics.kl_density(data, embedding, sigma=sigma)
