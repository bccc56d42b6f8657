"""Interrupted at any moment: files and objects are unchanged or complete.

A longer run: ``INTERRUPTIONS=50 pytest tests/hard_use/test_interruption.py``.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hard_use.tools import cells, check_results, frozen, train

import scgeoae
from scgeoae import fields, tl
from scgeoae.core.loop import Best
from scgeoae.core.terms import Objective
from scgeoae.storage import replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anndata import AnnData

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")]

N_REPETITIONS = int(os.environ.get("INTERRUPTIONS", "6"))
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: 137}
BRIEF = ["--n_steps", "300", "--hidden_dims", "16,16", "--threads", "1", "--quiet"]
COMMANDS = [
    ["train", "in.h5ad", "out.h5ad", "--use_rep", "X", *BRIEF],
    ["train", "in.h5ad", "out.zarr", "--use_rep", "X", *BRIEF],
    ["map", "in.h5ad", "reference.h5ad", "out.h5ad", "--threads", "1"],
    ["fit-decoder", "in.h5ad", "out.h5ad", "--basis", "given", "--use_rep", "X", *BRIEF],
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    adata = cells(300)
    adata.obsm["given"] = adata.X[:, :2].copy()
    adata.write_h5ad(folder / "in.h5ad")
    train(adata)
    adata.write_h5ad(folder / "reference.h5ad")
    return folder


@pytest.fixture(scope="module")
def duration(inputs: Path, tmp_path_factory) -> float:
    """Seconds that a command takes."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(inputs, folder)
    start = time.monotonic()
    status, err = interrupted(COMMANDS[0], folder, signal.SIGKILL, 600)
    assert status == 0, err
    return time.monotonic() - start


def interrupted(words: list[str], folder: Path, number: signal.Signals, seconds: float) -> tuple[int, str]:
    """Send a signal to a command after so many seconds; return its exit status, as in a shell, and its stderr."""
    process = subprocess.Popen([sys.executable, "-m", "scgeoae", *words], cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        _, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        _, err = process.communicate(timeout=600)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode, err


def contents(path: Path) -> dict[str, bytes]:
    files = path.rglob("*") if path.is_dir() else [path]
    return {str(file): file.read_bytes() for file in files if file.is_file()}


def check_whole(path: Path) -> None:
    adata = ad.read_zarr(path) if path.suffix == ".zarr" else ad.read_h5ad(path)
    assert adata.n_obs == 300
    check_results(adata)


@pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning")
@pytest.mark.parametrize("repetition", range(N_REPETITIONS))
def test_commands(repetition: int, inputs: Path, duration: float, tmp_path: Path) -> None:
    rng = np.random.default_rng()
    number = list(STATUS)[repetition % 3]
    words = COMMANDS[repetition % len(COMMANDS)]
    folder = tmp_path / "run"
    shutil.copytree(inputs, folder)
    output = folder / next(word for word in words if word.startswith("out."))
    before = contents(folder)
    seconds = rng.uniform(0, 1.1 * duration)
    if earlier := bool(repetition % 2):  # a result of an earlier run is in the place of the output
        adata = ad.read_h5ad(inputs / "reference.h5ad")
        adata.write_zarr(output) if output.suffix == ".zarr" else adata.write_h5ad(output)
        before = contents(folder)

    status, err = interrupted(words, folder, number, seconds)

    context = f"{number.name} after {seconds:.2f} of {duration:.2f} s, status {status}: {err}"
    after = contents(folder)
    for path in (folder / "in.h5ad", folder / "reference.h5ad"):
        assert after[str(path)] == before[str(path)], context
    assert status in {0, STATUS[number]}, context
    assert output.exists() or (status and not earlier), context
    if output.exists():
        check_whole(output)
    if number != signal.SIGKILL:
        expected = {"in.h5ad", "reference.h5ad"} | ({output.name} if output.exists() else set())
        assert {path.name for path in folder.iterdir()} == expected, context
    print(context.splitlines()[0], "output whole" if output.exists() else "no output")


def test_while_a_store_is_replaced(tmp_path: Path, monkeypatch) -> None:
    path, rename = tmp_path / "out.zarr", Path.rename
    path.mkdir()
    (path / "old").touch()
    signals = []

    def signalled(self: Path, target: Path) -> None:
        rename(self, target)
        signals.append(os.kill(os.getpid(), signal.SIGTERM))

    monkeypatch.setattr(Path, "rename", signalled)
    with replacing(path) as temporary:
        temporary.mkdir()
        (temporary / "new").touch()
    assert len(signals) == 2
    assert [file.name for file in tmp_path.rglob("*")] == ["out.zarr", "new"]


def test_a_store_that_cannot_be_replaced_is_kept(tmp_path: Path, monkeypatch) -> None:
    path, rename = tmp_path / "out.zarr", Path.rename
    path.mkdir()
    (path / "old").touch()

    def failing(self: Path, target: Path) -> None:
        if self.name == "out.zarr" and target == path:
            monkeypatch.setattr(Path, "rename", rename)
            raise OSError(5, "Input/output error")
        rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="Input/output"), replacing(path) as temporary:
        temporary.mkdir()
    assert [file.name for file in tmp_path.rglob("*")] == ["out.zarr", "old"]


