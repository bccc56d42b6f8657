"""The picture of an ensemble: its panels, what they show, and that it leaves the data alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from helpers import QUICK
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import scgeoae

if TYPE_CHECKING:
    from anndata import AnnData


@pytest.fixture
def certain(mapped: AnnData) -> AnnData:
    """An ensemble as `tl.ensemble` writes it, of maps that are shifted by known distances."""
    z = mapped.obsm["X_geoae"]
    mapped.obsm["X_geoae_ensemble"] = np.hstack([z + np.float32(shift) for shift in (1, 2, 3)])
    mapped.uns["geoae_ensemble"] = {"params": {"n_models": 3, "bootstrap": False, "rng": 0}}
    mapped.obs["geoae_displacement"] = np.linspace(0, 4, mapped.n_obs)
    return mapped


def test_panels(certain: AnnData) -> None:
    large, *small = scgeoae.pl.ensemble(certain, color="bulk_labels", show=False)
    assert [panel.get_title() for panel in small] == ["stored map", "map 1", "map 2", "map 3"]
    (points,) = large.collections
    np.testing.assert_allclose(np.sort(points.get_array()), certain.obs["geoae_displacement"])
    assert points.get_clim()[0] == 0
    assert "units of the data" in points.colorbar.ax.get_ylabel()
    z = certain.obsm["X_geoae"]
    for shift, panel in enumerate(small):
        (drawn,) = panel.collections
        np.testing.assert_allclose(np.sort(drawn.get_offsets(), 0), np.sort(z + shift, 0), atol=1e-5)
        assert panel.get_aspect() == 1
        assert (panel.get_xlim(), panel.get_ylim()) == (large.get_xlim(), large.get_ylim())
    (legend,) = small[0].figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(certain.obs["bulk_labels"].cat.categories)
    assert [to_hex(handle.get_color()) for handle in legend.legend_handles] == list(certain.uns["bulk_labels_colors"])


def test_by_default_displacement_colors_all_panels(certain: AnnData) -> None:
    before = certain.copy()
    figure = scgeoae.pl.ensemble(certain, return_fig=True)
    assert isinstance(figure, Figure)
    assert not figure.axes[1].figure.legends
    for panel in figure.axes[1:5]:
        np.testing.assert_allclose(np.sort(panel.collections[0].get_array()), certain.obs["geoae_displacement"])
    assert set(certain.uns) == set(before.uns)
    pd.testing.assert_frame_equal(certain.obs, before.obs)


def test_one_axes(certain: AnnData) -> None:
    _, ax = plt.subplots()
    assert scgeoae.pl.ensemble(certain, ax=ax, show=False) is ax
    assert len(ax.figure.axes) == 1
    with pytest.raises(ValueError, match="With ax only the displacement"):
        scgeoae.pl.ensemble(certain, ax=ax, color="bulk_labels")


@pytest.mark.parametrize("color", ["phase", "flag", "n_genes"])
def test_columns_without_colors_missing_values_and_numbers(certain: AnnData, color: str) -> None:
    del certain.uns["bulk_labels_colors"]
    certain.obs["flag"] = certain.obs["n_genes"] > 1000
    certain.obs.loc[certain.obs_names[:5], "phase"] = np.nan
    panels = scgeoae.pl.ensemble(certain, color=color, dimensions=(1, 0), show=False)
    assert len(panels) == 5
    assert all(isinstance(panel, Axes) for panel in panels)
    panels[0].figure.canvas.draw()
    labels = [ax.get_ylabel() for ax in plt.gcf().axes]
    assert ("n_genes" in labels) == (color == "n_genes")  # a color bar
    assert f"{color}_colors" not in certain.uns


def test_bad_input(certain: AnnData) -> None:
    for arguments, error, message in [
        ({"color": "nothing"}, KeyError, "nothing"),
        ({"dimensions": (0, 2)}, ValueError, "dimensions"),
        ({"key": "other"}, KeyError, "other"),
        ({"color": ["phase", "n_genes"]}, TypeError, "name of one column"),
    ]:
        with pytest.raises(error, match=message):
            scgeoae.pl.ensemble(certain, **arguments)
    scgeoae.tl.geometric_ae(certain, **QUICK | {"n_steps": 5})
    with pytest.raises(KeyError, match=r"Run `scgeoae.tl.ensemble\(adata, key='geoae'\)` first"):
        scgeoae.pl.ensemble(certain)
    scgeoae.tl.fit_decoder(certain, "umap", n_steps=5)
    with pytest.raises(ValueError, match=r"decoder of obsm\['X_umap'\].*Choose a result of `scgeoae.tl.geometric_ae`"):
        scgeoae.pl.ensemble(certain, key="geoae_umap")
    assert not plt.get_fignums()
    sc.settings.autoshow = False
