"""Calibration, the occupied region, the scaling of the input."""

from __future__ import annotations

from operator import attrgetter

import numpy as np
import pytest
import torch
from helpers import on_host

from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.calibration import calibrate, calibrate_decoder, described
from scgeoae.core.evaluation import Cells, describe
from scgeoae.core.region import occupied_region
from scgeoae.core.rows import row_blocks
from scgeoae.core.start import components


@pytest.fixture
def model() -> GeometricAutoencoder:
    return GeometricAutoencoder(6, hidden_dims=(8, 8), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    return (rng.gamma(2, size=(300, 6)) * 3 + 10).astype(np.float32)


def test_scaling_is_one_scalar(model: GeometricAutoencoder, x: np.ndarray) -> None:
    model.observation.fit(on_host(x))
    np.testing.assert_allclose(model.observation.mean, x.mean(0, dtype=float), rtol=1e-6)
    np.testing.assert_allclose(model.observation.scale, np.sqrt(((x - x.mean(0, dtype=float)) ** 2).mean()), rtol=1e-6)
    standard = model.standardize(torch.from_numpy(x))
    assert standard.square().mean().item() == pytest.approx(1, rel=1e-5)


def test_scaling_survives_a_large_offset(model: GeometricAutoencoder, x: np.ndarray) -> None:
    model.observation.fit(on_host(x + 1e4))
    assert model.observation.scale.item() == pytest.approx(x.astype(float).std(0).__pow__(2).mean() ** 0.5, rel=1e-3)


def test_constant_matrix_is_refused(model: GeometricAutoencoder) -> None:
    with pytest.raises(ValueError, match="All cells are equal"):
        model.observation.fit(on_host(np.full((5, 6), 3.3, dtype=np.float32)))


def test_calibration_leaves_the_reconstruction(model: GeometricAutoencoder, x: np.ndarray) -> None:
    rows = on_host(x)
    model.observation.fit(rows)
    before = model(torch.from_numpy(x)).detach()
    plot = (model.standardize(torch.from_numpy(x)).double() @ components(model, rows).axes).numpy()
    cells, frame = calibrate(model, rows, plot)
    assert frame.unit == 1
    torch.testing.assert_close(model(torch.from_numpy(x)).detach(), before, rtol=1e-5, atol=1e-5)
    # centred, as near to the principal components as a turn or a reflection brings it, unit 1
    again = described(model, rows)
    np.testing.assert_allclose(again.z, cells.z, atol=1e-5 * np.ptp(cells.z))
    np.testing.assert_allclose(again.log_det, cells.log_det, atol=1e-5)
    assert abs(again.log_det.mean()) < 1e-5
    np.testing.assert_allclose(cells.z.mean(0), 0, atol=1e-5 * np.ptp(cells.z))
    cross = cells.z.T.astype(float) @ (plot - plot.mean(0))
    np.testing.assert_allclose(cross, cross.T, rtol=1e-4)  # of the best turn: symmetric and not negative
    assert (np.linalg.eigvalsh(cross) >= 0).all()


SPOILED = [
    ("decoder.first", 0, 0, "collapsed"),
    ("decoder.first", 1e-30, 0, None),  # a decoder that hardly varies, but a map
    ("decoder.last", 0, 0, "collapsed"),
    ("decoder.last", 1, 1e20, "blew up"),  # the square of the residual is not finite
    ("decoder.first", 1, np.inf, "blew up"),
    ("decoder.last", 1, np.nan, "blew up"),
    ("encoder.last", 0, 0, "collapsed"),
    ("encoder.last", np.inf, 0, "blew up"),
    ("encoder.last", 1, np.nan, "blew up"),
]
"""A layer, what its weights are multiplied by, what is added to its bias, and the error, if any."""


@pytest.mark.parametrize(
    ("layer", "factor", "bias", "message", "given"),
    [(*case, given) for given in (False, True) for case in SPOILED if not (given and case[0] == "encoder.last")],
)
def test_only_a_map_is_calibrated(
    model: GeometricAutoencoder,
    x: np.ndarray,
    layer: str,
    factor: float,
    bias: float,
    message: str | None,
    *,
    given: bool,
) -> None:
    """Else there is one error, without a warning before it."""
    rows = on_host(x)
    model.observation.fit(rows)
    z = described(model, rows).z.astype(np.float64)
    spoiled = attrgetter(layer)(model)
    with torch.no_grad():
        spoiled.weight.mul_(factor)
        spoiled.bias.add_(bias)

    def calibrated() -> Cells:
        return (calibrate_decoder(model, rows, z, z.mean(0), 1.0) if given else calibrate(model, rows, z))[0]

    if message is None:
        assert np.isfinite(calibrated().log_det).all()
    else:
        with pytest.raises(FloatingPointError, match=message):
            calibrated()


def test_length_between_far_cells(rng: np.random.Generator) -> None:
    """On a map that is the surface it is 1; where the decoder halves one side, by the pairs of cells that it takes."""
    model = GeometricAutoencoder(3, hidden_dims=(), generator=torch.Generator().manual_seed(0))
    plane = np.column_stack([rng.normal(size=(3_000, 2)), np.zeros(3_000)]).astype(np.float32)
    rows = on_host(plane)
    model.observation.fit(rows)
    with torch.no_grad():  # a linear network: the map is the plane, with one side halved
        scale = model.observation.scale
        model.encoder.first.weight.copy_(torch.eye(2, 3) * scale)
        model.decoder.first.weight.copy_(torch.tensor([[1.0, 0], [0, 0.5], [0, 0]]) / scale)
    z = plane[:, :2].astype(np.float64)
    _, frame = calibrate_decoder(model, rows, z, np.zeros(2), 1.0)
    assert frame.unit == pytest.approx(0.5**0.5, rel=1e-4)
    angle = rng.uniform(0, 2 * np.pi, 200_000)  # of the difference of two cells of a round cloud
    longer = frame.unit / np.hypot(np.cos(angle), 0.5 * np.sin(angle))
    assert frame.length_between == pytest.approx(np.median(longer), rel=0.05)


def test_common_share_of_the_error(model: GeometricAutoencoder, x: np.ndarray) -> None:
    rows = on_host(x)
    model.observation.fit(rows)
    residual = (model(torch.from_numpy(x)).detach().numpy() - x).astype(float)
    expected = np.square(residual.mean(0)).sum() / np.square(residual).sum(1).mean()

    def common(n: int) -> float:
        return describe(model, row_blocks(on_host(x[:n])), n).common

    assert common(300) == pytest.approx(expected, rel=1e-4)
    assert common(0) == 0
    assert common(1) == pytest.approx(1)


def test_substitution_is_exact_for_any_affine_map(model: GeometricAutoencoder) -> None:
    exact = model.double()
    x = torch.randn(20, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    before, z = exact(x), exact.encode(x)
    forward, shift = np.array([[2.0, 0.5], [-1.0, 3.0]]), np.array([0.3, -4.0])
    exact.change_coordinates(forward, shift)
    torch.testing.assert_close(exact(x), before)
    torch.testing.assert_close(exact.encode(x), (z - torch.from_numpy(shift)) @ torch.from_numpy(forward).T)


def test_region_holds_the_cells_and_not_the_hole(rng: np.random.Generator) -> None:
    angle = rng.uniform(0, 2 * np.pi, 5000)
    z = np.column_stack([np.cos(angle), np.sin(angle)]) * rng.uniform(0.8, 1.2, (5000, 1))
    region = occupied_region(z)
    assert region.contains(z).mean() > 0.985
    assert not region.contains(np.array([[0.0, 0.0], [3.0, 3.0], [1.0, 1.0]])).any()
    assert region.mask.sum() * region.tile_area == pytest.approx(np.pi * (1.2**2 - 0.8**2), rel=0.15)
    assert region.contains(region.points()).all()


def test_region_of_equal_cells_and_one_far_away() -> None:
    """The spread of the cells is a million times that of the box: smoothing stays within the grid."""
    z = np.zeros((2_001, 2))
    z[0] = 1e30
    region = occupied_region(z)
    assert region.mask.size < 200**2
    assert region.contains(z[1:]).all()


@pytest.mark.parametrize("z", [np.zeros((3, 2)), np.eye(2), np.array([[0, 0], [1, 0], [2, 0], [9, 0.0]])])
def test_region_of_degenerate_maps(z: np.ndarray) -> None:
    assert occupied_region(z).contains(z).any()


def test_region_is_not_ruined_by_an_outlier(rng: np.random.Generator) -> None:
    z = np.vstack([rng.normal(size=(5000, 2)), [[1e5, 0]]])
    region = occupied_region(z)
    assert region.extent[1] < 10
    assert region.contains(z[:-1]).mean() > 0.95


def test_tiles_that_some_of_the_cells_occupy(rng: np.random.Generator) -> None:
    """All for all cells; of two islands, those of the island where the cells are; none off the map."""
    z = rng.normal(size=(2000, 2)) + np.repeat([[0, 0], [12, 0]], 1000, axis=0)
    region = occupied_region(z)
    assert region.occupied_by(z).all()
    on_first = region.points()[:, 0] < 6
    assert region.occupied_by(z[:1000])[~on_first].sum() == 0
    assert region.occupied_by(z[:1000])[on_first].mean() > 0.5  # the wide spread of two islands smooths more
    assert not region.occupied_by(z + 100).any()
