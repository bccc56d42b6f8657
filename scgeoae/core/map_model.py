"""A trained map: the autoencoder, how its input is made, the frame of the map; to plain arrays and back."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .autoencoder import GeometricAutoencoder
from .frame import Frame
from .novelty import Novelty
from .projection import InputRecipe, Projection, Scaling, ValueRange
from .region import OccupiedRegion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

FORMAT = 1
"""Version of the layout below; a reader refuses newer ones."""
OUTSIDE_PERCENTILE = 99
ACTIVATION = "elu"
"""What the layout calls the activation of the networks."""


@dataclass(frozen=True)
class TileLabels:
    """Labels of a map without its cells: votes of reference cells for each occupied tile.

    Attributes
    ----------
    categories
        Names (c,) of the classes, object.
    counts
        Votes (m, c) uint8 of the reference cells nearest to the center of each tile, in the order of
        :meth:`~scgeoae.core.region.OccupiedRegion.points`.
    colors
        Colors (c,) of the classes, object, or `None`.
    """

    categories: np.ndarray
    counts: np.ndarray
    colors: np.ndarray | None = None


@dataclass
class MapModel:
    """A trained map: what it takes to place new cells on it, to decode its points, and to say where it holds.

    Attributes
    ----------
    autoencoder
        The torch module. :meth:`encode`, :meth:`decode` and :meth:`pushforward` are its methods.
    unit
        Distance in the data per unit of the map, on geometric average over the training cells.
    region
        The part of the map (d = 2) that the training cells occupy.
    error_quantiles
        Quantiles 0, 0.01, …, 1 of the training cells' reconstruction error, input units, shape (101,).
    input
        How the input is made of a cell's genes or representation.
    labels
        Labels of the training cells by tile of the map, by name.
    """

    autoencoder: GeometricAutoencoder
    frame: Frame = field(default_factory=Frame)
    input: InputRecipe = field(default_factory=InputRecipe)
    labels: dict[str, TileLabels] = field(default_factory=dict)

    @property
    def n_features(self) -> int:
        """D, number of input features."""
        return self.autoencoder.n_features

    @property
    def n_components(self) -> int:
        """d, dimension of the map."""
        return self.autoencoder.n_components

    @property
    def device(self) -> torch.device:
        """Where the autoencoder is."""
        return self.autoencoder.device

    @property
    def unit(self) -> float:
        """Distance in the data per unit of the map."""
        return self.frame.unit

    @property
    def region(self) -> OccupiedRegion | None:
        """The part of the map that the training cells occupy."""
        return self.frame.region

    @property
    def error_quantiles(self) -> np.ndarray | None:
        """Quantiles of the training cells' reconstruction error."""
        return self.frame.error_quantiles

    def to(self, device: torch.device | str) -> MapModel:
        """Move the autoencoder to a device; return the same object."""
        self.autoencoder.to(device)
        return self

    def encode(self, x: Tensor) -> Tensor:
        """Place cells ``x`` (n, D), input units, on the map (n, d)."""
        return self.autoencoder.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        """Decode map points ``z`` (n, d) to data (n, D), input units."""
        return self.autoencoder.decode(z)

    def pushforward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Decode map points ``z`` (n, d) to data (n, D) and tangents (d, n, D), the columns of `J`."""
        return self.autoencoder.pushforward(z)

    def relative_determinant(self, log_det: np.ndarray) -> np.ndarray:
        """`det / unit^d`, (n,), of ``log_det`` (n,): times the geometric average over the training cells."""
        return self.frame.relative_determinant(log_det, self.n_components)


def to_state(model: MapModel) -> dict[str, Any]:
    """Return everything that the model is, as str keys with arrays, numbers, strings and dictionaries of these."""
    network, recipe, region = model.autoencoder, model.input, model.region
    return _stored(
        {
            "format": FORMAT,
            "architecture": {
                "n_features": network.n_features,
                "n_components": network.n_components,
                "hidden_dims": np.array(network.hidden_dims, dtype=np.int64),
                "activation": ACTIVATION,
                "with_encoder": network.encoder is not None,
            },
            "weights": {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()},
            "unit": model.unit,
            "features": None if recipe.features is None else np.array(recipe.features, dtype=object),
            "region": None if region is None else {"mask": region.mask, "extent": np.array(region.extent)},
            "error_quantiles": model.error_quantiles,
            "obsm_key": recipe.obsm_key,
            "projection": recipe.projection,
            "value_range": None if recipe.value_range is None else np.array(recipe.value_range, dtype=np.float64),
            # by number: a name may hold what a path must not
            "labels": {str(i): {"name": name} | vars(table) for i, (name, table) in enumerate(model.labels.items())}
            or None,
            "novelty": recipe.novelty,
        }
    )


def _stored(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Copy arrays, turn dataclasses into dictionaries, leave out what is `None`."""
    state: dict[str, Any] = {}
    for name, value in parts.items():
        if isinstance(value, np.ndarray):
            state[name] = value.copy()
        elif isinstance(value, dict):
            state[name] = _stored(value)
        elif is_dataclass(value):
            state[name] = _stored({entry.name: getattr(value, entry.name) for entry in fields(value)})
        elif value is not None:
            state[name] = value
    return state


