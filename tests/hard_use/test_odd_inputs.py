"""Tables of odd and bad inputs: each works with a sane result, or is refused with nothing changed."""

from __future__ import annotations

import copy
import functools
import pickle
import threading
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from hard_use.tools import BRIEF, Case, cells, check_results, frozen, parameters, train
from scipy import sparse

import scgeoae
from scgeoae import get, metrics, pl, pp, tl

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import StringIO
    from pathlib import Path
    from typing import TypeAlias

    from anndata import AnnData

    Make: TypeAlias = Callable[[Path], AnnData]

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*of view, initializing view as actual"),
    pytest.mark.filterwarnings("ignore:(Variable|Observation) names are not unique"),
]


def of(n: int = 60, n_genes: int = 6) -> Make:
    return lambda _: cells(n, n_genes)


def x(change: Callable[[np.ndarray], Any], n: int = 60) -> Make:
    """`X` changed."""

    def make(_: Path) -> AnnData:
        adata = cells(n)
        adata.X = change(adata.X)
        return adata

    return make


def layer(change: Callable[[np.ndarray], Any]) -> Make:
    """A changed copy of `X` as the layer `odd`; unlike `X` it is kept as it is."""

    def make(_: Path) -> AnnData:
        adata = cells()
        adata.layers["odd"] = change(adata.X.copy())
        return adata

    return make


def obsm(change: Callable[[AnnData], Any]) -> Make:
    """An `obsm` of the name `odd`."""

    def make(_: Path) -> AnnData:
        adata = cells()
        adata.obsm["odd"] = change(adata)
        return adata

    return make


def frame(**columns: Any) -> Make:
    return obsm(lambda adata: pd.DataFrame(columns, index=adata.obs_names))


def changed(change: Callable[[AnnData], Any], n: int = 60) -> Make:
    """Cells changed in place."""

    def make(_: Path) -> AnnData:
        adata = cells(n)
        change(adata)
        return adata

    return make


def on_disk(mode: str = "r", change: Callable[[np.ndarray], Any] = np.asarray) -> Make:
    """A backed object."""

    def make(folder: Path) -> AnnData:
        adata = cells()
        adata.X = change(adata.X)
        adata.write_h5ad(folder / "cells.h5ad")
        return ad.read_h5ad(folder / "cells.h5ad", backed=mode)

    return make


def memory_map(folder: Path, matrix: np.ndarray) -> np.ndarray:
    np.save(folder / "x.npy", matrix)
    return np.load(folder / "x.npy", mmap_mode="r")


def train_layer(adata: AnnData) -> None:
    train(adata, use_rep=None, layer="odd")


def train_obsm(adata: AnnData) -> None:
    train(adata, use_rep="odd")


def with_nan(matrix: np.ndarray) -> np.ndarray:
    matrix = matrix.copy()
    matrix[5, 2] = np.nan
    return matrix


def unsorted(matrix: np.ndarray) -> sparse.csr_matrix:
    result = sparse.csr_matrix(matrix)
    for i in range(result.shape[0]):
        row = slice(result.indptr[i], result.indptr[i + 1])
        result.indices[row], result.data[row] = result.indices[row][::-1].copy(), result.data[row][::-1].copy()
    result.has_sorted_indices = False
    return result


def in_two_parts(matrix: np.ndarray) -> sparse.csr_matrix:
    """Every entry stored twice, as halves."""
    whole = sparse.csr_matrix(matrix)
    parts = np.repeat(whole.data / 2, 2), np.repeat(whole.indices, 2), 2 * whole.indptr
    return sparse.csr_matrix(parts, shape=whole.shape)


def with_zeros(matrix: np.ndarray) -> sparse.csr_matrix:
    result = sparse.csr_matrix(matrix)
    result.data[:50] = 0
    return result


def long_indices(matrix: np.ndarray) -> sparse.csr_matrix:
    result = sparse.csr_matrix(matrix)
    result.indices, result.indptr = result.indices.astype(np.int64), result.indptr.astype(np.int64)
    return result


def read_only(matrix: np.ndarray) -> np.ndarray:
    matrix = matrix.copy()
    matrix.flags.writeable = False
    return matrix


def strange_names(adata: AnnData) -> None:
    adata.obs_names = [f"c/{i} é中" for i in range(adata.n_obs)]
    adata.var_names = [f"g/{i}/β" for i in range(adata.n_vars)]


def taken_names(adata: AnnData) -> None:
    """All our names are in use."""
    adata.obs["geoae_det"] = "text"
    adata.obs["geoae_anisotropy"] = pd.Categorical(["x"] * adata.n_obs)
    adata.obsm["X_geoae"] = np.zeros((adata.n_obs, 7))
    adata.uns["geoae"] = 3


def same_names(axis: str) -> Make:
    return changed(lambda adata: setattr(adata, axis, ["one"] * len(getattr(adata, axis))))


def rare_kind(n: int) -> Make:
    """Cells of one kind and a single one of another."""
    return lambda _: ad.AnnData(np.vstack([cells(n).X, cells(1).X + 20]))


def first_rows(n: int) -> np.ndarray:
    return (np.arange(60) < n)[:, None]


COUNT = np.arange(60.0)
FEW = (ValueError, "at least 3 cells; there are")
REAL = (TypeError, "real numbers")
LACKING = (ValueError, "missing, infinite or larger than float32|missing or infinite")
EQUAL = (ValueError, "All cells are equal")

