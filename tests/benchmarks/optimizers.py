"""Would another optimizer train the same model better, or as well in fewer steps?

``OMP_NUM_THREADS=1 python tests/benchmarks/optimizers.py --data DIR --sets human_kidney_top2000,pbmc3k``

Trains by `tl.geometric_ae` with its optimizer replaced. The learning rate of each is the one with the lowest validation
loss (mean of its logarithm over the data sets, first seed); all seeds are then run at this rate. Prints one line for
each optimizer and data set.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

import datasets
import numpy as np
import scoring
import torch
from baselines import Embedding

import scgeoae
from scgeoae.core import step
from scgeoae.core.optimizer import ADAM_SHARE, HybridOptimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

    from scgeoae.core.autoencoder import GeometricAutoencoder


class Replacement(HybridOptimizer):
    """Optimizers of torch in place of ours, under the same schedule."""

    def __init__(self, *optimizers: torch.optim.Optimizer) -> None:
        self.optimizers = list(optimizers)
        self.groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        for group in self.groups:
            group["peak"] = group["lr"]

    def step(self, share: float) -> None:
        """Update with ``share`` of the peak learning rates and clear the gradients."""
        for group in self.groups:
            group["lr"] = share * group["peak"]
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()


def adamw(
    model: GeometricAutoencoder, learning_rate: float, weight_decay: float, others: Iterable[Tensor] = ()
) -> Replacement:
    """Adam on all parameters."""
    parameters = [*model.parameters(), *others]
    return Replacement(torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True))


def torch_muon(
    model: GeometricAutoencoder, learning_rate: float, weight_decay: float, others: Iterable[Tensor] = ()
) -> Replacement:
    """Torch's Muon on the same matrices as ours, one matrix at a time and with five iterations; Adam on the rest."""
    hidden = [layer.weight for network in (model.encoder, model.decoder) for layer in network.inner[1:]]
    chosen = {id(matrix) for matrix in hidden}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in chosen] + list(others)
    adam = torch.optim.AdamW(rest, lr=ADAM_SHARE * learning_rate, weight_decay=weight_decay, fused=True)
    return Replacement(torch.optim.Muon(hidden, lr=learning_rate, weight_decay=weight_decay), adam)


class Candidate(NamedTuple):
    """An optimizer, made from a model, and the learning rates to choose from."""

    make: Callable[..., HybridOptimizer]
    rates: tuple[float, ...]


CANDIDATES = {
    "Muon + AdamW (default)": Candidate(HybridOptimizer, (0.02, 0.05, 0.08, 0.1, 0.2)),
    "AdamW": Candidate(adamw, (1e-3, 3e-3, 1e-2, 3e-2)),
    "torch's Muon + AdamW": Candidate(torch_muon, (0.02, 0.05, 0.1)),
}
MEASURES = {
    "reconstruction": "reconstruction",
    "held_out_reconstruction": "held out",
    "log_det_variance": "var ln det",
    "knn_recall": "kNN recall",
    "ms_per_step": "ms a step",
}


def measured(candidate: Candidate, X: np.ndarray, *, n_steps: int, rate: float, seed: int) -> dict[str, float]:
    """Train on 80 % of the cells (n, D) and measure; a training that diverges has an infinite validation loss."""
    train, test = datasets.split(len(X), seed=seed)
    arguments: dict[str, Any] = {"n_steps": n_steps, "learning_rate": rate}
    start = time.process_time()
    with patch.object(step, "HybridOptimizer", candidate.make):
        try:
            adata, _ = scoring.trained(X[train], arguments, seed=seed)
        except FloatingPointError:
            return {"validation_loss": math.inf}
    seconds = time.process_time() - start
    params, history = (adata.uns["geoae"][name] for name in ("params", "history"))
    validation = history["validation_reconstruction"] + params["alpha"] * history["validation_regularizer"]
    found = Embedding(adata.obsm["X_geoae"], None, seconds)
    found = scoring.with_reconstruction(found, scgeoae.get.model(adata), X[train], X[test])
    return {
        "validation_loss": float(np.min(validation)),
        "reconstruction": found.reconstruct_train,
        "held_out_reconstruction": found.reconstruct_test,
        "log_det_variance": float(np.log(adata.obs["geoae_det"]).var()),
        "knn_recall": scgeoae.metrics.knn_recall(X[train], found.train, k=scoring.N_NEIGHBORS),
        "ms_per_step": 1000 * seconds / history["step"][-1],
    }


def compare(name: str, cells: dict[str, np.ndarray], *, n_steps: int, n_seeds: int) -> None:
    """Choose the rate of a candidate by the first seed, run the other seeds, print a line for each data set."""
    candidate = CANDIDATES[name]
    first = {
        rate: {key: measured(candidate, X, n_steps=n_steps, rate=rate, seed=0) for key, X in cells.items()}
        for rate in candidate.rates
    }
    loss = {rate: np.mean([math.log(row["validation_loss"]) for row in rows.values()]) for rate, rows in first.items()}
    rate = min(loss, key=loss.__getitem__)
    for key, X in cells.items():
        others = (measured(candidate, X, n_steps=n_steps, rate=rate, seed=seed) for seed in range(1, n_seeds))
        rows = [first[rate][key], *others]
        values = {measure: [row.get(measure, math.nan) for row in rows] for measure in MEASURES}
        texts = [f"{np.mean(v):.3g}" + (f" ± {np.std(v, ddof=1):.2g}" if n_seeds > 1 else "") for v in values.values()]
        print(f"| {key} | {n_steps} | {name} | {rate:g} | {' | '.join(texts)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of further data sets")
    parser.add_argument("--sets", default="pbmc68k_reduced", help="names with commas between (default: %(default)s)")
    parser.add_argument("--optimizers", default=",".join(CANDIDATES), help="names with commas between (default: all)")
    parser.add_argument("--steps", default="500,1500", help="budgets (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, each with its own split")
    arguments = parser.parse_args()
    cells = {name: datasets.load(name, arguments.data)[0] for name in arguments.sets.split(",")}
    print("| set | steps | optimizer | rate |", " | ".join(MEASURES.values()), "|")
    print("|---|---|---|---|" + "---|" * len(MEASURES))
    for name in arguments.optimizers.split(","):
        for n_steps in map(int, arguments.steps.split(",")):
            compare(name, cells, n_steps=n_steps, n_seeds=arguments.seeds)


if __name__ == "__main__":
    main()
