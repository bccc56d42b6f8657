"""One table with all measures of several maps of an AnnData."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from .._checks import instead, seed_of
from .._lookup import PCA_KEYS, column, embedding_key, groups_of, matched
from ..result import Result
from . import density, distances, neighborhoods
from . import groups as group_measures
from . import labels as label_measures
from ._estimates import Measure
from ._points import Points, as_points, check_neighbors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

GROUPS = (
    density.MEASURES,
    neighborhoods.MEASURES,
    distances.MEASURES,
    label_measures.MEASURES,
    group_measures.MEASURES,
    {
        "log_det_variance": Measure("variance of ln det", "lower"),
        "det_p95_p5": Measure("det, p95 / p5", "lower"),
        "anisotropy": Measure("anisotropy, median", "lower"),
    },
    {"mean_rank": Measure("mean rank", "lower")},
)
MEASURES = {name: measure for group in GROUPS for name, measure in group.items()}
"""All columns that a table can have, in order."""

VARYING_FOR = "The quality of a map"
"""What error messages call undefined if all points are equal."""


@instead()
def embedding_quality(
    adata: AnnData,
    bases: Sequence[str],
    *,
    use_rep: str | None = None,
    n_pcs: int | None = None,
    layer: str | None = None,
    other: AnnData | None = None,
    labels: str | None = None,
    k: int = 20,
    max_cells: int = 10_000,
    rng: int | np.random.Generator | None = 0,
) -> pd.DataFrame:
    """Measure how well maps represent the data, one row per map and one column per measure.

    The functions of this module define the measures; `scgeoae.metrics.quality.MEASURES` says of each whether higher or
    lower values are better, those near 1, or none. What depends on the data alone is computed once for all maps.

    A map also represents the noise in the data from which it was made, and that improves the measures. With `other`,
    maps are compared with other data of the same cells. `scgeoae.pp.split_counts` makes such data: maps of one half of
    the counts are compared with the other half, so that only what both halves have in common improves the measures.

    Parameters
    ----------
    adata
        Annotated data matrix.
    bases
        The maps: keys of `obsm`, with or without ``X_``. Of principal components the first two columns are the map.
    use_rep
        The data with which the maps are compared: a key of `obsm`, or `'X'`. By default the principal
        components, `'X_pca'` or else `'pca'`.
    n_pcs
        Use only the first columns of the `obsm`.
    layer
        Compare with this layer instead.
    other
        Other data of the same cells. `use_rep`, `n_pcs` and `layer` then choose from `other`; maps, labels and
        decoders are those of `adata`. Cells are matched by name, in any order. Each cell of `adata` must be in `other`;
        cells that only `other` has are left out.
    labels
        Column of `obs` with classes; cells without one are left out. `None`: no measures of labels, and of sizes of
        groups and distances between them. With `other`, the latter two are free of noise: its genes are scaled and
        projected as those of `adata` were. They are NaN if that cannot be done: if the data are no principal
        components of `X`, or `other` was scaled by itself or lacks genes.
    k
        Number of neighbors.
    max_cells
        Up to this many cells, values are exact. Of more, cells and pairs are sampled, the same for all maps. `spearman`
        comes from a sample of pairs from 3,001 cells on. Each sampled measure has a standard error in a column
        ``'<measure>_se'``.
    rng
        Seed or generator for the samples. The same seed gives the same table.

    Returns
    -------
    Table indexed by `bases`, of float64. `mean_rank` is the mean over measures of the rank among the rows, 1 being
    best, as in the paper [1]_: over `kl_density_0.1`, `knn_recall`, `trustworthiness`, `spearman` and `stress`. The
    last replaces the paper's `rmse`, which depends on the scale of the map and would rank maps by their unit.
    `kl_density_100` is left out: at this sigma the densities of all cells are nearly equal, all maps are near 0, and
    their order has no meaning. Equal values share their mean rank.

    Maps with a decoder (`scgeoae.tl.geometric_ae`, `scgeoae.tl.fit_decoder`) have three more numbers, NaN for others:
    `log_det_variance`, the variance of ln det over cells; `det_p95_p5`, the 95th over the 5th percentile of det, which
    says by what factor equal areas of the map differ in the area of data that they represent; `anisotropy`, its
    median. If one map has several decoders, the one under its default key is used, else the first by name.

    Raises
    ------
    KeyError
        If a map, the data or the labels are missing.
    ValueError
        If `bases` is empty or names a map twice, a map is constant or not finite, k is not below half the number of
        cells, or the labels are measurements or name one class; if cells of `adata` are not in `other`, or several
        cells of one of them have the same name.

    References
    ----------
    .. [1] Nazari, Damrich, Hamprecht (2023), Geometric Autoencoders - What You See is What You Decode, ICML,
       arXiv:2306.17638.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> table = scgeoae.metrics.embedding_quality(adata, ["pca", "umap"], labels="bulk_labels")
    >>> bool(table.loc["umap", "knn_recall"] > table.loc["pca", "knn_recall"])
    True

    If cells differ by noise alone, the distances on a map agree with its own data, but not with the other half.

    >>> import anndata as ad, numpy as np
    >>> counts = np.random.default_rng(0).poisson(5.0, size=(500, 20))
    >>> first, second = scgeoae.pp.split_counts(ad.AnnData(counts))
    >>> for half in (first, second):
    ...     sc.pp.normalize_total(half)
    ...     sc.pp.log1p(half)
    ...     sc.pp.pca(half)
    >>> same = scgeoae.metrics.embedding_quality(first, ["pca"])
    >>> replicated = scgeoae.metrics.embedding_quality(first, ["pca"], other=second)
    >>> same["spearman"].round(2).item(), replicated["spearman"].round(2).item()
    (0.39, -0.01)
    """
    names = _obsm_names(adata, bases)
    X = _data(adata, other, use_rep=use_rep, n_pcs=n_pcs, layer=layer)
    maps = [_map(adata, name) for name in names]
    k = check_neighbors(k, adata.n_obs, below_half=True)
    sampling: dict[str, Any] = {"max_cells": max_cells, "rng": seed_of(rng)}
    classes = None
    if labels is not None:
        groups_of(adata, labels)  # refuses measurements
        classes = column(adata, labels)
        check_neighbors(k, len(label_measures.as_labeled(maps[0], classes)[1]))
    data, several = Points(X), [Points(Z) for Z in maps]
    kinds = [
        density.estimates(data, several, **sampling),
        neighborhoods.estimates(data, several, k, **sampling),
        distances.estimates(data, several, **sampling),
    ]
    if classes is not None:
        kinds.append([label_measures.estimates(Z, classes, k, **sampling) for Z in maps])
        halves = (X, None) if other is None else _halves(adata, other, use_rep=use_rep, n_pcs=n_pcs, layer=layer)
        kinds.append([group_measures.estimates(halves, Z, classes) for Z in maps])
    rows = []
    for name, *estimates in zip(names, *kinds, strict=True):
        row = _distortion(adata, name)
        for measure, estimate in (pair for columns in estimates for pair in columns.items()):
            row[measure] = estimate.value
            if estimate.standard_error is not None:
                row[f"{measure}_se"] = estimate.standard_error
        rows.append(row)
    table = pd.DataFrame(rows, index=pd.Index(list(bases), name="basis"))
    table["mean_rank"] = _mean_rank(table)
    columns = [column for name in MEASURES for column in (name, f"{name}_se")]
    return table[[name for name in columns if name in table]]


def _obsm_names(adata: AnnData, bases: Sequence[str]) -> list[str]:
    """Find the keys of the maps in `obsm`."""
    if isinstance(bases, str):
        msg = f"bases must be a sequence of names, not the str {bases!r}. Pass [{bases!r}]."
        raise TypeError(msg)
    names = [embedding_key(adata, basis) for basis in bases]
    if not names or len(set(names)) < len(names):
        msg = f"bases must name at least one map, and none of them twice, but it is {list(bases)}."
        raise ValueError(msg)
    return names


def _data(adata: AnnData, other: AnnData | None, **choice: Any) -> Any:
    """Return the data with which the maps are compared, with the cells of `adata` as rows."""
    from ..inputs import choose  # imports torch, which takes seconds and which the other measures do not need

    cells = adata if other is None else matched(adata, other)
    try:
        representation = choose(cells, **choice)
    except (KeyError, TypeError, ValueError) as error:
        if other is None:
            raise
        msg = f"In other: {error.args[0]}"
        raise type(error)(msg) from error
    source = representation.source if other is None else f"other.{representation.source}"
    return as_points(representation.read(), source, varying_for=VARYING_FOR)


def _halves(adata: AnnData, other: AnnData, **choice: Any) -> tuple[Any, Any] | None:
    """Return the data of `adata` and, in the same features, the other data; `None` if these cannot be had."""
    from ..inputs import choose
    from ..reference import projected

    try:
        representation = choose(adata, **choice)
        second = projected(adata, representation, matched(adata, other))
        return as_points(representation.read(), representation.source), second
    except (KeyError, TypeError, ValueError):
        return None


def _map(adata: AnnData, name: str) -> Any:
    Z = adata.obsm[name]
    Z = Z.toarray() if sparse.issparse(Z) else np.asanyarray(Z)  # keeps a mask, which is refused below
    return as_points(Z[:, :2] if name in PCA_KEYS else Z, f"obsm[{name!r}]", varying_for=VARYING_FOR)


def _distortion(adata: AnnData, obsm: str) -> dict[str, float]:
    """Summarize the distortion by the first decoder of this map that has it at the cells; empty if there is none."""
    for result in Result.of_map(adata, obsm):
        with suppress(KeyError):
            return result.distortion()
    return {}


def _mean_rank(table: pd.DataFrame) -> pd.Series:
    ranked = {name: measure.better == "lower" for name, measure in MEASURES.items() if measure.ranked}
    return pd.concat([table[name].rank(ascending=lower) for name, lower in ranked.items()], axis=1).mean(axis=1)
