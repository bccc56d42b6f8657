"""Optimisers, schedules, batches, initial weights and residual connections, on the same model and loss: run by hand.

``OMP_NUM_THREADS=1 python tests/benchmarks/optimizers.py --data DIR --output results``

Each is trained by `tl.geometric_ae` with one part of it replaced. The learning rate is the one with the lowest loss of
the trainer's own validation cells (mean of its logarithm over the data sets, first seed); all seeds are then run with
it. Each run is a line of ``optimizers.csv``, and a run that is there is not repeated.
"""

from __future__ import annotations

import argparse
import importlib
import math
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

import anndata as ad
import datasets
import numpy as np
import pandas as pd
import torch
from baselines import share_left
from torch import nn

import scgeoae
from scgeoae.core import autoencoder, fit, training
from scgeoae.core.network import DenseNetwork
from scgeoae.core.optimizer import ADAM_SHARE, HybridOptimizer
from scgeoae.core.regularizers import weighted_sum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

    from scgeoae.core.autoencoder import GeometricAutoencoder

    Networks = GeometricAutoencoder
    MakeOptimizer = Callable[[Networks, float, float, Iterable[Tensor]], Any]

tool = importlib.import_module("scgeoae.tl._geometric_ae")

SETS = ("human_kidney_top2000", "pbmc3k")
RUN = ["variant", "n_steps", "rate", "set", "seed"]
MEASURES = {
    "held_out_loss": "held-out loss",
    "reconstruction": "reconstruction",
    "held_out_reconstruction": "held-out reconstruction",
    "log_det_variance": "var ln det",
    "knn_recall": "kNN recall",
    "ms_per_step": "ms a step",
}
N_NEIGHBORS = 20
PRE_FIT_STEPS, PRE_FIT_RATE = 50, 0.02


class Soap(torch.optim.Optimizer):
    """Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024, algorithm 3); equal shapes are batched.

    Parameters
    ----------
    matrices
        Weights, each (rows, columns).
    lr, betas, eps
        As in Adam; the second beta is also that of the preconditioner.
    every
        Steps between two refreshments of the eigenbasis.
    """

    def __init__(
        self,
        matrices: Iterable[Tensor],
        lr: float,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        every: int = 10,
    ) -> None:
        by_shape = defaultdict(list)
        for matrix in matrices:
            by_shape[matrix.shape].append(matrix)
        groups = [{"params": group} for group in by_shape.values()]
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "every": every})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # noqa: ARG002
        """Update all matrices; the first step only begins the preconditioner."""
        for group in self.param_groups:
            gradient = torch.stack([matrix.grad for matrix in group["params"]])  # (k, rows, columns)
            state = self.state[group["params"][0]]
            if not state:
                state.update(_begun(gradient))
                continue
            state["step"] += 1
            for matrix, update in zip(
                group["params"], _update(state, gradient, *group["betas"], group["eps"]), strict=True
            ):
                matrix.sub_(update, alpha=group["lr"])
            _observe(state, gradient, group["betas"][1])
            if state["step"] % group["every"] == 0:
                _refresh(state)


def _begun(gradient: Tensor) -> dict[str, Any]:
    """The eigenbasis of the first gradient (k, rows, columns), and no averages yet."""
    left, right = gradient @ gradient.mT, gradient.mT @ gradient
    bases = {"left_basis": torch.linalg.eigh(left)[1], "right_basis": torch.linalg.eigh(right)[1]}
    averages = {"average": torch.zeros_like(gradient), "squares": torch.zeros_like(gradient)}
    return {"step": 0, "left": left, "right": right, **bases, **averages}


def _update(state: dict[str, Any], gradient: Tensor, first: float, second: float, eps: float) -> Tensor:
    """Adam's direction, found in the eigenbasis and turned back, (k, rows, columns)."""
    left, right = state["left_basis"], state["right_basis"]
    state["average"].lerp_(gradient, 1 - first)
    state["squares"].lerp_((left.mT @ gradient @ right).square(), 1 - second)
    average = left.mT @ state["average"] @ right / (1 - first ** state["step"])
    squares = state["squares"] / (1 - second ** state["step"])
    return left @ (average / (squares.sqrt() + eps)) @ right.mT


