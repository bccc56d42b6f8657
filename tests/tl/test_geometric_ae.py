"""Training on an AnnData: inputs, outputs, promises."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from helpers import QUICK, SPEC, on_host
from scipy import sparse

import scgeoae
from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.evaluation import Cells
from scgeoae.core.fit import Fitted
from scgeoae.core.frame import Frame
from scgeoae.core.loop import History
from scgeoae.tl._warnings import check_map

if TYPE_CHECKING:
    from io import StringIO
    from pathlib import Path

    from anndata import AnnData

FIELDS = ["geoae_det", "geoae_anisotropy", "geoae_reconstruction_error"]


def train(adata: AnnData, **arguments: object) -> AnnData | None:
    return scgeoae.tl.geometric_ae(adata, **{**QUICK, **arguments})


def embedding(adata: AnnData, **arguments: object) -> np.ndarray:
    return train(adata, copy=True, **arguments).obsm["X_geoae"]


@pytest.fixture
def small(rng: np.random.Generator) -> AnnData:
    """100 cells on a curved surface in twelve genes."""
    z = rng.normal(size=(100, 2))
    x = np.column_stack([z, z**2, z @ rng.normal(size=(2, 8))]) + 0.05 * rng.normal(size=(100, 12))
    adata = ad.AnnData(x.astype(np.float32), obs=pd.DataFrame(index=[f"cell {i}" for i in range(100)]))
    adata.var_names = [f"gene {i}" for i in range(12)]
    adata.obsm["X_pca"] = adata.X[:, :10].copy()
    return adata


def test_fields(mapped: AnnData) -> None:
    z = mapped.obsm["X_geoae"]
    assert z.dtype == np.float32
    assert z.shape == (700, 2)
    for name in FIELDS:
        assert mapped.obs[name].dtype == np.float64
        assert np.isfinite(mapped.obs[name]).all()
    assert np.log(mapped.obs["geoae_det"]).mean() == pytest.approx(0, abs=1e-12)
    assert (mapped.obs["geoae_anisotropy"] >= 1).all()
    stored = mapped.uns["geoae"]
    assert set(stored) == {"params", "model", "fingerprint", "history"}
    assert stored["params"]["basis"] == "X_geoae"
    assert stored["params"]["alpha"] == 0.2
    assert stored["params"]["interrupted"] is False
    assert "use_rep" not in stored["params"]
    assert len({len(curve) for curve in stored["history"].values()}) == 1


def test_stored_numbers_are_those_of_the_model(mapped: AnnData) -> None:
    model = scgeoae.get.model(mapped)
    x = torch.from_numpy(mapped.obsm["X_pca"].astype(np.float32))
    with torch.no_grad():
        z = model.encode(x)
        error = (model.decode(z) - x).square().mean(1).sqrt()
    spread = np.ptp(mapped.obsm["X_geoae"])
    np.testing.assert_allclose(z, mapped.obsm["X_geoae"], atol=1e-5 * spread)
    np.testing.assert_allclose(error, mapped.obs["geoae_reconstruction_error"], rtol=1e-4)
    g = scgeoae.get.metric(mapped)
    assert g.dtype == np.float64
    np.testing.assert_allclose(np.sqrt(np.linalg.det(g)), mapped.obs["geoae_det"], rtol=1e-4)
    sigma = np.sqrt(np.linalg.eigvalsh(g))
    np.testing.assert_allclose(sigma[:, 1] / sigma[:, 0], mapped.obs["geoae_anisotropy"], rtol=1e-4)


def test_regularizer_evens_the_determinant(pbmc: AnnData) -> None:
    """Five times lower variance of ln det than of a plain autoencoder, for at most 10 % more reconstruction error.

    For as many steps as keep the held-out cells from deciding: after more, each seed stops elsewhere.
    """
    for seed in range(3):
        numbers = []
        for arguments in ({"alpha": 0, "contrast_weight": 0}, {}):
            train(pbmc, **arguments, rng=seed)
            numbers.append((np.log(pbmc.obs[FIELDS[0]]).var(), np.square(pbmc.obs[FIELDS[2]]).mean()))
        plain, default = numbers
        assert default[0] < plain[0] / 5
        assert default[1] < 1.1 * plain[1]


def test_map_lengths_are_data_distances(small: AnnData) -> None:
    """On a flat sheet in ten dimensions the calibrated map is an isometry."""
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(10, 10)))[0][:2]
    sheet = np.random.default_rng(2).uniform(0, 7, (400, 2))
    adata = ad.AnnData(obsm={"X_pca": (sheet @ turn).astype(np.float32)}, shape=(400, 0))
    train(adata, n_steps=600, regularizer="isometry", noise=0)
    z = adata.obsm["X_geoae"]
    i, j = np.random.default_rng(3).integers(400, size=(2, 300))
    true, seen = np.linalg.norm(sheet[i] - sheet[j], axis=1), np.linalg.norm(z[i] - z[j], axis=1)
    assert np.abs(seen - true).max() < 0.1 * true.max()


def test_same_seed_same_map(small: AnnData) -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = embedding(small)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    torch.manual_seed(99)
    assert np.array_equal(first, embedding(small))
    assert np.array_equal(first, embedding(small, rng=np.int64(0)))
    assert not np.array_equal(first, embedding(small, rng=1))
    generator = np.random.default_rng(5)
    assert not np.array_equal(embedding(small, rng=generator), embedding(small, rng=generator))


def test_two_threads_train_the_same_map(small: AnnData) -> None:
    expected = embedding(small)
    results: dict[int, np.ndarray] = {}

    def work(i: int) -> None:
        results[i] = embedding(small)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(results[0], expected)
    assert np.array_equal(results[1], expected)


def test_the_result_depends_on_the_input_alone(small: AnnData) -> None:
    first = embedding(small)
    sc.pp.neighbors(small, use_rep="X_pca", method="gauss")  # UMAP's are the same entries, but numba compiles for long
    assert np.array_equal(first, embedding(small))


@pytest.mark.parametrize(
    "convert",
    [
        sparse.csr_matrix,
        sparse.csc_matrix,
        sparse.csr_array,
        np.asfortranarray,
        lambda x: x.astype(np.float64),
        lambda x: np.lib.stride_tricks.as_strided(x, writeable=False),
    ],
)
def test_kinds_of_matrix_give_one_map(small: AnnData, convert) -> None:
    expected = embedding(small, use_rep="X")
    small.layers["other"] = convert(small.X)
    before = small.layers["other"].copy()
    np.testing.assert_allclose(embedding(small, layer="other"), expected, atol=1e-5)
    assert type(small.layers["other"]) is type(before)
    assert (abs(small.layers["other"] - before)).max() == 0


@pytest.mark.parametrize("dtype", [np.float16, np.int32, np.uint8, np.int64])
def test_kinds_of_number(small: AnnData, dtype: type) -> None:
    small.X = (10 * np.abs(small.X)).astype(dtype)
    assert np.isfinite(embedding(small, use_rep="X")).all()


def test_sparse_input_is_never_densified_whole(small: AnnData, monkeypatch) -> None:
    small.X = sparse.csr_matrix(small.X)
    sizes = []
    toarray = sparse.csr_matrix.toarray
    monkeypatch.setattr(sparse.csr_matrix, "toarray", lambda self, *a: sizes.append(self.shape[0]) or toarray(self, *a))
    monkeypatch.setattr("scgeoae.core.rows.BLOCK_ENTRIES", 12 * 16)
    train(small, use_rep="X", batch_size=32)
    assert sum(size > 32 for size in sizes) == 1  # the cells of the fingerprint


def test_explicit_zeros_and_empty_rows(small: AnnData) -> None:
    matrix = sparse.csr_matrix(small.X)
    matrix.data[:5] = 0
    matrix[7] = 0
    small.X = matrix
    train(small, use_rep="X")
    assert np.isfinite(small.obsm["X_geoae"]).all()


def test_mask_var(small: AnnData) -> None:
    small.var["highly_variable"] = np.arange(12) < 8
    train(small, use_rep="X", mask_var="highly_variable")
    assert scgeoae.get.model(small).input.features.tolist() == [f"gene {i}" for i in range(8)]
    first = small.obsm["X_geoae"].copy()
    assert np.array_equal(first, embedding(small, use_rep="X", mask_var=np.arange(12) < 8))
    assert np.array_equal(first, embedding(small[:, :8].copy(), use_rep="X"))


def test_n_pcs_and_data_frames(small: AnnData) -> None:
    expected = embedding(small, n_pcs=4)
    small.obsm["frame"] = pd.DataFrame(small.obsm["X_pca"][:, :4], index=small.obs_names, columns=list("abcd"))
    train(small, use_rep="frame")
    assert np.array_equal(small.obsm["X_geoae"], expected)
    assert scgeoae.get.model(small).input.features.tolist() == list("abcd")


@pytest.mark.filterwarnings("ignore:.*of view, initializing view as actual")
def test_views_and_copies(small: AnnData) -> None:
    expected = embedding(small[:60].copy())
    view = small[:60]
    assert train(view) is None
    assert np.array_equal(view.obsm["X_geoae"], expected)
    assert "X_geoae" not in small.obsm
    copy = train(small, copy=True)
    assert copy is not small
    assert not small.uns
    assert list(small.obs.columns) == []


def test_two_results_side_by_side(small: AnnData) -> None:
    train(small)
    first = small.obsm["X_geoae"].copy()
    train(small, alpha=0, key_added="vanilla")
    assert np.array_equal(small.obsm["X_geoae"], first)
    assert small.obsm["vanilla"].shape == (100, 2)
    assert {"vanilla_det", "geoae_det"} <= set(small.obs)
    assert scgeoae.get.model(small, key="vanilla").unit == 1
    assert scgeoae.get.metric(small, key="vanilla").shape == (100, 2, 2)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.filterwarnings("ignore::UserWarning:zarr", "ignore:.*zarr:UserWarning", "ignore::FutureWarning")
def test_round_trips(mapped: AnnData, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mapped.{suffix}"
    getattr(mapped, f"write_{suffix}")(path)
    back = getattr(ad, f"read_{suffix}")(path)
    points = torch.from_numpy(mapped.obsm["X_geoae"][:5])
    assert torch.equal(scgeoae.get.model(back).decode(points), scgeoae.get.model(mapped).decode(points))
    np.testing.assert_array_equal(scgeoae.get.metric(back), scgeoae.get.metric(mapped))
    assert scgeoae.get.model(back).input.features.tolist() == scgeoae.get.model(mapped).input.features.tolist()
    scgeoae.pl.indicatrix(back, show=False)
    scgeoae.pl.det_heatmap(back, field=True, show=False)
    scgeoae.pl.history(back, show=False)


@pytest.mark.parametrize("use_rep", ["X_pca", "X"])
def test_lazy_data(pbmc: AnnData, tmp_path: Path, use_rep: str) -> None:
    """From :func:`anndata.experimental.read_lazy`: to train on, as reference and as query."""
    pytest.importorskip("xarray")
    from anndata.experimental import read_lazy

    cells = sc.AnnData(pbmc.raw.X.toarray(), obs=pbmc.obs[["bulk_labels"]], var=pbmc.raw.var)
    cells.write_h5ad(tmp_path / "query.h5ad")
    sc.pp.scale(cells, max_value=10)
    sc.pp.pca(cells)
    cells.write_h5ad(tmp_path / "reference.h5ad")
    lazy, query = (read_lazy(tmp_path / f"{name}.h5ad") for name in ("reference", "query"))
    scgeoae.tl.geometric_ae(lazy, use_rep=use_rep, **QUICK)
    scgeoae.tl.map_cells(query, lazy, obs="bulk_labels")
    np.testing.assert_allclose(query.obsm["X_geoae"], lazy.obsm["X_geoae"], atol=1e-2)
    reference = lazy.to_memory()
    expected = scgeoae.tl.map_cells(reference, reference, obs="bulk_labels", copy=True)
    assert (query.to_memory().obs["geoae_bulk_labels"] == expected.obs["geoae_bulk_labels"]).mean() > 0.99
    scgeoae.tl.cluster_areas(lazy, "bulk_labels")
    assert lazy.uns["geoae_areas"]["surface_share"].gt(0).all()


def test_choices_of_the_data_are_kept_in_the_parameters(pbmc: AnnData) -> None:
    """What was chosen gives the same map when it is passed."""
    first = scgeoae.tl.geometric_ae(pbmc, hidden_dims=(16,), copy=True)
    chosen = {name: first.uns["geoae"]["params"][name] for name in ("n_steps", "noise", "batch_size")}
    assert chosen["batch_size"] == 512
    assert 0.1 < chosen["noise"] < 0.4
    assert 300 <= chosen["n_steps"] < 700
    second = scgeoae.tl.geometric_ae(pbmc, hidden_dims=(16,), **chosen, copy=True)
    assert np.array_equal(first.obsm["X_geoae"], second.obsm["X_geoae"])


def test_map_does_not_depend_on_the_number_of_threads(small: AnnData) -> None:
    maps = []
    for n in (1, 2, 3):
        torch.set_num_threads(n)
        maps.append(embedding(small))
        assert torch.get_num_threads() == n
    assert np.array_equal(maps[0], maps[1])
    assert np.array_equal(maps[0], maps[2])


@pytest.mark.parametrize("d", [1, 3, 5])
def test_dimensions_and_regularizers(small: AnnData, d: int) -> None:
    """In any dimension each makes the decoder what it is named after: it keeps areas, or lengths."""
    numbers = []
    for alpha, regularizer in ((0, "area"), (1, "area"), (1, "isometry"), (1, {"area": 1, "isometry": 0.2})):
        train(small, n_components=d, regularizer=regularizer, alpha=alpha, contrast_weight=0, init="random")
        assert small.obsm["X_geoae"].shape == (100, d)
        g = scgeoae.get.metric(small)  # (n, d, d)
        np.testing.assert_allclose(np.sqrt(np.linalg.det(g)), small.obs["geoae_det"], rtol=1e-4)
        numbers.append((np.log(small.obs["geoae_det"]).var(), np.square(g - np.eye(d)).mean()))
    plain, area, isometry, both = numbers
    assert max(area[0], isometry[0], both[0]) < plain[0] / 10
    assert max(isometry[1], both[1]) < plain[1] / 10


@pytest.mark.parametrize("hidden_dims", [(), (16,), np.array([8, 16, 8])])
def test_architectures(small: AnnData, hidden_dims: object) -> None:
    train(small, hidden_dims=hidden_dims, n_steps=50)
    assert scgeoae.get.model(small).autoencoder.hidden_dims == tuple(hidden_dims)


@pytest.mark.parametrize("n", [3, 4, 20])
def test_few_cells(small: AnnData, n: int) -> None:
    few = small[:n].copy()
    train(few, n_steps=50)
    assert few.obsm["X_geoae"].shape == (n, 2)
    assert np.isfinite(few.obsm["X_geoae"]).all()
    assert np.isfinite(few.obs[FIELDS]).all(axis=None)


def test_validation_can_be_switched_off(small: AnnData) -> None:
    train(small, validation_fraction=0)
    assert np.isnan(small.uns["geoae"]["history"]["validation_reconstruction"]).all()


@pytest.mark.usefixtures("interrupted")
def test_interruption_writes_what_was_learned(small: AnnData, log: StringIO) -> None:
    train(small)
    stored = small.uns["geoae"]
    assert stored["params"]["interrupted"] is True
    assert stored["params"]["n_steps"] == QUICK["n_steps"]
    assert stored["history"]["step"][-1] == 50
    assert {"X_geoae"} <= set(small.obsm)
    assert set(FIELDS) <= set(small.obs)
    assert "interrupted" in log.getvalue()


def test_raw_counts_are_warned_of(log: StringIO) -> None:
    rng = np.random.default_rng(0)
    adata = ad.AnnData(rng.poisson(rng.gamma(0.3, 10, (100, 20))).astype(np.float32))
    for n_warned in (2, 2):  # counts twice, normalized values never
        sc.pp.pca(adata, n_comps=5)
        for use_rep in (None, "X"):
            train(adata, use_rep=use_rep, n_steps=5)
        assert log.getvalue().count("in whole numbers, as raw counts are") == n_warned
        sc.pp.normalize_total(adata)
        sc.pp.log1p(adata)


def test_log_and_progress(small: AnnData, log: StringIO, capsys) -> None:
    sc.settings.verbosity = 3
    try:
        train(small)
    finally:
        sc.settings.verbosity = 1
    assert "training a geometric autoencoder on obsm['X_pca']" in log.getvalue()
    assert "'geoae_det', relative determinant (adata.obs)" in log.getvalue()
    assert "step/s" in capsys.readouterr().err
    train(small)
    assert capsys.readouterr().err == ""


def test_failures_are_told(small: AnnData, log: StringIO) -> None:
    def told(**arguments: object) -> str:
        log.truncate(0)
        train(small, **arguments)
        return log.getvalue()

    assert "a linear map of the same dimension" in told(n_steps=1)
    assert told() == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log_det": np.linspace(-2, 2, 50)}, "areas are not true"),
        ({"anisotropy": np.full(50, 20.0)}, "very elongated"),
        ({"anisotropy": np.repeat([1.0, np.inf], 25)}, "singular at 50% of the cells"),
        ({"z": np.outer(np.arange(50), [1, 1e-3])}, "1 of 2 map dimensions are not used"),
        ({}, ""),
    ],
)
def test_signatures_of_failure(change: dict, message: str, log: StringIO, rng: np.random.Generator) -> None:
    z = rng.normal(size=(50, 2)).astype(np.float32)
    cells = Cells(z, np.zeros(50), np.zeros(50), np.ones(50))._replace(**change)
    check_map(Fitted(GeometricAutoencoder(2), cells, Frame(), History(), SPEC), on_host(z))
    assert message in log.getvalue()
    assert bool(message) == bool(log.getvalue())


def with_x(change):
    def apply(adata: AnnData) -> None:
        adata.obsm["X_pca"] = change(adata.obsm["X_pca"].copy())

    return apply


def put(value: float):
    def change(x: np.ndarray) -> np.ndarray:
        x[3, 1] = value
        return x

    return change


def duplicate(adata: AnnData) -> None:
    adata.var_names = ["a"] * 12


def nothing(adata: AnnData) -> None: ...


@pytest.mark.parametrize(
    ("prepare", "arguments", "error", "message"),
    [
        (lambda a: a.obsm.clear(), {}, KeyError, "sc.pp.pca"),
        (nothing, {"use_rep": "X_harmony"}, KeyError, "X_pca"),
        (nothing, {"layer": "counts"}, KeyError, "counts"),
        (with_x(put(np.nan)), {}, ValueError, "1 missing.* row 3, column 1"),
        (with_x(put(np.inf)), {}, ValueError, "infinite"),
        (with_x(lambda x: x.astype(np.float64) * 1e300), {}, ValueError, "float32"),
        (with_x(lambda x: np.ones_like(x)), {}, ValueError, "equal"),
        (with_x(lambda x: x.astype(complex)), {}, TypeError, "real numbers"),
        (with_x(lambda x: x.astype(str)), {}, TypeError, "real numbers"),
        (with_x(lambda x: x[:, :1]), {}, ValueError, "fewer than n_components"),
        (nothing, {"n_components": 0}, ValueError, "n_components"),
        (nothing, {"n_components": 2.5}, TypeError, "n_components"),
        (nothing, {"alpha": -1}, ValueError, "alpha"),
        (nothing, {"alpha": np.nan}, ValueError, "alpha"),
        (nothing, {"alpha": "much"}, TypeError, "alpha"),
        (nothing, {"regularizer": "volume"}, ValueError, "volume"),
        (nothing, {"regularizer": {}}, ValueError, "regularizer"),
        (nothing, {"regularizer": 3}, TypeError, "regularizer"),
        (nothing, {"regularizer": {"area": -1}}, ValueError, "area"),
        (nothing, {"regularizer": "conformal", "n_components": 1}, ValueError, "conformal"),
        (nothing, {"device": "abacus"}, ValueError, "abacus"),
        (nothing, {"device": "cuda:99"}, ValueError, "cuda:99.* is not available here; torch offers .*'cpu'"),
        (nothing, {"use_rep": "X", "mask_var": np.zeros(12, bool)}, ValueError, "no gene"),
        (nothing, {"use_rep": "X", "mask_var": np.arange(12)}, ValueError, "booleans"),
        (nothing, {"use_rep": "X", "mask_var": "hvg"}, KeyError, "hvg"),
        (nothing, {"mask_var": np.ones(12, bool)}, ValueError, "obsm"),
        (nothing, {"use_rep": "X_pca", "layer": "counts"}, ValueError, "two inputs"),
        (nothing, {"use_rep": "X", "n_pcs": 3}, ValueError, "n_pcs"),
        (nothing, {"n_pcs": 11}, ValueError, "10 columns"),
        (nothing, {"key_added": 5}, TypeError, "key_added"),
        (nothing, {"key_added": "a/b"}, ValueError, "'/'"),
        (nothing, {"key_added": ""}, ValueError, "empty"),
        (duplicate, {"use_rep": "X"}, ValueError, "var_names_make_unique"),
        (nothing, {"n_steps": 0}, ValueError, "n_steps"),
        (nothing, {"batch_size": 1}, ValueError, "batch_size"),
        (nothing, {"learning_rate": 0}, ValueError, "learning_rate"),
        (nothing, {"validation_fraction": 1}, ValueError, "validation_fraction"),
        (nothing, {"patience": 0}, ValueError, "patience"),
        (nothing, {"hidden_dims": "100"}, TypeError, "hidden_dims"),
        (nothing, {"hidden_dims": (0,)}, ValueError, "hidden_dims"),
        (nothing, {"hidden_dims": 100}, TypeError, "hidden_dims"),
        (nothing, {"rng": -1}, ValueError, "rng"),
        (nothing, {"rng": "seed"}, TypeError, "rng"),
    ],
)
@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_bad_input(small: AnnData, prepare, arguments: dict, error: type[Exception], message: str) -> None:
    prepare(small)
    obsm = list(small.obsm)
    with pytest.raises(error, match=message):
        train(small, **arguments)
    assert list(small.obsm) == obsm
    assert not small.uns
    assert not len(small.obs.columns)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_cells(small: AnnData, n: int) -> None:
    with pytest.raises(ValueError, match="at least 3 cells"):
        train(small[:n].copy())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_host(small: AnnData) -> None:
    train(small, device="cuda")
    host = scgeoae.get.model(small)
    with torch.no_grad():
        z = host.encode(torch.from_numpy(small.obsm["X_pca"])).numpy()
    np.testing.assert_allclose(z, small.obsm["X_geoae"], atol=1e-4 * np.ptp(z))
    np.testing.assert_allclose(np.sqrt(np.linalg.det(scgeoae.get.metric(small))), small.obs["geoae_det"], rtol=1e-4)
