"""The verdict on the cells of a map: its null, its false positives, what is read and written."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from helpers import QUICK
from scipy.sparse import csc_matrix, csr_matrix, issparse
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

import scgeoae
from scgeoae.tl import _verdict

if TYPE_CHECKING:
    from io import StringIO
    from pathlib import Path

    from anndata import AnnData

COLUMNS = ["geoae_verdict", "geoae_kept", "geoae_chance"]


def plane(x: np.ndarray) -> np.ndarray:
    """The first two principal components: a map that is quickly made."""
    return PCA(2, random_state=0).fit_transform(x)


def with_map(x: np.ndarray, z: np.ndarray) -> AnnData:
    return ad.AnnData(obsm={"X_pca": x.astype(np.float32), "X_map": z}, shape=(len(x), 0))


def groups(rng: np.random.Generator) -> np.ndarray:
    """300 cells on a bent sheet of two dimensions with some noise, in 20."""
    u, v = rng.uniform(-3, 3, (2, 300))
    x = np.column_stack([u, v, np.sin(u), np.cos(v)]) @ np.linalg.qr(rng.normal(size=(20, 20)))[0][:4]
    return x + 0.05 * rng.normal(size=x.shape)


def prepared(x: np.ndarray) -> AnnData:
    """Expression with its principal components and a map of these."""
    adata = ad.AnnData(x)
    sc.pp.pca(adata, n_comps=10)
    adata.obsm["X_map"] = plane(adata.obsm["X_pca"])
    return adata


@pytest.mark.parametrize("null", ["genes", "features"])
def test_false_positives_without_structure(rng: np.random.Generator, null: str) -> None:
    shares, scale = [], np.sqrt(rng.gamma(1, size=30))
    for seed in range(20):
        adata = prepared(scale * rng.gamma(1, size=(400, 30)))
        scgeoae.tl.verdict(adata, "map", embed=plane, null=null, rng=seed)
        shares.append(adata.obs["map_verdict"].value_counts(normalize=True))
    trustworthy, dubious = (np.array([share[name] for share in shares]) for name in ("trustworthy", "dubious"))
    assert trustworthy.mean() < 0.03
    assert trustworthy.max() <= 0.05
    assert dubious.mean() == pytest.approx(0.5, abs=0.1)


def test_components_are_a_stricter_null_than_genes(rng: np.random.Generator) -> None:
    adata = prepared(groups(rng))
    scgeoae.tl.verdict(adata, "map", embed=plane)
    assert adata.uns["map_verdict"]["params"]["null"] == "genes"
    by_genes = adata.obs["map_chance"].copy()
    scgeoae.tl.verdict(adata, "map", embed=plane, null="features")
    assert by_genes.mean() < adata.obs["map_chance"].mean()
    adata.X = adata.X[:, ::-1]  # its components are others
    scgeoae.tl.verdict(adata, "map", embed=plane)
    assert adata.uns["map_verdict"]["params"]["null"] == "features"
    with pytest.raises(ValueError, match=r"no genes to exchange\. Pass null='features'"):
        scgeoae.tl.verdict(adata, "map", embed=plane, null="genes")


@pytest.mark.parametrize("make", [np.asarray, csr_matrix, csc_matrix])
def test_the_values_of_each_gene_are_exchanged(rng: np.random.Generator, monkeypatch, make) -> None:
    expression = rng.poisson(1.0, (200, 30)) * rng.gamma(1, size=30)
    expression[:, 1] = expression[:, 0]
    adata, seen, pca = prepared(make(expression.astype(np.float32))), [], sc.pp.pca
    monkeypatch.setattr(sc.pp, "pca", lambda cells, **arguments: seen.append(cells.X) or pca(cells, **arguments))
    scgeoae.tl.verdict(adata, "map", embed=plane)
    exchanged = seen[0].toarray() if issparse(seen[0]) else seen[0]
    assert issparse(seen[0]) == issparse(adata.X)
    np.testing.assert_array_equal(np.sort(exchanged, axis=0), np.sort(expression.astype(np.float32), axis=0))
    assert abs(np.corrcoef(exchanged[:, :2].T)[0, 1]) < 0.3
    np.testing.assert_array_equal(adata.X.toarray() if issparse(adata.X) else adata.X, expression.astype(np.float32))


def test_a_true_map_is_trustworthy_and_misplaced_cells_are_dubious(rng: np.random.Generator) -> None:
    x = groups(rng)
    z = plane(x)
    misplaced = rng.choice(300, 20, replace=False)
    z[misplaced] = z[rng.permutation(misplaced)]
    far = np.linalg.norm(z[misplaced] - plane(x)[misplaced], axis=1) > 2
    adata = with_map(x, z)
    scgeoae.tl.verdict(adata, "map", embed=plane)
    verdict = adata.obs["map_verdict"].to_numpy()
    assert (np.delete(verdict, misplaced) == "trustworthy").mean() > 0.9
    assert (verdict[misplaced[far]] == "dubious").mean() > 0.9


def test_score_and_chance_are_as_defined(rng: np.random.Generator) -> None:
    x, k = groups(rng).astype(np.float32), 10
    z, places, seen = plane(x), rng.normal(size=(300, 2)), []
    adata = with_map(x, z)
    scgeoae.tl.verdict(adata, "map", n_neighbors=k, null="features", embed=lambda data: seen.append(data) or places)

    def kept(data: np.ndarray, where: np.ndarray) -> np.ndarray:
        near = [np.argsort(cdist(points, points), axis=1)[:, 1 : k + 1] for points in (data, where)]
        return np.array([len(set(a) & set(b)) / k for a, b in zip(*near, strict=True)])

    (shuffled,) = seen
    np.testing.assert_array_equal(np.sort(shuffled, axis=0), np.sort(x, axis=0))
    assert np.abs(np.corrcoef(shuffled.T)[np.triu_indices(20, 1)]).max() < 0.3
    np.testing.assert_allclose(adata.obs["map_kept"], kept(x, z))
    null = kept(shuffled, places)
    chance = [(1 + (null >= score).sum()) / 301 for score in adata.obs["map_kept"]]
    np.testing.assert_allclose(adata.obs["map_chance"], chance)
    names = np.select([np.array(chance) <= 0.025, np.array(chance) <= 0.5], ["trustworthy", "uncertain"], "dubious")
    assert list(adata.obs["map_verdict"]) == list(names)
    np.testing.assert_allclose(adata.uns["map_verdict"]["null_quantiles"], np.quantile(null, np.linspace(0, 1, 101)))


def test_our_map_is_made_again_with_its_arguments(mapped: AnnData, monkeypatch) -> None:
    calls, fit = [], _verdict.fit
    monkeypatch.setattr(_verdict, "fit", lambda *plan, **options: calls.append(plan) or fit(*plan, **options))
    before = mapped.copy()
    copy = scgeoae.tl.verdict(mapped, copy=True)
    ((rows, spec, seed),) = calls
    assert rows.shape == (700, 50)
    assert seed == 0
    params = mapped.uns["geoae"]["params"]
    assert (spec.n_steps, spec.noise, spec.weights["regularizer"]) == (
        params["n_steps"],
        params["noise"],
        params["alpha"],
    )
    pd.testing.assert_frame_equal(mapped.obs, before.obs)
    assert list(copy.obs) == [*before.obs, *COLUMNS]
    assert set(copy.uns) - set(before.uns) == {"geoae_verdict", "geoae_verdict_colors"}
    assert list(copy.obs["geoae_verdict"].cat.categories) == ["trustworthy", "uncertain", "dubious"]
    again = scgeoae.tl.verdict(mapped, copy=True)
    pd.testing.assert_frame_equal(again.obs, copy.obs)


@pytest.mark.usefixtures("interrupted")
def test_an_interruption_leaves_nothing(mapped: AnnData) -> None:
    with pytest.raises(KeyboardInterrupt):
        scgeoae.tl.verdict(mapped)
    assert not set(COLUMNS) & set(mapped.obs)


def test_it_says_what_takes_long(mapped: AnnData, info: StringIO, capsys) -> None:
    scgeoae.tl.verdict(mapped)
    assert (
        "making a map of data without structure, which takes about as long as obsm['X_geoae'] took" in info.getvalue()
    )
    assert "step/s]" in capsys.readouterr().err  # the progress bar of the training, with the time left


@pytest.fixture
def scanpy_calls(monkeypatch) -> dict[str, dict]:
    """Arguments of scanpy's tools, which are replaced by a quick map."""
    calls: dict[str, dict] = {}

    def tool(name: str, cells: AnnData, *_: object, **arguments: object) -> None:
        calls[name] = arguments | {"x": cells.obsm["x"]}
        cells.obsm[arguments.get("key_added", name)] = plane(cells.obsm["x"])

    for module, name in ((sc.pp, "neighbors"), (sc.tl, "umap"), (sc.tl, "tsne")):
        monkeypatch.setattr(module, name, partial(tool, name))
    return calls


