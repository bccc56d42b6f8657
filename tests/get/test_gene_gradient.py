"""How genes change on the surface of the decoder."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
import torch
from helpers import QUICK

import scgeoae
from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.reference import Bend, MapModel, Readout

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData


@pytest.fixture(scope="module")
def _decodable_once() -> AnnData:
    adata = sc.datasets.pbmc68k_reduced()
    sc.pp.pca(adata, n_comps=20)
    scgeoae.tl.geometric_ae(adata, **QUICK)
    return adata


@pytest.fixture(params=["loadings", "readout", "genes"])
def decodable(request: pytest.FixtureRequest, _decodable_once: AnnData) -> AnnData:
    """A map whose model knows genes by loadings, by a readout, or as its input, more than hidden values."""
    adata = _decodable_once.copy()
    if request.param == "readout":
        scgeoae.tl.gene_readout(adata, use_raw=True)
    if request.param == "genes":
        scgeoae.tl.geometric_ae(adata, use_rep="X", **QUICK | {"n_steps": 20})
    return adata


def places(adata: AnnData) -> np.ndarray:
    return adata.obsm["X_geoae"][::70].astype(np.float64)


def test_finite_differences_of_decode(decodable: AnnData) -> None:
    z, step = places(decodable), 1e-2
    found = scgeoae.get.gene_gradient(decodable, z)

    def decoded(points: np.ndarray) -> np.ndarray:
        return scgeoae.get.decode(decodable, points, space="genes").X.astype(float)

    rates = np.stack([(decoded(z + v) - decoded(z - v)) / (2 * step) for v in step * np.eye(2)], axis=1)  # (m, 2, g)
    steepest = np.linalg.solve(scgeoae.get.metric(decodable, z), rates)
    size = np.sqrt((rates * steepest).sum(1))
    np.testing.assert_allclose(found.X, size, rtol=0.02, atol=0.01 * size.max())
    clear = size > 0.1 * size.max()
    direction = steepest / np.linalg.norm(steepest, axis=1, keepdims=True)
    cosine = sum(found.layers[f"direction{i + 1}"] * direction[:, i] for i in range(2))
    assert (cosine[clear] > 0.999).all()


def test_a_step_along_the_direction_rises_by_the_amount(decodable: AnnData) -> None:
    """Per distance in the data, no direction rises more."""
    z = places(decodable)
    found = scgeoae.get.gene_gradient(decodable, z)
    gene, metric = int(found.X.mean(0).argmax()), scgeoae.get.metric(decodable, z)
    x = scgeoae.get.decode(decodable, z, space="genes").X[:, gene].astype(float)

    def rise(v: np.ndarray) -> np.ndarray:
        length = np.sqrt(np.einsum("mi,mij,mj->m", v, metric, v))[:, None]
        moved = scgeoae.get.decode(decodable, z + 1e-2 * v / length, space="genes").X[:, gene]
        return (moved - x) / 1e-2

    best = np.column_stack([found.layers[name][:, gene] for name in ("direction1", "direction2")])
    np.testing.assert_allclose(rise(best), found.X[:, gene], rtol=0.05, atol=1e-2 * found.X[:, gene].max())
    for angle in np.arange(0, 2 * np.pi, np.pi / 4):
        other = np.tile([np.cos(angle), np.sin(angle)], (len(z), 1))
        assert (rise(other) <= found.X[:, gene] * 1.05 + 1e-2).all()


def linear(jacobian: np.ndarray, weight: np.ndarray) -> MapModel:
    """A model whose decoder is linear, ``x = J z``, and whose genes are ``x W``."""
    n_features, d = jacobian.shape
    network = GeometricAutoencoder(n_features, d, hidden_dims=())
    network.decoder.last.weight.data = torch.tensor(jacobian, dtype=torch.float32)
    names = np.array([f"g{i}" for i in range(weight.shape[1])], dtype=object)
    bend = Bend(np.empty((n_features, 0)), np.empty(0))
    readout = Readout(names, bend, weight.astype(np.float32), np.zeros(len(names)), np.ones(len(names)), 1.0)
    return replace(MapModel(network), readout=readout)


def test_a_linear_decoder(rng: np.random.Generator) -> None:
    """On a plane, the gradient is the part of a gene's weights that lies in the plane."""
    jacobian, weight = rng.normal(size=(5, 2)), rng.normal(size=(5, 4))
    found = scgeoae.get.gene_gradient(linear(jacobian, weight), np.zeros((1, 2)))
    inside = jacobian @ np.linalg.pinv(jacobian) @ weight
    np.testing.assert_allclose(found.X[0], np.linalg.norm(inside, axis=0), rtol=1e-5)
    steepest = np.linalg.pinv(jacobian) @ weight  # (2, g), the same vectors in coordinates of the map
    direction = np.array([found.layers["direction1"][0], found.layers["direction2"][0]])
    np.testing.assert_allclose(direction, steepest / np.linalg.norm(steepest, axis=0), rtol=1e-4, atol=1e-5)


