"""Dataclasses to plain arrays and back, by what their fields declare.

The type of a field says how it is stored: a number, a text or an array as it is, a tuple of numbers as an array,
another dataclass as a dictionary, and a dictionary of dataclasses by number, since a name may hold what a path must
not. A field that is `None` is left out. The metadata of a field say the rest:

``shape``
    Of an array: a size or its symbol for each dimension. A symbol stands for one size in all that is read together,
    apart from the entries of a dictionary, of which each may have sizes of its own.
``dtype``
    Of an array: `float` (default; of any precision, finite), `str` for names, or another one, which it must have.
``positive``
    Whether numbers must be above 0.
``later``
    Whether the field is younger than files of the same format: where it is missing, it has its default.

What holds between fields is checked by ``__post_init__``. So a new field of a stored dataclass is declared there alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

T = TypeVar("T")

NUMBERS = {float: "fiu", int: "iu", bool: "b"}
"""Kinds of numpy's dtypes that hold such numbers."""


def to_arrays(value: Any, *, without: Collection[str] = ()) -> dict[str, Any]:
    """Return the fields of a dataclass, but for some, as plain values under str keys; arrays are copied."""
    parts = {entry.name: getattr(value, entry.name) for entry in fields(value) if entry.name not in without}
    return {name: _plain(part) for name, part in parts.items() if part is not None}


def _plain(part: Any) -> Any:
    if is_dataclass(part):
        return to_arrays(part)
    if isinstance(part, Mapping):
        return {str(i): {"name": name, **to_arrays(entry)} for i, (name, entry) in enumerate(part.items())}
    if isinstance(part, tuple):
        return np.array(part, dtype=np.float64)
    return part.copy() if isinstance(part, np.ndarray) else part


def from_arrays(kind: Callable[..., T], stored: Any, sizes: dict[str, int], place: str = "", **known: Any) -> T:
    """Rebuild a dataclass from what :func:`to_arrays` returned, and check it.

    Parameters
    ----------
    kind
        The dataclass.
    stored
        Its stored fields.
    sizes
        Sizes by symbol that are known; those that are found are added.
    place
        What messages call it.
    **known
        Fields that are not stored.

    Raises
    ------
    ValueError, TypeError
        If a field is missing or is not what it is declared to be.
    """
    if not isinstance(stored, Mapping):
        msg = f"{place} is not made of entries"
        raise TypeError(msg)
    found = dict(known)
    for name, hint, metadata in _declared(kind):
        if name in known or (metadata.get("later") and name not in stored):
            continue
        where = f"{place}/{name}".lstrip("/")
        optional = NoneType in get_args(hint)
        if stored.get(name) is not None:
            found[name] = _read(get_args(hint)[0] if optional else hint, stored[name], sizes, where, **metadata)
        elif optional or get_origin(hint) is dict:
            found[name] = None if optional else {}
        else:
            msg = f"{where} is missing"
            raise ValueError(msg)
    return kind(**found)


@cache
def _declared(kind: Any) -> list[tuple[str, Any, Mapping[str, Any]]]:
    """Name, type and metadata of each field of a dataclass."""
    types = get_type_hints(kind)
    return [(entry.name, types[entry.name], entry.metadata) for entry in fields(kind)]


def _read(hint: Any, value: Any, sizes: dict[str, int], place: str, **declared: Any) -> Any:
    if get_origin(hint) is dict:
        kind = get_args(hint)[1]
        parts = {f"{place}/{number}": part for number, part in value.items()}
        return {
            _read(str, part["name"], sizes, f"{where}/name"): from_arrays(kind, part, dict(sizes), where)
            for where, part in parts.items()
        }
    if get_origin(hint) is tuple:
        return tuple(_array(value, sizes, place, shape=(len(get_args(hint)),)).tolist())
    if isinstance(hint, type) and is_dataclass(hint):
        return from_arrays(hint, value, sizes, place)
    if hint is np.ndarray:
        return _array(value, sizes, place, **declared)
    if hint is not str:
        return hint(_array(value, sizes, place, shape=(), dtype=hint, **declared))
    if not isinstance(value, str):
        msg = f"{place} is not a text"
        raise TypeError(msg)
    return str(value)


def _array(
    value: Any,
    sizes: dict[str, int],
    place: str,
    *,
    shape: tuple[int | str, ...],
    dtype: Any = float,
    positive: bool = False,
    later: bool = False,  # noqa: ARG001 - of the field, not of its values
) -> np.ndarray:
    """Return ``value`` as an array, if it is what it is declared to be."""
    array = np.asarray(value, dtype=object if dtype is str else None)
    if array.ndim == len(shape):  # the first array with a symbol defines its size
        for symbol, size in zip(shape, array.shape, strict=True):
            if isinstance(symbol, str):
                sizes.setdefault(symbol, size)
    expected = tuple(sizes.get(size, size) if isinstance(size, str) else size for size in shape)
    if array.shape != expected:
        msg = f"{place} has shape {array.shape}, not {expected}"
        raise ValueError(msg)
    if dtype is str:
        right, what = all(isinstance(entry, str) for entry in array), "names"
    elif dtype is float:
        right, what = array.dtype.kind in NUMBERS[float] and bool(np.isfinite(array).all()), "finite numbers"
    else:
        right = array.dtype.kind in NUMBERS[dtype] if dtype in NUMBERS else array.dtype == dtype
        what = np.dtype(dtype).name
    if not right:
        msg = f"{place} is not made of {what}"
        raise ValueError(msg)
    if positive and not (array > 0).all():
        msg = f"{place} is not positive"
        raise ValueError(msg)
    return array
