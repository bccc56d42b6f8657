"""New cells on a map: placed as the training cells would be, flagged or refused where they cannot be."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from helpers import QUICK
from scipy import sparse
from scipy.optimize import minimize

import scgeoae
from scgeoae.fingerprint import N_SLOW_CELLS
from scgeoae.inputs import Matrix, ValueRange
from scgeoae.reference.neighbors import geometric_median
from scgeoae.reference.novelty import Novelty

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import StringIO
    from pathlib import Path

    from anndata import AnnData

COLUMNS = ["geoae_det", "geoae_anisotropy", "geoae_reconstruction_error"]
N_PCS = 20


@pytest.fixture(scope="module")
def _cells() -> AnnData:
    """700 blood cells, 300 genes, log-normalised, dense."""
    shipped = sc.datasets.pbmc68k_reduced()
    adata = shipped.raw.to_adata()[:, shipped.var["dispersions"].argsort()[-300:].sort_values()].copy()
    adata.X = np.asarray(adata.X.todense() if sparse.issparse(adata.X) else adata.X, dtype=np.float32)
    for name in ("X_pca", "X_umap"):
        del adata.obsm[name]
    adata.uns.clear()
    return adata


@pytest.fixture
def cells(_cells: AnnData) -> AnnData:
    return _cells.copy()


def trained(adata: AnnData, **arguments: object) -> AnnData:
    torch.set_num_threads(1)  # numba, which scanpy uses, has raised it
    scgeoae.tl.geometric_ae(adata, **{**QUICK, "n_steps": 80, **arguments})
    return adata


def on_log(adata: AnnData) -> AnnData:
    sc.pp.pca(adata, n_comps=N_PCS)
    return trained(adata)


def on_scaled(adata: AnnData, max_value: float | None = 3) -> AnnData:
    sc.pp.scale(adata, max_value=max_value)
    sc.pp.pca(adata, n_comps=N_PCS)
    return trained(adata)


def on_genes(adata: AnnData) -> AnnData:
    return trained(adata, use_rep="X")


def on_scaled_genes(adata: AnnData) -> AnnData:
    sc.pp.scale(adata, max_value=3)
    return trained(adata, use_rep="X")


def on_layer(adata: AnnData) -> AnnData:
    adata.layers["log"] = sparse.csr_matrix(adata.X)
    adata.X = None
    sc.pp.pca(adata, n_comps=N_PCS, layer="log")
    return trained(adata)


def on_mask(adata: AnnData) -> AnnData:
    adata.var["chosen"] = np.arange(adata.n_vars) % 3 == 0
    sc.pp.pca(adata, n_comps=N_PCS, mask_var="chosen")
    return trained(adata, n_pcs=10)


def on_key(adata: AnnData) -> AnnData:
    """As with scanpy's preset ``ScanpyV2Preview``."""
    adata.layers["log"], adata.X = adata.X, np.zeros_like(adata.X)
    sc.pp.pca(adata, n_comps=N_PCS, layer="log", key_added="pca")
    return trained(adata)


KINDS = [on_log, on_scaled, on_genes, on_scaled_genes, on_layer, on_mask, on_key]


@pytest.fixture(scope="module")
def references(_cells: AnnData) -> dict[Callable, AnnData]:
    return {kind: kind(_cells.copy()) for kind in KINDS}


@pytest.fixture
def reference(references: dict[Callable, AnnData]) -> AnnData:
    return references[on_log].copy()


def place(query: AnnData, reference: object, **arguments: object) -> np.ndarray:
    return scgeoae.tl.map_cells(query, reference, copy=True, **arguments).obsm["X_geoae"]


def assert_same_place(z: np.ndarray, expected: np.ndarray) -> None:
    """To 1e-5 of the size of the map."""
    np.testing.assert_allclose(z, expected, rtol=0, atol=1e-5 * np.ptp(expected, axis=0).max())


@pytest.mark.parametrize("kind", KINDS)
def test_training_cells_come_back(references: dict, kind: Callable) -> None:
    reference = references[kind]
    mapped = scgeoae.tl.map_cells(reference, reference, copy=True)
    assert_same_place(mapped.obsm["X_geoae"], reference.obsm["X_geoae"])
    for name in COLUMNS:
        np.testing.assert_allclose(mapped.obs[name], reference.obs[name], rtol=1e-3)
    assert mapped.obsm["X_geoae"].dtype == np.float32


@pytest.mark.parametrize("kind", [on_log, on_scaled, on_genes, on_scaled_genes, on_mask])
def test_log_normalised_cells_come_back(references: dict, cells: AnnData, kind: Callable) -> None:
    """No matter how the reference was scaled, the query is log-normalised expression."""
    assert_same_place(place(cells, references[kind]), references[kind].obsm["X_geoae"])


def test_the_layer_of_the_pca_is_read(references: dict, cells: AnnData) -> None:
    reference = references[on_layer]
    assert scgeoae.get.model(reference).input.projection.layer == "log"
    with pytest.raises(KeyError, match=r"Did not find \.layers"):
        place(cells, reference)
    cells.layers["log"] = cells.X
    assert_same_place(place(cells, reference), reference.obsm["X_geoae"])


def test_only_genes_with_a_loading_are_stored(references: dict, cells: AnnData) -> None:
    projection = scgeoae.get.model(references[on_mask]).input.projection
    assert projection.genes.tolist() == cells.var_names[::3].tolist()
    assert projection.loadings.shape == (100, 10)
    assert_same_place(place(cells[:, ::3].copy(), references[on_mask]), references[on_mask].obsm["X_geoae"])


def test_missing_loadings_count_as_zero(cells: AnnData, references: dict) -> None:
    reference = references[on_mask].copy()
    reference.varm["PCs"][~reference.var["chosen"]] = np.nan
    assert len(scgeoae.get.model(trained(reference, n_pcs=10)).input.projection.genes) == 100


@pytest.mark.parametrize("kind", [on_scaled, on_scaled_genes])
def test_halves_scaled_apart(cells: AnnData, kind: Callable) -> None:
    """A query scaled by itself is refused; scaled with the reference's numbers, or not at all, it is placed alike."""
    half, query = cells[::2].copy(), cells[1::2].copy()
    reference = kind(half)
    right = place(query, reference)
    by_itself = query.copy()
    sc.pp.scale(by_itself, max_value=3)
    with pytest.raises(ValueError, match="Pass log-normalized values"):
        scgeoae.tl.map_cells(by_itself, reference)
    assert "X_geoae" not in by_itself.obsm
    assert not by_itself.uns
    with pytest.raises(ValueError, match="Pass log-normalized values"):  # also without its own numbers
        place(ad.AnnData(by_itself.X, var=by_itself.var[[]]), reference)
    with pytest.raises(ValueError, match="Pass log-normalized values"):
        place(by_itself[:1].copy(), reference)
    with_reference = query.copy()
    mean, std = reference.var["mean"].to_numpy(), reference.var["std"].to_numpy()
    with_reference.X = np.clip((query.X - mean) / std, -3, 3)
    assert_same_place(place(with_reference, reference), right)
    np.testing.assert_allclose(place(with_reference[:1].copy(), reference), right[:1], atol=1e-5 * np.ptp(right))


def test_the_scaled_trap_is_one(cells: AnnData) -> None:
    """Without the refusal the cells would land in the wrong place: the oracle is the scaling by hand."""
    reference = on_scaled(cells[::2].copy(), max_value=None)
    query = cells[1::2].copy()
    right = place(query, reference)
    model = scgeoae.get.model(reference)
    assert model.input.projection.scaling.max_value is None
    sc.pp.scale(query)
    wrong = query.X @ reference.varm["PCs"] - model.input.projection.offset
    with torch.no_grad():
        wrong = model.encode(torch.tensor(wrong, dtype=torch.float32)).numpy()
    assert np.abs(wrong - right).max() > 0.02 * np.ptp(right)


def test_both_scaled_together(cells: AnnData) -> None:
    sc.pp.scale(cells, max_value=3)
    reference, query = cells[::2].copy(), cells[1::2].copy()
    sc.pp.pca(reference, n_comps=N_PCS)
    trained(reference)
    expected = query.X @ reference.varm["PCs"] - scgeoae.get.model(reference).input.projection.offset
    with torch.no_grad():
        expected = scgeoae.get.model(reference).encode(torch.tensor(expected, dtype=torch.float32)).numpy()
    assert_same_place(place(query, reference), expected)


