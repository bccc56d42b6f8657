"""The structure of the plots: panels, ellipses, legends, colors, and that they leave the data alone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from helpers import QUICK
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.colors import LogNorm, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnchoredOffsetbox
from matplotlib.patches import Circle
from matplotlib.text import Text

import scgeoae
from scgeoae.core.surface import Surface
from scgeoae.explore import DIVERGING
from scgeoae.pl._indicatrix import HALO

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.transforms import Bbox


def ellipses(ax: Axes) -> EllipseCollection:
    (collection,) = [c for c in ax.collections if isinstance(c, EllipseCollection) and c.get_gid() != HALO]
    return collection


def key(ax: Axes) -> AnchoredOffsetbox:
    (box,) = [artist for artist in ax.artists if isinstance(artist, AnchoredOffsetbox)]
    return box


def bars(ax: Axes) -> list[Line2D]:
    return [line for line in key(ax).findobj(Line2D) if line.get_linestyle() == "-"]


def texts(ax: Axes) -> str:
    return " ".join(text.get_text() for text in key(ax).findobj(Text))


def test_indicatrix_draws_one_scale(mapped: AnnData) -> None:
    ax = scgeoae.pl.indicatrix(mapped, color="bulk_labels", show=False)
    assert isinstance(ax, Axes)
    assert ax.get_aspect() == 1
    drawn = ellipses(ax)
    points = np.asarray(drawn.get_offsets())
    assert scgeoae.get.model(mapped).region.contains(points).all()
    # widths and heights are twice radius / sqrt(eigenvalue), one radius for all
    g = scgeoae.get.metric(mapped, points)
    product = drawn.get_widths() * drawn.get_heights() / 4
    radii = np.sqrt(product * np.sqrt(np.linalg.det(g)))
    np.testing.assert_allclose(radii, radii[0], rtol=1e-6)
    # the longest axis lies where the metric is smallest
    angle = np.deg2rad(drawn.get_angles())
    v = np.column_stack([np.cos(angle), np.sin(angle)]) * drawn.get_widths()[:, None] / 2
    np.testing.assert_allclose(np.einsum("ni,nij,nj->n", v, g, v), radii**2, rtol=1e-5)
    # the key's circle has that radius, as the unit of the map is 1
    (circle,) = key(ax).findobj(Circle)
    assert circle.get_radius() == pytest.approx(radii[0], rel=1e-6)
    assert "undistorted circle" in texts(ax)
    assert "in the data, locally" in texts(ax)


def test_circle_and_scale_bar_have_the_scale_of_the_map(mapped: AnnData) -> None:
    ax = scgeoae.pl.indicatrix(mapped, show=False)
    (bar,), (circle,) = bars(ax), key(ax).findobj(Circle)
    length = float(texts(ax).split(" in the data")[0].split()[-1])
    assert np.ptp(bar.get_xdata()) == pytest.approx(length)  # unit 1
    ax.figure.canvas.draw()
    pixels = ax.bbox.width / np.ptp(ax.get_xlim())
    assert np.ptp(bar.get_path().transformed(bar.get_transform()).vertices[:, 0]) == pytest.approx(length * pixels)
    widest = circle.get_transform().transform_path(circle.get_path()).get_extents()
    assert (widest.width, widest.height) == pytest.approx([2 * circle.get_radius() * pixels] * 2)


@pytest.fixture
def islands(mapped: AnnData) -> AnnData:
    """A map whose region has a large piece, and three pieces of one tile: four cells, two cells, none."""
    state = mapped.uns["geoae"]["model"]
    mask = np.zeros((100, 100), dtype=bool)
    mask[:50, :50] = mask[73, 73] = mask[73, 93] = mask[93, 73] = True
    state["frame"]["region"] = {"mask": mask, "extent": np.array([0.0, 100, 0, 100])}
    z = np.random.default_rng(0).uniform(0, 50, mapped.obsm["X_geoae"].shape)
    z[:4] = [[73.1, 73.1], [73.6, 73.5], [73.9, 73.9], [73.9, 73.1]]
    z[4:6] = [[93.5, 73.5], [93.5, 73.4]]
    z[6:8] = [[0, 0], [100, 100]]
    mapped.obsm["X_geoae"] = z.astype(np.float32)
    return mapped


def test_islands_between_the_nodes_have_an_ellipse(islands: AnnData) -> None:
    points = np.asarray(ellipses(scgeoae.pl.indicatrix(islands, n_grid=5, show=False)).get_offsets())
    outside = points[(points > 50).any(1)]
    np.testing.assert_allclose(outside, islands.obsm["X_geoae"][[1]])  # the cell nearest to the middle
    assert len(points) > 1
    swapped = np.asarray(
        ellipses(scgeoae.pl.indicatrix(islands, n_grid=5, dimensions=(1, 0), show=False)).get_offsets()
    )
    np.testing.assert_allclose(swapped[-1], islands.obsm["X_geoae"][1, ::-1])


def test_an_island_that_has_a_node_gets_no_second(islands: AnnData) -> None:
    points = ellipses(scgeoae.pl.indicatrix(islands, n_grid=68, show=False)).get_offsets()
    distances = np.linalg.norm(np.asarray(points)[:, None] - np.asarray(points), axis=2)
    assert distances[~np.eye(len(points), dtype=bool)].min() >= 0.5 * 100 / 68


def test_grid_of_swapped_dimensions(mapped: AnnData) -> None:
    ax = scgeoae.pl.indicatrix(mapped, dimensions=(1, 0), show=False)
    points = np.asarray(ellipses(ax).get_offsets())[:, ::-1]
    assert scgeoae.get.model(mapped).region.contains(points).all()


@pytest.fixture
def uneven(mapped: AnnData, monkeypatch) -> AnnData:
    """A map that inflates its left a hundredfold, by the metric of its surface."""
    left = scgeoae.get.coordinates(mapped)[:, 0].min()
    metric = Surface.metric

    def stretched(surface: Surface, z: np.ndarray) -> np.ndarray:
        scale = 1 - 0.99 * np.exp(-(z[:, 0] - left) / 10)
        return np.eye(2) * scale[:, None, None] * np.sqrt(np.linalg.det(metric(surface, z)).mean())

    monkeypatch.setattr(Surface, "metric", stretched)
    monkeypatch.setattr(Surface, "nonlinearity", lambda _, z, *__: np.zeros(len(z)))
    return mapped


def test_large_indicatrices_cover_no_other(uneven: AnnData) -> None:
    ax = scgeoae.pl.indicatrix(uneven, n_grid=30, show=False)
    drawn = ellipses(ax)
    centers, radii = np.asarray(drawn.get_offsets()), np.asarray(drawn.get_widths()) / 2
    distances = np.linalg.norm(centers - centers[:, None], axis=2) + np.diag(np.full(len(centers), np.inf))
    assert radii.max() > 3 * radii.min()
    assert (distances >= radii[:, None] * 0.999).all()
    # nor does the frame cut them
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    spacing = np.ptp(scgeoae.get.coordinates(uneven), axis=0).max() / 30
    reach = np.minimum(radii, 1.4 * spacing)[:, None]
    assert (centers - reach >= [left, bottom]).all()
    assert (centers + reach <= [right, top]).all()
    cells = np.argsort(scgeoae.get.coordinates(uneven)[:, 0])[:5]
    plt.close("all")
    assert len(ellipses(scgeoae.pl.indicatrix(uneven, cells=cells, show=False)).get_offsets()) == 5  # as asked


def test_a_missing_color_is_named(mapped: AnnData) -> None:
    with pytest.raises(KeyError, match=r"Did not find 'labels' in .obs, which holds \['bulk_labels'"):
        scgeoae.pl.indicatrix(mapped, color="labels", show=False)


def test_other_quantities_have_other_colors(mapped: AnnData) -> None:
    first, second = scgeoae.pl.det_heatmap(mapped, color="geoae_anisotropy", show=False)
    assert first.collections[0].get_cmap().name == DIVERGING.name
    assert second.collections[0].get_cmap().name == plt.rcParams["image.cmap"]


def test_legends_end_before_the_next_panel(mapped: AnnData) -> None:
    figure = scgeoae.pl.indicatrix(mapped, color=["bulk_labels", "n_genes"], show=False, return_fig=True)
    figure.canvas.draw()
    labelled, other = figure.axes
    assert labelled.get_legend().get_window_extent().x1 < other.get_tightbbox().x0


def test_on_a_dark_background(mapped: AnnData) -> None:
    with plt.style.context("dark_background"):
        ax = scgeoae.pl.indicatrix(mapped, show=False)
        assert (np.asarray(ellipses(ax).get_edgecolor()) == 1).all()
        assert [circle.get_edgecolor() for circle in key(ax).findobj(Circle)] == [(1, 1, 1, 1)]
        assert {line.get_color() for line in key(ax).findobj(Line2D)} == {"white"}
        assert {text.get_color() for text in key(ax).findobj(Text)} == {"white"}


def test_names_of_groups_lie_above_the_ellipses(mapped: AnnData) -> None:
    ax = scgeoae.pl.indicatrix(mapped, color="bulk_labels", legend_loc="on data", show=False)
    names = [text for text in ax.texts if text.get_text() in set(mapped.obs["bulk_labels"])]
    assert len(names) == 10
    assert all(text.get_zorder() > ellipses(ax).get_zorder() for text in names)


@pytest.mark.parametrize("plot", ["embedding", "indicatrix"])
def test_the_key_lies_in_a_corner_without_cells(mapped: AnnData, plot: str) -> None:
    z = np.random.default_rng(0).uniform(0, 40, mapped.obsm["X_geoae"].shape)
    mapped.obsm["X_geoae"] = z[(z < 20).any(1)][np.arange(len(z)) % 500].astype(np.float32)  # none at the upper right
    ax = getattr(scgeoae.pl, plot)(mapped, show=False)
    box = drawn_box(ax)
    assert box.x0 > ax.bbox.x0 + ax.bbox.width / 2
    assert box.y0 > ax.bbox.y0 + ax.bbox.height / 2
    assert ax.bbox.x1 >= box.x1
    assert not box.count_contains(ax.transData.transform(mapped.obsm["X_geoae"]))


@pytest.mark.parametrize("layout", ["constrained", None])
@pytest.mark.parametrize(
    ("width", "size", "dpi"), [(1.2, 10, 100), (1.6, 14, 72), (1.9, 10, 60), (2.5, 20, 300), (8, 10, 100)]
)
def test_the_key_is_inside_the_figure_where_cells_are_everywhere(
    mapped: AnnData, monkeypatch, width: float, size: float, dpi: float, layout: str | None
) -> None:
    monkeypatch.setattr("scgeoae.pl._indicatrix.BELIEVED", -1)
    mapped.obsm["X_geoae"] = np.random.default_rng(0).uniform(0, 40, (700, 2)).astype(np.float32)
    with plt.rc_context({"font.size": size}):
        figure, ax = plt.subplots(figsize=(width, 4), dpi=dpi, layout=layout)
        scgeoae.pl.indicatrix(mapped, ax=ax, show=False)
    for _ in range(2):  # the sizes do not depend on what was drawn before
        box = drawn_box(ax)
        assert box.width <= ax.bbox.width + 1
        assert box.y0 >= figure.bbox.y0 - 1
        below = box.y1 <= ax.bbox.y0
        assert below or (layout is None and key(ax).patch.get_visible())
        lines = key(ax).findobj(Text)
        symbols = [*key(ax).findobj(Circle), *key(ax).findobj(Line2D)]
        boxes = np.array([artist.get_window_extent().extents for artist in [*lines, *symbols]])
        assert (boxes[: len(lines) - 1, 1] >= boxes[1 : len(lines), 3] - 1).all()  # no line covers the next
        assert len({text.get_fontsize() for text in lines}) == 1


def drawn_box(ax: Axes) -> Bbox:
    ax.figure.canvas.draw()
    return key(ax).get_window_extent(ax.figure.canvas.get_renderer())


def test_plots_of_a_map_have_one_frame_and_one_bar(mapped: AnnData) -> None:
    plots = [
        scgeoae.pl.embedding,
        scgeoae.pl.indicatrix,
        scgeoae.pl.det_heatmap,
        partial(scgeoae.pl.det_heatmap, field=True),
    ]
    axes = [draw(mapped, show=False) for draw in plots]
    assert {(ax.get_xlim(), ax.get_ylim()) for ax in axes} == {(axes[0].get_xlim(), axes[0].get_ylim())}
    assert np.ptp(axes[0].get_xlim()) == pytest.approx(np.ptp(axes[0].get_ylim()))
    bars = {next(text.get_text() for text in key(ax).findobj(Text) if "in the data" in text.get_text()) for ax in axes}
    assert len(bars) == 1


@pytest.mark.parametrize(("factor", "far"), [(1.3, None), (2.0, "5"), (0.5, "20")])
def test_the_bar_says_what_it_is_worth_between_groups(mapped: AnnData, factor: float, far: str | None) -> None:
    mapped.uns["geoae"]["model"]["frame"]["length_between"] = factor
    mapped.obsm["X_geoae"] *= 60 / np.ptp(mapped.obsm["X_geoae"])
    text = texts(scgeoae.pl.embedding(mapped, show=False))
    assert "10 in the data, locally" in text
    assert ("between groups" in text) == (far is not None)
    assert far is None or f"{far} between groups" in text


def test_a_map_that_was_made_elsewhere_has_no_bar(pbmc: AnnData) -> None:
    scgeoae.tl.fit_decoder(pbmc, "umap", n_steps=20, hidden_dims=(8,))
    ax = scgeoae.pl.embedding(pbmc, key="geoae_umap", show=False)
    assert not any("in the data" in text.get_text() for text in ax.findobj(Text))
    ax = scgeoae.pl.indicatrix(pbmc, key="geoae_umap", show=False)
    assert not bars(ax)
    radius = float(texts(ax).split("radius ")[1].split()[0])
    (circle,) = key(ax).findobj(Circle)
    assert radius == pytest.approx(circle.get_radius() * scgeoae.get.model(pbmc, key="geoae_umap").unit, rel=0.06)
    assert "locally, on average" in texts(ax)


def test_no_group_lies_on_top_for_its_place_in_the_file(mapped: AnnData) -> None:
    mapped.obs["half"] = pd.Categorical(np.repeat(["first", "second"], 350))
    mapped.obs.loc[mapped.obs_names[-100:], "half"] = np.nan
    points = scgeoae.pl.embedding(mapped, color="half", show=False).collections[0]
    colors = dict(zip(map(tuple, points.get_offsets().tolist()), map(to_hex, points.get_facecolors()), strict=True))
    palette = dict(zip(["first", "second"], map(to_hex, mapped.uns["half_colors"]), strict=True))
    expected = [palette.get(name, to_hex("lightgray")) for name in mapped.obs["half"]]
    assert [colors[tuple(place)] for place in mapped.obsm["X_geoae"].tolist()] == expected
    order = list(colors.values())
    assert order[:100] == [to_hex("lightgray")] * 100  # below the others
    assert 0.4 < np.mean([color == palette["first"] for color in order[100:400]]) < 0.75  # 350 of 600


def test_indicatrix_at_cells(mapped: AnnData) -> None:
    names = mapped.obs_names[[3, 1, 4]]
    for cells in (names, [3, 1, 4], np.isin(np.arange(700), [1, 3, 4])):
        ax = scgeoae.pl.indicatrix(mapped, cells=cells, show=False)
        drawn = np.asarray(ellipses(ax).get_offsets())
        np.testing.assert_allclose(np.sort(drawn, 0), np.sort(mapped.obsm["X_geoae"][[3, 1, 4]], 0))
    with pytest.raises(KeyError, match="nobody"):
        scgeoae.pl.indicatrix(mapped, cells=["nobody"], show=False)


def test_determinant_is_centered_on_one(mapped: AnnData) -> None:
    ax = scgeoae.pl.det_heatmap(mapped, field=False, show=False)
    points = ax.collections[0]
    assert isinstance(points.norm, LogNorm)
    assert points.norm.vmin * points.norm.vmax == pytest.approx(1)
    assert points.norm.vmax >= 2
    assert points.get_rasterized()
    expected = dict(zip(map(tuple, mapped.obsm["X_geoae"].tolist()), mapped.obs["geoae_det"], strict=True))
    drawn = dict(zip(map(tuple, points.get_offsets().tolist()), points.get_array(), strict=True))
    assert drawn == expected
    assert [*drawn] != [*expected]  # in random order
    assert "data area" in points.colorbar.ax.get_ylabel()
    ax = scgeoae.pl.det_heatmap(mapped, vmax=5, show=False)
    assert (ax.collections[0].norm.vmin, ax.collections[0].norm.vmax) == (0.2, 5)


def test_singular_cells_do_not_widen_the_limits(mapped: AnnData) -> None:
    limits = scgeoae.pl.det_heatmap(mapped, show=False).collections[0].get_clim()
    mapped.obs.loc[mapped.obs_names[:20], "geoae_det"] = [0, np.inf, np.nan, 0] * 5
    ax = scgeoae.pl.det_heatmap(mapped, show=False)
    assert ax.collections[-1].get_clim() == pytest.approx(limits, rel=0.1)
    ax.figure.canvas.draw()
    mapped.obs["geoae_det"] = "large"
    with pytest.raises(TypeError, match=r"obs\['geoae_det'\] must hold numbers, but it is of type str"):
        scgeoae.pl.det_heatmap(mapped, show=False)


def test_an_overlay_leaves_what_the_panel_held(mapped: AnnData) -> None:
    ax = plt.subplots()[1]
    own = ax.scatter([0, 1], [0, 1], c=[1, 2], s=7, cmap="magma")
    scgeoae.pl.det_heatmap(mapped, ax=ax, show=False)
    assert own.get_cmap().name == "magma"
    assert own.get_sizes().tolist() == [7]
    assert isinstance(ax.collections[1].norm, LogNorm)


def test_field_is_the_determinant_in_the_region(mapped: AnnData) -> None:
    ax = scgeoae.pl.det_heatmap(mapped, field=True, show=False)
    (image,) = ax.images
    values = np.ma.getdata(image.get_array())
    region = scgeoae.get.model(mapped).region
    assert np.isnan(values[~region.mask]).all()
    g = scgeoae.get.metric(mapped, region.points())
    np.testing.assert_allclose(values[region.mask], np.sqrt(np.linalg.det(g)), rtol=1e-9)


def test_field_of_a_query_shows_the_whole_region(mapped: AnnData) -> None:
    region = scgeoae.get.model(mapped).region
    left, right, bottom, top = region.extent
    query = mapped[:20].copy()
    query.uns["geoae"]["params"]["mapped"] = True
    query.obsm["X_geoae"][:10] = [right + 5, top + 1]
    ax = scgeoae.pl.det_heatmap(query, field=True, show=False)
    assert ax.get_xlim()[0] <= left
    assert ax.get_xlim()[1] >= right + 5
    assert ax.get_ylim()[0] <= bottom
    assert ax.get_ylim()[1] >= top + 1


@pytest.mark.parametrize("stretched", [(5, 1), (1, 5)])
def test_panels_line_up_whatever_the_map(mapped: AnnData, stretched: tuple[int, int]) -> None:
    mapped.obsm["X_geoae"] *= np.array(stretched)
    figure, axes = plt.subplots(1, 3, figsize=(9, 4))
    scgeoae.pl.det_heatmap(mapped, ax=axes[0], colorbar_loc=None, show=False)
    scgeoae.pl.det_heatmap(mapped, ax=axes[1], colorbar_loc=None, field=True, show=False)
    scgeoae.pl.indicatrix(mapped, ax=axes[2], show=False)
    figure.canvas.draw()
    panels = [ax.get_window_extent() for ax in axes]
    for panel in panels:
        np.testing.assert_allclose([panel.y0, panel.y1], [panels[0].y0, panels[0].y1])
        np.testing.assert_allclose(panel.width, panel.height)


@pytest.fixture
def with_outliers(mapped: AnnData) -> AnnData:
    """Three cells far from the others: on the left, on top and at the lower right."""
    z = scgeoae.get.coordinates(mapped)
    middle, far = z.mean(0), 10 * np.ptp(z, axis=0)
    mapped.obsm["X_geoae"][:3] = middle + far * np.array([[-1, 0], [0, 1], [1, -1]])
    return mapped


def rim(ax: Axes) -> np.ndarray:
    """Centers of the triangles at the rim."""
    return np.vstack([np.zeros((0, 2)), *(line.get_xydata() for line in ax.lines if not line.get_clip_on())])


def test_many_cells_outside_do_not_smear(mapped: AnnData) -> None:
    z = np.random.default_rng(0).normal(size=(700, 2)) ** 5  # some far in all directions
    mapped.obsm["X_geoae"] = z.astype(np.float32)
    ax = scgeoae.pl.embedding(mapped, show=False)
    marks = rim(ax)
    assert len(np.unique(marks, axis=0)) == len(marks)
    gaps = np.linalg.norm(marks[:, None] - marks, axis=2)[~np.eye(len(marks), dtype=bool)]
    assert gaps.min() > np.ptp(ax.get_xlim()) / 80


@pytest.mark.parametrize("plot", ["det_heatmap", "indicatrix"])
def test_outliers_are_marked_at_the_rim(with_outliers: AnnData, plot: str) -> None:
    draw = getattr(scgeoae.pl, plot)
    z = scgeoae.get.coordinates(with_outliers)
    ax = draw(with_outliers, show=False)
    low, high = np.transpose([ax.get_xlim(), ax.get_ylim()])
    assert (high - low < 2 * np.ptp(z[3:], axis=0)).all()
    assert ((z[3:] > low) & (z[3:] < high)).mean() > 0.98
    outside = z[((z < low) | (z > high)).any(1)]
    assert {tuple(cell) for cell in z[:3]} <= {tuple(cell) for cell in outside}
    assert f"{len(outside)} cells outside" in texts(ax)
    middle, half = (low + high) / 2, (high - low) / 2
    np.testing.assert_allclose(np.abs((rim(ax) - middle) / half).max(1), 1)
    toward = (outside - middle) / np.linalg.norm(outside - middle, axis=1, keepdims=True)
    pointing = (rim(ax) - middle) / np.linalg.norm(rim(ax) - middle, axis=1, keepdims=True)
    assert ((toward @ pointing.T).max(1) > 0.99).all()  # each lies in the direction of a mark
    assert ((toward @ pointing.T).max(0) > 0.99).all()
    ax = draw(with_outliers, outliers=True, show=False)
    assert not len(rim(ax))
    low, high = np.transpose([ax.get_xlim(), ax.get_ylim()])
    assert ((z > low) & (z < high)).all()


def test_no_ellipse_at_an_outlier(with_outliers: AnnData) -> None:
    ax = scgeoae.pl.indicatrix(with_outliers, show=False)
    low, high = np.transpose([ax.get_xlim(), ax.get_ylim()])
    centers = np.asarray(ellipses(ax).get_offsets())
    assert ((centers > low) & (centers < high)).all()
    at_outlier = scgeoae.pl.indicatrix(with_outliers, cells=with_outliers.obs_names[:1], show=False)
    assert len(ellipses(at_outlier).get_offsets()) == 1


def test_dots_are_smaller_where_cells_are_closer(mapped: AnnData) -> None:
    def size(**kwargs: object) -> float:
        (value,) = scgeoae.pl.det_heatmap(mapped, field=False, show=False, **kwargs).collections[0].get_sizes()
        return value

    spread = size()
    mapped.obsm["X_geoae"][10:] *= 0.05
    assert size(outliers=True) < spread / 4
    assert size(size=33) == 33
    assert size(outliers=True) >= 0.5


def test_field_of_swapped_dimensions(mapped: AnnData) -> None:
    (plain,) = scgeoae.pl.det_heatmap(mapped, field=True, show=False).images
    (swapped,) = scgeoae.pl.det_heatmap(mapped, field=True, dimensions=(1, 0), show=False).images
    np.testing.assert_array_equal(np.ma.getdata(swapped.get_array()), np.ma.getdata(plain.get_array()).T)
    assert list(swapped.get_extent()) == [*plain.get_extent()[2:], *plain.get_extent()[:2]]


@pytest.mark.parametrize("layout", [None, "constrained"])
@pytest.mark.parametrize("figsize", [(3, 6), (12, 3)])
def test_color_bars_are_as_high_as_their_panel(mapped: AnnData, figsize: tuple[float, float], layout: str) -> None:
    figure, axes = plt.subplots(1, 2, figsize=figsize, layout=layout)
    scgeoae.pl.det_heatmap(mapped, ax=axes[0], show=False)
    scgeoae.pl.indicatrix(mapped, color="n_genes", ax=axes[1], show=False)
    figure.canvas.draw()
    for ax in axes:
        bar = ax.collections[0].colorbar.ax.get_window_extent()
        assert (bar.y0, bar.y1) == pytest.approx((ax.bbox.y0, ax.bbox.y1), abs=1)
        assert 0 < bar.x0 - ax.bbox.x1 < 0.1 * ax.bbox.width


def test_a_color_bar_elsewhere_is_labeled_too(mapped: AnnData) -> None:
    ax = scgeoae.pl.det_heatmap(mapped, vmax=5, colorbar_loc="bottom", show=False)
    ax.figure.canvas.draw()
    bar = ax.collections[0].colorbar.ax
    assert "data area" in bar.get_xlabel()
    assert {"1/5", "1/2", "1", "2", "5"} <= {text.get_text() for text in bar.get_xticklabels()}
    assert bar.get_window_extent().y1 < ax.bbox.y0


@pytest.mark.parametrize("draw", [scgeoae.pl.det_heatmap, scgeoae.pl.indicatrix])
def test_conventions(mapped: AnnData, draw) -> None:
    before = mapped.copy()
    several = draw(mapped, color=["bulk_labels", "n_genes"], show=False)
    assert all(isinstance(ax, Axes) for ax in several)
    assert len(several) == (3 if draw is scgeoae.pl.det_heatmap else 2)
    _, ax = plt.subplots()
    assert draw(mapped, ax=ax, show=False) is ax
    assert isinstance(draw(mapped, return_fig=True), Figure)
    assert draw(mapped, show=True) is None
    assert draw(mapped, show=False, title="mine", size=4).get_title() == "mine"
    assert list(mapped.obs.columns) == list(before.obs.columns)
    assert list(mapped.obsm) == list(before.obsm)
    assert set(mapped.uns) == set(before.uns)
    with pytest.raises(KeyError, match=r"a geometric autoencoder in .*fit_decoder.*pass key='geoae_umap'"):
        draw(mapped, key="umap", show=False)
    for arguments, error, message in [
        ({"save": "map.png"}, TypeError, "no argument 'save' here. Pass show=False and save the figure"),
        ({"basis": "umap"}, TypeError, "no argument 'basis' here. Pass key"),
        ({"projection": "3d"}, TypeError, "two dimensions"),
        ({"ax": ax, "color": ["bulk_labels", "n_genes"]}, ValueError, "ax takes one matplotlib Axes and one color"),
        ({"ax": np.array([ax, ax])}, ValueError, "ax takes one matplotlib Axes"),
    ]:
        with pytest.raises(error, match=message):
            draw(mapped, show=False, **arguments)
    with pytest.raises(ValueError, match="dimensions"):
        draw(mapped, dimensions=(0, 2), show=False)


@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_autoshow_and_autosave_do_not_cut_the_overlay(mapped: AnnData, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    sc.settings.autosave = True
    try:
        ax = scgeoae.pl.indicatrix(mapped, show=False)
    finally:
        sc.settings.autosave = False
    assert len(ellipses(ax).get_offsets())
    assert not list(tmp_path.iterdir())


def test_bad_limits(mapped: AnnData) -> None:
    with pytest.raises(ValueError, match="positive"):
        scgeoae.pl.det_heatmap(mapped, vmin=-1, show=False)
    with pytest.raises(ValueError, match="n_grid"):
        scgeoae.pl.indicatrix(mapped, n_grid=0, show=False)


def test_three_dimensions(pbmc: AnnData) -> None:
    scgeoae.tl.geometric_ae(pbmc, n_components=3, **QUICK)
    ax = scgeoae.pl.indicatrix(pbmc, dimensions=(2, 0), show=False)
    drawn = ellipses(ax)
    points = np.asarray(drawn.get_offsets())
    z = pbmc.obsm["X_geoae"]
    cells = [int(np.flatnonzero((z[:, [2, 0]] == point).all(1))[0]) for point in points]
    g = scgeoae.get.metric(pbmc, z[cells])[:, [2, 0]][:, :, [2, 0]]
    ratio = np.sqrt(np.linalg.cond(g))
    np.testing.assert_allclose(drawn.get_widths() / drawn.get_heights(), ratio, rtol=1e-4)
    assert ax.get_xlabel() == "geoae3"
    scgeoae.pl.det_heatmap(pbmc, dimensions=(1, 2), show=False)
    with pytest.raises(ValueError, match="two dimensions only"):
        scgeoae.pl.det_heatmap(pbmc, field=True, show=False)


def test_one_dimension(pbmc: AnnData) -> None:
    scgeoae.tl.geometric_ae(pbmc, n_components=1, **QUICK)
    ax = scgeoae.pl.det_heatmap(pbmc, show=False)
    np.testing.assert_allclose(ax.collections[0].get_offsets()[:, 0], pbmc.obsm["X_geoae"][:, 0])
    assert ax.get_yscale() == "log"
    with pytest.raises(ValueError, match="one dimension"):
        scgeoae.pl.indicatrix(pbmc, show=False)


def test_history(mapped: AnnData) -> None:
    axes = scgeoae.pl.history(mapped, show=False)
    assert [len(ax.lines) for ax in axes] == [2, 2]
    with pytest.raises(ValueError, match="two Axes"):
        scgeoae.pl.history(mapped, ax=[axes[0]], show=False)


def test_own_key(pbmc: AnnData) -> None:
    scgeoae.tl.geometric_ae(pbmc, key_added="mine", **QUICK)
    assert scgeoae.pl.indicatrix(pbmc, key="mine", show=False).get_xlabel() == "mine1"
    assert scgeoae.pl.det_heatmap(pbmc, key="mine", show=False)


def test_a_hundred_thousand_cells(mapped: AnnData) -> None:
    many = ad.concat([mapped] * 143, uns_merge="same", index_unique="-")
    figure = scgeoae.pl.indicatrix(many, color="bulk_labels", return_fig=True)
    figure.canvas.draw()
    assert all(c.get_rasterized() for c in figure.axes[0].collections if not isinstance(c, EllipseCollection))


def test_labels_on_the_data_stay_on_their_groups(mapped: AnnData) -> None:
    z = mapped.obsm["X_geoae"]
    mapped.obs["side"] = pd.Categorical(np.where(z[:, 0] > 0, "right", "left"))
    ax = scgeoae.pl.embedding(mapped, color="side", legend_loc="on data", show=False)
    middles = {name: np.median(z[mapped.obs["side"] == name], axis=0) for name in ("left", "right")}
    found = {text.get_text(): text.get_position() for text in ax.texts if text.get_text() in middles}
    for name, middle in middles.items():
        np.testing.assert_allclose(found[name], middle, atol=0.01 * np.ptp(z))


def test_labels_on_the_data_do_not_overlap(mapped: AnnData) -> None:
    def overlaps(ax: Axes) -> int:
        boxes = [text.get_window_extent() for text in ax.texts]
        return sum(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])

    before = overlaps(sc.pl.embedding(mapped, "geoae", color="bulk_labels", legend_loc="on data", show=False))
    assert overlaps(scgeoae.pl.indicatrix(mapped, color="bulk_labels", legend_loc="on data", show=False)) < before

    ax = plt.subplots()[1]
    own = [ax.text(0, 0, "mine"), ax.text(0, 0, "mine too")]
    scgeoae.pl.indicatrix(mapped, color="bulk_labels", legend_loc="on data", ax=ax, show=False)
    assert [text.get_position() for text in own] == [(0, 0), (0, 0)]
    for panel in plt.figure().subfigures(1, 2):
        scgeoae.pl.indicatrix(mapped, color="bulk_labels", legend_loc="on data", ax=panel.subplots(), show=False)


@pytest.mark.skipif(not hasattr(sc, "Preset"), reason="scanpy before 1.12 has no presets")
def test_plots_are_matplotlibs_under_any_preset(mapped: AnnData) -> None:
    try:
        with sc.settings.preset.override(sc.Preset.ScanpyV2Preview):
            assert isinstance(scgeoae.pl.det_heatmap(mapped, show=False), Axes)
            assert isinstance(scgeoae.pl.indicatrix(mapped, color="bulk_labels", show=False), Axes)
            assert sc.settings.preset is sc.Preset.ScanpyV2Preview
    except ImportError as error:  # its plots need hv-anndata
        pytest.skip(str(error))
