"""Write nested plain arrays into one file and read them back: safetensors with JSON metadata.

The format is a JSON header and plain numbers: nothing is unpickled or decompressed, and the reader checks all declared
shapes and offsets against the file before it returns a number.

Layout: each array is a tensor named by its path (``weights/mean``). Numbers and names are one JSON object, path to
value, in the metadata under ``scgeoae``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

ENTRY = "scgeoae"
"""Name of the metadata."""

MAX_BYTES = 2**31
"""Larger files are refused: an autoencoder of 30,000 genes takes 50 MB."""


def write_arrays(stored: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write arrays, numbers and texts in nested dictionaries to a file."""
    arrays, others = {}, {}
    for name, value in _flat(stored):
        if isinstance(value, np.ndarray) and value.dtype != object:
            arrays[name] = np.array(value, order="C")  # safetensors writes memory as it lies
        else:
            others[name] = value.tolist() if isinstance(value, np.ndarray) else value
    Path(path).write_bytes(save(arrays, {ENTRY: json.dumps(others)}))


def read_arrays(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what :func:`write_arrays` wrote; names come as lists. No code in the file is run.

    Raises
    ------
    FileNotFoundError
        If it does not exist.
    ValueError
        If it is not such a file, too large, truncated or damaged.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"There is no file {str(path)!r}."
        raise FileNotFoundError(msg)
    if path.stat().st_size > MAX_BYTES:
        msg = f"{str(path)!r} is too large for a model: {path.stat().st_size} bytes."
        raise ValueError(msg)
    try:
        return _read(path)
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        msg = f"{str(path)!r} is not a model file of scgeoae, or it is damaged: {reason[:300]}"
        raise ValueError(msg) from error


def _read(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
        values = json.loads(metadata[ENTRY])
        # a tensor of the file lies in the file: memory is bounded by its size
        values |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    state: dict[str, Any] = {}
    for name, value in values.items():
        *parents, last = name.split("/")
        place = state
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                msg = f"{name!r} lies inside a value"
                raise ValueError(msg)
        place[last] = value
    return state


def _flat(state: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in state.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value