def from_state(state: Mapping[str, Any]) -> MapModel:
    """Rebuild the model, its autoencoder in evaluation mode on the host.

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


def _from_state(state: Mapping[str, Any]) -> MapModel:
    weights = {name: np.asarray(value) for name, value in state["weights"].items()}
    architecture = _architecture(state["architecture"], len(weights))
    shapes = _expected_shapes(**architecture)
    if weights.keys() != shapes.keys():
        msg = f"missing or unexpected weights {sorted(weights.keys() ^ shapes.keys())[:5]}"
        raise ValueError(msg)
    for name, shape in shapes.items():
        _finite(weights[name], shape, name, np.float32)
    _positive(weights["observation.scale"], "observation.scale")
    network = GeometricAutoencoder(**architecture, generator=torch.Generator())  # not the global one
    network.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    n_features, quantiles = network.n_features, state.get("error_quantiles")
    region = _region(state["region"]) if "region" in state else None
    projection = _projection(state["projection"], n_features) if "projection" in state else None
    recipe = InputRecipe(
        features=_names(state["features"], n_features, "features") if "features" in state else None,
        obsm_key=str(state["obsm_key"]) if "obsm_key" in state else None,
        projection=projection,
        value_range=_value_range(state["value_range"]) if "value_range" in state else None,
        novelty=_novelty(state["novelty"], projection) if "novelty" in state else None,
    )
    return MapModel(
        network.eval(),
        Frame(
            _positive(state["unit"], "unit"),
            region,
            None if quantiles is None else _finite(quantiles, (101,), "error_quantiles"),
        ),
        input=recipe,
        labels=_labels(state.get("labels", {}), region),
    )


def _architecture(stored: Mapping[str, Any], n_weights: int) -> dict[str, Any]:
    activation = str(stored["activation"])
    if activation != ACTIVATION:
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
    return {**sizes, "hidden_dims": hidden_dims, "with_encoder": bool(stored["with_encoder"])}


def _expected_shapes(
    *, n_features: int, n_components: int, hidden_dims: tuple[int, ...], with_encoder: bool
) -> dict[str, tuple[int, ...]]:
    """Compute the shape of each weight before anything is allocated: a damaged number must not take the memory."""
    shapes: dict[str, tuple[int, ...]] = {"observation.mean": (n_features,), "observation.scale": ()}
    sizes = (n_features, *hidden_dims, n_components)
    if with_encoder:
        shapes["encoder.shortcut"] = (n_components, n_features)
    networks = {"decoder": sizes[::-1]} | ({"encoder": sizes} if with_encoder else {})
    for network, widths in networks.items():
        for i, (n_in, n_out) in enumerate(pairwise(widths)):
            shapes[f"{network}.layers.{i}.weight"] = (n_out, n_in)
            shapes[f"{network}.layers.{i}.bias"] = (n_out,)
    return shapes


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


def _labels(stored: Mapping[str, Any], region: OccupiedRegion | None) -> dict[str, TileLabels]:
    labels: dict[str, TileLabels] = {}
    for number, table in stored.items():
        place = f"labels/{number}"
        n_classes = len(table["categories"])
        categories = _names(table["categories"], n_classes, f"{place}/categories")
        colors = _names(table["colors"], n_classes, f"{place}/colors") if "colors" in table else None
        n_tiles = 0 if region is None else int(region.mask.sum())
        counts = _of_shape(np.asarray(table["counts"]), (n_tiles, n_classes), f"{place}/counts")
        if counts.dtype != np.uint8 or not counts.any(1).all() or len(set(categories)) < n_classes:
            msg = f"{place} is not made of votes for different classes"
            raise ValueError(msg)
        labels[str(_scalar(table["name"], f"{place}/name"))] = TileLabels(categories, counts, colors)
    return labels


def _novelty(stored: Mapping[str, Any], projection: Projection | None) -> Novelty:
    if projection is None or projection.loadings is None:
        msg = "there is a novelty without loadings"
        raise ValueError(msg)
    intercept, slope = (float(_finite(stored[name], (), f"novelty/{name}")) for name in ("intercept", "slope"))
    spread = _spread(stored["spread"], len(projection.genes), "novelty/spread") if "spread" in stored else None
    return Novelty(intercept, slope, _positive(stored["threshold"], "novelty/threshold"), spread)


def _value_range(stored: Any) -> ValueRange:
    low, high, whole = _finite(stored, (3,), "value_range").tolist()
    return ValueRange(low, high, bool(whole))


def _scaling(stored: Mapping[str, Any], n_genes: int) -> Scaling:
    mean = _finite(stored["mean"], (n_genes,), "projection/scaling/mean")
    std = _spread(stored["std"], n_genes, "projection/scaling/std")
    return Scaling(mean, std, _positive(stored["max_value"], "max_value") if "max_value" in stored else None)


def _spread(stored: Any, n_genes: int, name: str) -> np.ndarray:
    std = _finite(stored, (n_genes,), name)
    if not (std > 0).all():
        msg = f"{name} is not positive"
        raise ValueError(msg)
    return std


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