def test_scaled_data_without_zeros_go_by_the_stored_numbers(rng: np.random.Generator) -> None:
    reference = ad.AnnData(rng.normal(5, 1, (200, 12)).astype(np.float32))
    query = reference[::2].copy()
    sc.pp.scale(reference)
    trained(reference, use_rep="X")
    assert_same_place(place(reference, reference), reference.obsm["X_geoae"])
    assert_same_place(place(query, reference), reference.obsm["X_geoae"][::2])
    sc.pp.scale(query)
    with pytest.raises(ValueError, match="Pass unscaled values; they are scaled as the reference was"):
        place(query, reference)


def test_scaling_without_centring_stores_no_projection(cells: AnnData) -> None:
    sc.pp.scale(cells, zero_center=False)
    sc.pp.pca(cells, n_comps=N_PCS)
    assert scgeoae.get.model(trained(cells)).input.projection is None


def test_numbers_of_another_layer_are_not_taken_for_the_scaling_of_x(cells: AnnData) -> None:
    cells.layers["scaled"] = cells.X.copy()
    sc.pp.scale(cells, layer="scaled")
    on_log(cells)
    projection = scgeoae.get.model(cells).input.projection
    assert projection is not None
    assert projection.scaling is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sample", [20_000, 200])
def test_training_reads_the_genes_once(cells: AnnData, kind: Callable, sample: int, monkeypatch) -> None:
    """For the recipe of its input, beside what it trains on."""
    times_read = np.zeros(cells.n_obs, dtype=int)
    read = Matrix.read

    def counted(self: Matrix, rows: slice = slice(None)) -> object:
        if not self.source.startswith("obsm"):
            times_read[rows] += 1
        return read(self, rows)

    monkeypatch.setattr(Matrix, "read", counted)
    monkeypatch.setattr("scgeoae.reference.recipe.SAMPLE", sample)
    monkeypatch.setattr("scgeoae.inputs.matrix.RUN", 50)
    kind(cells)
    times_read -= kind in (on_genes, on_scaled_genes)  # all cells at once, to train on
    assert times_read.max() == 1
    assert times_read.sum() == min(sample, cells.n_obs)


@pytest.mark.parametrize("max_value", [None, 3])
def test_range_before_scaling(cells: AnnData, max_value: float | None) -> None:
    """The oracle undoes the scaling of every value."""
    reference = on_scaled(cells, max_value)
    model = scgeoae.get.model(reference)
    before = reference.X * reference.var["std"].to_numpy() + reference.var["mean"].to_numpy()
    assert model.input.value_range == ValueRange(before.min(), before.max(), whole=False)
    assert model.input.projection.scaling.max_value == max_value


def test_range_of_the_columns_in_use(cells: AnnData, rng: np.random.Generator, tmp_path: Path) -> None:
    """A memory map is not cut to them."""
    values = rng.normal(size=(cells.n_obs, 6)).astype(np.float32)
    values[:, 4:] *= 100
    np.save(tmp_path / "values.npy", values)
    cells.obsm["X_other"] = np.load(tmp_path / "values.npy", mmap_mode="r")
    model = scgeoae.get.model(trained(cells, use_rep="X_other", n_pcs=4))
    assert model.input.value_range == ValueRange(values[:, :4].min(), values[:, :4].max(), whole=False)


@pytest.mark.parametrize("kind", [on_log, on_scaled, on_genes])
def test_one_by_one_equals_all_at_once(references: dict, cells: AnnData, kind: Callable) -> None:
    at_once = scgeoae.tl.map_cells(cells[:12].copy(), references[kind], copy=True)
    singles = ad.concat([scgeoae.tl.map_cells(cells[i].copy(), references[kind], copy=True) for i in range(12)])
    assert_same_place(singles.obsm["X_geoae"], at_once.obsm["X_geoae"])
    for name in COLUMNS:
        np.testing.assert_allclose(singles.obs[name], at_once.obs[name], rtol=1e-4)
    assert singles.obs["geoae_outside"].tolist() == at_once.obs["geoae_outside"].tolist()


@pytest.mark.parametrize("kind", [on_log, on_scaled, on_layer, on_mask])
def test_novelty_of_one_by_one_equals_all_at_once(references: dict, cells: AnnData, kind: Callable) -> None:
    cells.layers["log"] = cells.X
    at_once = scgeoae.tl.map_cells(cells[:12].copy(), references[kind], copy=True)
    singles = ad.concat([scgeoae.tl.map_cells(cells[i].copy(), references[kind], copy=True) for i in range(12)])
    np.testing.assert_allclose(singles.obs["geoae_novelty"], at_once.obs["geoae_novelty"], rtol=1e-9)
    assert singles.obs["geoae_novel"].tolist() == at_once.obs["geoae_novel"].tolist()


@pytest.mark.parametrize("kind", [on_log, on_scaled])
def test_novelty_by_its_definition(references: dict, cells: AnnData, kind: Callable) -> None:
    """The oracle reconstructs the genes by the PCA of scanpy, and takes the three largest residuals of 300."""
    reference = references[kind]
    novelty = scgeoae.get.model(reference).input.novelty
    x = np.asarray(reference.X, dtype=float)
    residual = x - x.mean(0) - reference.obsm["X_pca"] @ reference.varm["PCs"].T
    if kind is on_log:
        residual /= x.std(0)
    excess = np.sort(residual, axis=1)[:, -3:].mean(1)
    expected = np.exp(novelty.intercept) * (cells.X > 0).mean(1) ** novelty.slope
    mapped = scgeoae.tl.map_cells(cells, reference, copy=True)
    np.testing.assert_allclose(mapped.obs["geoae_novelty"], excess / expected, rtol=1e-3)
    assert mapped.obs["geoae_novel"].tolist() == (mapped.obs["geoae_novelty"] > novelty.threshold).tolist()
    assert mapped.obs["geoae_novel"].dtype == bool
    assert mapped.obs["geoae_novelty"].median() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("where", ["CSR", "CSC", "backed", "backed CSR", "dask", "scaled", "read before", "zarr"])
@pytest.mark.parametrize("kind", [on_log, on_scaled])
@pytest.mark.filterwarnings("ignore::UserWarning:zarr", "ignore:.*zarr:UserWarning", "ignore::FutureWarning")
def test_novelty_does_not_depend_on_where_cells_lie(
    references: dict, cells: AnnData, tmp_path: Path, kind: Callable, where: str
) -> None:
    reference = references[kind].copy()
    expected = scgeoae.tl.map_cells(cells, reference, copy=True).obs["geoae_novelty"]
    if where == "scaled":
        cells = ad.AnnData(reference.X, cells.obs, cells.var)
    elif where == "dask":
        cells.X = pytest.importorskip("dask.array").from_array(cells.X, chunks=(90, 70))
    elif where == "read before":  # a reference that was written and read again
        reference.write_h5ad(tmp_path / "reference.h5ad")
        reference = ad.read_h5ad(tmp_path / "reference.h5ad")
    elif where == "zarr":
        reference.write_zarr(tmp_path / "reference.zarr")
        reference = ad.read_zarr(tmp_path / "reference.zarr")
    elif where.startswith("C"):
        cells.X = sparse.csr_matrix(cells.X) if where == "CSR" else sparse.csc_matrix(cells.X)
    else:
        cells.X = sparse.csr_matrix(cells.X) if where == "backed CSR" else cells.X
        cells.write_h5ad(tmp_path / "query.h5ad")
        cells = ad.read_h5ad(tmp_path / "query.h5ad", backed="r")
    scgeoae.tl.map_cells(cells, reference)
    np.testing.assert_allclose(cells.obs["geoae_novelty"], expected, rtol=1e-4)


