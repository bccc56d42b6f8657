"""The failure signatures of the paper, told to the user: where a map should not be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scanpy import logging as logg

from ..core import sharding
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


def check_map(model: GeometricAutoencoder, rows: Rows, cells: Cells, *, regularized: bool) -> None:
    """Log a warning for each signature: uneven or singular determinants, elongation, dead axes, poor reconstruction.

    Raises
    ------
    FloatingPointError
        If there is no map at all: every cell lies at one place.
    """
    _refuse_collapse(model, cells.z)
    if sharding.rank() > 0:
        return  # nobody hears it, and the sample is not of its rows
    sampled, sigma = _spectrum(model, rows)
    for message in (
        _distortion(cells, regularized=regularized),
        _dimensions(cells.z, sigma),
        _reconstruction(model, cells.error[sampled], sigma),
    ):
        if message:
            logg.warning(message)


def warn_of_singular_decoder(cells: Cells) -> None:
    """Log a warning where the decoder of a map made elsewhere is singular; the rest is not the decoder's doing."""
    if message := _singular(cells):
        logg.warning(message)


def _refuse_collapse(model: GeometricAutoencoder, z: np.ndarray) -> None:
    finite = all(bool(torch.isfinite(weights).all()) for weights in model.parameters())
    if not finite or not np.ptp(z, axis=0).any():
        msg = "The map collapsed: all cells lie at one place. Lower learning_rate or alpha, or raise hidden_dims."
        raise FloatingPointError(msg)


def _singular(cells: Cells) -> str:
    flat = cells.log_det < cells.log_det.max() - cells.z.shape[1] * np.log(SINGULAR)
    share = np.mean(flat | ~(cells.anisotropy < SINGULAR))
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


def _spectrum(model: GeometricAutoencoder, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Positions (m,) of a sample of cells, and how far these spread along each principal axis, in units of `s`."""
    n_sampled = min(SAMPLE, rows.shape[0], block_size(rows.shape[1]))
    sample = np.linspace(0, rows.shape[0] - 1, n_sampled).astype(np.int64)
    x = model.standardize(rows.take(torch.from_numpy(sample))).cpu().double()
    return sample, torch.linalg.svdvals(x - x.mean(0)).numpy() / n_sampled**0.5


def _dimensions(z: np.ndarray, sigma: np.ndarray) -> str:
    """Dimensions that the data do not have or the map does not use."""
    n_components, spread = z.shape[1], z.std(0, dtype=np.float64)
    spanned, used = (int((values >= DEAD_AXIS * values.max()).sum()) for values in (sigma, spread))
    if spanned < n_components:
        return (
            f"The data hardly vary in more than {spanned} of the {n_components} dimensions of the map: they lie on a "
            "line or a plane, or few cells lie far from the rest. Drop these, or lower n_components."
        )
    if used < n_components:
        return f"{n_components - used} of {n_components} map dimensions are not used. Lower n_components."
    return ""


def _reconstruction(model: GeometricAutoencoder, error: np.ndarray, sigma: np.ndarray) -> str:
    """Compare with the best linear map of the same dimension, both on a sample of cells."""
    linear = float(np.square(sigma[model.n_components :]).sum() / model.n_features)
    ours = float(np.square(error / model.scale.item()).mean())
    if ours > WORSE_THAN_LINEAR * linear + NEGLIGIBLE:
        return (
            f"The map leaves {100 * ours:.3g}% of the variance unexplained, a linear map of the same dimension "
            f"{linear:.0%}. Raise n_steps or lower alpha."
        )
    return ""
