"""What do data on disk cost: memory, time spent waiting for rows, and quality on a file that is sorted by type?

``OMP_NUM_THREADS=1 python tests/benchmarks/streaming.py memory --folder DIR``
``OMP_NUM_THREADS=1 python tests/benchmarks/streaming.py sorted --data DIR``
``OMP_NUM_THREADS=1 python tests/benchmarks/streaming.py map --folder DIR``
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import datasets
import h5py
import numpy as np
import pandas as pd
import scoring
from scipy import sparse

import scgeoae
from scgeoae.core import fit
from scgeoae.inputs import Matrix
from scgeoae.inputs import rows as input_rows

if TYPE_CHECKING:
    from scgeoae.core.loop import History

N_GENES = 2000
BLOCK = 20_000
N_SEEDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    memory = commands.add_parser("memory", help="peak memory and waiting at several numbers of cells")
    memory.add_argument("--folder", type=Path, required=True, help="where the files are made; they take gigabytes")
    memory.add_argument("--cells", default="200000,500000,1000000,2000000")
    memory.add_argument("--density", type=float, default=0.07)
    memory.add_argument("--steps", type=int, default=1500)
    by_type = commands.add_parser("sorted", help="quality from a file sorted by cell type, against memory")
    by_type.add_argument("--data", type=Path)
    by_type.add_argument("--set", default="pbmc68k_reduced")
    by_type.add_argument("--chunk", type=int, default=50, help="rows of a chunk: small, as the sets are")
    query = commands.add_parser("map", help="map new cells that lie on disk")
    query.add_argument("--folder", type=Path, required=True)
    query.add_argument("--cells", type=int, default=10_000_000)
    worker = commands.add_parser("train", help=argparse.SUPPRESS)
    worker.add_argument("file", type=Path)
    worker.add_argument("steps", type=int)
    arguments = vars(parser.parse_args())
    {"memory": memory_of, "sorted": sorted_file, "map": map_query, "train": train}[arguments.pop("command")](
        **arguments
    )


def memory_of(folder: Path, cells: str, density: float, steps: int) -> None:
    """Print seconds of the whole call and of its steps, and peak memory of the process, each size in its own process.

    Waiting is the time until rows are in memory as dense float32: read, decoded, made dense, gathered.
    """
    print("| cells | file, GB | peak memory, MB | seconds | waiting | seconds of the steps | waiting |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for n in map(int, cells.split(",")):
        file = folder / f"cells_{n}.h5ad"
        if not file.exists():
            make(file, n, density)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", __file__, "train", str(file), str(steps)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        print(f"| {n:,} | {file.stat().st_size / 1e9:.1f} | {done.stdout.strip()} |", flush=True)


def make(file: Path, n: int, density: float) -> None:
    """Write log1p counts of ten cell types, sorted by type: CSR, float32, not compressed."""
    rng = np.random.default_rng(0)
    rates = rng.gamma(0.3, 1, size=(10, N_GENES)) * density / 0.3
    genes = pd.DataFrame(index=[f"gene{i}" for i in range(N_GENES)])
    ad.AnnData(obs=pd.DataFrame(index=np.arange(n).astype(str)), var=genes).write_h5ad(file)
    with h5py.File(file, "a") as group:
        if "X" in group:
            del group["X"]
        for start in range(0, n, BLOCK):
            types = (np.arange(start, min(start + BLOCK, n)) * 10) // n
            counts = rng.poisson(rates[types]).astype(np.float32)
            block = sparse.csr_matrix(np.log1p(counts))
            if start == 0:
                ad.io.write_elem(group, "X", block)
            else:
                ad.io.sparse_dataset(group["X"]).append(block)


def train(file: Path, steps: int) -> None:
    """Train on a backed file, which is read once before so that it is in the file cache."""
    scoring.trained(np.random.default_rng(0).normal(size=(300, 5)), {"n_steps": 5}, seed=0)
    seconds = {"training": 0.0, "reading": 0.0, "reading in training": 0.0}
    run, read = fit.train, Matrix.read

    def timed_run(*args: Any, **kwargs: Any) -> History:
        before, start = seconds["reading"], time.perf_counter()
        history = run(*args, **kwargs)
        seconds["training"] = time.perf_counter() - start
        seconds["reading in training"] = seconds["reading"] - before
        return history

    def timed_read(self: Matrix, *args: object) -> object:
        start = time.perf_counter()
        part = read(self, *args)
        seconds["reading"] += time.perf_counter() - start
        return part

    fit.train, Matrix.read = timed_run, timed_read
    with file.open("rb") as stream:
        while stream.read(2**24):
            pass
    adata = ad.read_h5ad(file, backed="r")
    _, total, _ = scoring.with_cost(lambda: scgeoae.tl.geometric_ae(adata, use_rep="X", n_steps=steps))
    training, reading = seconds["training"], seconds["reading in training"]
    print(f"{scoring.peak_memory():.0f} | {total:.0f} | {seconds['reading'] / total:.0%}", end=" | ")
    print(f"{training:.0f} | {reading / training:.0%}")


def map_query(folder: Path, cells: int) -> None:
    """Print seconds and peak memory of `tl.map_cells` on 50 components in an HDF5 file."""
    rng = np.random.default_rng(0)
    reference, _ = scoring.trained(rng.standard_normal((3000, 50), dtype=np.float32), {"n_steps": 50}, seed=0)
    file = h5py.File(folder / "query.h5", "w")
    query = file.create_dataset("X_pca", shape=(cells, 50), dtype=np.float32)
    for start in range(0, cells, BLOCK):
        query[start : start + BLOCK] = rng.standard_normal((min(BLOCK, cells - start), 50), dtype=np.float32)
    file.flush()
    adata = ad.AnnData(obsm={"X_pca": query})
    _, seconds, memory = scoring.with_cost(lambda: scgeoae.tl.map_cells(adata, reference))
    total = scoring.peak_memory()
    print(f"map {cells:,} x 50 from disk: {seconds:.0f} s, {total:.0f} MB, {memory:.0f} MB beyond the names")


def sorted_file(data: Path | None, set: str, chunk: int) -> None:
    """Print quality from memory and from a memory map that is sorted by type, in chunks that hold one type each."""
    input_rows.MAX_CHUNK = chunk
    X, labels = datasets.load(set, data)
    X = X[np.argsort(labels.astype(str), kind="stable")]
    print("| source | unexplained | kNN recall | trust | Spearman | p95/p5 of det |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sorted.npy"
        np.save(file, X)
        for name, source in {"memory, shuffled": X, "disk, sorted": np.load(file, mmap_mode="r")}.items():
            rows = []
            for seed in range(N_SEEDS):
                adata, _ = scoring.trained(source, {}, seed=seed)
                unexplained = float(adata.obs["geoae_reconstruction_error"].pow(2).mean() / X.var(0).mean())
                quality = scoring.quality(X, adata.obsm["X_geoae"], None, seed)
                low, high = np.percentile(np.log(adata.obs["geoae_det"]), [5, 95])
                measures = [quality[measure] for measure in ("knn_recall", "trustworthiness", "spearman")]
                rows.append([unexplained, *measures, np.exp(high - low)])
            shown = [f"{m:.3f} ± {s:.3f}" for m, s in zip(np.mean(rows, 0), np.std(rows, 0, ddof=1), strict=True)]
            print(f"| {name} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