def test_the_query_is_read_once_for_its_range_and_once_for_all_results(
    reference: AnnData, cells: AnnData, monkeypatch
) -> None:
    times_read = np.zeros(cells.n_obs, dtype=int)
    read = Matrix.read

    def counted(self: Matrix, rows: slice = slice(None)) -> object:
        times_read[rows] += 1
        return read(self, rows)

    monkeypatch.setattr(Matrix, "read", counted)
    monkeypatch.setattr("scgeoae.core.rows.BLOCK_ENTRIES", 16 * cells.n_vars)
    monkeypatch.setattr("scgeoae.reference.query.QUERY_SAMPLE", 100)  # these tell how the query was prepared
    scgeoae.tl.map_cells(cells, reference)
    further = times_read - 2
    assert set(further) <= {0, 1, 2}
    assert further.sum() == N_SLOW_CELLS + 100  # those of the fingerprint, and those that tell how it was prepared
    assert np.isfinite(cells.obs["geoae_novelty"]).all()


def test_a_type_that_was_left_out_is_novel(cells: AnnData) -> None:
    """Dendritic cells are; the half of the other cells that was left out is not."""
    foreign = (cells.obs["bulk_labels"] == "Dendritic").to_numpy()
    known = np.flatnonzero(~foreign)
    reference = on_scaled(cells[known[::2]].copy(), max_value=10)
    shares = []
    for query in (cells[foreign].copy(), cells[known[1::2]].copy()):
        scgeoae.tl.map_cells(query, reference)
        shares.append(query.obs["geoae_novel"].mean())
    assert shares[0] > 3 * shares[1]
    assert shares[1] < 0.12


def test_no_novelty_without_a_pca(references: dict, cells: AnnData, tmp_path: Path) -> None:
    """Where genes are the input, the reconstruction error is that of genes; where an obsm is, there are none."""
    for reference in (references[on_genes], references[on_scaled_genes]):
        assert "geoae_novelty" not in scgeoae.tl.map_cells(cells, reference, copy=True).obs
    other = references[on_log].copy()
    other.obsm["X_other"] = other.obsm["X_pca"]
    trained(other, use_rep="X_other")
    assert "geoae_novel" not in scgeoae.tl.map_cells(other[:9].copy(), other, copy=True).obs


@pytest.mark.parametrize("kind", [on_log, on_scaled])
def test_novelty_counts_the_genes_that_are_present(references: dict, cells: AnnData, kind: Callable, rng) -> None:
    """The oracle is the definition, with residuals of these genes."""
    reference, present = references[kind], np.sort(rng.permutation(cells.n_vars)[:240])
    model = scgeoae.get.model(reference).input
    query = scgeoae.tl.map_cells(cells[:, present].copy(), reference, copy=True)
    x = np.tile(model.projection.center, (cells.n_obs, 1))
    x[:, present] = reference.X[:, present]
    residual = x - model.projection.expected(model.projection.apply(x, scaled=True))
    if kind is on_log:
        residual /= model.novelty.spread
    excess = np.sort(residual[:, present], axis=1)[:, -2:].mean(1)
    share = (cells.X[:, present] > 0).mean(1)
    expected = excess / np.exp(model.novelty.intercept + model.novelty.slope * np.log(share))
    np.testing.assert_allclose(query.obs["geoae_novelty"], expected, rtol=1e-3)


def test_novelty_is_measured_once_where_labels_are_voted_on(reference: AnnData, cells: AnnData, monkeypatch) -> None:
    of, measured = Novelty.of, []
    monkeypatch.setattr(Novelty, "of", lambda self, p, x, *rest: measured.append(len(x)) or of(self, p, x, *rest))
    scgeoae.tl.map_cells(cells, reference, obs="phase")
    assert sum(measured) == cells.n_obs


def test_models_from_before_novelty(reference: AnnData, cells: AnnData, tmp_path: Path) -> None:
    """They map as they did, from an AnnData and from a file."""
    scgeoae.write_model(reference, tmp_path / "with")
    expected = scgeoae.tl.map_cells(cells, tmp_path / "with", copy=True)
    del reference.uns["geoae"]["model"]["input"]["novelty"]
    scgeoae.write_model(reference, tmp_path / "without")
    for kind in (reference, tmp_path / "without"):
        mapped = scgeoae.tl.map_cells(cells, kind, copy=True)
        pd.testing.assert_frame_equal(mapped.obs, expected.obs.drop(columns=["geoae_novelty", "geoae_novel"]))


@pytest.mark.parametrize("kind", [on_log, on_genes])
def test_blocks_do_not_matter(references: dict, cells: AnnData, kind: Callable, monkeypatch) -> None:
    expected = place(cells, references[kind])
    for entries in (13 * cells.n_vars, 29 * N_PCS):
        monkeypatch.setattr("scgeoae.core.rows.BLOCK_ENTRIES", entries)
        assert_same_place(place(cells, references[kind]), expected)


@pytest.mark.parametrize(
    "convert", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, np.asfortranarray, lambda x: x.astype(float)]
)
@pytest.mark.parametrize("kind", [on_log, on_scaled])
def test_kinds_of_matrix(references: dict, cells: AnnData, kind: Callable, convert: Callable) -> None:
    cells.X = convert(cells.X)
    assert_same_place(place(cells, references[kind]), references[kind].obsm["X_geoae"])


def test_a_sparse_query_is_never_densified_whole(reference: AnnData, cells: AnnData, monkeypatch) -> None:
    cells.X = sparse.csr_matrix(cells.X)
    sizes = []
    toarray = sparse.csr_matrix.toarray
    monkeypatch.setattr(sparse.csr_matrix, "toarray", lambda self, *a: sizes.append(self.shape[0]) or toarray(self, *a))
    monkeypatch.setattr("scgeoae.core.rows.BLOCK_ENTRIES", 16 * cells.n_vars)
    place(cells, reference)
    sc.pp.pca(cells, n_comps=5)
    trained(cells)
    assert max(sizes) <= 16


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("mode", ["r", "r+"])
@pytest.mark.parametrize("kind", [on_log, on_scaled])
def test_backed_queries(references: dict, cells: AnnData, tmp_path: Path, convert, mode: str, kind: Callable) -> None:
    cells.X = convert(cells.X)
    cells.write_h5ad(tmp_path / "query.h5ad")
    query = ad.read_h5ad(tmp_path / "query.h5ad", backed=mode)
    try:
        scgeoae.tl.map_cells(query, references[kind])
        assert query.isbacked
        assert_same_place(query.obsm["X_geoae"], references[kind].obsm["X_geoae"])
    finally:
        query.file.close()


def test_a_query_on_disk_by_columns_is_refused(reference: AnnData, cells: AnnData, tmp_path: Path) -> None:
    """As is a reference; a reference with principal components can still be trained on these."""
    cells.X = sparse.csc_matrix(cells.X)
    cells.write_h5ad(tmp_path / "query.h5ad")
    query = ad.read_h5ad(tmp_path / "query.h5ad", backed="r")
    with pytest.raises(TypeError, match=r"X lies on disk by columns \(CSC\).*: write it as CSR"):
        scgeoae.tl.map_cells(query, reference)
    assert not query.obsm
    query.obsm["X_pca"] = reference.obsm["X_pca"]
    query.varm["PCs"] = reference.varm["PCs"]
    assert scgeoae.get.model(trained(query)).input.projection is None


@pytest.mark.parametrize("kind", [on_log, on_scaled, on_genes])
@pytest.mark.parametrize("as_sparse", [False, True])
def test_no_cells(references: dict, cells: AnnData, kind: Callable, *, as_sparse: bool) -> None:
    query = cells[:0].copy()
    if as_sparse:
        query.X = sparse.csr_matrix(query.X)
    scgeoae.tl.map_cells(query, references[kind], obs="bulk_labels")
    assert query.obsm["X_geoae"].shape == (0, 2)
    assert query.obs[[*COLUMNS, "geoae_outside", "geoae_bulk_labels", "geoae_bulk_labels_confidence"]].shape == (0, 6)
    assert query.obs["geoae_outside"].dtype == bool
    assert ("geoae_novel" in query.obs) == (kind is not on_genes)


@pytest.mark.filterwarnings("ignore:.*of view, initializing view as actual")
def test_views(reference: AnnData, cells: AnnData) -> None:
    expected = place(cells, reference)[5:9]
    view = cells[5:9]
    assert scgeoae.tl.map_cells(view, reference) is None
    assert_same_place(view.obsm["X_geoae"], expected)
    assert "X_geoae" not in cells.obsm


