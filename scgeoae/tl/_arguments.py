"""Check what a user passed, before any work is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import real_array, real_number, whole_number
from ..core.regularizers import REGULARIZERS
from ..core.spec import Spec
from ..storage import check_writable

if TYPE_CHECKING:
    from anndata import AnnData

MIN_CELLS = 3
OF_THE_INPUT = ("use_rep", "n_pcs", "layer", "mask_var")
"""Arguments of a training that choose the data matrix."""
WHOLE = {"n_steps": 1, "batch_size": 2, "regularizer_batch": 2, "patience": 1}
"""Whole-number arguments of a training and the smallest value of each; the others are real numbers of at least 0."""
OPTIONAL = ("n_steps", "batch_size", "noise", "patience")
"""Arguments of a training that may be `None`."""


def spec(shape: tuple[int, int], *, n_components: Any, hidden_dims: Any, **training: Any) -> Spec:
    """Check all arguments of a training on a data matrix of this shape.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was passed and what is allowed.
    """
    architecture = _architecture(n_components, hidden_dims, shape)
    for name, value in training.items():
        if name == "regularizer":
            training[name] = regularizer_weights(value, architecture["n_components"])
        elif value is not None or name not in OPTIONAL:
            training[name] = whole_number(value, name, WHOLE[name]) if name in WHOLE else real_number(value, name)
    checked = Spec(**architecture, **training)
    if checked.learning_rate == 0:
        msg = "learning_rate must be positive; it is 0."
        raise ValueError(msg)
    if checked.validation_fraction >= 1:
        msg = f"validation_fraction must be below 1; it is {checked.validation_fraction}."
        raise ValueError(msg)
    if checked.interpolation > 1:
        msg = f"interpolation must be at most 1; it is {checked.interpolation}."
        raise ValueError(msg)
    return checked


def regularizer_weights(regularizer: str | Mapping[str, float] | None, n_components: int) -> dict[str, float]:
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


def _architecture(n_components: Any, hidden_dims: Any, shape: tuple[int, int]) -> dict[str, Any]:
    """Return the arguments of the autoencoder, checked against the shape of the data matrix."""
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
    return {"n_components": n_components, "hidden_dims": widths}


def landmark_places(adata: AnnData, key: str, n_components: int) -> np.ndarray:
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
    if np.isinf(places).any() or (missing.any(1) != missing.all(1)).any():
        msg = f"obsm[{key!r}] holds infinite places, or places of which only a part is missing."
        raise ValueError(msg)
    if (n_places := len(np.unique(places[~missing.any(1)], axis=0))) <= n_components:
        msg = f"obsm[{key!r}] holds {n_places} different places; landmarks need more than {n_components}."
        raise ValueError(msg)
    return places


def stored_input(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that choose the data matrix as `params` stores them."""
    mask = chosen["mask_var"]
    return {**chosen, "mask_var": mask if isinstance(mask, str | None) else np.asarray(mask).tolist()}


def chosen_input(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that choose the data matrix from `params`."""
    chosen = {name: params.get(name) for name in OF_THE_INPUT}
    mask = chosen["mask_var"]
    return {**chosen, "mask_var": mask if isinstance(mask, str | None) else np.asarray(mask)}


def stored_spec(params: Mapping[str, Any], shape: tuple[int, int]) -> Spec:
    """Return the arguments of a training from `params`, for a data matrix of this shape."""
    return spec(shape, **{entry.name: params.get(entry.name) for entry in fields(Spec)})


def check_checkpoint(file: Any, *, resume: Any) -> None:
    """Raise an error if the checkpoint cannot be written, or if there is none to resume."""
    if resume and file is None:
        msg = "resume=True needs the file of a checkpoint."
        raise ValueError(msg)
    if file is not None:
        check_writable(Path(file))
