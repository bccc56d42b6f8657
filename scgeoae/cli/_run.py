"""Run one command: its settings, its signals, and one clear line when it fails."""

from __future__ import annotations

import json
import os
import sys
import traceback
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from jsonargparse import ArgumentError
from scanpy import settings
from threadpoolctl import threadpool_limits
from torch import distributed

from . import INTERRUPTED, signals_to
from ._commands import COMMANDS
from ._parser import parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

BAD_INPUT, INTERNAL_ERROR = 2, 1
INPUT_ERRORS = (ArgumentError, KeyError, ValueError, TypeError, OSError, FloatingPointError, ImportError)
"""What the functions of the package raise when an argument or a file makes no sense."""

AS_TYPED = {"scgeoae.tl.geometric_ae": "scgeoae train", "scgeoae.tl.fit_decoder": "scgeoae fit-decoder"}
"""What errors tell to run, by the name that it has on the command line."""

WARNINGS, PROGRESS, FIELDS = 1, 2, 3
"""scanpy's verbosity: warnings alone, the steps and a progress bar, and the fields that are added too."""


def run(name: str, words: Sequence[str]) -> None:
    """Run the command ``name``; raises `SystemExit` with the status if that is not 0."""
    try:
        with signals_to(_leave):
            command = COMMANDS[name]
            options = parse(name, command, words)
            with ExitStack() as stack:
                settings_of = (
                    _threads(options.threads),
                    _log(verbose=options.verbose, quiet=options.quiet),
                    _group(options.get("device")),
                )
                for context in settings_of:
                    stack.enter_context(context)
                results = command.run(options)
            if results:
                _show(results, as_json=options.json)
    except Exception as error:  # noqa: BLE001 - every error ends as one line, and the traceback is there for the asking
        if "--debug" in words:
            traceback.print_exc()
        known = isinstance(error, INPUT_ERRORS)
        sys.stderr.write(f"scgeoae: {'error' if known else 'internal error'}: {_line(error, known=known)}\n")
        raise SystemExit(BAD_INPUT if known else INTERNAL_ERROR) from None


def _line(error: Exception, *, known: bool) -> str:
    """What an error says, in one line."""
    # str() of a KeyError puts its message in quotes
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    text = " ".join(text.split()) or type(error).__name__
    for name, command in AS_TYPED.items():
        text = text.replace(name, command)
    return text if known else f"{type(error).__name__}: {text} (--debug shows where)"


def _show(results: Mapping[str, Any], *, as_json: bool) -> None:
    """Write the results to stdout: a line each, or one JSON object."""
    if as_json:
        sys.stdout.write(json.dumps(_jsonable(results)) + "\n")
        return
    for name, value in results.items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        if isinstance(value, dict):
            text = "".join(f"\n{line}" for line in _table(value))
        elif isinstance(value, list):
            text = "".join(f"\n  {item}" for item in value)
        sys.stdout.write(f"{name}:{'' if text.startswith(chr(10)) else ' '}{text}\n")


def _table(columns: Mapping[str, Mapping[str, float]]) -> list[str]:
    """One line a measure, one column a map."""
    import pandas as pd

    table = pd.DataFrame(columns)
    return table.to_string(float_format="{:.4g}".format, na_rep="-").splitlines()


def _jsonable(value: Any) -> Any:
    """The value with null in place of NaN and infinity, which JSON does not know."""
    if isinstance(value, dict):
        return {name: _jsonable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def _leave(status: int) -> NoReturn:
    """Leave, cleaning up on the way.

    The training takes a `KeyboardInterrupt` as the wish to stop early and to keep what it has. On the command line
    there is nobody to look at that, and a file would be written that looks complete; `SystemExit` passes through it.
    """
    sys.stderr.write(f"\n{INTERRUPTED}\n")
    raise SystemExit(status)


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Bound the threads of torch, BLAS, OpenMP and, where it is in use, numba."""
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
    """Join the other processes, if `torchrun` has started this one: by nccl on GPUs, else by gloo."""
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
def _log(*, verbose: bool, quiet: bool) -> Iterator[None]:
    """Send scanpy's log to stderr; stdout is for results."""
    before = settings.verbosity, settings.logfile
    settings.logfile = sys.stderr
    settings.verbosity = WARNINGS if quiet else FIELDS if verbose else PROGRESS
    try:
        yield
    finally:
        settings.verbosity, settings.logfile = before
