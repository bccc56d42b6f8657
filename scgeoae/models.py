"""Models without their cells: write one to a file, read it, take the one of an AnnData."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scanpy import logging as logg

from ._checks import check_adata
from .fields import DEFAULT_KEY
from .reference import MapModel, from_state, tile_labels, to_state
from .result import Result
from .storage import read_arrays, replacing, write_arrays

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData


def write_model(
    adata_or_model: AnnData | MapModel,
    path: str | os.PathLike[str],
    *,
    key: str = DEFAULT_KEY,
    obs: str | Sequence[str] | None = None,
) -> None:
    """Write a model, without the cells, to one file.

    The file is written whole or not at all, and read once before it replaces an existing one: what
    :func:`scgeoae.read_model` would refuse is not written.

    Parameters
    ----------
    adata_or_model
        An AnnData with a result, also of a map that was made elsewhere (:func:`scgeoae.tl.fit_decoder`), or a model.
    path
        The file; its suffix is usually ``.safetensors``.
    key
        Name of the result.
    obs
        Columns of labels in `adata.obs` to store with the model, and their colors, so that :func:`scgeoae.tl.map_cells`
        can label new cells without the cells of the reference. Stored are, for each of some thousand tiles of the map,
        the votes of the 30 labeled cells nearest to its center, so no number is about fewer cells. Tiles that labeled
        cells do not occupy have no label; a warning says if cells of the training are missing. Labels that are
        read off the map are less accurate than those by the cells of the reference
        (``tests/benchmarks/mapping.py labels``).

    Raises
    ------
    KeyError
        If there is no result under this key, or no such column.
    TypeError
        If it is neither an AnnData nor a model.
    ValueError
        If the stored model is damaged, labels are asked of a model, of mapped cells or of a map that is not of two
        dimensions, a column holds numbers or fewer than 30 labels, several columns or categories have one name, or the
        file could not be read again.

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
        if result.params.get("mapped", False):
            msg = f"{result.other_cells}: they are not those whose labels the model can hold. Pass the reference."
            raise ValueError(msg)
        if result.other_cells:
            logg.warning(
                f"{result.other_cells}: the file holds labels only of the part of the map that the labeled cells "
                "occupy. To label all of it, pass the AnnData of the training, in which cells may have no label."
            )
        model = replace(model, labels=tile_labels(result.adata, model, result.coordinates(), obs))
    with replacing(path) as temporary:
        write_arrays(to_state(model), temporary)
        try:
            read_model(temporary)
        except ValueError as error:
            msg = f"The model is not written, because it could not be read again: {error}"
            raise ValueError(msg) from error


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
    return from_state(read_arrays(path))


def opened(adata_or_model: AnnData | MapModel, key: str) -> tuple[Result | None, MapModel]:
    """Return the result of an AnnData and its model, or a model as it is, which has no result."""
    if isinstance(adata_or_model, MapModel):
        return None, adata_or_model
    check_adata(adata_or_model, "an AnnData or a model")
    result = Result(adata_or_model, key)
    return result, result.model