def test_a_umap_is_made_again_with_its_parameters(pbmc: AnnData, scanpy_calls) -> None:
    pbmc.uns["neighbors"]["params"] |= {"n_neighbors": 12, "metric": "cosine", "n_pcs": 20}
    pbmc.uns["umap"] = {"params": {"a": 0.5, "b": 1.5}}
    scgeoae.tl.verdict(pbmc, "umap", rng=7)
    assert scanpy_calls["neighbors"]["n_neighbors"] == 12
    assert scanpy_calls["neighbors"]["metric"] == "cosine"
    assert scanpy_calls["neighbors"]["x"].shape == (700, 20)
    umap = scanpy_calls["umap"]
    assert (umap["a"], umap["b"], umap["n_components"], umap["random_state"]) == (0.5, 1.5, 2, 7)
    del pbmc.uns["umap"]
    scgeoae.tl.verdict(pbmc, "X_umap", rng=2**40 + 1)
    assert "a" not in scanpy_calls["umap"]
    assert scanpy_calls["umap"]["random_state"] == 1
    pbmc.obsm["umap"] = pbmc.obsm["X_umap"]  # as by scanpy's preset ScanpyV2Preview
    scgeoae.tl.verdict(pbmc, "umap", rng=3)
    assert scanpy_calls["umap"]["random_state"] == 3
    pbmc.obsm["other"], pbmc.uns["other"] = pbmc.obsm["X_umap"], {"params": {"a": 1.0, "b": 1.0}}
    scgeoae.tl.verdict(pbmc, "other", use_rep="X_pca")
    assert scanpy_calls["neighbors"]["x"].shape == (700, 50)
    assert "other_verdict" in pbmc.obs


