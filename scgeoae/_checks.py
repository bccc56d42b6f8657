"""Check what users pass: numbers, points and matrices, before any work is done."""

from __future__ import annotations

import math
import re
from contextlib import contextmanager
from numbers import Integral, Real
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTEAD = {
    "random_state": "Pass rng, a seed or a generator of numpy.",
    "save": "Pass show=False and save the figure: `ax.figure.savefig(path)`.",
}
"""Arguments of scanpy's functions that ours do not have, and what to do instead."""

LARGEST = 2**63 - 1
"""The largest integer that files and generators take."""


@contextmanager
def instead() -> Iterator[None]:
    """Say what to do where a function is called with an argument of scanpy's functions that it does not have."""
    try:
        yield
    except TypeError as error:
        found = re.match(r"(.* got an unexpected keyword argument '(\w+)')", str(error))
        if found and (advice := INSTEAD.get(found[2])):
            error.args = (f"{found[1]}. {advice}",)
        raise


def check_adata(adata: Any, expected: str = "an AnnData") -> None:
    """Raise a `TypeError` unless this is an AnnData; says what to do with a path and with the `None` of a tool."""
    if hasattr(adata, "obsm") and hasattr(adata, "uns"):
        return
    advice = ""
    if adata is None:
        advice = " Tools write to adata and return None, unless copy=True: do not assign what they return."
    elif isinstance(adata, str | PathLike):
        advice = " Read the file first, by `scanpy.read_h5ad` or, if it is of a model, `scgeoae.read_model`."
    elif hasattr(adata, "shape"):
        advice = " Wrap a matrix by `anndata.AnnData(matrix)`."
    msg = f"adata must be {expected}, not {type(adata).__name__}.{advice}"
    raise TypeError(msg)


def whole_number(value: Any, name: str, minimum: int) -> int:
    """Return ``value`` as an `int`; raise an error unless it is an integer of 64 bits and at least ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        msg = f"{name} must be an integer, but it is {value!r}."
        raise TypeError(msg)
    number = int(value)
    if not minimum <= number <= LARGEST:
        bound = f"at least {minimum}" if number < minimum else f"at most {LARGEST}"
        msg = f"{name} must be {bound}, but it is {value}."
        raise ValueError(msg)
    return number


def real_number(value: Any, name: str) -> float:
    """Return ``value`` as a `float`; raise an error unless it is finite and at least 0."""
    if isinstance(value, bool) or not isinstance(value, Real):
        msg = f"{name} must be a number, but it is {value!r}."
        raise TypeError(msg)
    number = float(value)
    if not 0 <= number < math.inf:
        msg = f"{name} must be a finite number of at least 0, but it is {value}."
        raise ValueError(msg)
    return number


def seed_of(rng: int | np.random.Generator | None) -> int:
    """Return one integer seed: ``rng`` itself, or one that a generator draws, by default a new one."""
    if rng is None or isinstance(rng, np.random.Generator):
        return int(np.random.default_rng(rng).integers(2**63))
    return whole_number(rng, "rng", 0)


def real_array(values: Any, name: str) -> np.ndarray:
    """Return ``values``, dense or sparse, as a dense array; raise an error unless it holds real numbers."""
    refuse_masked(values, name)
    array = values.toarray() if sparse.issparse(values) else np.asarray(values)
    if array.dtype.kind not in "fiub":
        msg = f"{name} must hold real numbers, but its dtype is {array.dtype}."
        raise TypeError(msg)
    return array


def refuse_masked(values: Any, name: str) -> None:
    """Raise a `ValueError` if values of a masked array are masked: numpy would use what lies under the mask."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        msg = f"{name} has masked values. Fill them in first."
        raise ValueError(msg)


def check_points(points: Any, n_components: int | None, name: str = "points") -> np.ndarray:
    """Return points (m, d) as an array, after checking that they are finite and have this dimension, if it is given."""
    points = real_array(points, name)
    if points.ndim != 2 or n_components not in {None, points.shape[1]} or not np.isfinite(points).all():
        shape = f"(m, {n_components or 'd'}), a matrix with a row for each point"
        msg = f"{name} must be finite and of shape {shape}; the shape is {points.shape}."
        raise ValueError(msg)
    return points


def check_dimensions(dimensions: tuple[int, int], n_components: int) -> None:
    """Raise a `ValueError` unless these are two different dimensions of the map."""
    if len(set(dimensions)) != 2 or not all(0 <= number < n_components for number in dimensions):
        msg = f"dimensions must be two different numbers below {n_components}; they are {dimensions}."
        raise ValueError(msg)
