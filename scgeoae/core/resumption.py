"""Validate a checkpoint before loading it, so that a damaged or hostile file cannot break or alter the training."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .batches import Batches
    from .optimizer import HybridOptimizer
    from .training import Trainer

CHANGING = ("lr",)
"""Entries of a parameter group that a step changes; all others stay as they were made."""


def check_state(theirs: Any, trainer: Trainer) -> None:
    """Compare a state with that of a new trainer of the same spec: names, types, shapes, positions of cells.

    Raises
    ------
    ValueError
        If the state cannot have come from this training.
    """
    own = trainer.state_dict()
    _check_kind(theirs, dict.fromkeys(own, object), "state")
    for name in own.keys() - {"optimizer", "batches"}:
        _check_kind(theirs[name], own[name], name)
    _check_curves(theirs["history"])
    _check_batches(theirs["batches"], own["batches"], trainer.batches)
    _check_optimizer(theirs["optimizer"], trainer.optimizer)


def _check_kind(value: Any, model: Any, name: str) -> None:
    """Require the type and shape of ``model``; there `object` allows anything, and `None` a whole number or `None`."""
    if model is object:
        return
    if isinstance(model, dict):
        _require(isinstance(value, dict) and value.keys() == model.keys(), name)
        for key, entry in model.items():
            _check_kind(value[key], entry, f"{name}/{key}")
    elif isinstance(model, list | tuple) and len(model):
        _require(type(value) is type(model) and len(value) == len(model), name)
        for i, (entry, its) in enumerate(zip(value, model, strict=True)):
            _check_kind(entry, its, f"{name}/{i}")
    elif isinstance(model, Tensor):
        _require(isinstance(value, Tensor) and value.layout == model.layout, name)
        _require(value.dtype == model.dtype and value.shape == model.shape, name)
    else:
        _require(type(value) is type(model) or (model is None and type(value) is int), name)


def _check_curves(history: Mapping[str, Any]) -> None:
    curves = [curve for curve in history.values() if isinstance(curve, list)]
    _require(len({len(curve) for curve in curves}) == 1, "history")
    _require(all(type(entry) in {int, float} for curve in curves for entry in curve), "history")


def _check_batches(theirs: Any, own: Mapping[str, Any], batches: Batches) -> None:
    """Require that the cells left over from an epoch are training cells and fewer than a batch."""
    _check_kind(theirs, {**own, "left_over": object}, "batches")
    left_over = theirs["left_over"]
    _require(isinstance(left_over, Tensor) and left_over.dtype == torch.int64 and left_over.ndim == 1, "left_over")
    _require(len(left_over) < batches.size and bool(torch.isin(left_over, batches.index).all()), "left_over")
    _require(0 <= theirs["position"] <= len(left_over) + len(batches.index), "position")


def _check_optimizer(theirs: Any, optimizer: HybridOptimizer) -> None:
    """Require the state of an optimizer before its first step, or after a retry, or after a step; the same settings.

    The settings include the positions of the parameters: a running average of another shape would be written beyond
    its end.
    """
    try:
        _check_kind(theirs, optimizer.state_dict(), "optimizer")
    except ValueError:
        twin = deepcopy(optimizer)
        for joined in twin.joined:
            joined.grad = torch.zeros_like(joined)
        for each in twin.optimizers:  # the step of the hybrid would wait for other processes
            each.step()
        _check_kind(theirs, twin.state_dict(), "optimizer")
    _require(_settings(theirs) == _settings(optimizer.state_dict()), "optimizer")


def _settings(state: list[dict[str, Any]]) -> list[dict[str, Any]]:
    groups = [group for its in state for group in its["param_groups"]]
    return [{name: value for name, value in group.items() if name not in CHANGING} for group in groups]


def _require(condition: bool, name: str) -> None:  # noqa: FBT001
    if not condition:
        msg = f"{name} is not that of this training"
        raise ValueError(msg)