INPUTS = [
    Case("0 cells", of(0), train, *FEW),
    Case("1 cell", of(1), train, *FEW),
    Case("2 cells", of(2), train, *FEW),
    Case("3 cells", of(3), train),
    Case("1 gene, 2 dimensions", of(60, 1), train, ValueError, "1 features, fewer than n_components=2"),
    Case("1 gene, 1 dimension", of(60, 1), lambda a: train(a, n_components=1)),
    Case("2 genes: flat data", of(60, 2), train),
    Case("no gene", of(60, 0), train, ValueError, "0 features"),
    Case("equal obs names", same_names("obs_names"), train),
    Case("equal var names", same_names("var_names"), train, ValueError, "var_names_make_unique"),
    Case("names with slashes and unicode", changed(strange_names), train),
    Case("our names in use", changed(taken_names), train, ValueError, "holds something else than a result"),
    Case("strings", layer(lambda m: m.astype(str)), train_layer, *REAL),
    Case("bytes", layer(lambda m: m.astype("S8")), train_layer, *REAL),
    Case("complex", layer(lambda m: m.astype(complex)), train_layer, *REAL),
    Case("objects", layer(lambda m: m.astype(object)), train_layer, *REAL),
    Case("dates", layer(lambda m: m.astype(int).astype("datetime64[s]")), train_layer, *REAL),
    Case("booleans", layer(lambda m: m > 0), train_layer),
    Case("float16", x(lambda m: m.astype(np.float16)), train),
    Case("float128", x(lambda m: m.astype(np.longdouble)), train),
    Case("big-endian", layer(lambda m: m.astype(">f4")), train_layer),
    Case("uint64", layer(lambda m: np.abs(100 * m).astype(np.uint64)), train_layer),
    Case("NaN", x(with_nan), train, ValueError, "1 missing.* row 5, column 2"),
    Case("NaN in CSR", x(lambda m: sparse.csr_matrix(with_nan(m))), train, *LACKING),
    Case("infinite", x(lambda m: np.where(m == m.max(), np.inf, m)), train, *LACKING),
    Case("negative", x(lambda m: -np.abs(m)), train),
    Case("huge, 1e30", x(lambda m: m * 1e30), train),
    Case("one value of 1e30", x(lambda m: np.where(m == m.max(), np.float32(1e30), m)), train),
    Case("beyond float32", x(lambda m: m.astype(float) * 1e300), train, *LACKING),
    Case("tiny, 1e-30", x(lambda m: m * np.float32(1e-30)), train),
    Case("subnormal, 1e-38", x(lambda m: m * np.float32(1e-38)), train, FloatingPointError, "blew up"),
    Case("below float32", x(lambda m: m.astype(float) * 1e-60), train, *EQUAL),
    Case("far from 0", x(lambda m: m + np.float32(1e5)), train),
    Case("constant features", x(lambda m: np.where(np.arange(6) > 2, np.float32(3), m)), train),
    Case("one feature varies", x(lambda m: np.where(np.arange(6) > 0, np.float32(3), m)), train),
    Case("identical cells", x(lambda m: np.full_like(m, 0.1)), train, *EQUAL),
    Case("zeros", x(np.zeros_like), train, *EQUAL),
    Case("all but one identical", x(lambda m: np.where(first_rows(1), m, m[1:2])), train),
    Case("rows of zeros", x(lambda m: np.where(first_rows(20), 0, m)), train),
    Case("empty rows in CSR", x(lambda m: sparse.csr_matrix(np.where(first_rows(20), 0, m))), train),
    Case("CSR, unsorted", x(unsorted), train),
    Case("CSR, unsorted, some genes", x(unsorted), lambda a: train(a, mask_var=np.arange(6) < 4)),
    Case("CSR, entries in two parts", layer(in_two_parts), train_layer),
    Case("CSR, explicit zeros", x(with_zeros), train),
    Case("CSR, long indices", x(long_indices), train),
    Case("CSR array", x(sparse.csr_array), train),
    Case("CSR of booleans", layer(lambda m: sparse.csr_matrix(m > 0)), train_layer),
    Case("CSC", x(sparse.csc_matrix), train),
    Case("CSC array", layer(sparse.csc_array), train_layer),
    Case("Fortran order", layer(np.asfortranarray), train_layer),
    Case("not contiguous", layer(lambda m: np.repeat(m, 2, 1)[:, ::2]), train_layer),
    Case("backwards", layer(lambda m: m[::-1, ::-1]), train_layer),
    Case("read-only", layer(read_only), train_layer),
    Case("broadcast: a line", layer(lambda m: np.broadcast_to(m[:, :1], (60, 6))), train_layer),
    Case("memory map", lambda folder: ad.AnnData(memory_map(folder, cells().X)), train),
    Case("NaN in a memory map", lambda folder: ad.AnnData(memory_map(folder, with_nan(cells().X))), train, *LACKING),
    Case("view of a view", lambda _: cells(120)[::2][5:, :5], train),
    Case("view by mask", lambda _: cells(120)[np.arange(120) % 2 == 0], train),
    Case("bad view", lambda _: x(with_nan)(_)[::-1], train, *LACKING),
    Case("backed", on_disk(), train),
    Case("backed, to be written", on_disk("r+"), train),
    Case("backed CSR", on_disk(change=sparse.csr_matrix), train),
    Case("backed CSC", on_disk(change=sparse.csc_matrix), train, TypeError, "by columns"),
    Case("backed view", lambda folder: on_disk()(folder)[:40], train, ValueError, "backed"),
    Case("backed with NaN", on_disk(change=with_nan), train, *LACKING),
    Case("backed copy", on_disk(), lambda a: train(a, copy=True), ValueError, "backed"),
    Case("raw", changed(lambda a: setattr(a, "raw", a[:, :4].copy())), train),
    Case(
        "raw asked for", changed(lambda a: setattr(a, "raw", a)), lambda a: train(a, use_rep="raw"), KeyError, "'raw'"
    ),
    Case("X is None", lambda _: ad.AnnData(obs=cells().obs), train, ValueError, "X is None"),
    Case("masked array", obsm(lambda a: np.ma.masked_array(a.X, a.X > 2)), train_obsm, ValueError, "masked values"),
    Case("masked array, nothing masked", obsm(lambda a: np.ma.masked_array(a.X)), train_obsm),
    Case("masked layer", layer(lambda m: np.ma.masked_array(m, m > 2)), train_layer, ValueError, "masked values"),
    Case("frame", frame(a=COUNT, b=np.sqrt(COUNT)), train_obsm),
    Case("frame, numbers and booleans", frame(a=COUNT > 30, b=COUNT), train_obsm),
    Case("frame of nullable integers", frame(a=pd.array(COUNT, "Int64"), b=pd.array(COUNT % 7, "Int64")), train_obsm),
    Case("frame, integer missing", frame(a=pd.array([None, *COUNT[1:]], "Int64"), b=COUNT), train_obsm, *LACKING),
    Case("frame, category", frame(a=pd.Categorical([1, 2] * 30), b=COUNT), train_obsm, TypeError, r"columns \['a'\]"),
    Case("frame, text", frame(a=["x"] * 60, b=COUNT), train_obsm, TypeError, r"columns \['a'\]"),
    Case("frame, complex", frame(a=COUNT * 1j, b=COUNT), train_obsm, TypeError, r"columns \['a'\]"),
    Case("frame, equal columns", obsm(lambda a: pd.concat([a.to_df().iloc[:, [0, 1]]] * 2, axis=1)), train_obsm),
    Case("obsm of 3 axes", obsm(lambda _: np.zeros((60, 3, 2))), train_obsm, TypeError, "two-dimensional"),
    Case("obsm without columns", obsm(lambda _: np.zeros((60, 0))), train_obsm, ValueError, "0 features"),
    Case("outlier, a thousand times farther", x(lambda m: np.where(first_rows(1), 1_000 * m, m)), train),
    Case("outlier, a million times farther", x(lambda m: np.where(first_rows(1), 10**6 * m, m)), train),
    Case("2,000 cells and one of another kind", rare_kind(2_000), train),
    Case("2,000 equal cells and another", lambda _: ad.AnnData(np.eye(2_001, 6, -2_000)), train),
    Case("line", x(lambda m: m[:, :1] * np.arange(1, 7, dtype="f4")), train),
    Case("key with unicode", of(), lambda a: train(a, key_added="карта 1")),
    Case("key with a slash", of(), lambda a: train(a, key_added="a/b"), ValueError, "'/'"),
    Case("key '.'", of(), lambda a: train(a, key_added="."), ValueError, "key_added"),
    Case("key '..'", of(), lambda a: train(a, key_added=".."), ValueError, "key_added"),
    Case("key with a backslash", of(), lambda a: train(a, key_added="a\\b"), ValueError, "key_added"),
    Case("key with half a character", of(), lambda a: train(a, key_added="\ud800"), ValueError, "key_added"),
    Case("key with NUL", of(), lambda a: train(a, key_added="a\0"), ValueError, "key_added"),
    Case("seed beyond int64", of(), lambda a: train(a, rng=2**64), ValueError, "rng"),
    Case("steps beyond int64", of(), lambda a: train(a, n_steps=2**63), ValueError, "n_steps"),
    Case("batch beyond int64", of(), lambda a: train(a, batch_size=2**63), ValueError, "batch_size"),
    Case("no seed", of(), lambda a: train(a, rng=None)),
    Case("mean and std of genes are text", changed(lambda a: a.var.__setitem__(["mean", "std"], "x")), train),
    Case("alpha diverges", of(), lambda a: train(a, alpha=1e300), FloatingPointError, "Lower learning_rate"),
]


