"""Training and its completion, shared by the tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scanpy import logging as logg
from scanpy import settings
from tqdm.auto import tqdm

from ..core.autoencoder import GeometricAutoencoder
from ..core.calibration import principal_frame, substitute, unit_of
from ..core.evaluation import describe, describe_at
from ..core.region import occupied_region
from ..core.rows import fit_scaling
from ..core.training import RETRY_SHARE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..core.evaluation import Cells
    from ..core.rows import Rows
    from ..core.training import History, Trainer

QUIET_BELOW = 2
"""Verbosity of scanpy from which a progress bar is shown."""


def untrained(
    rows: Rows, shape: Mapping[str, Any], seed: int, *, with_encoder: bool = True
) -> tuple[GeometricAutoencoder, torch.Generator]:
    """A model with fresh weights and the scaling of ``rows``, and the generator from which the training draws on."""
    generator = torch.Generator().manual_seed(seed)
    model = GeometricAutoencoder(rows.shape[1], **shape, with_encoder=with_encoder, generator=generator).to(rows.device)
    fit_scaling(model, rows)
    return model, generator


def run(trainer: Trainer) -> History:
    """Train with a progress bar; a Ctrl-C ends it early and is told."""
    n_steps = trainer.recipe.n_steps
    with tqdm(total=n_steps, unit="step", disable=settings.verbosity < QUIET_BELOW, leave=False) as bar:
        history = trainer.run(lambda step: bar.update(step - bar.n))
    if history.retried_at is not None:
        logg.warning(
            f"The loss was not finite at step {history.retried_at}: training went on from the last good weights at "
            f"{RETRY_SHARE:g} of the learning rate. Lower learning_rate or alpha."
        )
    if history.interrupted:
        logg.warning("Training was interrupted: the best weights so far are kept, params['interrupted'] is True.")
    return history


def calibrated_cells(model: GeometricAutoencoder, rows: Rows) -> Cells:
    """Calibrate the trained model in place; return what it says of the training cells, in calibrated coordinates.

    The map is centred, multiplied such that the unit is 1, and rotated to its principal axes. `ln det` then changes by
    a known constant and the anisotropy not at all, so that the data are passed once.
    """
    cells = describe(model, rows)
    centre, axes = principal_frame(cells.z)
    unit = unit_of(cells.log_det, model.n_components)
    substitute(model, unit * axes.T, centre)
    z = ((cells.z - centre) @ (unit * axes)).astype(np.float32)
    remember_cells(model, z, cells.error)
    return cells._replace(z=z, log_det=cells.log_det - model.n_components * np.log(unit))


def given_cells(model: GeometricAutoencoder, rows: Rows, z: np.ndarray, centre: np.ndarray, scale: float) -> Cells:
    """Take the standardisation ``(z - centre) / scale`` into the decoder; return what it says at ``z`` (n, d).

    The coordinates stay the user's; the unit says how much distance in the data one unit of them is worth on average.
    """
    substitute(model, scale * np.eye(len(centre)), -centre / scale)
    cells = describe_at(model, rows, z)
    model.unit = unit_of(cells.log_det, model.n_components)
    remember_cells(model, z, cells.error)
    return cells


def remember_cells(model: GeometricAutoencoder, z: np.ndarray, error: np.ndarray) -> None:
    """Keep what the model needs to know of its training cells: where they lie and how well they are explained."""
    if model.n_components == 2:
        model.region = occupied_region(z)
    model.error_quantiles = np.quantile(error, np.linspace(0, 1, 101))
