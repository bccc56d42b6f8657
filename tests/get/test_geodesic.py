"""Shortest paths between places of a trained map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pytest
from helpers import QUICK
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr

import scgeoae
from scgeoae.core.geodesic import medoid, paths
from scgeoae.result import Result

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

B, NK = "CD19+ B", "CD56+ NK"


@pytest.fixture
def whole(mapped: AnnData) -> AnnData:
    """A map whose cells occupy one piece."""
    mapped.uns["geoae"]["model"]["frame"]["region"]["mask"][:] = True
    return mapped


@pytest.fixture
def halves(whole: AnnData) -> AnnData:
    """A map with a gap of ten tiles across the first axis."""
    left, right = whole.uns["geoae"]["model"]["frame"]["region"]["extent"][:2]
    mask = whole.uns["geoae"]["model"]["frame"]["region"]["mask"]
    middle = int(mask.shape[1] * (0 - left) / (right - left))
    mask[:, middle - 5 : middle + 5] = False
    return whole


def ends(adata: AnnData) -> np.ndarray:
    """Places (2, 2) on both sides of the gap."""
    left, right = adata.uns["geoae"]["model"]["frame"]["region"]["extent"][:2]
    return np.array([[0.7 * left, 0.0], [0.7 * right, 0.0]])


def test_a_path_and_its_profiles(whole: AnnData) -> None:
    start, end = ends(whole)
    path = scgeoae.get.geodesic(whole, start, end, n_points=200)
    assert path.points.shape == (200, 2)
    np.testing.assert_array_equal(path.points[[0, -1]], [start, end])
    profiles = scgeoae.get.decode(whole, path.points)
    chords = np.linalg.norm(np.diff(profiles.X.astype(float), axis=0), axis=1)
    assert chords.sum() == pytest.approx(path.length, rel=1e-3)
    assert np.ptp(chords) < 0.02 * chords.mean()
    straight = scgeoae.get.decode(whole, np.linspace(start, end, 200)).X.astype(float)
    assert np.linalg.norm(profiles.X[0] - profiles.X[-1]) < path.length
    assert path.length < np.linalg.norm(np.diff(straight, axis=0), axis=1).sum() * (1 + 1e-4)
    assert path.length_off_data == 0


def test_a_path_stays_where_cells_are(mapped: AnnData) -> None:
    region = scgeoae.get.model(mapped).region
    z = mapped.obsm["X_geoae"].astype(float)
    pieces = region.pieces(z)
    largest = np.flatnonzero(pieces == np.bincount(pieces[pieces > 0]).argmax())
    start, end = z[largest[z[largest].argmin(0)[1]]], z[largest[z[largest].argmax(0)[1]]]
    path = scgeoae.get.geodesic(mapped, start, end, n_points=300)
    assert scgeoae.get.decode(mapped, path.points).obs["occupied"].all()
    anywhere = scgeoae.get.geodesic(mapped, start, end, region="anywhere")
    assert anywhere.length <= path.length * (1 + 1e-4)


def test_names_stand_for_places(whole: AnnData) -> None:
    z, names = whole.obsm["X_geoae"].astype(float), whole.obs_names
    inside = np.flatnonzero(scgeoae.get.model(whole).region.contains(z))
    first, last = inside[[0, -1]]
    expected = scgeoae.get.geodesic(whole, z[first], z[last])
    named = scgeoae.get.geodesic(whole, names[first], names[last])
    np.testing.assert_array_equal(named.points, expected.points)
    assert scgeoae.get.geodesic(whole, names[first], z[last].tolist()).length == expected.length

    group = z[(whole.obs["bulk_labels"] == B).to_numpy()]
    path = scgeoae.get.geodesic(whole, B, NK, groupby="bulk_labels")
    np.testing.assert_array_equal(path.points[0], group[medoid(group)])


def test_a_gap_is_crossed_only_if_asked(halves: AnnData) -> None:
    start, end = ends(halves)
    with pytest.raises(ValueError, match=r"has 2 pieces: start .* with \d\d\.\d% of its area, end .*region='anywhere'"):
        scgeoae.get.geodesic(halves, start, end)
    path = scgeoae.get.geodesic(halves, start, end, region="anywhere", n_points=400)
    assert 0 < path.length_off_data < path.length
    off = ~scgeoae.get.decode(halves, path.points).obs["occupied"]
    assert path.length_off_data == pytest.approx(path.length * off.mean(), rel=0.05)


def test_an_end_at_an_outlier(halves: AnnData) -> None:
    """A cell off the region has a path, by its name and by its place; the straight piece to it is off the data."""
    region, z = scgeoae.get.model(halves).region, halves.obsm["X_geoae"]
    right = region.extent[1]
    z[0], z[1] = [2 * right, 0], [0.7 * right, 0]
    halves.uns["geoae"].pop("fingerprint", None)  # the map is meant to be this one
    path = scgeoae.get.geodesic(halves, *halves.obs_names[[0, 1]], n_points=400)
    np.testing.assert_array_equal(path.points[[0, -1]], z[:2])
    assert scgeoae.get.geodesic(halves, z[0], z[1], n_points=400).length == path.length
    profiles = scgeoae.get.decode(halves, path.points)
    assert path.length_off_data == pytest.approx(path.length * (~profiles.obs["occupied"]).mean(), rel=0.05)
    assert 0 < path.length_off_data < path.length
    with pytest.raises(ValueError, match="has 2 pieces"):
        scgeoae.get.geodesic(halves, z[0], [-2 * right, 0])
    halves.obs["kind"] = np.where(np.arange(halves.n_obs) == 0, "outlier", "rest")
    scgeoae.tl.cluster_distances(halves, "kind")
    (row,) = halves.uns["geoae_distances"].itertuples()
    assert row.share_off_data * row.surface_length > 0.5 * path.length_off_data
    assert np.isfinite([row.surface_length, row.straight_length]).all()


def test_a_model_without_cells(whole: AnnData, tmp_path: Path) -> None:
    scgeoae.write_model(whole, tmp_path / "model")
    model, (start, end) = scgeoae.read_model(tmp_path / "model"), ends(whole)
    alone, with_cells = (scgeoae.get.geodesic(x, start, end, region="anywhere") for x in (model, whole))
    assert alone.length == with_cells.length
    with pytest.raises(TypeError, match="A model has no cells: end must be a point"):
        scgeoae.get.geodesic(model, start, B, groupby="bulk_labels")


def test_bad_input(halves: AnnData) -> None:
    (start, end), geodesic = ends(halves), scgeoae.get.geodesic
    for place in ([0, np.nan], [0, 0, 0], 3):
        with pytest.raises(ValueError, match=r"start must be a point of the map \(two finite coordinates\) or a name"):
            geodesic(halves, place, end)
    with pytest.raises(ValueError, match="Unknown region 'all'"):
        geodesic(halves, start, end, region="all")
    with pytest.raises(ValueError, match="n_points must be at least 2"):
        geodesic(halves, start, end, n_points=1)
    with pytest.raises(KeyError, match=r"0 cells are named 'CD19\+ B'.*groupby"):
        geodesic(halves, B, end)
    with pytest.raises(KeyError, match=r"no group 'B' in obs\['bulk_labels'\]"):
        geodesic(halves, "B", end, groupby="bulk_labels")
    with pytest.raises(KeyError, match=r"Did not find \.obs\['cells'\]"):
        geodesic(halves, B, end, groupby="cells")
    with pytest.raises(KeyError, match="results there"):
        geodesic(halves, start, end, key="other")
    halves.obs_names = ["cell"] * halves.n_obs
    with pytest.raises(KeyError, match="700 cells are named 'cell'"):
        geodesic(halves, "cell", end)
    scgeoae.tl.geometric_ae(halves, n_components=3, **QUICK)
    with pytest.raises(ValueError, match="two dimensions only; this map has 3"):
        geodesic(halves, [0, 0, 0], [1, 1, 1])


@pytest.mark.slow
def test_a_swiss_roll_is_unrolled(rng: np.random.Generator) -> None:
    t, height = rng.uniform(1.5 * np.pi, 4.5 * np.pi, 3000), rng.uniform(0, 21, 3000)
    x = np.column_stack([t * np.cos(t), height, t * np.sin(t)]).astype(np.float32)
    along = (t * np.sqrt(1 + t**2) + np.arcsinh(t)) / 2  # length of the spiral
    unrolled = np.column_stack([along, height])
    roll = ad.AnnData(obsm={"X_pca": x, "X_chart": np.column_stack([t, height / 3])}, shape=(3000, 0))
    scgeoae.tl.fit_decoder(roll, "chart")
    result = Result(roll, "geoae_chart")
    inside = np.flatnonzero(result.model.region.contains(roll.obsm["X_chart"]))
    cells = rng.choice(inside, 100, replace=False)
    pairs = np.array(list(np.ndindex(100, 100)))
    routes = paths(result.surface, result.model.region, roll.obsm["X_chart"][cells], pairs, refine=False)
    found = np.array([path.along[-1] for path in routes]).reshape(100, 100)
    true = cdist(unrolled[cells], unrolled[cells])
    assert spearmanr(found[np.triu_indices(100, 1)], true[np.triu_indices(100, 1)])[0] > 0.99
    np.testing.assert_allclose(found, true, rtol=0.1, atol=1)
    for i in range(0, 100, 10):
        path = scgeoae.get.geodesic(roll, *roll.obsm["X_chart"][cells[i : i + 2]], key="geoae_chart")
        assert path.length == pytest.approx(found[i, i + 1], rel=0.03)
