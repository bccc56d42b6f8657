"""A model as a plain dictionary of arrays, numbers and strings, and back: what is stored in AnnData and in files."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .activations import ACTIVATIONS
from .autoencoder import GeometricAutoencoder
from .projection import Projection, Scaling, ValueRange
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
        state["features"] = np.array(model.features, dtype=object)
    if model.region is not None:
        state["region"] = {"mask": model.region.mask.copy(), "extent": np.array(model.region.extent)}
    if model.error_quantiles is not None:
        state["error_quantiles"] = model.error_quantiles.copy()
    if model.obsm_key is not None:
        state["obsm_key"] = model.obsm_key
    if model.projection is not None:
        state["projection"] = _projection_state(model.projection)
    if model.value_range is not None:
        state["value_range"] = np.array(model.value_range, dtype=np.float64)
    return state


def _projection_state(projection: Projection) -> dict[str, Any]:
    scaling = projection.scaling
    parts = {
        "genes": projection.genes,
        "loadings": projection.loadings,
        "offset": projection.offset,
        "center": projection.center,
        "layer": projection.layer,
        "scaling": None if scaling is None else _without_none(vars(scaling)),
    }
    return _without_none(parts)


def _without_none(parts: Mapping[str, Any]) -> dict[str, Any]:
    copies = {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in parts.items()}
    return {name: value for name, value in copies.items() if value is not None}


def from_state(state: Mapping[str, Any]) -> GeometricAutoencoder:
    """Rebuild the model, in evaluation mode on the host.

    Raises
    ------
    ValueError
        If the state is of a newer format, incomplete, of inconsistent shapes or not finite.
    """
    try:
        version = int(_scalar(state["format"], "format"))
        if version <= FORMAT:
            return _from_state(state)
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        msg = f"The stored model is damaged: {reason}."
        raise ValueError(msg) from error
    msg = f"The stored model has format {version}; this version of scgeoae reads up to {FORMAT}."
    raise ValueError(msg)


def _from_state(state: Mapping[str, Any]) -> GeometricAutoencoder:
    weights = {name: np.asarray(value) for name, value in state["weights"].items()}
    architecture = _architecture(state["architecture"], len(weights))
    _check_weights(weights, _expected_shapes(**architecture))
    model = GeometricAutoencoder(**architecture, generator=torch.Generator())  # not the global one
    model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    model.unit = _positive(state["unit"], "unit")
    if "features" in state:
        model.features = _names(state["features"], model.n_features, "features")
    if "region" in state:
        model.region = _region(state["region"])
    if "error_quantiles" in state:
        model.error_quantiles = _finite(state["error_quantiles"], (101,), "error_quantiles")
    if "obsm_key" in state:
        model.obsm_key = str(state["obsm_key"])
    if "projection" in state:
        model.projection = _projection(state["projection"], model.n_features)
    if "value_range" in state:
        low, high, whole = _finite(state["value_range"], (3,), "value_range").tolist()
        model.value_range = ValueRange(low, high, bool(whole))
    return model.eval()


def _architecture(stored: Mapping[str, Any], n_weights: int) -> dict[str, Any]:
    activation = str(stored["activation"])
    if activation not in ACTIVATIONS:
        msg = f"the activation {activation!r} is unknown"
        raise ValueError(msg)
    sizes = {name: int(_scalar(stored[name], name)) for name in ("n_features", "n_components")}
    widths = np.asarray(stored["hidden_dims"]).ravel()
    if len(widths) > n_weights:
        msg = f"there are {n_weights} weights for {len(widths)} layers"
        raise ValueError(msg)
    hidden_dims = tuple(int(width) for width in widths)
    if min(*sizes.values(), *hidden_dims) < 1:
        msg = "its layers have no width"
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
        differing = sorted(weights.keys() ^ shapes.keys())[:5]
        msg = f"missing or unexpected weights {differing}"
        raise ValueError(msg)
    for name, shape in shapes.items():
        _finite(weights[name], shape, name, np.float32)
    _positive(weights["scale"], "scale")


def _region(stored: Mapping[str, Any]) -> OccupiedRegion:
    mask = np.asarray(stored["mask"], dtype=bool)
    if mask.ndim != 2:
        msg = f"region has {mask.ndim} dimensions, not 2"
        raise ValueError(msg)
    left, right, bottom, top = _finite(stored["extent"], (4,), "region").tolist()
    if not (0 < right - left < np.inf and 0 < top - bottom < np.inf and mask.any()):
        msg = "region is empty"
        raise ValueError(msg)
    return OccupiedRegion(mask, (left, right, bottom, top))


def _projection(stored: Mapping[str, Any], n_features: int) -> Projection:
    n_genes = n_features
    arrays: dict[str, np.ndarray] = {}
    if "loadings" in stored:
        n_genes = len(stored["genes"])
        shapes = {"loadings": (n_genes, n_features), "offset": (n_features,), "center": (n_genes,)}
        arrays = {name: _finite(stored[name], shape, f"projection/{name}") for name, shape in shapes.items()}
    return Projection(
        genes=_names(stored["genes"], n_genes, "projection/genes"),
        scaling=_scaling(stored["scaling"], n_genes) if "scaling" in stored else None,
        layer=str(stored["layer"]) if "layer" in stored else None,
        **arrays,
    )


def _scaling(stored: Mapping[str, Any], n_genes: int) -> Scaling:
    mean, std = (_finite(stored[name], (n_genes,), f"projection/scaling/{name}") for name in ("mean", "std"))
    if not (std > 0).all():
        msg = "projection/scaling/std is not positive"
        raise ValueError(msg)
    return Scaling(mean, std, _positive(stored["max_value"], "max_value") if "max_value" in stored else None)


def _names(value: Any, n: int, name: str) -> np.ndarray:
    array = _of_shape(np.asarray(value, dtype=object), (n,), name)
    if not all(isinstance(entry, str) for entry in array):
        msg = f"{name} is not made of names"
        raise ValueError(msg)
    return array


def _finite(value: Any, shape: tuple[int, ...], name: str, dtype: type[np.floating] = np.float64) -> np.ndarray:
    """``value`` as an array, if it is of this shape and its numbers are finite as ``dtype``."""
    array = _of_shape(np.asarray(value), shape, name)
    with np.errstate(over="ignore"):
        if array.dtype.kind != "f" or not np.isfinite(array.astype(dtype, copy=False)).all():
            msg = f"{name} is not made of finite numbers"
            raise ValueError(msg)
    return array


def _of_shape(array: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    if array.shape != shape:
        msg = f"{name} has shape {array.shape}, not {shape}"
        raise ValueError(msg)
    return array


def _positive(value: Any, name: str) -> float:
    number = float(_scalar(value, name))
    if not 0 < number < np.inf:
        msg = f"{name} is {value}"
        raise ValueError(msg)
    return number


def _scalar(value: Any, name: str) -> Any:
    if np.ndim(value):
        msg = f"{name} is not a single number"
        raise ValueError(msg)
    return value
