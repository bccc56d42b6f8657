"""What must not change a result: order of genes, signs of components, kind of matrix, a far cell, equal cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
import torch
from hard_use.tools import BRIEF, cells, check_results, frozen, train
from scipy import sparse

import scgeoae
from scgeoae import get, metrics, pl, tl
from scgeoae.core import fit as core_fit
from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.region import occupied_region

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

ORDER = np.array([3, 0, 5, 1, 4, 2])
SIGNS = np.array([1, -1, -1, 1, -1, 1], dtype=np.float32)


def like(z: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Equal but for mirrored axes: a component has no sign."""
    z = z * np.sign((z * expected).sum(0))
    np.testing.assert_allclose(z, expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("change", [lambda x: x[:, ORDER], lambda x: x * SIGNS], ids=["order", "signs"])
def test_a_training_knows_neither_order_nor_signs_of_features(change: Any, monkeypatch) -> None:
    """Given the same weights at the start and no noise, which are drawn feature by feature, the map is the same.

    The start is random here, because that from the components depends on their signs, which are arbitrary.
    """

    class Changed(GeometricAutoencoder):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            with torch.no_grad():
                for weight in (self.encoder.first.weight, self.decoder.last.weight.t(), self.decoder.last.bias[None]):
                    weight.copy_(torch.from_numpy(np.ascontiguousarray(change(weight.numpy()))))

    plain, changed = cells(300), cells(300)
    changed.X = np.ascontiguousarray(change(changed.X))
    train(plain, n_steps=20, noise=0, init="random")
    monkeypatch.setattr(core_fit, "GeometricAutoencoder", Changed)
    train(changed, n_steps=20, noise=0, init="random")
    like(changed.obsm["X_geoae"], plain.obsm["X_geoae"], 1e-3)
    np.testing.assert_allclose(changed.obs["geoae_det"], plain.obs["geoae_det"], rtol=1e-2)


def test_order_of_genes_of_a_reference_and_of_a_query() -> None:
    """Components and their map stay; so do the places, the novelty and the labels of new cells."""
    plain = cells(300)
    sc.pp.pca(plain, n_comps=4)
    train(plain, use_rep="X_pca")
    permuted = plain[:, ORDER].copy()
    train(permuted, use_rep="X_pca")
    np.testing.assert_array_equal(permuted.obsm["X_geoae"], plain.obsm["X_geoae"])
    decoded, again = (get.decode(adata, np.eye(2), space="genes") for adata in (plain, permuted))
    np.testing.assert_allclose(again[:, decoded.var_names].X, decoded.X, rtol=1e-5, atol=1e-6)
    expected = cells(20, seed=1)
    tl.map_cells(expected, plain, obs="kind")
    for reference, genes in ((plain, ORDER), (permuted, ORDER), (permuted, np.arange(6))):
        query = cells(20, seed=1)[:, genes].copy()
        tl.map_cells(query, reference, obs="kind")
        np.testing.assert_allclose(query.obsm["X_geoae"], expected.obsm["X_geoae"], atol=1e-4)
        np.testing.assert_allclose(query.obs["geoae_novelty"], expected.obs["geoae_novelty"], rtol=1e-4)
        assert query.obs["geoae_outside"].equals(expected.obs["geoae_outside"])


def test_signs_of_components_do_not_matter_to_measures_and_decoders() -> None:
    plain = cells(300)
    sc.pp.pca(plain, n_comps=4)
    flipped = plain.copy()
    flipped.obsm["X_pca"] = flipped.obsm["X_pca"] * SIGNS[:4]
    flipped.varm["PCs"] = flipped.varm["PCs"] * SIGNS[:4]
    tables = []
    for adata in (plain, flipped):
        adata.obsm["X_given"] = cells(300).X[:, :2].copy()
        tables.append(metrics.embedding_quality(adata, ["given"], k=5))
    np.testing.assert_allclose(tables[0].to_numpy(float), tables[1].to_numpy(float), rtol=1e-4, equal_nan=True)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
def test_sparse_equals_dense(kind: Any) -> None:
    """All tools that read expression."""

    def made(convert: Any) -> list[np.ndarray]:
        adata = cells(120)
        adata.X = np.where(np.abs(adata.X) < 0.3, 0, adata.X)
        adata.layers["velocity"] = adata.X[::-1] - adata.X
        query = adata[::3].copy()
        for each in (adata, query):
            each.X = convert(each.X)
            each.layers["velocity"] = convert(each.layers["velocity"])
        train(adata)
        tl.velocity(adata)
        adata.obsm["X_given"] = adata.obsm["X_geoae"] ** 3
        tl.fit_decoder(adata, "given", use_rep="X", n_steps=8, hidden_dims=(8,))
        tl.map_cells(query, adata, obs="kind")
        measured = metrics.embedding_quality(adata, ["geoae"], use_rep="X", k=5).to_numpy(float)
        columns = [adata.obs[name].to_numpy() for name in adata.obs if name != "kind"]
        return [*map(np.asarray, adata.obsm.values()), *columns, query.obsm["X_geoae"], measured]

    for dense, other in zip(made(np.asarray), made(kind), strict=True):
        np.testing.assert_allclose(other, dense, rtol=1e-5, atol=1e-6)


def test_ten_thousand_identical_cells() -> None:
    """Alone they are refused before any training; among others they are at one place, and nothing takes long."""
    same = np.repeat(cells(1).X, 10_000, 0)
    alone = ad.AnnData(same)
    before = frozen(alone)
    with pytest.raises(ValueError, match="All cells are equal"):
        train(alone)
    assert frozen(alone) == before
    adata = ad.AnnData(np.vstack([same, cells(300, seed=1).X]))
    train(adata)
    check_results(adata)
    z = adata.obsm["X_geoae"][:10_000]
    assert np.ptp(z, axis=0).max() < 1e-5 * np.abs(adata.obsm["X_geoae"]).max()
    table = metrics.embedding_quality(adata, ["geoae"], use_rep="X", k=5, max_cells=500)
    assert table.notna().any().any()
    pl.indicatrix(adata, show=False)


def test_a_far_cell_does_not_squeeze_the_frame() -> None:
    """Neither the frame of a plot nor the occupied region: both hold the other cells as if it were not there."""
    z = cells(300).X[:, :2].astype(float)
    usual, with_far = occupied_region(z), occupied_region(np.vstack([z, [[1e4, -1e4]]]))
    np.testing.assert_allclose(with_far.extent, usual.extent, atol=0.1 * np.ptp(usual.extent))
    area = usual.tile_area * usual.mask.sum()
    assert with_far.tile_area * with_far.mask.sum() == pytest.approx(area, rel=0.1)
    limits = []
    for place in (z[0], [1e4, -1e4]):
        adata = cells(300)
        adata.obsm["X_given"] = np.vstack([place, z[1:]])
        tl.fit_decoder(adata, "given", use_rep="X", n_steps=8, hidden_dims=(8,))
        ax = pl.det_heatmap(adata, key="geoae_given", show=False)
        limits.append([*ax.get_xlim(), *ax.get_ylim()])
    np.testing.assert_allclose(limits[1], limits[0], atol=0.25 * np.ptp(limits[0]))  # a margin wider at most


READERS: dict[str, Any] = {
    "get.model": lambda adata, _: get.model(adata),
    "get.metric": lambda adata, _: get.metric(adata),
    "get.coordinates": lambda adata, _: get.coordinates(adata),
    "get.nonlinearity": lambda adata, _: get.nonlinearity(adata, radius=1.0),
    "get.decode": lambda adata, _: get.decode(adata, np.eye(2), space="genes"),
    "get.geodesic": lambda adata, _: get.geodesic(adata, "a", "b", groupby="kind", region="anywhere"),
    "metrics.embedding_quality": lambda adata, _: metrics.embedding_quality(adata, ["geoae"], labels="kind", k=5),
    "write_model": lambda adata, folder: scgeoae.write_model(adata, folder / "model", obs="kind"),
    "pl.indicatrix": lambda adata, _: pl.indicatrix(adata, color="kind", show=False),
    "pl.det_heatmap": lambda adata, _: pl.det_heatmap(adata, field=True, show=False),
    "pl.history": lambda adata, _: pl.history(adata, show=False),
    "pl.explorer": lambda adata, folder: pl.explorer(adata, folder / "page.html", color="kind"),
    "tl.map_cells, reference": lambda adata, _: tl.map_cells(cells(9), adata, obs="kind"),
    "copy=True": lambda adata, _: [
        tl.geometric_ae(adata, copy=True, **BRIEF),
        tl.cluster_areas(adata, "kind", copy=True),
        tl.cluster_distances(adata, "kind", copy=True),
        tl.ensemble(adata, n_models=2, copy=True),
        tl.velocity(adata, "velocity", copy=True),
    ],
}


@pytest.fixture(scope="module")
def full() -> AnnData:
    """Cells with a field in every slot."""
    adata = cells(80)
    adata.raw = adata.copy()
    adata.layers["velocity"] = adata.X[::-1] - adata.X
    sc.pp.pca(adata, n_comps=4)
    sc.pp.neighbors(adata, n_neighbors=5)
    adata.uns["kind_colors"] = np.array(["#ff0000", "#0000ff"], dtype=object)
    train(adata, use_rep="X_pca")
    return adata


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_whatever_reads_changes_nothing(reader: str, full: AnnData, tmp_path: Path) -> None:
    adata = full.copy()
    before = frozen(adata)
    READERS[reader](adata, tmp_path)
    assert frozen(adata) == before
