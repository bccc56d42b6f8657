"""Areas of groups: a sphere, where they are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from helpers import as_it_is_now

import scgeoae
from scgeoae.core.surface import Surface

if TYPE_CHECKING:
    from io import StringIO
    from pathlib import Path

    from anndata import AnnData

BANDS = np.sin(np.deg2rad([-60, -20, 20, 60]))
"""Sines of the latitudes between the groups."""


@pytest.fixture(scope="module")
def _sphere_once() -> AnnData:
    """Part of the unit sphere on its chart of longitude and latitude, in three bands of latitude, with its decoder."""
    rng = np.random.default_rng(0)
    longitude, latitude = rng.uniform(-1.5, 1.5, 4000), rng.uniform(*np.deg2rad([-60, 60]), 4000)
    x = np.column_stack([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)])
    band = np.digitize(np.rad2deg(latitude), [-20, 20])
    names = np.array(["south", "middle", "north"], dtype=object)[band]
    obs = pd.DataFrame({"band": names}, index=np.arange(4000).astype(str))
    maps = {"X_pca": x.astype(np.float32), "X_chart": np.column_stack([longitude, latitude])}
    sphere = ad.AnnData(obs=obs, obsm=maps)
    scgeoae.tl.fit_decoder(sphere, "chart", n_steps=400)
    return sphere


@pytest.fixture
def sphere(_sphere_once: AnnData) -> AnnData:
    return _sphere_once.copy()


def measure(adata: AnnData, groupby: str = "band", **arguments: object) -> pd.DataFrame:
    scgeoae.tl.cluster_areas(adata, groupby, key="geoae_chart", **arguments)
    return adata.uns["geoae_chart_areas"]


def true_areas() -> dict[str, float]:
    return dict(zip(["south", "middle", "north"], 3 * np.diff(BANDS), strict=True))


def test_areas_of_bands_on_a_sphere(sphere: AnnData) -> None:
    table = measure(sphere)
    assert list(table.index) == ["middle", "north", "south"]
    assert table.index.name == "band"
    assert table["n_cells"].sum() == 4000
    for band, area in true_areas().items():
        assert table.loc[band, "map_area"] == pytest.approx(3 * np.deg2rad(40), rel=0.06)
        assert table.loc[band, "surface_area"] == pytest.approx(area, rel=0.06)
    true_share = np.array(list(true_areas().values())) / sum(true_areas().values())
    expected = dict(zip(true_areas(), (1 / 3) / true_share, strict=True))
    for band, ratio in expected.items():
        assert table.loc[band, "surface_ratio"] == pytest.approx(ratio, rel=0.05)
    assert table.loc["north", "surface_ratio"] > 1.1 > 0.9 > table.loc["middle", "surface_ratio"]
    latitude = np.abs(sphere.obsm["X_chart"][:, 1])
    for band, rows in sphere.obs.groupby("band").indices.items():
        assert table.loc[band, "anisotropy"] == pytest.approx(np.median(1 / np.cos(latitude[rows])), rel=0.05)
        assert table.loc[band, "reconstruction_error"] < 0.05


@pytest.mark.parametrize("bands", [["middle", "north"], ["north", "south"]])
def test_cells_of_a_subset_keep_their_areas(sphere: AnnData, bands: list[str], log: StringIO) -> None:
    """They do not get the place of the cells that are gone, next to them or far away."""
    table = measure(sphere[sphere.obs["band"].isin(bands)].copy())
    assert list(table.index) == bands
    for band in bands:
        assert table.loc[band, "map_area"] == pytest.approx(3 * np.deg2rad(40), rel=0.15)
        assert table.loc[band, "surface_area"] == pytest.approx(true_areas()[band], rel=0.15)
    assert "was trained on 4000 cells, but the AnnData holds" in log.getvalue()


def test_a_random_part_has_the_areas_of_all(sphere: AnnData, log: StringIO) -> None:
    table = measure(sphere[::4].copy())
    for band, area in true_areas().items():
        assert table.loc[band, "surface_area"] == pytest.approx(area, rel=0.1)
    assert "areas are of the part of the map that these cells occupy" in log.getvalue()


def test_all_cells_in_another_order_are_not_told_of(sphere: AnnData, log: StringIO) -> None:
    areas = ["map_area", "surface_area", "surface_ratio"]
    expected = measure(sphere)[areas]
    pd.testing.assert_frame_equal(measure(sphere[::-1].copy())[areas], expected, rtol=1e-3)
    assert log.getvalue() == ""


def test_the_integral_of_an_exact_determinant(sphere: AnnData, monkeypatch) -> None:
    def distortion(_: Surface, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.log(np.cos(z[:, 1])), 1 / np.cos(z[:, 1])

    monkeypatch.setattr(Surface, "distortion", distortion)
    table = measure(sphere)
    area = true_areas()["middle"]  # its border lies inside the region but for the two short sides
    assert table.loc["middle", "surface_area"] / table.loc["middle", "map_area"] == pytest.approx(
        area / (3 * np.deg2rad(40)), rel=0.01
    )


def test_shares_add_up_and_leave_out_cells_without_a_label(sphere: AnnData) -> None:
    whole = measure(sphere)
    sphere.obs.loc[sphere.obs["band"] == "north", "band"] = np.nan
    table = measure(sphere)
    assert list(table.index) == ["middle", "south"]
    np.testing.assert_allclose(table[["map_share", "surface_share"]].sum(), 1)
    np.testing.assert_allclose(table["surface_area"], whole.loc[table.index, "surface_area"])


def test_categories_keep_their_order_and_numbers_become_names(sphere: AnnData) -> None:
    sphere.obs["band"] = pd.Categorical(sphere.obs["band"], ["south", "middle", "north", "pole"])
    assert list(measure(sphere).index) == ["south", "middle", "north"]
    sphere.obs["number"] = sphere.obs["band"].cat.codes.astype("category")
    assert list(measure(sphere, "number").index) == ["0", "1", "2"]


def test_a_group_of_one_cell_off_the_map_has_no_ratio(sphere: AnnData) -> None:
    sphere.obs.loc[sphere.obs_names[0], "band"] = "lonely"
    sphere.obsm["X_chart"][0] = [100, 100]
    as_it_is_now(sphere, "geoae_chart")
    table = measure(sphere)
    assert table.loc["lonely", "map_area"] == 0
    assert table.loc["lonely", ["data_size", "size_ratio", "size_ratio_low", "surface_ratio"]].isna().all()
    assert table.loc["lonely", "uncertain"]
    assert not table["uncertain"].drop("lonely").any()
    ax = scgeoae.pl.cluster_areas(sphere, key="geoae_chart", show=False)
    assert len(ax.get_yticklabels()) == 3


def test_copies_and_files(sphere: AnnData, tmp_path: Path) -> None:
    copy = scgeoae.tl.cluster_areas(sphere, "band", key="geoae_chart", copy=True)
    assert "geoae_chart_areas" not in sphere.uns
    copy.write_h5ad(tmp_path / "sphere.h5ad")
    back = ad.read_h5ad(tmp_path / "sphere.h5ad").uns["geoae_chart_areas"]
    pd.testing.assert_frame_equal(back, copy.uns["geoae_chart_areas"])
    assert back.index.name == "band"


def test_bad_input(sphere: AnnData) -> None:
    with pytest.raises(KeyError, match=r"cells.*band"):
        measure(sphere, "cells")
    sphere.obs["one"] = "all"
    with pytest.raises(ValueError, match="1 groups"):
        measure(sphere, "one")
    sphere.obs["height"] = np.arange(sphere.n_obs)
    with pytest.raises(ValueError, match=r"obs\['height'\] holds \d+ different numbers, not groups"):
        measure(sphere, "height")
    with pytest.raises(KeyError, match="geoae_chart"):
        scgeoae.tl.cluster_areas(sphere, "band")
    del sphere.obs["geoae_chart_anisotropy"]
    with pytest.raises(KeyError, match="geoae_chart_anisotropy"):
        measure(sphere)
