"""A model of a map that was made elsewhere: known Jacobians and places, the user's coordinates, every view of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from helpers import QUICK
from scipy.stats import spearmanr

import scgeoae
from scgeoae.core import fit as core_fit
from scgeoae.core import loop
from scgeoae.core.evaluation import Cells
from scgeoae.core.loop import History
from scgeoae.tl._warnings import warn_of_singular_decoder

if TYPE_CHECKING:
    from io import StringIO
    from pathlib import Path

    from anndata import AnnData

    from scgeoae.core.autoencoder import GeometricAutoencoder

COLUMNS = ["geoae_umap_det", "geoae_umap_anisotropy", "geoae_umap_reconstruction_error"]


def fit(adata: AnnData, basis: str = "umap", **arguments: object) -> AnnData | None:
    return scgeoae.tl.fit_decoder(adata, basis, **{**QUICK, **arguments})


def made_of(x: np.ndarray, z: np.ndarray) -> AnnData:
    return ad.AnnData(obsm={"X_pca": x.astype(np.float32), "X_umap": z}, shape=(len(x), 0))


@pytest.fixture
def sheet(rng: np.random.Generator) -> tuple[AnnData, np.ndarray]:
    """A noisy plane in ten dimensions on a warped map, and ln det of the inverse of the warp."""
    u = rng.uniform(-1, 1, (1000, 2))
    turn = np.linalg.qr(rng.normal(size=(10, 10)))[0][:2]
    x = u @ turn + 0.03 * rng.normal(size=(1000, 10))
    return made_of(x, np.sinh(1.2 * u)), -np.log(1.2 * np.cosh(1.2 * u)).sum(1)


@pytest.fixture(scope="module")
def _decoded_once(_pbmc_once: AnnData) -> AnnData:
    return fit(_pbmc_once, copy=True)


@pytest.fixture
def decoded(_decoded_once: AnnData) -> AnnData:
    return _decoded_once.copy()


def test_fields(decoded: AnnData, pbmc: AnnData) -> None:
    np.testing.assert_array_equal(decoded.obsm["X_umap"], pbmc.obsm["X_umap"])
    assert list(decoded.obsm) == list(pbmc.obsm)
    assert set(decoded.obs) - set(pbmc.obs) == set(COLUMNS)
    for name in COLUMNS:
        assert decoded.obs[name].dtype == np.float64
        assert np.isfinite(decoded.obs[name]).all()
    assert np.log(decoded.obs[COLUMNS[0]]).mean() == pytest.approx(0, abs=1e-12)
    assert (decoded.obs[COLUMNS[1]] >= 1).all()
    stored = decoded.uns["geoae_umap"]
    assert set(stored) == {"params", "model", "fingerprint", "history"}
    assert stored["params"]["basis"] == "X_umap"
    assert stored["params"]["weight_decay"] == 0.3


def test_stored_numbers_are_those_of_the_model(decoded: AnnData) -> None:
    model = scgeoae.get.model(decoded, key="geoae_umap")
    assert model.made_elsewhere
    with torch.no_grad():
        x = model.decode(torch.from_numpy(decoded.obsm["X_umap"].astype(np.float32)))
    error = np.sqrt(np.square(x.numpy() - decoded.obsm["X_pca"]).mean(1))
    np.testing.assert_allclose(error, decoded.obs[COLUMNS[2]], rtol=1e-3)
    g = scgeoae.get.metric(decoded, key="geoae_umap")
    np.testing.assert_allclose(np.sqrt(np.linalg.det(g)) / model.unit**2, decoded.obs[COLUMNS[0]], rtol=1e-4)
    assert model.region.contains(decoded.obsm["X_umap"]).mean() > 0.98
    assert model.error_quantiles[50] == pytest.approx(decoded.obs[COLUMNS[2]].median())


def test_every_view_works(decoded: AnnData, tmp_path: Path) -> None:
    decoded.write_h5ad(tmp_path / "decoded.h5ad")
    back = ad.read_h5ad(tmp_path / "decoded.h5ad")
    np.testing.assert_array_equal(
        scgeoae.get.metric(back, key="geoae_umap"), scgeoae.get.metric(decoded, key="geoae_umap")
    )
    key = {"key": "geoae_umap"}
    assert scgeoae.get.nonlinearity(back, radius=1.0, **key).shape == (700,)
    ax = scgeoae.pl.indicatrix(back, **key, color="bulk_labels", show=False)
    assert ax.get_xlabel() == "umap1"
    scgeoae.pl.det_heatmap(back, **key, field=True, show=False)
    scgeoae.pl.history(back, **key, show=False)
    scgeoae.tl.cluster_areas(back, "bulk_labels", **key)
    scgeoae.pl.cluster_areas(back, **key, show=False)


def test_it_holds_how_new_cells_are_read(pbmc: AnnData) -> None:
    sc.pp.pca(pbmc, n_comps=20)
    scgeoae.tl.fit_decoder(pbmc, "umap", n_steps=5)
    recipe = scgeoae.get.model(pbmc, key="geoae_umap").input
    assert recipe.projection.loadings.shape[1] == 20
    assert recipe.novelty is not None


def test_the_encoder_changes_nothing_of_the_decoder(pbmc: AnnData, decoded: AnnData, monkeypatch) -> None:
    begun = []

    def only_the_decoder(model: GeometricAutoencoder, *arguments: object, **options: object) -> History:
        begun.append(model)
        return loop.train(model, *arguments, **options) if len(begun) == 1 else History()

    monkeypatch.setattr(core_fit, "train", only_the_decoder)
    fit(pbmc)
    assert len(begun) == 2
    for name in COLUMNS:
        np.testing.assert_array_equal(pbmc.obs[name], decoded.obs[name])
    points = np.linspace([-5.0, -5.0], [10.0, 10.0], 9)
    both = (scgeoae.get.metric(adata, points, key="geoae_umap") for adata in (pbmc, decoded))
    np.testing.assert_array_equal(*both)


@pytest.mark.parametrize("shift", [0, 1e4])
def test_new_cells_lie_where_the_map_puts_them(sheet: tuple[AnnData, np.ndarray], tmp_path: Path, shift: float) -> None:
    """On a smooth map: by the encoder, with and without the cells, and in a file."""
    sheet[0].obsm["X_umap"] += shift
    reference, new = sheet[0][:800].copy(), sheet[0][800:].copy()
    places = new.obsm.pop("X_umap")
    scgeoae.tl.fit_decoder(reference, "umap", n_steps=300)
    scgeoae.write_model(reference, tmp_path / "model", key="geoae_umap")
    model, back = scgeoae.get.model(reference, key="geoae_umap"), scgeoae.read_model(tmp_path / "model")
    assert back.made_elsewhere
    radius = np.sqrt(places.var(0).sum())
    found = []
    for source in (reference, model, tmp_path / "model"):
        mapped = scgeoae.tl.map_cells(new, source, key="geoae_umap", copy=True)
        found.append(mapped.obsm["geoae_umap"])
        away = np.linalg.norm(found[-1] - places, axis=1) / radius
        assert np.median(away) < 0.07  # the noise of the data alone moves a cell by 0.05
        assert np.quantile(away, 0.95) < 0.18
        assert mapped.obs["geoae_umap_outside"].mean() < 0.1
        assert (mapped.obs["geoae_umap_det"] > 0).all()
    np.testing.assert_array_equal(found[1], found[2])
    assert not np.array_equal(found[0], found[1])


def test_noise_does_not_put_cells_between_islands(rng: np.random.Generator) -> None:
    """Two overlapping clouds on two far islands: each cell is placed on one of them, by the encoder too."""
    kind = np.repeat([0, 1], 400)
    x = rng.normal(size=(800, 6)) + 2.5 * kind[:, None] * [1, 0, 0, 0, 0, 0]
    z = 100.0 * kind[:, None] * [1, 0] + rng.normal(size=(800, 2))
    order = rng.permutation(800)
    reference, new = (made_of(x[part], z[part]) for part in np.split(order, [600]))
    scgeoae.tl.fit_decoder(reference, "umap", n_steps=300)
    for source in (reference, scgeoae.get.model(reference, key="geoae_umap")):
        found = scgeoae.tl.map_cells(new, source, key="geoae_umap", copy=True).obsm["geoae_umap"]
        assert np.mean((found[:, 0] > 10) & (found[:, 0] < 90)) < 0.08
        assert np.mean((found[:, 0] > 50) == kind[order[600:]]) > 0.8


@pytest.mark.usefixtures("interrupted")
def test_an_interrupted_fit_places_no_cells(pbmc: AnnData) -> None:
    reference = fit(pbmc, copy=True)
    assert reference.uns["geoae_umap"]["params"]["interrupted"]
    with pytest.raises(ValueError, match=r"no encoder.*interrupted. Run `scgeoae.tl.fit_decoder` again"):
        scgeoae.tl.map_cells(pbmc, reference, key="geoae_umap")


def test_a_known_jacobian_is_recovered(sheet: tuple[AnnData, np.ndarray]) -> None:
    adata, truth = sheet
    scgeoae.tl.fit_decoder(adata, "umap", n_steps=400)
    log_det = np.log(adata.obs[COLUMNS[0]]) + 2 * np.log(scgeoae.get.model(adata, key="geoae_umap").unit)
    assert np.sqrt(np.square(log_det - truth).mean()) < 0.1
    assert spearmanr(log_det, truth)[0] > 0.9


def test_two_seeds_agree_on_real_cells(pbmc: AnnData) -> None:
    fields = [fit(pbmc, n_steps=500, hidden_dims=(100, 100), rng=seed, copy=True).obs[COLUMNS[0]] for seed in (0, 1)]
    assert spearmanr(*fields)[0] > 0.8


def test_units_and_place_of_the_map_do_not_matter(sheet: tuple[AnnData, np.ndarray]) -> None:
    adata, _ = sheet
    fit(adata)
    expected = adata.obs[COLUMNS].to_numpy()
    unit = scgeoae.get.model(adata, key="geoae_umap").unit
    adata.obsm["X_umap"] = 1000 * adata.obsm["X_umap"] + [5e4, -300]
    fit(adata)
    np.testing.assert_allclose(adata.obs[COLUMNS], expected, rtol=0.02)
    assert scgeoae.get.model(adata, key="geoae_umap").unit == pytest.approx(unit / 1000, rel=0.01)


def test_the_linear_decoder_is_exact(rng: np.random.Generator) -> None:
    z = rng.normal(size=(300, 2)) * [3, 1] + 40
    w = rng.normal(size=(2, 6))
    adata = made_of(z @ w, z)
    fit(adata, hidden_dims=(), n_steps=1500, weight_decay=0, validation_fraction=0, learning_rate=0.2)
    np.testing.assert_allclose(scgeoae.get.metric(adata, key="geoae_umap")[0], w @ w.T, rtol=0.02)
    assert scgeoae.get.nonlinearity(adata, radius=1.0, key="geoae_umap").max() < 1e-9


def test_same_seed_same_field(pbmc: AnnData) -> None:
    state = torch.get_rng_state()
    first, again, other = (fit(pbmc, rng=seed, copy=True).obs[COLUMNS[0]] for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.equals(again)
    assert not first.equals(other)


@pytest.mark.parametrize(("basis", "key"), [("umap", "geoae_umap"), ("X_umap", "geoae_umap"), ("mine", "geoae_mine")])
def test_names_of_the_basis(pbmc: AnnData, basis: str, key: str) -> None:
    pbmc.obsm["mine"] = pd.DataFrame(pbmc.obsm["X_umap"], index=pbmc.obs_names, columns=["a", "b"])
    fit(pbmc, basis, n_steps=20)
    assert scgeoae.get.metric(pbmc, key=key).shape == (700, 2, 2)
    fit(pbmc, basis, n_steps=20, key_added="other")
    assert pbmc.uns["other"]["params"]["basis"] == ("mine" if basis == "mine" else "X_umap")
    assert "other_det" in pbmc.obs
    assert "other" not in pbmc.obsm


@pytest.mark.parametrize("d", [1, 3])
def test_other_dimensions(pbmc: AnnData, d: int) -> None:
    pbmc.obsm["X_umap"] = pbmc.obsm["X_pca"][:, :d]
    fit(pbmc, n_steps=20)
    assert scgeoae.get.metric(pbmc, key="geoae_umap").shape == (700, d, d)
    with pytest.raises(ValueError, match="two dimensions"):
        scgeoae.tl.cluster_areas(pbmc, "bulk_labels", key="geoae_umap")


def test_patience_stops_and_the_best_weights_are_kept(pbmc: AnnData) -> None:
    few = fit(pbmc[:120].copy(), hidden_dims=(100, 100, 100), weight_decay=0, n_steps=600, patience=3, copy=True)
    history = few.uns["geoae_umap"]["history"]
    assert len(history["step"]) < 50
    assert history["validation_reconstruction"].argmin() == len(history["step"]) - 4


def test_weight_decay_smooths(pbmc: AnnData) -> None:
    spreads = [np.log(fit(pbmc, weight_decay=w, n_steps=400, copy=True).obs[COLUMNS[0]]).std() for w in (0, 2)]
    assert spreads[1] < spreads[0]


def test_a_singular_decoder_is_told(log: StringIO) -> None:
    cells = Cells(np.zeros((50, 2)), np.zeros(50), np.zeros(50), np.repeat([1, np.inf], [40, 10]))
    warn_of_singular_decoder(cells)
    assert "singular at 20% of the cells" in log.getvalue()


def put(value: float):
    def change(adata: AnnData) -> None:
        adata.obsm["X_umap"][[3, 4], 1] = value

    return change


def constant(adata: AnnData) -> None:
    adata.obsm["X_umap"][:, 1] = 7


def nothing(adata: AnnData) -> None: ...


@pytest.mark.parametrize(
    ("prepare", "basis", "arguments", "error", "message"),
    [
        (nothing, "tsne", {}, KeyError, "X_umap.*sc.tl.tsne"),
        (nothing, "phate", {}, KeyError, "X_pca"),
        (put(np.nan), "umap", {}, ValueError, "missing or infinite coordinates of 2 cells"),
        (put(np.inf), "umap", {}, ValueError, "infinite"),
        (constant, "umap", {}, ValueError, "every dimension"),
        (lambda a: a.obsm.update(X_umap=np.array([["a", "b"]] * 700)), "umap", {}, TypeError, "real numbers"),
        (nothing, "pca", {"n_pcs": 10}, ValueError, "50 for 10 features"),
        (nothing, "pca", {}, ValueError, "50 for 50 features"),
        (nothing, "umap", {"use_rep": "X_nothing"}, KeyError, "X_nothing"),
        (nothing, "umap", {"weight_decay": -1}, ValueError, "weight_decay"),
        (nothing, "umap", {"key_added": "a/b"}, ValueError, "'/'"),
        (nothing, "umap", {"n_steps": 0}, ValueError, "n_steps"),
        (nothing, "umap", {"rng": "seed"}, TypeError, "rng"),
    ],
)
def test_bad_input(pbmc: AnnData, prepare, basis: str, arguments: dict, error: type[Exception], message: str) -> None:
    prepare(pbmc)
    before = list(pbmc.obs), list(pbmc.obsm), list(pbmc.uns)
    with pytest.raises(error, match=message):
        fit(pbmc, basis, **arguments)
    assert (list(pbmc.obs), list(pbmc.obsm), list(pbmc.uns)) == before
