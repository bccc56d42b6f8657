"""How long do a training step, whole calls, results, the table of measures and the import take?

``python tests/benchmarks/speed.py steps | floor | gradients | calls | busy | describe | table | imports``

`steps`, `floor` and `describe` compare with the least work that the task needs, `gradients` with those of autograd,
`calls` with UMAP and t-SNE, `busy` with the same call on a quiet machine, all within one run.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import baselines
import datasets
import numpy as np
import scanpy as sc
import scoring
import streaming
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import scgeoae
from scgeoae.core import evaluation, fit, geometry, loop, rows, terms
from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.step import Sample, State, draw, step
from scgeoae.inputs import DenseRows
from scgeoae.tl.plan import plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from scgeoae.core.network import DenseNetwork

N_ROUNDS = 30
ALL_THREADS = "ours, on all threads"
BUSY = "while True: sum(range(10**6))"
RESAMPLING_NOISE = 0.7
"""Standard deviation of the noise on resampled cells, as a share of that of each component. Copies of a cell then are
hardly closer than other cells. With less noise the neighbor graph has one connected component for each cell, and UMAP
takes long, or fails, to place these."""
NO_PART = ("adata", "key_added", "rng", "copy")
DEFAULTS = {
    name: argument.default
    for name, argument in inspect.signature(scgeoae.tl.geometric_ae).parameters.items()
    if name not in NO_PART
}
SPEC = plan(ad.AnnData(obsm={"X_pca": np.zeros((100, 50))}), **DEFAULTS).spec
"""The default training."""
REGULARIZER = {"regularizer": SPEC.weights["regularizer"]}


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        return worker(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    steps_of = commands.add_parser("steps", help="one optimizer step, with and without regularizer, and the paper's")
    floor_of = commands.add_parser("floor", help="one optimizer step against its matrix products alone")
    commands.add_parser("gradients", help="hand-written gradients against autograd")
    calls_of = commands.add_parser("calls", help="whole calls against neighbors + UMAP and t-SNE")
    busy_of = commands.add_parser("busy", help="a whole call beside other programs, against a quiet machine")
    describe_of = commands.add_parser("describe", help="map many cells, decode them and measure the map there")
    table_of = commands.add_parser("table", help="metrics.embedding_quality of five maps")
    commands.add_parser("imports", help="import scgeoae after import scanpy, and the first call's overhead")
    busy_of.add_argument("--cells", type=int, default=3000)
    busy_of.add_argument("--others", type=int, default=2, help="number of other processes")
    for command in (calls_of, busy_of):
        command.add_argument("--data", type=Path, help="folder of data sets")
        command.add_argument("--set", default="pbmc68k_reduced", help="set whose cells are resampled")
    for command, batches in ((steps_of, "125,512,1024,4096"), (floor_of, "256,512,2048")):
        command.add_argument("--device", default="cpu")
        command.add_argument("--features", default="50,2000", help="widths of the input with commas between")
        command.add_argument("--batches", default=batches)
    calls_of.add_argument("--sizes", default="3000,68000", help="numbers of cells with commas between")
    calls_of.add_argument("--methods", default="ours,UMAP,t-SNE")
    calls_of.add_argument("--limit", type=float, help="seconds after which a call is ended")
    describe_of.add_argument("--cells", type=int, default=1_000_000)
    table_of.add_argument("--cells", type=int, default=10_000)
    arguments = vars(parser.parse_args())
    functions = {f.__name__: f for f in (steps, floor, gradients, calls, busy, describe, table, imports)}
    functions[arguments.pop("command")](**arguments)
    return None


def steps(device: str, features: str, batches: str) -> None:
    """Print milliseconds of a step (loss, gradients, optimizer) as multiples of the plain autoencoder's."""
    print("| features | batch | plain, ms | default | without contrast | regularizer on all cells | the paper's way |")
    print("|---|---|---|---|---|---|---|")
    for n_features in map(int, features.split(",")):
        for batch in map(int, batches.split(",")):
            kinds = {
                "plain": our_step(n_features, batch, device, weights={}),
                "default": our_step(n_features, batch, device),
                "part": our_step(n_features, batch, device, weights=REGULARIZER),
                "full": our_step(
                    n_features, batch, device, weights=REGULARIZER, regularizer_batch=batch, interpolation=0.0
                ),
                "paper": paper_step(n_features, batch, device),
            }
            seconds = interleaved(kinds, device)
            ratios = [f"{seconds[name] / seconds['plain']:.2f}" for name in ("default", "part", "full", "paper")]
            print(f"| {n_features} | {batch} | {1e3 * seconds['plain']:.2f} | {' | '.join(ratios)} |", flush=True)


