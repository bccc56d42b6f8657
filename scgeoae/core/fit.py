"""Fit a model to rows: from fresh weights to a calibrated map and what the model says of its cells."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from . import sharding
from .autoencoder import GeometricAutoencoder
from .batches import MAX_VALIDATION_CELLS, n_held_out, split
from .calibration import calibrate, calibrate_decoder
from .rows import block_size, check_finite, fit_standardization
from .sharding import Part
from .threads import LARGE_STEP, threads_for
from .training import HeldOut, Trainer

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from .evaluation import Cells
    from .frame import Frame
    from .rows import Rows
    from .spec import Spec
    from .training import History

STEPS, MIN_STEPS, MAX_STEPS = 150, (300, 600), 1_500
"""By default a training takes `STEPS` optimizer steps over the square of the spacing of cells, which counts the places
on a surface that can be told apart; at least a tenth of the number of cells, itself kept between the bounds of
`MIN_STEPS`, and at most `MAX_STEPS`. Measured by counts that the maps never saw (``tests/benchmarks/quality.py
--replicate``): where neighbors differ by noise, more steps copy the noise; where cells lie dense on a surface, more
steps find more of their neighbors."""
NOISE_SHARE = 0.35
"""Default noise on the encoder's input as a share of the spacing of cells."""
CELLS_A_BATCH, BATCH = 0.02, (256, 2_048)
"""By default a batch holds this share of the cells, within these bounds, so that the nearest cell in it is near."""


class Fitted(NamedTuple):
    """A calibrated network, its evaluation at the training cells, the frame, the history, and the completed spec."""

    network: GeometricAutoencoder
    cells: Cells
    frame: Frame
    history: History
    spec: Spec


def fit(
    rows: Rows,
    spec: Spec,
    seed: int,
    *,
    coordinates: np.ndarray | None = None,
    landmarks: np.ndarray | None = None,
    name: str = "The data",
    run: Callable[[Trainer], History] = Trainer.run,
) -> Fitted:
    """Train a model on rows and calibrate it.

    Parameters
    ----------
    rows
        Cells (n, D).
    spec
        What to train.
    seed
        Of the weights, the split into training and held-out cells, and the training.
    coordinates
        Map coordinates (n, d) made elsewhere, to which only a decoder is fitted; they stay as they are.
    landmarks
        Places (n, d) on an earlier map near which cells should stay, NaN for cells that are free.
    name
        What messages call the rows.
    run
        Runs the trainer, with progress and checkpoints for example.

    Raises
    ------
    ValueError
        If a value is not finite, all cells are equal, or several processes have different cells.
    FloatingPointError
        If the training diverges.
    """
    places = landmarks if coordinates is None else coordinates
    if places is None:
        trainer = prepare(rows, spec, seed, name=name)
        history = run(trainer)
        return Fitted(trainer.model, *calibrate(trainer.model, rows), history, trainer.spec)
    center = np.nanmean(places, axis=0)
    scale = float(np.sqrt(np.nanmean(np.square(places - center))))
    trainer = prepare(
        rows, spec, seed, standardized=(places - center) / scale, with_encoder=coordinates is None, name=name
    )
    history = run(trainer)
    if coordinates is None:
        cells, frame = calibrate(trainer.model, rows, landmarks)
    else:
        cells, frame = calibrate_decoder(trainer.model, rows, coordinates, center, scale)
    return Fitted(trainer.model, cells, frame, history, trainer.spec)


def prepare(
    rows: Rows,
    spec: Spec,
    seed: int,
    *,
    standardized: np.ndarray | None = None,
    with_encoder: bool = True,
    name: str = "The data",
) -> Trainer:
    """Make the trainer before its first step: fresh weights, scaling, held-out cells, what the data choose.

    Parameters are those of :func:`fit`; ``standardized`` are map coordinates, or landmarks, of mean 0 and overall
    variance 1.
    """
    _check_same_cells(rows, name)
    n, n_features = rows.shape
    generator = torch.Generator().manual_seed(seed)
    model = GeometricAutoencoder(
        n_features,
        spec.n_components,
        hidden_dims=spec.hidden_dims,
        with_encoder=with_encoder,
        generator=generator,
    ).to(rows.device)
    try:
        fit_standardization(model, rows)
    except ValueError:
        check_finite(rows, name)  # says where
        raise
    limit = block_size(n_features)
    cells, validating = split(n, n_held_out(rows, spec.validation_fraction, limit), generator)
    part = Part(validating, n)
    held_out = HeldOut(part, model.standardize(rows.take(part.index)))
    spec = choose_by_data(spec, model, rows, cells[:limit], held_out)
    z = None if standardized is None else torch.tensor(standardized, dtype=torch.float32, device=rows.device)
    return Trainer(model, rows, spec, cells, held_out, generator, z)


def choose_by_data(spec: Spec, model: GeometricAutoencoder, rows: Rows, cells: Tensor, held_out: HeldOut) -> Spec:
    """Replace `None` in the steps, the noise and the batch size of ``spec`` by what suits the cells."""
    n, n_steps, noise, batch_size = rows.shape[0], spec.n_steps, spec.noise, spec.batch_size
    if batch_size is None:
        batch_size = round(_clip(CELLS_A_BATCH * n, *BATCH))
    if n_steps is None or noise is None:
        more = Part(cells[: MAX_VALIDATION_CELLS - held_out.part.size], n)  # held-out cells are in memory: these first
        x = torch.cat([held_out.x, model.standardize(rows.take(more.index))])
        apart = spacing(sharding.gather(x))
        if noise is None:
            noise = NOISE_SHARE * apart
        if n_steps is None:
            places = 1 / max(apart, 0.01) ** 2
            n_steps = round(_clip(STEPS * places, _clip(0.1 * n, *MIN_STEPS), MAX_STEPS))
    return replace(spec, n_steps=n_steps, noise=noise, batch_size=batch_size)


def spacing(x: Tensor) -> float:
    """Distance of a typical (median) cell of ``x`` (n, D) to its nearest, root mean square by feature.

    For standardized cells it has no unit: near 0 where cells lie dense on a surface, near 1 and above where they
    scatter at random, so that neighbors differ by noise as much as cells of different kinds do.
    """
    with threads_for(x.numel(), LARGE_STEP):
        distance = torch.cdist(x, x).fill_diagonal_(torch.inf)  # (n, n)
        return (distance.min(1).values.square().median() / x.shape[1]).sqrt().item()


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _check_same_cells(rows: Rows, name: str) -> None:
    """Compare a few cells among processes, before these exchange sums of different lengths."""
    if sharding.world_size() == 1:
        return
    n = rows.shape[0]
    few = torch.cat([rows.block(i, i + 1) for i in sorted({0, n // 2, n - 1})])
    if not sharding.same_everywhere((name, rows.shape, sha256(few.cpu().numpy().tobytes()).hexdigest())):
        msg = f"The processes do not train alike: {name} is not the same in all of them. Do they read the same file?"
        raise ValueError(msg)