def test_a_singular_decoder(rng: np.random.Generator) -> None:
    """Where the map does not move the data in one direction, genes change along the other one only."""
    column, weight = rng.normal(size=5), rng.normal(size=(5, 3))
    found = scgeoae.get.gene_gradient(linear(np.column_stack([column, 0 * column]), weight), np.zeros((1, 2)))
    np.testing.assert_allclose(found.X[0], np.abs(column @ weight) / np.linalg.norm(column), rtol=1e-5)
    np.testing.assert_allclose(found.layers["direction2"], 0, atol=1e-6)


def test_rotations_and_scalings_of_the_map(rng: np.random.Generator) -> None:
    """The amount stays, also where the map is stretched; the direction turns with the map."""
    jacobian, weight = rng.normal(size=(5, 2)), rng.normal(size=(5, 4))
    turned = np.linalg.qr(rng.normal(size=(2, 2)))[0]
    first, second, stretched = (
        scgeoae.get.gene_gradient(linear(jacobian @ a, weight), np.zeros((1, 2)))
        for a in (np.eye(2), turned, rng.normal(size=(2, 2)))
    )
    np.testing.assert_allclose(second.X, first.X, rtol=1e-5)
    np.testing.assert_allclose(stretched.X, first.X, rtol=1e-4)
    before, after = (np.array([found.layers[f"direction{i}"][0] for i in (1, 2)]) for found in (first, second))
    np.testing.assert_allclose(turned @ after, before, atol=1e-5)


def test_some_genes_and_blocks(decodable: AnnData, monkeypatch) -> None:
    z = places(decodable)
    everything = scgeoae.get.gene_gradient(decodable, z)
    monkeypatch.setattr("scgeoae.core.rows.BLOCK_ENTRIES", 3 * 765)
    some = scgeoae.get.gene_gradient(decodable, z, genes=["NKG7", "CD79A"])
    assert some.var_names.tolist() == ["NKG7", "CD79A"]
    np.testing.assert_allclose(some.X, everything[:, some.var_names].X, rtol=1e-5, atol=1e-6)
    assert scgeoae.get.gene_gradient(decodable, np.zeros((0, 2))).shape == (0, everything.n_vars)
    assert everything.obs.columns.tolist() == ["map1", "map2", "occupied"]


@pytest.mark.parametrize("d", [1, 3])
def test_other_dimensions(d: int, rng: np.random.Generator) -> None:
    found = scgeoae.get.gene_gradient(linear(rng.normal(size=(5, d)), rng.normal(size=(5, 4))), np.zeros((2, d)))
    assert list(found.layers) == [f"direction{i + 1}" for i in range(d)]


def test_a_model_without_cells(decodable: AnnData, tmp_path: Path) -> None:
    scgeoae.write_model(decodable, tmp_path / "model")
    alone = scgeoae.get.gene_gradient(scgeoae.read_model(tmp_path / "model"), places(decodable))
    np.testing.assert_array_equal(alone.X, scgeoae.get.gene_gradient(decodable, places(decodable)).X)


def test_errors(mapped: AnnData, decodable: AnnData) -> None:
    with pytest.raises(ValueError, match=r"Run `scgeoae\.tl\.gene_readout\(adata, key='geoae'\)`"):
        scgeoae.get.gene_gradient(mapped, np.zeros((1, 2)))
    with pytest.raises(KeyError, match=r"Did not find \['nothing'\] among the \d+ genes"):
        scgeoae.get.gene_gradient(decodable, np.zeros((1, 2)), genes=["NKG7", "nothing"])
    with pytest.raises(ValueError, match="points must be finite"):
        scgeoae.get.gene_gradient(decodable, np.zeros((1, 3)))
    with pytest.raises(TypeError, match="an AnnData or a model"):
        scgeoae.get.gene_gradient("model", np.zeros((1, 2)))
    with pytest.raises(KeyError, match="results there"):
        scgeoae.get.gene_gradient(ad.AnnData(np.zeros((2, 2))), np.zeros((1, 2)))
