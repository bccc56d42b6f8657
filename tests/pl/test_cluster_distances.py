"""The plot of apparent against true distances."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection, PathCollection, QuadMesh
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import scgeoae

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

NAMES = ["A", "B", "C", "D"]


@pytest.fixture
def measured(mapped: AnnData) -> AnnData:
    """Four groups: A and B are near and look nearer, C and D look too far; the others are as they are."""
    first, second = np.triu_indices(4, 1)
    true = np.array([2.0, 10, 10, 9, 8, 1])
    ratio = np.array([1 / 3, 1, 1.1, 1.02, 0.9, 2])
    columns = {"other": np.array(NAMES)[second], "data_distance": true, "distance_ratio": ratio, "free_of_noise": False}
    mapped.uns["geoae_distances"] = pd.DataFrame(columns, index=pd.Index(np.array(NAMES)[first], name="group"))
    return mapped


def draw(adata: AnnData, **arguments: object) -> tuple[Axes, Axes]:
    return scgeoae.pl.cluster_distances(adata, show=False, **arguments)


def words(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_pairs_show_both_distances(measured: AnnData) -> None:
    ax, _ = draw(measured)
    table = measured.uns["geoae_distances"].sort_values("distance_ratio", ascending=False)
    pairs = [f"{group}\n{other}" for group, other in zip(table.index, table["other"], strict=True)]
    assert [label.get_text() for label in ax.get_yticklabels()] == pairs
    true, apparent = (c.get_offsets()[:, 0] for c in ax.collections if isinstance(c, PathCollection))
    np.testing.assert_allclose(true, table["data_distance"])
    np.testing.assert_allclose(apparent, table["data_distance"] * table["distance_ratio"])
    farther, closer = ["2.0 times too far", "1.1 times too far"], ["1.1 times too close", "3.0 times too close"]
    assert words(ax) == [*farther, "true", "true", *closer]
    colors = [to_hex(color) for color in ax.collections[0].get_colors()]
    assert colors[0] == colors[1] != colors[-1] == colors[-2]


def test_the_most_distorted_pairs(measured: AnnData) -> None:
    ax, _ = draw(measured, n_pairs=2)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["C\nD", "A\nB"]


def test_tiles_are_in_the_order_of_the_tree(measured: AnnData) -> None:
    _, ax = draw(measured)
    order = words(ax)
    assert sorted(order) == NAMES
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset("AB"), frozenset("CD")}
    (tiles,) = (c for c in ax.collections if isinstance(c, QuadMesh))
    values = np.ma.filled(tiles.get_array(), np.nan)
    assert np.isnan(values[np.triu_indices(4)]).all()
    table = measured.uns["geoae_distances"].set_index("other", append=True)["data_distance"]
    for row, column in zip(*np.tril_indices(4, -1), strict=True):
        assert values[row, column] == table[tuple(sorted((order[row], order[column])))]
    (branches,) = (c for c in ax.child_axes[0].collections if isinstance(c, LineCollection))
    assert len(branches.get_paths()) == 3
    heights = {path.vertices[:, 0].max() for path in branches.get_paths()}
    assert heights == {1, 2, np.mean([10, 10, 9, 8])}


def test_groups_that_differ_by_noise_alone_have_no_distance(measured: AnnData) -> None:
    table = measured.uns["geoae_distances"]
    table.loc[["C"], ["data_distance", "distance_ratio"]] = np.nan
    ax, tree = draw(measured)
    assert len(ax.get_yticklabels()) == 5
    assert sorted(words(tree)) == NAMES
    (branches,) = (c for c in tree.child_axes[0].collections if isinstance(c, LineCollection))
    assert min(path.vertices[:, 0].max() for path in branches.get_paths()) == 0
    table.loc[:, "distance_ratio"] = np.nan
    with pytest.raises(ValueError, match=r"In \.uns\['geoae_distances'\] no two groups are apart"):
        draw(measured)


@pytest.mark.parametrize("k", [2, 40])
def test_few_and_many_groups(mapped: AnnData, rng: np.random.Generator, k: int) -> None:
    mapped.obs["group"] = pd.Categorical([f"group {number}" for number in rng.permutation(mapped.n_obs) % k])
    scgeoae.tl.cluster_distances(mapped, "group")
    ax, tree = draw(mapped)
    ax.figure.canvas.draw()
    assert len(ax.get_yticklabels()) == min(12, k * (k - 1) // 2)
    boxes = [text.get_window_extent() for text in tree.texts]
    assert len(boxes) == k
    assert all(upper.y0 >= lower.y1 - 1 for upper, lower in pairwise(boxes))  # in pixels


def test_no_grid_of_scanpy(measured: AnnData) -> None:
    with plt.rc_context():
        sc.set_figure_params()
        ax, tree = draw(measured)
        assert not any(line.get_visible() for panel in (ax, tree.child_axes[1]) for line in panel.get_xgridlines())
        assert not tree.axison


def test_conventions(measured: AnnData) -> None:
    assert isinstance(scgeoae.pl.cluster_distances(measured, return_fig=True), Figure)
    figure, ax = plt.subplots()
    assert scgeoae.pl.cluster_distances(measured, ax=ax, show=False) is ax
    assert figure.axes == [ax]
    assert scgeoae.pl.cluster_distances(measured, show=True) is None


def test_bad_input(mapped: AnnData) -> None:
    with pytest.raises(KeyError, match=r"Run `scgeoae.tl.cluster_distances` first"):
        scgeoae.pl.cluster_distances(mapped, show=False)
    with pytest.raises(ValueError, match="n_pairs must be at least 1"):
        scgeoae.pl.cluster_distances(mapped, n_pairs=0, show=False)