def floor(device: str, features: str, batches: str) -> None:
    """Print milliseconds of a step on one thread, and of its matrix products, with operands of the same shapes."""
    torch.set_num_threads(1)
    print("| features | batch | step, ms | products, ms | step / products |\n|---|---|---|---|---|")
    for n_features in map(int, features.split(",")):
        for batch in map(int, batches.split(",")):
            once = our_step(n_features, batch, device)
            seconds = interleaved({"step": once, "products": recorded(once).replay}, device)
            step, products = (1e3 * seconds[name] for name in ("step", "products"))
            print(f"| {n_features} | {batch} | {step:.2f} | {products:.2f} | {step / products:.2f} |", flush=True)


class Products(TorchDispatchMode):
    """Records the matrix products that run within it, gradients' and optimizers' too."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Callable[[], object]] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        plain = {"mm": torch.mm, "addmm": torch.mm, "bmm": torch.bmm, "baddbmm": torch.bmm}
        if product := plain.get(operation.overloadpacket.__name__):
            self.calls.append(partial(product, *(like(x) for x in args[-2:]), out=torch.empty_like(result)))
        return result

    def replay(self) -> None:
        """Run the same products, and nothing else."""
        for call in self.calls:
            call()


def recorded(call: Callable[[], None]) -> Products:
    with Products() as products:
        call()
    return products


def like(x: torch.Tensor) -> torch.Tensor:
    """Random numbers in the layout of `x`, which may be transposed or a part."""
    length = 1 + sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    return torch.randn(length, device=x.device).as_strided(x.shape, x.stride())


def our_step(n_features: int, batch: int, device: str, **changes: Any) -> Callable[[], None]:
    torch.zeros(4_000_000)  # as in a training, where a large array was freed before: later ones then reuse their memory
    data = DenseRows(gaussian(4 * batch, n_features), torch.device(device))
    generator = torch.Generator().manual_seed(0)
    model = GeometricAutoencoder(n_features, hidden_dims=SPEC.hidden_dims, generator=generator).to(device)
    model.observation.fit(data)
    index = torch.arange(batch)
    spec = replace(SPEC, batch_size=batch, **changes)
    spec = fit.choose_by_data(spec, data.shape[0], model.standardize(data.take(index)))
    state = State(model, spec)

    def once() -> None:
        step(state, Sample(model.standardize(data.take(index))), draw(spec, batch, model, generator), 1.0)

    return once


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


def gradients() -> None:
    """Print milliseconds of value and gradient of what has a gradient by hand, and of the same by autograd."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    decoder = GeometricAutoencoder(50, hidden_dims=SPEC.hidden_dims, generator=generator).decoder
    print("| part | size | by hand, ms | by autograd, ms |\n|---|---|---|---|")
    for name, size, by_hand, plain in (
        (
            "decoder",
            (288, 2),
            partial(decoded, decoder.pushforward),
            partial(decoded, partial(plain_pushforward, decoder)),
        ),
        ("log determinant", (2, 64, 50), geometry.log_det, plain_log_det),
        ("log determinant", (2, 2048, 50), geometry.log_det, plain_log_det),
        ("contrast", (256, 2), contrast_by_hand, plain_contrast),
        ("contrast", (2048, 2), contrast_by_hand, plain_contrast),
    ):
        leaf = torch.randn(size, generator=generator, requires_grad=True)
        kinds = {
            "hand": lambda leaf=leaf, f=by_hand: f(leaf).sum().backward(),
            "plain": lambda leaf=leaf, f=plain: f(leaf).sum().backward(),
        }
        seconds = interleaved(kinds, "cpu")
        print(f"| {name} | {size} | {1e3 * seconds['hand']:.2f} | {1e3 * seconds['plain']:.2f} |")


def decoded(push: Callable[[torch.Tensor, int], tuple[torch.Tensor, torch.Tensor]], z: torch.Tensor) -> torch.Tensor:
    values, tangents = push(z, SPEC.regularizer_batch)
    return values.sum() + tangents.sum()


