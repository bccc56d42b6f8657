"""Training and its completion, shared by the tools."""

from __future__ import annotations

from contextlib import ContextDecorator
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scanpy import logging as logg
from scanpy import settings
from tqdm import tqdm

from .._checkpoint import Checkpoint
from .._input import check_finite
from ..core import processes
from ..core.autoencoder import GeometricAutoencoder
from ..core.calibration import principal_frame, substitute, unit_of
from ..core.evaluation import describe, describe_at
from ..core.region import occupied_region
from ..core.rows import fit_scaling
from ..core.training import RETRY_SHARE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..core.evaluation import Cells
    from ..core.rows import Rows
    from ..core.training import History, Trainer

QUIET_BELOW = 2
"""Verbosity of scanpy from which a progress bar is shown."""


def untrained(
    rows: Rows, source: str, shape: Mapping[str, Any], seed: int, *, with_encoder: bool = True
) -> tuple[GeometricAutoencoder, torch.Generator]:
    """A model with fresh weights and the scaling of ``rows``, and the generator from which the training draws on.

    Raises
    ------
    ValueError
        If a value of ``rows``, which messages call ``source``, is not finite, all cells are equal, or several
        processes have different cells.
    """
    _check_same_cells(rows, source)
    generator = torch.Generator().manual_seed(seed)
    model = GeometricAutoencoder(rows.shape[1], **shape, with_encoder=with_encoder, generator=generator).to(rows.device)
    try:
        fit_scaling(model, rows)
    except ValueError:
        check_finite(rows, source)  # says where
        raise
    return model, generator


def _check_same_cells(rows: Rows, source: str) -> None:
    """Compare a few cells among processes, before these talk about sums of different lengths."""
    if processes.world_size() == 1:
        return
    n = rows.shape[0]
    few = torch.cat([rows.block(i, i + 1) for i in sorted({0, n // 2, n - 1})])
    if not processes.same_everywhere((source, rows.shape, sha256(few.cpu().numpy().tobytes()).hexdigest())):
        msg = f"The processes do not train alike: {source} is not the same in all of them. Do they read the same file?"
        raise ValueError(msg)


class rank_0_logs(ContextDecorator):
    """Of several processes let the first alone log."""

    def __enter__(self) -> None:
        """Silence the others."""
        self.before = settings.verbosity
        if processes.rank() > 0:
            settings.verbosity = 0

    def __exit__(self, *_: object) -> None:
        """Give them back their voice."""
        settings.verbosity = self.before


def checkpoint_of(file: str | Path | None, trainer: Trainer, made_with: Mapping[str, Any]) -> Checkpoint | None:
    """The checkpoint of a training, if one is wanted, which knows the arguments and the data.

    Raises
    ------
    ValueError
        If several processes do not train alike.
    """
    model, rows = trainer.model, trainer.rows
    data = {"cells": rows.shape[0], "features": rows.shape[1], "scale": model.scale.item(), "chunk": rows.chunk}
    made_with = {"scgeoae": version("scgeoae"), "torch": str(torch.__version__), **data, **made_with}
    if not processes.same_everywhere(made_with):
        msg = "The processes do not train alike: their data, arguments or versions of scgeoae and torch differ."
        raise ValueError(msg)
    return None if file is None else Checkpoint(file, made_with)


def run(trainer: Trainer, checkpoint: Checkpoint | None = None, *, resume: bool = False) -> History:
    """Train with a progress bar; a Ctrl-C ends it early and is told."""
    if resume and checkpoint is not None:
        checkpoint.resume(trainer)
    with tqdm(total=trainer.n_steps, unit="step", disable=settings.verbosity < QUIET_BELOW, leave=False) as bar:

        def after_validation(step: int) -> None:
            bar.update(step - bar.n)
            if checkpoint is not None:
                checkpoint.write(trainer)

        history = trainer.run(after_validation)
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
