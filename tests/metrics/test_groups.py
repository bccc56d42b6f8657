"""Sizes and distances of groups: closed forms, and that noise does not enter where the counts were split."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import pdist

from scgeoae import metrics

NAMES = ["a", "b", "c", "d"]


@pytest.fixture
def blobs(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Four groups of known spread at known places in five dimensions."""
    groups = np.repeat(NAMES, 500)
    centers = 10 * np.eye(4, 5)
    spreads = np.array([0.5, 1.0, 2.0, 4.0])
    number = np.repeat(np.arange(4), 500)
    return centers[number] + spreads[number, None] * rng.normal(size=(2000, 5)), groups


def test_sizes_are_root_mean_squares(blobs) -> None:
    x, groups = blobs
    sizes = metrics.group_sizes(x, groups)
    np.testing.assert_allclose(sizes[NAMES], np.sqrt(5) * np.array([0.5, 1, 2, 4]), rtol=0.05)
    # the mean squared distance of two cells of a group is twice the square of its size
    assert np.square(pdist(x[groups == "b"])).mean() == pytest.approx(2 * sizes["b"] ** 2)


def test_distances_are_those_of_the_means(blobs) -> None:
    x, groups = blobs
    distances = metrics.group_distances(x, groups)
    assert len(distances) == 6
    means = [x[groups == name].mean(0) for name in NAMES]
    assert distances["a", "c"] == pytest.approx(np.linalg.norm(means[0] - means[2]))


def test_noise_does_not_enter_where_there_are_two_halves(blobs, rng: np.random.Generator) -> None:
    """Independent noise three times as large as a group leaves its size; without a second half it does not."""
    x, groups = blobs
    halves = [x + 3 * rng.normal(size=x.shape) for _ in range(2)]
    true = np.sqrt(5) * np.array([0.5, 1, 2, 4])
    free = metrics.group_sizes(halves[0], groups, halves[1])
    np.testing.assert_allclose(free[NAMES[1:]], true[1:], rtol=0.25)
    assert (metrics.group_sizes(halves[0], groups)[NAMES] > np.sqrt(5) * 2.9).all()
    means = metrics.group_distances(halves[0], groups, halves[1])
    np.testing.assert_allclose(means, metrics.group_distances(x, groups), rtol=0.05)


def test_errors_and_gap_of_a_map(blobs) -> None:
    x, groups = blobs
    assert metrics.size_error(x, 3 * x, groups) == pytest.approx(0, abs=1e-12)
    assert metrics.distance_error(x, 3 * x, groups) == pytest.approx(0, abs=1e-12)
    assert metrics.gap(x, 3 * x, groups) == pytest.approx(1)
    centers = pd.DataFrame(x).groupby(groups).transform("mean").to_numpy()
    apart = x + centers  # the groups are moved to twice their distances and keep their sizes
    assert metrics.gap(x, apart, groups) == pytest.approx(2)
    assert metrics.size_error(x, apart, groups) == pytest.approx(0, abs=1e-12)
    factors = pd.Series({"a": 1.0, "b": 2.0, "c": 4.0, "d": 8.0})
    swollen = centers + (x - centers) * factors[groups].to_numpy()[:, None]
    assert metrics.size_error(x, swollen, groups) == pytest.approx(np.log([1, 2, 4, 8]).std())
    assert metrics.distance_error(x, swollen, groups) == pytest.approx(0, abs=1e-12)


def test_groups_without_a_size_or_a_name(rng: np.random.Generator) -> None:
    x = rng.normal(size=(6, 2))
    groups = ["a", "a", "b", None, np.nan, "a"]
    sizes = metrics.group_sizes(x, groups)
    assert list(sizes.index) == ["a", "b"]
    assert np.isnan(sizes["b"])
    noise = metrics.group_sizes(x, ["a"] * 6, -x)  # the second half says the opposite
    assert np.isnan(noise["a"])
    with pytest.raises(ValueError, match="same cells"):
        metrics.group_sizes(x, groups[:5])
    with pytest.raises(ValueError, match="same cells"):
        metrics.group_sizes(x, groups, x[:, :1])
    with pytest.raises(ValueError, match="names no group"):
        metrics.group_sizes(x, [None] * 6)


def test_displacement_is_that_of_what_a_turn_leaves(rng: np.random.Generator) -> None:
    z = rng.normal(size=(500, 2))
    turn = np.array([[0, 1], [1, 0]])  # a reflection
    assert metrics.displacement(z, 5 * z @ turn + 3) == pytest.approx(0, abs=1e-12)
    # of independent maps: distance of two places, each of mean square 1, at the best turn
    other = rng.normal(size=(500, 2))
    assert 0.8 < metrics.displacement(z, other) < 1.6
    assert metrics.displacement(z, z + 0.1 * rng.normal(size=z.shape)) == pytest.approx(0.083, rel=0.1)
    with pytest.raises(ValueError, match="all points"):
        metrics.displacement(z, np.ones_like(z))
    with pytest.raises(ValueError, match="same"):
        metrics.displacement(z, z[:, :1])
