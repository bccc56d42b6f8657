"""Agreement with the package zadu, where it is installed."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

from scgeoae import metrics

pytest.importorskip("zadu")


def zadu(measure: str, *args: object, **kwargs: object) -> dict[str, float]:
    return import_module(f"zadu.measures.{measure}").measure(*args, **kwargs)


@pytest.fixture(params=["continuous", "ties"])
def pair(request: pytest.FixtureRequest, data: np.ndarray, embedding: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if request.param == "continuous":
        return data, embedding
    rng = np.random.default_rng(5)
    return rng.integers(0, 3, size=(80, 3)).astype(float), rng.integers(0, 4, size=(80, 2)).astype(float)


@pytest.mark.parametrize("sigma", [0.1, 100.0])
def test_kl_density(pair, sigma):
    expected = zadu("kl_divergence", *pair, sigma=sigma)["kl_divergence"]
    assert metrics.kl_density(*pair, sigma=sigma) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("k", [1, 20])
def test_measures_of_neighborhoods(pair, k):
    ranks = zadu("trustworthiness_continuity", *pair, k=k)
    assert metrics.trustworthiness(*pair, k=k) == pytest.approx(ranks["trustworthiness"])
    assert metrics.continuity(*pair, k=k) == pytest.approx(ranks["continuity"])
    lcmc = zadu("local_continuity_meta_criteria", *pair, k=k)["lcmc"]
    assert metrics.lcmc(*pair, k=k) == pytest.approx(lcmc)


@pytest.mark.parametrize("k", [1, 20])
def test_mean_relative_rank_errors(pair, k):
    # zadu reports 1 minus the error; "missing" are the neighbors in the data, "false" those on the map.
    expected = zadu("mean_relative_rank_error", *pair, k=k)
    errors = metrics.mrre(*pair, k=k)
    assert 1 - errors.data_side == pytest.approx(expected["mrre_missing"])
    assert 1 - errors.map_side == pytest.approx(expected["mrre_false"])


def test_measures_of_distances(pair):
    expected = zadu("spearman_rho", *pair)["spearman_rho"]
    assert metrics.spearman(*pair) == pytest.approx(expected, abs=1e-7)
    expected = zadu("scale_normalized_stress", *pair)["scale_normalized_stress"]
    assert metrics.stress(*pair) == pytest.approx(expected)