def test_genes_go_by_name(reference: AnnData, cells: AnnData, rng: np.random.Generator) -> None:
    expected = place(cells, reference)
    shuffled = cells[:, rng.permutation(cells.n_vars)].copy()
    assert_same_place(place(shuffled, reference), expected)
    extra = ad.AnnData(
        np.full((cells.n_obs, 3), 7, dtype=np.float32), obs=cells.obs, var=pd.DataFrame(index=list("xyz"))
    )
    assert_same_place(place(ad.concat([extra, shuffled], axis=1), reference), expected)


@pytest.mark.parametrize("kind", [on_log, on_genes])
def test_missing_genes_are_counted_and_listed(references: dict, cells: AnnData, kind: Callable, log: StringIO) -> None:
    place(cells[:, :-1].copy(), references[kind])
    assert f"1 of the 300 genes of the reference are missing in the query: {cells.var_names[-1]}. " in log.getvalue()
    with pytest.raises(ValueError, match=rf"200 of the 300 genes .* missing .*{cells.var_names[0]}, .*…"):
        place(cells[:, 200:].copy(), references[kind])


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_genes_that_are_there_twice(reference: AnnData, cells: AnnData) -> None:
    cells.var_names = [cells.var_names[0], *cells.var_names[:-1]]
    with pytest.raises(ValueError, match="var_names_make_unique"):
        place(cells, reference)


def everything(adata: AnnData) -> bytes:
    return pickle.dumps([adata.X, adata.obs, adata.var, dict(adata.uns), dict(adata.obsm), dict(adata.varm)])


def test_the_reference_is_never_modified(reference: AnnData, cells: AnnData) -> None:
    before = everything(reference)
    query = cells[:20].copy()
    scgeoae.tl.map_cells(query, reference, obs=["bulk_labels", "phase"])
    stored = query.uns["geoae"]["model"]
    for mapping in (stored["frame"], stored["weights"], stored["input"]["projection"]):
        for value in mapping.values():
            if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                value[...] = 0  # nothing is shared
    stored["frame"]["region"]["mask"][:] = False
    assert everything(reference) == before
    with pytest.raises(ValueError, match="copy=True"):
        scgeoae.tl.map_cells(reference, reference)
    assert everything(reference) == before


def test_a_given_model_is_never_modified(reference: AnnData, cells: AnnData) -> None:
    model = scgeoae.get.model(reference)
    before = copy.deepcopy(model.autoencoder.state_dict())
    place(cells, model)
    assert all(torch.equal(value, before[name]) for name, value in model.autoencoder.state_dict().items())


def test_three_kinds_of_reference(reference: AnnData, cells: AnnData, tmp_path: Path) -> None:
    scgeoae.write_model(reference, tmp_path / "model.safetensors")
    expected = scgeoae.tl.map_cells(cells, reference, copy=True)
    for kind in (scgeoae.get.model(reference), tmp_path / "model.safetensors", str(tmp_path / "model.safetensors")):
        mapped = scgeoae.tl.map_cells(cells, kind, copy=True)
        np.testing.assert_array_equal(mapped.obsm["X_geoae"], expected.obsm["X_geoae"])
        pd.testing.assert_frame_equal(mapped.obs, expected.obs)
        with pytest.raises(KeyError, match=r"no labels \['bulk_labels'\].* and no cells"):
            place(cells, kind, obs="bulk_labels")
    with pytest.raises(TypeError, match="must be an AnnData, a model or the path"):
        place(cells, 5)
    with pytest.raises(KeyError, match="results there"):
        place(cells, cells)
    with pytest.raises(FileNotFoundError, match="There is no file"):
        place(cells, tmp_path / "nothing")


def test_other_keys(cells: AnnData) -> None:
    sc.pp.pca(cells, n_comps=N_PCS)
    trained(cells, key_added="mine")
    query = cells[:9].copy()
    del query.obsm["mine"], query.uns["mine"]
    scgeoae.tl.map_cells(query, cells, key="mine", obs="phase")
    assert_same_place(query.obsm["mine"], cells.obsm["mine"][:9])
    assert {"mine_det", "mine_outside", "mine_phase_confidence"} <= set(query.obs)
    assert query.uns["mine"]["params"] == {"basis": "mine", "mapped": True, "obs": ["phase"]}


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.filterwarnings("ignore::UserWarning:zarr", "ignore:.*zarr:UserWarning", "ignore::FutureWarning")
def test_a_mapped_query_is_a_result(references: dict, cells: AnnData, tmp_path: Path, suffix: str) -> None:
    """Plots and getters work on it, also after writing; and so does mapping with a reference that was written."""
    reference = references[on_scaled]
    path = tmp_path / f"reference.{suffix}"
    getattr(reference, f"write_{suffix}")(path)
    reference = getattr(ad, f"read_{suffix}")(path)
    scgeoae.tl.map_cells(cells, reference, obs="bulk_labels")
    assert_same_place(cells.obsm["X_geoae"], reference.obsm["X_geoae"])
    path = tmp_path / f"query.{suffix}"
    getattr(cells, f"write_{suffix}")(path)
    query = getattr(ad, f"read_{suffix}")(path)
    assert query.obs["geoae_outside"].dtype == bool
    scgeoae.pl.indicatrix(query, show=False)
    scgeoae.pl.det_heatmap(query, field=True, show=False)
    np.testing.assert_allclose(scgeoae.get.metric(query), scgeoae.get.metric(cells))
    assert_same_place(place(query, query), query.obsm["X_geoae"])


def test_other_spaces_need_the_same_obsm(cells: AnnData, rng: np.random.Generator) -> None:
    """Harmony moves cells: genes do not reproduce its coordinates."""
    sc.pp.pca(cells, n_comps=N_PCS)
    cells.obsm["X_pca_harmony"] = cells.obsm["X_pca"] + rng.normal(size=(cells.n_obs, 1))
    trained(cells, use_rep="X_pca_harmony")
    assert scgeoae.get.model(cells).input.projection is None
    query = cells[:30].copy()
    assert_same_place(place(query, cells), cells.obsm["X_geoae"][:30])
    assert_same_place(place(query, scgeoae.get.model(cells)), cells.obsm["X_geoae"][:30])
    query.obsm["X_pca_harmony"] = query.obsm["X_pca_harmony"][:, :5]
    with pytest.raises(ValueError, match="has 5 columns; the reference was trained on 20"):
        place(query, cells)
    del query.obsm["X_pca_harmony"]
    with pytest.raises(KeyError, match=r"trained on obsm\['X_pca_harmony'\].*\['X_pca', 'X_geoae'\]"):
        place(query, cells)


def test_components_under_any_key(cells: AnnData) -> None:
    sc.pp.pca(cells, n_comps=N_PCS, key_added="pca")
    sc.pp.pca(cells, n_comps=5, mask_var=np.arange(300) < 100, key_added="few")
    model = scgeoae.get.model(trained(cells, use_rep="few"))
    assert model.input.projection.genes.tolist() == cells.var_names[:100].tolist()
    cells.obsm["X_pca"] = cells.obsm["pca"] + 1  # scanpy too takes this one first
    assert scgeoae.get.model(trained(cells)).input.obsm_key == "X_pca"


@pytest.mark.parametrize("spoil", ["X", "obsm", "varm", "layer", "no varm"])
def test_what_does_not_reproduce_is_not_stored(cells: AnnData, rng: np.random.Generator, spoil: str) -> None:
    sc.pp.pca(cells, n_comps=N_PCS)
    if spoil == "X":
        cells.X = np.expm1(cells.X)
    elif spoil == "obsm":
        cells.obsm["X_pca"] = cells.obsm["X_pca"] * np.linspace(1, 1.01, N_PCS)
    elif spoil == "varm":
        cells.varm["PCs"] = cells.varm["PCs"][rng.permutation(cells.n_vars)]
    elif spoil == "layer":
        cells.uns["pca"]["params"]["layer"] = "gone"
    else:
        del cells.varm["PCs"]
    assert scgeoae.get.model(trained(cells)).input.projection is None


