"""Genes from any representation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from helpers import QUICK
from scipy.sparse import csr_matrix
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_predict

import scgeoae
from scgeoae import tl
from scgeoae.result import Result

if TYPE_CHECKING:
    from io import StringIO
    from pathlib import Path

    from anndata import AnnData

N, N_GENES = 400, 30


@pytest.fixture(scope="module")
def _once() -> AnnData:
    """Cells whose genes are linear in a representation, by three shares of noise; the last gene is constant."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 6)).astype(np.float32)
    genes = 300 + x @ rng.normal(size=(6, N_GENES)) + rng.normal(size=(N, N_GENES)) * np.repeat([0, 2, 50], 10)
    genes[:, -1] = 2.5
    names = pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)])
    adata = ad.AnnData(genes, var=names, obsm={"X_scVI": x})
    tl.geometric_ae(adata, use_rep="X_scVI", **QUICK)
    return adata


@pytest.fixture
def adata(_once: AnnData) -> AnnData:
    return _once.copy()


def decoded(adata: AnnData) -> AnnData:
    return scgeoae.get.decode(adata, adata.obsm["X_geoae"], space="genes")


def read(adata: AnnData, x: np.ndarray | None = None, key: str = "geoae") -> np.ndarray:
    """Genes of the cells, or of other inputs."""
    x = adata.obsm["X_scVI"].astype(float) if x is None else x
    return scgeoae.get.model(adata, key=key).space("genes").values(x)


def test_decodes_the_readout_of_the_decoded_input(adata: AnnData) -> None:
    tl.gene_readout(adata)
    x = scgeoae.get.decode(adata, adata.obsm["X_geoae"]).X.astype(float)
    np.testing.assert_allclose(decoded(adata).X, read(adata, x), rtol=1e-5, atol=1e-5)
    exact = read(adata)[:, :10]
    np.testing.assert_allclose(exact, adata.X[:, :10], atol=1)
    assert decoded(adata).var_names.tolist() == adata.var_names.tolist()
    assert "Readout(30 genes" in repr(scgeoae.get.model(adata).readout)


def test_r2_is_that_of_held_out_cells(adata: AnnData, rng: np.random.Generator) -> None:
    tl.gene_readout(adata)
    r2 = decoded(adata).var["r2"].to_numpy()
    assert (r2[:10] > 0.99).all()
    explained = 1 - 4 / adata.X[:, 10:20].var(0)
    np.testing.assert_allclose(r2[10:20], explained, atol=0.1)
    assert (r2[20:29] < 0.05).all()
    assert r2[29] == 0
    np.testing.assert_allclose(decoded(adata).X[:, 29], 2.5, rtol=1e-6)


def test_values_are_those_of_another_library(adata: AnnData) -> None:
    """Ridge regression of scikit-learn, on the same features with the same strength."""
    tl.gene_readout(adata)
    model = scgeoae.get.model(adata)
    features = model.readout.bend.features(adata.obsm["X_scVI"].astype(float))
    features[:, :6] /= model.scale
    scatter = np.square(features - features.mean(0)).sum(0).mean()
    expected = Ridge(model.readout.penalty * scatter).fit(features, adata.X)
    np.testing.assert_allclose(read(adata), expected.predict(features), rtol=1e-4, atol=1e-3)


def test_genes_that_are_not_linear(adata: AnnData) -> None:
    """As of a representation that a network has learned; a linear regression reads none of them."""
    x = adata.obsm["X_scVI"]
    adata.X = 300 + np.square(x[:, [0, 1, 2]])[:, np.arange(N_GENES) % 3]
    tl.gene_readout(adata)
    assert scgeoae.get.model(adata).readout.r2.min() > 0.5
    linear = cross_val_predict(Ridge(), x, adata.X, cv=5)
    assert 1 - np.square(linear - adata.X).sum() / np.square(adata.X - adata.X.mean(0)).sum() < 0.1


def test_units_of_the_representation_do_not_matter(adata: AnnData) -> None:
    tl.gene_readout(adata)
    adata.obsm["X_large"] = 1000 * adata.obsm["X_scVI"] + 5000
    tl.geometric_ae(adata, use_rep="X_large", key_added="large", **QUICK | {"n_steps": 5})
    tl.gene_readout(adata, key="large")
    after = read(adata, adata.obsm["X_large"].astype(float), "large")
    np.testing.assert_allclose(after, read(adata), rtol=1e-3, atol=0.1)


