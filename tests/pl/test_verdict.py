"""The picture of a verdict: its panels and the numbers in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle, StepPatch

import scgeoae

if TYPE_CHECKING:
    from io import StringIO

    from anndata import AnnData

NAMES, COLORS = ["trustworthy", "uncertain", "dubious"], ["#0072b2", "#bdbdbd", "#d55e00"]


@pytest.fixture
def judged(mapped: AnnData) -> AnnData:
    """Verdicts as `tl.verdict` writes them: 350, 210 and 140 cells; the null keeps from 0 to half of the neighbors."""
    for basis in ("umap", "geoae"):
        mapped.obs[f"{basis}_verdict"] = pd.Categorical(np.repeat(NAMES, [350, 210, 140]), NAMES)
        mapped.obs[f"{basis}_kept"] = np.linspace(1, 0, 700)
        mapped.obs[f"{basis}_chance"] = np.linspace(0, 1, 700)
        mapped.uns[f"{basis}_verdict"] = {"params": {}, "null_quantiles": np.linspace(0, 0.5, 101)}
        mapped.uns[f"{basis}_verdict_colors"] = np.array(COLORS, dtype=object)
    mapped.obs["half"] = pd.Categorical(np.where(np.arange(700) < 400, "first", "second"))
    return mapped


def test_panels(judged: AnnData) -> None:
    large, shares, groups = scgeoae.pl.verdict(judged, "umap", groupby="half", show=False)
    assert large.get_aspect() == 1
    (points,) = large.collections
    colors = dict(zip(map(tuple, points.get_offsets().tolist()), map(to_hex, points.get_facecolors()), strict=True))
    expected = [dict(zip(NAMES, COLORS, strict=True))[name] for name in judged.obs["umap_verdict"]]
    assert [colors[tuple(place)] for place in judged.obsm["X_umap"].tolist()] == expected
    legend = [text.get_text() for text in large.get_legend().get_texts()]
    assert legend == ["trustworthy, 50%", "uncertain, 30%", "dubious, 20%"]
    bars = [patch for patch in shares.patches if isinstance(patch, Rectangle)]
    assert sum(bar.get_height() for bar in bars) == 700
    (null,) = [patch for patch in shares.patches if isinstance(patch, StepPatch)]
    values, edges, _ = null.get_data()
    assert values.sum() == pytest.approx(700)  # as many cells as the map has
    np.testing.assert_allclose(values[edges[1:] <= 0.5], 700 * np.diff(edges)[edges[1:] <= 0.5] / 0.5)
    assert not values[edges[:-1] > 0.5].any()
    assert [label.get_text() for label in groups.get_yticklabels()] == ["first", "second"]  # to doubt at the top
    widths = np.reshape([bar.get_width() for bar in groups.patches], (3, 2))
    np.testing.assert_allclose(widths, [[350 / 400, 0], [50 / 400, 160 / 300], [0, 140 / 300]])


def test_the_bar_is_drawn_on_our_map_only(judged: AnnData) -> None:
    words = {}
    for basis in ("umap", "geoae"):
        ax = scgeoae.pl.verdict(judged, basis, ax=plt.subplots()[1], show=False)
        words[basis] = " ".join(text.get_text() for text in ax.findobj(lambda artist: hasattr(artist, "get_text")))
    assert "in the data" in words["geoae"]
    assert "in the data" not in words["umap"]


@pytest.mark.parametrize("basis", ["umap", "geoae"])
def test_a_map_that_was_made_again_is_not_drawn_with_its_former_verdict(mapped: AnnData, basis: str, log) -> None:
    scgeoae.tl.verdict(mapped, basis, embed=lambda x: x[:, :2].astype(float))
    for adata in (mapped, mapped[::3].copy()):
        scgeoae.pl.verdict(adata, basis, ax=plt.subplots()[1], show=False)
        adata.obsm[f"X_{basis}"] = adata.obsm[f"X_{basis}"] * [-1, 1]
        with pytest.raises(ValueError, match=rf"obsm\['X_{basis}'\] was changed after .*"):
            scgeoae.pl.verdict(adata, basis, show=False)
    assert "that its verdict is on" not in log.getvalue()


def test_verdicts_of_an_earlier_version_and_damaged_ones(judged: AnnData, log: StringIO) -> None:
    scgeoae.pl.verdict(judged, "umap", ax=plt.subplots()[1], show=False)
    assert "cannot be checked whether obsm['X_umap'] is still the map that its verdict is on" in log.getvalue()
    judged.uns["umap_verdict"]["fingerprint"] = {"coordinates": {}}
    with pytest.raises(ValueError, match=r"of the verdict on obsm\['X_umap'\] is damaged: n_cells is missing"):
        scgeoae.pl.verdict(judged, "umap", show=False)


def test_conventions(judged: AnnData) -> None:
    before = judged.copy()
    _, ax = plt.subplots()
    assert scgeoae.pl.verdict(judged, ax=ax, show=False) is ax
    assert isinstance(scgeoae.pl.verdict(judged, "X_umap", return_fig=True), Figure)
    assert len(scgeoae.pl.verdict(judged, show=False, size=4, title="mine")) == 2
    assert scgeoae.pl.verdict(judged, show=True) is None
    assert set(judged.uns) == set(before.uns)
    pd.testing.assert_frame_equal(judged.obs, before.obs)


def test_bad_input(judged: AnnData) -> None:
    judged.obs["measured"] = np.random.default_rng(0).normal(size=700)
    for arguments, error, message in [
        ({"basis": "nothing"}, KeyError, "nothing"),
        ({"basis": "pca"}, KeyError, r"Run `scgeoae.tl.verdict\(adata, 'pca'\)` first"),
        ({"groupby": "nothing"}, KeyError, "nothing"),
        ({"groupby": "measured"}, ValueError, "not groups"),
        ({"dimensions": (0, 2)}, ValueError, "dimensions"),
        ({"groupby": "half", "ax": plt.subplots()[1]}, ValueError, "With ax only the map"),
        ({"save": "x.png"}, TypeError, "no argument 'save'"),
    ]:
        with pytest.raises(error, match=message):
            scgeoae.pl.verdict(judged, **arguments, show=False)
    del judged.uns["geoae_verdict"]
    with pytest.raises(KeyError, match="the null"):
        scgeoae.pl.verdict(judged, show=False)
