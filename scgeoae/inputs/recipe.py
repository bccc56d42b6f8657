"""Record how the input of a model was made, and make it of new cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scanpy import logging as logg

from .._checks import check_adata
from .._lookup import PCA_KEYS, in_memory
from ..core.novelty import fit_novelty
from ..core.projection import InputRecipe, Projection, Scaling, ValueRange
from ..core.rows import check_finite
from .representation import N_LISTED, choose, genes
from .rows import ReadRows

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from anndata import AnnData

    from ..core.map_model import MapModel
    from ..core.rows import Rows
    from .matrix import Matrix
    from .representation import Representation

TOLERANCE = 1e-4
"""Largest residual of ``X P - o = Z`` (root mean square over cells, of the worst component), as a share of the overall
standard deviation of Z. Measured: 2e-6 where X is what PCA saw, 4e-2 for a randomized PCA, more for anything else."""

SAMPLE = 20_000
"""About how many cells are read of the expression of a reference; if there are fewer, all are."""

ROUNDING = 1e-12
"""A variance below this share of the mean square is a rounding error."""

N_CALIBRATION = 1_000
"""How many of these cells, at most, calibrate the novelty."""

QUERY_SAMPLE = 2_000
"""About how many cells of a query are searched for the zero level."""

ZERO_SHARE = 0.1
"""Least share of entries at the reference's zero level for a query to count as scaled with the reference's numbers.
Measured on pbmc3k: 0.9 where it was, 0.001 where the query was scaled by itself."""

RATIO = 10.0
"""A warning is given if the values of a query span less than the reference's divided by this."""

MAX_MISSING = 0.5
"""Largest share of the genes' weight that a query may lack. Measured (``tests/benchmarks/mapping.py missing``): with
40 % missing, the median cell moves by 5 to 7 % of the radius of the map and 1 to 3 % fewer labels are right; with 60 %,
by 10 to 15 % and 2 to 5 %; with 80 %, by 22 to 35 % and 7 to 12 %."""


def recipe_of(adata: AnnData, representation: Representation) -> InputRecipe:
    """Record how the input of a model was made: from genes, by a projection of genes, or an `obsm` by its name.

    Parameters
    ----------
    adata
        The reference.
    representation
        What the model was trained on.
    """
    features, obsm_key = representation.features, representation.obsm_key
    if obsm_key is None:
        sample = _read_sample(representation)
        scaling, _ = _scaling(adata.var, features, sample)
        projection = Projection(features, scaling=scaling, layer=representation.layer)
        return InputRecipe(features, obsm_key, projection, sample.range_before(scaling))
    if obsm_key in PCA_KEYS or obsm_key in adata.varm:
        try:
            return _pca_recipe(adata, representation)
        except (KeyError, ValueError, TypeError) as error:
            reason = error.args[0]
            logg.info(f"    new cells can be mapped only by an obsm[{obsm_key!r}] in the same components: {reason}")
    value_range = representation.value_range(SAMPLE if representation.streamed else None)
    return InputRecipe(features, obsm_key, None, value_range)


