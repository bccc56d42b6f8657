"""What a training costs in bytes, operations and messages, measured here, and what that predicts for GPUs.

``python tests/benchmarks/cost_model.py`` prints the predictions, ``… measure`` the points that the model is fitted to.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import torch
from scipy import sparse
from torch import distributed, multiprocessing

from scgeoae import _streams, get, tl
from scgeoae._input import DenseRows
from scgeoae.core import processes
from scgeoae.core.evaluation import describe
from scgeoae.core.training import Trainer

if TYPE_CHECKING:
    from collections.abc import Iterator

BYTES_NONZERO = 8
"""Of CSR on disk: a float32 value and an int32 column."""

N_COLLECTIVES = 17
"""Messages of a step with the default regulariser, as `measure` counts them."""


@dataclass(frozen=True)
class Task:
    """A training by default on ``n`` cells and ``D`` features of which the share ``density`` is not zero."""

    n: int
    D: int = 2_000
    density: float = 0.063
    batch: int = 512
    steps: int = 1_500
    width: int = 100
    points: int = 64
    d: int = 2

    @property
    def weights(self) -> int:
        """N_w, of encoder and decoder."""
        return 2 * (self.D * self.width + 3 * self.width**2 + self.width * self.d)

    @property
    def bytes_cell(self) -> float:
        """b, on disk."""
        return BYTES_NONZERO * self.density * self.D

    @property
    def bytes_read(self) -> float:
        """Two passes, for the scaling and for the results, and the cells of all steps."""
        return (2 * self.n + self.steps * self.batch) * self.bytes_cell

    @property
    def operations_step(self) -> float:
        """Forward and backward of a batch, the tangents at the regulariser's points, Newton–Schulz of six matrices."""
        tangents = self.points * self.d / 2
        return 6 * self.weights * (self.batch + tangents) + 6 * 18 * self.width**3

    @property
    def bytes_message(self) -> int:
        """All gradients, float32."""
        return 4 * self.weights


@dataclass(frozen=True)
class Machine:
    """What a process has.

    Attributes
    ----------
    operations
        A second, sustained.
    overhead
        Seconds of a step that do not shrink with the batch: launches, Python.
    cells
        A second that are read from disk and made dense, of `Task.D` = 2,000.
    bandwidth, latency
        Of a message among processes, bytes a second and seconds.
    described
        Cells a second whose place, error and determinant are computed.
    """

    operations: float
    overhead: float
    cells: float
    bandwidth: float
    latency: float
    described: float


CORE = Machine(operations=32e9, overhead=18e-3, cells=110e3, bandwidth=1.4e9, latency=1e-4, described=7e3)
"""One core of the machine of the measurements, fitted to what `measure` told of it: other work ran beside."""

GPU = Machine(operations=8e12, overhead=6e-3, cells=110e3, bandwidth=10e9, latency=3e-5, described=2e6)
"""Assumed, not measured: a fraction of the float32 peak of a data-centre GPU, 600 launches of 10 microseconds a step, a
network of 10 GB/s; rows are made dense by one core for each GPU, as measured."""


def seconds_step(task: Task, machine: Machine, size: int) -> float:
    """Of one step of ``size`` processes: read, compute, exchange, one after the other."""
    read = task.batch / size / machine.cells * task.D / 2_000
    compute = machine.overhead + task.operations_step / size / machine.operations
    return read + compute + seconds_exchange(task, machine, size)


def seconds_exchange(task: Task, machine: Machine, size: int) -> float:
    """Of the messages of a step: all gradients round a ring, and small ones."""
    if size == 1:
        return 0.0
    return N_COLLECTIVES * machine.latency + 2 * (size - 1) / size * task.bytes_message / machine.bandwidth


def seconds_passes(task: Task, machine: Machine, size: int) -> float:
    """Of the two passes over all cells, and of what is computed in the second."""
    return task.n / size * (2 / machine.cells * task.D / 2_000 + 1 / machine.described)


def predict() -> None:
    """Print what the model says of the measured points, and of 100,000,000 cells."""
    print("| what | predicted |\n|---|---|")
    for D, size in ((50, 1), (50, 2), (2_000, 1), (2_000, 2)):
        step = seconds_step(Task(10**6, D=D), replace(CORE, cells=float("inf")), size)
        print(f"| step in memory, D = {D}, {size} process(es) of this machine | {1e3 * step:.1f} ms |")
    print()
    print("| 100,000,000 cells on | read by each | two passes | 1,500 steps | one epoch, 195,313 steps | exchange |")
    print("|---|---|---|---|---|---|")
    task = Task(10**8)
    for size in (1, 8, 64):
        step = seconds_step(task, GPU, size)
        share = seconds_exchange(task, GPU, size) / step
        epoch = task.n / task.batch * step
        print(
            f"| {size} GPU{'s' * (size > 1)} | {task.bytes_read / size / 1e9:.0f} GB | "
            f"{seconds_passes(task, GPU, size) / 60:.1f} min | {task.steps * step:.0f} s | {epoch / 60:.0f} min | "
            f"{share:.0%} |"
        )