def test_a_tsne_is_made_again_with_its_parameters(pbmc: AnnData, scanpy_calls) -> None:
    pbmc.obsm["X_tsne"] = plane(pbmc.obsm["X_pca"])
    pbmc.uns["tsne"] = {"params": {"perplexity": 20, "learning_rate": 100, "n_jobs": 3, "use_rep": "X"}}
    scgeoae.tl.verdict(pbmc, "tsne")
    tsne = scanpy_calls["tsne"]
    assert (tsne["perplexity"], tsne["learning_rate"], tsne["random_state"]) == (20, 100, 0)
    np.testing.assert_array_equal(np.sort(tsne["x"], axis=0), np.sort(pbmc.X, axis=0))  # genes are exchanged


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data:UserWarning")
@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_files(mapped: AnnData, tmp_path: Path, kind: str) -> None:
    scgeoae.tl.verdict(mapped, embed=plane)
    getattr(mapped, f"write_{kind}")(tmp_path / "cells")
    back = getattr(ad, f"read_{kind}")(tmp_path / "cells")
    pd.testing.assert_frame_equal(back.obs[COLUMNS], mapped.obs[COLUMNS])
    ax = sc.pl.embedding(back, "X_geoae", color="geoae_verdict", show=False)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["trustworthy", "uncertain", "dubious"]
    scgeoae.tl.verdict(back, embed=plane)