@pytest.mark.parametrize("case", parameters(INPUTS))
def test_training(case: Case, tmp_path: Path) -> None:
    adata = case.make(tmp_path)
    before = frozen(adata)
    if case.error is not None:
        with pytest.raises(case.error, match=case.message):
            case.call(adata)
        assert frozen(adata) == before
        return
    case.call(adata)
    check_results(adata)
    after = frozen(adata)
    assert after["X"] == before["X"]
    assert after["layers"] == before["layers"]
    assert after["var"] == before["var"]


def counts(change: Callable[[np.ndarray], Any] = np.asarray) -> Make:
    """A changed matrix of counts as the layer `odd`."""
    return layer(lambda matrix: change(np.floor(3 * np.abs(matrix))))


def split(adata: AnnData, **arguments: Any) -> None:
    """Halves that add up, of the same type, cells and genes."""
    matrix = adata.layers["odd"]
    halves = pp.split_counts(adata, layer="odd", **arguments)
    for half in halves:
        assert half.shape == adata.shape
        assert half.X.dtype == matrix.dtype
        assert sparse.issparse(half.X) == sparse.issparse(matrix)
        assert half.X.min() == 0
        assert half.X.sum() > 0
        assert list(half.obs_names) == list(adata.obs_names)
    total = halves[0].X + halves[1].X - matrix
    assert (abs(total) if sparse.issparse(total) else np.abs(total)).max() == 0


def split_share(share: Any) -> Callable[[AnnData], None]:
    return lambda adata: split(adata, share=share)


