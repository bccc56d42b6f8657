"""The lens: what flows, against closed forms, and the surface behind it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.spatial import cKDTree

from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.lens import FLOOR, Lens, lens
from scgeoae.core.region import OccupiedRegion, occupied_region
from scgeoae.core.surface import Surface

BOX = (-3.0, 5.0, 1.0, 7.0)
SHAPE = (60, 80)


def nodes(extent: tuple[float, float, float, float] = BOX, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Centers of the tiles (m, 2)."""
    return OccupiedRegion(np.ones(shape, dtype=bool), extent).points()


def between(seed: int, n: int = 100) -> np.ndarray:
    """Random points (n, 2) of the box."""
    low, high = np.array(BOX[::2]), np.array(BOX[1::2])
    return low + np.random.default_rng(seed).random((n, 2)) * (high - low)


def waves(z: np.ndarray) -> np.ndarray:
    """A positive density without flow through the sides of the box, from 0.2 to 5 and mean about 1."""
    x, y = (np.pi * (z - BOX[::2]) / (np.array(BOX[1::2]) - BOX[::2])).T
    return np.exp(0.8 * np.cos(2 * x) * np.cos(y) + 0.8 * np.cos(3 * y))


@pytest.fixture(scope="module")
def wavy() -> Lens:
    return Lens(waves(nodes()).reshape(SHAPE), BOX, 1.0)


@pytest.fixture(scope="module")
def cells() -> np.ndarray:
    """Three groups of cells of unequal spread."""
    rng = np.random.default_rng(0)
    parts = [rng.normal(center, spread, (n, 2)) for center, spread, n in (((0, 0), 1, 900), ((4, 1), 0.4, 1500))]
    return np.concatenate([*parts, rng.normal((2, 4), 1.5, (300, 2))]).astype(np.float32)


@pytest.fixture(scope="module", params=[0.35, 1.0])
def bent(request, cells) -> Lens:
    return lens(cells, occupied_region(cells), request.param)


def difference(of: Lens, z: np.ndarray, step: float = 1e-4) -> np.ndarray:
    """Jacobian (n, 2, 2) by central differences."""
    columns = [(of.forward(z + move) - of.forward(z - move)) / (2 * step) for move in step * np.eye(2)]
    return np.stack(columns, axis=2)


def test_an_even_density_is_left_alone() -> None:
    z = between(0)
    moved, jacobian = Lens(np.full(SHAPE, 3.0), BOX, 1.0).forward_with_jacobian(z)
    assert np.allclose(moved, z, atol=1e-9)
    assert np.allclose(jacobian, np.eye(2), atol=1e-9)


def test_strength_0_is_the_identity(wavy) -> None:
    z = between(1)
    moved, jacobian = wavy.at(0).forward_with_jacobian(z)
    assert (moved == z).all()
    assert (jacobian == np.eye(2)).all()
    assert np.allclose(wavy.at(1e-9).forward(z), z, atol=1e-7)  # and what is close to 0 is close to it


def test_a_density_of_one_coordinate_has_a_closed_form() -> None:
    """Then `T` is the cumulated density."""

    def rho(x: float) -> float:
        return 1 + 0.9 * np.cos(np.pi * (x - BOX[0]) / (BOX[1] - BOX[0]))

    z = between(2, 30)
    of = Lens(rho(nodes()[:, 0]).reshape(SHAPE), BOX, 1.0)
    x = [BOX[0] + quad(rho, BOX[0], place)[0] for place in z[:, 0]]
    assert np.abs(of.forward(z) - np.column_stack([x, z[:, 1]])).max() < 1e-3 * of.tile


def test_a_gaussian_in_polar_coordinates() -> None:
    """Around a peak far from the sides, ``r dr = rho(r) r dr`` over circles: `T(r)^2 = 2 int_0^r rho s ds`.

    The even rest of the box is less dense than 1, so it flows in from the sides; a round box would be needed for the
    closed form everywhere. Near the peak, the sides are felt only as a factor that is the same all around.
    """
    shape, box, width, height = (256, 256), (-1.0, 1.0, -1.0, 1.0), 0.06, 8.0
    radius = np.linalg.norm(nodes(box, shape), axis=1)
    of = Lens((1 + height * np.exp(-((radius / width) ** 2) / 2)).reshape(shape), box, 1.0)
    mean = float(of.density.mean())
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    for r in (0.02, 0.06, 0.12, 0.2):
        area = r**2 + 2 * height * width**2 * (1 - np.exp(-((r / width) ** 2) / 2))  # 2 int rho s ds
        expected = np.sqrt(area / mean)
        found = np.linalg.norm(of.forward(r * circle), axis=1)
        assert np.ptp(found) < 0.02 * expected
        assert found.mean() == pytest.approx(expected, rel=2e-3)


