"""Train again as a stored result was trained: its data and its parameters."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core.rows import fit_standardization
from ..inputs import choose, resolve_device
from . import _arguments

if TYPE_CHECKING:
    from ..core.rows import Rows
    from ..core.spec import Spec
    from ..inputs import Representation
    from ..result import Result

SAME = 1e-4
"""Largest difference of the mean and the scale of the data from those of the training, as a share of the scale."""


@dataclass(frozen=True)
class Training:
    """The data, the parameters and the landmarks (n, d) of a training."""

    representation: Representation
    rows: Rows
    spec: Spec
    landmarks: np.ndarray | None


def training_of(result: Result) -> Training:
    """Find the training of a map in its parameters, and its data in the AnnData.

    Raises
    ------
    KeyError
        If the data are not there.
    ValueError
        If the map was made elsewhere, its cells were mapped, or the data are not those of the training.
    """
    adata, key, params, network = result.adata, result.keys.key, result.params, result.model.autoencoder
    result.check_trained()
    representation = choose(adata, **_arguments.chosen_input(params))
    if representation.shape[1] != network.n_features:
        _refuse(representation, key, f"they have {representation.shape[1]} features instead of {network.n_features}")
    rows = representation.rows(resolve_device(None))
    present = deepcopy(network).to(rows.device)
    fit_standardization(present, rows)
    before, now = (np.append(n.mean.cpu().double().numpy(), n.scale.item()) for n in (network, present))
    if not np.abs(now - before).max() <= SAME * before[-1]:
        _refuse(representation, key, "their mean or scale differs")
    spec = _arguments.stored_spec(params, representation.shape)
    landmarks = params.get("landmarks")
    places = None if landmarks is None else _arguments.landmark_places(adata, str(landmarks), spec.n_components)
    return Training(representation, rows, spec, places)


def _refuse(representation: Representation, key: str, why: str) -> None:
    msg = (
        f"{representation.source} does not hold the cells that the result {key!r} was trained on: {why}. Pass the "
        "AnnData of the training, with all its cells, or train again."
    )
    raise ValueError(msg)
