"""One reader, whatever holds the matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

from scgeoae.inputs import Files, Matrix, ValueRange, is_streamed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    """Counts of 300 cells and 8 genes, many of them 0, none of the last gene."""
    counts = rng.poisson(0.5, size=(300, 8)).astype(np.float32)
    counts[:, 7] = 0
    return counts


def memory_map(x: np.ndarray, folder: Path) -> np.ndarray:
    np.save(folder / "x.npy", x)
    return np.load(folder / "x.npy", mmap_mode="r")


def backed(x: Any, folder: Path) -> Any:
    ad.AnnData(x).write_h5ad(folder / "x.h5ad")
    return ad.read_h5ad(folder / "x.h5ad", backed="r").X


def in_zarr(x: Any, folder: Path) -> Any:
    import zarr

    group = zarr.open_group(folder / "x.zarr", mode="w", zarr_format=2)
    ad.io.write_elem(group, "X", x)
    return ad.io.sparse_dataset(group["X"]) if sparse.issparse(x) else group["X"]


def in_dask(x: np.ndarray, _: Path) -> Any:
    return pytest.importorskip("dask.array").from_array(x, chunks=(70, 3))


MEMORY = {
    "dense": lambda x, _: x,
    "Fortran order": lambda x, _: np.asfortranarray(x),
    "big-endian": lambda x, _: x.astype(">f4"),
    "float16": lambda x, _: x.astype(np.float16),
    "integers": lambda x, _: x.astype(int),
    "CSR": lambda x, _: sparse.csr_matrix(x),
    "CSC array": lambda x, _: sparse.csc_array(x),
}
ELSEWHERE = {
    "memory map": memory_map,
    "backed": backed,
    "backed CSR": lambda x, folder: backed(sparse.csr_matrix(x), folder),
    "zarr": in_zarr,
    "zarr CSR": lambda x, folder: in_zarr(sparse.csr_matrix(x), folder),
    "dask": in_dask,
    "dask of CSR": lambda x, _: in_dask(x, _).rechunk((70, -1)).map_blocks(sparse.csr_matrix),
}


@pytest.mark.parametrize("kind", [*MEMORY, *ELSEWHERE])
def test_rows_and_columns(kind: str, x: np.ndarray, rng: np.random.Generator, tmp_path: Path, monkeypatch) -> None:
    values = (MEMORY | ELSEWHERE)[kind](x, tmp_path)
    assert is_streamed(values) == (kind in ELSEWHERE)
    monkeypatch.setattr("scgeoae.core.rows.BLOCK_ENTRIES", 8 * 40)
    for columns in (None, np.arange(8) % 3 > 0, np.array([5, 0, 3]), np.arange(8)):
        matrix, expected = Matrix(values, "X", columns), x if columns is None else x[:, columns]
        assert matrix.shape == expected.shape
        for rows in (slice(None), slice(60, 150), slice(7, 8), slice(0, 0), rng.integers(0, 300, 40)):
            read, dense = matrix.read(rows), matrix.dense(rows, np.float32)
            np.testing.assert_array_equal(read.toarray() if sparse.issparse(read) else read, expected[rows])
            np.testing.assert_array_equal(dense, expected[rows])
            assert dense.dtype == np.float32
            assert dense.flags.c_contiguous
            assert dense.flags.writeable
        assert matrix.value_range() == ValueRange(expected.min(), expected.max(), whole=True)
        np.testing.assert_array_equal(np.vstack([matrix.dense(rows) for rows in matrix.blocks()]), expected)
        np.testing.assert_array_equal(np.vstack([matrix.dense(rows) for rows in matrix.spread(300)]), expected)
        some = list(matrix.spread(90))
        assert 90 <= sum(rows.stop - rows.start for rows in some) < 200
        assert (len(some), some[0].start, some[-1].stop) == (10, 0, 300)


def test_range_counts_the_zeros_of_a_sparse_matrix() -> None:
    some = sparse.csr_matrix(np.array([[0.0, 2.5], [3, 0]]))
    assert Matrix(some, "X").value_range() == ValueRange(0, 3, whole=False)
    assert Matrix(-some, "X").value_range() == ValueRange(-3, 0, whole=False)
    assert Matrix(sparse.csr_matrix(np.full((2, 2), 4.0)), "X").value_range() == ValueRange(4, 4, whole=True)
    for empty in (np.zeros((0, 3)), np.zeros((3, 0)), sparse.csr_matrix((3, 4))):
        assert Matrix(empty, "X").value_range() == ValueRange(0, 0, whole=True)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])
def test_range_of_missing_values(value: float, convert: Callable, x: np.ndarray, monkeypatch) -> None:
    monkeypatch.setattr("scgeoae.core.rows.BLOCK_ENTRIES", 8 * 40)
    for row in (0, 123, 299):
        spoiled = x.copy()
        spoiled[row, 3] = value
        with pytest.raises(ValueError, match="X holds missing or infinite values"):
            Matrix(convert(spoiled), "X").value_range()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda x, _: x.astype(str), TypeError, "real numbers; it has dtype"),
        (lambda x, _: x.astype(complex), TypeError, "real numbers; it has dtype"),
        (lambda x, _: x[0], TypeError, "two-dimensional"),
        (lambda x, _: np.ma.masked_array(x, x > 1), ValueError, "masked values"),
        (lambda x, folder: memory_map(x.astype(complex), folder), TypeError, "real numbers; it has dtype"),
        (lambda *_: type("ndarray", (), {"__module__": "cupy"})(), TypeError, "GPU. Run `rapids_singlecell.get."),
        (lambda x, folder: backed(sparse.csc_matrix(x), folder), TypeError, r"by columns \(CSC\).*: write it as CSR"),
        (lambda x, folder: in_zarr(sparse.csc_matrix(x), folder), TypeError, r"by columns \(CSC\)"),
    ],
)
def test_refused(make: Callable, error: type[Exception], message: str, x: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(error, match=rf"^layers\['a'\] .*{message}"):
        Matrix(make(x, tmp_path), "layers['a']")


@pytest.mark.parametrize("rows", [slice(3, 9), np.array([9, 3])])
def test_a_dask_array_that_cannot_be_computed(rows: Any, x: np.ndarray) -> None:
    def fail(block: np.ndarray) -> np.ndarray:
        msg = "no such part"
        raise RuntimeError(msg)

    failing = in_dask(x, None).map_blocks(fail, meta=x)
    with pytest.raises(OSError, match=r"Rows of layers.* cannot be read: no such part"):
        Matrix(failing, "layers['a']").read(rows)


def test_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    files = Files([tmp_path / "nothing", tmp_path / "a"])
    files.check()
    assert str(files) == str(tmp_path / "a")
    (tmp_path / "a").write_text("12")
    with pytest.raises(OSError, match="a changed while it was read"):
        files.check()
    (tmp_path / "a").unlink()
    with pytest.raises(OSError, match="a vanished while it was read"):
        files.check()
