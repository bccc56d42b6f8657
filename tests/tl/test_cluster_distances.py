"""Distances between groups: a sphere, where they are arcs of great circles."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from helpers import as_it_is_now

import scgeoae

if TYPE_CHECKING:
    from io import StringIO
    from pathlib import Path

    from anndata import AnnData

CENTERS = {
    "west/south": (-1.0, -0.8),
    "east/south": (1.0, -0.8),
    "west": (-1.0, 0.0),
    "east": (1.0, 0.0),
    "north": (0.1, 0.9),
}
"""Longitude and latitude."""


@pytest.fixture(scope="module")
def _sphere_once() -> AnnData:
    """Part of the unit sphere on its chart of longitude and latitude, with five groups of cells, and its decoder."""
    rng = np.random.default_rng(0)
    z = rng.uniform([-1.3, -1.1], [1.3, 1.1], (4000, 2))
    groups = np.full(len(z), np.nan, dtype=object)
    for name, center in CENTERS.items():
        groups[np.linalg.norm(z - center, axis=1) < 0.15] = name
    obs = pd.DataFrame({"group": groups}, index=np.arange(4000).astype(str))
    sphere = ad.AnnData(obs=obs, obsm={"X_pca": on_sphere(z).astype(np.float32), "X_chart": z})
    scgeoae.tl.fit_decoder(sphere, "chart", n_steps=400, hidden_dims=(50, 50), weight_decay=0.05)
    return sphere


@pytest.fixture
def sphere(_sphere_once: AnnData) -> AnnData:
    return _sphere_once.copy()


def on_sphere(z: np.ndarray) -> np.ndarray:
    longitude, latitude = np.asarray(z).T
    return np.column_stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)]
    )


def measure(adata: AnnData, groupby: str = "group", **arguments: object) -> pd.DataFrame:
    scgeoae.tl.cluster_distances(adata, groupby, key="geoae_chart", **arguments)
    return adata.uns["geoae_chart_distances"]


def test_arcs_of_great_circles(sphere: AnnData) -> None:
    table = measure(sphere)
    assert list(zip(table.index, table["other"], strict=True)) == list(combinations(sorted(CENTERS), 2))
    assert table.index.name == "group"
    for row in table.reset_index().itertuples():
        centers = np.array([CENTERS[row.group], CENTERS[row.other]])
        x, y = on_sphere(centers)
        assert row.map_length == pytest.approx(np.linalg.norm(np.subtract(*centers)), abs=0.06)
        assert row.map_distance == pytest.approx(row.map_length, abs=0.06)
        assert row.data_distance == pytest.approx(np.linalg.norm(x - y), abs=0.06)
        assert row.surface_length == pytest.approx(np.arccos(x @ y), abs=0.06)
    assert (table["share_off_data"] == 0).all()
    assert (table["straight_length"] == table["data_distance"]).all()
    assert not table["free_of_noise"].any()
    np.testing.assert_allclose(table["detour"], table["surface_length"] / table["straight_length"])
    for ratio, apparent, true in (
        ("distance_ratio", "map_distance", "data_distance"),
        ("surface_ratio", "map_length", "surface_length"),
    ):
        assert np.exp(np.log(table[ratio]).mean()) == pytest.approx(1)
        relative = table[ratio] / (table[apparent] / table[true])
        np.testing.assert_allclose(relative, relative.iloc[0])
    worst = table.reset_index().sort_values("surface_ratio").iloc[-1]  # near the pole, a step in longitude is short
    assert worst[["group", "other"]].tolist() == ["east/south", "west/south"]


def test_a_length_is_that_of_the_path(sphere: AnnData) -> None:
    table = measure(sphere).set_index("other", append=True)
    for pair in combinations(sorted(CENTERS), 2):
        path = scgeoae.get.geodesic(sphere, *pair, groupby="group", key="geoae_chart")
        assert table.loc[pair, "surface_length"] == pytest.approx(path.length, rel=0.02)


def test_islands_are_connected_across_the_gap(sphere: AnnData) -> None:
    mask = sphere.uns["geoae_chart"]["model"]["frame"]["region"]["mask"]
    mask[:, mask.shape[1] // 2 - 4 : mask.shape[1] // 2] = False
    table = measure(sphere).set_index("other", append=True)
    west, across = table.loc[("west", "west/south")], table.loc[("east", "west")]
    assert west["share_off_data"] == 0
    share = 4 / mask.shape[1] * 2.6 * 1.1 / 2  # of the equator's arc between the two
    assert across["share_off_data"] == pytest.approx(share, rel=0.2)
    assert table["surface_length"].notna().all()


def test_categories_keep_their_order_and_numbers_become_names(sphere: AnnData) -> None:
    order = ["north", "east", "pole", "west"]
    known = sphere.obs["group"].isin(order)
    sphere.obs["group"] = pd.Categorical(sphere.obs["group"].where(known), order)
    table = measure(sphere)
    assert list(table.index) == ["north", "north", "east"]
    assert list(table["other"]) == ["east", "west", "west"]
    sphere.obs["number"] = sphere.obs["group"].cat.codes.astype("category")
    assert set(measure(sphere, "number").index) == {"-1", "0", "1"}


def test_groups_of_one_cell_at_odd_places(sphere: AnnData, log: StringIO) -> None:
    sphere.obs["group"] = np.nan
    sphere.obs["group"] = sphere.obs["group"].astype(object)
    first, twin, lost, second = sphere.obs_names[:4]
    for name, cell in {"first": first, "twin": twin, "lost": lost, "second": second}.items():
        sphere.obs.loc[cell, "group"] = name
    sphere.obsm["X_chart"][[0, 1, 3]] = [[0, 0], [0, 0], [0.5, 0.5]]
    sphere.obsm["X_chart"][2] = [100, 100]
    as_it_is_now(sphere, "geoae_chart")
    table = measure(sphere).set_index("other", append=True)
    assert "off the map" not in log.getvalue()
    assert table.loc[("first", "twin"), "surface_length"] == pytest.approx(0, abs=1e-9)
    assert np.isnan(table.loc[("first", "twin"), "surface_ratio"])
    assert np.isnan(table.loc[("first", "twin"), "distance_ratio"])
    assert table.loc[("first", "twin"), "note"] == "shorter than straight"
    assert table.loc[("first", "second"), "surface_length"] == pytest.approx(0.69, abs=0.03)
    assert table.loc[("first", "second"), "surface_ratio"] == pytest.approx(1, rel=0.5)
    assert table.loc[("first", "lost"), "map_length"] == pytest.approx(100 * np.sqrt(2))
    lost = table.loc[("first", "lost")]  # joined by a straight piece, on which the decoder extrapolates
    assert 0.5 < lost["share_off_data"] < 1


def test_notes_on_the_surface(sphere: AnnData) -> None:
    """Data three times as far apart as the decoder says, and three times nearer."""
    del sphere.uns["geoae_chart"]["fingerprint"]  # which would tell of it
    for factor, note in ((3, "shorter than straight"), (1 / 3, "over twice straight")):
        scaled = sphere.copy()
        scaled.obsm["X_pca"] = scaled.obsm["X_pca"] * factor
        as_it_is_now(scaled, "geoae_chart")
        assert set(measure(scaled)["note"]) == {note}


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data:UserWarning")
@pytest.mark.parametrize("format_", ["h5ad", "zarr"])
def test_copies_and_files(sphere: AnnData, tmp_path: Path, format_: str) -> None:
    copy = scgeoae.tl.cluster_distances(sphere, "group", key="geoae_chart", copy=True)
    assert "geoae_chart_distances" not in sphere.uns
    getattr(copy, f"write_{format_}")(tmp_path / "sphere")
    back = getattr(ad, f"read_{format_}")(tmp_path / "sphere").uns["geoae_chart_distances"]
    pd.testing.assert_frame_equal(back, copy.uns["geoae_chart_distances"])
    assert back.index.name == "group"


def test_bad_input(sphere: AnnData) -> None:
    with pytest.raises(KeyError, match=r"cells.*group"):
        measure(sphere, "cells")
    sphere.obs["one"] = "all"
    with pytest.raises(ValueError, match="1 groups"):
        measure(sphere, "one")
    with pytest.raises(KeyError, match="geoae_chart"):
        scgeoae.tl.cluster_distances(sphere, "group")
    del sphere.uns["geoae_chart"]["model"]["frame"]["region"]
    with pytest.raises(ValueError, match="two dimensions"):
        measure(sphere)
