"""What reconstruction is paid for even areas: one training an alpha."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scanpy import logging as logg

from ..result import DEFAULT_KEY, Result, alpha_path_key
from . import _arguments
from ._geometric_ae import geometric_ae

if TYPE_CHECKING:
    from collections.abc import Mapping


def alpha_path(
    adata: AnnData, alphas: Sequence[float], *, key_added: str | None = None, copy: bool = False, **arguments: Any
) -> AnnData | None:
    """Train once for each weight of the regulariser, to see what true areas cost in reconstruction.

    All trainings begin with the same seed and differ in nothing but `alpha`. Only the numbers are kept: the maps, the
    columns of `obs` and the results that are there stay as they are. Choose an alpha from the curve and train with it.

    Parameters
    ----------
    adata
        Annotated data matrix.
    alphas
        Weights of the regulariser, different from each other; 0 trains without it.
    key_added
        Store under this name instead of `'geoae_alpha_path'`.
    copy
        Return a copy instead of writing to `adata`.
    **arguments
        All others of :func:`geometric_ae`, such as `use_rep` or `n_steps`.

    Returns
    -------
    `None`, or the copy if `copy=True`. Sets this field:

    `adata.uns['geoae_alpha_path' | key_added]` : :class:`pandas.DataFrame`
        One row an alpha, in rising order.

        `'alpha'` : `float`
        `'reconstruction'` : `float`
            Share of the variance of all cells that the map leaves unexplained: 0 is perfect, 1 no better than the mean.
        `'validation_reconstruction'` : `float`
            The same of the cells that were held out of training, by the weights that were kept, in units of the
            variance of all cells. NaN without held-out cells.
        `'log_det_variance'` : `float`
            Variance of ln det over cells: 0 where all areas are true.
        `'det_p95_p5'` : `float`
            95th over 5th percentile of det: the same area of map is worth up to so many times more here than there.
        `'anisotropy'` : `float`
            Median over cells, at least 1.
        `'default'` : `bool`
            Whether this alpha is the default of :func:`geometric_ae`; nowhere so if `alphas`
            leave it out or another `regularizer` is passed.

    Raises
    ------
    KeyError
        If the chosen field is not there.
    ValueError, TypeError
        If `alphas`, another argument or the data make no sense. Nothing is trained then.
    FloatingPointError
        If a training diverges. Nothing is written then, nor after a Ctrl-C.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.alpha_path(adata, [0, 0.01, 0.1, 1], n_steps=50)
    >>> adata.uns["geoae_alpha_path"].shape
    (4, 7)
    """
    key = alpha_path_key(key_added)
    if key in Result.names(adata):
        msg = f".uns[{key!r}] holds a result; pass another key_added."
        raise ValueError(msg)
    values = _checked(alphas)
    if "alpha" in arguments:
        msg = "alpha_path takes alphas, not alpha."
        raise TypeError(msg)
    if "rng" in arguments:
        arguments["rng"] = _arguments.seed_of(arguments["rng"])

    start = logg.info(f"training with {len(values)} values of alpha")
    rows = [_measure(_input_of(adata, arguments), alpha, arguments) for alpha in values]
    table = pd.DataFrame(rows, index=pd.RangeIndex(len(rows)).astype(str))
    default = inspect.signature(geometric_ae).parameters["alpha"].default
    table["default"] = (table["alpha"] == default) & (arguments.get("regularizer") is None)

    adata = adata.copy() if copy else adata
    adata.uns[key] = table
    logg.info("    finished", time=start, deep=f"added\n    {key!r}, measures by alpha (adata.uns)")
    return adata if copy else None


def _checked(alphas: Sequence[float]) -> list[float]:
    """The weights in rising order, or an error."""
    if isinstance(alphas, str) or not isinstance(alphas, Sequence | np.ndarray) or np.ndim(alphas) != 1:
        msg = f"alphas must be a sequence of numbers, not {alphas!r}."
        raise TypeError(msg)
    values = sorted(_arguments.real_number(alpha, "each of alphas", 0) for alpha in alphas)
    if not values or len(set(values)) < len(values):
        msg = f"alphas must hold at least one number, and none of them twice; they are {list(alphas)}."
        raise ValueError(msg)
    return values


def _input_of(adata: AnnData, arguments: Mapping[str, Any]) -> AnnData:
    """What a training reads, sharing its memory with `adata`, so that what it writes does not reach that."""
    fields: dict[str, Any] = {"obsm": dict(adata.obsm), "obsp": dict(adata.obsp), "uns": dict(adata.uns)}
    if arguments.get("use_rep") == "X" or arguments.get("layer") is not None:
        fields |= {"X": adata.X, "var": adata.var, "layers": dict(adata.layers)}
    return AnnData(obs=pd.DataFrame(index=adata.obs_names), **fields)


def _measure(adata: AnnData, alpha: float, arguments: Mapping[str, Any]) -> dict[str, float]:
    """Train with this weight and say what came of it."""
    logg.info(f"    alpha = {alpha:g}")
    geometric_ae(adata, alpha=alpha, **arguments)
    result = Result(adata, DEFAULT_KEY)
    if result.params["interrupted"]:
        raise KeyboardInterrupt
    kept = result.history["step"] == result.params["kept_at"]
    return {
        "alpha": alpha,
        "reconstruction": result.reconstruction(),
        "validation_reconstruction": float(result.history["validation_reconstruction"][kept][0]),
        **result.distortion(),
    }
