"""Warn where a map should not be trusted: the failure signatures of the paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scanpy import logging as logg

from ..core import processes
from ..core.rows import block_size

if TYPE_CHECKING:
    from ..core.evaluation import Cells
    from ..core.fit import Fitted
    from ..core.rows import Rows
    from ..reference import InputRecipe

HIGH_VARIANCE = 0.25
HIGH_ANISOTROPY = 10.0
DEAD_AXIS = 0.02
"""An axis is dead if the cells spread along it by less than this share of the longest axis."""
WORSE_THAN_LINEAR = 1.2
NEGLIGIBLE = 0.02
"""A map explains too little if it leaves this many times what a linear map leaves, plus this share of the variance."""
SINGULAR = 1e6
SAMPLE = 2_000
SMALL_COUNTS = 20
"""Whole numbers up to here may be levels, such as the gray of a digit; raw counts have larger ones."""


def check_map(fitted: Fitted, rows: Rows) -> None:
    """Log a warning for uneven or singular determinants, elongation, dead axes and poor reconstruction."""
    network, cells = fitted.network, fitted.cells
    if processes.rank() > 0:
        return  # the first process warns
    if not warn_of_singular_decoder(cells) and fitted.spec.weights.get("regularizer"):
        variance, elongation = cells.log_det.var(), np.median(cells.anisotropy)
        if variance > HIGH_VARIANCE:
            logg.warning(f"The variance of ln det is {variance:.2g}: areas are not true. Raise alpha or n_steps.")
        elif elongation > HIGH_ANISOTROPY:
            logg.warning(
                f"The median anisotropy is {elongation:.2g}: indicatrices are very elongated, areas are kept by "
                "shearing. Raise n_steps or add the isometry regularizer."
            )
    n_sampled = min(SAMPLE, rows.shape[0], block_size(rows.shape[1]))
    sample = np.linspace(0, rows.shape[0] - 1, n_sampled).astype(np.int64)
    x = network.standardize(rows.take(torch.from_numpy(sample))).cpu().double()
    sigma = torch.linalg.svdvals(x - x.mean(0)).numpy() / n_sampled**0.5  # spread of the data along principal axes
    d, spread = cells.z.shape[1], cells.z.std(0, dtype=np.float64)
    spanned, used = (int((values >= DEAD_AXIS * values.max()).sum()) for values in (sigma, spread))
    if spanned < d:
        logg.warning(
            f"The data hardly vary in more than {spanned} of the {d} dimensions of the map: they lie on a line or a "
            "plane, or few cells lie far from the rest. Drop these, or lower n_components."
        )
    elif used < d:
        logg.warning(f"{d - used} of {d} map dimensions are not used. Lower n_components.")
    linear = float(np.square(sigma[d:]).sum() / network.n_features)
    ours = float(np.square(cells.error[sample] / network.observation.scale.item()).mean())
    if ours > WORSE_THAN_LINEAR * linear + NEGLIGIBLE:
        logg.warning(
            f"The map leaves {100 * ours:.3g}% of the variance unexplained, a linear map of the same dimension "
            f"{linear:.0%}. Raise n_steps or lower alpha."
        )


def warn_of_counts(recipe: InputRecipe) -> None:
    """Log a warning if a map was made from expression that looks like raw counts."""
    values = recipe.value_range
    if recipe.projection is not None and values is not None and values.whole and values.high > SMALL_COUNTS:
        logg.warning(
            f"The map was made from values of {values}, as raw counts are: such a map shows mostly the depth of the "
            "cells. If they are counts, run `sc.pp.normalize_total`, `sc.pp.log1p` and `sc.pp.pca`, and train again."
        )


def warn_of_singular_decoder(cells: Cells) -> bool:
    """Log a warning if the decoder is singular at more than 1 % of the cells; return whether it is."""
    flat = cells.log_det < cells.log_det.max() - cells.z.shape[1] * np.log(SINGULAR)
    share = np.mean(flat | ~(cells.anisotropy < SINGULAR))
    if share > 0.01:
        logg.warning(f"The decoder is singular at {share:.0%} of the cells: the map is folded or collapsed there.")
    return bool(share > 0.01)
