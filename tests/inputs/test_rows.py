"""Matrices that are not in memory: the same rows, the same map, whatever holds them."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import anndata as ad
import h5py
import numpy as np
import pytest
import torch
from helpers import QUICK
from scipy import sparse

import scgeoae
from scgeoae.inputs import Matrix, choose, rows
from scgeoae.inputs.rows import DenseRows, ReadRows, StreamedRows
from scgeoae.reference import query_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import StringIO
    from pathlib import Path

CPU = torch.device("cpu")
KINDS = ["backed", "backed CSR", "zarr", "zarr CSR", "dask", "dask of CSR", "memory map"]


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    """Counts of 600 cells and 12 genes, three kinds of cell, sorted by kind."""
    rng = np.random.default_rng(0)
    rates = rng.gamma(1, 2, size=(3, 12)).repeat(200, axis=0)
    return np.log1p(rng.poisson(rates)).astype(np.float32)


def stored(kind: str, x: np.ndarray, folder: Path) -> ad.AnnData:
    """An AnnData whose X is not in memory."""
    if kind.startswith("backed"):
        ad.AnnData(sparse.csr_matrix(x) if "CSR" in kind else x).write_h5ad(folder / "x.h5ad")
        return ad.read_h5ad(folder / "x.h5ad", backed="r")
    return ad.AnnData(lazy(kind, x, folder))


def lazy(kind: str, x: np.ndarray, folder: Path) -> Any:
    if kind == "memory map":
        np.save(folder / "x.npy", x)
        return np.load(folder / "x.npy", mmap_mode="r")
    if kind.startswith("dask"):
        dask_array = pytest.importorskip("dask.array")
        array = dask_array.from_array(x, chunks=(100, 5))
        return array.rechunk((100, -1)).map_blocks(sparse.csr_matrix) if "CSR" in kind else array
    import zarr

    group = zarr.open_group(folder / "x.zarr", mode="w", zarr_format=2)
    ad.io.write_elem(group, "X", sparse.csr_matrix(x) if "CSR" in kind else x)
    return ad.io.sparse_dataset(group["X"]) if "CSR" in kind else group["X"]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_those_of_memory(kind: str, x: np.ndarray, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(rows, "MAX_CHUNK", 20)
    columns = np.arange(12) % 3 > 0
    streamed = choose(stored(kind, x, tmp_path), use_rep="X", mask_var=columns).rows(CPU)
    oracle = DenseRows(x[:, columns].copy(), CPU)
    assert isinstance(streamed, StreamedRows)
    assert streamed.shape == oracle.shape
    assert streamed.chunk == (100 if "dask" in kind else 20)
    for n in (40, 5, 600):  # from buffered chunks, and, where there are too many, row by row
        index = torch.randint(0, 60 if n == 5 else 600, (n,), generator=torch.Generator().manual_seed(n))
        assert torch.equal(streamed.take(index), oracle.take(index))
    assert len(streamed._buffer) <= (rows.OPEN_CHUNKS + 1) * streamed.chunk
    assert torch.equal(streamed.block(90, 310), oracle.block(90, 310))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int8, bool])
def test_sparse_rows_are_dense_ones(x: np.ndarray, dtype: type) -> None:
    columns = np.arange(12) % 3 > 0
    matrix = sparse.csr_matrix(x.astype(dtype))
    read = choose(ad.AnnData(shape=x.shape, layers={"x": matrix}), layer="x", mask_var=columns).rows(CPU)
    oracle = DenseRows(x[:, columns].astype(dtype).astype(np.float32), CPU)
    assert isinstance(read, ReadRows)
    assert read.shape == oracle.shape
    index = torch.tensor([3, 3, 599, 0])
    assert torch.equal(read.take(index), oracle.take(index))
    assert torch.equal(read.block(10, 20), oracle.block(10, 20))


@pytest.mark.parametrize("kind", KINDS)
def test_one_map_whatever_holds_the_matrix(kind: str, x: np.ndarray, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(rows, "MAX_CHUNK", 100)
    adata, oracle = stored(kind, x, tmp_path), stored("memory map", x, tmp_path)
    for each in (adata, oracle):
        scgeoae.tl.geometric_ae(each, use_rep="X", mask_var=np.arange(12) > 0, **QUICK)
    np.testing.assert_allclose(adata.obsm["X_geoae"], oracle.obsm["X_geoae"], atol=1e-3)
    np.testing.assert_allclose(adata.obs["geoae_det"], oracle.obs["geoae_det"], rtol=1e-3)
    np.testing.assert_array_equal(scgeoae.get.model(adata).input.features, adata.var_names[1:])


def test_sorted_cells_are_mapped_as_well_as_shuffled_ones(x: np.ndarray, tmp_path: Path, monkeypatch) -> None:
    """Chunks of one kind of cell each, as in a file sorted by kind, leave no more unexplained than memory does."""
    monkeypatch.setattr(rows, "MAX_CHUNK", 10)
    adata, memory = stored("memory map", x, tmp_path), ad.AnnData(x)
    for each in (adata, memory):
        scgeoae.tl.geometric_ae(each, use_rep="X", **QUICK)
    streamed, shuffled = (np.square(each.obs["geoae_reconstruction_error"]).mean() for each in (adata, memory))
    assert streamed < 1.1 * shuffled


def test_new_cells_on_disk_are_mapped(x: np.ndarray, tmp_path: Path) -> None:
    reference = ad.AnnData(x)
    scgeoae.tl.geometric_ae(reference, use_rep="X", **QUICK)
    query = stored("backed CSR", x, tmp_path)
    scgeoae.tl.map_cells(query, reference)
    np.testing.assert_allclose(query.obsm["X_geoae"], reference.obsm["X_geoae"], atol=1e-4)


def test_lazy_principal_components(x: np.ndarray) -> None:
    """What `sc.pp.pca` leaves of a dask array."""
    dask_array = pytest.importorskip("dask.array")
    components = dask_array.from_array(x[:, :5] @ np.eye(5, dtype=np.float32), chunks=(150, 5))
    adata = ad.AnnData(obsm={"X_pca": components})
    scgeoae.tl.geometric_ae(adata, n_pcs=4, **QUICK)
    assert adata.obsm["X_geoae"].shape == (600, 2)
    assert scgeoae.get.model(adata).n_features == 4


def test_columns_on_disk_are_refused(x: np.ndarray, tmp_path: Path) -> None:
    ad.AnnData(sparse.csc_matrix(x)).write_h5ad(tmp_path / "x.h5ad")
    adata = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
    with pytest.raises(TypeError, match="by columns"):
        scgeoae.tl.geometric_ae(adata, use_rep="X")


def test_missing_values_are_found(x: np.ndarray, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(rows, "MAX_CHUNK", 50)
    x = x.copy()
    x[321, 7] = np.nan
    adata = stored("backed", x, tmp_path)
    with pytest.raises(ValueError, match="row 321, column 7"):
        scgeoae.tl.geometric_ae(adata, use_rep="X", **QUICK)
    assert not adata.obsm


@pytest.mark.parametrize("kind", ["hdf5", *KINDS[2:]])
def test_layers_and_obsm_on_disk(kind: str, x: np.ndarray, tmp_path: Path) -> None:
    if kind == "hdf5":
        file = h5py.File(tmp_path / "x.h5", "w")
        matrix: Any = file.create_dataset("x", data=x)
    else:
        matrix = lazy(kind, x, tmp_path)
    adata = ad.AnnData(shape=x.shape, layers={"counts": matrix}, obsm={"X_other": matrix})
    for chosen in ({"layer": "counts"}, {"use_rep": "X_other"}):
        streamed = choose(adata, **chosen).rows(CPU)
        assert isinstance(streamed, StreamedRows)
        np.testing.assert_array_equal(streamed.block(10, 20).numpy(), x[10:20])


def test_dask_chunks_beyond_the_buffer(x: np.ndarray, monkeypatch, log: StringIO) -> None:
    """They cause a warning, are read in parts that fit, and are computed once in a pass."""
    dask_array = pytest.importorskip("dask.array")
    computed = []

    def compute(block: np.ndarray, block_info: Any) -> sparse.csr_matrix:
        computed.append(block_info[0]["chunk-location"])
        return sparse.csr_matrix(block)

    array = dask_array.from_array(x, chunks=(300, -1)).map_blocks(compute, meta=sparse.csr_matrix((0, 0)))
    monkeypatch.setattr(rows, "BUFFER_BYTES", 17 * 40 * 4 * x.shape[1])
    streamed, oracle = StreamedRows(Matrix(array, "X"), CPU), DenseRows(x, CPU)
    assert "chunks of 300 rows, of which 40 would fit" in log.getvalue()
    assert streamed.chunk == 40
    computed.clear()
    parts = [streamed.block(start, min(start + 40, 600)) for start in range(0, 600, 40)]
    assert torch.equal(torch.cat(parts), oracle.block(0, 600))
    assert len(computed) <= 4  # two chunks, and both once more for the rows at the border
    index = torch.arange(0, 600, 7)
    assert torch.equal(streamed.take(index), oracle.take(index))
    assert streamed._buffer.nbytes <= rows.BUFFER_BYTES


@pytest.mark.parametrize("kind", ["backed", "backed CSR", "zarr", "memory map"])
@pytest.mark.parametrize("n_genes", [1, 50, 30_000])
def test_buffer_is_what_is_stated(kind: str, n_genes: int, tmp_path: Path) -> None:
    adata = stored(kind, np.zeros((3, n_genes), dtype=np.float32), tmp_path)
    chunk = choose(adata, use_rep="X").rows(CPU).chunk
    assert 2 <= chunk <= rows.MAX_CHUNK
    assert 4 * n_genes * chunk * (rows.OPEN_CHUNKS + 1) <= rows.BUFFER_BYTES


def vanish(file: Path) -> None:
    if file.is_dir():
        shutil.rmtree(file)
    else:
        file.unlink()


def cut_off(file: Path) -> None:
    if file.is_dir():
        next(each for each in file.rglob("X/*") if each.name[0].isdigit()).unlink()
        return
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size // 2)


def change(file: Path) -> None:
    some = next(each for each in file.rglob("X/*") if each.name[0].isdigit()) if file.is_dir() else file
    os.utime(some.parent if file.is_dir() else some, (0, 0))


@pytest.mark.parametrize("harm", [vanish, cut_off, change])
@pytest.mark.parametrize("kind", ["backed", "backed CSR", "zarr", "memory map"])
def test_file_does_not_stay_as_it_is(
    kind: str, harm: Callable[[Path], None], x: np.ndarray, tmp_path: Path, monkeypatch, after_validation
) -> None:
    """In the middle of a training: a clear error, and nothing is written."""
    monkeypatch.setattr(rows, "MAX_CHUNK", 20)
    adata = stored(kind, x, tmp_path)
    file = next(each for each in tmp_path.iterdir() if each.name.startswith("x."))
    after_validation(lambda step, _: harm(file) if step == 25 else None)
    with pytest.raises(OSError, match=rf"{file.name}.* (changed|vanished) while it was read"):
        scgeoae.tl.geometric_ae(adata, use_rep="X", **QUICK)
    assert not adata.obsm
    assert not adata.uns


def test_damaged_part_of_a_file(x: np.ndarray, tmp_path: Path) -> None:
    matrix = lazy("zarr", x, tmp_path)
    next(each for each in tmp_path.rglob("X/*") if each.name[0].isdigit()).write_bytes(b"no chunk")
    with pytest.raises(OSError, match="cannot be read"):
        Matrix(matrix, "X").read()


def test_query_that_changes_while_it_is_mapped(x: np.ndarray, tmp_path: Path, monkeypatch) -> None:
    reference = ad.AnnData(x)
    scgeoae.tl.geometric_ae(reference, use_rep="X", **QUICK)
    query = stored("backed CSR", x, tmp_path)

    def changing(*args: Any) -> Any:
        made = query_of(*args)
        change(tmp_path / "x.h5ad")
        return made

    monkeypatch.setattr("scgeoae.tl._map_cells.query_of", changing)
    with pytest.raises(OSError, match="changed while it was read"):
        scgeoae.tl.map_cells(query, reference)
    assert not query.obsm