def _pca_recipe(adata: AnnData, components: Representation) -> InputRecipe:
    """Record the projection that takes genes to the principal ``components`` `Z` (n, D), their range and novelty.

    With the loadings `P` of ``varm['PCs']`` (NaN as 0) and ``o = mean(X P - Z)``, ``X P - o`` must be Z within
    `TOLERANCE`. `X` is the layer that ``uns['pca']['params']`` names. Components under another key than ``'X_pca'``
    have their loadings and parameters under that key, as `sc.pp.pca` writes them with ``key_added``. Only genes with a
    loading are kept: those that the mask of the PCA left out have none. The range is that before scaling.

    Raises
    ------
    KeyError
        If the loadings or the layer are missing.
    ValueError
        If X, the loadings and Z do not belong together (another X, Harmony), names of genes are not unique, or X was
        scaled without centering: in a query, such values look like unscaled ones.
    """
    n_components, obsm_key = components.shape[1], components.obsm_key
    varm_key, uns_key = ("PCs", "pca") if obsm_key == "X_pca" else (obsm_key, obsm_key)
    if varm_key not in adata.varm or adata.varm[varm_key].shape[1] < n_components:
        msg = f"Did not find .varm[{varm_key!r}] with the loadings of {n_components} components."
        raise KeyError(msg)
    loadings = np.nan_to_num(np.asarray(adata.varm[varm_key])[:, :n_components]).astype(np.float32)
    used = loadings.any(1)
    loadings, names = loadings[used], adata.var_names[used].to_numpy(dtype=object)
    layer = dict(adata.uns.get(uns_key, {})).get("params", {}).get("layer")
    x, _ = genes(adata, names, layer)
    sample = _read_sample(x, loadings)

    z = np.vstack([components.dense(rows) for rows in x.spread(SAMPLE)])
    difference = sample.products - z  # (n, D)
    if not difference.std(0).max() <= TOLERANCE * np.sqrt(z.var(0).mean()):  # also where a value is missing
        msg = f"{x.source} and varm[{varm_key!r}] do not reproduce {components.source}."
        raise ValueError(msg)
    scaling, certain = _scaling(adata.var, names, sample)
    if not certain:
        msg = f"{x.source} was scaled without centering."
        raise ValueError(msg)
    projection = Projection(names, loadings, difference.mean(0), sample.mean, scaling, layer)
    spread = sample.spread if scaling is None else None
    novelty = fit_novelty(projection, sample.some, z.var(0), adata.n_obs, spread)
    return InputRecipe(components.features, obsm_key, projection, sample.range_before(scaling), novelty)


class _Sample(NamedTuple):
    """Expression `X` (n, g) of sampled cells, summarized.

    Attributes
    ----------
    products
        ``X P`` (n, D) with the loadings `P`.
    mean, spread, low, high
        Mean, standard deviation (1 where it is 0), smallest and largest value of each gene, (g,) float64.
    n_largest
        How many values equal the largest one of all genes.
    whole
        Whether all values are whole numbers.
    some
        About `N_CALIBRATION` of the cells, (m, g) float32; none without loadings.
    """

    products: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_largest: int
    whole: bool
    some: np.ndarray

    def range_before(self, scaling: Scaling | None) -> ValueRange:
        """Range of the values before they were scaled; scaling keeps the order of the values of a gene."""
        if scaling is None:
            return ValueRange(float(self.low.min()), float(self.high.max()), self.whole)
        return ValueRange(float(scaling.undo(self.low).min()), float(scaling.undo(self.high).max()), whole=False)


