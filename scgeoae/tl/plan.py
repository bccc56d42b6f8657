"""Plan a training: choose and check its data, its arguments and its landmarks before any work is done; run it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scanpy import logging as logg

from .._checks import real_array, real_number, whole_number
from ..core.fit import fit
from ..core.loop import RETRY_SHARE
from ..core.observation import OBSERVATIONS
from ..core.regularizers import REGULARIZERS
from ..core.spec import Spec
from ..core.start import STARTS
from ..core.terms import TERMS
from ..fingerprint import Fingerprint, Values, compare, warn_if_unknown
from ..inputs import choose, resolve_device
from ._log import progress
from ._warnings import check_map, warn_of_singular_decoder

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from ..core.fit import Fitted
    from ..core.rows import Rows
    from ..inputs import Representation
    from ..result import Result

MIN_CELLS = 3
OF_THE_INPUT = ("use_rep", "n_pcs", "layer", "mask_var")
"""Arguments of a training that choose the data matrix."""
WEIGHTS = {"alpha" if term == "regularizer" else f"{term}_weight": term for term in TERMS if term != "reconstruction"}
"""Arguments of a training that are weights, and the terms of the objective that these belong to."""
WHOLE = {"n_steps": 1, "batch_size": 2, "regularizer_batch": 2, "patience": 1}
"""Whole-number arguments of a training and the smallest value of each; the others are real numbers of at least 0."""
OPTIONAL = ("n_steps", "batch_size", "noise", "patience")
"""Arguments of a training that may be `None`."""
NAMES: dict[str, Collection[str]] = {"init": STARTS, "observation": OBSERVATIONS}
"""Arguments of a training that are names, and those that are known."""


@dataclass(frozen=True)
class Plan:
    """A training on the data of an AnnData, checked, that can be run with any seed.

    Attributes
    ----------
    representation, rows, names
        The data matrix that was chosen, its rows on the device, and the names (n,) of the cells.
    spec
        What to train; `None` in it is left to the data.
    chosen
        The arguments that chose the data and the landmarks.
    coordinates
        Map coordinates (n, d) made elsewhere, to which a decoder and an encoder are fitted.
    landmarks
        Places (n, d) near which cells should stay, NaN for cells that are free.
    """

    representation: Representation
    rows: Rows
    names: pd.Index
    spec: Spec
    chosen: Mapping[str, Any]
    coordinates: np.ndarray | None = None
    landmarks: np.ndarray | None = None

    @property
    def source(self) -> str:
        """What messages call the data."""
        return self.representation.source

    def fit(self, seed: int) -> Fitted:
        """Train with a progress bar; log a warning if the training was interrupted or the map should not be trusted.

        Raises
        ------
        ValueError
            If the data are not finite or all cells are equal.
        FloatingPointError
            If the training diverges or there is no map.
        """
        with progress(self.spec.n_steps) as show:
            fitted = fit(
                self.rows,
                self.spec,
                seed,
                coordinates=self.coordinates,
                landmarks=self.landmarks,
                name=self.source,
                after_validation=show,
            )
        history = fitted.history
        if history.retried_at is not None:
            logg.warning(
                f"The loss was not finite at step {history.retried_at}: training continued from the last good weights "
                f"at {RETRY_SHARE:g} of the learning rate. Lower learning_rate or alpha."
            )
        if history.interrupted:
            logg.warning("Training was interrupted: the best weights so far are kept, params['interrupted'] is True.")
        if self.coordinates is None:
            check_map(fitted, self.rows)
        else:  # all else is of the map's making
            warn_of_singular_decoder(fitted.cells)
        return fitted

    def fingerprint(self, fitted: Fitted) -> dict[str, Fingerprint]:
        """Take the fingerprints of the input and of the coordinates of a map, as they are stored."""
        z = fitted.cells.z if self.coordinates is None else self.coordinates
        parts = {"input": self.representation.by_cell(), "coordinates": Values.of(z)}
        return {part: Fingerprint.of(values, self.names) for part, values in parts.items()}

    def params(self, fitted: Fitted, seed: int) -> dict[str, Any]:
        """Return the arguments that shaped a map, as they are stored; :func:`stored_plan` reads them."""
        params = asdict(fitted.spec)
        weights = params.pop("weights")
        return {
            **self.chosen,
            **params,
            **{name: weights[term] for name, term in WEIGHTS.items() if term in weights},
            "rng": seed,
        }


def plan(
    adata: AnnData,
    *,
    device: str | None = None,
    coordinates: np.ndarray | None = None,
    landmarks: str | None = None,
    **arguments: Any,
) -> Plan:
    """Plan a training with the arguments of :func:`geometric_ae` or, given ``coordinates``, :func:`fit_decoder`.

    Raises
    ------
    KeyError
        If the chosen data or landmarks do not exist.
    ValueError, TypeError
        If an argument is invalid; names it, what was passed and what is allowed.
    """
    chosen = {name: arguments.pop(name) for name in OF_THE_INPUT}
    representation = choose(adata, **chosen)
    if coordinates is not None and coordinates.shape[1] >= (n_features := representation.shape[1]):
        msg = (
            f"A map has fewer dimensions than its data; this one has {coordinates.shape[1]} for {n_features} features."
        )
        raise ValueError(msg)
    if landmarks is None and "landmark_weight" in arguments:
        arguments["landmark_weight"] = 0
    spec = _spec(representation.shape, **arguments)
    places = None if landmarks is None else _landmark_places(adata, landmarks, spec.n_components)
    mask = chosen["mask_var"]
    if not isinstance(mask, str | None):
        chosen["mask_var"] = np.asarray(mask).tolist()
    rows = representation.rows(resolve_device(device))
    return Plan(representation, rows, adata.obs_names, spec, {**chosen, "landmarks": landmarks}, coordinates, places)


def stored_plan(result: Result) -> Plan:
    """Plan the training of a stored map again, after checking that its data are still in the AnnData.

    Raises
    ------
    KeyError
        If the data are not there.
    ValueError
        If the map was made elsewhere, its cells were mapped, or the data are not those of the training.
    """
    result.check_trained()
    params = dict(result.params)
    mask = params.get("mask_var")
    params["mask_var"] = mask if isinstance(mask, str | None) else np.asarray(mask)
    fields = Spec.__dataclass_fields__.keys() - {"weights"}
    missing = dict.fromkeys([*OF_THE_INPUT, *OPTIONAL])  # `None` is not stored
    known = {name: params[name] for name in {*OF_THE_INPUT, *WEIGHTS, *fields, "landmarks"} if name in params}
    planned = plan(result.adata, **{**missing, **known})
    _check_same_data(planned, result)
    return planned


def _check_same_data(planned: Plan, result: Result) -> None:
    """Raise a `ValueError` unless the data are those of the training, of all its cells."""
    fingerprint, n_cells = result.fingerprint("input"), len(planned.names)
    found = compare(fingerprint, planned.representation.by_cell(), planned.names)
    why = found.why if found.same is False else ""
    if not why and fingerprint is not None and fingerprint.n_cells != n_cells:
        why = f"there are {n_cells} cells instead of {fingerprint.n_cells}"
    if why:
        msg = (
            f"{planned.source} does not hold the cells that the result {result.keys.key!r} was trained on: {why}. Pass "
            "the AnnData of the training, with all its cells, or train again."
        )
        raise ValueError(msg)
    warn_if_unknown(found, f"{planned.source} still holds what the result {result.keys.key!r} was trained on")


def _spec(shape: tuple[int, int], *, n_components: Any, hidden_dims: Any, **training: Any) -> Spec:
    """Check the arguments of a training on a data matrix of this shape."""
    n_cells, n_features = shape
    if n_cells < MIN_CELLS:
        msg = f"A map needs at least {MIN_CELLS} cells; there are {n_cells}."
        raise ValueError(msg)
    n_components = whole_number(n_components, "n_components", 1)
    if n_features < n_components:
        msg = f"The data have {n_features} features, fewer than n_components={n_components}."
        raise ValueError(msg)
    if isinstance(hidden_dims, str) or not isinstance(hidden_dims, Sequence | np.ndarray):
        msg = f"hidden_dims must be a sequence of layer widths, not {hidden_dims!r}."
        raise TypeError(msg)
    widths = [whole_number(width, "each of hidden_dims", 1) for width in hidden_dims]
    weights: dict[str, float] = {}
    for name, value in training.items():
        if name in WEIGHTS:
            weights[WEIGHTS[name]] = real_number(value, name)
        elif name == "regularizer":
            training[name] = _regularizer_weights(value, n_components)
        elif name in NAMES:
            _check_known(value, name, NAMES[name])
        elif value is not None or name not in OPTIONAL:
            training[name] = whole_number(value, name, WHOLE[name]) if name in WHOLE else real_number(value, name)
    others = {name: value for name, value in training.items() if name not in WEIGHTS}
    checked = Spec(n_components=n_components, hidden_dims=widths, weights=weights, **others)
    if checked.learning_rate == 0:
        msg = "learning_rate must be positive; it is 0."
        raise ValueError(msg)
    if checked.validation_fraction >= 1:
        msg = f"validation_fraction must be below 1; it is {checked.validation_fraction}."
        raise ValueError(msg)
    return checked


def _check_known(value: Any, name: str, known: Collection[str]) -> None:
    """Raise a `ValueError` unless this is one of the known names."""
    if value not in known:
        msg = f"Unknown {name} {value!r}. Choose from {list(known)}."
        raise ValueError(msg)


def _regularizer_weights(regularizer: str | Mapping[str, float] | None, n_components: int) -> dict[str, float]:
    """Return the regularizer as a mapping of names to weights, after checking it."""
    if regularizer is None:
        return {"area": 1.0, "conformal": 0.3} if n_components > 1 else {"area": 1.0}
    weights = {regularizer: 1.0} if isinstance(regularizer, str) else regularizer
    if not isinstance(weights, Mapping):
        msg = f"regularizer must be a name or a mapping of names to weights, not {type(regularizer).__name__}."
        raise TypeError(msg)
    unknown = [name for name in weights if name not in REGULARIZERS]
    if unknown or not weights:
        msg = f"Unknown regularizer {unknown}. Choose from {list(REGULARIZERS)}."
        raise ValueError(msg)
    if "conformal" in weights and n_components == 1:
        msg = "The conformal regularizer is undefined for n_components=1: every curve keeps its angles."
        raise ValueError(msg)
    return {name: real_number(weight, f"regularizer[{name!r}]") for name, weight in weights.items()}


def _landmark_places(adata: AnnData, key: str, n_components: int) -> np.ndarray:
    """Return the landmarks (n, d) float64 of an `obsm`, NaN for cells without one.

    Raises
    ------
    KeyError
        If the `obsm` does not exist.
    ValueError, TypeError
        If it does not hold real numbers, has another dimension than the map, holds infinite or partly missing places,
        or fewer than ``n_components + 1`` different places.
    """
    if not isinstance(key, str):
        msg = f"landmarks must be the name of an obsm, not {type(key).__name__}."
        raise TypeError(msg)
    if key not in adata.obsm:
        msg = f"Did not find .obsm[{key!r}]; .obsm holds {list(adata.obsm) or 'nothing'}."
        raise KeyError(msg)
    places = real_array(adata.obsm[key], f"obsm[{key!r}]").astype(np.float64)
    if places.ndim != 2 or places.shape[1] != n_components:
        msg = f"obsm[{key!r}] must hold places on a map of {n_components} dimensions; its shape is {places.shape}."
        raise ValueError(msg)
    missing = np.isnan(places)
    repeated = adata.obs_names.duplicated(keep=False) & ~missing.all(1)
    if len(set(zip(names := adata.obs_names[repeated], map(tuple, places[repeated].tolist()), strict=True))) < len(
        names
    ):
        msg = (
            f"Cells of one name, such as {names[0]!r}, have one place in obsm[{key!r}]: one of them is that of another "
            "cell. Make the names unique before places are found by them, as by `anndata.concat(…, keys=…, "
            "index_unique='-')`."
        )
        raise ValueError(msg)
    if np.isinf(places).any() or (missing.any(1) != missing.all(1)).any():
        msg = f"obsm[{key!r}] holds infinite places, or places of which only a part is missing."
        raise ValueError(msg)
    if (n_places := len(np.unique(places[~missing.any(1)], axis=0))) <= n_components:
        msg = f"obsm[{key!r}] holds {n_places} different places; landmarks need more than {n_components}."
        raise ValueError(msg)
    return places
