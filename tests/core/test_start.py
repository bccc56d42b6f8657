"""Where a training begins: the first principal components, exactly and for wide data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.calibration import calibrate
from scgeoae.core.start import STARTS, components
from scgeoae.inputs import DenseRows

CPU = torch.device("cpu")


def started(x: np.ndarray, start: str = "pca", d: int = 2) -> tuple[GeometricAutoencoder, DenseRows]:
    rows = DenseRows(x.astype(np.float32), CPU)
    network = GeometricAutoencoder(x.shape[1], d, hidden_dims=(16, 16), generator=torch.Generator().manual_seed(0))
    network.observation.fit(rows)
    STARTS[start](network, rows, components(network, rows))
    return network, rows


def plot_of(network: GeometricAutoencoder, rows: DenseRows) -> np.ndarray:
    return (network.standardize(rows.tensor).double() @ components(network, rows).axes).numpy()


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(400, 8)) @ (rng.normal(size=(8, 8)) * 0.7 ** np.arange(8)) + 5


@pytest.mark.parametrize("d", [1, 2, 3])
def test_components_are_those_of_the_singular_value_decomposition(x: np.ndarray, d: int) -> None:
    network, rows = started(x, d=d)
    variances, axes = components(network, rows)
    standard = (x - x.mean(0)) / x.std(0).__pow__(2).mean() ** 0.5
    _, sigma, vt = np.linalg.svd(standard, full_matrices=False)
    np.testing.assert_allclose(variances, sigma[:d] ** 2 / len(x), rtol=1e-4)
    np.testing.assert_allclose(np.abs(np.diag(vt[:d] @ axes.numpy())), 1, atol=1e-4)
    assert (axes.numpy()[np.abs(axes.numpy()).argmax(0), np.arange(d)] > 0).all()


def test_wide_data_have_about_the_same_components(rng: np.random.Generator) -> None:
    """Of more features than cells, and than the limit up to which all cells take part."""
    hidden = rng.normal(size=(300, 2)) * [5, 2]
    turn = np.linalg.qr(rng.normal(size=(1200, 2)))[0]
    network, rows = started(hidden @ turn.T + 0.01 * rng.normal(size=(300, 1200)))
    _, axes = components(network, rows)
    np.testing.assert_allclose(np.abs(np.linalg.svd(turn.T @ axes.numpy())[1]), 1, atol=1e-3)
    assert torch.equal(components(network, rows)[1], axes)


@pytest.mark.parametrize(("n", "d"), [(3, 2), (3, 3), (4, 5)])
def test_few_cells_of_many_features(rng: np.random.Generator, n: int, d: int) -> None:
    """They have fewer components than the map has dimensions."""
    network, rows = started(rng.normal(size=(n, 300)), d=d)
    variances, axes = components(network, rows)
    assert axes.shape == (300, d)
    spanned = min(n - 1, d)
    np.testing.assert_allclose(np.linalg.norm(axes.numpy(), axis=0)[:spanned], 1)
    assert variances.sum() == pytest.approx(300 if spanned == n - 1 else 300 * 0.5, rel=0.5)
    assert torch.isfinite(network.encode(rows.tensor)).all()


def test_the_map_begins_as_the_plot_of_the_components(x: np.ndarray) -> None:
    network, rows = started(x)
    with torch.no_grad():
        z = network.encode(rows.tensor).numpy().astype(float)
    _, axes = components(network, rows)
    plot = (x - x.mean(0)) @ axes.numpy()
    for i in range(2):
        assert np.corrcoef(z[:, i], plot[:, i])[0, 1] > 0.99
    assert np.sqrt(z.var(0).mean()) == pytest.approx(1, rel=0.05)
    random, _ = started(x, "random")
    with torch.no_grad():
        assert abs(np.corrcoef(random.encode(rows.tensor).numpy()[:, 0], plot[:, 0])[0, 1]) < 0.99


def test_calibration_absorbs_the_start_and_turns_the_map_to_the_components(x: np.ndarray) -> None:
    network, rows = started(x)
    plot = plot_of(network, rows)
    with torch.no_grad():
        network.change_coordinates(np.array([[0.0, -2.0], [2.0, 0.0]]), np.array([3.0, 1.0]))  # turned by 90 degrees
        before = network(rows.tensor)
        cells, _ = calibrate(network, rows, plot)
        torch.testing.assert_close(network(rows.tensor), before, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(network.encode(rows.tensor), cells.z, atol=1e-4)
    for i in range(2):
        assert np.corrcoef(cells.z[:, i], plot[:, i])[0, 1] > 0.98  # the first to the right, the second up


def test_velocities_go_through_the_components_too(x: np.ndarray) -> None:
    """Against central differences of the encoder, in float64."""
    network, rows = started(x)
    network.double()
    cells = rows.tensor[:20].double()
    v = torch.randn(20, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        _, pushed = network.encode_velocity(cells, v)
        step = (network.encode(cells + 1e-5 * v) - network.encode(cells - 1e-5 * v)) / 2e-5
    torch.testing.assert_close(pushed, step, rtol=1e-6, atol=1e-8)
