"""The model as plain arrays and back; what it refuses."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.frame import Frame
from scgeoae.core.region import OccupiedRegion
from scgeoae.reference import InputRecipe, MapModel, Projection, from_state, to_state


@pytest.fixture
def model() -> GeometricAutoencoder:
    return GeometricAutoencoder(6, hidden_dims=(8, 8), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    return (rng.gamma(2, size=(300, 6)) * 3 + 10).astype(np.float32)


def test_state_round_trip(model: GeometricAutoencoder, x: np.ndarray) -> None:
    region = OccupiedRegion(np.eye(4, dtype=bool), (0.0, 1.0, 2.0, 3.0))
    frame = Frame(1.5, region, np.linspace(0, 1, 101))
    names = np.array([f"gene {i}" for i in range(6)], dtype=object)
    back = from_state(copy.deepcopy(to_state(MapModel(model, frame, InputRecipe(names)))))
    assert not back.autoencoder.training
    assert back.unit == 1.5
    assert back.autoencoder.hidden_dims == (8, 8)
    np.testing.assert_array_equal(back.input.features, names)
    np.testing.assert_array_equal(back.region.mask, region.mask)
    np.testing.assert_array_equal(back.error_quantiles, np.linspace(0, 1, 101))
    cells = torch.from_numpy(x)
    torch.testing.assert_close(back.decode(back.encode(cells)), model(cells), rtol=0, atol=0)


def damage(path: str, value: object):
    def apply(state: dict) -> None:
        *parents, last = path.split("/")
        for name in parents:
            state = state[name]
        if value is None:
            del state[last]
        else:
            state[last] = value

    return apply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damage("format", 99), "format 99"),
        (damage("format", None), "damaged"),
        (damage("architecture/n_features", 7), "shape"),
        (damage("architecture/hidden_dims", np.array([10**9, 10**9])), "not those of layers"),
        (damage("architecture/hidden_dims", np.array([0])), "not those of layers"),
        (damage("architecture/activation", "evil"), "activation 'evil' is unknown"),
        (damage("weights/observation.mean", None), "missing or unexpected"),
        (damage("weights/extra", np.zeros(3)), "missing or unexpected"),
        (damage("weights/observation.mean", np.full(6, np.nan, dtype=np.float32)), "finite"),
        (damage("weights/observation.mean", np.array([object()] * 6)), "finite"),
        (damage("weights", "nothing"), "damaged"),
        (damage("frame/unit", -1.0), "unit"),
        (damage("frame/unit", "one"), "damaged"),
        (damage("frame", None), "'frame' is missing|frame is missing"),
        (damage("frame/error_quantiles", np.zeros(100)), "error_quantiles has shape"),
        (damage("frame/region/mask", np.zeros((4, 4), dtype=bool)), "region is empty"),
        (damage("frame/region/mask", np.eye(4)), "mask is not made of bool"),
        (damage("frame/region/mask", np.ones(4, dtype=bool)), "mask has shape"),
        (damage("frame/region/extent", np.array([0.0, 0, 0, 1])), "region is empty"),
        (damage("frame/region/extent", np.array([0.0, 1, 0, np.inf])), "extent is not made of finite"),
        (damage("input/features", np.array(["a"])), "features"),
    ],
)
def test_damaged_states_are_refused(model: GeometricAutoencoder, change, message: str) -> None:
    frame = Frame(region=OccupiedRegion(np.eye(4, dtype=bool), (0.0, 1.0, 2.0, 3.0)))
    state = to_state(MapModel(model, frame, InputRecipe(np.array(list("abcdef"), dtype=object))))
    change(state)
    with pytest.raises(ValueError, match=message):
        from_state(state)


def test_a_projection_of_another_model_is_refused(model: GeometricAutoencoder) -> None:
    genes = Projection(np.array(list("abc"), dtype=object))
    with pytest.raises(ValueError, match="to 3 features belongs to another model, of 6"):
        MapModel(model, input=InputRecipe(projection=genes))


def test_a_model_moves_by_a_copy(model: GeometricAutoencoder) -> None:
    before = MapModel(model)
    moved = before.to("cpu")
    assert moved.autoencoder is not model
    assert moved.frame is before.frame
    with pytest.raises(AttributeError):
        before.input = InputRecipe()
    assert before.surface is before.surface