def test_shipped_components_do_not_belong_to_the_shipped_genes(mapped: AnnData, log: StringIO) -> None:
    assert scgeoae.get.model(mapped).input.projection is None
    assert_same_place(place(mapped[:9].copy(), mapped), mapped.obsm["X_geoae"][:9])
    assert "a PCA of the query by itself is another space" in log.getvalue()


def test_a_query_of_another_range_is_told(reference: AnnData, cells: AnnData, log: StringIO) -> None:
    before, cells.X = cells.X, cells.X / 100
    place(cells, reference)
    query, trained_on = (f"{x.min():.3g} to {x.max():.3g}" for x in (cells.X, before))
    assert f"X of the query ranges from {query}, in the reference it ranged from {trained_on}. " in log.getvalue()


def scaled_by_itself(x: np.ndarray) -> np.ndarray:
    return (x - x[::2].mean(0)) / x[::2].std(0, ddof=1)


@pytest.mark.parametrize("kind", [on_log, on_scaled, on_genes, on_scaled_genes])
@pytest.mark.parametrize(
    ("change", "found", "remedy"),
    [
        (
            lambda x: np.rint(np.expm1(x)),
            "raw counts",
            r"Run `sc\.pp\.normalize_total\(query, target_sum=….* `sc\.pp\.log1p\(query\)`",
        ),
        (np.expm1, "normalized counts without a logarithm", "Pass log-normalized values"),
        (lambda x: x / np.log(2), "log-normalized values to base 2", "Pass log-normalized values"),
        (lambda x: x / np.log(10), "log-normalized values to base 10", "Pass log-normalized values"),
        (lambda x: x / x.std(0, ddof=1), "values scaled without centering", "Pass log-normalized values"),
        (scaled_by_itself, "scaled values", "Pass log-normalized values"),
    ],
    ids=["counts", "normalized", "log2", "log10", "uncentered", "scaled"],
)
def test_a_query_prepared_otherwise_is_refused(
    references: dict, cells: AnnData, kind: Callable, change: Callable, found: str, remedy: str
) -> None:
    """With what was found, what the reference had, and the way from one to the other."""
    cells.X = change(cells.X).astype(np.float32)
    before = everything(cells)
    scaled = ", then scaled by its own mean" if kind in (on_scaled, on_scaled_genes) else ""
    message = (
        f"X of the query holds {found}.* held log-normalized values, as `sc.pp.log1p` makes them{scaled}.*{remedy}"
    )
    with pytest.raises(ValueError, match=message):
        scgeoae.tl.map_cells(cells, references[kind])
    assert everything(cells) == before


@pytest.mark.parametrize("base", [None, 2])
def test_a_reference_of_another_kind_is_met_alike(cells: AnnData, log: StringIO, base: float | None) -> None:
    """Raw counts are right for a reference of raw counts, as a logarithm to base 2 is for one of these."""
    other = np.log1p(1e4 * np.expm1(cells.X)) if base is None else cells.X / np.log(base)
    right, wrong = (np.rint(np.expm1(cells.X)), cells.X) if base is None else (other, cells.X)
    cells.X = right.astype(np.float32)
    reference = on_log(cells.copy())
    log.truncate(0)
    assert_same_place(place(cells, reference), reference.obsm["X_geoae"])
    assert log.getvalue() == ""
    cells.X = wrong
    with pytest.raises(ValueError, match="Pass raw counts" if base is None else "Pass log-normalized values to base 2"):
        place(cells, reference)


def test_a_model_that_does_not_know_its_preparation_warns(reference: AnnData, cells: AnnData, log: StringIO) -> None:
    """As those that were written before it was recorded."""
    del reference.uns["geoae"]["model"]["input"]["preparation"]
    cells.X = np.rint(np.expm1(cells.X))
    place(cells, reference)
    assert "in whole numbers, in the reference it ranged from" in log.getvalue()


def regressed(adata: AnnData) -> AnnData:
    """Residuals of a regression on the depth, by hand: `sc.pp.regress_out` starts processes."""
    design = np.column_stack([np.ones(adata.n_obs), adata.obs["n_counts"]])
    adata.X = (adata.X - design @ np.linalg.lstsq(design, adata.X, rcond=None)[0]).astype(np.float32)
    return adata


def test_residuals_are_met_by_residuals(cells: AnnData, log: StringIO) -> None:
    """Also by scaled ones, and both land where the cells land if all are prepared together."""
    together = regressed(cells.copy())
    half, query = together[::2].copy(), together[1::2].copy()
    reference = on_scaled(half, max_value=10)
    assert scgeoae.get.model(reference).input.preparation == "residuals"
    expected = np.clip((query.X - reference.var["mean"].to_numpy()) / reference.var["std"].to_numpy(), -10, 10)
    expected = expected @ reference.varm["PCs"] - scgeoae.get.model(reference).input.projection.offset
    with torch.no_grad():
        expected = scgeoae.get.model(reference).encode(torch.tensor(expected, dtype=torch.float32)).numpy()
    log.truncate(0)
    assert_same_place(place(query, reference), expected)
    assert_same_place(place(reference, reference), reference.obsm["X_geoae"])
    alike = regressed(cells[1::2].copy())
    sc.pp.scale(alike, max_value=10)
    moved = np.linalg.norm(place(alike, reference) - expected, axis=1)
    assert log.getvalue() == ""
    plain = np.linalg.norm(place(cells[1::2].copy(), reference) - expected, axis=1)
    assert np.median(moved) < np.median(plain)
    assert "Those of the reference were values around 0, as after `sc.pp.regress_out`, then scaled" in log.getvalue()
    counts = cells[1::2].copy()
    counts.X = np.rint(np.expm1(counts.X))
    with pytest.raises(
        ValueError, match=r"raw counts, but the reference held values around 0, as after `sc\.pp\.regress_out`"
    ):
        place(counts, reference)


@pytest.mark.parametrize("kind", KINDS)
def test_cells_without_expression_are_flagged(references: dict, cells: AnnData, kind: Callable, log: StringIO) -> None:
    cells.X[[3, 50]] = 0
    cells.layers["log"] = sparse.csr_matrix(cells.X)
    expected = scgeoae.tl.map_cells(cells[:3].copy(), references[kind], copy=True).obs["geoae_outside"]
    scgeoae.tl.map_cells(cells, references[kind], obs=["bulk_labels", "phase"])
    assert "2 of the 700 cells of the query express no gene of the model" in log.getvalue()
    silent = cells.obs.iloc[[3, 50]]
    assert silent["geoae_outside"].all()
    assert silent[["geoae_bulk_labels", "geoae_phase"]].isna().all(axis=None)
    assert silent[["geoae_bulk_labels_confidence", "geoae_phase_confidence"]].isna().all(axis=None)
    assert np.isfinite(cells.obsm["X_geoae"]).all()
    if "geoae_novel" in cells.obs:
        assert silent["geoae_novel"].all()
        assert silent["geoae_novelty"].isna().all()
        assert cells.obs["geoae_novelty"].isna().sum() == 2
    assert cells.obs["geoae_bulk_labels"].isna().sum() == 2
    assert cells.obs["geoae_outside"][:3].tolist() == expected.tolist()


def test_a_scaled_query_with_a_cell_without_expression(cells: AnnData) -> None:
    reference = on_scaled(cells.copy())
    query = cells[:40].copy()
    query.X[7] = 0
    query.X = np.clip((query.X - reference.var["mean"].to_numpy()) / reference.var["std"].to_numpy(), -3, 3)
    scgeoae.tl.map_cells(query, reference, obs="phase")
    assert np.flatnonzero(query.obs["geoae_phase"].isna()).tolist() == [7]


@pytest.mark.parametrize("kind", [on_log, on_scaled, on_genes, on_scaled_genes])
def test_training_warns_of_cells_without_expression(cells: AnnData, kind: Callable, log: StringIO) -> None:
    kind(cells.copy())
    assert "express" not in log.getvalue()
    cells.X[[5, 6, 7]] = 0
    kind(cells)
    assert "3 of 700 cells express none of the genes" in log.getvalue()


