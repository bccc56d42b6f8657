"""Finding and reading a result."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scgeoae
from scgeoae import reference
from scgeoae.fields import Keys
from scgeoae.result import Result, distortion_summary

if TYPE_CHECKING:
    from anndata import AnnData


@pytest.fixture
def n_rebuilt(monkeypatch) -> list[int]:
    """Grows by one entry with each model that is rebuilt."""
    rebuilt, from_state = [], reference.from_state
    monkeypatch.setattr(reference, "from_state", lambda stored: rebuilt.append(1) or from_state(stored))
    return rebuilt


def test_the_model_is_rebuilt_once(mapped: AnnData, n_rebuilt: list[int]) -> None:
    result = Result(mapped)
    assert not n_rebuilt
    assert result.surface is result.surface
    assert result.model is result.model
    assert Result(mapped).model is not result.model
    assert len(n_rebuilt) == 2


@pytest.mark.parametrize(
    ("draw", "n"),
    [
        (lambda adata: scgeoae.pl.indicatrix(adata, show=False), 1),
        (lambda adata: scgeoae.pl.det_heatmap(adata, field=True, show=False), 1),
        (lambda adata: scgeoae.pl.det_heatmap(adata, show=False), 1),
        (lambda adata: scgeoae.tl.cluster_areas(adata, "bulk_labels"), 1),
        (lambda adata: scgeoae.tl.cluster_distances(adata, "bulk_labels"), 1),
    ],
)
def test_a_plot_rebuilds_the_model_once(mapped: AnnData, n_rebuilt: list[int], draw, n: int) -> None:
    draw(mapped)
    assert len(n_rebuilt) == n


def test_fields(mapped: AnnData) -> None:
    result = Result(mapped, "geoae")
    np.testing.assert_array_equal(result.coordinates(), mapped.obsm["X_geoae"])
    assert np.shares_memory(result.column(Keys.error), mapped.obs["geoae_reconstruction_error"])
    pd.testing.assert_series_equal(result.column(Keys.error), mapped.obs["geoae_reconstruction_error"])
    assert result.params is mapped.uns["geoae"]["params"]
    assert result.history["step"] is mapped.uns["geoae"]["history"]["step"]
    variance = np.square(mapped.obsm["X_pca"] - mapped.obsm["X_pca"].mean(0)).mean()
    expected = np.square(mapped.obs["geoae_reconstruction_error"]).mean() / variance
    assert result.reconstruction() == pytest.approx(expected, rel=1e-4)


def test_distortion_summary() -> None:
    det = np.exp(np.linspace(-1, 1, 101))
    summary = distortion_summary(np.log(det), np.arange(1, 102))
    assert summary["log_det_variance"] == pytest.approx(np.log(det).var(ddof=1))
    assert summary["det_p95_p5"] == pytest.approx(np.exp(1.8))
    assert summary["anisotropy"] == 51


def test_missing_fields(mapped: AnnData) -> None:
    result = Result(mapped)
    del mapped.obs["geoae_det"], mapped.uns["geoae"]["history"], mapped.obsm["X_geoae"]
    with pytest.raises(KeyError, match=r"Did not find \.obs\['geoae_det'\]; .*Run `scgeoae.tl.geometric_ae`"):
        result.distortion()
    with pytest.raises(KeyError, match="not where cells are mapped"):
        _ = result.history
    with pytest.raises(KeyError, match=r"Did not find \.obsm\['X_geoae'\], the coordinates of the result 'geoae'"):
        result.coordinates()
    with pytest.raises(KeyError, match=r"Did not find a geometric autoencoder in \.uns\['none'\] \(results there: \["):
        Result(mapped, "none")


def test_advice_where_there_is_no_result(mapped: AnnData) -> None:
    advice = {
        "umap": r"Run `scgeoae.tl.fit_decoder` for the map in .obsm\['X_umap'\] first, and pass key='geoae_umap'",
        "X_geoae": r"Pass key='geoae' for the map in .obsm\['X_geoae'\]",
        "none": "Run `scgeoae.tl.geometric_ae` or `scgeoae.tl.fit_decoder` first, or pass key, the name of one of them",
    }
    for key, message in advice.items():
        with pytest.raises(KeyError, match=message):
            Result(mapped, key)
    mapped.uns.clear()
    with pytest.raises(KeyError, match=r'`scgeoae.tl.fit_decoder` first\."$'):
        Result(mapped, "none")
    halves = ad.concat([mapped[:300], mapped[300:]])
    with pytest.raises(KeyError, match=r"`anndata.concat` keeps it with uns_merge='same'"):
        Result(halves)


def test_what_is_no_anndata(mapped: AnnData) -> None:
    matrix = mapped.obsm["X_pca"]
    calls = [scgeoae.tl.geometric_ae, scgeoae.pl.indicatrix, scgeoae.pp.split_counts]
    calls += [
        partial(scgeoae.metrics.embedding_quality, bases=["umap"]),
        partial(scgeoae.tl.map_cells, adata_ref=mapped),
        partial(scgeoae.get.decode, points=[[0, 0]]),
    ]
    for call in calls:
        for wrong, message in [
            (None, "not NoneType. Tools write to adata and return None"),
            ("cells.h5ad", "not str. Read the file first"),
            (matrix, r"not ndarray. Wrap a matrix by `anndata.AnnData\(matrix\)`"),
            ({}, r"adata must be an AnnData( or a model)?, not dict\.$"),
        ]:
            with pytest.raises(TypeError, match=message):
                call(wrong)


def test_results_of_a_map(mapped: AnnData) -> None:
    for key, basis in [("b", "X_umap"), ("geoae_umap", "X_umap"), ("a", "X_umap"), ("c", "X_pca")]:
        mapped.uns[key] = {"params": {"basis": basis}, "model": {}}
    mapped.uns["table"] = pd.DataFrame({"params": [1], "model": [2]})
    assert Result.names(mapped) == ["geoae", "b", "geoae_umap", "a", "c"]
    assert [result.keys.key for result in Result.of_map(mapped, "X_umap")] == ["geoae_umap", "a", "b"]


def test_reading_columns_does_not_import_torch() -> None:
    code = "import sys, scgeoae.fields, scgeoae.result, scgeoae.metrics; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


@pytest.mark.filterwarnings("ignore::anndata.ImplicitModificationWarning")
def test_a_new_result_of_a_view_drops_the_ensemble_of_the_former_one(mapped: AnnData) -> None:
    before = list(mapped.obs)
    scgeoae.tl.ensemble(mapped, n_models=2)
    view = mapped[:300]
    scgeoae.tl.geometric_ae(view, n_steps=10)
    assert list(view.obs) == before
    assert "geoae_ensemble" not in view.uns
    assert "X_geoae_ensemble" not in view.obsm
    assert "geoae_displacement" in mapped.obs
