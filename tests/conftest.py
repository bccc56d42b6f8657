from __future__ import annotations

import signal
from io import StringIO
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pytest
import scanpy as sc
import torch
from helpers import QUICK

import scgeoae
from scgeoae.core import fit as core_fit
from scgeoae.core import loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anndata import AnnData

    from scgeoae.core.autoencoder import GeometricAutoencoder
    from scgeoae.core.loop import History

mpl.use("agg")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-golden", action="store_true", help="Write the model file of tests/storage/golden again.")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    torch.set_num_threads(1)  # workers of pytest-xdist share the cores
    sc.settings.autoshow = False
    yield
    mpl.pyplot.close("all")


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard() -> Iterator[None]:
    """Also where the tests run behind a shell's `&`, which lets all programs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def after_validation(monkeypatch) -> Callable[[Callable[[int, GeometricAutoencoder], object]], None]:
    """Call a function with the step and the model after each validation of all trainings from now on."""

    def set_up(act: Callable[[int, GeometricAutoencoder], object]) -> None:
        def train(model: GeometricAutoencoder, *arguments: Any, after_validation: Any, **options: Any) -> History:
            def both(step: int, n_steps: int) -> None:
                after_validation(step, n_steps)
                act(step, model)

            return loop.train(model, *arguments, after_validation=both, **options)

        monkeypatch.setattr(core_fit, "train", train)

    return set_up


@pytest.fixture
def interrupted(after_validation) -> None:
    """A Ctrl-C comes in the middle of a training."""

    def interrupt(step: int, _: GeometricAutoencoder) -> None:
        if step >= 30:
            raise KeyboardInterrupt

    after_validation(interrupt)


@pytest.fixture
def no_training(monkeypatch) -> None:
    """Whatever trains, fails."""
    monkeypatch.setattr(core_fit, "train", lambda *_, **__: pytest.fail("a training was begun"))


@pytest.fixture
def log() -> Iterator[StringIO]:
    """What scanpy's logger writes."""
    before, sc.settings.logfile = sc.settings.logfile, StringIO()
    yield sc.settings.logfile
    sc.settings.logfile = before


@pytest.fixture
def info(log: StringIO) -> Iterator[StringIO]:
    """The same where scanpy is set to tell what it does."""
    before, sc.settings.verbosity = sc.settings.verbosity, "info"
    yield log
    sc.settings.verbosity = before


@pytest.fixture(scope="session")
def _pbmc_once() -> AnnData:
    return sc.datasets.pbmc68k_reduced()


@pytest.fixture
def pbmc(_pbmc_once: AnnData) -> AnnData:
    """700 blood cells with 50 principal components, 765 scaled genes and labels."""
    return _pbmc_once.copy()


@pytest.fixture(scope="session")
def _mapped_once(_pbmc_once: AnnData) -> AnnData:
    return scgeoae.tl.geometric_ae(_pbmc_once, **QUICK, copy=True)


@pytest.fixture
def mapped(_mapped_once: AnnData) -> AnnData:
    """The blood cells with a quickly trained map."""
    return _mapped_once.copy()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