def check_untouched_or_complete(adata: AnnData, before: Any) -> bool:
    """Whether it is complete."""
    complete = "geoae" in adata.uns
    if complete:
        check_results(adata)
        curves = adata.uns["geoae"]["history"]
        assert len({len(curve) for curve in curves.values()}) == 1
        assert adata.uns["geoae"]["params"]["kept_at"] in [0, *curves["step"]]
    else:
        assert frozen(adata) == before
    return complete


@pytest.fixture
def alarm() -> Iterator[None]:
    """`SIGALRM` is a Ctrl-C."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("alarm")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Ctrl-C inside of a `__del__`
def test_calls_at_random_moments() -> None:
    """Early: nothing is written. In the training: what was learned so far is. While writing: all or nothing."""
    rng = np.random.default_rng()
    adata = cells()
    before = frozen(adata)
    start = time.monotonic()
    train(adata, n_steps=60)
    duration = time.monotonic() - start
    for _ in range(5 * N_REPETITIONS):
        adata = cells()
        try:
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.001, duration))
            train(adata, n_steps=60)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            pass
        check_untouched_or_complete(adata, before)


def interrupting(call: Callable[..., Any], n_calls: int) -> Callable[..., Any]:
    """Interrupted after its n-th call has done its work."""
    count = 0

    def interrupt(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        result = call(*args, **kwargs)
        if count == n_calls:
            raise KeyboardInterrupt
        return result

    return interrupt


def as_query(adata: AnnData) -> None:
    reference = cells(seed=1)
    reference.uns["kind_colors"] = ["#111111", "#222222"]
    train(reference, copy=True)
    tl.map_cells(adata, train(reference, copy=True), obs="kind")


def fit(adata: AnnData) -> None:
    tl.fit_decoder(adata, "given", use_rep="X", n_steps=5, hidden_dims=(8,))


@pytest.mark.parametrize("call", [train, fit, as_query])
@pytest.mark.parametrize("n_calls", [1, 2, 3], ids=["first column", "second column", "third column"])
@pytest.mark.parametrize("again", [0, 1], ids=["new", "again"])
def test_while_writing(call: Any, n_calls: int, again: int, monkeypatch) -> None:
    adata = cells()
    adata.obsm["given"] = adata.X[:, :2].copy()
    if again:
        train(adata, rng=5)
        tl.map_cells(adata, train(cells(), copy=True))
        fit(adata)
    before = frozen(adata)
    written = fields.write

    def write(*args: Any) -> list[str]:
        monkeypatch.setattr(pd.DataFrame, "__setitem__", interrupting(pd.DataFrame.__setitem__, n_calls))
        return written(*args)

    monkeypatch.setattr(fields, "write", write)
    with pytest.raises(KeyboardInterrupt):
        call(adata)
    monkeypatch.undo()
    assert frozen(adata) == before


@pytest.mark.parametrize(("owner", "name"), [(Best, "offer"), (Objective, "measure")])
def test_while_validating(owner: type, name: str, monkeypatch) -> None:
    """The curves are of equal length, and the weights are those of a step that they hold."""
    adata = cells()
    monkeypatch.setattr(owner, name, interrupting(getattr(owner, name), 4))
    train(adata, n_steps=125)
    assert adata.uns["geoae"]["params"]["interrupted"]
    assert check_untouched_or_complete(adata, None)
    scgeoae.pl.history(adata, show=False)