def _observe(state: dict[str, Any], gradient: Tensor, second: float) -> None:
    state["left"].lerp_(gradient @ gradient.mT, 1 - second)
    state["right"].lerp_(gradient.mT @ gradient, 1 - second)


def _refresh(state: dict[str, Any]) -> None:
    """One step of the power method for both bases."""
    for side in ("left", "right"):
        state[f"{side}_basis"] = torch.linalg.qr(state[side] @ state[f"{side}_basis"])[0]


class Replacement(HybridOptimizer):
    """Other optimisers under one schedule, for the trainer."""

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


def adamw(model: Networks, learning_rate: float, weight_decay: float, others: Iterable[Tensor] = ()) -> Replacement:
    """Adam on everything."""
    parameters = [*model.parameters(), *others]
    return Replacement(torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True))


def soap(model: Networks, learning_rate: float, weight_decay: float, others: Iterable[Tensor] = ()) -> Replacement:
    """SOAP on all matrices, Adam at the same rate on the biases."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim == 2]
    rest = [parameter for parameter in model.parameters() if parameter.ndim < 2] + list(others)
    adam = torch.optim.AdamW(rest, lr=learning_rate, weight_decay=weight_decay, fused=True)
    return Replacement(Soap(matrices, lr=learning_rate), adam)


def torch_muon(
    model: Networks, learning_rate: float, weight_decay: float, others: Iterable[Tensor] = ()
) -> Replacement:
    """Torch's Muon, matrix by matrix and with five iterations, else as ours."""
    hidden = [layer.weight for network in (model.encoder, model.decoder) for layer in network.hidden]
    chosen = {id(matrix) for matrix in hidden}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in chosen] + list(others)
    adam = torch.optim.AdamW(rest, lr=ADAM_SHARE * learning_rate, weight_decay=weight_decay, fused=True)
    return Replacement(torch.optim.Muon(hidden, lr=learning_rate, weight_decay=weight_decay), adam)


def constant(step: int, n_steps: int) -> float:
    """The peak rate throughout."""
    return 1.0


def one_cycle(step: int, n_steps: int) -> float:
    """Up from a 25th during 30 % of the steps and down to 0, both along half a cosine (Smith, Topin 2018)."""
    top = 0.3 * n_steps
    if step <= top:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * step / top))
    return 0.5 * (1 + math.cos(math.pi * (step - top) / (n_steps - top + 1)))


