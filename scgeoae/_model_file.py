"""Write and read a model without the cells, in one file: safetensors with JSON metadata.

The format is a JSON header and plain numbers: nothing is unpickled or decompressed, and the reader checks all declared
shapes and offsets against the file before it returns a number.

Layout: each array of :func:`scgeoae.core.map_model.to_state` is a tensor named by its path (``weights/mean``). Numbers
and names are one JSON object, path to value, in the metadata under ``scgeoae``.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ._checks import check_adata
from ._files import replacing
from ._labels import tile_labels
from .core.map_model import MapModel, from_state, to_state
from .fields import DEFAULT_KEY
from .result import Result

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from anndata import AnnData

ENTRY = "scgeoae"
"""Name of the metadata."""

MAX_BYTES = 2**31
"""Larger files are refused: an autoencoder of 30,000 genes takes 50 MB."""


def write_model(
    adata_or_model: AnnData | MapModel,
    path: str | os.PathLike[str],
    *,
    key: str = DEFAULT_KEY,
    obs: str | Sequence[str] | None = None,
) -> None:
    """Write a model, without the cells, to one file.

    The file is written whole or not at all; an existing one is replaced.

    Parameters
    ----------
    adata_or_model
        An AnnData with a result, or a model.
    path
        The file; its suffix is usually ``.safetensors``.
    key
        Name of the result.
    obs
        Columns of labels in `adata.obs` to store with the model, and their colors, so that :func:`scgeoae.tl.map_cells`
        can label new cells without the cells of the reference. Stored are, for each of some thousand tiles of the map,
        the votes of the 30 labeled cells nearest to its center, so no number is about fewer cells. Labels that are
        read off the map are less accurate than those by the cells of the reference
        (``tests/benchmarks/mapping.py labels``).

    Raises
    ------
    KeyError
        If there is no result under this key, or no such column.
    TypeError
        If it is neither an AnnData nor a model.
    ValueError
        If the stored model is damaged, labels are asked of a model or of a map that is not of two dimensions, or a
        column holds numbers or fewer than 30 labels.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=100)
    >>> scgeoae.write_model(adata, "blood.safetensors", obs="bulk_labels")
    """
    result, model = opened(adata_or_model, key)
    if obs is not None:
        if result is None:
            msg = f"obs={obs!r} names labels of cells, but a model has no cells. Pass the AnnData."
            raise ValueError(msg)
        model = replace(model, labels=tile_labels(result.adata, model, result.coordinates(), obs))
    arrays, others = {}, {}
    for name, value in _flat(to_state(model)):
        if isinstance(value, np.ndarray) and value.dtype != object:
            arrays[name] = np.array(value, order="C")  # safetensors writes memory as it lies
        else:
            others[name] = value.tolist() if isinstance(value, np.ndarray) else value
    with replacing(path) as temporary:
        temporary.write_bytes(save(arrays, {ENTRY: json.dumps(others)}))


def opened(adata_or_model: AnnData | MapModel, key: str) -> tuple[Result | None, MapModel]:
    """Return the result of an AnnData and its model, or a model as it is, which has no result."""
    if isinstance(adata_or_model, MapModel):
        return None, adata_or_model
    check_adata(adata_or_model, "an AnnData or a model")
    result = Result(adata_or_model, key)
    return result, result.model


def read_model(path: str | os.PathLike[str]) -> MapModel:
    """Read a model that :func:`scgeoae.write_model` wrote. No code in the file is run.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    The model, on the host; see :func:`scgeoae.get.model`.

    Raises
    ------
    FileNotFoundError
        If it does not exist.
    ValueError
        If it is not such a file, truncated, damaged, inconsistent, not finite, or of a newer format.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=100)
    >>> scgeoae.write_model(adata, "blood.safetensors")
    >>> scgeoae.read_model("blood.safetensors").n_features
    50
    """
    path = Path(path)
    if path.suffix in {".h5ad", ".zarr"}:
        msg = f"{str(path)!r} is not a model file but an AnnData. Read it first, and pass the AnnData."
        raise ValueError(msg)
    if not path.is_file():
        msg = f"There is no file {str(path)!r}."
        raise FileNotFoundError(msg)
    if path.stat().st_size > MAX_BYTES:
        msg = f"{str(path)!r} is too large for a model: {path.stat().st_size} bytes."
        raise ValueError(msg)
    try:
        state = _read(path)
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        msg = f"{str(path)!r} is not a model file of scgeoae, or it is damaged: {reason[:300]}"
        raise ValueError(msg) from error
    return from_state(state)


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
