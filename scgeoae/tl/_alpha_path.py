"""Measure the trade-off between reconstruction and even areas: one training for each alpha."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scanpy import logging as logg

from .._checks import real_number, seed_of
from ..core.fit import fit
from ..inputs import choose, resolve_device
from ..result import Result, alpha_path_key, distortion_summary
from . import _arguments
from ._geometric_ae import geometric_ae
from ._log import finished, rank_0_logs
from ._training import run
from ._warnings import check_map

if TYPE_CHECKING:
    from anndata import AnnData

    from ..core.fit import Fitted

NOT_OF_A_TRAINING = ("adata", "checkpoint", "resume", "key_added", "copy")
"""Parameters of :func:`geometric_ae` that :func:`alpha_path` does not pass on."""


@torch.inference_mode(mode=False)  # gradients are needed, also inside a `torch.no_grad` of the caller's
@rank_0_logs()
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
        Others of :func:`geometric_ae`, such as `use_rep` or `n_steps`; not `checkpoint` and `resume`.

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
    key = alpha_path_key(key_added)
    if key in Result.names(adata):
        msg = f".uns[{key!r}] holds a result; pass another key_added."
        raise ValueError(msg)
    values = _checked(alphas)
    if own := {"alpha", "checkpoint", "resume"} & arguments.keys():
        msg = f"alpha_path takes alphas, not {', '.join(sorted(own))}."
        raise TypeError(msg)
    call = inspect.signature(geometric_ae).bind(adata, **arguments)
    call.apply_defaults()
    others = {name: value for name, value in call.arguments.items() if name not in NOT_OF_A_TRAINING}
    representation = choose(adata, **{name: others.pop(name) for name in _arguments.OF_THE_INPUT})
    seed, device = seed_of(others.pop("rng")), others.pop("device")
    landmarks = others.pop("landmarks")
    if landmarks is None:
        others["landmark_weight"] = 0
    spec = _arguments.spec(representation.shape, **others)
    places = None if landmarks is None else _arguments.landmark_places(adata, landmarks, spec.n_components)
    source, rows = representation.source, representation.rows(resolve_device(device))

    start = logg.info(f"training with {len(values)} values of alpha")
    measured = []
    for alpha in values:
        logg.info(f"    alpha = {alpha:g}")
        train = partial(run, source=source, seed=seed)
        fitted = fit(rows, replace(spec, alpha=alpha), seed, landmarks=places, name=source, run=train)
        if fitted.history.interrupted:
            raise KeyboardInterrupt
        check_map(fitted.model.autoencoder, rows, fitted.cells, regularized=alpha > 0)
        measured.append({"alpha": alpha, **_measure(fitted)})
    table = pd.DataFrame(measured, index=pd.RangeIndex(len(values)).astype(str))
    table["default"] = (table["alpha"] == spec.alpha) & (arguments.get("regularizer") is None)

    adata = adata.copy() if copy else adata
    adata.uns[key] = table
    finished(start, f"{key!r}, measures by alpha (adata.uns)")
    return adata if copy else None


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


def _measure(fitted: Fitted) -> dict[str, float]:
    """Summarize reconstruction and distortion over the cells; the validation is that of the weights that were kept."""
    model, cells, history, _ = fitted
    return {
        "reconstruction": float(np.square(cells.error).mean() / model.autoencoder.scale.item() ** 2),
        "validation_reconstruction": history.validation_reconstruction[history.step.index(history.kept_at)],
        **distortion_summary(cells.log_det, cells.anisotropy),
    }
