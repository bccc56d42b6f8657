"""Further trainings of a map: what is trained, aligned, measured and written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pytest
import torch
from helpers import QUICK
from scipy.sparse import csr_matrix
from scipy.spatial import procrustes
from scipy.spatial.distance import pdist
from sklearn.neighbors import NearestNeighbors

import scgeoae
from scgeoae.core import ensemble as core_ensemble
from scgeoae.core import fit as core_fit
from scgeoae.reference import from_state

if TYPE_CHECKING:
    from io import StringIO
    from pathlib import Path

    from anndata import AnnData

    from scgeoae.core.fit import Fitted
    from scgeoae.core.rows import Rows

COLUMNS = ["geoae_displacement", "geoae_agreement", "geoae_log_det_std", "geoae_direction_std"]


FEW = QUICK | {"n_steps": 40}


@pytest.fixture(scope="module")
def _mapped_here(_pbmc_once: AnnData) -> AnnData:
    return scgeoae.tl.geometric_ae(_pbmc_once, **FEW, copy=True)


@pytest.fixture
def mapped(_mapped_here: AnnData) -> AnnData:
    return _mapped_here.copy()


@pytest.fixture(scope="module")
def _certain_once(_mapped_here: AnnData) -> AnnData:
    return scgeoae.tl.ensemble(_mapped_here, n_models=3, keep_models=True, copy=True)


@pytest.fixture
def certain(_certain_once: AnnData) -> AnnData:
    return _certain_once.copy()


def maps_of(adata: AnnData) -> np.ndarray:
    """The aligned maps, (m, n, 2)."""
    return np.stack(np.split(adata.obsm["X_geoae_ensemble"], adata.uns["geoae_ensemble"]["params"]["n_models"], axis=1))


def test_members_are_trainings_with_the_same_arguments(certain: AnnData, pbmc: AnnData) -> None:
    seeds = np.random.default_rng(0).integers(2**63, size=3).tolist()
    for seed, aligned in zip(seeds[:2], maps_of(certain), strict=False):
        scgeoae.tl.geometric_ae(pbmc, **FEW, rng=seed)
        np.testing.assert_allclose(pdist(aligned), pdist(pbmc.obsm["X_geoae"]), atol=2e-3)


def test_maps_are_as_near_as_a_rigid_motion_takes_them(certain: AnnData) -> None:
    z = certain.obsm["X_geoae"].astype(np.float64)
    for aligned in maps_of(certain).astype(np.float64):
        np.testing.assert_allclose(aligned.mean(0), z.mean(0), atol=1e-3)
        between = (z - z.mean(0)).T @ (aligned - aligned.mean(0))
        np.testing.assert_allclose(between, between.T, rtol=1e-4)  # so at the nearest rotation and reflection
        assert (np.linalg.eigvalsh(between) > 0).all()
        _, _, disparity = procrustes(z, aligned)
        assert disparity < 1


def test_measures_against_their_definitions(certain: AnnData) -> None:
    z, maps = certain.obsm["X_geoae"].astype(np.float64), maps_of(certain).astype(np.float64)
    expected = np.sqrt(np.square(maps - z).sum(2).mean(0))
    np.testing.assert_allclose(certain.obs["geoae_displacement"], expected)
    sets = [NearestNeighbors(n_neighbors=15).fit(where).kneighbors(return_distance=False) for where in (z, *maps)]
    common = [len(set.intersection(*map(set, lists))) / 15 for lists in zip(*sets, strict=True)]
    np.testing.assert_allclose(certain.obs["geoae_agreement"], common)
    models = [from_state(state) for state in certain.uns["geoae_ensemble"]["models"].values()]
    assert list(models[0].input.features) == list(certain.uns["geoae"]["model"]["input"]["features"])
    x, log_dets, angles = torch.tensor(certain.obsm["X_pca"]), [], []
    for model, aligned in zip(models, maps, strict=True):
        with torch.no_grad():
            np.testing.assert_allclose(model.encode(x), aligned, atol=1e-3)
        _, tangents = model.autoencoder.double().pushforward(torch.tensor(aligned))
        _, sigma, vt = np.linalg.svd(tangents.permute(1, 2, 0).detach().numpy(), full_matrices=False)
        log_dets.append(np.log(sigma).sum(1))
        angles.append(np.arctan2(vt[:, 0, 1], vt[:, 0, 0]))
        assert log_dets[-1].mean() == pytest.approx(0, abs=1e-4)
    np.testing.assert_allclose(certain.obs["geoae_log_det_std"], np.std(log_dets, axis=0, ddof=1), atol=1e-4)
    doubled = 2 * np.array(angles)
    length = np.hypot(np.cos(doubled).mean(0), np.sin(doubled).mean(0))
    expected = np.rad2deg(np.sqrt(2 * (1 - length)) / 2)
    np.testing.assert_allclose(certain.obs["geoae_direction_std"], expected, atol=0.1)


def test_more_maps_begin_with_the_same(certain: AnnData, mapped: AnnData) -> None:
    scgeoae.tl.ensemble(mapped, n_models=2)
    np.testing.assert_array_equal(maps_of(mapped), maps_of(certain)[:2])
    assert "models" not in mapped.uns["geoae_ensemble"]


def test_the_seed_decides(mapped: AnnData) -> None:
    one, again, other = (scgeoae.tl.ensemble(mapped, n_models=2, rng=rng, copy=True) for rng in (1, 1, 2))
    np.testing.assert_array_equal(maps_of(one), maps_of(again))
    assert np.abs(maps_of(one) - maps_of(other)).max() > 0.1


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_progress_and_the_time_left(mapped: AnnData, info: StringIO, monkeypatch, n_jobs: int) -> None:
    clock = iter([0.0, 6.0, 130.0, 140.0])
    monkeypatch.setattr("scgeoae.tl._log.perf_counter", lambda: next(clock))
    scgeoae.tl.ensemble(mapped, n_models=3, n_jobs=n_jobs)
    told = [line.strip() for line in info.getvalue().splitlines() if " of 3 " in line]
    assert told == [
        "map 1 of 3 after 6 s; about 12 s left",
        "map 2 of 3 after 2 min; about 65 s left",
        "map 3 of 3 after 2 min",
    ]


def test_resampled_cells(mapped: AnnData, monkeypatch) -> None:
    sizes = []

    def fit(rows: Rows, *arguments: object, **options: object) -> Fitted:
        sizes.append(rows.shape[0])
        return core_fit.fit(rows, *arguments, **options)

    monkeypatch.setattr(core_ensemble, "fit", fit)
    scgeoae.tl.ensemble(mapped, n_models=2, bootstrap=True, keep_models=True)
    assert all(0.58 < size / 700 < 0.68 for size in sizes)
    assert sizes[0] != sizes[1]
    model = from_state(mapped.uns["geoae_ensemble"]["models"]["1"])
    with torch.no_grad():
        np.testing.assert_allclose(model.encode(torch.tensor(mapped.obsm["X_pca"])), maps_of(mapped)[1], atol=1e-3)
    assert mapped.uns["geoae_ensemble"]["params"]["bootstrap"] is True


def test_only_its_fields_are_written_and_nothing_global_changes(mapped: AnnData) -> None:
    before, threads, state = mapped.copy(), torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(2)
    with torch.no_grad():
        copy = scgeoae.tl.ensemble(mapped, n_models=2, copy=True)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), state)
    assert list(mapped.obs) == list(before.obs)
    assert list(copy.obs) == [*before.obs, *COLUMNS]
    assert set(copy.uns) - set(mapped.uns) == {"geoae_ensemble"}
    assert set(copy.obsm) - set(mapped.obsm) == {"X_geoae_ensemble"}
    assert copy[::2].obsm["X_geoae_ensemble"].shape == (350, 4)
    np.testing.assert_array_equal(copy.obsm["X_geoae"], before.obsm["X_geoae"])


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data:UserWarning")
@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_files(certain: AnnData, tmp_path: Path, kind: str) -> None:
    getattr(certain, f"write_{kind}")(tmp_path / "cells")
    back = getattr(ad, f"read_{kind}")(tmp_path / "cells")
    from_state(back.uns["geoae_ensemble"]["models"]["2"])
    np.testing.assert_array_equal(back.obs[COLUMNS], certain.obs[COLUMNS])
    scgeoae.tl.ensemble(back, n_models=2)
    np.testing.assert_array_equal(maps_of(back), maps_of(certain)[:2])


def test_the_input_of_the_result_is_chosen_again(pbmc: AnnData) -> None:
    mask = np.arange(pbmc.n_vars) % 7 == 0
    pbmc.obsm["near"] = np.full((700, 3), np.nan)
    pbmc.obsm["near"][:100] = pbmc.obsm["X_pca"][:100, :3]
    quick = QUICK | {"n_steps": 30, "regularizer": "isometry", "patience": 20}
    arguments = {"use_rep": "X", "mask_var": mask, "n_components": 3, "landmarks": "near", "key_added": "genes"}
    scgeoae.tl.geometric_ae(pbmc, **arguments, **quick)
    scgeoae.tl.ensemble(pbmc, n_models=2, key="genes")
    assert pbmc.obsm["genes_ensemble"].shape == (700, 6)
    assert "genes_displacement" in pbmc.obs
    assert "genes_direction_std" not in pbmc.obs


def test_expected_metric_is_the_mean_over_all_models(certain: AnnData) -> None:
    points = certain.obsm["X_geoae"][:20]
    states = [certain.uns["geoae"]["model"], *certain.uns["geoae_ensemble"]["models"].values()]
    total = np.zeros((20, 2, 2))
    for state in states:
        _, tangents = from_state(state).autoencoder.double().pushforward(torch.tensor(points, dtype=torch.float64))
        total += torch.einsum("inf,jnf->nij", tangents, tangents).detach().numpy()
    np.testing.assert_allclose(scgeoae.get.metric(certain, points, expected=True), total / 4, rtol=1e-6)
    del certain.uns["geoae_ensemble"]["models"]
    with pytest.raises(KeyError, match="keep_models=True"):
        scgeoae.get.metric(certain, expected=True)
    scgeoae.tl.fit_decoder(certain, "umap", n_steps=5)
    with pytest.raises(ValueError, match="does not move it"):
        scgeoae.get.metric(certain, expected=True, key="geoae_umap")


@pytest.mark.slow
def test_processes_change_nothing(mapped: AnnData) -> None:
    one, two = (scgeoae.tl.ensemble(mapped, n_models=3, bootstrap=True, n_jobs=n, copy=True) for n in (1, 2))
    np.testing.assert_array_equal(one.obsm["X_geoae_ensemble"], two.obsm["X_geoae_ensemble"])
    np.testing.assert_array_equal(one.obs[COLUMNS], two.obs[COLUMNS])


def test_sparse_genes_and_files(pbmc: AnnData, tmp_path: Path) -> None:
    pbmc.X = csr_matrix(np.where(pbmc.X > 0.5, pbmc.X, 0))
    scgeoae.tl.geometric_ae(pbmc, use_rep="X", **QUICK | {"n_steps": 20})
    scgeoae.tl.ensemble(pbmc, n_models=2, bootstrap=True)
    pbmc.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    with pytest.raises(ValueError, match=r"not in memory, so several processes cannot read it. Pass n_jobs=1"):
        scgeoae.tl.ensemble(backed, n_models=2, n_jobs=2)
    scgeoae.tl.ensemble(backed, n_models=2, bootstrap=True)
    z = backed.obsm["X_geoae_ensemble"]
    np.testing.assert_allclose(z, pbmc.obsm["X_geoae_ensemble"], atol=1e-3 * np.abs(z).max())


def test_bad_input(mapped: AnnData, request) -> None:
    scgeoae.tl.fit_decoder(mapped, "umap", n_steps=5)
    query = mapped[:50].copy()
    scgeoae.tl.map_cells(query, mapped)
    request.getfixturevalue("no_training")
    for arguments, error, message in [
        ({"n_models": 1}, ValueError, "at least 2"),
        ({"n_models": 0}, ValueError, "n_models must be at least"),
        ({"n_models": 2.5}, TypeError, "n_models"),
        ({"n_jobs": 0}, ValueError, "n_jobs"),
        ({"key": "other"}, KeyError, "geoae_umap"),
        ({"key": "geoae_umap"}, ValueError, r"decoder of obsm\['X_umap'\].*does not move"),
    ]:
        with pytest.raises(error, match=message):
            scgeoae.tl.ensemble(mapped, **arguments)
    with pytest.raises(ValueError, match="mapped, nothing was trained"):
        scgeoae.tl.ensemble(query)
    with pytest.raises(ValueError, match=r"obsm\['X_pca'\] does not hold the cells .* 600 cells instead of 700"):
        scgeoae.tl.ensemble(mapped[:600].copy())
    del mapped.obsm["X_pca"]
    with pytest.raises(KeyError, match="X_pca"):
        scgeoae.tl.ensemble(mapped)
    assert not set(COLUMNS) & set(mapped.obs)


@pytest.mark.usefixtures("interrupted")
def test_an_interruption_leaves_nothing(mapped: AnnData) -> None:
    with pytest.raises(KeyboardInterrupt):
        scgeoae.tl.ensemble(mapped, n_models=2)
    assert not set(COLUMNS) & set(mapped.obs)
    assert "X_geoae_ensemble" not in mapped.obsm