def plain_pushforward(network: DenseNetwork, x: torch.Tensor, r: int) -> tuple[torch.Tensor, torch.Tensor]:
    tangents = torch.eye(x.shape[1])[:, None].expand(-1, r, -1)
    for layer in network.inner:
        v = layer(x)
        x = torch.nn.functional.elu(v)
        tangents = (tangents @ layer.weight.t()) * v[:r].clamp(max=0).exp()
    return network.last(x), tangents @ network.last.weight.t()


def plain_log_det(tangents: torch.Tensor) -> torch.Tensor:
    _, triangle = geometry.gram_schmidt(tangents)
    return triangle.diagonal(dim1=1, dim2=2).log().sum(1)


PARTNERS = torch.arange(1, 256).repeat(2)[:256]


def contrast_by_hand(z: torch.Tensor) -> torch.Tensor:
    return terms.cross_entropy(z, PARTNERS, torch.zeros(()))


def plain_contrast(z: torch.Tensor) -> torch.Tensor:
    z = (z - z.detach().mean(0)) / z.detach().std()
    squares = z.square().sum(1)
    distance = torch.addmm(squares + 1, z[:256], z.t(), alpha=-2) + squares[:256, None]
    kernel = distance.clamp(min=1).reciprocal()
    return ((kernel.sum(1) - 1) / kernel.gather(1, PARTNERS[:, None])[:, 0]).log().mean()