def _read_sample(matrix: Matrix, loadings: np.ndarray | None = None) -> _Sample:
    """Read the sampled cells once, and multiply them by ``loadings`` (g, D); without, the products are (n, 0)."""
    n_genes = matrix.shape[1]
    loadings = np.empty((n_genes, 0)) if loadings is None else loadings
    products, some, total, squares = [], [np.empty((0, n_genes), np.float32)], np.zeros(n_genes), np.zeros(n_genes)
    every = -(-min(matrix.shape[0], SAMPLE) // N_CALIBRATION)
    low, high, largest = np.full(n_genes, np.inf), np.full(n_genes, -np.inf), -np.inf
    n_read, n_largest, whole = 0, 0, True
    for rows in matrix.spread(SAMPLE):
        x = matrix.dense(rows)  # in float64: X P and o are large beside their difference
        products.append(x @ loadings)
        if loadings.size:
            some.append(x[-n_read % every :: every].astype(np.float32))
        n_read += len(x)
        total += x.sum(0)
        squares += np.square(x).sum(0)
        low, high = np.minimum(low, x.min(0)), np.maximum(high, x.max(0))
        before, largest = largest, high.max(initial=-np.inf)
        n_largest = (n_largest if largest == before else 0) + int((x == largest).sum())
        whole = whole and bool((x == np.rint(x)).all())
    stacked = np.vstack(products)
    mean, mean_square = total / n_read, squares / n_read
    variance = mean_square - np.square(mean)
    spread = np.sqrt(np.where(variance > ROUNDING * mean_square, variance, 1))
    return _Sample(stacked, mean, spread, low, high, n_largest, whole, np.vstack(some))


def _scaling(var: pd.DataFrame, names: np.ndarray, sample: _Sample) -> tuple[Scaling | None, bool]:
    """How the genes were scaled, by ``var['mean']`` and ``var['std']``; and whether that is certain.

    Scaled values are negative in part. If none is, X was either scaled without centering or not scaled, and `var`
    describes another matrix: the means of the genes show which.
    """
    stored = _mean_and_std(var, names)
    if stored is None:
        return None, True
    mean, std = stored
    if sample.low.min() < 0:
        # scanpy does not store max_value: values that were clipped at it equal the largest one
        return Scaling(mean, std, float(sample.high.max()) if sample.n_largest > 1 else None), True
    unscaled, divided = (np.median(np.abs(sample.mean - guess)) for guess in (mean, mean / std))
    return None, bool(unscaled <= divided)


def _mean_and_std(var: pd.DataFrame, names: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return ``var['mean']`` and ``var['std']`` of genes, each (g,) float64, where `sc.pp.scale` wrote them."""
    if not {"mean", "std"} <= set(var.columns):
        return None
    try:
        stored = in_memory(var, ("mean", "std")).loc[names]
        mean, std = (stored[name].to_numpy(dtype=np.float64) for name in ("mean", "std"))
    except (TypeError, ValueError):  # columns of these names that hold something else
        return None
    return (mean, std) if np.isfinite([mean, std]).all() and (std > 0).all() else None


class MissingGenes(NamedTuple):
    """Genes of the model that a query lacks.

    Attributes
    ----------
    names
        Their names (m,), object.
    share
        Share of the weight of all loadings (sum of squares) that falls on them; of the genes, if these are the input.
    by_component
        The same of each component, (D,); `None` if genes are the input.
    """

    names: np.ndarray
    share: float
    by_component: np.ndarray | None


def query_rows(adata: AnnData, model: MapModel) -> tuple[Rows, MissingGenes | None]:
    """Make the input of a model of new cells, and warn if their values look prepared in another way.

    A gene that is missing counts as the reference's mean: it contributes nothing to the distance from the mean.

    Parameters
    ----------
    adata
        The new cells.
    model
        The model; the rows are on its device.

    Returns
    -------
    Rows (n, D) of the new cells, in their order, and the missing genes, if there are any.

    Raises
    ------
    KeyError
        If the layer or `obsm` does not exist.
    ValueError, TypeError
        If more than `MAX_MISSING` of the genes' weight is missing, values are not finite, or the cells were scaled by
        themselves.
    """
    check_adata(adata)
    recipe, projection = model.input, model.input.projection
    if projection is None:
        return _rows_of_obsm(adata, recipe, model.n_features, model.device), None
    x, present = genes(adata, projection.genes, projection.layer)
    missing = None if present.all() else _missing_genes(adata, projection, present)
    scaling = None if projection.scaling is None else projection.scaling.subset(present)
    values = x.value_range()
    scaled = scaling is not None and values.low < 0  # scaled values are negative in part
    if not scaled:
        _warn_of_range(values, recipe.value_range, x.source, signed=True)
    elif scaling is not None and not _is_scaled_as(scaling, adata.var, projection.genes[present], x):
        msg = (
            f"{x.source} of the query was scaled, but not with the mean and standard deviation of the reference: its "
            "cells would land in the wrong place. Pass log-normalized values; they are scaled as the reference was."
        )
        raise ValueError(msg)
    fill = None
    if missing is not None:
        mean = (
            model.autoencoder.observation.mean.cpu().double().numpy()
            if projection.center is None
            else projection.center
        )
        fill = np.where(present, np.nan, mean)
    return ReadRows(x, model.device, projection, scaled=scaled, fill=fill, measure=recipe.novelty), missing


def _missing_genes(adata: AnnData, projection: Projection, present: np.ndarray) -> MissingGenes:
    """Measure how much is missing; warn, or raise a `ValueError` if it is too much."""
    names, share, by_component = projection.genes[~present], float(np.mean(~present)), None
    if projection.loadings is not None:
        weight = np.square(projection.loadings.astype(np.float64))  # (g, D)
        by_component = weight[~present].sum(0) / weight.sum(0)
        share = float(weight[~present].sum() / weight.sum())
    listed = ", ".join(map(str, names[:N_LISTED])) + (", …" if len(names) > N_LISTED else "")
    found = f"{len(names)} of the {len(present)} genes of the reference are missing in the query: {listed}"
    if share <= MAX_MISSING:
        logg.warning(
            f"{found}. They are set to the mean of the reference; {share:.0%} of the weight of all genes is missing."
        )
        return MissingGenes(names, share, by_component)
    plain = {str(name).split(".")[0].casefold() for name in adata.var_names}
    n_alike = sum(str(name).split(".")[0].casefold() in plain for name in names)
    hint = " Many differ in case or in a version such as '.3' alone: rename them." if n_alike > len(names) / 2 else ""
    msg = (
        f"{found} (its var_names begin with {adata.var_names[:3].tolist()}). {share:.0%} of the weight of all genes is "
        f"missing, and a map can do without {MAX_MISSING:.0%}.{hint}"
    )
    raise ValueError(msg)


def reference_rows(adata_ref: AnnData, model: MapModel) -> Rows:
    """Return the input (n, D) of the reference's own cells: its `obsm` where that is still there, else from genes.

    Raises
    ------
    KeyError, ValueError, TypeError
        As :func:`query_rows`.
    """
    key = model.input.obsm_key
    if key is None or key not in adata_ref.obsm:
        return query_rows(adata_ref, model)[0]
    return choose(adata_ref, use_rep=key, n_pcs=model.n_features).rows(model.device)


def _is_scaled_as(scaling: Scaling, var: pd.DataFrame, names: np.ndarray, x: Matrix) -> bool:
    """Whether scaled cells `X` (n, g) were scaled with the reference's means and standard deviations.

    These show in the values: a zero became `Scaling.zero_level`, which no other numbers hit. Where the data hold no
    zeros, the query's own ``var['mean']`` and ``var['std']`` must be the reference's.
    """
    level = scaling.zero_level
    hits = [np.abs(x.dense(rows) - level) <= 1e-4 * np.abs(level) for rows in x.spread(QUERY_SAMPLE)]
    if np.concatenate(hits).mean() >= ZERO_SHARE:
        return True
    own = _mean_and_std(var, names)
    return own is not None and np.allclose(own[0], scaling.mean, 1e-4) and np.allclose(own[1], scaling.std, 1e-4)


def _rows_of_obsm(adata: AnnData, recipe: InputRecipe, n_features: int, device: torch.device) -> Rows:
    key = recipe.obsm_key
    if key is None:
        msg = "The model does not know what it was trained on: pass its features to `get.model(...).encode` yourself."
        raise ValueError(msg)
    if key not in adata.obsm:
        msg = (
            f"The reference was trained on obsm[{key!r}], which cannot be computed from genes (no PCA projection that "
            f"reproduces it is stored). Put the query's cells into the same space as .obsm[{key!r}] first; .obsm holds "
            f"{list(adata.obsm) or 'nothing'}."
        )
        if key in PCA_KEYS:
            msg += " Or run `sc.pp.pca` on the reference as it is now, and train again."
        raise KeyError(msg)
    found = adata.obsm[key].shape[1]
    if found < n_features:
        msg = f"obsm[{key!r}] of the query has {found} columns; the reference was trained on {n_features}."
        raise ValueError(msg)
    representation = choose(adata, use_rep=key, n_pcs=n_features)
    rows = representation.rows(device)
    check_finite(rows, representation.source)
    if key in PCA_KEYS:
        logg.warning(
            f"The reference holds no PCA projection: obsm[{key!r}] of the query is taken as it is. It must be in the "
            "components of the reference; a PCA of the query by itself is another space."
        )
    _warn_of_range(representation.value_range(), recipe.value_range, representation.source, signed=False)
    return rows


def _warn_of_range(query: ValueRange, reference: ValueRange | None, source: str, *, signed: bool) -> None:
    """Warn if values differ from the reference's as raw counts differ from log-normalized or scaled values.

    One kind is of whole numbers and the other is not; the values reach twice as far, or less than a tenth as far;
    or, where ``signed`` values mean something, one has negative values and the other has none.
    """
    if reference is None or query.low == query.high:
        return
    span = reference.high - reference.low
    if (
        query.whole != reference.whole
        or not reference.low - span <= query.low <= query.high <= reference.high + span
        or query.high - query.low < span / RATIO
        or (signed and (query.low < 0) != (reference.low < -1e-6 * span))
    ):
        logg.warning(
            f"{source} of the query ranges from {query}, in the reference it ranged from {reference}. "
            "Were both preprocessed in the same way?"
        )
