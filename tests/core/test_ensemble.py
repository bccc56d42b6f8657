"""Agreement of maps: rigid motions, ties, axes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import on_host
from scipy.stats import ortho_group

from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.calibration import align, calibrate
from scgeoae.core.ensemble import Member, axial_deviation, displacement
from scgeoae.core.frame import Frame
from scgeoae.core.neighbors import kept_neighbors
from scgeoae.metrics import knn_recall


def member(z: np.ndarray) -> Member:
    return Member(None, Frame(), z.astype(np.float32), np.zeros(len(z)), None)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_alignment_undoes_a_rigid_motion_and_keeps_the_model(rng: np.random.Generator, d: int) -> None:
    x = rng.normal(size=(200, 6)).astype(np.float32)
    network = GeometricAutoencoder(6, d, hidden_dims=(16,), generator=torch.Generator().manual_seed(0))
    cells, frame = calibrate(network, on_host(x), x[:, :d].astype(float))
    turn = ortho_group.rvs(d, random_state=1) if d > 1 else -np.eye(1)
    before = network(torch.tensor(x)).detach()
    places = cells.z @ turn + np.arange(1, d + 1)
    moved, frame = align(network, cells, frame, places)
    np.testing.assert_allclose(moved.z, places, atol=1e-4)
    np.testing.assert_array_equal(moved.log_det, cells.log_det)
    with torch.no_grad():
        np.testing.assert_allclose(network.encode(torch.tensor(x)), places, atol=1e-4)
        np.testing.assert_allclose(network(torch.tensor(x)), before, atol=1e-4)
    if d == 2:
        assert frame.region.contains(moved.z).mean() > 0.95


def test_displacement_of_a_shift(rng: np.random.Generator) -> None:
    z = rng.normal(size=(400, 2))
    assert displacement(z, [member(z + np.array([3, 4])), member(z)]) == pytest.approx(np.sqrt(12.5), rel=1e-5)


def test_kept_neighbors_of_equal_and_shuffled_maps(rng: np.random.Generator) -> None:
    z = rng.normal(size=(400, 2))
    np.testing.assert_array_equal(kept_neighbors(z, [2 * z, z + 1], 15), 1)
    shuffled = [rng.permutation(z) for _ in range(2)]
    assert kept_neighbors(z, shuffled[:1], 15).mean() == pytest.approx(15 / 399, abs=0.01)
    assert kept_neighbors(z, shuffled, 100).mean() == pytest.approx((100 / 399) ** 2, abs=0.01)
    np.testing.assert_array_equal(kept_neighbors(z, [shuffled[0], z], 15), kept_neighbors(z, shuffled[:1], 15))


def test_kept_neighbors_one_by_one(rng: np.random.Generator) -> None:
    maps = [rng.normal(size=(60, 2)) for _ in range(3)]
    nearest = [np.argsort(np.linalg.norm(z[:, None] - z, axis=2), axis=1)[:, 1:31] for z in maps]
    expected = [len(set.intersection(*map(set, cells))) / 30 for cells in zip(*nearest, strict=True)]
    np.testing.assert_array_equal(kept_neighbors(maps[0], maps[1:], 30), expected)
    assert kept_neighbors(maps[0], maps[1:2], 30).mean() == knn_recall(maps[0], maps[1], k=30)


def test_kept_neighbors_of_cells_at_one_place_and_of_few_cells(rng: np.random.Generator) -> None:
    """Of cells that all lie at one place any are the nearest: they keep neighbors by chance."""
    one_place = np.zeros((40, 2))
    np.testing.assert_array_equal(kept_neighbors(one_place, [one_place], 15), 1)  # the same ones
    by_chance = [kept_neighbors(rng.normal(size=(40, 2)), [one_place], 15).mean() for _ in range(50)]
    assert np.mean(by_chance) == pytest.approx(15 / 39, abs=0.03)
    few = np.arange(8.0).reshape(4, 2)
    np.testing.assert_array_equal(kept_neighbors(few, [few[:, ::-1]], 15), 1)  # all others are neighbors


def test_axes_have_no_sign(rng: np.random.Generator) -> None:
    angles = rng.uniform(-np.pi, np.pi, 50) + np.array([[0], [np.pi], [-np.pi]])
    np.testing.assert_allclose(axial_deviation(angles), 0, atol=1e-5)
    crossed = np.array([[0.3], [0.3 + np.pi / 2]])
    assert axial_deviation(crossed) == pytest.approx(np.rad2deg(np.sqrt(2) / 2))
    small = np.deg2rad(rng.normal(0, 3, (10_000, 1)))
    assert axial_deviation(small) == pytest.approx(3, rel=0.03)
