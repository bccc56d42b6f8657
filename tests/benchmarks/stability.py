"""Would it look so again, and are sizes and distances of groups true? By two halves of the counts.

``OMP_NUM_THREADS=1 python tests/benchmarks/stability.py --data DIR --sets pbmc3k,human_kidney_top2000``

For each set and method, maps of one half of the counts. Displacement (:func:`scgeoae.metrics.displacement`): between
two seeds, between the maps of both halves, between the maps of two random 80 % of the cells. Then, against the other
half: neighbors that replicate, and, where there are labels, sizes and distances of groups free of noise
(:func:`scgeoae.metrics.group_sizes`). The second half is in the components of the first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import baselines
import datasets
import numpy as np
import scoring

import scgeoae

SHARE = 0.8
N_NEIGHBORS = 20
MIN_CELLS = 10  # of a group
METHODS = ["components", "UMAP", "t-SNE", "ours", "ours: from PCA", "ours: from PCA, distances"]
COLUMNS = ("seeds", "halves", "80 %", "recall", "p95/p5", "size error", "distance error", "gap")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of further data sets")
    parser.add_argument("--sets", required=True, help="names with commas between")
    parser.add_argument("--methods", default=",".join(METHODS), help="names with semicolons between")
    arguments = parser.parse_args()
    methods = arguments.methods.split(";") if ";" in arguments.methods else METHODS
    print(f"| set | method | {' | '.join(COLUMNS)} |\n|{'---|' * (2 + len(COLUMNS))}")
    for name in arguments.sets.split(","):
        halves = datasets.load_joint_halves(name, arguments.data)
        for method in methods:
            numbers = measured(method, *halves)
            print(f"| {name} | {method} | {' | '.join(f'{value:.3g}' for value in numbers)} |", flush=True)


def measured(
    method: str, first: np.ndarray, second: np.ndarray, projected: np.ndarray, labels: np.ndarray | None
) -> list[float]:
    """Make the maps of a method and measure them; NaN for what it does not have."""
    fit = baselines.pca if method == "components" else scoring.method_named(method, n_cells=len(first))

    def mapped(x: np.ndarray, seed: int = 0) -> baselines.Embedding:
        return fit(x, x[:2], seed=seed)

    made = mapped(first)
    rng = np.random.default_rng(0)
    parts = [np.sort(rng.choice(len(first), round(SHARE * len(first)), replace=False)) for _ in range(2)]
    common = np.intersect1d(*parts)
    some = [mapped(first[part]).train[np.searchsorted(part, common)] for part in parts]
    numbers = [
        scgeoae.metrics.displacement(made.train, mapped(first, seed=1).train),
        scgeoae.metrics.displacement(made.train, mapped(second).train),
        scgeoae.metrics.displacement(*some),
        scgeoae.metrics.knn_recall(second, made.train, k=N_NEIGHBORS),
        np.nan if made.log_det is None else float(np.exp(np.subtract(*np.percentile(made.log_det, [95, 5])))),
    ]
    if labels is None:
        return [*numbers, np.nan, np.nan, np.nan]
    names, counts = np.unique(labels[labels != None], return_counts=True)  # noqa: E711 - of an array
    groups = np.where(np.isin(labels, names[counts >= MIN_CELLS]), labels, None)
    measures = (scgeoae.metrics.size_error, scgeoae.metrics.distance_error, scgeoae.metrics.gap)
    return [*numbers, *(measure(first, made.train, groups, projected) for measure in measures)]


if __name__ == "__main__":
    main()
