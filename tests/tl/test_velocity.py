"""Velocities on the map: differences of the encoder, a linear model, genes through the projection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
import torch
from helpers import QUICK
from matplotlib.quiver import Quiver
from scipy import sparse

import scgeoae
from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.evaluation import map_velocity
from scgeoae.inputs import DenseRows

if TYPE_CHECKING:
    from io import StringIO
    from pathlib import Path

    from anndata import AnnData

FIELDS = ("velocity_geoae", "geoae_velocity_normal")


@pytest.fixture(scope="module")
def _projected_once() -> AnnData:
    """Log-normalized counts, scaled, with PCA and a map, and random velocities of the genes before scaling."""
    rng = np.random.default_rng(0)
    rates = rng.gamma(2, size=(4, 30))[rng.integers(4, size=300)]
    adata = ad.AnnData(np.log1p(rng.poisson(3 * rates)).astype(np.float32))
    adata.var_names = [f"gene{i}" for i in range(30)]
    adata.layers["log"] = adata.X.copy()
    sc.pp.scale(adata)
    sc.pp.pca(adata, n_comps=10)
    scgeoae.tl.geometric_ae(adata, **QUICK)
    adata.layers["velocity"] = rng.normal(size=adata.shape)
    return adata


@pytest.fixture
def projected(_projected_once: AnnData) -> AnnData:
    return _projected_once.copy()


def of_components(adata: AnnData, v: np.ndarray) -> np.ndarray:
    """Velocities ``v`` (n, g) of expression before scaling as velocities of the components."""
    return v / adata.var["std"].to_numpy() @ adata.varm["PCs"].astype(float)


def differences(adata: AnnData, v: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Finite differences of the encoder in the direction ``v`` (n, D)."""
    model, x = scgeoae.get.model(adata).autoencoder.double(), adata.obsm["X_pca"].astype(float)
    with torch.no_grad():
        ahead, behind = (model.encode(torch.from_numpy(x + sign * step * v)).numpy() for sign in (1, -1))
    return (ahead - behind) / (2 * step)