def split_x(adata: AnnData) -> Any:
    return pp.split_counts(adata)


SHARE = (ValueError, "share must be between 0 and 1")
NO_COUNTS = (TypeError, "must be a numpy array or a CSR or CSC matrix of counts")

SPLITS = [
    Case("counts", counts(), split),
    Case("counts in CSR, unsorted", counts(unsorted), split),
    Case("counts in CSR, entries in two parts", counts(in_two_parts), split),
    Case("counts in CSR, explicit zeros", counts(with_zeros), split),
    Case("counts in CSR, long indices", counts(long_indices), split),
    Case("counts in a CSR array", counts(sparse.csr_array), split),
    Case("counts in CSC", counts(sparse.csc_matrix), split),
    Case("counts, Fortran order", counts(np.asfortranarray), split),
    Case("counts, not contiguous", counts(lambda m: np.repeat(m, 2, 1)[:, ::2]), split),
    Case("counts, backwards", counts(lambda m: m[::-1, ::-1]), split),
    Case("counts, read-only", counts(read_only), split),
    Case("counts, broadcast", counts(lambda m: np.broadcast_to(m[:, :1], (60, 6))), split),
    Case("counts of float16", counts(lambda m: m.astype(np.float16)), split),
    Case("counts of float128", counts(lambda m: m.astype(np.longdouble)), split),
    Case("counts, big-endian", counts(lambda m: m.astype(">f4")), split),
    Case("counts of int8", counts(lambda m: m.astype(np.int8)), split),
    Case("counts of uint64", counts(lambda m: m.astype(np.uint64)), split),
    Case("counts of negative zeros", counts(lambda m: np.where(m == 0, np.float32(-0.0), m)), split),
    Case("counts up to 2^24", counts(lambda m: np.where(m == m.max(), np.float32(2**24), m)), split),
    Case("counts in a masked array, nothing masked", counts(np.ma.masked_array), split),
    Case("counts in a view", lambda _: counts()(_)[::-2, 1:], split),
    Case("counts of strange names", lambda _: (a := counts()(_), strange_names(a))[0], split),
    Case("no cell, split", lambda _: ad.AnnData(np.zeros((0, 6))), split_x),
    Case("no gene, split", lambda _: ad.AnnData(np.zeros((6, 0))), split_x),
    Case("no counts, split", x(np.zeros_like), split_x),
    Case("counts in a memory map", lambda folder: ad.AnnData(memory_map(folder, np.floor(cells().X ** 2))), split_x),
    Case("negative counts", counts(lambda m: m - 1), split, ValueError, "values are negative"),
    Case("counts of uint64 beyond int64", counts(lambda m: (m + 2.0**63).astype("u8")), split, ValueError, "too large"),
    Case("counts beyond 2^24", counts(lambda m: m * np.float32(2**24)), split, ValueError, "above 16777216, too large"),
    Case("NaN among counts", counts(with_nan), split, ValueError, "1 of its values are missing or infinite"),
    Case("NaN among counts in CSR", counts(lambda m: sparse.csr_matrix(with_nan(m))), split, ValueError, "missing"),
    Case("infinite count", counts(lambda m: np.where(m == m.max(), np.inf, m)), split, ValueError, "infinite"),
    Case("fractions of counts", counts(lambda m: m / 2), split, ValueError, "values are not whole"),
    Case("fractions of counts in CSC", counts(lambda m: sparse.csc_matrix(m / 2)), split, ValueError, "are not whole"),
    Case("counts, logarithms", x(lambda m: np.log1p(np.abs(m))), split_x, ValueError, "X must hold raw counts"),
    Case("masked counts", counts(lambda m: np.ma.masked_array(m, m > 2)), split, ValueError, "masked values"),
    Case("counts of text", counts(lambda m: m.astype(str)), split, *NO_COUNTS),
    Case("counts of bytes", counts(lambda m: m.astype("S8")), split, *NO_COUNTS),
    Case("complex counts", counts(lambda m: m.astype(complex)), split, *NO_COUNTS),
    Case("counts as objects", counts(lambda m: m.astype(object)), split, *NO_COUNTS),
    Case("counts of days", counts(lambda m: m.astype(int).astype("timedelta64[D]")), split, *NO_COUNTS),
    Case("booleans, split", counts(lambda m: m > 0), split, *NO_COUNTS),
    Case("booleans in CSR, split", counts(lambda m: sparse.csr_matrix(m > 0)), split, *NO_COUNTS),
    Case("X is None, split", lambda _: ad.AnnData(obs=cells().obs), split_x, *NO_COUNTS),
    Case("backed, split", on_disk(change=np.floor), split_x, ValueError, "backed"),
    Case("backed CSR, split", on_disk(change=sparse.csr_matrix), split_x, ValueError, "backed"),
    Case("backed view, split", lambda folder: on_disk()(folder)[:40], split_x, ValueError, "backed"),
    Case("layer not there, split", counts(), lambda a: pp.split_counts(a, layer="raw"), KeyError, r"holds \['odd'\]"),
    *(Case(f"share {share}", counts(), split_share(share), *SHARE) for share in (0, 1, -0.5, 2, np.nan, np.inf, True)),
    *(Case(f"share {share!r}", counts(), split_share(share), TypeError, "a number") for share in ("0.5", None, 0.5j)),
    Case("seed below 0, split", counts(), lambda a: split(a, rng=-1), ValueError, "non-negative"),
    Case("seed of text, split", counts(), lambda a: split(a, rng="x"), TypeError, "int"),
]
"""Counts that are split into halves."""


