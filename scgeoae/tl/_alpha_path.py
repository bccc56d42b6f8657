"""Measure the trade-off between reconstruction and even areas: one training for each alpha."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scanpy import logging as logg

from .._checks import check_adata, real_number, seed_of
from ..fields import ALPHA_PATH, Keys
from ..result import distortion_summary
from ._geometric_ae import geometric_ae
from ._log import finish, tool
from .plan import plan

if TYPE_CHECKING:
    from anndata import AnnData

NOT_OF_A_TRAINING = ("adata", "key_added", "copy")
"""Parameters of :func:`geometric_ae` that :func:`alpha_path` does not pass on."""


@torch.inference_mode(mode=False)  # gradients are needed, also inside a `torch.no_grad` of the caller's
@tool()
def alpha_path(
    adata: AnnData, alphas: Sequence[float], *, key_added: str | None = None, copy: bool = False, **arguments: Any
) -> AnnData | None:
    """Train once for each weight of the regularizer to see how much reconstruction true areas cost.

    All trainings use the same seed and differ in `alpha` alone. Only a table is written: existing maps, columns of
    `obs` and results stay as they are. Choose an alpha from the curve and train with it.

    Parameters
    ----------
    adata
        Annotated data matrix.
    alphas
        Weights of the regularizer, different from each other; 0 trains without it.
    key_added
        Store under this name instead of `'geoae_alpha_path'`.
    copy
        Return a copy instead of writing to `adata`.
    **arguments
        Others of :func:`geometric_ae`, such as `use_rep` or `n_steps`.

    Returns
    -------
    `None`, or the copy if `copy=True`. Sets this field:

    `adata.uns['geoae_alpha_path' | key_added]` : :class:`pandas.DataFrame`
        One row per alpha, in rising order.

        `'alpha'` : `float`
            Weight of the regularizer.
        `'reconstruction'` : `float`
            Share of the variance of all cells that the map leaves unexplained: 0 is perfect, 1 no better than the mean.
        `'validation_reconstruction'` : `float`
            The same of the cells that were held out of training, by the weights that were kept, in units of the
            variance of all cells. NaN without held-out cells.
        `'log_det_variance'` : `float`
            Variance of ln det over cells: 0 where all areas are true.
        `'det_p95_p5'` : `float`
            95th over 5th percentile of det: how many times the area in the data of equal areas on the map differs.
        `'anisotropy'` : `float`
            Median over cells, at least 1.
        `'default'` : `bool`
            Whether this alpha is the default of :func:`geometric_ae`; nowhere so if `alphas`
            leave it out or another `regularizer` is passed.

    Raises
    ------
    KeyError
        If the chosen field does not exist.
    ValueError, TypeError
        If `alphas`, another argument or the data are invalid. Nothing is trained.
    FloatingPointError
        If a training diverges or its map collapses. Nothing is written, as after a Ctrl-C.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.alpha_path(adata, [0, 0.01, 0.1, 1], n_steps=50)
    >>> adata.uns["geoae_alpha_path"].shape
    (4, 7)
    """
    keys = Keys.named(key_added, ALPHA_PATH)
    check_adata(adata)
    if keys.key in adata.uns and "log_det_variance" not in getattr(adata.uns[keys.key], "columns", ()):
        msg = f".uns[{keys.key!r}] holds something else than a table by alpha; pass another key_added."
        raise ValueError(msg)
    values = _checked(alphas)
    if "alpha" in arguments:
        msg = "alpha_path takes alphas, not alpha."
        raise TypeError(msg)
    usual = {name: each.default for name, each in signature(geometric_ae).parameters.items()}
    if unknown := sorted(arguments.keys() - usual.keys()):
        msg = f"alpha_path() got an unexpected keyword argument {unknown[0]!r}"  # the words of Python
        raise TypeError(msg)
    call = {name: value for name, value in {**usual, **arguments}.items() if name not in NOT_OF_A_TRAINING}
    seed = seed_of(call.pop("rng"))
    planned = plan(adata, **call)

    start = logg.info(f"training with {len(values)} values of alpha")
    measured = []
    for alpha in values:
        logg.info(f"    alpha = {alpha:g}")
        spec = replace(planned.spec, weights={**planned.spec.weights, "regularizer": alpha})
        fitted = replace(planned, spec=spec).fit(seed)
        cells, history = fitted.cells, fitted.history
        if history.interrupted:
            raise KeyboardInterrupt
        variance = fitted.network.observation.scale.item() ** 2
        measured.append(
            {
                "alpha": alpha,
                "reconstruction": float(np.square(cells.error).mean() / variance),
                "validation_reconstruction": history.kept.validation_reconstruction if history.kept else np.nan,
                **distortion_summary(cells.log_det, cells.anisotropy),
            }
        )
    table = pd.DataFrame(measured, index=pd.RangeIndex(len(values)).astype(str))
    table["default"] = (table["alpha"] == usual["alpha"]) & (arguments.get("regularizer") is None)
    return finish(adata, keys, {Keys.alpha_path: table}, start, copy=copy)


def _checked(alphas: Sequence[float]) -> list[float]:
    """Return the weights in rising order; raise an error if they are invalid."""
    if isinstance(alphas, str) or not isinstance(alphas, Sequence | np.ndarray) or np.ndim(alphas) != 1:
        msg = f"alphas must be a sequence of numbers, not {alphas!r}."
        raise TypeError(msg)
    values = sorted(real_number(alpha, "each of alphas") for alpha in alphas)
    if not values or len(set(values)) < len(values):
        msg = f"alphas must hold at least one number, and none of them twice; they are {list(alphas)}."
        raise ValueError(msg)
    return values
