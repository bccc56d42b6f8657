"""Small data, and a look at everything that an AnnData holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scgeoae
from scgeoae.result import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from anndata import AnnData

BRIEF: dict[str, Any] = {"n_steps": 8, "hidden_dims": (8, 8), "batch_size": 32}
"""Arguments of a training that takes a tenth of a second."""


@dataclass(frozen=True)
class Case:
    """An odd input: `call` on what `make` makes works, or raises `error` with `message` and changes nothing."""

    name: str
    make: Callable[[Path], AnnData]
    call: Callable[[AnnData], Any]
    error: type[Exception] | None = None
    message: str = ""


def parameters(cases: Iterable[Case]) -> list[Any]:
    """The cases for `pytest.mark.parametrize`, with their names."""
    return [pytest.param(case, id=case.name) for case in cases]


def cells(n: int = 60, n_genes: int = 6, seed: int = 0) -> AnnData:
    """Cells of two kinds on a curved surface, in `X` alone."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2))
    x = np.column_stack([z, z**2, z @ rng.normal(size=(2, max(n_genes - 4, 0)))])[:, :n_genes]
    x = (x + 0.05 * rng.normal(size=x.shape)).astype(np.float32)
    obs = pd.DataFrame({"kind": pd.Categorical(np.where(z[:, 0] > 0, "a", "b"))}, index=[f"cell {i}" for i in range(n)])
    return ad.AnnData(x, obs=obs, var=pd.DataFrame(index=[f"gene {i}" for i in range(x.shape[1])]))


def train(adata: AnnData, **arguments: Any) -> AnnData | None:
    """A brief training on `X`."""
    return scgeoae.tl.geometric_ae(adata, **{"use_rep": "X", **BRIEF, **arguments})


def frozen(value: Any) -> Any:
    """Something that is equal for equal contents, types and order, of anything that an AnnData holds."""
    if isinstance(value, ad.AnnData):
        return _frozen_anndata(value)
    if isinstance(value, pd.DataFrame):
        columns = [(name, str(column.dtype), frozen(column.to_numpy(dtype=object))) for name, column in value.items()]
        return "frame", str(value.index.name), frozen(value.index.to_numpy(dtype=object)), columns
    if isinstance(value, np.ma.MaskedArray):
        return "masked", frozen(value.data), frozen(np.ma.getmaskarray(value))
    if isinstance(value, np.ndarray | np.generic):
        numbers = value.dtype != object
        return value.dtype.str, value.shape, value.tobytes() if numbers else [frozen(entry) for entry in value.ravel()]
    if sparse.issparse(value):
        return value.format, value.shape, *(frozen(getattr(value, name)) for name in ("data", "indices", "indptr"))
    if hasattr(value, "to_memory"):  # sparse, on disk
        return frozen(value.to_memory())
    if hasattr(value, "shape") and hasattr(value, "dtype"):  # dense, on disk
        return frozen(value[...])
    if hasattr(value, "items"):
        return {name: frozen(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value).__name__, [frozen(entry) for entry in value]
    return type(value).__name__, repr(value)


def _frozen_anndata(adata: AnnData) -> dict[str, Any]:
    fields = ("obs", "var", "obsm", "varm", "obsp", "varp", "layers", "uns")
    contents = {name: frozen(getattr(adata, name)) for name in fields}
    raw = None if adata.raw is None else (frozen(adata.raw.X), frozen(adata.raw.var))
    return {**contents, "X": frozen(adata.X), "raw": raw, "view": adata.is_view}


def check_results(adata: AnnData) -> None:
    """Of each result the coordinates are finite and of the right shape, determinants positive, the model usable."""
    keys = Result.names(adata)
    assert keys
    for key in keys:
        model = scgeoae.get.model(adata, key=key)
        z = scgeoae.get.coordinates(adata, key=key)
        assert z.shape == (adata.n_obs, model.n_components)
        assert np.isfinite(z).all()
        determinant = adata.obs[f"{key}_det"]
        assert determinant.dtype == np.float64
        assert np.isfinite(determinant).all()
        assert (determinant > 0).all()
        assert (adata.obs[f"{key}_anisotropy"] >= 1).all()
        assert np.isfinite(adata.obs[f"{key}_reconstruction_error"]).all()
        assert np.isfinite(scgeoae.get.metric(adata, key=key)).all()
