"""One table for all maps: the numbers of the array functions, in the right rows and columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from hard_use.tools import frozen
from helpers import QUICK
from scipy import sparse

import scgeoae
from scgeoae import metrics
from scgeoae.metrics import density, distances, labels, neighborhoods
from scgeoae.metrics._points import Points
from scgeoae.metrics.quality import MEASURES

if TYPE_CHECKING:
    from pathlib import Path

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


def test_each_file_lists_its_columns(cells: AnnData) -> None:
    data, maps = Points(cells.obsm["X_pca"]), [Points(cells.obsm["X_good"]), Points(cells.obsm["X_chance"])]
    sampling = {"max_cells": 300, "rng": 0}
    for file, rows in (
        (density, density.estimates(data, maps, **sampling)),
        (neighborhoods, neighborhoods.estimates(data, maps, 15, **sampling)),
        (distances, distances.estimates(data, maps, **sampling)),
        (labels, [labels.estimates(cells.obsm["X_good"], cells.obs["group"], 15, **sampling)]),
    ):
        assert [list(row) for row in rows] == [list(file.MEASURES)] * len(rows)


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
    assert set(mapped.uns["geoae"]) == {"params", "model", "fingerprint", "history"}


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


@pytest.fixture
def other(cells: AnnData, rng: np.random.Generator) -> AnnData:
    """Other data of the same cells and of fifty more, in another order, in every field that can be chosen."""
    order = rng.permutation(350)
    names = np.append(cells.obs_names, [f"more {i}" for i in range(50)])[order]
    x = np.vstack([cells.obsm["X_pca"] + rng.normal(size=(300, 6)), rng.normal(size=(50, 6))])[order]
    x[order >= 300] = np.nan  # they do not count
    adata = ad.AnnData(x - 1, obs=pd.DataFrame(index=names), obsm={"X_pca": x, "X_more": x[:, ::-1].copy()})
    adata.layers["sparse"] = sparse.csr_matrix(np.exp(x))
    return adata


def in_order(cells: AnnData, other: AnnData) -> AnnData:
    """The other data, by rows that were looked up one by one."""
    rows = [list(other.obs_names).index(name) for name in cells.obs_names]
    return other[rows].copy()


def test_other_data(cells: AnnData, other: AnnData) -> None:
    before = frozen(cells), frozen(other)
    table = quality(cells, other=other, labels="group", k=15)
    assert (frozen(cells), frozen(other)) == before
    X = in_order(cells, other).obsm["X_pca"]
    for basis, Z in (("pca", cells.obsm["X_pca"][:, :2]), ("chance", cells.obsm["X_chance"])):
        row = table.loc[basis]
        assert row["kl_density_0.1"] == pytest.approx(metrics.kl_density(X, Z))
        assert row["knn_recall"] == pytest.approx(metrics.knn_recall(X, Z, k=15))
        assert row["trustworthiness"] == pytest.approx(metrics.trustworthiness(X, Z, k=15))
        np.testing.assert_allclose(row[["rnx_local", "rnx_global"]].astype(float), metrics.rnx_auc(X, Z))
        assert row["spearman"] == pytest.approx(metrics.spearman(X, Z))
        assert row["stress"] == pytest.approx(metrics.stress(X, Z))
        assert row["knn_accuracy"] == pytest.approx(metrics.knn_accuracy(Z, cells.obs["group"], k=15))
    assert list(table.columns) == list(quality(cells, labels="group").columns)


@pytest.mark.parametrize("choice", [{}, {"use_rep": "X"}, {"use_rep": "X_more"}, {"n_pcs": 3}, {"layer": "sparse"}])
def test_choices_are_those_of_other(cells: AnnData, other: AnnData, choice: dict) -> None:
    whole = in_order(cells, other)
    whole.obsm["X_map"] = cells.obsm["X_good"]
    cells.obsm["X_map"] = cells.obsm["X_good"]
    expected = quality(whole, ["map"], **choice)
    pd.testing.assert_frame_equal(quality(cells, ["map"], other=other, **choice), expected)
    del cells.obsm["X_pca"]
    pd.testing.assert_frame_equal(quality(cells, ["map"], other=other, **choice), expected)


@pytest.mark.parametrize("kind", ["memory map", "dask", "dask of CSR"])
@pytest.mark.parametrize("choice", [{}, {"n_pcs": 3}])
def test_data_that_are_not_in_memory(cells: AnnData, choice: dict, kind: str, tmp_path: Path) -> None:
    x = cells.obsm["X_pca"]
    expected = quality(cells, ["good"], **choice)
    if kind == "memory map":
        np.save(tmp_path / "x.npy", x)
        elsewhere = np.load(tmp_path / "x.npy", mmap_mode="r")
    else:
        elsewhere = pytest.importorskip("dask.array").from_array(x, chunks=(100, 6))
        elsewhere = elsewhere.map_blocks(sparse.csr_matrix) if kind == "dask of CSR" else elsewhere
    other = ad.AnnData(obs=cells.obs, obsm={"X_pca": elsewhere})
    tables = [quality(cells, ["good"], other=other, **choice)]
    cells.obsm["X_pca"] = elsewhere
    tables.append(quality(cells, ["good"], **choice))
    for table in tables:
        pd.testing.assert_frame_equal(table, expected)


@pytest.mark.usefixtures("allow_small_samples")
@pytest.mark.parametrize("max_cells", [10_000, 200])
def test_other_data_that_are_the_same(cells: AnnData, max_cells: int) -> None:
    arguments = {"labels": "group", "max_cells": max_cells}
    of_genes = ["size_error", "distance_error", "gap"]  # these components are not made of genes
    expected = quality(cells, **arguments).drop(columns=of_genes)
    shuffled = cells[np.random.default_rng(1).permutation(300)].copy()
    for other in (cells, shuffled):
        table = quality(cells, other=other, **arguments)
        assert table[of_genes].isna().all(axis=None)
        pd.testing.assert_frame_equal(table.drop(columns=of_genes), expected)


def test_decoders_are_those_of_adata(mapped: AnnData) -> None:
    other = ad.AnnData(obs=mapped.obs[[]], obsm={"X_pca": mapped.obsm["X_pca"][:, ::-1][:, :20].copy()})
    names = ["log_det_variance", "det_p95_p5", "anisotropy"]
    table = quality(mapped, ["geoae"], other=other)
    assert table[names].notna().all(axis=None)
    pd.testing.assert_frame_equal(table[names], quality(mapped, ["geoae"])[names])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda a: a[~a.obs_names.isin(["7", "9"])].copy(), ValueError, "2 of the 300 cells of adata .* such as '7'"),
        (lambda a: ad.AnnData(obsm=dict(a.obsm), obs=pd.DataFrame(index=a.obs_names + "-1")), ValueError, "300 of the"),
        (lambda a: a[:0].copy(), ValueError, "300 of the 300"),
        (lambda a: ad.AnnData(obs=a.obs), KeyError, r"In other: Did not find .obsm\['X_pca'\]"),
        (lambda a: ad.AnnData(obs=a.obs, obsm={"X_pca": np.ones((350, 2))}), ValueError, r"other.obsm\['X_pca'\] are"),
    ],
)
def test_bad_other(cells: AnnData, other: AnnData, change, error: type[Exception], message: str) -> None:
    other = change(other)
    with pytest.raises(error, match=message):
        quality(cells, other=other)


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
@pytest.mark.parametrize("whose", ["adata", "other"])
def test_names_that_several_cells_share(cells: AnnData, other: AnnData, whose: str) -> None:
    changed = cells if whose == "adata" else other
    changed.obs_names = ["twin", "twin", "twin", *changed.obs_names[3:]]
    with pytest.raises(ValueError, match=f"3 cells of {whose} have a name"):
        quality(cells, other=other)


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


def test_sizes_and_distances_of_groups_by_the_other_half(rng: np.random.Generator) -> None:
    """Its genes in the components of the first half; NaN where genes are missing or loadings are not known."""
    rates = np.exp(rng.normal(size=(3, 60)))[np.repeat(np.arange(3), 80)] * rng.gamma(5, size=(240, 1))
    counts = ad.AnnData(rng.poisson(3 * rates).astype(np.float32))
    counts.obs["group"] = np.repeat(["a", "b", "c"], 80)
    halves = scgeoae.pp.split_counts(counts)
    for half in halves:
        sc.pp.normalize_total(half, target_sum=1e3)
        sc.pp.log1p(half)
    first, second = halves
    sc.pp.pca(first, n_comps=5)
    table = metrics.embedding_quality(first, ["pca"], other=with_components(second), labels="group")
    joint = (second.X - first.X.mean(0)) @ first.varm["PCs"]
    pair = first.obsm["X_pca"], first.obsm["X_pca"][:, :2], first.obs["group"], joint
    for name in ("size_error", "distance_error", "gap"):
        assert table.loc["pca", name] == pytest.approx(getattr(metrics, name)(*pair), rel=1e-3)
    alone = metrics.embedding_quality(first, ["pca"], labels="group")
    assert alone.loc["pca", "gap"] == pytest.approx(metrics.gap(*pair[:3]))
    for changed in (with_components(second[:, :50].copy()), with_components(second)):
        if changed.n_vars == 60:
            del first.varm["PCs"]  # it is not known how genes became the components
        unknown = metrics.embedding_quality(first, ["pca"], other=changed, labels="group")
        assert unknown[["size_error", "distance_error", "gap"]].isna().all(axis=None)


def with_components(half: AnnData) -> AnnData:
    half = half.copy()
    sc.pp.pca(half, n_comps=5)
    return half
