"""How long a step, a whole call and an import take, each as a ratio within one run: run by hand.

``python tests/benchmarks/speed.py steps | calls | busy | describe | imports``
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import baselines
import datasets
import numpy as np
import scoring
import torch

import scgeoae
from scgeoae._input import DenseRows
from scgeoae.core import evaluation, rows, training
from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.evaluation import describe
from scgeoae.core.fit import prepare
from scgeoae.core.rows import fit_scaling
from scgeoae.core.spec import Spec
from scgeoae.tl import _arguments

if TYPE_CHECKING:
    from collections.abc import Callable

N_ROUNDS = 30
ALL_THREADS = "ours, on all threads"
BUSY = "while True: sum(range(10**6))"
RESAMPLING_NOISE = 0.7
"""Standard deviation of the noise on resampled cells, as a share of that of each component: so much that copies of a
cell lie hardly closer than other cells do. With less the neighbour graph falls into a piece for each cell, and UMAP is
held up, or ended, by placing the pieces."""
SPEC = _arguments.spec(
    (100, 50),
    **{field.name: scoring.DEFAULTS[field.name] for field in fields(Spec)} | {"n_steps": 1, "validation_fraction": 0.0},
)
"""The default training, one step of it."""


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        return worker(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    steps_of = commands.add_parser("steps", help="one optimiser step, with and without regulariser, and the paper's")
    calls_of = commands.add_parser("calls", help="whole calls against neighbors + UMAP and t-SNE")
    describe_of = commands.add_parser("describe", help="coordinates, determinants, anisotropy, errors of trained cells")
    busy_of = commands.add_parser("busy", help="a whole call beside other programs, against a quiet machine")
    busy_of.add_argument("--cells", type=int, default=3000)
    busy_of.add_argument("--others", type=int, default=2, help="number of processes beside")
    for command in (calls_of, busy_of):
        command.add_argument("--data", type=Path, help="folder of data sets")
        command.add_argument("--set", default="pbmc68k_reduced", help="set whose cells are resampled")
    commands.add_parser("imports", help="import scgeoae after import scanpy, and the first call's overhead")
    for command in (steps_of, describe_of):
        command.add_argument("--device", default="cpu")
    steps_of.add_argument("--features", default="50,2000", help="widths of the input with commas between")
    steps_of.add_argument("--batches", default="125,512,1024,4096")
    calls_of.add_argument("--sizes", default="3000,68000", help="numbers of cells with commas between")
    calls_of.add_argument("--methods", default="ours,UMAP,t-SNE")
    calls_of.add_argument("--limit", type=float, help="seconds after which a call is ended")
    describe_of.add_argument("--cells", type=int, default=1_000_000)
    arguments = vars(parser.parse_args())
    functions = {"steps": steps, "calls": calls, "busy": busy, "describe": describe_cells, "imports": imports}
    functions[arguments.pop("command")](**arguments)
    return None


def steps(device: str, features: str, batches: str) -> None:
    """Milliseconds a step, loss, gradients and optimiser, and their ratios to the plain autoencoder's."""
    print("| features | batch | plain, ms | default | without contrast | regulariser on all cells | the paper's way |")
    print("|---|---|---|---|---|---|---|")
    for n_features in map(int, features.split(",")):
        for batch in map(int, batches.split(",")):
            kinds = {
                "plain": our_step(n_features, batch, device, alpha=0.0, contrast_weight=0.0),
                "default": our_step(n_features, batch, device),
                "part": our_step(n_features, batch, device, contrast_weight=0.0),
                "full": our_step(
                    n_features, batch, device, contrast_weight=0.0, regularizer_batch=batch, interpolation=0.0
                ),
                "paper": paper_step(n_features, batch, device),
            }
            seconds = interleaved(kinds, device)
            ratios = [f"{seconds[name] / seconds['plain']:.2f}" for name in ("default", "part", "full", "paper")]
            print(f"| {n_features} | {batch} | {1e3 * seconds['plain']:.2f} | {' | '.join(ratios)} |", flush=True)


def our_step(n_features: int, batch: int, device: str, **changes: Any) -> Callable[[], None]:
    data = DenseRows(gaussian(4 * batch, n_features), torch.device(device))
    trainer = prepare(data, replace(SPEC, batch_size=batch, **changes), seed=0)
    optimizer = trainer.optimizer
    index = torch.arange(batch)

    def step() -> None:
        trainer._backward(index)
        optimizer.step(1.0)

    return step