@pytest.mark.parametrize("case", parameters(SPLITS))
def test_splits(case: Case, tmp_path: Path) -> None:
    adata = case.make(tmp_path)
    before = frozen(adata)
    if case.error is None:
        case.call(adata)
    else:
        with pytest.raises(case.error, match=case.message):
            case.call(adata)
    assert frozen(adata) == before


@functools.cache
def _mapped_once() -> AnnData:
    adata = cells()
    adata.obsm["X_pca"] = adata.X[:, :4].copy()
    train(adata)
    tl.cluster_areas(adata, "kind")
    tl.alpha_path(adata, [0, 1], use_rep="X", **BRIEF)
    return adata


def mapped(change: Callable[[AnnData], Any] = lambda _: None) -> Make:
    """Cells with a map, changed in place."""

    def make(_: Path) -> AnnData:
        adata = _mapped_once().copy()
        change(adata)
        return adata

    return make


def entry(*path: str, value: Any) -> Make:
    """With another value in `uns['geoae']`."""

    def change(adata: AnnData) -> None:
        place = adata.uns["geoae"]
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value

    return mapped(change)


def without(*path: str) -> Make:
    def change(adata: AnnData) -> None:
        place = adata.uns["geoae"]
        for name in path[:-1]:
            place = place[name]
        del place[path[-1]]

    return mapped(change)


def put(field: str, name: str, value: Any) -> Make:
    return mapped(lambda adata: getattr(adata, field).__setitem__(name, value))


def placed(z: Any) -> Make:
    """Other coordinates, as those of the result."""

    def place(adata: AnnData) -> None:
        adata.obsm["X_geoae"] = z
        del adata.uns["geoae"]["fingerprint"]

    return mapped(place)


def subset(rows: Any, columns: Any = slice(None)) -> Make:
    return lambda folder: mapped()(folder)[rows, columns]


def joined(**arguments: Any) -> Make:
    """Two objects, each with a map of its own, in one."""

    def make(_: Path) -> AnnData:
        parts = cells(), cells(seed=1)
        for adata in parts:
            train(adata)
        return ad.concat(parts, index_unique="-", **arguments)

    return make


def two_halves(folder: Path) -> AnnData:
    """Halves of one mapped object, joined again."""
    return ad.concat([subset(slice(30))(folder), subset(slice(30, 60))(folder)], uns_merge="same")


def newer(folder: Path) -> AnnData:
    return entry("model", "format", value=99)(folder)


def indicatrix(adata: AnnData) -> Any:
    return pl.indicatrix(adata, show=False)


def heatmap(adata: AnnData) -> Any:
    return pl.det_heatmap(adata, field=True, show=False)


def history(adata: AnnData) -> Any:
    return pl.history(adata, show=False)


def areas(adata: AnnData) -> Any:
    return tl.cluster_areas(adata, "kind")


def distances(adata: AnnData) -> Any:
    return pl.cluster_distances(tl.cluster_distances(adata, "kind", copy=True), show=False)


def draw_areas(adata: AnnData) -> Any:
    return pl.cluster_areas(adata, show=False)


def quality(adata: AnnData) -> Any:
    return metrics.embedding_quality(adata, ["geoae"], use_rep="X", k=3)


def nonlinearity(adata: AnnData) -> Any:
    return get.nonlinearity(adata, radius=1.0)


def origin(adata: AnnData) -> Any:
    return get.decode(adata, np.zeros((1, 2)))


def as_query(adata: AnnData) -> None:
    """Placed on a map of other cells."""
    tl.map_cells(adata, _mapped_once())


def as_reference(adata: AnnData) -> AnnData:
    query = cells(5, seed=2)
    tl.map_cells(query, adata, obs="kind")
    return query


def fit(adata: AnnData, **arguments: Any) -> None:
    tl.fit_decoder(adata, "odd", **{"use_rep": "X", **BRIEF, **arguments})


def encode(adata: AnnData) -> None:
    fitted = tl.fit_decoder(adata, "odd", use_rep="X", **BRIEF, copy=True)
    tl.map_cells(cells(5, seed=2), fitted, key="geoae_odd")


def all_views(adata: AnnData) -> None:
    for call in (get.metric, nonlinearity, origin, indicatrix, heatmap, history, areas, distances, as_reference):
        call(adata)


def labels_of_few(adata: AnnData) -> None:
    """Of cells so far off that no piece of the map is nearest to them."""
    adata.obs["kind"] = pd.Categorical(["a", "b"] + [None] * 58)
    adata.obsm["X_geoae"][:2] = 1e6
    del adata.uns["geoae"]["fingerprint"]


def masked_map(folder: Path) -> AnnData:
    hidden = np.arange(120).reshape(60, 2) == 7
    return mapped(lambda a: a.obsm.update(X_geoae=np.ma.masked_array(a.obsm["X_geoae"], hidden)))(folder)


def no_validation(folder: Path) -> AnnData:
    """Interrupted before the first one."""
    adata = mapped()(folder)
    adata.uns["geoae"]["history"] = {name: curve[:0] for name, curve in adata.uns["geoae"]["history"].items()}
    return adata


def mapped_cells(_: Path) -> AnnData:
    adata = cells()
    as_query(adata)
    return adata


def far_off_map(_: Path) -> AnnData:
    """One of many cells; a lattice over all would have 10^12 nodes."""
    adata = cells(3_000)
    as_query(adata)
    adata.obsm["X_geoae"][0] = 1e6
    del adata.uns["geoae"]["fingerprint"]
    return adata


NO_RESULT = (KeyError, "Did not find a geometric autoencoder")
DAMAGED = (ValueError, "stored model is damaged")
MASKED = (ValueError, "masked values")
SHAPE = (ValueError, "must be finite and of shape")

