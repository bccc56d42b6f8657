"""Plots of tables (areas of groups, quality of maps), and the outlines of indicatrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from matplotlib import pyplot as plt
from matplotlib.collections import EllipseCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

import scgeoae
from scgeoae.core.surface import Surface
from scgeoae.pl import _indicatrix
from scgeoae.pl._indicatrix import HALO

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


@pytest.fixture
def measured(mapped: AnnData) -> AnnData:
    scgeoae.tl.cluster_areas(mapped, "bulk_labels")
    table = mapped.uns["geoae_areas"]
    for name in ("size_ratio", "size_ratio_low", "size_ratio_high"):
        table[name] **= 5  # as on a worse map
    return mapped


def test_cluster_areas_draws_both_sizes(measured: AnnData) -> None:
    ax = scgeoae.pl.cluster_areas(measured, show=False)
    table = measured.uns["geoae_areas"].sort_values("size_ratio")
    assert [label.get_text() for label in ax.get_yticklabels()] == list(table.index)
    true, apparent = (c for c in ax.collections if isinstance(c, PathCollection))
    np.testing.assert_allclose(true.get_offsets()[:, 0], table["data_size"])
    np.testing.assert_allclose(apparent.get_offsets()[:, 0], table["data_size"] * table["size_ratio"])
    palette = dict(zip(measured.obs["bulk_labels"].cat.categories, measured.uns["bulk_labels_colors"], strict=True))
    assert [to_hex(color) for color in true.get_facecolors()] == [to_hex(palette[name]) for name in table.index]
    words = [text.get_text() for text in ax.texts]
    assert "too large" in words[-1]
    assert "too small" in words[0]
    assert [text.endswith("uncertain") for text in words] == table["uncertain"].tolist()
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"true (in the data)", "apparent (on the map)"}


def test_cluster_areas_of_several_maps(measured: AnnData) -> None:
    other = measured.uns["geoae_areas"].iloc[::-1].copy()
    other["size_ratio"] = 1 / other["size_ratio"]
    other["free_of_noise"] = True
    measured.uns["mine_areas"] = other
    panels = scgeoae.pl.cluster_areas(measured, key=["geoae", "mine"], show=False)
    table = measured.uns["geoae_areas"].sort_values("size_ratio")
    ratio = table["size_ratio"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == list(ratio.index)
    for panel, expected in zip(panels, (ratio, 1 / ratio), strict=True):
        (points,) = (c for c in panel.collections if isinstance(c, PathCollection))
        np.testing.assert_allclose(points.get_offsets()[:, 0], expected)
        np.testing.assert_allclose(points.get_offsets()[:, 1], range(len(ratio)))
        background = to_hex(panel.get_facecolor())
        assert [to_hex(color) == background for color in points.get_facecolors()] == table["uncertain"].tolist()
        off = np.exp(np.log(expected).std(ddof=0))
        assert panel.get_title().endswith(f"\ntypically {off:.2g} times off")
    assert panels[0].get_xlim() == panels[1].get_xlim()
    measured.uns["mine_areas"] = other.rename_axis("louvain")
    with pytest.raises(ValueError, match="different groups"):
        scgeoae.pl.cluster_areas(measured, key=["geoae", "mine"], show=False)
    with pytest.raises(KeyError, match="nothing_areas"):
        scgeoae.pl.cluster_areas(measured, key=["geoae", "nothing"], show=False)
    with pytest.raises(ValueError, match="at least one result"):
        scgeoae.pl.cluster_areas(measured, key=[], show=False)


def test_an_interval_without_an_end_does_not_stretch_the_plot(measured: AnnData) -> None:
    table = measured.uns["geoae_areas"]
    before = scgeoae.pl.cluster_areas(measured, show=False).get_xlim()
    table.loc[table["uncertain"], "size_ratio_high"] = np.inf
    assert scgeoae.pl.cluster_areas(measured, show=False).get_xlim() == before
    table["size_ratio"] = np.nan
    with pytest.raises(ValueError, match="no group has a ratio"):
        scgeoae.pl.cluster_areas(measured, show=False)


def test_cluster_areas_without_colors(measured: AnnData) -> None:
    before = measured.copy()
    del measured.uns["bulk_labels_colors"]
    ax = scgeoae.pl.cluster_areas(measured, show=False)
    assert len({to_hex(color) for color in ax.collections[0].get_colors()}) == 1
    assert set(measured.uns) == set(before.uns) - {"bulk_labels_colors"}


def test_the_parameters_of_scanpy_draw_no_grid_through_tables(measured: AnnData) -> None:
    table = pd.DataFrame({"stress": [0.1, 0.2]}, index=["a", "b"])
    with plt.rc_context():
        sc.set_figure_params()
        assert plt.rcParams["axes.grid"]
        assert not any(line.get_visible() for line in gridlines(scgeoae.pl.quality(table, show=False)))
        ax = scgeoae.pl.cluster_areas(measured, show=False)
        assert not any(line.get_visible() for line in ax.get_xgridlines())
        assert all(line.get_visible() for line in ax.get_ygridlines())


def gridlines(ax: Axes) -> list[Line2D]:
    return [*ax.get_xgridlines(), *ax.get_ygridlines()]


@pytest.mark.parametrize("size", [8, 14, 20])
def test_numbers_fit_into_the_table(size: float) -> None:
    table = pd.DataFrame({"stress": [0.00123, 0.2], "stress_se": [0.0001, 0.01]}, index=["a", "b"])
    with plt.rc_context({"font.size": size}):
        ax = scgeoae.pl.quality(table, show=False)
        ax.figure.canvas.draw()
        widths = [text.get_window_extent().width for text in ax.texts]
    assert max(widths) < ax.bbox.width / len(table)


def test_numbers_are_black_on_light_tiles() -> None:
    table = pd.DataFrame({"stress": [0.1, 0.2]}, index=["a", "b"])
    with plt.style.context("dark_background"):
        assert {text.get_color() for text in scgeoae.pl.quality(table, show=False).texts} == {"black"}


def test_quality_marks_the_best(pbmc: AnnData) -> None:
    table = scgeoae.metrics.embedding_quality(pbmc, ["pca", "umap"], labels="bulk_labels", max_cells=300)
    ax = scgeoae.pl.quality(table, show=False)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    shown = [name for name in scgeoae.metrics.quality.MEASURES if name in table]
    assert len(labels) == len(shown)
    assert "kNN recall ↑" in labels
    assert "stress ↓" in labels
    assert sum(isinstance(patch, Rectangle) and not patch.get_fill() for patch in ax.patches) >= len(shown)
    bold = [text.get_text() for text in ax.texts if text.get_weight() == "bold"]
    best = table["knn_recall"].max()
    assert any(text.startswith(f"{best:#.3g} ±") for text in bold)


def test_quality_of_one_map_has_no_best(pbmc: AnnData) -> None:
    table = scgeoae.metrics.embedding_quality(pbmc, ["pca"])
    ax = scgeoae.pl.quality(table, show=False)
    assert not [text for text in ax.texts if text.get_weight() == "bold"]


def test_maps_that_print_alike_are_both_best() -> None:
    table = pd.DataFrame({"stress": [0.12341, 0.12344, 0.3]}, index=["a", "b", "c"])
    ax = scgeoae.pl.quality(table, show=False)
    assert [text.get_weight() for text in ax.texts] == ["bold", "bold", "normal"]


def test_ties_mark_those_that_tie_and_no_other() -> None:
    values = {"stress": [0.3, 0.3, 0.3, 0.4], "gap": [0.5, 2.0, 0.1, np.nan], "rmse": [1.0, 2.0, 3.0, 4.0]}
    ax = scgeoae.pl.quality(pd.DataFrame(values, index=list("abcd")), show=False)
    rows = np.reshape([text.get_weight() == "bold" for text in ax.texts], (3, 4)).tolist()
    assert sorted(rows) == sorted([[True, True, True, False], [False] * 4, [True, True, False, False]])
    framed = sum(isinstance(patch, Rectangle) and not patch.get_fill() for patch in ax.patches)
    assert framed == 5
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert {"RMSE (depends on scale)", "gap between groups → 1"} <= set(labels)


def test_missing_values_are_dashes() -> None:
    table = pd.DataFrame({"stress": [0.1, np.nan, 0.3]}, index=["a", "b", "c"])
    ax = scgeoae.pl.quality(table, show=False)
    assert [text.get_text() for text in ax.texts] == ["0.100", "-", "0.300"]
    assert [text.get_weight() for text in ax.texts] == ["bold", "normal", "normal"]


@pytest.mark.parametrize("name", ["cluster_areas", "quality"])
def test_conventions(measured: AnnData, name: str) -> None:
    table = pd.DataFrame({"stress": [0.1, 0.2]}, index=["a", "b"])
    draw, argument = getattr(scgeoae.pl, name), table if name == "quality" else measured
    assert isinstance(draw(argument, return_fig=True), Figure)
    _, ax = plt.subplots()
    assert draw(argument, ax=ax, show=False) is ax
    assert draw(argument, show=True) is None


def test_bad_input(mapped: AnnData) -> None:
    with pytest.raises(KeyError, match=r"Run `scgeoae.tl.cluster_areas` first"):
        scgeoae.pl.cluster_areas(mapped, show=False)
    for table in (pd.DataFrame({"speed": [1]}), pd.DataFrame({"stress": []})):
        with pytest.raises(ValueError, match="stress"):
            scgeoae.pl.quality(table, show=False)
    with pytest.raises(TypeError, match=r"that `scgeoae.metrics.embedding_quality` returns, not AnnData"):
        scgeoae.pl.quality(mapped)


def drawn(ax: Axes) -> EllipseCollection:
    (collection,) = [c for c in ax.collections if isinstance(c, EllipseCollection) and c.get_gid() != HALO]
    return collection


def dashed(ax: Axes) -> np.ndarray:
    return np.array([style[1] is not None for style in drawn(ax).get_linestyle()])


def test_indicatrices_that_bend_are_dashed(mapped: AnnData, monkeypatch) -> None:
    points = np.asarray(drawn(scgeoae.pl.indicatrix(mapped, show=False)).get_offsets())
    limit = float(np.median(scgeoae.get.nonlinearity(mapped, points, radius=5)))
    nonlinearity = Surface.nonlinearity
    monkeypatch.setattr(Surface, "nonlinearity", lambda self, z, *_: nonlinearity(self, z, 5))
    monkeypatch.setattr(_indicatrix, "BELIEVED", limit)
    ax = scgeoae.pl.indicatrix(mapped, show=False)
    np.testing.assert_array_equal(dashed(ax), scgeoae.get.nonlinearity(mapped, points, radius=5) > limit)
    assert 0.4 < dashed(ax).mean() < 0.6
    assert (drawn(ax).get_edgecolors() == [0, 0, 0, 1]).all()
    assert any("dashed" in text.get_text() for text in ax.findobj(Text))
    monkeypatch.setattr(_indicatrix, "BELIEVED", np.inf)
    ax = scgeoae.pl.indicatrix(mapped, show=False)
    assert not dashed(ax).any()
    assert not any("dashed" in text.get_text() for text in ax.findobj(Text))


def test_outlines_show_on_a_black_cluster(mapped: AnnData, monkeypatch) -> None:
    monkeypatch.setattr(_indicatrix, "BELIEVED", -1)  # all dashed
    ax = scgeoae.pl.indicatrix(mapped, na_color="black", size=2000, show=False)
    image = pixels(ax)
    halo(ax).remove()
    without = pixels(ax)
    assert (image > without + 100).any(-1).sum() > 20 * len(drawn(ax).get_offsets())


def test_only_ellipses_that_cross_cells_have_a_halo_and_none_has_a_filling(mapped: AnnData) -> None:
    mapped.obsm["X_geoae"][:600] *= 0.3  # dots at the center, few elsewhere
    ax = scgeoae.pl.indicatrix(mapped, outliers=True, show=False)
    with_halo = {tuple(center) for center in halo(ax).get_offsets().tolist()}
    all_centers = [tuple(center) for center in drawn(ax).get_offsets().tolist()]
    assert with_halo < set(all_centers)
    assert with_halo
    inner, outer = (
        np.median([np.hypot(*center) for center in all_centers if (center in with_halo) == inside])
        for inside in (True, False)
    )
    assert inner < outer
    assert not len(drawn(ax).get_facecolor())
    assert not len(halo(ax).get_facecolor())


def halo(ax: Axes) -> EllipseCollection:
    (collection,) = [c for c in ax.collections if c.get_gid() == HALO]
    return collection


def pixels(ax: Axes) -> np.ndarray:
    ax.figure.canvas.draw()
    return np.asarray(ax.figure.canvas.buffer_rgba())[..., :3].astype(int)