def measure() -> None:
    """Print steps of one process and of two, messages, reading and description."""
    torch.set_num_threads(1)
    print("| what | measured |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for D in (50, 2_000):
            for size in (1, 2):
                print(
                    f"| step, D = {D}, {size} process(es) | {1e3 * fastest_step(D, size, folder):.1f} ms |", flush=True
                )
        file = Path(folder) / "messages"
        multiprocessing.spawn(_exchange, (2, str(file)), 2)
        print(f"| messages a step; all gradients of D = 2000 by gloo | {file.with_suffix('.txt').read_text()} |")
    for what, rate in rates():
        print(f"| {what} | {rate:,.0f} cells a second |", flush=True)


def fastest_step(D: int, size: int, folder: str) -> float:
    """Seconds of the fastest of many steps in memory: other work on the machine cannot make one faster."""
    file = Path(folder) / f"step_{D}_{size}"
    if size == 1:
        _steps(0, 1, D, str(file))
    else:
        multiprocessing.spawn(_steps, (size, D, str(file)), size)
    return float(file.with_suffix(".txt").read_text())


def _steps(rank: int, size: int, D: int, file: str) -> None:
    torch.set_num_threads(1)
    if size > 1:
        distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=size)
    times = []
    backward = Trainer._backward

    def stamped(self: Trainer, index: torch.Tensor) -> torch.Tensor:
        times.append(time.perf_counter())
        return backward(self, index)

    Trainer._backward = stamped
    X = np.random.default_rng(0).standard_normal((5_000, D), dtype=np.float32)
    tl.geometric_ae(ad.AnnData(obsm={"X_pca": X}), n_steps=200)
    if rank == 0:
        Path(file).with_suffix(".txt").write_text(str(np.percentile(np.diff(times), 10)))
    Trainer._backward = backward
    if size > 1:
        distributed.destroy_process_group()


def _exchange(rank: int, size: int, file: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=size)
    gradients = torch.zeros(Task(1).weights)
    seconds = []
    for _ in range(50):
        start = time.perf_counter()
        processes.sum_(gradients)
        seconds.append(time.perf_counter() - start)
    count = [0]
    for name in ("all_reduce", "all_gather"):
        setattr(distributed, name, _counting(getattr(distributed, name), count))
    counts = []
    step = Trainer._backward

    def counted(self: Trainer, index: torch.Tensor) -> torch.Tensor:
        counts.append(count[0])
        return step(self, index)

    Trainer._backward = counted
    X = np.random.default_rng(0).standard_normal((2_000, 50), dtype=np.float32)
    tl.geometric_ae(ad.AnnData(obsm={"X_pca": X}), n_steps=20)
    if rank == 0:
        text = f"{int(np.median(np.diff(counts)))}; {1e3 * np.percentile(seconds, 10):.1f} ms"
        Path(file).with_suffix(".txt").write_text(text)
    distributed.destroy_process_group()


def _counting(function: object, count: list[int]) -> object:
    def counted(*args: object, **arguments: object) -> object:
        count[0] += 1
        return function(*args, **arguments)

    return counted


def rates() -> Iterator[tuple[str, float]]:
    """Cells a second that are read from a sparse file, and that are described."""
    n, task = 40_000, Task(1)
    X = sparse.random(n, task.D, task.density, "csr", np.float32, np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as folder:
        ad.AnnData(X).write_h5ad(Path(folder) / "cells.h5ad")
        rows = _streams.StreamedRows(ad.read_h5ad(Path(folder) / "cells.h5ad", backed="r").X, None, torch.device("cpu"))
        seconds = []
        for start in range(0, n - rows.chunk, rows.chunk):
            before = time.perf_counter()
            rows.block(start, start + rows.chunk)
            seconds.append(time.perf_counter() - before)
        yield "read and made dense", rows.chunk / np.percentile(seconds, 10)
    adata = ad.AnnData(obsm={"X_pca": X[:4_000].toarray()})
    tl.geometric_ae(adata, n_steps=5)
    cells = DenseRows(adata.obsm["X_pca"], torch.device("cpu"))
    seconds = []
    for _ in range(10):
        before = time.perf_counter()
        describe(get.model(adata), cells)
        seconds.append(time.perf_counter() - before)
    yield "described", len(adata) / min(seconds)


def main() -> None:
    """Predict, or measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["predict", "measure"], default="predict")
    {"predict": predict, "measure": measure}[parser.parse_args().what]()


if __name__ == "__main__":
    main()
