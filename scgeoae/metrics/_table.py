"""All measures of several maps; what depends on the data alone is computed once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import neighborhoods
from ._checks import as_labelled
from ._pairs import pair_distances_of_several
from ._ranks import RankComparison, compare_ranks_of_several
from ._sampling import Estimate, mean_estimate
from .density import kl_density_estimates_of_several
from .distances import rmse_estimate, spearman_estimates, stress_estimate, sum_distances_of_several
from .labels import cluster_agreement, correct_per_cell

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

SIGMAS = (0.1, 100.0)
"""Kernel widths of the divergence of densities, as in the paper."""


def table_rows(
    X: Any, maps: Sequence[Any], classes: pd.Series | None, k: int, max_cells: int, seed: int
) -> list[dict[str, float]]:
    """
    Compute one row per map: values, and standard errors of those that come from a sample.

    Parameters
    ----------
    X, maps
        Data and maps as `as_points` returns them.
    classes
        Label of each cell, or None.
    k
        Number of neighbours.
    max_cells, seed
        See `sample_cells`.
    """
    sampling: dict[str, Any] = {"max_cells": max_cells, "rng": seed}
    per_map = zip(
        maps,
        kl_density_estimates_of_several(X, maps, SIGMAS, **sampling),
        compare_ranks_of_several(X, maps, k, **sampling),
        _of_distances(X, maps, sampling),
        strict=True,
    )
    rows = []
    for Z, densities, ranks, distances in per_map:
        row = {f"kl_density_{sigma:g}": estimate for sigma, estimate in zip(SIGMAS, densities, strict=True)}
        row |= _of_neighborhoods(ranks, k) | distances
        row |= {} if classes is None else _of_labels(Z, classes, k, sampling)
        rows.append(_flat(row, sampled=len(Z) > max_cells))
    return rows


def _of_neighborhoods(ranks: RankComparison, k: int) -> dict[str, Estimate]:
    data_side, map_side = neighborhoods.mrre_per_cell(ranks, k)
    per_cell = {
        "knn_recall": neighborhoods.recall_per_cell(ranks, [k]),
        "trustworthiness": neighborhoods.trustworthiness_per_cell(ranks, k),
        "continuity": neighborhoods.continuity_per_cell(ranks, k),
        "lcmc": neighborhoods.lcmc_per_cell(ranks, k),
        "mrre_data": data_side,
        "mrre_map": map_side,
        "rnx_local": ranks.local_auc,
        "rnx_global": ranks.global_auc,
    }
    return {name: mean_estimate(values, ranks.n_cells) for name, values in per_cell.items()}


def _of_distances(X: Any, maps: Sequence[Any], sampling: dict[str, Any]) -> list[dict[str, Estimate]]:
    several = pair_distances_of_several(X, maps, **sampling)
    sums = sum_distances_of_several(several)
    return [
        {"spearman": spearman, "stress": stress_estimate(pairs, total), "rmse": rmse_estimate(pairs, total)}
        for spearman, pairs, total in zip(spearman_estimates(several), several, sums, strict=True)
    ]


def _of_labels(Z: Any, classes: pd.Series, k: int, sampling: dict[str, Any]) -> dict[str, Any]:
    points, codes = as_labelled(Z, classes)
    correct = correct_per_cell(points, codes, k, **sampling)
    agreement = cluster_agreement(Z, classes, **sampling)
    return {"knn_accuracy": mean_estimate(correct, len(codes)), "ari": agreement.ari, "nmi": agreement.nmi}


def _flat(row: dict[str, Any], *, sampled: bool) -> dict[str, float]:
    flat = {}
    for name, value in row.items():
        flat[name] = value.value if isinstance(value, Estimate) else value
        if sampled and isinstance(value, Estimate):
            flat[f"{name}_se"] = value.standard_error
    return flat