RESULTS = [
    Case("pickled", lambda folder: pickle.loads(pickle.dumps(mapped()(folder))), all_views),
    Case("deep copy", lambda folder: copy.deepcopy(mapped()(folder)), all_views),
    Case("halves joined again", two_halves, all_views),
    Case("two maps joined", joined(), get.metric, *NO_RESULT),
    Case("two maps joined, same kept", joined(uns_merge="same"), get.metric, ValueError, "is damaged"),
    Case("two maps joined, unique kept", joined(uns_merge="unique"), get.metric, ValueError, "is damaged"),
    Case("two maps joined, first kept", joined(uns_merge="first"), get.metric),
    Case("some cells", subset(slice(0, 60, 7)), all_views),
    Case("some cells, trained again", subset(slice(0, 60, 3)), train),
    Case("some genes", subset(slice(None), slice(3)), get.metric),
    Case("some genes, trained again", subset(slice(None), slice(3)), train),
    Case("one cell, drawn", subset([0]), indicatrix),
    Case("one cell, coloured", subset([0]), heatmap),
    Case("cells at one place, drawn", placed(np.full((60, 2), 3.0)), indicatrix),
    Case("cells on a line, drawn", placed(np.outer(np.arange(60), [0, 1.0])), indicatrix),
    Case("a cell far off, drawn", far_off_map, indicatrix),
    Case("no cell, metric", subset([]), get.metric),
    Case("no cell, drawn", subset([]), indicatrix, ValueError, "cell"),
    Case("no cell, coloured", subset([]), heatmap, ValueError, "cell"),
    Case("no cell, areas", subset([]), areas, ValueError, "0 groups"),
    Case("no cell, mapped", of(0), as_query),
    Case("one cell, mapped", of(1), as_query),
    Case("a gene missing, mapped", of(9, 5), as_query),
    Case("genes missing, mapped", of(9, 2), as_query, ValueError, "4 of the 6 genes"),
    Case("equal genes, mapped", same_names("var_names"), as_query, ValueError, "var_names_make_unique"),
    Case(
        "X is None, mapped", lambda _: ad.AnnData(obs=cells().obs, var=cells().var), as_query, ValueError, "X is None"
    ),
    Case("NaN, mapped", x(with_nan), as_query, ValueError, "missing or infinite"),
    Case("infinite, mapped", x(lambda m: np.where(m > 2, np.inf, m)), as_query, ValueError, "missing or infinite"),
    Case("text, mapped", changed(lambda a: setattr(a, "X", a.X.astype(str))), as_query, *REAL),
    Case("complex, mapped", changed(lambda a: setattr(a, "X", a.X.astype(complex))), as_query, *REAL),
    Case("booleans, mapped", changed(lambda a: setattr(a, "X", a.X > 0)), as_query),
    Case("CSC, mapped", x(sparse.csc_matrix), as_query),
    Case("view of a view, mapped", lambda _: cells(120)[::2][5:], as_query),
    Case("backed CSC, mapped", on_disk(change=sparse.csc_matrix), as_query, TypeError, "by columns"),
    Case("far off, mapped", x(lambda m: m + np.float32(1e6)), as_query),
    Case("onto itself", mapped(), lambda a: tl.map_cells(a, a), ValueError, "adata is adata_ref"),
    Case("map of NaN", obsm(lambda _: np.full((60, 2), np.nan)), fit, ValueError, "missing or infinite coordinates"),
    Case("map of text", obsm(lambda _: np.full((60, 2), "x")), fit, *REAL),
    Case("map at one place", obsm(lambda _: np.zeros((60, 2))), fit, ValueError, "spread the cells"),
    Case("map on a line", obsm(lambda a: a.X[:, :1] * [1, 0]), fit, ValueError, "spread the cells"),
    Case("map that is a frame", frame(a=COUNT, b=np.sqrt(COUNT)), fit),
    Case("map that is sparse", obsm(lambda a: sparse.csr_matrix(a.X[:, :2])), fit),
    Case("map of integers", obsm(lambda a: (9 * a.X[:, :2]).astype(int)), fit),
    Case("map of one dimension", obsm(lambda a: a.X[:, :1]), fit),
    Case(
        "map with masked cells", obsm(lambda a: np.ma.masked_array(a.X[:, :2], a.X[:, :2] > 1)), fit, ValueError, "mask"
    ),
    Case("map of 3 cells", lambda folder: obsm(lambda a: a.X[:, :2])(folder)[:3], fit),
    Case("new cells on it", obsm(lambda a: a.X[:, :2]), encode),
    Case("map of 2 cells", lambda folder: obsm(lambda a: a.X[:, :2])(folder)[:2], fit, *FEW),
    Case("map a million times larger", obsm(lambda a: 1e6 * a.X[:, :2]), fit),
    Case("map that is huge, 1e30", obsm(lambda a: 1e30 * a.X[:, :2]), fit),
    Case("map and a singular decoder", obsm(lambda a: a.X[:, :2]), lambda a: fit(a, hidden_dims=(1,))),
    Case("equal cells, areas", put("obs", "kind", "a"), areas, ValueError, "1 groups"),
    Case("no label, areas", put("obs", "kind", np.nan), areas, ValueError, "0 groups"),
    Case("labels of few cells, areas", mapped(labels_of_few), areas, ValueError, "No piece of the map"),
    Case("numbers as labels, areas", put("obs", "kind", np.arange(60) % 2), areas),
    Case("a label a cell, areas", put("obs", "kind", [str(i) for i in range(60)]), areas),
    Case("equal cells, distances", put("obs", "kind", "a"), distances, ValueError, "1 groups"),
    Case("no cell, distances", subset([]), distances, ValueError, "0 groups"),
    Case("a label a cell, distances", put("obs", "kind", [str(i) for i in range(60)]), distances),
    Case("cells at one place, distances", placed(np.zeros((60, 2))), distances, ValueError, "apart"),
    Case("cells off the map, distances", placed(np.full((60, 2), 1e6)), distances, ValueError, "apart"),
    Case("uns is a number", put("uns", "geoae", 3), get.model, *NO_RESULT),
    Case("uns is empty", put("uns", "geoae", {}), indicatrix, *NO_RESULT),
    Case("params is None", entry("params", value=None), get.metric, *NO_RESULT),
    Case("params is empty", entry("params", value={}), heatmap, *NO_RESULT),
    Case("params is None, quality", entry("params", value=None), quality),
    Case("basis is a number", entry("params", "basis", value=5), get.metric, KeyError, r"Did not find \.obsm\['5'\]"),
    Case("coordinates gone", mapped(lambda a: a.obsm.clear()), nonlinearity, KeyError, r"\.obsm\['X_geoae'\]"),
    Case("coordinates gone, areas", mapped(lambda a: a.obsm.clear()), areas, KeyError, r"\.obsm\['X_geoae'\]"),
    Case("coordinates of 5 dimensions", placed(np.zeros((60, 5))), get.metric, *SHAPE),
    Case("coordinates of 5, nonlinearity", placed(np.zeros((60, 5))), nonlinearity, *SHAPE),
    Case("coordinates of 3 axes", put("obsm", "X_geoae", np.zeros((60, 2, 2))), get.metric, ValueError, "a matrix"),
    Case("coordinates NaN", put("obsm", "X_geoae", np.full((60, 2), np.nan)), get.metric, *SHAPE),
    Case("coordinates NaN, areas", put("obsm", "X_geoae", np.full((60, 2), np.nan)), areas, *SHAPE),
    Case("coordinates NaN, drawn", put("obsm", "X_geoae", np.full((60, 2), np.nan)), indicatrix, *SHAPE),
    Case("coordinates text", put("obsm", "X_geoae", np.full((60, 2), "x")), get.metric, *REAL),
    Case("coordinates masked", masked_map, get.metric, *MASKED),
    Case("coordinates masked, drawn", masked_map, indicatrix, *MASKED),
    Case("coordinates masked, labels stored", masked_map, lambda a: scgeoae.write_model(a, "x", obs="kind"), *MASKED),
    Case("coordinates masked, quality", masked_map, quality, *MASKED),
    Case("points masked", mapped(), lambda a: get.decode(a, np.ma.masked_equal([[1.0, 2.0]], 1)), *MASKED),
    Case("coordinates sparse", placed(sparse.eye(60, 2, format="csr")), get.metric),
    Case("model is None", entry("model", value=None), get.model, *DAMAGED),
    Case("model is a list", entry("model", value=[1]), as_reference, *DAMAGED),
    Case("newer format", newer, get.model, ValueError, "format 99; this version"),
    Case("newer format, mapped onto", newer, as_reference, ValueError, "format 99; this version"),
    Case("newer format, drawn", newer, indicatrix, ValueError, "format 99; this version"),
    Case("format is text", entry("model", "format", value="one"), get.metric, *DAMAGED),
    Case("no weights", entry("model", "weights", value={}), get.model, *DAMAGED),
    Case("ragged weights", entry("model", "weights", "observation.mean", value=[[1], [1, 2]]), get.model, *DAMAGED),
    Case(
        "complex weights",
        entry("model", "weights", "observation.mean", value=np.zeros(6, complex)),
        get.model,
        *DAMAGED,
    ),
    Case("NaN weights", entry("model", "weights", "observation.mean", value=np.full(6, np.nan)), get.model, *DAMAGED),
    Case(
        "weights beyond float32",
        entry("model", "weights", "observation.mean", value=np.full(6, 1e300)),
        get.model,
        *DAMAGED,
    ),
    Case("scale of 0", entry("model", "weights", "observation.scale", value=np.float32(0)), get.model, *DAMAGED),
    Case("unit is text", entry("model", "frame", "unit", value="x"), origin, *DAMAGED),
    Case("unit is an array", entry("model", "frame", "unit", value=np.ones(3)), origin, *DAMAGED),
    Case("unit is an array of one", entry("model", "frame", "unit", value=np.ones((1, 1))), origin, *DAMAGED),
    Case("a million layers", entry("model", "architecture", "hidden_dims", value=np.ones(10**6)), get.model, *DAMAGED),
    Case("layers of NaN", entry("model", "architecture", "hidden_dims", value=[np.nan, 8]), get.model, *DAMAGED),
    Case("no dimension", entry("model", "architecture", "n_components", value=0), get.model, *DAMAGED),
    Case("empty region", entry("model", "frame", "region", "mask", value=np.zeros((5, 5), bool)), areas, *DAMAGED),
    Case("region is text", entry("model", "frame", "region", value="here"), heatmap, *DAMAGED),
    Case("region gone", without("model", "frame", "region"), areas, ValueError, "two dimensions only"),
    Case("region gone, distances", without("model", "frame", "region"), distances, ValueError, "two dimensions only"),
    Case("history gone", without("history"), history, KeyError, "history"),
    Case("history is None", entry("history", value=None), history, KeyError, "history"),
    Case("history is empty", entry("history", value={}), history, KeyError, "step"),
    Case("history without a validation", no_validation, history),
    Case("history of mapped cells", mapped_cells, history, KeyError, "not where cells are mapped"),
    Case("determinants gone", mapped(lambda a: a.obs.pop("geoae_det")), heatmap, KeyError, "_det"),
    Case("determinants of all sizes", put("obs", "geoae_det", np.geomspace(1e-9, 1e9, 60)), heatmap),
    Case("heat map without a colour bar", mapped(), lambda a: pl.det_heatmap(a, colorbar_loc=None, show=False)),
    Case("determinants of text", put("obs", "geoae_det", "x"), heatmap, TypeError, "type str"),
    Case("determinants gone, quality", mapped(lambda a: a.obs.pop("geoae_det")), quality),
    Case("areas are a number", put("uns", "geoae_areas", 5), draw_areas, KeyError, "geoae_areas"),
    Case(
        "areas of other columns",
        put("uns", "geoae_areas", pd.DataFrame({"x": [1]})),
        draw_areas,
        KeyError,
        "size_ratio",
    ),
    Case(
        "alphas of other columns",
        put("uns", "geoae_alpha_path", pd.DataFrame({"x": [1]})),
        pl.alpha_path,
        KeyError,
        "table",
    ),
    Case("map of few cells, quality", subset(slice(0, 5)), quality, ValueError, "k must be less than half"),
    Case(
        "flat map, quality", put("obsm", "X_geoae", np.zeros((60, 2))), quality, ValueError, "all points .* are equal"
    ),
    Case("NaN map, quality", put("obsm", "X_geoae", np.full((60, 2), np.nan)), quality, ValueError, "NaN or infinite"),
    Case(
        "quality without a column",
        lambda _: pd.DataFrame({"x": [1]}),
        lambda t: pl.quality(t, show=False),
        ValueError,
        "columns",
    ),
    Case("alphas of text", of(), lambda a: tl.alpha_path(a, "0.1"), TypeError, "sequence of numbers"),
    Case("alphas twice", of(), lambda a: tl.alpha_path(a, [1, 1]), ValueError, "none of them twice"),
    Case("alphas of NaN input", x(with_nan), lambda a: tl.alpha_path(a, [0, 1], use_rep="X", **BRIEF), *LACKING),
    Case("points of text", mapped(), lambda a: get.decode(a, [["x", "y"]]), *REAL),
    Case("points NaN", mapped(), lambda a: get.metric(a, np.full((1, 2), np.nan)), *SHAPE),
    Case("points beyond reach", mapped(), lambda a: get.metric(a, np.full((1, 2), 1.7e308)), ValueError, "no finite"),
    Case("no points", mapped(), lambda a: get.metric(a, np.zeros((0, 2)))),
    Case("radius of 0", mapped(), lambda a: get.nonlinearity(a, radius=0), ValueError, "radius"),
]
"""What is done with a map, on objects that have one or should."""


