"""Record how the input of a model was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scanpy import logging as logg

from .._checks import real_array
from .._lookup import PCA_KEYS, gene_names, in_memory
from ..inputs import ValueRange, genes
from .novelty import Novelty, fit_novelty
from .preparation import DETECTED, PREPARATIONS, recognize
from .projection import Projection, Scaling

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from ..inputs import Matrix, Representation

TOLERANCE = 1e-4
"""Largest residual of ``X P - o = Z`` (root mean square over cells, of the worst component), as a share of the overall
standard deviation of Z. Measured: 2e-6 where X is what PCA saw, 4e-2 for a randomized PCA, more for anything else."""

SAMPLE = 20_000
"""About how many cells are read of the expression of a reference; if there are fewer, all are."""

ROUNDING = 1e-12
"""A variance below this share of the mean square is a rounding error."""

ZERO = 1e-4
"""Largest difference, as a share, of a scaled zero from the least value of its gene."""

N_CALIBRATION, N_TELLING = 1_000, 500
"""How many of these cells, at most, calibrate the novelty, and tell how they were prepared."""

ROUNDING_SHARE, ROUNDING_SUM = 1e-6, 1e-2
"""What is a rounding error of a value, as a share of the range of all, and of the sum over all genes of a cell."""


@dataclass(frozen=True)
class InputRecipe:
    """How the input of a model was made, so that it can be made of new cells.

    Attributes
    ----------
    features
        Names of the input features, in order, (D,) object.
    obsm_key
        Key of the `obsm` that the input was.
    projection
        How genes become the input, where that is known.
    value_range
        Range of what new cells are read from: genes before scaling, or the input.
    novelty
        How far genes exceed their reconstruction from the components, where these leave something out.
    preparation
        How genes were prepared before scaling, one of `PREPARATIONS`, where their values tell.
    """

    features: np.ndarray | None = field(default=None, repr=False, metadata={"shape": ("D",), "dtype": str})
    obsm_key: str | None = None
    projection: Projection | None = None
    value_range: ValueRange | None = None
    novelty: Novelty | None = None
    preparation: str | None = None

    @property
    def signed(self) -> bool:
        """Whether ordinary values are below 0, so that a 0 does not say that nothing is there."""
        reach = self.value_range
        return reach is not None and reach.low < -ROUNDING_SHARE * (reach.high - reach.low)

    @property
    def prepared(self) -> str:
        """What messages call the preparation; empty where it is not known."""
        name = PREPARATIONS.get(self.preparation or "")
        scaled = self.projection is not None and self.projection.scaling is not None
        return "" if name is None else f"{name}, then scaled by `sc.pp.scale`" if scaled else name

    def __post_init__(self) -> None:
        if self.novelty is not None and (self.projection is None or self.projection.loadings is None):
            msg = "There is a novelty without loadings."
            raise ValueError(msg)


@np.errstate(all="ignore")  # the training says which values are missing or too large
def recipe_of(adata: AnnData, representation: Representation, *, with_novelty: bool = True) -> InputRecipe:
    """Record how the input of a model was made: from genes, by a projection of genes, or an `obsm` by its name.

    Parameters
    ----------
    adata
        The reference.
    representation
        What the model was trained on.
    with_novelty
        Whether new cells will be mapped, so that their novelty is worth calibrating.

    Notes
    -----
    The fields that say how components were made may be missing, or hold anything: then the recipe has no projection,
    and the log says why.
    """
    features, obsm_key = representation.features, representation.obsm_key
    if obsm_key is None:
        sample = _read_sample(representation)
        scaling, _ = _scaling(adata.var, features, sample)
        if with_novelty:
            _warn_of_silent(sample, scaling)
        projection = Projection(features, scaling=scaling, layer=representation.layer)
        value_range = sample.range_before(scaling)
        return InputRecipe(
            features, obsm_key, projection, value_range, preparation=sample.preparation(scaling, value_range)
        )
    if obsm_key in PCA_KEYS or obsm_key in adata.varm:
        try:
            return _pca_recipe(adata, representation, with_novelty=with_novelty)
        except (KeyError, ValueError, TypeError) as error:
            log = logg.warning if isinstance(error, TypeError) else logg.info  # not of what is usual, as after Harmony
            log(f"New cells can be mapped only by an obsm[{obsm_key!r}] in the same components: {error.args[0]}")
    value_range = representation.value_range(SAMPLE if representation.streamed else None)
    return InputRecipe(features, obsm_key, None, value_range)


def _pca_recipe(adata: AnnData, components: Representation, *, with_novelty: bool) -> InputRecipe:
    """Record the projection that takes genes to the principal ``components`` `Z` (n, D), their range and novelty.

    With the loadings `P` of ``varm['PCs']`` (NaN as 0) and ``o = mean(X P - Z)``, ``X P - o`` must be Z within
    `TOLERANCE`. `X` is the layer that ``uns['pca']['params']`` names. Components under another key than ``'X_pca'``
    have their loadings and parameters under that key, as `sc.pp.pca` writes them with ``key_added``. Only genes with a
    loading are kept: those that the mask of the PCA left out have none. The range is that before scaling.

    Raises
    ------
    KeyError
        If the loadings or the layer are missing.
    TypeError
        If they do not hold real numbers.
    ValueError
        If X, the loadings and Z do not belong together (another X, Harmony), names of genes are not unique, or X was
        scaled without centering: in a query, such values look like unscaled ones.
    """
    n_components, obsm_key = components.shape[1], components.obsm_key
    varm_key, uns_key = ("PCs", "pca") if obsm_key == "X_pca" else (obsm_key, obsm_key)
    stored = real_array(adata.varm.get(varm_key, np.empty((adata.n_vars, 0))), f"varm[{varm_key!r}]")
    if stored.ndim != 2 or stored.shape[1] < n_components:
        msg = f"Did not find .varm[{varm_key!r}] with the loadings of {n_components} components."
        raise KeyError(msg)
    loadings = np.nan_to_num(stored[:, :n_components]).astype(np.float32)
    used = loadings.any(1)
    loadings, names = loadings[used], gene_names(adata)[used].to_numpy(dtype=object)
    layer: Any = adata.uns
    for entry in (uns_key, "params", "layer"):
        layer = layer.get(entry) if isinstance(layer, Mapping) else None
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
    value_range = sample.range_before(scaling)
    preparation, novelty = sample.preparation(scaling, value_range), None
    if with_novelty:
        _warn_of_silent(sample, scaling)
        spread = sample.spread if scaling is None else None
        novelty = fit_novelty(projection, sample.some, z.var(0), adata.n_obs, spread)
    return InputRecipe(components.features, obsm_key, projection, value_range, novelty, preparation)


def _warn_of_silent(sample: _Sample, scaling: Scaling | None) -> None:
    """Log a warning if cells of the reference express none of the genes of the model."""
    if n_silent := sample.n_silent(scaling):
        logg.warning(
            f"{n_silent} of {len(sample.totals)} cells express none of the genes that the map is made of: where they "
            "lie means nothing. Remove them by `sc.pp.filter_cells`, and compute the components and train again."
        )


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
        About `N_CALIBRATION` of the cells, (m, g) float32.
    totals
        Sum of the values of each cell, (n,).
    """

    products: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_largest: int
    whole: bool
    some: np.ndarray
    totals: np.ndarray

    def range_before(self, scaling: Scaling | None) -> ValueRange:
        """Range of the values before they were scaled; scaling keeps the order of the values of a gene."""
        if scaling is None:
            return ValueRange(float(self.low.min()), float(self.high.max()), self.whole)
        return ValueRange(float(scaling.undo(self.low).min()), float(scaling.undo(self.high).max()), whole=False)

    def preparation(self, scaling: Scaling | None, before: ValueRange) -> str | None:
        """Tell how the genes were prepared before they were scaled, when their range was ``before``."""
        some = self.some[:: -(-len(self.some) // N_TELLING)].astype(np.float64)
        x = some if scaling is None else scaling.undo(some)
        if scaling is not None and scaling.max_value is not None:
            x[some >= scaling.max_value] = 0  # what was clipped says nothing
        return recognize(x, before)

    def n_silent(self, scaling: Scaling | None) -> int:
        """Count the cells in which all genes are 0, before they were scaled."""
        zero = np.zeros_like(self.low) if scaling is None else scaling.zero_level
        if not np.allclose(self.low, zero, rtol=0, atol=DETECTED):
            return 0
        return int((self.totals <= zero.sum() + ROUNDING_SUM).sum())


def _read_sample(matrix: Matrix, loadings: np.ndarray | None = None) -> _Sample:
    """Read the sampled cells once, and multiply them by ``loadings`` (g, D); without, the products are (n, 0)."""
    n_genes = matrix.shape[1]
    loadings = np.empty((n_genes, 0)) if loadings is None else loadings
    products, some, totals, total, squares = [], [], [], np.zeros(n_genes), np.zeros(n_genes)
    every = -(-min(matrix.shape[0], SAMPLE) // N_CALIBRATION)
    low, high, largest = np.full(n_genes, np.inf), np.full(n_genes, -np.inf), -np.inf
    n_read, n_largest, whole = 0, 0, True
    for rows in matrix.spread(SAMPLE):
        x = matrix.dense(rows)  # in float64: X P and o are large beside their difference
        products.append(x @ loadings)
        totals.append(x.sum(1))
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
    return _Sample(stacked, mean, spread, low, high, n_largest, whole, np.vstack(some), np.concatenate(totals))


def _scaling(var: pd.DataFrame, names: np.ndarray, sample: _Sample) -> tuple[Scaling | None, bool]:
    """How the genes were scaled, by ``var['mean']`` and ``var['std']``; and whether that is certain.

    `var` may describe another matrix, such as a layer that was scaled for a plot. Scaled values are negative in part.
    If none is, X was either scaled without centering or not scaled: the means of the genes show which. If some are, X
    was scaled if the least value of most genes is what a zero became. Where the data held no zeros, as after
    `sc.pp.regress_out`, means and standard deviations show whether X was scaled or only has some negative values.
    """
    stored = mean_and_std(var, names)
    if stored is None:
        return None, True
    mean, std = stored
    if sample.low.min() >= 0:
        unscaled, divided = (np.median(np.abs(sample.mean - guess)) for guess in (mean, mean / std))
        return None, bool(unscaled <= divided)
    # scanpy does not store max_value: values that were clipped at it equal the largest one
    scaling = Scaling(mean, std, float(sample.high.max()) if sample.n_largest > 1 else None)
    at_zero = np.abs(sample.low - scaling.zero_level) <= ZERO * np.abs(scaling.zero_level)
    scaled, unscaled = (
        np.median(np.abs(sample.mean - center) + np.abs(sample.spread - spread))
        for center, spread in ((0, 1), (mean, std))
    )
    return scaling if at_zero.mean() > 0.5 or scaled <= unscaled else None, True


def mean_and_std(var: pd.DataFrame, names: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return ``var['mean']`` and ``var['std']`` of genes, each (g,) float64, where `sc.pp.scale` wrote them."""
    if sorted(name for name in var.columns if name in ("mean", "std")) != ["mean", "std"]:
        return None
    try:
        stored = in_memory(var, ("mean", "std"))
        stored = stored.set_axis(stored.index.astype(str)).loc[names]
        mean, std = (stored[name].to_numpy(dtype=np.float64) for name in ("mean", "std"))
    except (TypeError, ValueError):  # columns of these names that hold something else
        return None
    return (mean, std) if np.isfinite([mean, std]).all() and (std > 0).all() else None
