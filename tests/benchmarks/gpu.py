"""What does a GPU give: the same maps, sooner? Needs torch, numpy, scipy and scikit-learn, no scanpy and no anndata.

``python tests/benchmarks/gpu.py`` prints one table in under six minutes; ``--quick`` tries the script on few cells.

Maps by the processor and by the GPU from the same seed, maps by the GPU made twice and with faster matrix products, a
step as it is and captured in a CUDA graph, and whole fits of data that lie in the memory of the card. Without a GPU the
rows that need one say so, and the others are those of the processor.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.linalg import orthogonal_procrustes

# The package itself says its version, which only an installed one has; `core` needs neither it nor anything of ours.
package = sys.modules.setdefault("scgeoae", ModuleType("scgeoae"))
package.__path__ = [str(Path(__file__).parents[2] / "scgeoae")]

from scgeoae.core.autoencoder import GeometricAutoencoder  # noqa: E402
from scgeoae.core.fit import Fitted, choose_by_data, fit  # noqa: E402
from scgeoae.core.spec import Spec  # noqa: E402
from scgeoae.core.step import Drawn, Sample, State, backward, draw, step  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

SPEC = Spec(
    n_components=2,
    hidden_dims=(100, 100, 100, 100),
    n_steps=None,
    batch_size=None,
    learning_rate=0.08,
    validation_fraction=0.1,
    patience=None,
    weights={"regularizer": 0.2, "contrast": 0.05, "distance": 0.1},
    regularizer={"area": 1.0, "conformal": 0.3},
    noise=None,
    init="pca",
)
"""The training of `tl.geometric_ae` by default."""
COMPARED = (3_000, 50)
FITS = ((10_000, 50), (100_000, 50), (1_000_000, 50), (100_000, 2_000))
ON_HOST = 10_000
"""Largest number of cells that the processor fits too."""
STEPS = ((512, 50), (2_048, 50), (2_048, 2_000))
N_STEPS = 40
NO_GPU = "skipped: torch finds no CUDA device"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the cells and at most 30 steps of training")
    quick = parser.parse_args().quick
    spec, share = (replace(SPEC, n_steps=30), 10) if quick else (SPEC, 1)
    gpu = torch.device("cuda") if torch.cuda.is_available() else None
    print(
        f"torch {torch.__version__}; {torch.cuda.get_device_name() if gpu else 'no GPU'}; one thread on the processor\n"
    )
    print("| what | cells x features | processor | GPU |\n|---|---|---|---|")
    torch.set_num_threads(1)
    n, n_features = COMPARED[0] // share, COMPARED[1]
    compared(n, n_features, spec, gpu)
    for batch, width in STEPS:
        steps(batch, width, gpu)
    for cells, width in FITS:
        whole(cells // share, width, spec, gpu, on_host=cells <= ON_HOST)


@dataclass
class Rows:
    """A matrix on a device."""

    x: torch.Tensor
    chunk = 1

    @property
    def shape(self) -> tuple[int, int]:
        return self.x.shape[0], self.x.shape[1]

    @property
    def device(self) -> torch.device:
        return self.x.device

    def take(self, index: torch.Tensor) -> torch.Tensor:
        return self.x.index_select(0, index.to(self.device))

    def block(self, start: int, stop: int) -> torch.Tensor:
        return self.x[start:stop]


def cells(n: int, n_features: int, device: torch.device | str = "cpu") -> Rows:
    """Ten groups on a curved surface with noise."""
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(10, 2))[rng.integers(10, size=n)] + 0.3 * rng.normal(size=(n, 2))
    x = np.sin(plane @ rng.normal(size=(2, n_features))).astype(np.float32)
    x += 0.3 * rng.standard_normal(x.shape, dtype=np.float32)
    return Rows(torch.from_numpy(x).to(device))


def row(what: str, n: int, n_features: int, host: str, gpu: str) -> None:
    print(f"| {what} | {n:,} x {n_features:,} | {host} | {gpu} |", flush=True)


def timed(call: Callable[[], Fitted], device: torch.device | str) -> tuple[Fitted, str]:
    """Return what a fit returns, and its seconds and peak memory on the card in words."""
    if on_gpu := str(device).startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    fitted = call()
    seconds = time.perf_counter() - start
    memory = f", {torch.cuda.max_memory_allocated() / 2**20:,.0f} MB" if on_gpu else ""
    return fitted, f"{seconds:.2f} s for {fitted.spec.n_steps} steps{memory}"


def compared(n: int, n_features: int, spec: Spec, gpu: torch.device | None) -> None:
    """Print the map of the processor beside maps of the GPU from the same seed."""
    host = fit(cells(n, n_features), spec, 0)
    again = fit(cells(n, n_features), spec, 1)
    row("map: loss, regularizer, p95/p5 of det", n, n_features, quality(host), NO_GPU if gpu is None else "below")
    row("displacement from the map of another seed", n, n_features, f"{displacement(host, again):.3f}", "")
    if gpu is None:
        return
    rows = cells(n, n_features, gpu)
    fit(rows, replace(spec, n_steps=10), 0)  # the first call is slower
    first = None
    for precision in ("highest", "highest", "high", "medium"):
        torch.set_float32_matmul_precision(precision)
        made, cost = timed(lambda: fit(rows, spec, 0), gpu)
        first = first or made
        apart = f"displacement {displacement(host, made):.3f} from the processor's"
        equal = f"{np.abs(made.cells.z - first.cells.z).max():.2g} from the first at most"
        row(f"map, products of {precision} precision", n, n_features, "", f"{quality(made)}; {apart}; {equal}; {cost}")
    torch.set_float32_matmul_precision("highest")


def quality(fitted: Fitted) -> str:
    kept, (low, high) = fitted.history.kept, np.percentile(fitted.cells.log_det, [5, 95])
    losses = "-" if kept is None else f"{kept.reconstruction:.4f}, {kept.regularizer:.4f}"
    return f"{losses}, {np.exp(high - low):.3f}"


def displacement(one: Fitted, other: Fitted) -> float:
    """As :func:`scgeoae.metrics.displacement`."""
    a, b = (z / np.sqrt(z.var(0).sum()) for z in (f.cells.z - f.cells.z.mean(0) for f in (one, other)))
    turn, _ = orthogonal_procrustes(b, a)
    return float(np.median(np.linalg.norm(b @ turn - a, axis=1)))


def steps(batch: int, n_features: int, gpu: torch.device | None) -> None:
    """Print milliseconds of a step, with its random numbers and the reading of its cells, as it is and captured."""
    plain, _ = trained(batch, n_features, torch.device("cpu"), eager)
    row("step", batch, n_features, f"{plain:.2f} ms", NO_GPU if gpu is None else "")
    if gpu is None:
        return
    eagerly, weights = trained(batch, n_features, gpu, eager)
    row("step", batch, n_features, "", f"{eagerly:.2f} ms")
    try:
        graph, others = trained(batch, n_features, gpu, Captured)
    except RuntimeError as error:
        row("step, captured", batch, n_features, "", f"failed: {str(error).splitlines()[0]}")
        return
    apart = (weights - others).abs().max().item()
    row("step, captured", batch, n_features, "", f"{graph:.2f} ms; weights {apart:.2g} from the other at most")


def trained(
    batch: int,
    n_features: int,
    device: torch.device,
    way: Callable[[State], Callable[[Sample, Drawn, float], object]],
) -> tuple[float, torch.Tensor]:
    """Take steps in one way; return the milliseconds of each and the weights at the end."""
    data = cells(4 * batch, n_features, device)
    generator = torch.Generator().manual_seed(0)
    model = GeometricAutoencoder(n_features, hidden_dims=SPEC.hidden_dims, generator=generator).to(device)
    model.observation.fit(data)
    spec = choose_by_data(replace(SPEC, batch_size=batch), 4 * batch, model.standardize(data.x[:batch]))
    state = State(model, spec)
    take = way(state)
    seconds = []
    for _ in range(N_STEPS):
        start = time.perf_counter()
        read = data.take(torch.randint(4 * batch, (batch,), generator=generator))
        take(Sample(model.standardize(read)), draw(spec, batch, model, generator), 0.5)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return 1e3 * float(np.percentile(seconds[5:], 25)), state.optimizer.array.detach().cpu()


def eager(state: State) -> Callable[[Sample, Drawn, float], object]:
    """Steps as the training takes them."""
    return partial(step, state)


class Captured:
    """Steps in a CUDA graph: inputs are copied to where the graph reads them."""

    def __init__(self, state: State) -> None:
        self.state, self.graph = state, None
        self.inputs: list[torch.Tensor] = []

    def __call__(self, batch: Sample, drawn: Drawn, share: float) -> None:
        optimizer = self.state.optimizer
        optimizer.n_steps += 1
        given = [batch.x, drawn.noise, drawn.shares, optimizer.rates(share)]
        if self.graph is None:
            self.inputs = [part.clone() for part in given]
            self.capture()
        for place, part in zip(self.inputs, given, strict=True):
            place.copy_(part)
        self.graph.replay()

    def capture(self) -> None:
        """Run once for what is made at the first time, undo that, and capture."""
        optimizer = self.state.optimizer
        changed = [optimizer.array, optimizer._average, optimizer._square]
        before = [part.detach().clone() for part in changed]
        other = torch.cuda.Stream()
        other.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(other):
            self.run()
        torch.cuda.current_stream().wait_stream(other)
        with torch.no_grad():
            for part, value in zip(changed, before, strict=True):
                part.copy_(value)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.run()

    def run(self) -> None:
        x, noise, shares, rates = self.inputs
        backward(self.state, Sample(x), Drawn(noise, shares))
        self.state.optimizer.update(rates)


def whole(n: int, n_features: int, spec: Spec, gpu: torch.device | None, *, on_host: bool) -> None:
    """Print seconds and peak memory of a whole fit of data on the device."""
    host, card = "", NO_GPU
    if on_host:
        _, host = timed(lambda: fit(cells(n, n_features), spec, 0), "cpu")
    if gpu is not None:
        rows = cells(n, n_features, gpu)
        _, card = timed(lambda: fit(rows, spec, 0), gpu)
    row("whole fit", n, n_features, host, card)


if __name__ == "__main__":
    main()
