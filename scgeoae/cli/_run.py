"""Run one command: with its threads, processes, log and signals; write its results to stdout."""

from __future__ import annotations

import json as json_format
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import pandas as pd
import torch
from scanpy import settings
from threadpoolctl import threadpool_limits
from torch import distributed

from .._signals import signals_to
from ..core import processes
from . import INTERRUPTED, _commands

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WARNINGS, STEPS, FIELDS = 1, 2, 3
"""scanpy's verbosity: warnings only; steps and progress bars; the added fields too."""


def run(
    name: str,
    inputs: list[Path],
    output: Path | None,
    *,
    threads: int | None = None,
    json: bool = False,
    verbose: bool = False,
    quiet: bool = False,
    **arguments: Any,
) -> None:
    """Run the command ``name``; `arguments` are those that were given, for the function in ``_commands``."""
    if name == "demo":
        arguments["json"] = json
    with signals_to(_leave):
        verbosity = WARNINGS if quiet else FIELDS if verbose else STEPS
        with _threads(threads), _group(arguments.get("device")), _log(verbosity if processes.rank() == 0 else 0):
            results = _commands.COMMANDS[name](inputs, output, **arguments)
        if json and results:
            sys.stdout.write(json_format.dumps(_jsonable(results)) + "\n")
        for key, value in {} if json else results.items():
            sys.stdout.write(f"{key}:{_text(value)}\n")


def _text(value: Any) -> str:
    """Format a result; a table or a list takes the lines below its name."""
    if isinstance(value, dict):
        return "\n" + pd.DataFrame(value).to_string(float_format="{:.4g}".format, na_rep="-")
    if isinstance(value, list):
        return "".join(f"\n  {item}" for item in value)
    return f" {value:.4g}" if isinstance(value, float) else f" {value}"


def _jsonable(value: Any) -> Any:
    """Replace NaN and infinity, which JSON does not have, by null."""
    if isinstance(value, dict):
        return {name: _jsonable(item) for name, item in value.items()}
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def _leave(status: int) -> NoReturn:
    """Exit and clean up on the way.

    A `KeyboardInterrupt` would only end the training early, and its result so far would be written as if complete.
    """
    sys.stderr.write(f"\n{INTERRUPTED}\n")
    raise SystemExit(status)


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Limit the threads of torch, BLAS, OpenMP and, if it is imported, numba."""
    if number is None:
        yield
        return
    numba = sys.modules.get("numba")
    before = torch.get_num_threads(), numba.get_num_threads() if numba else 1
    torch.set_num_threads(number)
    if numba:
        numba.set_num_threads(min(number, numba.config.NUMBA_NUM_THREADS))
    try:
        with threadpool_limits(number):
            yield
    finally:
        torch.set_num_threads(before[0])
        if numba:
            numba.set_num_threads(before[1])


@contextmanager
def _group(device: str | None) -> Iterator[None]:
    """Join the process group if ``torchrun`` started this process: by nccl on GPUs, else by gloo."""
    if not distributed.is_available() or not distributed.is_torchelastic_launched():
        yield
        return
    cuda = torch.cuda.is_available() and (device is None or device.startswith("cuda"))
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


@contextmanager
def _log(verbosity: int) -> Iterator[None]:
    """Send scanpy's log to stderr; stdout is for results."""
    before = settings.verbosity, settings.logfile
    settings.verbosity, settings.logfile = verbosity, sys.stderr
    try:
        yield
    finally:
        settings.verbosity, settings.logfile = before
