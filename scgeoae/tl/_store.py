"""Write a result into AnnData: all fields after success, none before."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.evaluation import relative_determinant
from ..core.state import to_state

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anndata import AnnData

    from .._keys import ResultKeys
    from ..core.autoencoder import GeometricAutoencoder
    from ..core.evaluation import Cells
    from ..core.training import History


@contextmanager
def all_or_none(adata: AnnData) -> Iterator[None]:
    """Take back what was written within, if that does not come to its end: on a Ctrl-C, for one."""
    obs, obsm, uns = adata.obs.copy(deep=False), dict(adata.obsm), dict(adata.uns)
    try:
        yield
    except BaseException:
        adata.obs, adata.obsm, adata.uns = obs, obsm, uns
        raise


def write_cells(adata: AnnData, keys: ResultKeys, model: GeometricAutoencoder, cells: Cells) -> None:
    """Write coordinates and the columns of `obs`."""
    adata.obsm[keys.obsm] = cells.z
    write_distortion(adata, keys, model, cells)


def write_distortion(adata: AnnData, keys: ResultKeys, model: GeometricAutoencoder, cells: Cells) -> None:
    """Write the columns of `obs` alone."""
    adata.obs[keys.determinant] = relative_determinant(cells.log_det, model)
    adata.obs[keys.anisotropy] = cells.anisotropy
    adata.obs[keys.error] = cells.error


def write_result(
    adata: AnnData, keys: ResultKeys, model: GeometricAutoencoder, history: History, params: Mapping[str, Any]
) -> None:
    """Write parameters, model and history into `uns`."""
    curves = {name: values for name, values in asdict(history).items() if isinstance(values, list)}
    complete = min(len(values) for values in curves.values())  # an interruption may cut the last entry short
    adata.uns[keys.uns] = {
        "params": {"basis": keys.obsm}
        | {name: value for name, value in params.items() if value is not None}
        | {"interrupted": history.interrupted, "kept_at": history.kept_at},
        "model": to_state(model),
        "history": {name: np.array(values[:complete]) for name, values in curves.items()},
    }


def write_mapped(adata: AnnData, keys: ResultKeys, model: GeometricAutoencoder, columns: Mapping[str, Any]) -> None:
    """Write what only mapped cells have: further columns of `obs`, and the model that placed them."""
    for name, values in columns.items():
        adata.obs[name] = values
    adata.uns[keys.uns] = {"params": {"basis": keys.obsm, "mapped": True}, "model": to_state(model)}


def fields_added(keys: ResultKeys) -> str:
    """The list of a log's last line."""
    return f"{_cells_added(keys)}    {keys.uns!r}, parameters, model and history (adata.uns)"


def decoder_fields_added(keys: ResultKeys) -> str:
    """The same for a decoder of coordinates that are there already."""
    return f"{_cells_added(keys, coordinates=False)}    {keys.uns!r}, parameters, model and history (adata.uns)"


def mapped_fields_added(keys: ResultKeys, columns: Sequence[str]) -> str:
    """The same for mapped cells."""
    further = "".join(f"    {name!r} (adata.obs)\n" for name in columns)
    return f"{_cells_added(keys)}{further}    {keys.uns!r}, parameters and model (adata.uns)"


def _cells_added(keys: ResultKeys, *, coordinates: bool = True) -> str:
    placed = f"    {keys.obsm!r}, map coordinates (adata.obsm)\n" if coordinates else ""
    return (
        f"added\n{placed}"
        f"    {keys.determinant!r}, relative determinant (adata.obs)\n"
        f"    {keys.anisotropy!r}, anisotropy (adata.obs)\n"
        f"    {keys.error!r}, reconstruction error (adata.obs)\n"
    )
