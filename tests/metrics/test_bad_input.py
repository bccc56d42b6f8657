"""Every bad argument is refused with an error that says what came and what is allowed."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import PAIR_MEASURES
from scipy import sparse

from scgeoae import metrics

WITH_K = [metrics.knn_recall, metrics.trustworthiness, metrics.continuity, metrics.lcmc, metrics.mrre]
every_measure = pytest.mark.parametrize("measure", PAIR_MEASURES)


@every_measure
def test_unequal_numbers_of_rows(data, embedding, measure):
    with pytest.raises(ValueError, match="X has 150, Z 149 rows"):
        measure(data, embedding[:-1])


@every_measure
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e200])
def test_numbers_that_are_not_finite(data, embedding, measure, bad):
    X, Z = data.copy(), embedding.copy()
    X[3, 1] = Z[7, 0] = bad
    with pytest.raises(ValueError, match="X contains NaN or infinite"):
        measure(X, embedding)
    with pytest.raises(ValueError, match="X contains NaN or infinite"):
        measure(sparse.csr_matrix(X), embedding)
    with pytest.raises(ValueError, match="Z contains NaN or infinite"):
        measure(data, Z)


@every_measure
def test_wrong_shapes(data, embedding, measure):
    with pytest.raises(ValueError, match=r"Z must have two dimensions .* its shape is \(150,\)"):
        measure(data, embedding[:, 0])
    with pytest.raises(ValueError, match="X must have two dimensions"):
        measure(data[None], embedding)
    with pytest.raises(ValueError, match=r"Z must hold at least 3 cells and one feature, but its shape is \(150, 0\)"):
        measure(data, embedding[:, :0])
    with pytest.raises(ValueError, match=r"X must hold at least 3 cells .* its shape is \(2, 6\)"):
        measure(data[:2], embedding[:2])


@every_measure
@pytest.mark.parametrize("kind", [str, complex, object])
def test_arrays_that_hold_no_real_numbers(data, embedding, measure, kind):
    with pytest.raises(TypeError, match="Z must hold real numbers"):
        measure(data, embedding.astype(kind))


@every_measure
def test_bad_sample_sizes(data, embedding, measure):
    with pytest.raises(ValueError, match="max_cells must be at least 3, but it is 2"):
        measure(data, embedding, max_cells=2)
    with pytest.raises(TypeError, match=r"max_cells must be an integer, but it is 1000\.0"):
        measure(data, embedding, max_cells=1e3)


@pytest.mark.parametrize("measure", WITH_K)
def test_bad_numbers_of_neighbors(data, embedding, measure):
    with pytest.raises(ValueError, match="k is 150 and there are 150 cells"):
        measure(data, embedding, k=150)
    with pytest.raises(ValueError, match="k must be at least 1, but it is 0"):
        measure(data, embedding, k=0)
    with pytest.raises(TypeError, match=r"k must be an integer, but it is 2\.0"):
        measure(data, embedding, k=2.0)
    with pytest.raises(TypeError, match="k must be an integer, but it is True"):
        measure(data, embedding, k=True)


@pytest.mark.parametrize("measure", [metrics.trustworthiness, metrics.continuity])
def test_neighbors_must_be_less_than_half_the_cells(data, embedding, measure):
    measure(data, embedding, k=74)
    with pytest.raises(ValueError, match="less than half the number of cells, but k is 75"):
        measure(data, embedding, k=75)


def test_bad_sequences_of_numbers_of_neighbors(data, embedding):
    with pytest.raises(ValueError, match="empty sequence"):
        metrics.knn_recall(data, embedding, k=[])
    with pytest.raises(ValueError, match="k is 200 and there are 150 cells"):
        metrics.knn_recall(data, embedding, k=[10, 200])


@pytest.mark.parametrize("measure", [metrics.spearman, metrics.stress, metrics.kl_density])
@pytest.mark.parametrize("max_cells", [100, 1_000])
def test_points_that_are_all_equal(data, embedding, measure, max_cells):
    with pytest.raises(ValueError, match=f"{measure.__name__} is undefined: all points of Z are equal"):
        measure(data, np.full_like(embedding, 0.1), max_cells=max_cells)
    with pytest.raises(ValueError, match=f"{measure.__name__} is undefined: all points of X are equal"):
        measure(sparse.csr_matrix(np.full_like(data, 0.1)), embedding, max_cells=max_cells)


def test_distances_that_are_all_equal():
    triangle = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    with pytest.raises(ValueError, match="spearman is undefined: all distances are equal in X or in Z"):
        metrics.spearman(triangle, np.arange(6.0).reshape(3, 2) ** 2)


@pytest.mark.parametrize("measure", [metrics.spearman, metrics.stress])
def test_a_sample_that_meets_equal_points_only(measure):
    X = np.random.default_rng(0).normal(size=(100_000, 2))
    Z = np.zeros((100_000, 2))
    Z[0] = 1
    with pytest.raises(ValueError, match=f"{measure.__name__} is undefined: all distances"):
        measure(X, Z, max_cells=3)


@pytest.mark.parametrize(
    "measure",
    [metrics.knn_recall, metrics.trustworthiness, metrics.continuity, metrics.lcmc, metrics.mrre, metrics.rnx_auc],
)
def test_neighborhoods_of_equal_points_are_defined(data, measure):
    assert np.isfinite(measure(data, np.zeros((150, 2)))).all()


@every_measure
def test_three_cells_are_enough(measure):
    X = np.array([[0.0, 0], [1, 0], [5, 1]])
    arguments = {"k": 1} if measure in WITH_K else {}
    assert np.isfinite(measure(X, X, **arguments)).all()