def test_zeros_among_negative_values_are_values(rng: np.random.Generator, log: StringIO) -> None:
    """A cell at the mean of centered data is an ordinary one."""
    reference = ad.AnnData(rng.normal(size=(200, 12)).astype(np.float32))
    reference.X[0] = 0
    trained(reference, use_rep="X")
    mapped = scgeoae.tl.map_cells(reference, reference, copy=True)
    assert "express" not in log.getvalue()
    assert not mapped.obs["geoae_outside"].iloc[0]


@pytest.mark.parametrize("where", ["cells", "file"])
def test_labels_of_a_subset(reference: AnnData, cells: AnnData, tmp_path: Path, log: StringIO, where: str) -> None:
    """The cells that are kept are not taken for all: their labels reach as far as they do."""
    kept, gone = ["CD19+ B", "CD56+ NK"], "Dendritic"
    subset = reference[reference.obs["bulk_labels"].isin(kept)].copy()
    source = subset
    if where == "file":
        source = tmp_path / "map.safetensors"
        scgeoae.write_model(subset, source, obs="bulk_labels")
    scgeoae.tl.map_cells(cells, source, obs="bulk_labels")
    assert f"was trained on 700 cells, but the AnnData holds {subset.n_obs}" in log.getvalue()
    truth, found = cells.obs["bulk_labels"], cells.obs["geoae_bulk_labels"]
    if where == "file":
        assert found[truth == gone].isna().mean() > 0.9
        assert cells.obs["geoae_bulk_labels_confidence"].isna().equals(found.isna())
        known = truth.isin(kept)
        assert (found[known].astype(str) == truth[known].astype(str)).mean() > 0.8


def test_tiles_without_labeled_cells_have_no_label(reference: AnnData, cells: AnnData, tmp_path: Path) -> None:
    file = tmp_path / "map.safetensors"
    scgeoae.write_model(reference, file, obs="bulk_labels")
    every = scgeoae.read_model(file).labels["bulk_labels"].counts
    assert every.any(1).all()
    z, region = reference.obsm["X_geoae"], scgeoae.get.model(reference).region
    left = z[:, 0] < np.median(z[:, 0])
    reference.obs["left"] = pd.Categorical(np.where(left, "a", None))
    scgeoae.write_model(reference, file, obs="left")
    labeled = scgeoae.read_model(file).labels["left"].counts.any(1)
    far = region.points()[labeled][:, 0] - z[left, 0].max()
    assert far.max() < 0.1 * np.ptp(z[:, 0])  # as far as the occupied region reaches beyond cells
    assert labeled[region.points()[:, 0] < np.quantile(z[left, 0], 0.5)].mean() > 0.9
    scgeoae.tl.map_cells(cells, file, obs="left")
    assert cells.obs["geoae_left"].isna().mean() == pytest.approx(0.5, abs=0.15)


def test_labels_of_a_mapped_query_are_not_those_of_the_reference(
    reference: AnnData, cells: AnnData, tmp_path: Path, log: StringIO
) -> None:
    query = cells[cells.obs["bulk_labels"] == "CD19+ B"].copy()
    scgeoae.tl.map_cells(query, reference)
    with pytest.raises(ValueError, match=r"cells of the result 'geoae' were mapped.* Pass the reference"):
        scgeoae.write_model(query, tmp_path / "map.safetensors", obs="bulk_labels")
    scgeoae.write_model(query, tmp_path / "map.safetensors")  # the model is that of the reference
    assert place(cells[:9].copy(), tmp_path / "map.safetensors").shape == (9, 2)
    scgeoae.tl.map_cells(cells, query, obs="bulk_labels")
    assert "were mapped, nothing was trained on them: new cells get the labels of these cells alone" in log.getvalue()


def test_a_model_that_does_not_know_how_many_cells_it_has(reference: AnnData, tmp_path: Path, log: StringIO) -> None:
    del reference.uns["geoae"]["model"]["frame"]["n_cells"]
    scgeoae.write_model(reference[::2].copy(), tmp_path / "map.safetensors", obs="phase")
    assert log.getvalue() == ""


def test_a_query_prepared_alike_is_not_told_of(reference: AnnData, cells: AnnData, log: StringIO) -> None:
    place(cells, reference)
    assert log.getvalue() == ""


def test_single_cells_are_not_told_of(references: dict, cells: AnnData, log: StringIO) -> None:
    for kind in (on_log, on_scaled, on_genes):
        for i in range(0, 40, 4):
            place(cells[i].copy(), references[kind])
    assert log.getvalue() == ""


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("as_sparse", [False, True])
def test_missing_values(reference: AnnData, cells: AnnData, value: float, *, as_sparse: bool) -> None:
    cells.X[3, 5] = value
    if as_sparse:
        cells.X = sparse.csr_matrix(cells.X)
    with pytest.raises(ValueError, match="missing or infinite"):
        scgeoae.tl.map_cells(cells, reference)
    assert "X_geoae" not in cells.obsm


def test_a_decoder_of_another_map_cannot_place_cells(cells: AnnData) -> None:
    from scgeoae.core.autoencoder import GeometricAutoencoder
    from scgeoae.reference import MapModel

    with pytest.raises(ValueError, match="no encoder"):
        place(cells, MapModel(GeometricAutoencoder(5, with_encoder=False)))
    with pytest.raises(ValueError, match="does not know what it was trained on"):
        place(cells, MapModel(GeometricAutoencoder(5)))


def test_outside_is_what_it_says(references: dict, cells: AnnData) -> None:
    reference = references[on_log]
    query = cells.copy()
    rare = query[:50].copy()
    rare.X = 3 * rare.X[:, ::-1]  # much of the wrong genes
    scgeoae.tl.map_cells(query, reference)
    scgeoae.tl.map_cells(rare, reference)
    for mapped in (query, rare):
        far = mapped.obs["geoae_reconstruction_error"] > np.quantile(reference.obs["geoae_reconstruction_error"], 0.99)
        off = ~scgeoae.get.model(reference).region.contains(mapped.obsm["X_geoae"])
        assert mapped.obs["geoae_outside"].tolist() == (far | off).tolist()
    assert query.obs["geoae_outside"].mean() <= 0.03
    assert rare.obs["geoae_outside"].mean() > 0.8


def test_other_dimensions(cells: AnnData) -> None:
    sc.pp.pca(cells, n_comps=N_PCS)
    trained(cells, n_components=3)
    query = scgeoae.tl.map_cells(cells, cells, copy=True)
    assert_same_place(query.obsm["X_geoae"], cells.obsm["X_geoae"])
    assert query.obs["geoae_outside"].mean() == pytest.approx(0.01, abs=0.003)


def test_labels_are_the_vote_of_neighbors_in_the_input(reference: AnnData, cells: AnnData) -> None:
    from sklearn.neighbors import KNeighborsClassifier

    reference.obs["bulk_labels"] = reference.obs["bulk_labels"].cat.add_categories("never")
    reference.obs["odd"] = np.arange(reference.n_obs) % 2 == 1
    query = cells[::3].copy()
    scgeoae.tl.map_cells(query, reference, obs=["bulk_labels", "odd"])
    z = reference.obsm["X_pca"]  # its mean is 0
    oracle = KNeighborsClassifier(15, metric="cosine").fit(z, reference.obs["bulk_labels"].astype(str))
    shares = oracle.predict_proba(z[::3])
    np.testing.assert_allclose(query.obs["geoae_bulk_labels_confidence"], shares.max(1))
    certain = np.sort(shares, 1)[:, -1] > np.sort(shares, 1)[:, -2]
    expected = oracle.classes_[shares.argmax(1)]
    assert query.obs["geoae_bulk_labels"].astype(str)[certain].tolist() == expected[certain].tolist()
    assert query.obs["geoae_bulk_labels"].cat.categories.equals(reference.obs["bulk_labels"].cat.categories)
    assert (query.obs["geoae_bulk_labels"].astype(str) == cells.obs["bulk_labels"][::3].astype(str)).mean() > 0.6
    assert query.obs["geoae_odd"].cat.categories.tolist() == ["False", "True"]  # as from a model file


