"""Fit a model to rows: from fresh weights to a calibrated map and what the model says of its cells."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch

from . import processes
from .autoencoder import GeometricAutoencoder
from .batches import MAX_VALIDATION_CELLS, split
from .calibration import calibrate, calibrate_decoder
from .loop import train
from .observation import Places
from .precision import as_written
from .rows import block_size, check_finite
from .start import STARTS, components
from .step import Sample
from .threads import LARGE_STEP, threads_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from .evaluation import Cells
    from .frame import Frame
    from .loop import History
    from .rows import Rows
    from .spec import Spec
    from .start import Components

NOISE_SHARE = 0.35
"""Default noise on the encoder's input as a share of the spacing of cells."""
ENCODER_DECAY, ENCODER_NOISE = 0.05, 0.7
"""Weight decay of the encoder of a map that was made elsewhere, and the noise on its input, as such a share."""
CELLS_A_BATCH, BATCH = 0.02, (512, 2_048)
"""By default a batch holds this share of the cells, within these bounds, so that the nearest cell in it is near."""


class Fitted(NamedTuple):
    """A calibrated network, its evaluation at the training cells and their frame, the history, the completed spec."""

    network: GeometricAutoencoder
    cells: Cells
    frame: Frame
    history: History
    spec: Spec


@as_written()
def fit(
    rows: Rows,
    spec: Spec,
    seed: int,
    *,
    coordinates: np.ndarray | None = None,
    landmarks: np.ndarray | None = None,
    name: str = "The data",
    after_validation: Callable[[int, int], object] = lambda *_: None,
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
        Map coordinates (n, d) made elsewhere. They stay as they are: a decoder is fitted to them, and then an encoder.
    landmarks
        Places (n, d) on an earlier map near which cells should stay, NaN for cells that are free.
    name
        What messages call the rows.
    after_validation
        Called with the step and the largest number of steps.

    Raises
    ------
    ValueError
        If a value is not finite, all cells are equal, or several processes do not train alike.
    FloatingPointError
        If the training diverges.
    """
    _check_alike(rows, spec, seed, name)
    n, n_features = rows.shape
    generator = torch.Generator().manual_seed(seed)
    network = GeometricAutoencoder(
        n_features,
        spec.n_components,
        hidden_dims=spec.hidden_dims,
        with_encoder=coordinates is None,
        observation=spec.observation,
        generator=generator,
    ).to(rows.device)
    try:
        network.observation.fit(rows)
    except ValueError:
        check_finite(rows, name)  # says where
        raise
    if coordinates is None:  # a decoder has no start but its weights, and the map stays as it is
        origin = components(network, rows)
        STARTS[spec.init](network, rows, origin if landmarks is None else _facing(network, rows, origin, landmarks))

    places = landmarks if coordinates is None else coordinates
    if places is not None:
        center = np.nanmean(places, axis=0)
        scale = float(np.sqrt(np.nanmean(np.square(places - center))))
        z = torch.tensor((places - center) / scale, dtype=torch.float32, device=rows.device)

    def read(index: Tensor) -> Sample:
        x = network.standardize(rows.take(index))
        there = None if places is None else z[index.to(rows.device)]
        return Sample(x, landmarks=there) if coordinates is None else Sample(x, coordinates=there)

    limit = block_size(n_features)
    index, validating = split(n, spec.validation_fraction, limit, generator)
    held_out = read(validating)
    more = index[:limit][: MAX_VALIDATION_CELLS - len(validating)]  # held-out cells are in memory: these first
    sample = torch.cat([held_out.x, read(more).x])
    spec = choose_by_data(spec, n, sample)
    mine = processes.owned(n)
    index = index[(mine.start <= index) & (index < mine.stop)]
    if not processes.same_everywhere(len(index) > 1):
        msg = f"{n} cells are too few for {processes.count()} processes: some have none to train on."
        raise ValueError(msg)
    if rank := processes.rank():
        generator = torch.Generator().manual_seed((seed + rank) % 2**63)
    own = replace(spec, batch_size=max(2, cast("int", spec.batch_size) // processes.count()))
    optimize = partial(train, index=index, generator=generator, chunk=rows.chunk, after_validation=after_validation)
    history = optimize(network, own, read, held_out=held_out)
    if coordinates is not None and not history.interrupted:
        exchanged, noise = _exchanged(network, seed), ENCODER_NOISE * spacing(sample)

        def read_exchanged(index: Tensor) -> Sample:
            cells = read(index)
            drawn = torch.randn(cells.x.shape, generator=generator, dtype=torch.float32)
            return Sample(cast("Tensor", cells.coordinates), coordinates=cells.x + noise * drawn.to(rows.device))

        own = replace(own, weight_decay=ENCODER_DECAY, weights={}, regularizer={})
        held_out = Sample(cast("Tensor", held_out.coordinates), coordinates=held_out.x)
        history.interrupted = optimize(exchanged, own, read_exchanged, held_out=held_out).interrupted
        network.encoder = exchanged.decoder
    if spec.n_steps is None:
        spec = replace(spec, n_steps=history.records[-1].step if history.records else 1)
    if coordinates is None:
        plot = np.full((n, spec.n_components), np.nan)
        plot[torch.cat([validating, more])] = sample.cpu().double() @ origin.axes
        cells, frame = calibrate(network, rows, plot, landmarks)
    else:
        cells, frame = calibrate_decoder(network, rows, coordinates, center, scale)
    return Fitted(network, cells, frame, history, spec)


def _exchanged(network: GeometricAutoencoder, seed: int) -> GeometricAutoencoder:
    """Exchange cells and places: the decoder of this model, once fitted, is an encoder of the given one."""
    exchanged = GeometricAutoencoder(
        network.n_components,
        network.n_features,
        hidden_dims=network.hidden_dims[::-1],
        with_encoder=False,
        generator=torch.Generator().manual_seed(seed),
    )
    exchanged.observation = Places(network.n_components)
    exchanged.decoder.shortcut = torch.zeros(network.n_components, network.n_features, dtype=torch.float32)
    return exchanged.to(network.device)


def _facing(network: GeometricAutoencoder, rows: Rows, origin: Components, landmarks: np.ndarray) -> Components:
    """Turn components to the landmarks (n, d), which a map that begins as their mirror image could not reach."""
    known, mine = np.flatnonzero(np.isfinite(landmarks).all(1)), processes.owned(len(landmarks))
    known = known[(mine.start <= known) & (known < mine.stop)]
    few = min(len(known), MAX_VALIDATION_CELLS, block_size(rows.shape[1]))
    known = known[np.linspace(0, len(known) - 1, few).astype(np.int64)]
    plot = network.standardize(rows.take(torch.from_numpy(known))).cpu().double() @ origin.axes
    one = torch.ones(few, 1, dtype=torch.float64)
    both = torch.cat([plot, one], 1).t() @ torch.cat([torch.from_numpy(landmarks[known]).double(), one], 1)
    total = processes.total(both, rows.device)  # (d + 1, d + 1), with the sums and the number of cells
    u, _, v = torch.linalg.svd(total[:-1, :-1] - total[:-1, -1:] * total[-1:, :-1] / total[-1, -1])
    return origin._replace(axes=origin.axes @ u @ v)


def choose_by_data(spec: Spec, n: int, sample: Tensor) -> Spec:
    """Replace `None` in the noise and the batch size of ``spec`` by what suits the ``n`` cells.

    ``sample`` (m, D) are some of them, standardized.
    """
    batch_size = round(np.clip(CELLS_A_BATCH * n, *BATCH)) if spec.batch_size is None else spec.batch_size
    return replace(
        spec, batch_size=batch_size, noise=NOISE_SHARE * spacing(sample) if spec.noise is None else spec.noise
    )


def spacing(x: Tensor) -> float:
    """Distance of a typical (median) cell of ``x`` (n, D) to its nearest, root mean square by feature.

    For standardized cells it has no unit: near 0 where cells lie dense on a surface, near 1 and above where they
    scatter at random, so that neighbors differ by noise as much as cells of different kinds do.
    """
    with threads_for(x.numel(), LARGE_STEP):
        distance = torch.cdist(x, x).fill_diagonal_(torch.inf)  # (n, n)
        return (distance.min(1).values.square().median() / x.shape[1]).sqrt().item()


def _check_alike(rows: Rows, spec: Spec, seed: int, name: str) -> None:
    """Compare the processes' cells, arguments and versions before these exchange anything of different lengths."""
    if processes.count() == 1:
        return
    n = rows.shape[0]
    few = torch.cat([rows.block(i, i + 1) for i in sorted({0, n // 2, n - 1})])
    cells = sha256(few.cpu().numpy().tobytes()).hexdigest()
    versions = version("scgeoae"), str(torch.__version__)
    if not processes.same_everywhere((name, rows.shape, rows.chunk, cells, repr(spec), seed, versions)):
        msg = (
            f"The processes do not train alike: {name}, the arguments or the versions of scgeoae and torch differ. Do "
            "they read the same file?"
        )
        raise ValueError(msg)