def test_a_new_map_drops_the_verdict_on_the_former_one(mapped: AnnData) -> None:
    for basis in ("geoae", "umap"):
        scgeoae.tl.verdict(mapped, basis, embed=plane)
    scgeoae.tl.fit_decoder(mapped, "umap", n_steps=5)
    assert {"umap_verdict", "geoae_verdict"} <= set(mapped.obs)
    scgeoae.tl.geometric_ae(mapped, **QUICK | {"n_steps": 5})
    assert not set(COLUMNS) & set(mapped.obs)
    assert not {"geoae_verdict", "geoae_verdict_colors"} & set(mapped.uns)
    assert {"umap_verdict", "umap_kept", "umap_chance"} <= set(mapped.obs)


def test_bad_input(mapped: AnnData, pbmc: AnnData, scanpy_calls) -> None:
    mapped.obsm["X_phate"] = mapped.obsm["X_umap"]
    bad, decoded = mapped.copy(), scgeoae.tl.fit_decoder(mapped, "umap", n_steps=5, copy=True)
    bad.obsm["X_umap"][3] = np.nan
    for adata, basis, arguments, error, message in [
        (mapped, "nothing", {}, KeyError, "nothing"),
        (mapped, "tsne", {}, KeyError, "Run `sc.tl.tsne` first"),
        (mapped, ["umap"], {}, TypeError, r"name of one map, a key of \.obsm, not \['umap'\]"),
        (decoded, "geoae_umap", {}, KeyError, "Pass 'X_umap', the map that the result 'geoae_umap' is of"),
        (pbmc, "geoae", {}, KeyError, "Run `scgeoae.tl.geometric_ae` first"),
        (mapped, "phate", {}, ValueError, r"not known how obsm\['X_phate'\] was made.*Pass embed"),
        (mapped, "umap", {"n_neighbors": 700}, ValueError, "below the number of cells"),
        (mapped, "umap", {"n_neighbors": 0}, ValueError, "n_neighbors"),
        (mapped, "umap", {"null": "cells"}, ValueError, "'genes' or 'features'"),
        (mapped, "umap", {"use_rep": "X_none"}, KeyError, "X_none"),
        (mapped, "umap", {"embed": lambda x: x[:5, :2]}, ValueError, r"embed must return .*\(700, 2\)"),
        (bad, "umap", {}, ValueError, "finite"),
        (mapped[:600].copy(), "geoae", {}, ValueError, "does not hold the cells"),
    ]:
        with pytest.raises(error, match=message):
            scgeoae.tl.verdict(adata, basis, **arguments)
    del mapped.uns["neighbors"]
    with pytest.raises(KeyError, match=r"\.uns\['neighbors'\]"):
        scgeoae.tl.verdict(mapped, "umap")
    assert not any(name.endswith("_verdict") for name in mapped.obs)


@pytest.mark.slow
@pytest.mark.parametrize("basis", ["geoae", "umap", "tsne"])
@pytest.mark.parametrize("exchanged", ["genes", "components"])
def test_false_positives_of_maps(pbmc: AnnData, basis: str, exchanged: str) -> None:
    permuted = np.random.default_rng(1).permuted
    adata = ad.AnnData(permuted(pbmc.X, axis=0))
    if exchanged == "genes":
        sc.pp.pca(adata)
    else:
        adata.obsm["X_pca"] = permuted(pbmc.obsm["X_pca"], axis=0)
    if basis == "geoae":
        scgeoae.tl.geometric_ae(adata)
    else:
        sc.pp.neighbors(adata)
        getattr(sc.tl, basis)(adata)
    for seed in range(3):
        scgeoae.tl.verdict(adata, basis, rng=seed)
        assert adata.uns[f"{basis}_verdict"]["params"]["null"] == {"components": "features"}.get(exchanged, exchanged)
        assert (adata.obs[f"{basis}_verdict"] == "trustworthy").mean() <= 0.05