def test_equal_masses_get_equal_areas(wavy) -> None:
    """The determinant is the density, at nodes and between them."""
    density = waves(nodes())
    z = between(3)
    for points, expected in ((z, waves(z)), (nodes()[::37], density[::37])):
        _, jacobian = wavy.forward_with_jacobian(points)
        assert np.linalg.det(jacobian) == pytest.approx(expected / density.mean(), rel=1e-3)
    weaker = wavy.at(0.5).forward_with_jacobian(z)[1]
    assert np.linalg.det(weaker) == pytest.approx(np.sqrt(waves(z)) / np.sqrt(density).mean(), rel=1e-3)


def test_groups_get_area_by_their_numbers(cells) -> None:
    """The area of a group is that of the tiles to which one of its cells is nearest."""
    region = occupied_region(cells)
    of = lens(cells, region, 1.0)
    tiles = region.points()
    owner = np.searchsorted([900, 2400], cKDTree(cells).query(tiles)[1], side="right")
    n_cells = np.array([900, 1500, 300])
    area = np.bincount(owner)
    bent = np.bincount(owner, np.linalg.det(of.forward_with_jacobian(tiles)[1]))
    assert (area / n_cells).max() > 8 * (area / n_cells).min()
    assert (bent / n_cells).max() < 1.6 * (bent / n_cells).min()  # the floor gives a wide group some more


def test_the_jacobian_is_that_of_the_flow(wavy, bent, cells) -> None:
    for of, z in ((wavy, between(4)), (bent, cells[::50].astype(np.float64))):
        moved, jacobian = of.forward_with_jacobian(z)
        assert np.allclose(moved, of.forward(z), atol=1e-12)
        assert np.allclose(jacobian, difference(of, z), rtol=1e-5, atol=1e-5)


def test_forward_then_inverse(wavy, bent, cells) -> None:
    for of, z in ((wavy, between(5)), (bent, cells[::10].astype(np.float64))):
        w, jacobian = of.forward_with_jacobian(z)
        back, inverse = of.inverse_with_jacobian(w)
        assert np.abs(back - z).max() < 1e-3 * of.tile
        assert np.abs(inverse @ jacobian - np.eye(2)).max() < 1e-2
        assert np.abs(of.forward(of.inverse(z)) - z).max() < 1e-3 * of.tile


def test_no_folds(bent) -> None:
    """On a lattice finer than the tiles, the determinant is positive."""
    left, right, bottom, top = bent.extent
    z = np.stack(np.meshgrid(np.linspace(left, right, 60), np.linspace(bottom, top, 60)), -1).reshape(-1, 2)
    determinant = np.linalg.det(bent.forward_with_jacobian(z)[1])
    assert determinant.min() > 0.5 * (FLOOR / (1 + FLOOR)) ** bent.strength


def test_the_box_is_filled(bent) -> None:
    """Sides slide along themselves, corners stay, and what lies beyond moves with the nearest place of a side."""
    left, right, bottom, top = bent.extent
    along = np.linspace(bottom, top, 20)
    side = bent.forward(np.column_stack([np.full(20, left), along]))
    assert np.allclose(side[:, 0], left)
    assert np.allclose(side[[0, -1], 1], [bottom, top])
    assert (np.diff(side[:, 1]) > 0).all()
    beyond = bent.forward(np.column_stack([np.full(20, left - 3), along]))
    assert np.allclose(beyond, side - [3, 0])
    far = np.array([[right + 1, top + 2.0]])
    assert np.allclose(bent.forward(far), far)
    assert np.allclose(bent.inverse(beyond), np.column_stack([np.full(20, left - 3), along]), atol=1e-3 * bent.tile)
    inner = np.column_stack([np.full(18, left - 3), along[1:-1]])
    assert np.allclose(bent.forward_with_jacobian(inner)[1], difference(bent, inner), atol=1e-4)


