"""From genes to the input and back."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from helpers import principal

from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.inputs import ValueRange
from scgeoae.reference import InputRecipe, MapModel, from_state, to_state
from scgeoae.reference.projection import Projection, Scaling


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    return rng.poisson(1, size=(60, 8)).astype(float)


@pytest.mark.parametrize("scaled", [False, True])
def test_apply_gives_the_components(x: np.ndarray, *, scaled: bool) -> None:
    scaling = Scaling(x.mean(0), x.std(0, ddof=1), max_value=1.5) if scaled else None
    projection, z = principal(x, 3, scaling)
    np.testing.assert_allclose(projection.apply(x), z, atol=1e-12)
    if scaling is not None:
        np.testing.assert_allclose(projection.apply(scaling.apply(x), scaled=True), z, atol=1e-12)
    for i in range(3):
        np.testing.assert_allclose(projection.apply(x[i : i + 1]), z[i : i + 1], atol=1e-12)
    assert projection.n_features == 3


def test_undo_is_the_pca_reconstruction(x: np.ndarray) -> None:
    scaling = Scaling(x.mean(0), x.std(0, ddof=1))
    projection, z = principal(x, 3, scaling)
    y = scaling.apply(x)
    expected = (y.mean(0) + z @ projection.loadings.T) * scaling.std + scaling.mean
    np.testing.assert_allclose(projection.undo(z), expected, atol=1e-12)
    np.testing.assert_allclose(projection.apply(projection.undo(z)), z, atol=1e-12)


def test_undo_of_loadings_that_are_not_orthonormal(x: np.ndarray) -> None:
    projection, z = principal(x, 3)
    skewed = Projection(projection.genes, projection.loadings * [1, 2, 5], projection.offset, projection.center)
    np.testing.assert_allclose(skewed.apply(skewed.undo(z)), z, atol=1e-10)


def test_genes_as_they_are(x: np.ndarray) -> None:
    plain = Projection(np.arange(8).astype(str).astype(object))
    np.testing.assert_array_equal(plain.undo(plain.apply(x)), x)
    assert plain.n_features == 8


def test_scaling_is_scanpys(x: np.ndarray) -> None:
    import anndata as ad
    import scanpy as sc

    adata = ad.AnnData(x.copy())
    sc.pp.scale(adata, max_value=1.5)
    scaling = Scaling(adata.var["mean"].to_numpy(), adata.var["std"].to_numpy(), 1.5)
    np.testing.assert_allclose(scaling.apply(x), adata.X, atol=1e-12)
    zeros = x == 0
    np.testing.assert_allclose(scaling.apply(x)[zeros], np.broadcast_to(scaling.zero_level, x.shape)[zeros])
    np.testing.assert_allclose(scaling.undo(adata.X)[np.abs(adata.X) < 1.5], x[np.abs(adata.X) < 1.5], atol=1e-12)


@pytest.mark.parametrize("max_value", [None, 2.0])
def test_state_round_trip(x: np.ndarray, max_value: float | None) -> None:
    projection, _ = principal(x, 3, Scaling(x.mean(0), x.std(0), max_value))
    recipe = InputRecipe(None, "X_pca", projection, ValueRange(0.0, 7.5, whole=False))
    model = MapModel(GeometricAutoencoder(3, hidden_dims=(4,)), input=recipe)
    state = to_state(model)
    stored = state["input"]["projection"]
    assert all("/" not in name for name in (*state, *stored, *stored["scaling"]))
    back = from_state(copy.deepcopy(state))
    np.testing.assert_array_equal(back.input.projection.apply(x), model.input.projection.apply(x))
    assert back.input.projection.scaling.max_value == max_value
    assert back.input.projection.layer is None
    assert back.input.value_range == model.input.value_range
    assert back.input.obsm_key == "X_pca"
    stored["offset"][:] = 99  # the state is a copy
    np.testing.assert_array_equal(back.input.projection.apply(x), model.input.projection.apply(x))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("loadings", np.zeros((8, 4)), "loadings has shape"),
        ("loadings", np.full((8, 3), np.nan), "finite"),
        ("loadings", np.full((8, 3), "a"), "finite"),
        ("offset", np.zeros(2), "offset has shape"),
        ("offset", None, "offset"),
        ("center", np.zeros(3), "center has shape"),
        ("genes", np.array(["a"], dtype=object), "loadings has shape"),
        ("genes", np.arange(8).astype(object), "names"),
        ("scaling", {"mean": np.zeros(8)}, "std"),
        ("scaling", {"mean": np.zeros(8), "std": np.zeros(8)}, "not positive"),
        ("scaling", {"mean": np.zeros(8), "std": np.ones(8), "max_value": -1.0}, "max_value"),
        ("scaling", "much", "damaged"),
    ],
)
def test_damaged_projections_are_refused(x: np.ndarray, path: str, value: object, message: str) -> None:
    recipe = InputRecipe(projection=principal(x, 3)[0])
    state = to_state(MapModel(GeometricAutoencoder(3, hidden_dims=(4,)), input=recipe))
    if value is None:
        del state["input"]["projection"][path]
    else:
        state["input"]["projection"][path] = value
    with pytest.raises(ValueError, match=message):
        from_state(state)