def test_batches_are_no_reason_to_differ(adata: AnnData) -> None:
    """Genes that differ between batches by a constant are decoded as their mean; composition does not matter."""
    batch = np.repeat([0, 1], [300, 100])
    adata.obs["batch"] = pd.Categorical(np.where(batch, "b", "a"))
    clean = adata.X.copy()
    adata.X = clean + 8.0 * batch[:, None]
    tl.gene_readout(adata, batch_key="batch")
    readout = scgeoae.get.model(adata).readout
    expected = clean + 8 * batch.mean()
    np.testing.assert_allclose(read(adata)[:, :10], expected[:, :10], atol=1)
    assert (readout.r2[:10] > 0.99).all()
    tl.gene_readout(adata)
    assert (scgeoae.get.model(adata).readout.r2[:10] < 0.9).any()  # without batches, it does not fit
    adata.obs.loc[adata.obs["batch"] == "b", "batch"] = np.nan
    tl.gene_readout(adata, batch_key="batch")  # one batch, and cells of none
    np.testing.assert_allclose(read(adata)[:, :10], clean[:, :10], atol=1)


def test_matrices(adata: AnnData, tmp_path: Path, monkeypatch) -> None:
    """Sparse, dask and backed X, and blocks, give the same."""
    adata.X = np.where(adata.X > 300, adata.X, 0)
    tl.gene_readout(adata)
    expected = decoded(adata)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    monkeypatch.setattr("scgeoae.core.rows.BLOCK_ENTRIES", 37 * N_GENES)
    for matrix in (csr_matrix(adata.X), da.from_array(adata.X, chunks=(77, N_GENES))):
        other = adata.copy()
        other.X = matrix
        tl.gene_readout(other)
        np.testing.assert_allclose(decoded(other).X, expected.X, rtol=1e-4, atol=1e-4)
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    tl.gene_readout(backed)
    np.testing.assert_allclose(decoded(backed).X, expected.X, rtol=1e-4, atol=1e-4)
    backed.file.close()


def test_raw_layer_and_scaled_values(adata: AnnData) -> None:
    plain = tl.gene_readout(adata, copy=True)
    adata.layers["twice"] = 2 * adata.X
    adata.raw = adata
    scaled = adata[:, :29].copy()
    sc.pp.scale(scaled)
    for arguments, factor in (({"layer": "twice"}, 2), ({"use_raw": True}, 1), ({}, 1)):
        tl.gene_readout(scaled, **arguments)
        found = decoded(scaled)
        expected = decoded(plain)[:, found.var_names].X * factor
        np.testing.assert_allclose(found.X, expected, rtol=1e-3, atol=1e-2)
        assert found.n_vars == (30 if arguments.get("use_raw") else 29)


def test_only_the_model_changes_and_a_new_training_drops_it(adata: AnnData) -> None:
    before = {name: entry for name, entry in adata.uns["geoae"].items() if name != "model"}
    columns = adata.obs.columns.tolist()
    other = tl.gene_readout(adata, copy=True)
    assert "readout" not in adata.uns["geoae"]["model"]
    assert other.obs.columns.tolist() == columns
    for name, entry in before.items():
        np.testing.assert_equal(other.uns["geoae"][name], entry)
    assert set(other.uns["geoae"]["model"]) - set(adata.uns["geoae"]["model"]) == {"readout"}
    tl.geometric_ae(other, use_rep="X_scVI", **QUICK | {"n_steps": 5})
    assert Result(other).model.readout is None


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data:UserWarning")
@pytest.mark.parametrize("suffix", ["h5ad", "zarr", "safetensors"])
def test_files(adata: AnnData, tmp_path: Path, suffix: str) -> None:
    tl.gene_readout(adata)
    z, path = adata.obsm["X_geoae"][:5], tmp_path / f"map.{suffix}"
    if suffix == "safetensors":
        scgeoae.write_model(adata, path)
        read: Any = scgeoae.read_model(path)
    elif suffix == "h5ad":
        adata.write_h5ad(path)
        read = ad.read_h5ad(path)
    else:
        adata.write_zarr(path)
        read = ad.read_zarr(path)
    found = scgeoae.get.decode(read, z, space="genes")
    np.testing.assert_array_equal(found.X, decoded(adata).X[:5])
    np.testing.assert_array_equal(found.var["r2"], decoded(adata).var["r2"])


