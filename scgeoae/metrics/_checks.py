"""Check the arguments of the measures, before anything is computed."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from .._masks import refuse_masked

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PointsLike: TypeAlias = npt.ArrayLike | Any
"""An array of shape (cells, features), or the same as a `scipy.sparse` matrix."""

MIN_CELLS = 3


def as_points(points: PointsLike, name: str) -> Any:
    """Return the points as a float64 array or CSR matrix of shape (cells, features), checked to be usable."""
    refuse_masked(points, name)
    array: Any = sparse.csr_matrix(points) if sparse.issparse(points) else np.asarray(points)
    if array.dtype.kind not in "fiub":
        msg = f"{name} must hold real numbers, but its type is {array.dtype}."
        raise TypeError(msg)
    if array.ndim != 2:
        msg = f"{name} must have two dimensions (cells, features), but its shape is {array.shape}."
        raise ValueError(msg)
    if array.shape[0] < MIN_CELLS or array.shape[1] < 1:
        msg = f"{name} must hold at least {MIN_CELLS} cells and one feature, but its shape is {array.shape}."
        raise ValueError(msg)
    array = array.astype(np.float64)
    _check_finite(array.data if sparse.issparse(array) else array, name)
    return array


def _check_finite(values: npt.NDArray[np.float64], name: str) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        sum_of_squares = np.vdot(values, values)
    if not np.isfinite(sum_of_squares):
        msg = f"{name} contains NaN or infinite values, or values too large to be squared."
        raise ValueError(msg)


def as_pair(X: PointsLike, Z: PointsLike) -> tuple[Any, Any]:
    """Return the data and the map, checked by `as_points` and to have the same number of cells."""
    data, embedding = as_points(X, "X"), as_points(Z, "Z")
    if data.shape[0] != embedding.shape[0]:
        msg = f"X and Z must have the same cells as rows, but X has {data.shape[0]}, Z {embedding.shape[0]} rows."
        raise ValueError(msg)
    return data, embedding


def check_varies(points: Any, name: str, measure: str) -> None:
    """Raise if all points are equal, because the measure is undefined then."""
    spread = float((points.max(axis=0) - points.min(axis=0)).max())
    if spread**2 == 0:
        msg = f"{measure} is undefined: all points of {name} are equal."
        raise ValueError(msg)


def check_integer(value: int, name: str, minimum: int) -> int:
    """Return the value as an integer that is at least `minimum`."""
    try:
        integer = operator.index(value)
    except TypeError as error:
        msg = f"{name} must be an integer, but it is {value!r}."
        raise TypeError(msg) from error
    if isinstance(value, bool):
        msg = f"{name} must be an integer, but it is {value!r}."
        raise TypeError(msg)
    if integer < minimum:
        msg = f"{name} must be at least {minimum}, but it is {integer}."
        raise ValueError(msg)
    return integer


def check_neighbors(k: int, n_cells: int) -> int:
    """Return the number of neighbours, checked to be smaller than the number of cells."""
    n_neighbors = check_integer(k, "k", 1)
    if n_neighbors >= n_cells:
        msg = f"k must be smaller than the number of cells, but k is {n_neighbors} and there are {n_cells} cells."
        raise ValueError(msg)
    return n_neighbors


def check_neighbors_below_half(k: int, n_cells: int) -> int:
    """Return the number of neighbours, checked to be less than half the number of cells."""
    n_neighbors = check_neighbors(k, n_cells)
    if n_neighbors >= n_cells / 2:
        msg = f"k must be less than half the number of cells, but k is {n_neighbors} and there are {n_cells} cells."
        raise ValueError(msg)
    return n_neighbors


def check_several_neighbors(k: int | Iterable[int], n_cells: int) -> list[int]:
    """Return one or several numbers of neighbours as a list, each checked by `check_neighbors`."""
    numbers = list(k) if np.iterable(k) else [k]
    if not numbers:
        msg = "k must be an integer or a sequence of integers, but it is an empty sequence."
        raise ValueError(msg)
    return [check_neighbors(number, n_cells) for number in numbers]


def check_positive(value: float, name: str) -> float:
    """Return the value as a float, checked to be finite and above zero."""
    if not (np.isfinite(value) and value > 0):
        msg = f"{name} must be a positive number, but it is {value}."
        raise ValueError(msg)
    return float(value)


def as_labelled(Z: PointsLike, labels: Sequence[Any] | npt.ArrayLike) -> tuple[Any, npt.NDArray[np.int64]]:
    """
    Return the cells that have a label, and their labels as codes.

    Returns
    -------
    points
        The cells whose label is not missing, shape (labelled cells, features).
    codes
        Their labels, numbered from 0 in sorted order, shape (labelled cells,).
    """
    points = as_points(Z, "Z")
    points = points.toarray() if sparse.issparse(points) else points
    refuse_masked(labels, "labels")
    # without `object`, numpy turns a missing label among texts into the text "nan"
    values: Any = labels if hasattr(labels, "dtype") else np.asarray(labels, dtype=object)
    if np.shape(values) != (points.shape[0],):
        msg = f"labels must have one entry per cell, shape ({points.shape[0]},), but their shape is {np.shape(values)}."
        raise ValueError(msg)
    codes, classes = pd.factorize(values, sort=True)
    if len(classes) < 2:
        msg = f"labels must name at least 2 classes, but they name {len(classes)}."
        raise ValueError(msg)
    kept = codes >= 0
    return as_points(points[kept], "Z, without the cells that have no label,"), codes[kept].astype(np.int64)