def test_missing_labels_do_not_vote(reference: AnnData, cells: AnnData) -> None:
    label = pd.Series(pd.NA, index=reference.obs_names, dtype=object)
    label.iloc[:4] = ["b", "b", "b", "a"]
    reference.obs["some"] = pd.Categorical(label, categories=["b", "a"], ordered=True)
    query = cells[:10].copy()
    scgeoae.tl.map_cells(query, reference, obs="some")
    assert query.obs["geoae_some"].tolist() == ["b"] * 10
    assert query.obs["geoae_some"].cat.ordered
    assert (query.obs["geoae_some_confidence"] == 0.75).all()


def test_bad_labels(reference: AnnData, cells: AnnData) -> None:
    reference.obs["none"] = pd.Categorical([None] * reference.n_obs, categories=["a"])
    with pytest.raises(KeyError, match=r"Did not find \['cell_type'\]"):
        place(cells, reference, obs=["phase", "cell_type"])
    with pytest.raises(ValueError, match="holds numbers"):
        place(cells, reference, obs="n_counts")
    with pytest.raises(ValueError, match="no label"):
        place(cells, reference, obs="none")


def test_log(reference: AnnData, cells: AnnData, log: StringIO) -> None:
    sc.settings.verbosity = 3
    try:
        scgeoae.tl.map_cells(cells, reference, obs="phase")
    finally:
        sc.settings.verbosity = 1
    for text in (
        "mapping 700 cells",
        "'X_geoae', map coordinates",
        "'geoae_outside'",
        "'geoae_novel'",
        "'geoae_phase_confidence'",
    ):
        assert text in log.getvalue()


@pytest.fixture
def published(reference: AnnData, tmp_path: Path) -> Path:
    """A model with labels, without cells."""
    reference.uns["bulk_labels_colors"] = np.array([f"#0000{i:02}" for i in range(10)], dtype=object)
    scgeoae.write_model(reference, tmp_path / "map.safetensors", obs=["bulk_labels", "phase"])
    return tmp_path / "map.safetensors"


def test_labels_by_tiles_are_those_of_the_cells_nearest_to_their_centers(
    reference: AnnData, cells: AnnData, published: Path
) -> None:
    model = scgeoae.read_model(published)
    centers = model.region.points()
    distance = np.linalg.norm(centers[:, None] - reference.obsm["X_geoae"][None], axis=2)
    voters = reference.obs["bulk_labels"].to_numpy()[distance.argsort(1)[:, :30]]
    table = model.labels["bulk_labels"]
    expected = np.stack([(voters == name).sum(1) for name in table.categories], 1)
    assert (table.counts == expected).all(1).mean() > 0.95  # equal distances
    assert (table.counts.sum(1) == 30).all()

    query = cells[::3].copy()
    scgeoae.tl.map_cells(query, published, obs="bulk_labels")
    tile = np.linalg.norm(query.obsm["X_geoae"][:, None] - centers[None], axis=2).argmin(1)
    assert (query.obs["geoae_bulk_labels"].to_numpy() == table.categories[table.counts[tile].argmax(1)]).mean() > 0.99
    np.testing.assert_allclose(query.obs["geoae_bulk_labels_confidence"].max(), table.counts[tile].max() / 30)
    assert query.uns["geoae_bulk_labels_colors"].tolist() == reference.uns["bulk_labels_colors"].tolist()
    assert (query.obs["geoae_bulk_labels"].astype(str) == cells.obs["bulk_labels"][::3].astype(str)).mean() > 0.6
    assert "geoae_phase_confidence" not in query.obs


def test_labels_travel_with_a_mapped_query(cells: AnnData, published: Path, tmp_path: Path) -> None:
    query = cells[::3].copy()
    scgeoae.tl.map_cells(query, published)
    query.write_h5ad(tmp_path / "query.h5ad")
    model = scgeoae.get.model(ad.read_h5ad(tmp_path / "query.h5ad"))
    again = scgeoae.tl.map_cells(cells, model, obs="phase", copy=True)
    assert set(again.obs["geoae_phase"]) <= set(cells.obs["phase"])


@pytest.mark.parametrize("labeled", ["cells", "file"])
def test_labels_one_by_one(reference: AnnData, cells: AnnData, published: Path, labeled: str) -> None:
    source = reference if labeled == "cells" else published
    together = scgeoae.tl.map_cells(cells[:8], source, obs="bulk_labels", copy=True)
    for i in range(8):
        alone = scgeoae.tl.map_cells(cells[i : i + 1], source, obs="bulk_labels", copy=True)
        for column in ("geoae_bulk_labels", "geoae_bulk_labels_confidence"):
            assert alone.obs[column].iloc[0] == together.obs[column].iloc[i]


@pytest.mark.parametrize("labeled", ["cells", "file"])
def test_one_class_and_no_colors(reference: AnnData, cells: AnnData, tmp_path: Path, labeled: str) -> None:
    """A label that all cells share is certain; the query gets no colors where the reference has lost its own."""
    reference.obs["tissue"] = pd.Categorical(["blood"] * (reference.n_obs - 1) + [None])
    reference.uns["bulk_labels_colors"] = np.array(["red"], dtype=object)  # fewer than there are classes
    names = ["tissue", "bulk_labels"]
    source = reference
    if labeled == "file":
        source = tmp_path / "map.safetensors"
        scgeoae.write_model(reference, source, obs=names)
    scgeoae.tl.map_cells(cells, source, obs=names)
    assert (cells.obs["geoae_tissue"] == "blood").all()
    assert (cells.obs["geoae_tissue_confidence"] == 1).all()
    assert not {"geoae_tissue_colors", "geoae_bulk_labels_colors"} & set(cells.uns)
    cells.write_h5ad(tmp_path / "query.h5ad")
    written = [f"geoae_{name}" for name in names]
    pd.testing.assert_frame_equal(ad.read_h5ad(tmp_path / "query.h5ad").obs[written], cells.obs[written])


def test_labels_that_cannot_be_stored(reference: AnnData, tmp_path: Path) -> None:
    reference.obs["rare"] = pd.Categorical(["a"] * 29 + [None] * (reference.n_obs - 29))
    file = tmp_path / "map.safetensors"
    with pytest.raises(ValueError, match="labels 29 cells; at least 30 labeled cells are needed"):
        scgeoae.write_model(reference, file, obs="rare")
    with pytest.raises(KeyError, match=r"Did not find \['none'\]"):
        scgeoae.write_model(reference, file, obs=["phase", "none"])
    with pytest.raises(ValueError, match="a model has no cells"):
        scgeoae.write_model(scgeoae.get.model(reference), file, obs="phase")
    with pytest.raises(ValueError, match="no tiles"):
        scgeoae.write_model(trained(reference, n_components=3), file, obs="phase")
    assert not file.exists()


def test_labels_that_a_model_lacks(reference: AnnData, cells: AnnData, published: Path) -> None:
    with pytest.raises(KeyError, match=r"no labels \['cell_type'\] \(labels there: \['bulk_labels', 'phase'\]\)"):
        place(cells, published, obs=["phase", "cell_type"])
    with pytest.raises(KeyError, match="labels there: none"):
        place(cells, scgeoae.get.model(reference), obs="phase")


@pytest.mark.parametrize("kind", [on_log, on_scaled, on_genes, on_scaled_genes])
def test_missing_genes_count_as_their_mean(references: dict, cells: AnnData, kind: Callable, log: StringIO) -> None:
    reference = references[kind]
    gone = np.arange(cells.n_vars) % 10 == 0
    mean = cells.X.mean(0)
    filled = cells.copy()
    filled.X[:, gone] = mean[gone]
    query = scgeoae.tl.map_cells(cells[:, ~gone], reference, copy=True)
    expected = place(filled, reference)
    moved = np.linalg.norm(query.obsm["X_geoae"] - expected, axis=1)
    assert moved.max() < 3e-3 * np.ptp(expected, axis=0).max()  # clipping moves the mean a little
    assert "30 of the 300 genes of the reference are missing" in log.getvalue()
    params = query.uns["geoae"]["params"]
    assert params["n_missing_genes"] == 30
    if kind in (on_genes, on_scaled_genes):
        assert params["missing_share"] == pytest.approx(0.1)
        assert "missing_share_by_component" not in params
    else:
        weight = np.square(reference.varm["PCs"])
        np.testing.assert_allclose(params["missing_share_by_component"], weight[gone].sum(0), rtol=1e-4)
        assert params["missing_share"] == pytest.approx(weight[gone].sum() / N_PCS, rel=1e-4)