class ResidualNetwork(DenseNetwork):
    """Hidden layers ``h + a(W h + b)``; for hidden layers of one width."""

    def forward(self, x: Tensor) -> Tensor:
        value = self.activation.value(self.first(x))
        for layer in self.hidden:
            value = value + self.activation.value(layer(value))
        return self.last(value)

    def pushforward(
        self,
        x: Tensor,
        n_tangents: int | None = None,
        *,
        up_to_isometry: bool = False,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        """Values (n, n_out) and the tangents (n_in, n_tangents, n_out) of the first rows."""
        r = len(x) if n_tangents is None else n_tangents
        value, slope = self.activation.value_and_slope(self.first(x))
        tangents = self.first.weight.t()[:, None, :] * slope[:r]  # (n_in, r, width)
        for layer in self.hidden:
            change, slope = self.activation.value_and_slope(layer(value))
            value, tangents = value + change, tangents + tangents @ layer.weight.t() * slope[:r]
        return self.last(value), tangents @ self.last.weight.t()


def orthogonal(model: Networks, X: Tensor, generator: torch.Generator) -> None:
    """Give all matrices orthonormal rows or columns."""
    for network in (model.encoder, model.decoder):
        for layer in network.layers:
            nn.init.orthogonal_(layer.weight, generator=generator)


def from_principal_components(model: Networks, X: Tensor, generator: torch.Generator) -> None:
    """Fit the encoder to the first two principal components and the decoder to the way back."""
    x = model.standardize(X)
    z = x @ torch.linalg.svd(x, full_matrices=False)[2][:2].t()  # (n, 2)
    optimizer = HybridOptimizer(model, PRE_FIT_RATE, 0.0)
    for step in range(1, PRE_FIT_STEPS + 1):
        some = torch.randint(len(x), (512,), generator=generator)
        wrong = (model.encoder(x[some]) - z[some]).square().mean() / z.var()
        (wrong + (model.decoder(z[some]) - x[some]).square().mean()).backward()
        optimizer.step(training.schedule(step, PRE_FIT_STEPS))


class Variant(NamedTuple):
    """Learning rates to choose from, arguments of `tl.geometric_ae`, and what is put in place of a part of it."""

    rates: tuple[float, ...]
    arguments: dict[str, Any] = {}  # noqa: RUF012
    optimizer: MakeOptimizer = HybridOptimizer
    schedule: Callable[[int, int], float] = training.schedule
    network: type[DenseNetwork] = DenseNetwork
    prepare: Callable[[Networks, Tensor, torch.Generator], None] | None = None


OPTIMIZERS = {
    "Muon + AdamW (default)": Variant((0.02, 0.05, 0.1, 0.2)),
    "AdamW": Variant((1e-3, 3e-3, 1e-2, 3e-2), optimizer=adamw),
    "SOAP": Variant((3e-3, 1e-2, 3e-2, 0.1), optimizer=soap),
    "torch's Muon + AdamW": Variant((0.05,), optimizer=torch_muon),
}
"""Compared at each budget."""
OTHERS = {
    "constant rate": Variant((0.01, 0.03), schedule=constant),
    "one-cycle": Variant((0.05, 0.1), schedule=one_cycle),
    "batch 125": Variant((0.02, 0.05), {"batch_size": 125}),
    "orthogonal weights": Variant((0.05,), prepare=orthogonal),
    "map begun at the PCs": Variant((0.05,), prepare=from_principal_components),
    "residual": Variant((0.02, 0.05), network=ResidualNetwork),
}
"""Compared with the default at the largest budget."""
VARIANTS = {**OPTIMIZERS, **OTHERS}


def replaced(variant: Variant, times: list[float]) -> ExitStack:
    """Context in which `tl.geometric_ae` trains by the variant and appends its processor's seconds to ``times``."""
    run, fit_scaling = tool.run, fit.fit_scaling

    def prepared(model: Networks, rows: Any) -> None:
        fit_scaling(model, rows)
        if variant.prepare is not None:
            variant.prepare(model, rows.block(0, rows.shape[0]), torch.Generator().manual_seed(0))

    def timed(trainer: training.Trainer, *arguments: Any, **named: Any) -> training.History:
        start = time.process_time()
        history = run(trainer, *arguments, **named)
        times.append(time.process_time() - start)
        return history

    stack = ExitStack()
    for module, name, value in (
        (training, "HybridOptimizer", variant.optimizer),
        (training, "schedule", variant.schedule),
        (autoencoder, "DenseNetwork", variant.network),
        (fit, "fit_scaling", prepared),
        (tool, "run", timed),
    ):
        stack.enter_context(patch.object(module, name, value))
    return stack


def measured(variant: Variant, X: np.ndarray, *, n_steps: int, rate: float, seed: int) -> dict[str, float]:
    """Train on 80 % of the cells ``X`` (n, D) and measure; nothing but the steps where the training diverges."""
    train, test = datasets.split(len(X), seed=seed)
    adata, times = ad.AnnData(obsm={"X_pca": X[train]}), []
    with replaced(variant, times):
        try:
            scgeoae.tl.geometric_ae(adata, n_steps=n_steps, learning_rate=rate, **variant.arguments, rng=seed)
        except FloatingPointError:
            return {"validation_loss": math.inf}
        model = scgeoae.get.model(adata)
    params, history = (adata.uns["geoae"][name] for name in ("params", "history"))
    validation = history["validation_reconstruction"] + params["alpha"] * history["validation_regularizer"]
    with torch.no_grad():
        decoded = [model(torch.from_numpy(X[cells])).numpy() for cells in (train, test)]
    mean = X[train].mean(axis=0)
    return {
        "validation_loss": float(np.min(validation)),
        "held_out_loss": held_out_loss(model, X[test], params),
        "reconstruction": share_left(X[train], decoded[0], mean),
        "held_out_reconstruction": share_left(X[test], decoded[1], mean),
        "log_det_variance": float(np.log(adata.obs["geoae_det"]).var()),
        "knn_recall": scgeoae.metrics.knn_recall(X[train], adata.obsm["X_geoae"], k=N_NEIGHBORS),
        "ms_per_step": 1000 * times[0] / history["step"][-1],
    }


@torch.no_grad()
def held_out_loss(model: Networks, X: np.ndarray, params: dict[str, Any]) -> float:
    """The loss of held-out cells ``X`` (m, D), without noise."""
    x = model.standardize(torch.from_numpy(X))
    decoded, tangents = model.decoder.pushforward(model.encoder(x))
    return float((decoded - x).square().mean() + params["alpha"] * weighted_sum(params["regularizer"], tangents))


class Results:
    """The table of runs, and the file that holds it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.table = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=[*RUN, "validation_loss", *MEASURES])

    def of(self, **run: Any) -> pd.DataFrame:
        """Rows that agree with what is given."""
        return self.table[(self.table[list(run)] == list(run.values())).all(axis=1)]

    def add(self, X: np.ndarray, **run: Any) -> None:
        """Make a run that is not there yet."""
        if len(self.of(**run)):
            return
        row = run | measured(VARIANTS[run["variant"]], X, **{name: run[name] for name in ("n_steps", "rate", "seed")})
        self.table = pd.DataFrame([*self.table.to_dict("records"), row], columns=self.table.columns)
        self.table.to_csv(self.file, index=False)
        print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)

    def best_rate(self, variant: str, n_steps: int) -> float | None:
        """Rate of the lowest validation loss, or `None` before the first run."""
        rows = self.of(variant=variant, n_steps=n_steps, seed=0)
        losses = np.log(rows["validation_loss"].astype(float)).groupby(rows["rate"]).mean()
        return None if losses.empty else float(losses.idxmin())


def compare(results: Results, cells: dict[str, np.ndarray], variant: str, n_steps: int, n_seeds: int) -> None:
    """Run the grid of rates with the first seed, then the other seeds with the best rate."""
    for rate in VARIANTS[variant].rates:
        for name, X in cells.items():
            results.add(X, variant=variant, n_steps=n_steps, rate=rate, set=name, seed=0)
    rate = results.best_rate(variant, n_steps)
    for seed in range(1, n_seeds):
        for name, X in cells.items():
            results.add(X, variant=variant, n_steps=n_steps, rate=rate, set=name, seed=seed)


def markdown(results: Results, names: list[str]) -> str:
    """Return means and standard deviations over seeds at the best rate, one line a variant, budget and set."""
    heading = ["set", "steps", "variant", "rate", *MEASURES.values()]
    lines = []
    budgets = sorted(results.table["n_steps"].unique())
    for name, n_steps, variant in ((s, n, v) for s in names for n in budgets for v in VARIANTS):
        rate = results.best_rate(variant, n_steps)
        rows = results.of(variant=variant, n_steps=n_steps, rate=rate, set=name)
        if len(rows):
            lines.append([name, str(n_steps), variant, f"{rate:g}", *(_spread(rows[measure]) for measure in MEASURES)])
    return "\n".join(f"| {' | '.join(line)} |" for line in [heading, ["---"] * len(heading), *lines])


def _spread(values: pd.Series) -> str:
    text = f"{values.mean():.3g}"
    return text if len(values) < 2 else f"{text} ± {values.std():.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of further data sets")
    parser.add_argument("--sets", default=",".join(SETS), help="names with commas between (default: %(default)s)")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="names with commas between (default: all)")
    parser.add_argument("--steps", default="500,1500", help="budgets (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, each with its own split")
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    names = arguments.sets.split(",")
    cells = {name: datasets.load(name, arguments.data)[0] for name in names}
    results = Results(arguments.output / "optimizers.csv")
    budgets = sorted(int(steps) for steps in arguments.steps.split(","))
    for variant in arguments.variants.split(","):
        for n_steps in budgets if variant in OPTIMIZERS else budgets[-1:]:
            compare(results, cells, variant, n_steps, arguments.seeds)
    (arguments.output / "optimizers.md").write_text(table := markdown(results, names))
    print(table)


if __name__ == "__main__":
    main()
