"""Shortest paths where they are known: on a plane, a cylinder, a sphere, around a hole."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.geodesic import Geodesic, geodesic, medoid, paths
from scgeoae.core.network import Activation
from scgeoae.core.region import OccupiedRegion
from scgeoae.core.surface import Surface

SINE = Activation(lambda v: (v.sin(), v.cos()), lambda values, slopes: -values / slopes)
BOX = (-1.5, 1.5, -1.0, 1.0)
WHOLE = OccupiedRegion(np.ones((60, 90), dtype=bool), BOX)
SMALL = 1e-4
"""A sine of this slope is a line."""


def surface(first: list, bias: list, last: list) -> Surface:
    """``f(z) = last sin(first z + bias)``, in float64."""
    model = GeometricAutoencoder(len(last), 2, hidden_dims=(len(first),)).double()
    model.decoder.activation = SINE
    with torch.no_grad():
        for layer, weight, offset in ((model.decoder.first, first, bias), (model.decoder.last, last, None)):
            layer.weight.copy_(torch.tensor(weight, dtype=torch.float64))
            layer.bias.zero_() if offset is None else layer.bias.copy_(torch.tensor(offset, dtype=torch.float64))
    return Surface(model)


def plane(matrix: np.ndarray) -> Surface:
    """``f(z) = matrix z`` with a matrix (3, 2)."""
    return surface((SMALL * np.eye(2)).tolist(), [0, 0], (matrix / SMALL).tolist())


def cylinder() -> Surface:
    """``f(u, v) = (cos 2u, sin 2u, 2v) / 2``: unrolled, it is the map."""
    rows = [[0.5, 0, 0], [0, 0.5, 0], [0, 0, 1 / SMALL]]
    return surface([[2, 0], [2, 0], [0, SMALL]], [np.pi / 2, 0, 0], rows)


def sphere() -> Surface:
    """The unit sphere by longitude and latitude: products of cosines are sums of sines."""
    half, quarter = 0.5, np.pi / 2
    sums, differences = [1, 1], [-1, 1]
    first, bias = [sums, differences, sums, differences, [0, 1]], [quarter, quarter, 0, 0, 0]
    return surface(first, bias, [[half, half, 0, 0, 0], [0, 0, half, -half, 0], [0, 0, 0, 0, 1]])


def between(decoder: Surface, start, end, region: OccupiedRegion = WHOLE, **arguments) -> Geodesic:
    return geodesic(decoder, region, np.array([start, end], dtype=float), **arguments)


def random_places(k: int) -> np.ndarray:
    return np.random.default_rng(1).uniform([-1.4, -0.9], [1.4, 0.9], (k, 2))


def off_line(path: Geodesic) -> float:
    """Largest distance of its points from those that divide the straight line equally, on the map."""
    line = np.linspace(path.points[0], path.points[-1], len(path.points))
    return np.abs(path.points - line).max()


@pytest.mark.parametrize("matrix", [np.eye(3)[:, :2], np.array([[3.0, 1], [0, 1], [0, 0.2]])], ids=["even", "sheared"])
def test_straight_lines_on_a_plane(matrix: np.ndarray) -> None:
    for start, end in random_places(10).reshape(5, 2, 2):
        path = between(plane(matrix), start, end)
        assert path.length == pytest.approx(np.linalg.norm(matrix @ (end - start)), rel=1e-4)
        assert off_line(path) < 0.02
        assert path.length_off_data == 0


def test_straight_lines_on_a_cylinder() -> None:
    path = between(cylinder(), [-1.4, -0.9], [1.3, 0.7])  # across almost the whole circumference
    assert path.length == pytest.approx(np.hypot(2.7, 1.6), rel=1e-4)
    assert off_line(path) < 0.01


def great_circle(a: np.ndarray, b: np.ndarray) -> float:
    x, y = (np.array([np.cos(v) * np.cos(u), np.cos(v) * np.sin(u), np.sin(v)]) for u, v in (a, b))
    return float(np.arctan2(np.linalg.norm(np.cross(x, y)), x @ y))


PLACES = np.array([[-0.8, 0.7], [0.8, 0.7], [1, -0.8], [0, 0], [-1, -0.1], [-0.95, -0.1]])


@pytest.mark.parametrize("end", PLACES[1:])
def test_great_circles_on_a_sphere(end: np.ndarray) -> None:
    decoder, start = sphere(), PLACES[0]
    path = between(decoder, start, end, n_points=30)
    assert path.length == pytest.approx(great_circle(start, end), rel=1e-3)
    assert path.length == pytest.approx(between(decoder, end, start).length, rel=1e-4)
    np.testing.assert_array_equal(path.points[[0, -1]], [start, end])
    x = decoder.decode(path.points)
    normal = np.cross(x[0], x[-1]) / np.linalg.norm(np.cross(x[0], x[-1]))
    assert np.abs(x @ normal).max() < 0.02  # in the plane of the circle
    chords = np.linalg.norm(np.diff(x, axis=0), axis=1)
    assert np.ptp(chords) < 1e-3 * chords.mean()


def table(decoder: Surface, region: OccupiedRegion, places: np.ndarray, **arguments) -> np.ndarray:
    """Lengths, and lengths off the region, (2, k, k), of paths that are not refined; NaN where there is none."""
    pairs = np.array(list(np.ndindex(len(places), len(places))))
    found = paths(decoder, region, places, pairs, refine=False, **arguments)
    numbers = [(np.nan, np.nan) if path is None else (path.along[-1], path.length_off_data) for path in found]
    return np.array(numbers).T.reshape(2, len(places), len(places))


def test_distances_on_a_sphere() -> None:
    lengths, off = table(sphere(), WHOLE, PLACES)
    expected = np.array([[great_circle(a, b) if a is not b else 0 for b in PLACES] for a in PLACES])
    np.testing.assert_allclose(lengths, expected, rtol=0.015)
    np.testing.assert_allclose(lengths, lengths.T, rtol=1e-3)
    assert (lengths <= (1 + 1e-3) * (lengths[:, :, None] + lengths[None]).min(1)).all()
    assert not off.any()


def test_distances_in_pieces() -> None:
    region, places = wall(slice(0)), np.array([[-1.0, 0.8], [-1.0, -0.5], [1.0, -0.5]])
    region.mask[45:, 40:50] = False
    lengths, _ = table(plane(np.eye(3)[:, :2]), region, places)
    np.testing.assert_array_equal(np.isnan(lengths), [[False, False, True], [False, False, True], [True, True, False]])
    lengths, off = table(plane(np.eye(3)[:, :2]), region, places, anywhere=True)
    assert lengths[1, 2] == pytest.approx(2, rel=0.01)
    assert off[1, 2] == pytest.approx(1 / 3, rel=0.1)
    assert off[0, 1] == 0


def wall(opening: slice = slice(0, 0)) -> OccupiedRegion:
    """The box without a wall across its middle that spans the lower three quarters, but for an opening."""
    mask = np.ones((60, 90), dtype=bool)
    mask[:45, 40:50] = False
    mask[opening, 40:50] = True
    return OccupiedRegion(mask, BOX)


def test_around_a_hole() -> None:
    decoder, start, end = plane(np.eye(3)[:, :2]), np.array([-1.0, -0.5]), np.array([1.0, -0.5])
    corner = np.array([1 / 6, 0.5])  # of the wall
    expected = 2 * np.linalg.norm(start + corner * [1, -1]) + 2 * corner[0]
    path = between(decoder, start, end, wall(), n_points=500)
    assert expected < path.length < 1.01 * expected
    assert wall().contains(path.points).all()
    assert path.length_off_data == 0
    assert path.points[:, 1].max() == pytest.approx(0.5, abs=2 / 30)
    straight = between(decoder, start, end, wall(), anywhere=True)
    assert straight.length == pytest.approx(2, rel=1e-4)
    assert straight.length_off_data == pytest.approx(1 / 3, rel=0.02)


def test_pieces() -> None:
    region = wall()
    region.mask[45:, 40:50] = False
    z = np.array([[-1.0, 0], [1, 0], [-1, 0.9], [0, 0], [7, 0]])
    pieces = region.pieces(z)
    assert pieces[0] == pieces[2] != pieces[1]
    assert pieces[3:].tolist() == [0, 0]
    assert region.whole().pieces(z).tolist() == [1, 1, 1, 1, 0]


def test_through_an_opening() -> None:
    decoder, start, end = plane(np.eye(3)[:, :2]), [-1.0, -0.5], [1.0, 0.1]
    path = between(decoder, start, end, wall(slice(10, 12)), n_points=300)
    assert wall(slice(10, 12)).contains(path.points).all()
    assert path.points[np.abs(path.points[:, 0]) < 0.16, 1] == pytest.approx(-1 + 11 / 30, abs=1 / 30)


@pytest.mark.parametrize("step", [0.0, 1e-9, 1e-3])
def test_near_and_equal_places(step: float) -> None:
    path = between(sphere(), [0.1, 0.2], [0.1, 0.2 + step])
    assert path.length == pytest.approx(step, rel=1e-3)
    assert np.isfinite(path.points).all()


def test_corners_are_not_cut() -> None:
    mask = np.eye(12, dtype=bool)  # tiles that touch at corners are not neighbors
    staircase = mask | np.eye(12, k=1, dtype=bool)
    region = OccupiedRegion(staircase, (0, 12, 0, 12))
    path = between(plane(np.eye(3)[:, :2]), [0.5, 0.5], [11.5, 11.5], region, n_points=200)
    assert region.contains(path.points).all()
    assert len(np.unique(OccupiedRegion(mask, (0, 12, 0, 12)).pieces(np.array([[0.5, 0.5], [1.5, 1.5]])))) == 2


def test_medoid(rng: np.random.Generator) -> None:
    z = np.array([[0, 0], [1, 0], [2, 0], [2.1, 0], [50, 0]])
    assert medoid(z) == 2
    assert medoid(z[:1]) == 0
    many = rng.normal(size=(30_000, 2))
    assert np.linalg.norm(many[medoid(many)]) < 0.2


@pytest.mark.parametrize("anywhere", [False, True])
def test_an_outlier_is_joined_by_a_straight_piece(anywhere: bool) -> None:  # noqa: FBT001
    """On a plane, in a row of tiles: the way is straight, and from the outermost tile on it is off the region."""
    tile = np.sqrt(WHOLE.tile_area)
    row = WHOLE.centers()[1][40]
    path = between(plane(np.eye(3)[:, :2]), [-1, row], [5, row], anywhere=anywhere)
    assert path.length == pytest.approx(6, rel=1e-6)
    assert path.length_off_data == pytest.approx(5 - (1.5 - tile / 2), rel=1e-6)
    back = between(plane(np.eye(3)[:, :2]), [5, row], [-1, row], anywhere=anywhere)
    assert back.length_off_data == pytest.approx(path.length_off_data)
    np.testing.assert_allclose(back.points[::-1], path.points, atol=1e-3)


def test_two_outliers_at_one_place_need_no_way_to_the_region() -> None:
    flat = plane(np.eye(3)[:, :2])
    near = between(flat, [5, 0], [5, 0.5])
    assert near.length == near.length_off_data == pytest.approx(0.5, rel=1e-6)
    assert between(flat, [5, 0], [5, 0]).length == 0
    far = between(flat, [5, 0], [-5, 0])
    assert far.length == pytest.approx(10, rel=1e-3)
    assert far.length_off_data == pytest.approx(7, rel=1e-2)


def test_an_outlier_of_another_piece_has_no_path() -> None:
    mask = np.ones((60, 90), dtype=bool)
    mask[:, 40:50] = False
    split = OccupiedRegion(mask, BOX)
    assert between(plane(np.eye(3)[:, :2]), [-5, 0], [5, 0], split) is None
    assert between(plane(np.eye(3)[:, :2]), [-5, 0], [-1, 0], split).length == pytest.approx(4, rel=1e-3)
