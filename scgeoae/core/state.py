"""A model as a plain dictionary of arrays, numbers and strings, and back: what is stored in AnnData and in files."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .activations import ACTIVATIONS
from .autoencoder import GeometricAutoencoder
from .region import OccupiedRegion

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 1
"""Version of the layout below; a reader refuses newer ones."""


def to_state(model: GeometricAutoencoder) -> dict[str, Any]:
    """Everything that the model is, as str keys with arrays, numbers, strings and dictionaries of these."""
    state: dict[str, Any] = {
        "format": FORMAT,
        "architecture": {
            "n_features": model.n_features,
            "n_components": model.n_components,
            "hidden_dims": np.array(model.hidden_dims, dtype=np.int64),
            "activation": model.activation,
            "with_encoder": model.encoder is not None,
        },
        "weights": {name: value.detach().cpu().numpy().copy() for name, value in model.state_dict().items()},
        "unit": model.unit,
    }
    if model.features is not None:
        state["features"] = np.asarray(model.features, dtype=object)
    if model.region is not None:
        state["region"] = {"mask": model.region.mask, "extent": np.array(model.region.extent)}
    if model.error_quantiles is not None:
        state["error_quantiles"] = model.error_quantiles
    return state


def from_state(state: Mapping[str, Any]) -> GeometricAutoencoder:
    """Rebuild the model, in evaluation mode on the host.

    Raises
    ------
    ValueError
        If the state is of a newer format, incomplete, of inconsistent shapes or not finite.
    """
    try:
        return _from_state(state)
    except (KeyError, TypeError, AttributeError) as error:
        msg = f"The stored model is damaged: {error!r}."
        raise ValueError(msg) from error


def _from_state(state: Mapping[str, Any]) -> GeometricAutoencoder:
    if int(state["format"]) > FORMAT:
        msg = f"The stored model has format {int(state['format'])}; this version of scgeoae reads up to {FORMAT}."
        raise ValueError(msg)
    architecture = _architecture(state["architecture"])
    weights = {name: np.asarray(value) for name, value in state["weights"].items()}
    _check_weights(weights, _expected_shapes(**architecture))
    model = GeometricAutoencoder(**architecture)
    model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    model.unit = _positive(state["unit"], "unit")
    if "features" in state:
        model.features = _of_shape(np.asarray(state["features"], dtype=object), (model.n_features,), "features")
    if "region" in state:
        model.region = _region(state["region"])
    if "error_quantiles" in state:
        model.error_quantiles = _finite(state["error_quantiles"], (101,), "error_quantiles")
    return model.eval()


def _architecture(stored: Mapping[str, Any]) -> dict[str, Any]:
    activation = str(stored["activation"])
    if activation not in ACTIVATIONS:
        msg = f"The stored model has an unknown activation {activation!r}."
        raise ValueError(msg)
    sizes = {name: int(stored[name]) for name in ("n_features", "n_components")}
    hidden_dims = tuple(int(width) for width in np.asarray(stored["hidden_dims"]).ravel())
    if min(*sizes.values(), *hidden_dims) < 1:
        msg = "The stored model is damaged: its layers have no width."
        raise ValueError(msg)
    return {**sizes, "hidden_dims": hidden_dims, "activation": activation, "with_encoder": bool(stored["with_encoder"])}


def _expected_shapes(
    *, n_features: int, n_components: int, hidden_dims: tuple[int, ...], with_encoder: bool, **_: Any
) -> dict[str, tuple[int, ...]]:
    """Known before anything is allocated, so that a damaged number cannot ask for memory."""
    shapes: dict[str, tuple[int, ...]] = {"mean": (n_features,), "scale": ()}
    sizes = (n_features, *hidden_dims, n_components)
    networks = {"decoder": sizes[::-1]} | ({"encoder": sizes} if with_encoder else {})
    for network, widths in networks.items():
        for i, (n_in, n_out) in enumerate(pairwise(widths)):
            shapes[f"{network}.layers.{i}.weight"] = (n_out, n_in)
            shapes[f"{network}.layers.{i}.bias"] = (n_out,)
    return shapes


def _check_weights(weights: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> None:
    if weights.keys() != shapes.keys():
        msg = f"The stored model is damaged: missing or unexpected weights {sorted(weights.keys() ^ shapes.keys())}."
        raise ValueError(msg)
    for name, shape in shapes.items():
        _finite(weights[name], shape, name)


def _region(stored: Mapping[str, Any]) -> OccupiedRegion:
    mask = np.asarray(stored["mask"], dtype=bool)
    if mask.ndim != 2:
        msg = f"The stored model is damaged: region has {mask.ndim} dimensions, not 2."
        raise ValueError(msg)
    left, right, bottom, top = _finite(stored["extent"], (4,), "region").tolist()
    return OccupiedRegion(mask, (left, right, bottom, top))


def _finite(value: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    array = _of_shape(np.asarray(value), shape, name)
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        msg = f"The stored model is damaged: {name} is not made of finite numbers."
        raise ValueError(msg)
    return array


def _of_shape(array: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    if array.shape != shape:
        msg = f"The stored model is damaged: {name} has shape {array.shape}, not {shape}."
        raise ValueError(msg)
    return array


def _positive(value: Any, name: str) -> float:
    if not 0 < float(value) < np.inf:
        msg = f"The stored model is damaged: {name} is {value}."
        raise ValueError(msg)
    return float(value)
