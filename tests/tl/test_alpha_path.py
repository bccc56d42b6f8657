"""The trade-off between reconstruction and true areas: what is written, and that nothing else is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from helpers import QUICK

import scgeoae

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

COLUMNS = [
    "alpha",
    "reconstruction",
    "validation_reconstruction",
    "log_det_variance",
    "det_p95_p5",
    "anisotropy",
    "default",
]


def test_table_is_that_of_single_trainings(pbmc: AnnData) -> None:
    scgeoae.tl.alpha_path(pbmc, [0.1, 0.001], **QUICK, rng=3)
    table = pbmc.uns["geoae_alpha_path"]
    assert list(table.columns) == COLUMNS
    assert list(table["alpha"]) == [0.001, 0.1]
    assert table["log_det_variance"].is_monotonic_decreasing
    scgeoae.tl.geometric_ae(pbmc, alpha=0.1, **QUICK, rng=3)
    row, det = table.iloc[1], pbmc.obs["geoae_det"]
    x = pbmc.obsm["X_pca"].astype(np.float64)
    left = pbmc.obs["geoae_reconstruction_error"].pow(2).sum() / np.square(x - x.mean(0)).sum() * x.shape[1]
    assert row["reconstruction"] == pytest.approx(left, rel=1e-5)
    assert row["log_det_variance"] == pytest.approx(np.log(det).var())
    assert row["det_p95_p5"] == pytest.approx(det.quantile(0.95) / det.quantile(0.05), rel=1e-2)
    assert row["anisotropy"] == pytest.approx(pbmc.obs["geoae_anisotropy"].median())
    assert 0 < row["reconstruction"] < row["validation_reconstruction"] < 1


def test_held_out_cells_are_measured_by_the_weights_that_were_kept(pbmc: AnnData) -> None:
    scgeoae.tl.alpha_path(pbmc, [0.01], **QUICK)
    scgeoae.tl.geometric_ae(pbmc, alpha=0.01, **QUICK)
    history, kept_at = pbmc.uns["geoae"]["history"], pbmc.uns["geoae"]["params"]["kept_at"]
    losses = dict(zip(history["step"], history["validation_reconstruction"], strict=True))
    assert pbmc.uns["geoae_alpha_path"]["validation_reconstruction"].item() == losses[kept_at]


def test_nothing_else_is_touched(mapped: AnnData) -> None:
    before = mapped.copy()
    assert scgeoae.tl.alpha_path(mapped, (0.1,), n_steps=5) is None
    assert list(mapped.uns) == [*before.uns, "geoae_alpha_path"]
    pd.testing.assert_frame_equal(mapped.obs, before.obs)
    assert list(mapped.obsm) == list(before.obsm)
    np.testing.assert_array_equal(mapped.obsm["X_geoae"], before.obsm["X_geoae"])
    assert mapped.uns["geoae"]["params"] == before.uns["geoae"]["params"]
    copy = scgeoae.tl.alpha_path(before, np.array([0.1]), n_steps=5, key_added="mine", copy=True)
    assert "mine" not in before.uns
    pd.testing.assert_frame_equal(copy.uns["mine"], mapped.uns["geoae_alpha_path"])


def test_default_is_marked(pbmc: AnnData) -> None:
    scgeoae.tl.geometric_ae(pbmc, n_steps=5)
    default = pbmc.uns["geoae"]["params"]["alpha"]
    scgeoae.tl.alpha_path(pbmc, [0, default, 10 * default], n_steps=5)
    assert list(pbmc.uns["geoae_alpha_path"]["default"]) == [False, True, False]


def test_other_inputs(pbmc: AnnData) -> None:
    pbmc.layers["scaled"] = pbmc.X
    for arguments in ({"use_rep": "X"}, {"layer": "scaled"}, {"n_components": 1}):
        view = scgeoae.tl.alpha_path(pbmc[:200], [0.1], n_steps=5, **arguments, copy=True)
        assert np.isfinite(view.uns["geoae_alpha_path"][COLUMNS[:-1]]).all(axis=None)


def test_without_held_out_cells(pbmc: AnnData) -> None:
    scgeoae.tl.alpha_path(pbmc, [0.1], n_steps=5, validation_fraction=0)
    assert pbmc.uns["geoae_alpha_path"]["validation_reconstruction"].isna().all()


def test_one_seed_for_all(pbmc: AnnData) -> None:
    """A generator gives one seed, so that an alpha gives the same numbers whatever the others are."""
    numbers = []
    for alphas in ([0.1], [0, 0.1]):
        scgeoae.tl.alpha_path(pbmc, alphas, n_steps=5, rng=np.random.default_rng(0))
        numbers.append(pbmc.uns["geoae_alpha_path"].iloc[-1])
    pd.testing.assert_series_equal(*numbers, check_names=False)


def test_files(pbmc: AnnData, tmp_path: Path) -> None:
    scgeoae.tl.alpha_path(pbmc, [0, 0.1], n_steps=5)
    pbmc.write_h5ad(tmp_path / "pbmc.h5ad")
    back = ad.read_h5ad(tmp_path / "pbmc.h5ad").uns["geoae_alpha_path"]
    pd.testing.assert_frame_equal(back, pbmc.uns["geoae_alpha_path"])


@pytest.mark.usefixtures("interrupted")
def test_interrupted(pbmc: AnnData) -> None:
    with pytest.raises(KeyboardInterrupt):
        scgeoae.tl.alpha_path(pbmc, [0.1, 1], **QUICK)
    assert "geoae_alpha_path" not in pbmc.uns


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("alphas", "error", "match"),
    [
        ([], ValueError, "at least one"),
        ([0.1, 1, 0.1], ValueError, "twice"),
        ([0.1, -1], ValueError, "each of alphas.*-1"),
        ([0.1, np.nan], ValueError, "finite"),
        ([0.1, np.inf], ValueError, "finite"),
        (["a"], TypeError, "number"),
        ([True], TypeError, "number"),
        (0.1, TypeError, "sequence"),
        ("0.1", TypeError, "sequence"),
        ({0.1, 0.2}, TypeError, "sequence"),
        ([[0.1, 0.2]], TypeError, "sequence"),
    ],
)
def test_bad_alphas(pbmc: AnnData, alphas, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        scgeoae.tl.alpha_path(pbmc, alphas)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"alpha": 0.1}, TypeError, "alphas, not alpha"),
        ({"n_step": 3}, TypeError, "n_step"),
        ({"n_steps": 0}, ValueError, "n_steps"),
        ({"rng": -1}, ValueError, "rng"),
        ({"use_rep": "X_nothing"}, KeyError, "X_nothing"),
        ({"layer": "nothing"}, KeyError, "nothing"),
        ({"mask_var": "highly_variable"}, ValueError, "mask_var"),
        ({"key_added": "a/b"}, ValueError, "key_added"),
    ],
)
def test_bad_arguments(pbmc: AnnData, arguments, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        scgeoae.tl.alpha_path(pbmc, [0.1], **arguments)


def test_results_are_not_overwritten(mapped: AnnData) -> None:
    with pytest.raises(ValueError, match="holds something else"):
        scgeoae.tl.alpha_path(mapped, [0.1], key_added="geoae")
