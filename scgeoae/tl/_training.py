"""Run a training for a user: progress bar, checkpoints, warnings."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING

import torch
from scanpy import logging as logg
from scanpy import settings
from tqdm import tqdm

from ..core import sharding
from ..core.training import RETRY_SHARE
from ._checkpoint import Checkpoint
from ._log import PROGRESS

if TYPE_CHECKING:
    from pathlib import Path

    from ..core.training import History, Trainer


def run(
    trainer: Trainer, *, source: str, seed: int, checkpoint: str | Path | None = None, resume: bool = False
) -> History:
    """Train with a progress bar and a checkpoint, if one is wanted; warn if it was interrupted or retried.

    Raises
    ------
    ValueError
        If several processes do not train alike, or the checkpoint is not one of this training.
    """
    rows = trainer.rows
    made_with = {
        "scgeoae": version("scgeoae"),
        "torch": str(torch.__version__),
        "cells": rows.shape[0],
        "features": rows.shape[1],
        "scale": trainer.model.scale.item(),
        "chunk": rows.chunk,
        "source": source,
        **asdict(trainer.spec),
        "landmarks": None if trainer.coordinates is None else trainer.coordinates.nansum().item(),
        "rng": seed,
    }
    if not sharding.same_everywhere(made_with):
        msg = "The processes do not train alike: their data, arguments or versions of scgeoae and torch differ."
        raise ValueError(msg)
    file = None if checkpoint is None else Checkpoint(checkpoint, made_with)
    if resume and file is not None:
        file.resume(trainer)
    with tqdm(total=trainer.n_steps, unit="step", disable=settings.verbosity < PROGRESS, leave=False) as bar:

        def after_validation(step: int) -> None:
            bar.update(step - bar.n)
            if file is not None:
                file.write(trainer)

        history = trainer.run(after_validation)
    if history.retried_at is not None:
        logg.warning(
            f"The loss was not finite at step {history.retried_at}: training continued from the last good weights at "
            f"{RETRY_SHARE:g} of the learning rate. Lower learning_rate or alpha."
        )
    if history.interrupted:
        logg.warning("Training was interrupted: the best weights so far are kept, params['interrupted'] is True.")
    return history