def test_the_order_of_the_cells_does_not_matter(cells) -> None:
    region = occupied_region(cells)
    one, other = lens(cells, region, 0.35), lens(cells[::-1], region, 0.35)
    assert (one.density == other.density).all()
    few = cells[::300]
    assert np.allclose(one.forward(few)[::-1], other.forward(few[::-1]), rtol=0, atol=1e-12)
    alone = np.concatenate([one.forward(few[[i]]) for i in range(len(few))])
    assert np.allclose(alone, one.forward(few), rtol=0, atol=1e-12)


def test_units_of_the_map_do_not_matter(cells) -> None:
    """A map that is scaled and shifted has the lens that is scaled and shifted."""
    z, scale, shift = cells.astype(np.float64), 8.0, np.array([16.0, -64.0])
    moved = scale * z + shift
    one, other = (lens(points, occupied_region(points), 0.7) for points in (z, moved))
    assert np.allclose(other.forward(moved[::100]), scale * one.forward(z[::100]) + shift, atol=1e-3 * other.tile)


def test_region_and_graticule(cells) -> None:
    region = occupied_region(cells)
    bent = lens(cells, region, 0.35)
    changed = bent.bend(region)
    moved = bent.forward(cells)
    agree = changed.contains(moved) == region.contains(cells)
    assert agree.mean() > 0.98  # tiles are not bent
    lines = bent.graticule(8, 30)
    assert {line.shape for line in lines} == {(30, 2)}
    straight = [bent.inverse(line) for line in lines]
    assert all(min(np.ptp(line, axis=0)) < 1e-2 * bent.tile for line in straight)


@pytest.mark.parametrize("strength", [-0.1, 1.1, np.nan])
def test_no_lens(wavy, strength) -> None:
    with pytest.raises(ValueError, match="strength"):
        wavy.at(strength)
    with pytest.raises(ValueError, match="extent"):
        replace(wavy, extent=(1.0, 1.0, 0.0, 1.0))


@pytest.fixture(scope="module")
def network() -> GeometricAutoencoder:
    torch.manual_seed(0)
    return GeometricAutoencoder(7, 2, hidden_dims=(16, 16)).double()


def test_a_surface_behind_a_lens(wavy, network) -> None:
    """`G' = DT^-T G DT^-1`, and the same places decode to the same values."""
    true, seen = Surface(network), Surface(network, wavy)
    z = between(6, 20)
    w, jacobian = wavy.forward_with_jacobian(z)
    inverse = np.linalg.inv(jacobian)
    assert np.allclose(seen.decode(w), true.decode(z), atol=1e-5)
    assert np.allclose(seen.on_surface(w), true.on_surface(z), atol=1e-5)
    assert np.allclose(seen.hidden(w), true.hidden(z), atol=1e-4)
    assert np.allclose(seen.metric(w), inverse.mT @ true.metric(z) @ inverse, rtol=1e-3, atol=1e-6)
    assert np.allclose(seen.differential(w), np.einsum("bnw,nba->anw", true.differential(z), inverse), atol=1e-3)
    log_det = true.distortion(z)[0] - np.log(np.linalg.det(jacobian))
    assert np.allclose(seen.distortion(w)[0], log_det, atol=1e-3)
    v = np.random.default_rng(0).normal(size=(20, 7))
    assert np.allclose(seen.normal(w, v), true.normal(z, v), atol=1e-4)
    assert (seen.nonlinearity(w, 1e-4) < 1e-2).all()  # so the tangents are those of the bent immersion
    with pytest.raises(TypeError, match="affine"):
        seen.affine()


def test_lengths_behind_a_lens(wavy, network) -> None:
    """A bent path is as long in the data as the straight one, by the metric."""
    line = np.linspace([-2, 2], [4, 6], 400)
    lengths = []
    for surface, path in ((Surface(network), line), (Surface(network, wavy), wavy.forward(line))):
        step, middle = np.diff(path, axis=0), (path[1:] + path[:-1]) / 2
        lengths.append(np.sqrt(np.einsum("ni,nij,nj->n", step, surface.metric(middle), step)).sum())
    assert lengths[1] == pytest.approx(lengths[0], rel=1e-3)
