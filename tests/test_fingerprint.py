"""A result knows what it was made from: fingerprints, and everything that reads them."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from hard_use.tools import BRIEF
from matplotlib import pyplot as plt

import scgeoae
from scgeoae import get, pl, tl
from scgeoae.fingerprint import N_CELLS, N_COMPARED, Fingerprint, Values
from scgeoae.reference import recipe_of, to_state
from scgeoae.result import Result
from scgeoae.storage import from_arrays, to_arrays
from scgeoae.tl._origin import origin_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import StringIO
    from pathlib import Path

    from anndata import AnnData

N = 3_000


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    return (5 + rng.normal(size=(N, 6))).astype(np.float32)


def named(n: int = N, prefix: str = "cell") -> pd.Index:
    return pd.Index([f"{prefix}{i}" for i in range(n)])


def same(x: np.ndarray, other: np.ndarray, names: pd.Index | None = None) -> bool | None:
    """Whether ``other``, whose cells have ``names``, is the same as ``x``; after a fingerprint was stored."""
    taken = Fingerprint.of(Values.of(x), named(len(x)))
    stored = from_arrays(Fingerprint, to_arrays(taken), {})
    return stored.compare(Values.of(other), named(len(other)) if names is None else names).same


def test_the_same(x: np.ndarray, rng: np.random.Generator) -> None:
    order, some = rng.permutation(N), np.sort(rng.choice(N, 200, replace=False))
    assert same(x, x)
    assert same(x, x.astype(np.float64) * (1 + 1e-7))
    assert same(x, x[order], named()[order])
    assert same(x, x[some], named()[some])
    assert same(x, np.asfortranarray(x))
    assert same(1e6 + x, np.float64(1e6 + x))
    assert same(x[:3], x[:3])
    assert same(x, x[:0], named(0))
    wide = np.tile(x, 50)
    assert same(wide, wide[:, :])


@pytest.mark.parametrize("width", [2, 6, 200])
def test_changed(x: np.ndarray, width: int) -> None:
    x = np.tile(x, 40)[:, :width]
    changes = {"mirrored": x * [-1, *[1] * (width - 1)], "turned": x[:, ::-1], "shifted": x + 0.01, "longer": 1.01 * x}
    changes |= {"rolled": np.roll(x, 1, axis=0), "missing": np.where(np.arange(N)[:, None] % 2, x, np.nan)}
    for name, other in changes.items():
        assert same(x, other) is False, name
        assert same(x, other[::3], named()[::3]) is False, name
    assert same(x, x[:, 1:]) is False


def test_a_few_cells_that_are_not_sampled_show_in_the_mean(x: np.ndarray) -> None:
    other = x.copy()
    sampled = np.linspace(0, N - 1, N_CELLS).astype(int)
    other[np.setdiff1d(np.arange(N), sampled)[:30]] += 1
    assert same(x, other) is False
    assert same(x, other[1:], named()[1:])  # there are other cells, so another mean is no change


def test_it_cannot_tell(x: np.ndarray) -> None:
    assert same(x, x, named(prefix="other")) is None
    assert same(x, x + 1, named(prefix="other")) is False  # the statistics are of all cells
    assert same(x, x[1:2], named()[1:2]) is None  # not sampled
    assert same(x, x, pd.Index(["cell0"] * N)) is None
    twice = pd.Index(["cell0", *named()[:-1]])
    assert same(x, np.vstack([x[:1] + 9, x[:-1]]), twice) is not None  # the other cells decide


def test_names_that_are_no_texts_and_names_that_repeat(x: np.ndarray) -> None:
    for names in (pd.RangeIndex(N), pd.Index(np.repeat(named(N // 2), 2)), pd.Index(["a"] * N)):
        taken = Fingerprint.of(Values.of(x), names)
        assert taken.compare(Values.of(x), names).same is (True if len(set(names)) == N else None)


def test_few_cells_are_read_where_each_is_slow(x: np.ndarray) -> None:
    read: list[int] = []
    slow = Values(x.shape, lambda cells: read.extend(cells) or x[cells], slow=True)
    taken = Fingerprint.of(Values.of(x), named())
    assert taken.compare(slow, named()).same
    assert len(read) == N_COMPARED
    assert taken.compare(slow._replace(take=lambda cells: x[cells] + 1), named()).same is False


@pytest.fixture(scope="module")
def _trained() -> AnnData:
    adata = sc.datasets.pbmc68k_reduced()
    sc.pp.pca(adata, n_comps=10)  # so that the model holds the genes
    tl.geometric_ae(adata, **BRIEF)
    tl.fit_decoder(adata, "umap", n_steps=20, hidden_dims=(8,))
    adata.layers["v"] = np.random.default_rng(0).normal(size=adata.shape)
    return adata


@pytest.fixture
def trained(_trained: AnnData) -> AnnData:
    """Cells with a map and with a decoder of their UMAP."""
    return _trained.copy()


def mirror(adata: AnnData, key: str = "geoae") -> None:
    obsm = adata.uns[key]["params"]["basis"]
    adata.obsm[obsm] = adata.obsm[obsm] * [-1, 1]


READERS: dict[str, Callable[[AnnData, str], Any]] = {
    "indicatrix": lambda adata, key: pl.indicatrix(adata, key=key, show=False),
    "det_heatmap": lambda adata, key: pl.det_heatmap(adata, key=key, show=False),
    "explorer": lambda adata, key: pl.explorer(adata, key=key),
    "metric": lambda adata, key: get.metric(adata, key=key),
    "metric at points": lambda adata, key: get.metric(adata, [[0.0, 0.0]], key=key),
    "coordinates": lambda adata, key: get.coordinates(adata, key=key),
    "nonlinearity": lambda adata, key: get.nonlinearity(adata, radius=1.0, key=key),
    "decode": lambda adata, key: get.decode(adata, [[0.0, 0.0]], key=key),
    "geodesic": lambda adata, key: get.geodesic(adata, *get_ends(adata, key), region="anywhere", key=key),
    "cluster_areas": lambda adata, key: tl.cluster_areas(adata, "bulk_labels", key=key),
    "cluster_distances": lambda adata, key: tl.cluster_distances(adata, "bulk_labels", key=key),
    "labels": lambda adata, key: scgeoae.write_model(adata, "never.safetensors", key=key, obs="bulk_labels"),
}
OF_TRAINED: dict[str, Callable[[AnnData], Any]] = {
    "ensemble": lambda adata: tl.ensemble(adata, n_models=2),
    "verdict": tl.verdict,
    "map_cells": lambda adata: tl.map_cells(adata[:20].copy(), adata),
}


def get_ends(adata: AnnData, key: str) -> np.ndarray:
    return Result(adata, key).model.region.points()[[0, -1]]


@pytest.mark.parametrize("name", READERS)
def test_a_map_that_was_changed_is_not_read_with_its_decoder(name: str, trained: AnnData) -> None:
    read = READERS[name]
    mirror(trained)
    with pytest.raises(ValueError, match=r"obsm\['X_geoae'\] was changed after the result 'geoae' was made: .*Write"):
        read(trained, "geoae")
    mirror(trained, "geoae_umap")
    with pytest.raises(ValueError, match=r"Run `scgeoae.tl.fit_decoder\(adata, 'X_umap', key_added='geoae_umap'\)"):
        read(trained[::2].copy(), "geoae_umap")
    plt.close("all")


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("name", OF_TRAINED)
def test_a_map_that_was_changed_is_not_used(name: str, trained: AnnData) -> None:
    mirror(trained)
    with pytest.raises(ValueError, match="was changed after the result 'geoae' was made"):
        OF_TRAINED[name](trained)


def test_the_decoder_of_a_map_that_was_made_again_is_fitted_again(trained: AnnData) -> None:
    trained.obsm["X_umap"] = trained.obsm["X_umap"][:, ::-1].copy()
    tl.fit_decoder(trained, "umap", n_steps=5, hidden_dims=(8,))
    assert get.metric(trained, key="geoae_umap").shape == (700, 2, 2)


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data:UserWarning")
@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_quiet_when_all_is_well(suffix: str, trained: AnnData, log: StringIO, tmp_path: Path) -> None:
    path = tmp_path / f"cells.{suffix}"
    getattr(trained, f"write_{suffix}")(path)
    read = getattr(ad, f"read_{suffix}")(path)
    some = read[np.random.default_rng(0).permutation(700)[:350]].copy()
    some.obsm["X_geoae"] = some.obsm["X_geoae"].astype(np.float64)
    some.obsm["X_pca"] = some.obsm["X_pca"].astype(np.float64)
    for adata in (read, some):
        for key in ("geoae", "geoae_umap"):
            get.metric(adata, key=key)
            tl.cluster_areas(adata, "bulk_labels", key=key)
        tl.velocity(adata, "v")
        tl.map_cells(trained[:20].copy(), adata, obs="phase")
    told = [line for line in log.getvalue().splitlines() if "was trained on 700 cells" not in line]  # of the subset
    assert "WARNING" not in "".join(told)


def test_a_result_of_an_earlier_version(trained: AnnData, log: StringIO) -> None:
    del trained.uns["geoae"]["fingerprint"]
    get.metric(trained)
    tl.velocity(trained, "v")
    assert log.getvalue().count("cannot be checked whether obsm['X_geoae']") == 1
    assert log.getvalue().count("cannot be checked whether obsm['X_pca']") == 1
    assert "before scgeoae stored" in log.getvalue()


def test_a_damaged_fingerprint(trained: AnnData) -> None:
    trained.uns["geoae"]["fingerprint"]["coordinates"].pop("cells")
    with pytest.raises(ValueError, match=r"fingerprint of the result 'geoae' is damaged: .*cells"):
        get.metric(trained)


def test_a_model_file_holds_no_cell(trained: AnnData, tmp_path: Path) -> None:
    scgeoae.write_model(trained, tmp_path / "model.safetensors", obs="bulk_labels")
    assert "fingerprint" not in to_state(get.model(trained))
    written = (tmp_path / "model.safetensors").read_bytes()
    assert not [name for name in trained.obs_names if name.encode() in written]


def labels(reference: AnnData, query: AnnData) -> pd.DataFrame:
    before = set(query.obs)
    found = tl.map_cells(query, reference, obs="phase", copy=True).obs
    return found[[name for name in found if name not in before or "phase" in name]]


def again_on_other_genes(adata: AnnData) -> None:
    adata.var["other"] = np.arange(adata.n_vars) % 3 == 0
    sc.pp.pca(adata, n_comps=10, mask_var="other")


def written_over(adata: AnnData) -> None:
    adata.obsm["X_pca"] = adata.obsm["X_pca"][:, ::-1].copy()


def fewer(adata: AnnData) -> None:
    sc.pp.pca(adata, n_comps=5)


@pytest.mark.parametrize("change", [again_on_other_genes, written_over, fewer])
def test_components_that_changed_are_computed_again_from_genes(
    change: Callable[[AnnData], None], trained: AnnData, log: StringIO
) -> None:
    query = trained[::5].copy()
    expected = labels(trained, query)
    tl.velocity(trained, "v")
    arrows = trained.obsm["velocity_geoae"].copy()
    change(trained)
    assert not log.getvalue()
    pd.testing.assert_frame_equal(labels(trained, query), expected, atol=1e-3)
    tl.velocity(trained, "v")
    np.testing.assert_allclose(trained.obsm["velocity_geoae"], arrows, atol=1e-3 * np.abs(arrows).max())
    assert "obsm['X_pca'] is no longer what the map was made from" in log.getvalue()


def test_an_input_that_cannot_be_computed_again_is_refused(trained: AnnData) -> None:
    trained.obsm["X_other"] = trained.obsm["X_pca"] ** 2
    tl.geometric_ae(trained, use_rep="X_other", **BRIEF)
    trained.obsm["w"] = trained.obsm["X_pca"]
    trained.obsm["X_other"] = trained.obsm["X_pca"] ** 3
    for call in (partial(tl.velocity, trained, "w"), partial(tl.map_cells, trained[:9].copy(), trained, obs="phase")):
        with pytest.raises(ValueError, match=r"obsm\['X_other'\] is no longer what the map was made from: .*train ag"):
            call()


def test_components_and_expression_that_changed_are_refused(trained: AnnData) -> None:
    written_over(trained)
    trained.X = trained.X[::-1].copy()
    with pytest.raises(ValueError, match=r"obsm\['X_pca'\] is no longer .* The expression .* was changed too"):
        tl.velocity(trained, "v")


@pytest.mark.usefixtures("no_training")
def test_data_that_changed_are_not_trained_on_again(trained: AnnData) -> None:
    for adata, message in [(trained[1:].copy(), "699 cells instead of 700"), (trained.copy(), "mean or spread")]:
        if adata.n_obs == 700:
            again_on_other_genes(adata)
        with pytest.raises(ValueError, match=f"does not hold the cells .* trained on: .*{message}"):
            tl.ensemble(adata, n_models=2)


NAMES: dict[str, tuple[Callable[[AnnData], Any], str]] = {
    "the coordinates of another result": (
        lambda adata: tl.geometric_ae(adata, key_added="X_geoae", **BRIEF),
        r"obsm\['X_geoae'\] holds the coordinates of the result 'geoae'",
    ),
    "the input": (lambda adata: tl.geometric_ae(adata, key_added="X_pca", **BRIEF), r"obsm\['X_pca'\] holds what"),
    "a map": (lambda adata: tl.geometric_ae(adata, key_added="X_umap", **BRIEF), r"obsm\['X_umap'\] holds what"),
    "the graph": (lambda adata: tl.geometric_ae(adata, key_added="neighbors", **BRIEF), r"uns\['neighbors'\] holds"),
    "a decoder": (lambda adata: tl.geometric_ae(adata, key_added="geoae_umap", **BRIEF), r"another map, obsm\['X_um"),
    "the graph, by a decoder": (
        lambda adata: tl.fit_decoder(adata, "umap", key_added="neighbors"),
        r"uns\['neighbors'\] holds",
    ),
    "a result, by a decoder": (lambda adata: tl.fit_decoder(adata, "umap", key_added="geoae"), "of another map"),
    "a table": (lambda adata: tl.alpha_path(adata, [0.1], key_added="neighbors"), r"uns\['neighbors'\] holds"),
    "a field of a result": (
        lambda adata: tl.geometric_ae(adata, key_added="geoae_ensemble", **BRIEF),
        "name by which scgeoae stores",
    ),
    "velocities": (lambda adata: tl.geometric_ae(adata, key_added="velocity_umap", **BRIEF), "name by which scgeoae"),
    "of a query": (lambda adata: tl.map_cells(adata, with_key(adata, "X_pca"), key="X_pca"), r"obsm\['X_pca'\] holds"),
}


def with_key(adata: AnnData, key: str) -> AnnData:
    """The same cells, whose result has another name."""
    other = adata.copy()
    other.uns = {key: {**adata.uns["geoae"], "params": {**adata.uns["geoae"]["params"], "basis": "X_geoae"}}}
    return other


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("what", NAMES)
def test_names_that_are_taken(what: str, trained: AnnData) -> None:
    call, message = NAMES[what]
    before = {slot: dict(getattr(trained, slot)) for slot in ("obsm", "uns")}
    with pytest.raises(ValueError, match=message):
        call(trained)
    assert all(list(getattr(trained, slot)) == list(held) for slot, held in before.items())


def test_names_that_are_free(trained: AnnData) -> None:
    """A result is replaced by one of the same name, also where `ad.concat` dropped the model."""
    tl.geometric_ae(trained, key_added="mine", **BRIEF)
    tl.fit_decoder(trained, "mine", n_steps=5, hidden_dims=(8,))
    for key in (None, "mine"):
        tl.geometric_ae(trained, key_added=key, **BRIEF)
    halves = ad.concat([trained[:350], trained[350:]])
    for key in (None, "mine"):
        tl.geometric_ae(halves, key_added=key, **BRIEF)
    tl.alpha_path(trained, [0.1], **BRIEF)
    tl.alpha_path(trained, [0.2], **BRIEF)


@pytest.mark.usefixtures("no_training")
def test_landmarks_of_cells_that_share_a_name(trained: AnnData) -> None:
    """As by `reindex`, where a barcode of the reference is one of the new cells too."""
    with pytest.warns(UserWarning, match="not unique"):
        both = ad.concat([trained[:350], trained[:350]])
    sc.pp.pca(both, n_comps=5)
    earlier = pd.DataFrame(trained.obsm["X_geoae"], index=trained.obs_names)
    both.obsm["earlier"] = earlier.reindex(both.obs_names).to_numpy()
    with pytest.raises(ValueError, match=f"Cells of one name, such as {both.obs_names[0]!r}, have one place"):
        tl.geometric_ae(both, landmarks="earlier", **BRIEF)


def graph(use_rep: str | None = None, **params: Any) -> dict[str, Any]:
    named = {} if use_rep is None else {"use_rep": use_rep}
    return {"connectivities_key": "c", "params": {"n_neighbors": 15, "method": "umap", **named, **params}}


def test_what_a_map_of_scanpy_was_made_from(trained: AnnData) -> None:
    trained.uns = {"neighbors": graph("X_scVI")}
    assert origin_of(trained, "X_umap") == {"use_rep": "X_scVI"}
    assert origin_of(trained, "X_pca") == {}
    trained.uns["neighbors"] = graph(n_pcs=0)
    assert origin_of(trained, "X_umap") == {"use_rep": "X"}
    trained.uns = {"other": graph(n_pcs=7), "second": {"params": {"a": 1.0, "b": 1.0}}}
    assert origin_of(trained, "second") == {"n_pcs": 7}
    assert origin_of(trained, "X_tsne") == {}
    trained.uns["tsne"] = {"params": {"perplexity": 30, "use_rep": "X_scVI"}}
    assert origin_of(trained, "X_tsne") == {"use_rep": "X_scVI"}


def test_neighbors_in_different_data(trained: AnnData) -> None:
    trained.obsm["X_scVI"] = trained.obsm["X_pca"][:, :4].copy()
    trained.uns |= {"neighbors": graph(), "scvi": graph("X_scVI"), "X_umap2": {"params": {"a": 1.0, "b": 1.0}}}
    trained.obsm["X_umap2"] = trained.obsm["X_umap"]
    for call in (tl.verdict, tl.fit_decoder):
        with pytest.raises(ValueError, match=r"neighbors in different data, .*'scvi' \(use_rep='X_scVI'.*Pass use_rep"):
            call(trained, "X_umap2")
    trained.uns["neighbors"] = graph("X_scVI")
    tl.fit_decoder(trained, "umap2", n_steps=5, hidden_dims=(8,))
    assert get.model(trained, key="geoae_umap2").input.obsm_key == "X_scVI"


def test_whether_expression_is_scaled_shows_in_its_values(rng: np.random.Generator) -> None:
    """And not in `var`, which may describe another matrix."""
    counts = rng.poisson(rng.gamma(2, 0.3, size=(400, 30)) * rng.gamma(3, 0.3, size=30))
    adata = ad.AnnData(np.log1p(counts).astype(np.float32))
    adata.layers["scaled"] = adata.X.copy()
    sc.pp.scale(adata, layer="scaled", max_value=5)
    residual = adata.X - 0.5 * adata.X.mean(1, keepdims=True)
    scaled_residual = ad.AnnData(residual - residual.mean(0))
    sc.pp.scale(scaled_residual)
    cases = {
        "scaled": (adata.layers["scaled"], adata.var, True),
        "scaled, some of the cells": (adata.layers["scaled"][adata.X[:, 0] > 0], adata.var, True),
        "slightly negative": (adata.X - 0.05 * adata.X.mean(0), adata.var, False),
        "regressed out": (residual - residual.mean(0), adata.var, False),
        "regressed out and scaled": (scaled_residual.X, scaled_residual.var, True),
    }
    for name, (x, var, scaled) in cases.items():
        made = ad.AnnData(x, var=var)
        sc.pp.pca(made, n_comps=5)
        projection = recipe_of(made, scgeoae.inputs.choose(made), with_novelty=False).projection
        assert (projection.scaling is not None) is scaled, name


def test_it_is_cheap(rng: np.random.Generator) -> None:
    """A few hundredths of a second, even on a slow machine, for 100,000 cells in memory."""
    x, names = rng.normal(size=(100_000, 50)).astype(np.float32), named(100_000)
    taken = Fingerprint.of(Values.of(x), names)
    seconds = []
    for _ in range(5):
        start = time.process_time()
        assert taken.compare(Values.of(x), names).same
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.2