@pytest.mark.parametrize("case", parameters(RESULTS))
def test_results(case: Case, tmp_path: Path) -> None:
    adata = case.make(tmp_path)
    before = frozen(adata)
    if case.error is None:
        check_sane(case.call(adata))
        return
    with pytest.raises(case.error, match=case.message):
        case.call(adata)
    assert frozen(adata) == before


def check_sane(result: Any) -> None:
    if isinstance(result, np.ndarray):
        assert np.isfinite(result).all()
    if isinstance(result, ad.AnnData) and "geoae" in result.uns:
        check_results(result)


def test_nothing_is_masked_by_anndata() -> None:
    """The snapshots see every field."""
    adata = cells()
    before = frozen(adata)
    for field, value in (("obsm", adata.X), ("layers", adata.X), ("uns", 1), ("varm", np.ones((6, 1)))):
        changed = adata.copy()
        getattr(changed, field)["new"] = value
        assert frozen(changed) != before
    adata.X[3, 3] += 1
    assert frozen(adata) != before


def test_files_keep_strange_names(tmp_path: Path) -> None:
    adata = cells()
    strange_names(adata)
    train(adata)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    back = ad.read_h5ad(tmp_path / "cells.h5ad")
    scgeoae.write_model(back, tmp_path / "model")
    assert scgeoae.read_model(tmp_path / "model").input.features.tolist() == adata.var_names.tolist()
    query = back[:5].copy()
    tl.map_cells(query, tmp_path / "model")
    np.testing.assert_allclose(query.obsm["X_geoae"], adata.obsm["X_geoae"][:5], atol=1e-5)


def test_a_second_run_overwrites_the_first(log: StringIO) -> None:
    """As in scanpy; the log lists what was written."""
    adata = cells()
    taken_names(adata)
    del adata.uns["geoae"], adata.obsm["X_geoae"]
    train(adata, rng=1)
    sc.settings.verbosity = 3
    try:
        train(adata)
    finally:
        sc.settings.verbosity = 1
    for name in ("'X_geoae'", "'geoae_det'", "'geoae_anisotropy'", "'geoae'"):
        assert name in log.getvalue()
    assert adata.obs["geoae_det"].dtype == np.float64
    assert adata.obsm["X_geoae"].shape == (60, 2)


def test_threads_train_what_they_would_alone() -> None:
    """Different arguments on one object at once, each under its own key, and the same on copies."""
    expected = [train(cells(), copy=True, rng=seed) for seed in range(4)]
    shared = [cells() for _ in range(4)]
    threads = [threading.Thread(target=train, args=(shared[seed],), kwargs={"rng": seed}) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(shared, expected, strict=True):
        assert frozen(one) == frozen(other)