def interleaved(kinds: dict[str, Callable[[], None]], device: str) -> dict[str, float]:
    """Return the lower quartile of the seconds of each kind, run in turn so that other load affects all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for i in range(N_ROUNDS + 3):
        for name, call in kinds.items():
            start = time.perf_counter()
            call()
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            if i >= 3:
                seconds[name].append(time.perf_counter() - start)
    return {name: float(np.percentile(values, 25)) for name, values in seconds.items()}


def calls(sizes: str, methods: str, data: Path | None, set: str, limit: float | None) -> None:
    """Print seconds and memory of whole calls."""
    X, _ = datasets.load(set, data)
    print("| cells | method | seconds | memory, MB |\n|---|---|---|---|")
    for size in map(int, sizes.split(",")):
        for method in methods.split(","):
            try:
                seconds, memory = in_process(method, resampled(X, size), limit)
            except subprocess.TimeoutExpired:
                print(f"| {size:,} | {method} | more than {limit:.0f} | |", flush=True)
            else:
                print(f"| {size:,} | {method} | {seconds:.1f} | {memory:.0f} |", flush=True)


def busy(cells: int, others: int, data: Path | None, set: str) -> None:
    """Print seconds of calls on a quiet machine and beside other processes: ours on one thread and on all, UMAP."""
    X = resampled(datasets.load(set, data)[0], cells)
    print("| method | quiet, s | beside others, s | ratio |\n|---|---|---|---|")
    for method in ("ours", ALL_THREADS, "UMAP"):
        seconds = []
        for n_others in (0, others):
            beside = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(n_others)]
            try:
                seconds.append(in_process(method, X)[0])
            finally:
                for process in beside:
                    process.kill()
        print(f"| {method} | {seconds[0]:.1f} | {seconds[1]:.1f} | {seconds[1] / seconds[0]:.1f} |", flush=True)


def in_process(method: str, X: np.ndarray, limit: float | None = None) -> tuple[float, float]:
    """Return seconds and memory of a call in a process of its own, after a small first call."""
    threads = os.environ.get("OMP_NUM_THREADS", str(os.cpu_count()))
    with tempfile.TemporaryDirectory() as folder:
        file, answer = Path(folder) / "data.npy", Path(folder) / "answer.json"
        np.save(file, X)
        command = [sys.executable, "-W", "ignore", __file__, "--worker", method, str(file), str(answer)]
        subprocess.run(command, check=True, env=os.environ | {"NUMBA_NUM_THREADS": threads}, timeout=limit)
        return tuple(json.loads(answer.read_text()))


def worker(method: str, file: str, answer: str) -> None:
    """Time one whole call."""
    X = np.load(file)
    if method == ALL_THREADS:
        loop.LARGE_STEP = fit.LARGE_STEP = evaluation.LARGE_PASS = rows.LARGE_PASS = 0
        method = "ours"
    if method == "UMAP":
        baselines.warm_up()
    if method in baselines.METHODS:
        call = baselines.METHODS[method]
        call(X[:500], X[:5], seed=0)
        found, _, memory = scoring.with_cost(lambda: call(X, X[:5], seed=0))
        seconds = found.seconds
    else:
        scoring.trained(X[:500], {"n_steps": 10}, seed=0)
        (_, seconds), _, memory = scoring.with_cost(lambda: scoring.trained(X, scoring.VARIANTS[method], seed=0))
    Path(answer).write_text(json.dumps([seconds, memory]))


def describe(cells: int) -> None:
    """Print what it costs to map, to decode and to measure many cells; the products are what a task needs at least."""
    components = gaussian(cells, 50)
    model = scgeoae.get.model(scoring.trained(components[:10_000], {"n_steps": 10}, seed=0)[0])
    query = ad.AnnData(obsm={"X_pca": components}, shape=(cells, 0))
    print("| what | cells | seconds | cells a second | seconds / those of the products | memory, MB |")
    print("|---|---|---|---|---|---|")

    def row(name: str, n: int, call: Callable[[], object], least: float | None = None) -> None:
        _, seconds, memory = scoring.with_cost(call)
        ratio = f"{seconds / least:.2f}" if least else ""
        print(f"| {name} | {n:,} | {seconds:.1f} | {n / seconds:,.0f} | {ratio} | {memory:.0f} |", flush=True)

    products(model.autoencoder, components[:10_000])
    _, least, _ = scoring.with_cost(lambda: products(model.autoencoder, components))
    row("`tl.map_cells`, 50 components", cells, lambda: scgeoae.tl.map_cells(query, model), least)
    z = scgeoae.get.coordinates(query)
    row("determinant and anisotropy", cells, lambda: model.surface.distortion(z))
    row("`get.decode`, 50 components", cells, lambda: scgeoae.get.decode(model, z))

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cells.h5ad"
        n = cells // 10
        streaming.make(file, n, 0.07)
        query = ad.read_h5ad(file)
        reference = query[:: max(1, n // 5_000)].copy()
        sc.pp.pca(reference)
        scgeoae.tl.geometric_ae(reference, n_steps=10)
        model = scgeoae.get.model(reference)
        row(f"`tl.map_cells`, {query.n_vars:,} genes, sparse", n, lambda: scgeoae.tl.map_cells(query, model))
        z = scgeoae.get.coordinates(query)
        query = ad.read_h5ad(file, backed="r")
        row(f"`tl.map_cells`, {query.n_vars:,} genes, on disk", n, lambda: scgeoae.tl.map_cells(query, model))
        row(f"`get.decode`, {query.n_vars:,} genes", n, lambda: scgeoae.get.decode(model, z, space="genes"))


@torch.no_grad()
def products(model: GeometricAutoencoder, X: np.ndarray, block: int = 4_000) -> None:
    """Multiply by the weights: encode, decode, and push d tangents through the decoder in float64."""
    exact = [layer.weight.double().t() for layer in model.decoder.layers]
    for value in torch.from_numpy(X).split(block):
        rows = value
        for network in (model.encoder, model.decoder):
            for layer in network.layers:
                rows = rows @ layer.weight.t()
        place = torch.zeros(len(value), model.n_components, dtype=torch.float64)
        tangents = torch.zeros(model.n_components, len(value), exact[0].shape[1], dtype=torch.float64)
        place = place @ exact[0]
        for weight in exact[1:]:
            place, tangents = place @ weight, tangents @ weight


def table(cells: int) -> None:
    """Print seconds and memory of `metrics.embedding_quality` of five maps of cells with 50 features and labels."""
    group = np.random.default_rng(1).integers(10, size=cells)
    X = gaussian(cells, 50) + 3 * gaussian(10, 50)[group]
    adata = ad.AnnData(obsm={"X_pca": X} | {f"X_map{i}": X[:, 2 * i : 2 * i + 2].copy() for i in range(5)})
    adata.obs["group"] = group.astype(str)
    maps = [f"map{i}" for i in range(5)]
    _, seconds, memory = scoring.with_cost(lambda: scgeoae.metrics.embedding_quality(adata, maps, labels="group"))
    print(f"table of {cells:,} x 50, 5 maps: {seconds:.1f} s, {memory:.0f} MB")


def imports() -> None:
    """Print the seconds that the import adds to `import scanpy`, and those of a first small call above a second one."""
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
    """Draw cells without replacement where there are enough, otherwise with replacement and noise."""
    rng = np.random.default_rng(0)
    if size <= len(X):
        return X[rng.choice(len(X), size, replace=False)]
    noise = rng.standard_normal((size, X.shape[1]), dtype=np.float32)
    return X[rng.integers(len(X), size=size)] + RESAMPLING_NOISE * X.std(0) * noise


if __name__ == "__main__":
    main()
