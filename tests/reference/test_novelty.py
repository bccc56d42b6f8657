"""Novelty of cells: closed forms, calibration on synthetic cells, sequencing depth, storage."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from helpers import principal

from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.reference import InputRecipe, MapModel, from_state, to_state
from scgeoae.reference.novelty import Novelty, fit_novelty
from scgeoae.reference.projection import Projection, Scaling

N_GENES, N_TYPES, N_MARKERS = 300, 4, 15
MARKERS = [slice(N_MARKERS * i, N_MARKERS * (i + 1)) for i in range(N_TYPES)]


def first_genes(scaling: Scaling | None = None) -> Projection:
    """Two components, which are the first two of 200 genes."""
    names = np.arange(200).astype(str).astype(object)
    return Projection(names, np.eye(200, 2), np.zeros(2), np.zeros(200), scaling)


def counts_of(rng: np.random.Generator, cell_type: int, n: int = 400, depth: float = 1.0) -> np.ndarray:
    """Counts (n, g) of one type of cells; its markers are a hundred times what they are in the others."""
    rate = np.full(N_GENES, 0.5)
    for markers in MARKERS:
        rate[markers] = 0.05
    rate[MARKERS[cell_type]] = 5
    return rng.poisson(depth * rate * rng.gamma(10, 0.1, size=(n, 1)))


def log_normalized(counts: np.ndarray) -> np.ndarray:
    return np.log1p(counts / np.maximum(counts.sum(1, keepdims=True), 1) * 200)


def calibrated(x: np.ndarray, d: int, scaling: Scaling | None = None) -> tuple[Projection, Novelty]:
    """Reference cells and PCA of log-normalized expression ``x`` (n, g)."""
    projection, z = principal(x, d, scaling)
    spread = x.std(0) if scaling is None else None
    novelty = fit_novelty(projection, projection.scale(x).astype(np.float32), z.var(0), len(x), spread)
    assert novelty is not None
    return projection, novelty


def novel(projection: Projection, novelty: Novelty, x: np.ndarray) -> float:
    """Share of the cells that are novel."""
    x = projection.scale(x)
    return float((novelty.of(projection, x, projection.apply(x, scaled=True)) > novelty.threshold).mean())


def test_excess_of_known_residuals() -> None:
    """The mean of the two largest of 200 residuals, over what the share of detected genes lets expect."""
    projection, x = first_genes(), np.zeros((3, 200))
    x[:, :2] = 7, -7  # in the components
    x[0, [5, 9]] = 3, 1
    x[1, [5, 9, 11, 13]] = 3, 1, 1, -9
    novelty = Novelty(intercept=np.log(0.5), slope=0.0, threshold=1.0)
    y = projection.apply(x)
    np.testing.assert_allclose(novelty.of(projection, x, y), [4, 4, 0])
    spread = np.where(np.arange(200) == 5, 3.0, 0.5)
    np.testing.assert_allclose(Novelty(np.log(0.5), 0.0, 1.0, spread).of(projection, x, y), [3, 4, 0])
    by_depth = Novelty(intercept=0.0, slope=2.0, threshold=1.0)  # 3, 4 and 1 genes are detected
    np.testing.assert_allclose(by_depth.of(projection, x, y), [2 / (3 / 200) ** 2, 2 / (4 / 200) ** 2, 0])


def test_zeros_are_not_detected_after_scaling() -> None:
    scaling = Scaling(np.full(200, 0.3), np.full(200, 0.7), max_value=3.0)
    projection, x = first_genes(scaling), np.zeros((1, 200))
    x[0, 5:9] = 1
    scaled = scaling.apply(x)
    excess = np.sort(scaled[0, 2:])[-2:].mean()
    for cells in (scaled, scaled.astype(np.float32).astype(float)):
        value = Novelty(0.0, 1.0, 1.0).of(projection, cells, projection.apply(cells, scaled=True))
        np.testing.assert_allclose(value, excess / (4 / 200), rtol=1e-6)


def test_cells_without_counts() -> None:
    projection, x = first_genes(), np.zeros((1, 200))
    assert np.isfinite(Novelty(0.0, 1.0, 1.0).of(projection, x, projection.apply(x))).all()


@pytest.mark.parametrize("d", [5, 40])
@pytest.mark.parametrize("scaled", [False, True])
def test_new_cells_like_the_reference_are_not_novel(rng: np.random.Generator, d: int, *, scaled: bool) -> None:
    """With many components, which fit the noise of the reference's cells, three times as many if uncorrected."""
    types = [log_normalized(counts_of(rng, i)) for i in range(3)]
    x = np.concatenate(types)
    scaling = Scaling(x.mean(0), x.std(0), max_value=10.0) if scaled else None
    projection, novelty = calibrated(x, d, scaling)
    new = np.concatenate([log_normalized(counts_of(rng, i, n=2000)) for i in range(3)])
    assert novel(projection, novelty, new) == pytest.approx(0.05, abs=0.035)


