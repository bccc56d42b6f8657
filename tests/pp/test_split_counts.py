"""The halves of counts: their distribution, and what of the AnnData they keep."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hard_use.tools import frozen
from scipy import sparse

from scgeoae.pp import split_counts

if TYPE_CHECKING:
    from io import StringIO
    from pathlib import Path

FORMS = [np.array, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.csc_array]
BAD_COUNTS = [
    (-1.0, ValueError, "1 of its values are negative"),
    (np.nan, ValueError, "1 of its values are missing or infinite"),
    (np.inf, ValueError, "1 of its values are missing or infinite"),
    (0.5, ValueError, "1 of its values are not whole"),
    (2**25, ValueError, "above 16777216, too large"),
]


@pytest.fixture
def cells(rng: np.random.Generator) -> ad.AnnData:
    """200 cells of 30 genes, with something in every field."""
    x = rng.poisson(rng.gamma(2.0, size=(200, 30))).astype(np.float32)
    obs = pd.DataFrame({"batch": pd.Categorical(["a", "b"] * 100)}, index=[f"cell {i}" for i in range(200)])
    var = pd.DataFrame({"mito": np.arange(30) < 3}, index=[f"gene {i}" for i in range(30)])
    adata = ad.AnnData(x, obs=obs, var=var, layers={"counts": sparse.csr_matrix(2 * x)}, uns={"log1p": {}})
    adata.obsm["X_pca"], adata.varm["PCs"] = x[:, :5].copy(), np.ones((30, 5))
    adata.obsp["distances"], adata.varp["links"] = sparse.eye_array(200, format="csr"), np.eye(30)
    adata.raw = adata.copy()
    return adata


def halves(x: Any, **arguments: Any) -> tuple[Any, Any]:
    """The two matrices of an AnnData that holds `x`, which `X` would not always keep as it is."""
    adata = ad.AnnData(np.zeros(x.shape, np.float32), layers={"counts": x})
    first, second = split_counts(adata, layer="counts", **arguments)
    return first.X, second.X


def dense(x: Any) -> np.ndarray:
    return x.toarray() if sparse.issparse(x) else x


@pytest.mark.parametrize("share", [0.5, 0.2])
@pytest.mark.parametrize("form", [np.array, sparse.csr_matrix])
def test_moments_are_those_of_the_binomial(form: Any, share: float) -> None:
    n = 40_000
    counts = np.tile([1.0, 7.0, 40.0, 1000.0], (n, 1))
    first = dense(halves(form(counts), share=share)[0])
    mean, variance = counts[0] * share, counts[0] * share * (1 - share)
    np.testing.assert_array_less(np.abs(first.mean(0) - mean), 4 * np.sqrt(variance / n))
    np.testing.assert_allclose(first.var(0), variance, rtol=0.03)
    between_genes = np.corrcoef(first.T)[np.triu_indices(4, 1)]
    np.testing.assert_array_less(np.abs(between_genes), 4 / np.sqrt(n))


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_halves_of_poisson_counts_are_independent(rng: np.random.Generator, share: float) -> None:
    n = 40_000
    first, second = halves(rng.poisson(5.0, size=(n, 1)), share=share)
    for left, right in ((first, second), (first**2, second), (first, second**2), (first == 0, second == 0)):
        assert abs(np.corrcoef(left[:, 0], right[:, 0])[0, 1]) < 4 / np.sqrt(n)


def test_halves_of_overdispersed_counts_correlate(rng: np.random.Generator) -> None:
    shape, scale = 2.0, 2.5  # of the rates, halves of which are the means of the halves
    first, second = halves(rng.poisson(rng.gamma(shape, scale, size=(40_000, 1))))
    shared, own = shape * scale**2 / 4, shape * scale / 2
    assert np.corrcoef(first[:, 0], second[:, 0])[0, 1] == pytest.approx(shared / (shared + own), abs=0.02)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "i8", "u1"])
@pytest.mark.parametrize("form", FORMS)
def test_halves_add_up_in_their_form(cells: ad.AnnData, form: Any, dtype: str) -> None:
    check_halves(form(cells.X.astype(dtype)))


@pytest.mark.parametrize("dtype", ["f2", ">f4", "longdouble"])
def test_halves_of_rare_types_add_up(cells: ad.AnnData, dtype: str) -> None:
    check_halves(cells.X.astype(dtype))


def check_halves(x: Any) -> None:
    parts = halves(x, share=0.3)
    for half in parts:
        assert type(half) is type(x)
        assert half.dtype == x.dtype
        assert dense(half).min() == 0
        assert not sparse.issparse(half) or (half.data > 0).all()
    np.testing.assert_array_equal(dense(parts[0]) + dense(parts[1]), dense(x))
    assert 0.2 < parts[0].sum() / x.sum() < 0.4


def test_entries_stored_twice_are_one_count() -> None:
    counts = sparse.csr_matrix((np.array([0.5, 0.5, 3.0]), np.array([1, 1, 0]), np.array([0, 2, 3])), shape=(2, 2))
    first, second = halves(counts)
    np.testing.assert_array_equal((first + second).toarray(), [[0, 1], [3, 0]])


def test_what_is_kept(cells: ad.AnnData) -> None:
    before = frozen(cells)
    for half in split_counts(cells):
        for frame, original in ((half.obs, cells.obs), (half.var, cells.var)):
            pd.testing.assert_frame_equal(frame, original)
        for name in ("obsm", "varm", "obsp", "varp", "layers", "uns"):
            assert not set(getattr(half, name)) - {None}, name  # anndata 0.13 lists X as the layer None
        assert half.raw is None
        assert not half.is_view
        half.obs.loc["cell 0", "batch"] = "b"
        half.obs["batch"] = half.obs["batch"].cat.rename_categories({"a": "c"})
        half.var.loc[:, "mito"] = False
        half.obs_names, half.var_names = half.obs_names[::-1], half.var_names[::-1]
        half.X[:] = 7
    assert frozen(cells) == before


def test_layer(cells: ad.AnnData) -> None:
    cells.X -= 0.5
    before = frozen(cells)
    first, second = split_counts(cells, layer="counts")
    np.testing.assert_array_equal(dense(first.X + second.X), dense(cells.layers["counts"]))
    assert frozen(cells) == before
    with pytest.raises(KeyError, match=r"Did not find .layers\['raw'\]; .layers holds \['counts'\]"):
        split_counts(cells, layer="raw")
    with pytest.raises(ValueError, match=r"X must hold raw counts.*Pass the layer"):
        split_counts(cells)


@pytest.mark.parametrize("form", FORMS)
def test_views(cells: ad.AnnData, form: Any) -> None:
    cells.X = form(cells.X)
    view = cells[::-2, 5:]
    before = frozen(cells)
    first, second = split_counts(view)
    assert view.is_view
    assert frozen(cells) == before
    assert type(first.X) is type(second.X) is type(cells.X)
    assert list(first.obs_names) == list(second.obs_names) == list(view.obs_names)
    np.testing.assert_array_equal(dense(first.X + second.X), dense(cells.X)[::-2, 5:])


def test_seeds(cells: ad.AnnData) -> None:
    def split(rng: Any) -> Any:
        return frozen(split_counts(cells, rng=rng)[0])

    assert split(3) == split(3) != split(4)
    assert frozen(split_counts(cells)[0]) == split(0)
    generator = np.random.default_rng(3)
    assert split(generator) == split(3) != split(generator)
    assert split(None) != split(None)


def test_the_global_generator_is_left_alone(cells: ad.AnnData) -> None:
    np.random.seed(1)  # noqa: NPY002
    before = frozen(np.random.get_state())  # noqa: NPY002
    first = frozen(split_counts(cells)[0])
    split_counts(cells, rng=None)
    assert frozen(np.random.get_state()) == before  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    assert frozen(split_counts(cells)[0]) == first


@pytest.mark.parametrize("form", [np.array, sparse.csr_matrix])
def test_cells_that_end_empty_are_counted(form: Any, log: StringIO) -> None:
    x = np.zeros((300, 4), np.float32)
    x[:200, 1] = 1
    x[200:250, 2] = 100
    first, second = (dense(half) for half in halves(form(x), share=0.3))
    for name, half in (("first", first), ("second", second)):
        n_empty = int((half[:250].sum(1) == 0).sum())
        assert n_empty > 20
        assert f"{n_empty} of 300 cells have no count left in the {name} half" in log.getvalue()
    assert log.getvalue().count("\n") == 2


def test_no_warning_where_no_cell_ends_empty(cells: ad.AnnData, log: StringIO) -> None:
    cells.X += 20
    cells.X[:10] = 0  # they had none before
    split_counts(cells)
    assert not log.getvalue()


@pytest.mark.parametrize(("value", "error", "message"), BAD_COUNTS)
@pytest.mark.parametrize("form", [np.array, sparse.csr_matrix, sparse.csc_matrix])
def test_bad_counts(cells: ad.AnnData, form: Any, value: float, error: type[Exception], message: str) -> None:
    cells.X[5, 3] = value
    cells.X = form(cells.X)
    before = frozen(cells)
    with pytest.raises(error, match=message):
        split_counts(cells)
    assert frozen(cells) == before


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x: x > 0, TypeError, "a ndarray of bool"),
        (lambda x: x.astype(str), TypeError, "a ndarray of <U"),
        (lambda x: sparse.csr_matrix(x > 0), TypeError, "a csr_matrix of bool"),
        (lambda x: x.astype(complex), TypeError, "a ndarray of complex128"),
        (lambda x: np.ma.masked_array(x, x > 2), ValueError, "masked values"),
        (lambda x: np.full(x.shape, 2**63, np.uint64), ValueError, "above 9223372036854775807"),
    ],
)
def test_bad_types(cells: ad.AnnData, change: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        halves(change(cells.X))


@pytest.mark.parametrize("share", [0, 1, 0.0, 1.0, -0.1, 1.1, np.nan, np.inf, True, False])
def test_bad_shares(cells: ad.AnnData, share: float) -> None:
    with pytest.raises(ValueError, match=f"share must be between 0 and 1; it is {share!r}"):
        split_counts(cells, share=share)


@pytest.mark.parametrize("share", ["0.5", None, [0.5]])
def test_shares_that_are_no_numbers(cells: ad.AnnData, share: Any) -> None:
    with pytest.raises(TypeError, match="share must be a number"):
        split_counts(cells, share=share)


@pytest.mark.parametrize("form", [np.array, sparse.csr_matrix])
def test_backed(cells: ad.AnnData, form: Any, tmp_path: Path) -> None:
    cells.X = form(cells.X)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    for adata in (backed, backed[:50]):
        with pytest.raises(ValueError, match=r"backed.*adata.to_memory\(\)"):
            split_counts(adata)
    first, second = split_counts(backed.to_memory())
    np.testing.assert_array_equal(dense(first.X + second.X), dense(cells.X))
    backed.file.close()


def test_zarr(cells: ad.AnnData, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "x.zarr", mode="w", zarr_format=2)
    ad.io.write_elem(group, "dense", cells.X)
    ad.io.write_elem(group, "sparse", sparse.csr_matrix(cells.X))
    for matrix in (group["dense"], ad.io.sparse_dataset(group["sparse"])):
        with pytest.raises(TypeError, match="must be a numpy array or a CSR or CSC matrix"):
            split_counts(ad.AnnData(matrix))


def test_dask(cells: ad.AnnData) -> None:
    dask_array = pytest.importorskip("dask.array")
    adata = ad.AnnData(dask_array.from_array(cells.X, chunks=(50, -1)))
    with pytest.raises(TypeError, match="a Array of float32"):
        split_counts(adata)


def test_no_matrix() -> None:
    with pytest.raises(TypeError, match="NoneType"):
        split_counts(ad.AnnData(obs=pd.DataFrame(index=["a", "b"])))


def test_torch_is_not_imported() -> None:
    code = (
        "import sys, anndata, numpy, scgeoae; scgeoae.pp.split_counts(anndata.AnnData(numpy.ones((5, 5)))); "
        "print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
