"""A trained map: the autoencoder, the frame of the map, how its input is made; to plain arrays and back."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.autoencoder import GeometricAutoencoder
from ..core.frame import Frame
from ..core.lens import Lens
from ..core.surface import Surface
from ..storage import from_arrays, to_arrays
from .labels import TileLabels  # noqa: TC001 - a model in a file is read by the types of its fields
from .readout import Readout, Space, space_of
from .recipe import InputRecipe

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor

    from ..core.region import OccupiedRegion

FORMAT = 1
"""Version of the stored layout; a reader refuses newer ones."""


@dataclass(frozen=True, eq=False)
class MapModel:
    """A trained map: what it takes to place new cells on it, to decode its points, and to say where it holds.

    Attributes
    ----------
    autoencoder
        The torch module. :meth:`encode`, :meth:`decode` and :meth:`pushforward` are its methods.
    frame
        Where the training cells lie on the map and how well they are explained.
    input
        How the input is made of a cell's genes or representation.
    labels
        Labels of the training cells by tile of the map, by name.
    readout
        How genes are read from the input, where that was fitted (:func:`scgeoae.tl.gene_readout`).
    lens
        What bends the map in pictures (d = 2), if there is one. All else is on the true map.
    made_elsewhere
        Whether the map is one such as a UMAP, to which decoder and encoder were fitted
        (:func:`scgeoae.tl.fit_decoder`): lengths on it are no distances, and it is not trained again.
    """

    autoencoder: GeometricAutoencoder
    frame: Frame = field(default_factory=Frame)
    input: InputRecipe = field(default_factory=InputRecipe)
    labels: dict[str, TileLabels] = field(default_factory=dict)
    readout: Readout | None = None
    lens: Lens | None = None
    made_elsewhere: bool = field(default=False, metadata={"later": True})

    def __post_init__(self) -> None:
        projection = self.input.projection
        if projection is not None and projection.n_features != self.n_features:
            msg = f"A projection to {projection.n_features} features belongs to another model, of {self.n_features}."
            raise ValueError(msg)
        if self.readout is not None and self.readout.n_features != self.n_features:
            msg = f"A readout of {self.readout.n_features} features belongs to another model, of {self.n_features}."
            raise ValueError(msg)
        if self.lens is not None and self.n_components != 2:
            msg = f"A lens is for maps of two dimensions, not of {self.n_components}."
            raise ValueError(msg)
        n_tiles = 0 if self.region is None else int(self.region.mask.sum())
        for name, table in self.labels.items():
            if len(table.counts) != n_tiles:
                msg = f"The labels {name!r} are of {len(table.counts)} tiles, but the map has {n_tiles}."
                raise ValueError(msg)

    @property
    def n_features(self) -> int:
        """D, number of input features."""
        return self.autoencoder.n_features

    @property
    def n_components(self) -> int:
        """d, dimension of the map."""
        return self.autoencoder.n_components

    @property
    def has_encoder(self) -> bool:
        """Whether new cells have a place; earlier versions fitted only a decoder to a map that was made elsewhere."""
        return self.autoencoder.encoder is not None

    @property
    def mean(self) -> np.ndarray:
        """Mean of each input feature over the training cells, (D,), float64."""
        return self.autoencoder.observation.mean.cpu().double().numpy()  # in this order: MPS has no float64

    @property
    def scale(self) -> float:
        """Overall standard deviation of the input over the training cells."""
        return self.autoencoder.observation.scale.item()

    @property
    def unit(self) -> float:
        """Distance in the data per unit of the map, on geometric average over the training cells."""
        return self.frame.unit

    @property
    def length_between(self) -> float:
        """How much longer far cells are apart on the map than what the decoder makes of them, by their median."""
        return self.frame.length_between

    @property
    def region(self) -> OccupiedRegion | None:
        """The part of the map that the training cells occupy; `None` unless d = 2."""
        return self.frame.region

    @property
    def error_quantiles(self) -> np.ndarray | None:
        """Quantiles 0, 0.01, …, 1 of the training cells' reconstruction error, input units, shape (101,)."""
        return self.frame.error_quantiles

    @cached_property
    def surface(self) -> Surface:
        """The decoder as a surface in the space of the data, in float64."""
        return Surface(self.autoencoder)

    @cached_property
    def bent_surface(self) -> Surface:
        """The same surface, of points of the bent map; that of the true map if there is no lens."""
        return Surface(self.autoencoder, self.lens)

    @property
    def knows_genes(self) -> bool:
        """Whether decoded inputs can be read as genes."""
        return self.readout is not None or self.input.projection is not None

    def space(self, name: str, key: str | None = None) -> Space:
        """Return what decoded inputs are read as: the ``"input"`` itself or ``"genes"``.

        Raises a `ValueError`, which names the ``key`` of the result in an AnnData, if the model does not hold how.
        """
        return space_of(self, name, key)

    @property
    def device(self) -> torch.device:
        """Where the autoencoder is."""
        return self.autoencoder.device

    def to(self, device: torch.device | str) -> MapModel:
        """Return the same model on a device; this one stays where it is."""
        return replace(self, autoencoder=deepcopy(self.autoencoder).to(device))

    def standardize(self, x: Tensor) -> Tensor:
        """Bring cells (n, D) from input units to the units of the networks."""
        return self.autoencoder.standardize(x)

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
        return np.exp(log_det - self.n_components * np.log(self.unit))


def bent_by(model: MapModel, stored: Mapping[str, Any]) -> MapModel:
    """Return the model with a stored lens; raise a `ValueError` if that is damaged."""
    try:
        return replace(model, lens=from_arrays(Lens, stored, {}))
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        msg = f"The stored lens is damaged: {error}."
        raise ValueError(msg) from error


def to_state(model: MapModel) -> dict[str, Any]:
    """Return everything that the model is, as str keys with arrays, numbers, strings and dictionaries of these."""
    return {"format": FORMAT, **model.autoencoder.to_arrays(), **to_arrays(model, without=["autoencoder"])}


def with_readout(state: Mapping[str, Any], readout: Readout) -> dict[str, Any]:
    """Return the state of a model with this readout."""
    return {**state, "readout": to_arrays(readout)}


def from_state(state: Mapping[str, Any]) -> MapModel:
    """Rebuild the model, its autoencoder in evaluation mode on the host.

    Raises
    ------
    ValueError
        If the state is of a newer format, incomplete, of inconsistent shapes or not finite.
    """
    try:
        version = int(state["format"])
        if version <= FORMAT:
            network = GeometricAutoencoder.from_arrays(state)
            known = {"made_elsewhere": network.encoder is None, **state}  # earlier versions did not store it
            return from_arrays(MapModel, known, {"D": network.n_features}, autoencoder=network)
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        msg = f"The stored model is damaged: {reason}."
        raise ValueError(msg) from error
    msg = f"The stored model has format {version}; this version of scgeoae reads up to {FORMAT}."
    raise ValueError(msg)