@pytest.mark.parametrize("scaled", [False, True])
def test_an_unknown_type_is_novel_at_any_depth_and_known_ones_are_not(
    rng: np.random.Generator, *, scaled: bool
) -> None:
    """And shallow cells of known types are not."""
    x = np.concatenate([log_normalized(counts_of(rng, i)) for i in range(3)])
    scaling = Scaling(x.mean(0), x.std(0), max_value=10.0) if scaled else None
    projection, novelty = calibrated(x, 10, scaling)
    for depth in (1.0, 0.5, 0.25):
        assert novel(projection, novelty, log_normalized(counts_of(rng, 3, depth=depth))) > 0.95
        known = np.concatenate([log_normalized(counts_of(rng, i, depth=depth)) for i in range(3)])
        assert novel(projection, novelty, known) < 0.1


def test_data_without_zeros(rng: np.random.Generator) -> None:
    """Every gene is detected in every cell, and the depth says nothing."""
    x = 100 + rng.normal(size=(2000, 400))
    projection, novelty = calibrated(x, 5)
    assert novelty.slope == 0
    assert novel(projection, novelty, 100 + rng.normal(size=(5000, 400))) == pytest.approx(0.05, abs=0.02)


def test_nothing_is_left_out(rng: np.random.Generator) -> None:
    """With as many components as genes, or as directions among few cells, no gene has an excess."""
    for x, d in ((rng.normal(size=(50, 6)), 6), (rng.normal(size=(5, 30)), 4), (rng.normal(size=(1, 6)), 1)):
        projection, z = principal(x, d)
        assert fit_novelty(projection, x.astype(np.float32), z.var(0), len(x), x.std(0) + 1) is None


def stored(x: np.ndarray, spread: np.ndarray | None) -> dict:
    projection, _ = principal(x, 3)
    recipe = InputRecipe(None, "X_pca", projection, novelty=Novelty(-0.5, 0.25, 1.5, spread))
    return to_state(MapModel(GeometricAutoencoder(3, hidden_dims=(4,)), input=recipe))


@pytest.mark.parametrize("with_spread", [False, True])
def test_state_round_trip(rng: np.random.Generator, *, with_spread: bool) -> None:
    spread = rng.uniform(1, 2, size=8) if with_spread else None
    back = from_state(copy.deepcopy(stored(rng.normal(size=(60, 8)), spread))).input.novelty
    assert (back.intercept, back.slope, back.threshold) == (-0.5, 0.25, 1.5)
    np.testing.assert_array_equal(back.spread, spread)


def test_a_state_without_novelty_is_read(rng: np.random.Generator) -> None:
    state = stored(rng.normal(size=(60, 8)), None)
    del state["input"]["novelty"]
    assert from_state(state).input.novelty is None


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("intercept", np.nan, "intercept is not made of finite"),
        ("intercept", "much", "intercept is not made of finite"),
        ("slope", np.zeros(2), "slope has shape"),
        ("slope", None, "slope is missing"),
        ("threshold", 0.0, "threshold is not positive"),
        ("threshold", np.inf, "threshold is not made of finite"),
        ("spread", np.ones(7), "spread has shape"),
        ("spread", np.zeros(8), "spread is not positive"),
        ("spread", np.full(8, np.inf), "spread is not made of finite"),
    ],
)
def test_damaged_states_are_refused(rng: np.random.Generator, path: str, value: object, message: str) -> None:
    state = stored(rng.normal(size=(60, 8)), np.ones(8))
    if value is None:
        del state["input"]["novelty"][path]
    else:
        state["input"]["novelty"][path] = value
    with pytest.raises(ValueError, match=message):
        from_state(state)


@pytest.mark.parametrize("path", ["projection", "loadings"])
def test_novelty_without_loadings_is_refused(rng: np.random.Generator, path: str) -> None:
    state = stored(rng.normal(size=(60, 8)), None)
    if path == "projection":
        del state["input"]["projection"]
    else:
        state["input"]["projection"] = {"genes": np.array(list("abc"), dtype=object)}
    with pytest.raises(ValueError, match="novelty without loadings"):
        from_state(state)
    state["input"]["novelty"] = "much"
    with pytest.raises(ValueError, match="damaged"):
        from_state(state)
