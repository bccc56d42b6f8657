"""A map that grows: cells stay near their places on an earlier map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from helpers import QUICK
from scipy.linalg import orthogonal_procrustes

import scgeoae

if TYPE_CHECKING:
    from anndata import AnnData


@pytest.fixture
def grown(mapped: AnnData) -> AnnData:
    """Cells with a map of all but the B cells, whose places are free."""
    places = np.full((mapped.n_obs, 2), np.nan)
    known = (mapped.obs["bulk_labels"] != "CD19+ B").to_numpy()
    first = scgeoae.tl.geometric_ae(mapped[known].copy(), **QUICK, rng=3, copy=True)
    places[known] = first.obsm["X_geoae"]
    mapped.obsm["first"] = places
    return mapped


def distances(z: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Of cells from their places, as a share of the radius of the map."""
    known = ~np.isnan(places).any(1)
    return np.linalg.norm(z[known] - places[known], axis=1) / np.sqrt(places[known].var(0).sum())


def test_cells_stay_near_their_landmarks(grown: AnnData) -> None:
    places = grown.obsm["first"]
    known = ~np.isnan(places).any(1)
    free = scgeoae.tl.geometric_ae(grown, **QUICK, init="random", copy=True).obsm["X_geoae"].astype(float)
    turn, _ = orthogonal_procrustes(free[known] - free[known].mean(0), places[known] - places[known].mean(0))
    moved = distances((free - free[known].mean(0)) @ turn + places[known].mean(0), places)
    scgeoae.tl.geometric_ae(grown, **QUICK, landmarks="first")
    z = grown.obsm["X_geoae"]
    assert np.median(distances(z, places)) < 0.15 < np.median(moved)
    # calibrated as any map, but in the place of the landmarks
    assert abs(np.log(grown.obs["geoae_det"]).mean()) < 1e-5
    assert scgeoae.get.model(grown).unit == 1
    np.testing.assert_allclose(z[known].mean(0), places[known].mean(0), atol=1e-3)
    encoded = scgeoae.tl.map_cells(grown, scgeoae.get.model(grown), copy=True).obsm["X_geoae"]
    np.testing.assert_allclose(encoded, z, atol=1e-3)
    params = grown.uns["geoae"]["params"]
    assert params["landmarks"] == "first"
    assert params["landmark_weight"] == 1


def test_landmarks_of_any_size_and_position(grown: AnnData) -> None:
    """The map keeps its unit; only shift, rotation and reflection follow the landmarks."""
    grown.obsm["first"] = -3 * grown.obsm["first"] + 100
    scgeoae.tl.geometric_ae(grown, **QUICK, landmarks="first")
    z, places = grown.obsm["X_geoae"], grown.obsm["first"]
    known = ~np.isnan(places).any(1)
    a, b = z[known] - z[known].mean(0), places[known] - places[known].mean(0)
    turn, _ = orthogonal_procrustes(a, b)
    np.testing.assert_allclose(turn, np.eye(2), atol=1e-3)
    assert abs(np.log(grown.obs["geoae_det"]).mean()) < 1e-5


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda z: z[:, :1], ValueError, "places on a map of 2 dimensions"),
        (lambda z: np.where(z > 0, np.inf, z), ValueError, "infinite"),
        (lambda z: np.where(np.arange(2) == 0, z, 0.0), ValueError, "only a part is missing"),
        (lambda z: np.where(np.arange(len(z))[:, None] < 2, z, np.nan), ValueError, "2 different places"),
        (lambda z: z.astype(str), TypeError, "real numbers"),
    ],
    ids=["one dimension", "infinite", "half missing", "two places", "text"],
)
def test_bad_landmarks(grown: AnnData, change, error: type[Exception], message: str) -> None:
    grown.obsm["first"] = change(grown.obsm["first"])
    before = grown.obsm["X_geoae"].copy()
    with pytest.raises(error, match=message):
        scgeoae.tl.geometric_ae(grown, **QUICK, landmarks="first")
    np.testing.assert_array_equal(grown.obsm["X_geoae"], before)
    with pytest.raises(TypeError, match="landmarks must be the name of an obsm, not ndarray"):
        scgeoae.tl.geometric_ae(grown, landmarks=grown.obsm["X_pca"])
    with pytest.raises(KeyError, match=r"Did not find .obsm\['second'\]"):
        scgeoae.tl.geometric_ae(grown, landmarks="second")
