"""Write the table of results as Markdown: means over seeds, the best in bold, and the targets as pass or miss."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from baselines import REFERENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

Values = TypeVar("Values", float, "pd.Series")


class Measure(NamedTuple):
    """Heading of a column, and whether more is better (1), less (-1), or what is nearer to 1 (0)."""

    heading: str
    sign: int

    def score(self, value: Values) -> Values:
        """More is better."""
        return self.sign * value if self.sign else -np.abs(np.log(value))


MEASURES = {
    "kl_density_0.1": Measure("KL 0.1", -1),
    "kl_density_100": Measure("KL 100", -1),
    "knn_recall": Measure("kNN recall", 1),
    "same_half_knn_recall": Measure("kNN recall, same half", 1),
    "trustworthiness": Measure("trust", 1),
    "continuity": Measure("continuity", 1),
    "spearman": Measure("Spearman", 1),
    "stress": Measure("stress", -1),
    "knn_accuracy": Measure("kNN accuracy", 1),
    "ari": Measure("ARI", 1),
    "nmi": Measure("NMI", 1),
    "displacement_seeds": Measure("displacement, seeds", -1),
    "displacement_halves": Measure("displacement, halves", -1),
    "displacement_cells": Measure("displacement, 80 % of the cells", -1),
    "size_error": Measure("sizes, error", -1),
    "distance_error": Measure("distances, error", -1),
    "gap": Measure("gap", 0),
    "lengths_within": Measure("lengths within groups", 0),
    "lengths_between": Measure("lengths between groups", 0),
    "held_out_knn_recall": Measure("held-out kNN recall", 1),
    "held_out_trustworthiness": Measure("held-out trust", 1),
    "reconstruction": Measure("reconstruction", -1),
    "held_out_reconstruction": Measure("held-out reconstruction", -1),
    "log_det_variance": Measure("var ln det", -1),
    "det_p95_p5": Measure("p95/p5 of det", -1),
    "anisotropy": Measure("anisotropy", -1),
    "seconds": Measure("seconds", -1),
    "memory_mb": Measure("memory, MB", -1),
}
NOTE = (
    "Mean ± standard deviation over seeds, each with its own split; the best of a line is bold. 80 % of the cells are "
    "the training cells, on which everything is measured except 'held-out'. Reconstruction is the share of variance "
    "left. PCA is linear and therefore keeps areas. Seconds are those of the whole call after a first small one, "
    "memory is the peak beyond what was held before. A dash: the method has no such number."
)
REPLICATED_NOTE = (
    "Mean ± standard deviation over seeds; the best map of a line is bold. Each seed splits the counts of every cell "
    "into two halves. Maps are made from the first half of 80 % of the cells and measured against the second; only "
    "'same half', reconstruction, determinants and anisotropy refer to the first. 'components' are the features of "
    "the first half themselves; they are not a map and never the best; 'PCA' is the plot of the first two. "
    "Displacement: of the median cell, as a share of the map's radius, from its place on the map of another seed, of "
    "the other half, and between maps of two random 80 % of these cells. Sizes of groups and distances between them: "
    "standard deviation of the log ratio of map to data without noise; gap: how much more distances are stretched than "
    "sizes; lengths: map over data, between groups after division by `length_between`. Reconstruction is the share of "
    "variance left. A dash: the method has no such number."
)


class Target(NamedTuple):
    """A target: its measure, its description, and the worst value that passes, given the means of all methods."""

    measure: str
    heading: str
    bound: Callable[[pd.DataFrame], float]
    strict: bool = False


def within(measure: str, value: float) -> Target:
    """Return the target of a value, of which the inverse is as good where 1 is best."""
    return Target(measure, f"at most {value:g}", lambda _: value)


def best_of_two(measure: str) -> Target:
    """Return the target of being better than both UMAP and t-SNE."""

    def bound(means: pd.DataFrame) -> float:
        both = means.loc[["UMAP", "t-SNE"], measure]
        return float("nan") if both.isna().any() else float(both[MEASURES[measure].score(both).idxmax()])

    return Target(measure, "better than UMAP and t-SNE", bound, strict=True)


def against(method: str, measure: str, heading: str, factor: float = 1, *, strict: bool = False) -> Target:
    """Return the target of being at least as good as a factor times the value of another method."""
    return Target(measure, heading, lambda means: factor * float(means.loc[method, measure]), strict)


TARGETS = [
    *(best_of_two(name) for name in ("kl_density_0.1", "trustworthiness", "spearman", "stress")),
    against("UMAP", "knn_recall", "better than UMAP", strict=True),
    against("t-SNE", "knn_recall", "at least 0.95 of t-SNE", 0.95),
    against("vanilla AE", "reconstruction", "at most vanilla AE"),
    against("vanilla AE", "held_out_reconstruction", "at most vanilla AE"),
    within("det_p95_p5", 1.4),
    within("anisotropy", 2),
    against("paper's geometric AE", "reconstruction", "at most the paper's"),
    against("paper's geometric AE", "log_det_variance", "at most the paper's"),
    against("paper's geometric AE", "seconds", "at most a tenth of the paper's", 0.1),
]


def replication_targets(name: str) -> list[Target]:
    """Return the targets for measures against the other half of the counts."""
    factor = 1.15 if name == "xenium_breast" else 1.05
    return [
        against("t-SNE", "knn_recall", "at least t-SNE"),
        against("UMAP", "knn_recall", f"at least {factor} of UMAP", factor),
        within("displacement_seeds", 0.1),
        within("displacement_halves", 0.15),
        within("displacement_cells", 0.15),
        within("size_error", 0.25),
        within("distance_error", 0.25),
        within("gap", 1.4),
        within("lengths_between", 1.25),
        *(best_of_two(name) for name in ("size_error", "distance_error", "spearman", "stress", "kl_density_0.1")),
        within("det_p95_p5", 1.3),
        within("anisotropy", 1.3),
    ]


def markdown(table: pd.DataFrame, *, replicated: bool = False) -> str:
    """Return a section for each data set: sizes, measures, targets, failures."""
    parts = ["# What replicates", REPLICATED_NOTE] if replicated else ["# Quality of maps", NOTE]
    for name, rows in table.groupby("set", sort=False):
        ok = rows[rows["error"].isna()]
        parts.append(f"## {name}")
        parts.append(_sizes(rows))
        if len(ok):
            parts += [_measures(ok), _targets(ok, replication_targets(name) if replicated else TARGETS)]
        failed = rows[rows["error"].notna()]
        parts += [f"- failed: {row.method}, seed {row.seed}: `{row.error}`" for row in failed.itertuples()]
    return "\n\n".join(part for part in parts if part) + "\n"


def _sizes(rows: pd.DataFrame) -> str:
    seeds = rows.groupby("method")["seed"].nunique()
    sizes = {
        "training cells": rows["n_cells"],
        "features": rows["n_features"],
        "seeds": seeds,
        "threads": rows["threads"].dropna(),
    }
    return "; ".join(f"{name}: {_span(values)}" for name, values in sizes.items() if len(values)) + "."


def _span(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low}" if low == high else f"{low} to {high}"


def _means(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.groupby("method", sort=False)[list(MEASURES)].mean()


def _measures(rows: pd.DataFrame) -> str:
    means = _means(rows)
    deviations = rows.groupby("method", sort=False)[list(MEASURES)].std()
    lines = {
        measure.heading: _line(means[name], deviations[name], measure)
        for name, measure in MEASURES.items()
        if means[name].notna().any()
    }
    return _table(lines, ["measure", *means.index])


def _line(means: pd.Series, deviations: pd.Series, measure: Measure) -> list[str]:
    scores = measure.score(means)
    best = scores.drop(REFERENCE, errors="ignore").max()
    cells = []
    for mean, deviation, score in zip(means, deviations, scores, strict=True):
        text = "-" if np.isnan(mean) else _number(mean)
        text += "" if np.isnan(deviation) else f" ± {_number(deviation, 2)}"
        cells.append(f"**{text}**" if score == best else text)
    return cells


def _targets(rows: pd.DataFrame, targets: list[Target]) -> str:
    """Compare our variants with the targets; a target that needs a method which was not run stays open."""
    means = _means(rows)
    variants = [name for name in means.index if name.startswith("ours")]
    if not variants:
        return ""
    lines = {
        f"{MEASURES[target.measure].heading} {target.heading}": [_verdict(target, means, name) for name in variants]
        for target in targets
    }
    scope = "" if rows["rna"].all() else " (meant for RNA, here for information)"
    table = _table(lines, ["target", *variants])
    return f"Targets{scope}, each with the value and, in parentheses, its bound:\n\n{table}"


def _verdict(target: Target, means: pd.DataFrame, name: str) -> str:
    value = means.loc[name, target.measure]
    try:
        bound = target.bound(means)
    except KeyError:
        return f"? {_number(value)}"
    if np.isnan(value) or np.isnan(bound):
        return "?"
    got, needed = (MEASURES[target.measure].score(number) for number in (value, bound))
    reached = got > needed if target.strict else got >= needed
    return f"{'pass' if reached else '**miss**'} {_number(value)} ({_number(bound)})"


def _number(value: float, digits: int = 3) -> str:
    value = 0.0 if abs(value) < 1e-12 else value  # rounding errors of equal maps
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"


def _table(lines: dict[str, list[str]], heading: list[str]) -> str:
    rows = [heading, ["---"] * len(heading), *([name, *cells] for name, cells in lines.items())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