def test_finite_differences_of_the_encoder(projected: AnnData) -> None:
    v = of_components(projected, projected.layers["velocity"])
    scgeoae.tl.velocity(projected)
    expected = differences(projected, v)
    np.testing.assert_allclose(projected.obsm[FIELDS[0]], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert projected.obsm[FIELDS[0]].dtype == np.float32
    projected.obsm["of_components"] = v
    again = scgeoae.tl.velocity(projected, "of_components", copy=True)
    for of_genes, of_pcs in ((a.obsm[FIELDS[0]], a.obs[FIELDS[1]]) for a in (projected, again)):
        np.testing.assert_allclose(of_genes, projected.obsm[FIELDS[0]], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(of_pcs, projected.obs[FIELDS[1]], rtol=1e-4)


def test_the_normal_share(projected: AnnData) -> None:
    scgeoae.tl.velocity(projected)
    v = of_components(projected, projected.layers["velocity"])
    model = scgeoae.get.model(projected).autoencoder.double()
    with torch.no_grad():
        _, tangents = model.pushforward(model.encode(torch.tensor(projected.obsm["X_pca"]).double()))
    for cell in (0, 7, 299):
        q = np.linalg.qr(tangents[:, cell].T.numpy())[0]
        rest = v[cell] - q @ (q.T @ v[cell])
        share = np.linalg.norm(rest) / np.linalg.norm(v[cell])
        assert projected.obs[FIELDS[1]].iloc[cell] == pytest.approx(share, rel=1e-6)
    projected.obsm["tangent"], projected.obsm["normal"] = tangents[0].numpy(), rest_of(v, tangents.numpy())
    assert scgeoae.tl.velocity(projected, "tangent", copy=True).obs[FIELDS[1]].max() < 1e-6
    assert scgeoae.tl.velocity(projected, "normal", copy=True).obs[FIELDS[1]].min() > 1 - 1e-6


def rest_of(v: np.ndarray, tangents: np.ndarray) -> np.ndarray:
    """Parts of ``v`` (n, D) normal to ``tangents`` (d, n, D)."""
    coefficients = np.stack(
        [np.linalg.lstsq(t.T, one, rcond=None)[0] for t, one in zip(tangents.transpose(1, 0, 2), v, strict=True)]
    )
    return v - np.einsum("nd,dnD->nD", coefficients, tangents)


@pytest.mark.parametrize("hidden_dims", [(), (3,)], ids=["narrow", "wide"])
def test_a_linear_model(rng: np.random.Generator, hidden_dims: tuple[int, ...]) -> None:
    network = GeometricAutoencoder(6, hidden_dims=hidden_dims, generator=torch.Generator().manual_seed(0))
    for part in (network.encoder, network.decoder):
        part.activation = part.activation._replace(value=lambda x: (x, torch.ones_like(x)))
    network.observation.scale.fill_(2.5)
    network.observation.mean.normal_(generator=torch.Generator().manual_seed(1))
    x, v = rng.normal(size=(50, 6)).astype(np.float32), rng.normal(size=(50, 6))
    on_map, share = map_velocity(network, DenseRows(x, torch.device("cpu")), lambda rows: v[rows], 6)
    e, f = np.eye(6) / 2.5, 2.5 * np.eye(2)
    for layer in network.encoder.layers:
        e = layer.weight.detach().double().numpy() @ e
    for layer in network.decoder.layers:
        f = layer.weight.detach().double().numpy() @ f
    np.testing.assert_allclose(on_map, v @ e.T, rtol=1e-10)
    rest = v - v @ f @ np.linalg.pinv(f).T.T
    np.testing.assert_allclose(share, np.linalg.norm(rest, axis=1) / np.linalg.norm(v, axis=1), rtol=1e-9)


def test_missing_velocities_count_as_zero(projected: AnnData) -> None:
    v = projected.layers["velocity"]
    v[:, 10:] = 0
    v[5] = 0
    expected = scgeoae.tl.velocity(projected, copy=True)
    v[:, 10:] = np.nan  # as scvelo writes it
    v[5] = np.nan
    projected.layers["sparse"] = sparse.csr_matrix(np.nan_to_num(v))
    for name in ("velocity", "sparse"):
        found = scgeoae.tl.velocity(projected, name, copy=True)
        np.testing.assert_array_equal(found.obsm[FIELDS[0]], expected.obsm[FIELDS[0]])
        np.testing.assert_array_equal(found.obs[FIELDS[1]], expected.obs[FIELDS[1]])
    assert (found.obsm[FIELDS[0]][5] == 0).all()
    assert np.isnan(found.obs[FIELDS[1]].iloc[5])
    assert found.obs[FIELDS[1]].notna().sum() == 299


def test_missing_genes_of_a_query(projected: AnnData) -> None:
    whole = projected[:50].copy()
    whole.X = whole.layers["log"].copy()
    fewer = whole[:, :22].copy()
    whole.X[:, 22:] = projected.var["mean"][22:]
    whole.layers["velocity"][:, 22:] = 0
    for query in (whole, fewer):
        scgeoae.tl.map_cells(query, projected)
        scgeoae.tl.velocity(query)
    np.testing.assert_allclose(fewer.obsm[FIELDS[0]], whole.obsm[FIELDS[0]], rtol=1e-3, atol=1e-4)


def test_no_velocity_at_all(projected: AnnData, log: StringIO) -> None:
    projected.layers["velocity"][:] = np.nan
    scgeoae.tl.velocity(projected)
    assert "No cell has a velocity: 'velocity' is 0 or missing" in log.getvalue()
    assert (projected.obsm[FIELDS[0]] == 0).all()


def test_blocks_do_not_matter(projected: AnnData, monkeypatch) -> None:
    whole = scgeoae.tl.velocity(projected, copy=True)
    monkeypatch.setattr("scgeoae.core.rows.BLOCK_ENTRIES", 7 * 32)
    parts = scgeoae.tl.velocity(projected, copy=True)
    np.testing.assert_allclose(parts.obsm[FIELDS[0]], whole.obsm[FIELDS[0]], rtol=1e-6)
    np.testing.assert_allclose(parts.obs[FIELDS[1]], whole.obs[FIELDS[1]], rtol=1e-9)


def test_mapped_cells_move_in_the_space_of_the_reference(projected: AnnData) -> None:
    query = projected[:40].copy()
    query.X = query.layers["log"]
    query.obsm["X_pca"] = -query.obsm["X_pca"]  # a PCA of its own
    scgeoae.tl.map_cells(query, projected)
    scgeoae.tl.velocity(query)
    scgeoae.tl.velocity(projected)
    np.testing.assert_allclose(query.obsm[FIELDS[0]], projected.obsm[FIELDS[0]][:40], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("d", [1, 3])
def test_maps_of_genes_and_of_other_dimensions(projected: AnnData, d: int) -> None:
    scgeoae.tl.geometric_ae(projected, layer="log", n_components=d, key_added="genes", **QUICK)
    scgeoae.tl.velocity(projected, key="genes")
    model = scgeoae.get.model(projected, key="genes").autoencoder.double()
    x, v = (torch.from_numpy(projected.layers[name].astype(float)) for name in ("log", "velocity"))
    with torch.no_grad():
        expected = (model.encode(x + 1e-5 * v) - model.encode(x - 1e-5 * v)).numpy() / 2e-5
    found = projected.obsm["velocity_genes"]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert projected.obs["genes_velocity_normal"].between(0, 1).all()


def test_copies_and_files(projected: AnnData, tmp_path: Path) -> None:
    copy = scgeoae.tl.velocity(projected, copy=True)
    assert FIELDS[0] not in projected.obsm
    assert FIELDS[1] not in projected.obs
    copy.write_h5ad(tmp_path / "cells.h5ad")
    back = ad.read_h5ad(tmp_path / "cells.h5ad")
    np.testing.assert_array_equal(back.obsm[FIELDS[0]], copy.obsm[FIELDS[0]])


def test_scvelo_is_told(projected: AnnData) -> None:
    """Its plots recompute the arrows of maps that it does not list, and read the others from `obsm`."""
    projected.uns["velocity_params"] = {"mode": "stochastic", "embeddings": np.array(["umap"], dtype=object)}
    for _ in range(2):
        scgeoae.tl.velocity(projected)
        assert projected.uns["velocity_params"] == {"mode": "stochastic", "embeddings": ["umap", "geoae"]}


@pytest.mark.filterwarnings("ignore")  # of scvelo's use of other packages
def test_scvelo_draws_the_arrows(projected: AnnData) -> None:
    scvelo = pytest.importorskip("scvelo")
    projected.uns["velocity_params"] = {"mode": "stochastic"}
    scgeoae.tl.velocity(projected)
    ax = scvelo.pl.velocity_embedding(projected, basis="geoae", show=False)
    (arrows,) = (drawn for drawn in ax.collections if isinstance(drawn, Quiver))
    np.testing.assert_array_equal(np.column_stack([arrows.U, arrows.V]), projected.obsm[FIELDS[0]])


def test_bad_input(projected: AnnData, mapped: AnnData) -> None:
    velocity = scgeoae.tl.velocity
    with pytest.raises(KeyError, match=r"Did not find 'speed' in \.layers or \.obsm: \.layers holds \['log', 'velo"):
        velocity(projected, "speed")
    with pytest.raises(KeyError, match="results there"):
        velocity(projected, key="other")
    projected.obsm["velocity"] = projected.obsm["X_pca"]
    with pytest.raises(ValueError, match=r"Both \.layers and \.obsm hold 'velocity'"):
        velocity(projected)
    projected.obsm["velocity"] = projected.obsm["X_pca"][:, :4]
    del projected.layers["velocity"]
    with pytest.raises(ValueError, match=r"obsm\['velocity'\] has 4 columns; the input of the model has 10"):
        velocity(projected)
    projected.layers["infinite"] = np.full(projected.shape, np.inf)
    with pytest.raises(ValueError, match=r"layers\['infinite'\] holds infinite values"):
        velocity(projected, "infinite")
    assert FIELDS[0] not in projected.obsm
    mapped.layers["velocity"] = mapped.X
    with pytest.raises(ValueError, match=r"does not know how genes became its input.*space of 'X_pca'"):
        velocity(mapped)
    scgeoae.tl.fit_decoder(mapped, "umap", **QUICK)
    with pytest.raises(ValueError, match=r"made elsewhere.*not where they move"):
        velocity(mapped, key="geoae_umap")
    other = projected[:, :5].copy()
    other.var_names = list("abcde")
    with pytest.raises(ValueError, match="holds none of the 30 genes"):
        velocity(other, "infinite")
