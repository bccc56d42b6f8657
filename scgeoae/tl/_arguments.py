"""Check what a user passed, before any work is done."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scanpy import logging as logg

from ..core.activations import ACTIVATIONS
from ..core.regularizers import REGULARIZERS
from ..core.training import Recipe

MIN_CELLS = 3


def recipe(**arguments: Any) -> Recipe:
    """A :class:`Recipe` of checked values.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what is allowed.
    """
    whole = {"n_steps": 1, "batch_size": 2, "regularizer_batch": 2, "patience": 1}
    real = {"alpha": 0.0, "noise": 0.0, "learning_rate": 0.0, "weight_decay": 0.0, "validation_fraction": 0.0}
    for name, lowest in whole.items():
        if not (name == "patience" and arguments[name] is None):
            arguments[name] = whole_number(arguments[name], name, lowest)
    for name, bound in real.items():
        arguments[name] = real_number(arguments[name], name, bound)
    if arguments["learning_rate"] == 0:
        msg = "learning_rate must be positive; it is 0."
        raise ValueError(msg)
    if arguments["validation_fraction"] >= 1:
        msg = f"validation_fraction must be below 1; it is {arguments['validation_fraction']}."
        raise ValueError(msg)
    return Recipe(**arguments)


def whole_number(value: Any, name: str, lowest: int) -> int:
    """``value`` as an int of at least ``lowest``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        msg = f"{name} must be a whole number, not {value!r}."
        raise TypeError(msg)
    if value < lowest:
        msg = f"{name} must be at least {lowest}; it is {value}."
        raise ValueError(msg)
    return int(value)


def real_number(value: Any, name: str, lowest: float) -> float:
    """``value`` as a finite float of at least ``lowest``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        msg = f"{name} must be a number, not {value!r}."
        raise TypeError(msg)
    number = float(value)
    if not (math.isfinite(number) and number >= lowest):
        msg = f"{name} must be a finite number of at least {lowest:g}; it is {value}."
        raise ValueError(msg)
    return number


def regularizer_weights(regularizer: str | Mapping[str, float], n_components: int) -> dict[str, float]:
    """The regulariser as a mapping of names to weights."""
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
    return {name: real_number(weight, f"regularizer[{name!r}]", 0) for name, weight in weights.items()}


def architecture(n_components: Any, hidden_dims: Any, activation: Any, shape: tuple[int, int]) -> dict[str, Any]:
    """Arguments of the autoencoder for a data matrix of this shape."""
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
    if activation not in ACTIVATIONS:
        msg = f"Unknown activation {activation!r}. Choose from {list(ACTIVATIONS)}."
        raise ValueError(msg)
    if activation == "relu":
        logg.warning("With activation='relu' the Jacobian is piecewise constant: the determinant jumps between cells.")
    widths = [whole_number(width, "each of hidden_dims", 1) for width in hidden_dims]
    return {"n_components": n_components, "hidden_dims": widths, "activation": activation}


def seed_of(rng: int | np.random.Generator | None) -> int:
    """One integer seed from a seed, a generator (which advances) or nothing (a fresh one)."""
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**63))
    if rng is None:
        return int(np.random.default_rng().integers(2**63))
    return whole_number(rng, "rng", 0)
