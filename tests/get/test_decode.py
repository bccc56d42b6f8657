"""Decoded profiles."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
import scanpy as sc
import torch
from helpers import QUICK

import scgeoae

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData


@pytest.fixture(scope="module")
def _projected_once() -> AnnData:
    adata = sc.datasets.pbmc68k_reduced()
    sc.pp.pca(adata, n_comps=20)  # the PCs that it ships do not belong to its X
    scgeoae.tl.geometric_ae(adata, **QUICK)
    return adata


@pytest.fixture
def projected(_projected_once: AnnData) -> AnnData:
    return _projected_once.copy()


def test_input_space_is_the_decoder(mapped: AnnData) -> None:
    points = np.array([[0.0, 0.0], [1.0, -2.0], [900.0, 0.0]])
    profiles = scgeoae.get.decode(mapped, points)
    model = scgeoae.get.model(mapped)
    with torch.no_grad():
        np.testing.assert_allclose(profiles.X, model.autoencoder.double().decode(torch.tensor(points)), rtol=1e-6)
    assert profiles.var_names.tolist() == model.input.features.tolist()
    np.testing.assert_array_equal(profiles.obs[["map1", "map2"]], points)
    assert profiles.obs["occupied"].tolist() == model.region.contains(points).tolist()
    assert not profiles.obs["occupied"].iloc[2]
    assert profiles.obs["occupied"].dtype == bool


def test_determinant_and_anisotropy_are_those_of_the_cells(mapped: AnnData) -> None:
    profiles = scgeoae.get.decode(mapped, mapped.obsm["X_geoae"])
    np.testing.assert_allclose(profiles.obs["det"], mapped.obs["geoae_det"], rtol=1e-5)
    np.testing.assert_allclose(profiles.obs["anisotropy"], mapped.obs["geoae_anisotropy"], rtol=1e-5)
    error = np.sqrt(np.square(profiles.X - mapped.obsm["X_pca"]).mean(1))
    np.testing.assert_allclose(error, mapped.obs["geoae_reconstruction_error"], rtol=1e-4)


def test_genes_are_the_pca_reconstruction_of_the_decoded_components(projected: AnnData) -> None:
    z = projected.obsm["X_geoae"]
    components = scgeoae.get.decode(projected, z).X.astype(float)
    profiles = scgeoae.get.decode(projected, z, space="genes")
    mean, loadings = projected.X.mean(0, dtype=float), projected.varm["PCs"]
    expected = mean + components @ loadings.T
    used = projected.var_names.get_indexer(profiles.var_names)
    np.testing.assert_allclose(profiles.X, expected[:, used], atol=1e-4)
    reconstructed = (mean + projected.obsm["X_pca"] @ loadings.T)[:, used]
    assert np.corrcoef(profiles.X.ravel(), reconstructed.ravel())[0, 1] > 0.7


def test_genes_of_a_map_of_genes(projected: AnnData) -> None:
    scgeoae.tl.geometric_ae(projected, use_rep="X", **QUICK)
    z = projected.obsm["X_geoae"][:5]
    expected, got = (scgeoae.get.decode(projected, z, space=space) for space in ("input", "genes"))
    np.testing.assert_allclose(got.X, expected.X)
    assert got.var_names.tolist() == projected.var_names.tolist()


def test_scaling_is_undone(rng: np.random.Generator) -> None:
    import anndata as ad

    counts = rng.poisson(rng.gamma(1, size=(200, 1)) * np.arange(1, 9)).astype(np.float32)
    adata = ad.AnnData(np.log1p(counts))
    before = adata.X.copy()
    sc.pp.scale(adata)
    scgeoae.tl.geometric_ae(adata, use_rep="X", **QUICK)
    z = adata.obsm["X_geoae"]
    scaled, genes = (scgeoae.get.decode(adata, z, space=space).X for space in ("input", "genes"))
    np.testing.assert_allclose(genes, scaled * adata.var["std"].to_numpy() + adata.var["mean"].to_numpy(), atol=1e-5)
    np.testing.assert_allclose(genes.mean(0), before.mean(0), rtol=0.2)


def test_blocks_do_not_matter(projected: AnnData, monkeypatch) -> None:
    z = projected.obsm["X_geoae"]
    whole = scgeoae.get.decode(projected, z, space="genes").X
    monkeypatch.setattr("scgeoae.core.rows.BLOCK_ENTRIES", 7 * projected.n_vars)
    np.testing.assert_allclose(scgeoae.get.decode(projected, z, space="genes").X, whole, atol=1e-4)


@pytest.mark.parametrize("space", ["input", "genes"])
def test_no_points(projected: AnnData, space: str) -> None:
    profiles = scgeoae.get.decode(projected, np.zeros((0, 2)), space=space)
    assert profiles.n_obs == 0
    assert profiles.n_vars > 0


@pytest.mark.parametrize("d", [1, 3])
def test_other_dimensions(projected: AnnData, d: int) -> None:
    scgeoae.tl.geometric_ae(projected, n_components=d, **QUICK)
    profiles = scgeoae.get.decode(projected, projected.obsm["X_geoae"][:4])
    assert profiles.obs.columns.tolist() == [*(f"map{i + 1}" for i in range(d)), "det", "anisotropy"]


def test_a_model_without_cells(projected: AnnData, tmp_path: Path) -> None:
    scgeoae.write_model(projected, tmp_path / "model")
    points = projected.obsm["X_geoae"][:3]
    alone = scgeoae.get.decode(scgeoae.read_model(tmp_path / "model"), points, space="genes")
    np.testing.assert_array_equal(alone.X, scgeoae.get.decode(projected, points, space="genes").X)


def test_errors(mapped: AnnData) -> None:
    with pytest.raises(ValueError, match="Unknown space 'gene'"):
        scgeoae.get.decode(mapped, np.zeros((1, 2)), space="gene")
    for call in (partial(scgeoae.get.decode, space="genes"), scgeoae.get.gene_gradient):
        for key in ("geoae", "mine"):
            mapped.uns["mine"] = mapped.uns["geoae"]
            with pytest.raises(ValueError, match=rf"how genes became .*gene_readout\(adata, key='{key}'\)`"):
                call(mapped, np.zeros((1, 2)), key=key)
        with pytest.raises(ValueError, match=r"does not know how genes became its input.*`scgeoae.tl.gene_readout`"):
            call(scgeoae.get.model(mapped), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="points must be finite"):
        scgeoae.get.decode(mapped, np.zeros((1, 3)))
    with pytest.raises(KeyError, match="results there"):
        scgeoae.get.decode(mapped, np.zeros((1, 2)), key="other")
    for call in (scgeoae.get.decode, partial(scgeoae.get.geodesic, end=[0, 0])):
        with pytest.raises(TypeError, match=r"an AnnData or a model, not str.*read_model"):
            call("blood.safetensors", [0, 0])
