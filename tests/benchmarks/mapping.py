"""How fast, how lean and how right new cells are mapped and points decoded: run by hand with ``--data DIR``.

``OMP_NUM_THREADS=2 python tests/benchmarks/mapping.py --data DIR``
"""

from __future__ import annotations

import argparse
import ctypes
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import scanpy as sc
import torch
from sklearn.neighbors import KNeighborsClassifier

import scgeoae
from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.calibration import remember_cells

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

LABELED = {"pbmc3k": "cell_type", "cite_cbmc_top2000": "label", "human_kidney_top2000": "label"}
N_CELLS, N_FEATURES, N_GENES = 1_000_000, 50, 2_000
N_NEIGHBORS = 15
MIN_TYPE = 50
N_THREADS = torch.get_num_threads()  # at the start: numba, which scanpy uses, changes it later


def resident() -> int:
    """Resident memory in bytes (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def with_peak(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of a call and the most memory in MB that it took beyond what was there before."""
    ctypes.CDLL(None).malloc_trim(0)
    before, peak, done = resident(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            peak[0] = max(peak[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    return seconds, (peak[0] - before) / 1e6


@torch.no_grad()
def products(model: GeometricAutoencoder, x: torch.Tensor, block: int = 4_000) -> None:
    """The matrix products that mapping cannot do without: encode and decode, value and d tangents in float64."""
    exact = [layer.weight.double().t() for layer in model.decoder.layers]
    for part in x.split(block):
        value = part
        for network in (model.encoder, model.decoder):
            for layer in network.layers:
                value = value @ layer.weight.t()
        wide = torch.zeros(len(part), model.n_components, dtype=torch.float64)
        tangents = torch.zeros(model.n_components, len(part), len(exact[0].t()), dtype=torch.float64)
        wide = wide @ exact[0]
        for weight in exact[1:]:
            wide, tangents = wide @ weight, tangents @ weight


def mapping(repeats: int) -> None:
    generator = torch.Generator().manual_seed(0)
    model = GeometricAutoencoder(N_FEATURES, generator=generator).eval()
    model.input.obsm_key = "X_pca"
    x = torch.randn(N_CELLS, N_FEATURES, generator=generator)
    remember_cells(model, model.encode(x[:10_000]).detach().numpy(), np.ones(10_000))
    query = ad.AnnData(obsm={"X_pca": x.numpy()}, shape=(N_CELLS, 0))
    scgeoae.tl.map_cells(query[:1000].copy(), model)
    products(model, x[:10_000])
    for _ in range(repeats):
        floor, _ = with_peak(lambda: products(model, x))
        seconds, memory = with_peak(lambda: scgeoae.tl.map_cells(query, model))
        print(
            f"map {N_CELLS} x {N_FEATURES}: {seconds:.1f} s, matrix products alone {floor:.1f} s, "
            f"ratio {seconds / floor:.2f} (target 2); {memory:.0f} MB beyond the input (target 200)"
        )


def decoding(data: Path) -> None:
    adata = prepared(data, "pbmc3k")
    scgeoae.tl.geometric_ae(adata, n_steps=50)
    side = np.linspace(-10, 10, 100)
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    torch.set_num_threads(N_THREADS)
    genes = scgeoae.get.decode(adata, grid[:1], space="genes").n_vars
    before = time.process_time()
    seconds, memory = with_peak(lambda: scgeoae.get.decode(adata, grid, space="genes"))
    cpu = time.process_time() - before
    print(f"decode 100 x 100 points to {genes} genes: {seconds:.2f} s, {cpu:.2f} s of CPU (target 1), {memory:.0f} MB")


def prepared(data: Path, name: str) -> AnnData:
    """Log-normalised expression of 2,000 highly variable genes of labelled cells, and its PCA."""
    adata = sc.read_h5ad(data / f"{name}.h5ad")
    adata = adata[adata.obs[LABELED[name]].notna()].copy()
    sc.pp.filter_genes(adata, min_cells=3)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    if adata.n_vars > N_GENES:
        sc.pp.highly_variable_genes(adata, n_top_genes=N_GENES)
        adata = adata[:, adata.var["highly_variable"]].copy()
    sc.pp.pca(adata, n_comps=N_FEATURES)
    return adata


def train(adata: AnnData) -> AnnData:
    """Scale as is customary, reduce, train; the cells come back with a map."""
    sc.pp.scale(adata, max_value=10)
    sc.pp.pca(adata, n_comps=N_FEATURES)
    torch.set_num_threads(N_THREADS)
    scgeoae.tl.geometric_ae(adata)
    return adata


def halves(data: Path, name: str, seed: int) -> None:
    """Train on a random half, map the other: label accuracy, and the decoded genes of the training cells."""
    adata, column = prepared(data, name), LABELED[name]
    order = np.random.default_rng(seed).permutation(adata.n_obs)
    first, second = (adata[half].copy() for half in np.array_split(order, 2))
    train(first)
    scgeoae.tl.map_cells(second, first)
    labels, z = first.obs[column].astype(str).to_numpy(), first.obsm["X_geoae"]
    own = leave_one_out(z, labels)
    classifier = KNeighborsClassifier(N_NEIGHBORS).fit(z, labels)
    mapped = float((classifier.predict(second.obsm["X_geoae"]) == second.obs[column].astype(str)).mean())
    print(
        f"{name}, seed {seed}: kNN accuracy of training cells {own:.3f}, of mapped cells {mapped:.3f} "
        f"({100 * (mapped - own):+.1f} points); outside: {second.obs['geoae_outside'].mean():.3f} of the mapped half; "
        f"{correlations(first)}"
    )


def leave_one_out(z: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy of a vote of the nearest other cells."""
    neighbors = KNeighborsClassifier(N_NEIGHBORS).fit(z, labels).kneighbors(return_distance=False)  # not itself
    names, codes = np.unique(labels, return_inverse=True)
    votes = np.stack([(codes[neighbors] == i).sum(1) for i in range(len(names))], 1)
    return float((votes.argmax(1) == codes).mean())


def correlations(adata: AnnData) -> str:
    """Decoded genes of the training cells against their PCA-reconstructed expression, both before scaling."""
    decoded = scgeoae.get.decode(adata, adata.obsm["X_geoae"], space="genes")
    projection = scgeoae.get.model(adata).input.projection
    reconstructed = projection.undo(adata.obsm["X_pca"])
    overall = np.corrcoef(decoded.X.ravel(), reconstructed.ravel())[0, 1]
    x, y = decoded.X - decoded.X.mean(0), reconstructed - reconstructed.mean(0)
    by_gene = (x * y).sum(0) / np.sqrt((x**2).sum(0) * (y**2).sum(0))
    median = np.median(by_gene)
    return f"decoded genes against PCA: correlation {overall:.3f} over all entries, median over genes {median:.3f}"


def left_out(data: Path, name: str) -> None:
    """Leave each larger type out of the training; flag it, and spare held-out cells of the other types."""
    adata, column = prepared(data, name), LABELED[name]
    counts = adata.obs[column].value_counts()
    for label in counts.index[counts >= MIN_TYPE]:
        missing = adata[adata.obs[column] == label].copy()
        rest = adata[adata.obs[column] != label].copy()
        order = np.random.default_rng(0).permutation(rest.n_obs)
        reference, others = rest[order[rest.n_obs // 5 :]].copy(), rest[order[: rest.n_obs // 5]].copy()
        train(reference)
        for query in (missing, others):
            scgeoae.tl.map_cells(query, reference)
        print(
            f"{name} without {label} ({missing.n_obs} cells): sensitivity {missing.obs['geoae_outside'].mean():.2f}, "
            f"specificity {1 - others.obs['geoae_outside'].mean():.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=["speed", "halves", "left_out"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--names", nargs="+", choices=list(LABELED), default=list(LABELED))
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    if arguments.only in {None, "speed"}:
        mapping(arguments.repeats)
        decoding(arguments.data)
    if arguments.only in {None, "halves"}:
        for name in arguments.names:
            for seed in range(arguments.repeats):
                halves(arguments.data, name, seed)
    if arguments.only in {None, "left_out"}:
        for name in arguments.names:
            left_out(arguments.data, name)


if __name__ == "__main__":
    main()
