"""What the tools share: how they are called, their progress, and their end, where fields are written and logged."""

from __future__ import annotations

from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from scanpy import logging as logg
from scanpy import settings
from tqdm import tqdm

from .. import fields
from .._checks import instead
from ..core import processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from anndata import AnnData

    from ..fields import Field, Keys

T = TypeVar("T")

PROGRESS = 2
"""Verbosity of scanpy from which a progress bar is shown."""


@contextmanager
def tool() -> Iterator[None]:
    """Wrap a tool: only the first of several processes logs, and arguments of scanpy's tools get a hint at ours."""
    before = settings.verbosity
    if processes.rank() > 0:
        settings.verbosity = 0
    try:
        with instead():
            yield
    finally:
        settings.verbosity = before


@contextmanager
def progress(n_steps: int | None) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar of a training; yields a function of the number of the step and of all steps."""
    with tqdm(total=n_steps, unit="step", disable=settings.verbosity < PROGRESS, leave=False) as bar:

        def show(step: int, n_steps: int) -> None:
            bar.total = n_steps
            bar.update(step - bar.n)

        yield show


def timed(results: Iterable[T], n: int, what: str) -> Iterator[T]:
    """Pass on ``n`` results as they come, and log how long they took and about how long the others will take."""
    begun = perf_counter()
    for number, result in enumerate(results, 1):
        seconds = perf_counter() - begun
        left = f"; about {_duration(seconds / number * (n - number))} left" if number < n else ""
        logg.info(f"    {what} {number} of {n} after {_duration(seconds)}{left}")
        yield result


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def finish(adata: AnnData, keys: Keys, values: Mapping[Field, Any], start: datetime, *, copy: bool) -> AnnData | None:
    """Write what a tool has computed, to `adata` or a copy, and log its time and what was added; return the copy."""
    adata = adata.copy() if copy else adata
    added = fields.write(adata, keys, values)
    logg.info("    finished", time=start, deep="added" + "".join(f"\n    {line}" for line in added))
    return adata if copy else None
