"""One table for all maps: the numbers of the array functions, in the right rows and columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from helpers import QUICK

import scgeoae
from scgeoae import metrics
from scgeoae.metrics.quality import MEASURES

if TYPE_CHECKING:
    from anndata import AnnData


@pytest.fixture
def cells(rng: np.random.Generator) -> AnnData:
    """300 cells in three groups; maps by two components, by all but one, and by chance."""
    group = np.repeat([0, 1, 2], 100)
    x = rng.normal(size=(300, 6)) * [3, 2, 1, 1, 0.5, 0.5]
    x[:, 0] += 8 * group
    obs = pd.DataFrame({"group": pd.Categorical(group.astype(str))}, index=np.arange(300).astype(str))
    maps = {"X_pca": x, "X_good": x[:, :5].copy(), "X_chance": rng.normal(size=(300, 2))}
    return ad.AnnData(obs=obs, obsm=maps)


def quality(adata: AnnData, bases: object = ("pca", "good", "chance"), **arguments: object) -> pd.DataFrame:
    return metrics.embedding_quality(adata, bases, **arguments)


def test_values_are_those_of_the_array_functions(cells: AnnData) -> None:
    table = quality(cells, labels="group", k=15)
    assert list(table.index) == ["pca", "good", "chance"]
    assert [name for name in MEASURES if name in table] == list(table.columns)
    assert not any(name.endswith("_se") for name in table)
    X, group = cells.obsm["X_pca"], cells.obs["group"]
    for basis, Z in (("pca", X[:, :2]), ("chance", cells.obsm["X_chance"])):
        row = table.loc[basis]
        assert row["kl_density_0.1"] == pytest.approx(metrics.kl_density(X, Z))
        assert row["kl_density_100"] == pytest.approx(metrics.kl_density(X, Z, sigma=100))
        assert row["knn_recall"] == pytest.approx(metrics.knn_recall(X, Z, k=15))
        assert row["trustworthiness"] == pytest.approx(metrics.trustworthiness(X, Z, k=15))
        assert row["continuity"] == pytest.approx(metrics.continuity(X, Z, k=15))
        assert row["lcmc"] == pytest.approx(metrics.lcmc(X, Z, k=15))
        np.testing.assert_allclose(row[["mrre_data", "mrre_map"]].astype(float), metrics.mrre(X, Z, k=15))
        np.testing.assert_allclose(row[["rnx_local", "rnx_global"]].astype(float), metrics.rnx_auc(X, Z))
        assert row["spearman"] == pytest.approx(metrics.spearman(X, Z))
        assert row["stress"] == pytest.approx(metrics.stress(X, Z))
        assert row["rmse"] == pytest.approx(metrics.rmse(X, Z))
        assert row["knn_accuracy"] == pytest.approx(metrics.knn_accuracy(Z, group, k=15))
        np.testing.assert_allclose(row[["ari", "nmi"]].astype(float), metrics.cluster_agreement(Z, group))


def test_mean_rank(cells: AnnData) -> None:
    assert quality(cells)["mean_rank"].to_dict() == {"good": 1, "pca": 2, "chance": 3}
    cells.obsm["X_again"] = cells.obsm["X_good"]
    assert quality(cells, ["good", "again", "chance"])["mean_rank"].to_list() == [1.5, 1.5, 3]
    assert sorted(name for name, measure in MEASURES.items() if measure.ranked) == [
        "kl_density_0.1", "knn_recall", "spearman", "stress", "trustworthiness",
    ]  # fmt: skip


@pytest.mark.usefixtures("allow_small_samples")
def test_samples_have_standard_errors(cells: AnnData) -> None:
    exact, sampled = quality(cells, labels="group"), quality(cells, labels="group", max_cells=200, rng=3)
    with_error = [name for name in sampled if f"{name}_se" in sampled]
    assert {"kl_density_0.1", "knn_recall", "spearman", "rmse", "knn_accuracy"} <= set(with_error)
    for name in with_error:
        errors = sampled.loc["chance", f"{name}_se"]
        assert errors > 0
        assert abs(sampled.loc["chance", name] - exact.loc["chance", name]) < 5 * errors
    pd.testing.assert_frame_equal(sampled, quality(cells, labels="group", max_cells=200, rng=3))
    other = quality(cells, labels="group", max_cells=200, rng=np.random.default_rng(3))
    assert not sampled.equals(other)


def test_decoders(mapped: AnnData) -> None:
    scgeoae.tl.fit_decoder(mapped, "umap", **QUICK, key_added="aaa", weight_decay=5)
    scgeoae.tl.fit_decoder(mapped, "umap", **QUICK)
    table = quality(mapped, ["pca", "umap", "X_geoae"])
    assert table.loc["pca", ["log_det_variance", "det_p95_p5", "anisotropy"]].isna().all()
    for basis, key in (("X_geoae", "geoae"), ("umap", "geoae_umap")):
        log_det = np.log(mapped.obs[f"{key}_det"])
        assert table.loc[basis, "log_det_variance"] == pytest.approx(log_det.var())
        ratio = np.divide(*np.percentile(np.exp(log_det), [95, 5]))
        assert table.loc[basis, "det_p95_p5"] == pytest.approx(ratio, rel=0.01)
        assert table.loc[basis, "anisotropy"] == mapped.obs[f"{key}_anisotropy"].median()
    assert list(mapped.uns["geoae"]) == ["params", "model", "history"]


def test_labels_may_be_missing(cells: AnnData) -> None:
    cells.obs.loc[cells.obs_names[:50], "group"] = None
    expected = metrics.knn_accuracy(cells.obsm["X_chance"], cells.obs["group"])
    assert quality(cells, labels="group").loc["chance", "knn_accuracy"] == pytest.approx(expected)
    assert "knn_accuracy" not in quality(cells)


def test_duplicated_cells_give_finite_numbers(cells: AnnData) -> None:
    twice = ad.concat([cells, cells], index_unique="-")
    first = quality(twice, labels="group")
    assert np.isfinite(first.loc["chance", ["knn_recall", "kl_density_0.1", "stress"]].astype(float)).all()
    pd.testing.assert_frame_equal(first, quality(twice, labels="group"))


def put(value: float, *, rows: slice = slice(3)):
    def change(adata: AnnData) -> None:
        adata.obsm["X_good"][rows] = value

    return change


def nothing(adata: AnnData) -> None: ...


def one_class(adata: AnnData) -> None:
    adata.obs["group"] = "all"


@pytest.mark.parametrize(
    ("prepare", "arguments", "error", "message"),
    [
        (nothing, {"bases": ["umap"]}, KeyError, "sc.tl.umap"),
        (nothing, {"bases": "good"}, TypeError, "sequence"),
        (nothing, {"bases": []}, ValueError, "at least one"),
        (nothing, {"bases": ["good", "X_good"]}, ValueError, "twice"),
        (nothing, {"bases": ["good", "good"]}, ValueError, "twice"),
        (put(np.nan), {}, ValueError, "X_good.*NaN"),
        (put(1.0, rows=slice(None)), {}, ValueError, "X_good.*equal"),
        (nothing, {"k": 150}, ValueError, "half"),
        (nothing, {"k": 0}, ValueError, "k must be"),
        (nothing, {"k": 2.5}, TypeError, "k must be"),
        (nothing, {"max_cells": 2}, ValueError, "max_cells"),
        (nothing, {"labels": "type"}, KeyError, "type.*group"),
        (one_class, {"labels": "group"}, ValueError, "2 classes"),
        (nothing, {"use_rep": "X_none"}, KeyError, "X_none"),
        (lambda a: a.obsm.update(X_pca=np.ones((300, 3))), {}, ValueError, "X_pca.*equal"),
    ],
)
def test_bad_input(cells: AnnData, prepare, arguments: dict, error: type[Exception], message: str) -> None:
    prepare(cells)
    with pytest.raises(error, match=message):
        quality(cells, **arguments)