def paper_step(n_features: int, batch: int, device: str) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(0)
    dims = (n_features, *baselines.HIDDEN_DIMS, 2)
    encoder, decoder = (baselines._network(d, generator).to(device) for d in (dims, dims[::-1]))
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
    x = torch.from_numpy(gaussian(batch, n_features)).to(device)

    def step() -> None:
        z = encoder(x)
        loss = (decoder(z) - x).square().mean() + 0.1 * baselines._log_det_gram(decoder, z).var()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def interleaved(kinds: dict[str, Callable[[], None]], device: str) -> dict[str, float]:
    """Lower quartile of the seconds of each kind, taken in turn so that noise meets all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for i in range(N_ROUNDS + 3):
        for name, step in kinds.items():
            start = time.perf_counter()
            step()
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            if i >= 3:
                seconds[name].append(time.perf_counter() - start)
    return {name: float(np.percentile(values, 25)) for name, values in seconds.items()}


def calls(sizes: str, methods: str, data: Path | None, set: str, limit: float | None) -> None:
    """Seconds and memory of whole calls, each in a process of its own after a small first call."""
    X, _ = datasets.load(set, data)
    print("| cells | method | seconds | memory, MB |\n|---|---|---|---|")
    for size in map(int, sizes.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            file, answer = Path(folder) / "data.npy", Path(folder) / "answer.json"
            np.save(file, resampled(X, size))
            for method in methods.split(","):
                threads = os.environ.get("OMP_NUM_THREADS", str(os.cpu_count()))
                command = [sys.executable, "-W", "ignore", __file__, "--worker", method, str(file), str(answer)]
                try:
                    environment = os.environ | {"NUMBA_NUM_THREADS": threads}
                    subprocess.run(command, check=True, env=environment, timeout=limit)
                except subprocess.TimeoutExpired:
                    print(f"| {size:,} | {method} | more than {limit:.0f} | |", flush=True)
                else:
                    seconds, memory = json.loads(answer.read_text())
                    print(f"| {size:,} | {method} | {seconds:.1f} | {memory:.0f} |", flush=True)


def busy(cells: int, others: int, data: Path | None, set: str) -> None:
    """Seconds of the default call on a quiet machine and beside processes that compute, by one thread and by all."""
    X, _ = datasets.load(set, data)
    print("| threads | quiet, s | beside others, s | ratio |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        file, answer = Path(folder) / "data.npy", Path(folder) / "answer.json"
        np.save(file, resampled(X, cells))
        for method in ("ours", ALL_THREADS):
            seconds = []
            for n_others in (0, others):
                beside = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(n_others)]
                try:
                    command = [sys.executable, "-W", "ignore", __file__, "--worker", method, str(file), str(answer)]
                    subprocess.run(command, check=True)
                finally:
                    for process in beside:
                        process.kill()
                seconds.append(json.loads(answer.read_text())[0])
            print(f"| {method} | {seconds[0]:.1f} | {seconds[1]:.1f} | {seconds[1] / seconds[0]:.1f} |", flush=True)


def worker(method: str, file: str, answer: str) -> None:
    """Time one whole call."""
    X = np.load(file)
    if method == ALL_THREADS:
        training.LARGE_STEP = evaluation.LARGE_PASS = rows.LARGE_PASS = 0
        method = "ours"
    if method == "t-SNE":
        baselines.tsne(X[:500], X[:5], seed=0)
    elif method == "UMAP":
        baselines.warm_up()
    else:
        scoring.ours({"n_steps": 10})(X[:500], X[:5], seed=0)
    call = {"UMAP": baselines.umap, "t-SNE": baselines.tsne}.get(method) or geometric_ae(scoring.VARIANTS[method])
    scoring.reset_peak_memory()
    before = scoring.peak_memory()
    seconds = call(X, X[:5], seed=0).seconds
    Path(answer).write_text(json.dumps([seconds, scoring.peak_memory() - before]))


def geometric_ae(arguments: dict[str, Any]) -> Callable[..., baselines.Embedding]:
    """The call and nothing else."""

    def call(X_train: np.ndarray, X_test: np.ndarray, *, seed: int) -> baselines.Embedding:
        adata = ad.AnnData(obsm={"X_pca": X_train})
        start = time.perf_counter()
        scgeoae.tl.geometric_ae(adata, rng=seed, **arguments)
        return baselines.Embedding(adata.obsm["X_geoae"], None, time.perf_counter() - start)

    return call


def describe_cells(cells: int, device: str) -> None:
    """One pass over trained cells: coordinates, determinants, anisotropy and errors."""
    data = DenseRows(gaussian(cells, 50), torch.device(device))
    model = GeometricAutoencoder(50, generator=torch.Generator().manual_seed(0)).to(device)
    fit_scaling(model, data)
    scoring.reset_peak_memory()
    before = scoring.peak_memory()
    start = time.perf_counter()
    describe(model, data)
    seconds = time.perf_counter() - start
    print(f"describe {cells:,} x 50: {seconds:.1f} s, {scoring.peak_memory() - before:.0f} MB")


def imports() -> None:
    """Seconds that `import scgeoae` adds to `import scanpy`, and that a first small call takes above a second one."""
    program = (
        "import time, scanpy as sc; a = time.perf_counter(); import scgeoae; b = time.perf_counter();"
        "scgeoae.tl.geometric_ae;"  # imports torch
        "adata = sc.datasets.pbmc68k_reduced(); t = [time.perf_counter()];"
        "[(scgeoae.tl.geometric_ae(adata, n_steps=20), t.append(time.perf_counter())) for _ in range(2)];"
        "print(b - a, 2 * t[1] - t[0] - t[2])"
    )
    runs = [subprocess.check_output([sys.executable, "-W", "ignore", "-c", program], text=True) for _ in range(3)]
    added, overhead = np.median([[float(x) for x in run.split()] for run in runs], axis=0)
    print(f"import scgeoae after scanpy: {added:.3f} s; first call above the second: {overhead:.2f} s")


def gaussian(n: int, n_features: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, n_features), dtype=np.float32)


def resampled(X: np.ndarray, size: int) -> np.ndarray:
    """Cells drawn with replacement, with noise, or without where there are enough."""
    rng = np.random.default_rng(0)
    if size <= len(X):
        return X[rng.choice(len(X), size, replace=False)]
    noise = rng.standard_normal((size, X.shape[1]), dtype=np.float32)
    return X[rng.integers(len(X), size=size)] + RESAMPLING_NOISE * X.std(0) * noise


if __name__ == "__main__":
    main()