def test_mapped_cells_and_decoders_of_other_maps(adata: AnnData) -> None:
    tl.gene_readout(adata)
    query = ad.AnnData(adata.X[:50], obsm={"X_scVI": adata.obsm["X_scVI"][:50]}, var=adata.var)
    tl.map_cells(query, adata)
    np.testing.assert_allclose(decoded(query).X, decoded(adata).X[:50], rtol=1e-3, atol=1e-3)
    tl.gene_readout(query)  # of its own cells
    assert decoded(query).n_vars == N_GENES
    adata.obsm["X_umap"] = adata.obsm["X_geoae"][:, ::-1].copy()
    tl.fit_decoder(adata, "umap", use_rep="X_scVI", n_steps=20)
    tl.gene_readout(adata, key="geoae_umap")
    places = adata.obsm["X_umap"][:5]
    assert scgeoae.get.decode(adata, places, key="geoae_umap", space="genes").n_vars == N_GENES


def test_a_data_frame(adata: AnnData) -> None:
    expected = decoded(tl.gene_readout(adata, copy=True)).X
    adata.obsm["X_scVI"] = pd.DataFrame(adata.obsm["X_scVI"], index=adata.obs_names)
    tl.gene_readout(adata)
    np.testing.assert_allclose(decoded(adata).X, expected, rtol=1e-5)


def nan_rows(adata: AnnData) -> None:
    adata.obsm["X_scVI"][3] = np.nan


def no_genes(adata: AnnData) -> None:
    adata.raw = adata[:, :0].copy()


def no_expression(adata: AnnData) -> None:
    adata.X = np.zeros((N, N_GENES))


@pytest.mark.parametrize(
    ("spoil", "arguments", "error", "message"),
    [
        (nan_rows, {}, ValueError, "no longer what the map was made from"),
        (no_genes, {"use_raw": True}, ValueError, "raw.X holds no genes"),
        (no_expression, {}, ValueError, "No gene varies"),
        (None, {"use_raw": True}, ValueError, r"There is no \.raw"),
        (None, {"layer": "log"}, KeyError, r"\.layers\['log'\]"),
        (None, {"layer": "log", "use_raw": True}, ValueError, "name two matrices"),
        (None, {"batch_key": "batch"}, KeyError, r"\.obs\['batch'\]"),
        (None, {"key": "other"}, KeyError, "results there"),
        (lambda adata: adata.obsm.pop("X_scVI"), {}, KeyError, r"trained on obsm\['X_scVI'\]"),
        (lambda adata: setattr(adata, "X", None), {}, ValueError, "adata.X is None"),
        (lambda adata: adata.X.__setitem__((3, 4), np.inf), {}, ValueError, "missing or infinite"),
    ],
)
def test_bad_input(adata: AnnData, spoil: Any, arguments: dict, error: type, message: str) -> None:
    if spoil is not None:
        spoil(adata)
    with pytest.raises(error, match=message):
        tl.gene_readout(adata, **arguments)
    assert "readout" not in adata.uns["geoae"]["model"]


def test_too_many_features_or_too_few_cells(adata: AnnData, monkeypatch) -> None:
    few = adata[:4].copy()
    with pytest.raises(ValueError, match="4 cells are too few"):
        tl.gene_readout(few)
    monkeypatch.setattr("scgeoae.reference.readout.MAX_FEATURES", 5)
    with pytest.raises(ValueError, match="at most 5 input features; the model has 6"):
        tl.gene_readout(adata)


def test_counts_are_pointed_out(adata: AnnData, log: StringIO) -> None:
    adata.X = np.rint(np.abs(adata.X))
    tl.gene_readout(adata)
    assert "as raw counts do" in log.getvalue()


def test_a_damaged_readout(adata: AnnData) -> None:
    tl.gene_readout(adata)
    adata.uns["geoae"]["model"]["readout"]["r2"] = np.ones(3)
    with pytest.raises(ValueError, match="readout/r2 has shape"):
        scgeoae.get.model(adata)