def test_missing_genes_one_by_one_and_on_disk(reference: AnnData, cells: AnnData, tmp_path: Path) -> None:
    fewer = cells[:, ::-1][:, 30:].copy()
    together = place(fewer, reference)
    for i in range(5):
        np.testing.assert_allclose(place(fewer[i : i + 1], reference), together[i : i + 1], atol=1e-4)
    fewer.write_h5ad(tmp_path / "query.h5ad")
    backed = ad.read_h5ad(tmp_path / "query.h5ad", backed="r")
    scgeoae.tl.map_cells(backed, reference)
    assert_same_place(backed.obsm["X_geoae"], together)


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        (lambda name: f"other {name}", r"300 of the 300 genes.*100% of the weight"),
        (str.lower, "differ in case or in a version"),
        (lambda name: f"{name}.3", "differ in case or in a version"),
    ],
)
def test_too_many_missing_genes(reference: AnnData, cells: AnnData, rename: Callable, message: str) -> None:
    cells.var_names = [rename(name) for name in cells.var_names]
    with pytest.raises(ValueError, match=message):
        place(cells, reference)


@pytest.mark.parametrize("shift", [0, 3])
def test_a_query_that_is_displaced_as_a_whole(cells: AnnData, log: StringIO, shift: float) -> None:
    cells.obsm["X_other"] = np.random.default_rng(0).normal(size=(cells.n_obs, 8)) * [9, 8, 1, 1, 1, 1, 1, 1]
    reference = trained(cells.copy(), use_rep="X_other")
    query = cells[:60].copy()
    query.obsm["X_other"][:, 2:] += shift
    scgeoae.tl.map_cells(query, reference)
    assert ("displaced as a whole" in log.getvalue()) == (shift > 0)
    scgeoae.tl.map_cells(query[:9].copy(), reference)
    assert log.getvalue().count("displaced") == (shift > 0)


@pytest.fixture(scope="module")
def _on_umap(_cells: AnnData) -> AnnData:
    """A reference with a map that was made elsewhere: two of its components, bent."""
    adata = _cells[::2].copy()
    sc.pp.pca(adata, n_comps=N_PCS)
    adata.obsm["X_umap"] = np.sinh(adata.obsm["X_pca"][:, :2] / adata.obsm["X_pca"][:, :2].std(0)) + 7
    scgeoae.tl.fit_decoder(adata, "umap", **QUICK)
    return adata


@pytest.fixture
def on_umap(_on_umap: AnnData) -> AnnData:
    return _on_umap.copy()


UMAP = {"key": "geoae_umap", "obs": "bulk_labels"}


def test_cells_of_another_map_come_back(on_umap: AnnData, cells: AnnData) -> None:
    """A cell that lies on it already is where it was; a map of the query's own stays as it is."""
    query = cells[::2].copy()
    query.obsm["X_umap"] = own = np.zeros((query.n_obs, 2))
    for _ in range(2):  # a second time, over the first
        scgeoae.tl.map_cells(query, on_umap, **UMAP)
        assert_same_place(query.obsm["geoae_umap"], on_umap.obsm["X_umap"])
    np.testing.assert_array_equal(query.obsm["X_umap"], own)
    for name in ("det", "anisotropy", "reconstruction_error"):
        np.testing.assert_allclose(query.obs[f"geoae_umap_{name}"], on_umap.obs[f"geoae_umap_{name}"], rtol=1e-2)
    assert query.obs["geoae_umap_outside"].mean() < 0.05
    assert query.obs["geoae_umap_novel"].mean() < 0.1
    assert (query.obs["geoae_umap_bulk_labels"].astype(str) == query.obs["bulk_labels"].astype(str)).mean() > 0.7
    assert scgeoae.pl.indicatrix(query, key="geoae_umap", show=False).get_xlabel() == "geoae_umap1"
    with pytest.raises(ValueError, match="made elsewhere"):
        scgeoae.tl.ensemble(query, key="geoae_umap")


@pytest.mark.parametrize("source", [lambda a: a, lambda a: scgeoae.get.model(a, key="geoae_umap")])
def test_one_by_one_equals_all_at_once_on_another_map(on_umap: AnnData, cells: AnnData, source: Callable) -> None:
    source, some = source(on_umap), cells[1::40].copy()
    arguments = {"key": "geoae_umap", "obs": "bulk_labels" if source is on_umap else None, "copy": True}
    at_once = scgeoae.tl.map_cells(some, source, **arguments)
    singles = ad.concat([scgeoae.tl.map_cells(some[i].copy(), source, **arguments) for i in range(some.n_obs)])
    assert_same_place(singles.obsm["geoae_umap"], at_once.obsm["geoae_umap"])
    np.testing.assert_allclose(singles.obs["geoae_umap_det"], at_once.obs["geoae_umap_det"], rtol=1e-4)
    for name in at_once.obs.columns.difference(some.obs.columns):
        if not isinstance(at_once.obs[name].iloc[0], float):
            assert singles.obs[name].tolist() == at_once.obs[name].tolist(), name


def test_without_the_input_of_the_reference_the_encoder_places_alone(
    on_umap: AnnData, cells: AnnData, log: StringIO
) -> None:
    new = cells[1::2].copy()
    by_encoder = scgeoae.tl.map_cells(new, scgeoae.get.model(on_umap, key="geoae_umap"), key="geoae_umap", copy=True)
    assert "encoder alone" not in log.getvalue()
    with_cells = scgeoae.tl.map_cells(new, on_umap, key="geoae_umap", copy=True)
    bare = ad.AnnData(obs=on_umap.obs, obsm={"X_umap": on_umap.obsm["X_umap"]}, uns=on_umap.uns)
    without = scgeoae.tl.map_cells(new, bare, key="geoae_umap", copy=True)
    assert "placed by the encoder alone" in log.getvalue()
    assert_same_place(without.obsm["geoae_umap"], by_encoder.obsm["geoae_umap"])
    assert not np.allclose(with_cells.obsm["geoae_umap"], by_encoder.obsm["geoae_umap"], rtol=1e-3)
    again = scgeoae.tl.map_cells(new, with_cells, key="geoae_umap", copy=True)  # mapped cells say nothing new
    assert_same_place(again.obsm["geoae_umap"], by_encoder.obsm["geoae_umap"])


def test_another_map_refuses_what_was_prepared_otherwise(on_umap: AnnData, cells: AnnData) -> None:
    query = cells[1::2].copy()
    sc.pp.scale(query)
    with pytest.raises(ValueError, match="Pass log-normalized values"):
        scgeoae.tl.map_cells(query, on_umap, key="geoae_umap")
    on_umap.obsm["X_umap"][:, 0] += 1
    with pytest.raises(ValueError, match=r"was changed after.*Run `scgeoae.tl.fit_decoder"):
        scgeoae.tl.map_cells(cells[1::2].copy(), on_umap, key="geoae_umap")


def test_the_median_is_where_the_distances_are_least(rng: np.random.Generator) -> None:
    points, weights = rng.normal(size=(20, 9, 2)), rng.uniform(0.5, 2, (20, 9))
    found = geometric_median(1e-3 * points + 50, weights)
    for center, some, weight in zip(found, points, weights, strict=True):

        def total(z: np.ndarray, some: np.ndarray = some, weight: np.ndarray = weight) -> float:
            return float(weight @ np.linalg.norm(some - z, axis=1))

        least = minimize(total, some.mean(0), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
        assert total(1e3 * (center - 50)) == pytest.approx(least.fun, rel=1e-4)


def test_the_median_is_on_the_island_of_most(rng: np.random.Generator) -> None:
    islands = np.repeat([[0.0, 0.0], [100.0, 0.0]], [9, 6], axis=0) + rng.normal(size=(15, 2))
    assert np.linalg.norm(geometric_median(islands[None], np.ones((1, 15)))) < 5
    alone = geometric_median(islands[None], np.r_[np.ones(14), 1e6][None])
    np.testing.assert_allclose(alone[0], islands[-1], atol=1e-6)
    same = np.full((1, 4, 3), 5.0)
    np.testing.assert_array_equal(geometric_median(same, np.ones((1, 4))), same[:, 0])
