"""The failure signatures of the paper, told to the user: where a map should not be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scanpy import logging as logg

from ..core.rows import block_size

if TYPE_CHECKING:
    from ..core.autoencoder import GeometricAutoencoder
    from ..core.evaluation import Cells
    from ..core.rows import Rows

HIGH_VARIANCE = 0.25
HIGH_ANISOTROPY = 10.0
DEAD_AXIS = 0.02
WORSE_THAN_LINEAR = 1.2
NEGLIGIBLE = 0.02
SINGULAR = 1e6
SAMPLE = 2_000


def warn_of_failure(model: GeometricAutoencoder, rows: Rows, cells: Cells, *, regularized: bool) -> None:
    """Log a warning for each signature: uneven or singular determinants, elongation, dead axes, poor reconstruction."""
    for message in (
        _distortion(cells, regularized=regularized),
        _dead_axis(cells.z),
        _reconstruction(model, rows, cells.error),
    ):
        if message:
            logg.warning(message)


def warn_of_singular_decoder(cells: Cells) -> None:
    """Log a warning where the decoder of a map made elsewhere is singular; the rest is not the decoder's doing."""
    if message := _singular(cells):
        logg.warning(message)


def _singular(cells: Cells) -> str:
    share = np.mean(~(cells.anisotropy < SINGULAR))
    if share > 0.01:
        return f"The decoder is singular at {share:.0%} of the cells: the map is folded or collapsed there."
    return ""


def _distortion(cells: Cells, *, regularized: bool) -> str:
    if message := _singular(cells):
        return message
    variance = cells.log_det.var()
    if regularized and variance > HIGH_VARIANCE:
        return f"The variance of ln det is {variance:.2g}: areas are not true. Raise alpha or n_steps."
    elongation = np.median(cells.anisotropy)
    if regularized and elongation > HIGH_ANISOTROPY:
        return (
            f"The median anisotropy is {elongation:.2g}: indicatrices are very elongated, areas are kept by shearing. "
            "Raise n_steps or add the isometry regularizer."
        )
    return ""


def _dead_axis(z: np.ndarray) -> str:
    spread = z.std(0)
    dead = int((spread < DEAD_AXIS * spread.max()).sum())
    return f"{dead} of {z.shape[1]} map dimensions are not used. Lower n_components." if dead else ""


def _reconstruction(model: GeometricAutoencoder, rows: Rows, error: np.ndarray) -> str:
    """Compare with the best linear map of the same dimension, both on a sample of cells."""
    n_sampled = min(SAMPLE, len(error), block_size(rows))
    sample = torch.as_tensor(np.linspace(0, len(error) - 1, n_sampled).astype(np.int64))
    x = model.standardize(rows.take(sample)).cpu().double()
    sigma = torch.linalg.svdvals(x - x.mean(0))
    linear = float(sigma[model.n_components :].square().sum() / x.numel())
    ours = float(np.square(error[sample.numpy()]).mean() / model.scale.item() ** 2)
    if ours > WORSE_THAN_LINEAR * linear + NEGLIGIBLE:
        return (
            f"The map leaves {ours:.0%} of the variance unexplained, a linear map of the same dimension {linear:.0%}. "
            "Raise n_steps or lower alpha."
        )
    return ""
