"""Store with a model how its input was made, so that it can be made of new cells too."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scanpy import logging as logg

from .._genes import Genes, dense, value_range
from ..core.projection import InputRecipe, Projection, Scaling, ValueRange

if TYPE_CHECKING:
    from anndata import AnnData

    from .._input import Representation

TOLERANCE = 1e-4
"""Largest residual of ``X P - o = Z`` (root mean square over cells, of the worst component), as a share of the overall
standard deviation of Z. Measured: 2e-6 where X is what PCA saw, 4e-2 for a randomized PCA, more for anything else."""

SAMPLE = 20_000
"""About how many cells, in runs spread evenly over all, are read of the expression; if there are fewer, all are."""


class Sample(NamedTuple):
    """Expression `X` (n, g) of sampled cells, as far as it is needed here.

    Attributes
    ----------
    cells
        Rows of the sampled cells, as slices.
    products
        ``X P`` (n, D) with the loadings `P`.
    mean, low, high
        Mean, smallest and largest value of each gene, (g,) float64.
    n_largest
        How many values equal the largest one of all genes.
    whole
        Whether all values are whole numbers.
    """

    cells: list[slice]
    products: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_largest: int
    whole: bool

    def range_before(self, scaling: Scaling | None) -> ValueRange:
        """Range of the values before they were scaled; scaling keeps the order of the values of a gene."""
        if scaling is None:
            return ValueRange(float(self.low.min()), float(self.high.max()), self.whole)
        return ValueRange(float(scaling.undo(self.low).min()), float(scaling.undo(self.high).max()), whole=False)


def recipe_of(adata: AnnData, representation: Representation) -> InputRecipe:
    """Find how the input was made: from genes, by a projection of genes, or an `obsm` by its name."""
    if representation.obsm_key is None:
        genes = Genes(adata, representation.features, representation.layer)
        sample = read_sample(genes)
        scaling, _ = _scaling(adata, genes, sample)
        projection = Projection(genes.names, scaling=scaling, layer=representation.layer)
        return InputRecipe(representation.features, None, projection, sample.range_before(scaling))
    if representation.obsm_key == "X_pca":
        try:
            projection, values = pca_projection(adata, representation)
        except (KeyError, ValueError, TypeError) as error:
            reason = error.args[0]
            logg.info(f"    new cells can be mapped only by an obsm['X_pca'] in the same components: {reason}")
        else:
            return InputRecipe(representation.features, representation.obsm_key, projection, values)
    values = value_range(representation, sampled=True)
    return InputRecipe(representation.features, representation.obsm_key, None, values)


def pca_projection(adata: AnnData, components: Representation) -> tuple[Projection, ValueRange]:
    """Return the projection that takes the genes to the principal ``components`` `Z` (n, D).

    With the loadings `P` of ``varm['PCs']`` (NaN as 0) and ``o = mean(X P - Z)``, ``X P - o`` must be Z within
    `TOLERANCE`. `X` is the layer that ``uns['pca']['params']`` names. Only genes with a loading are kept: those that
    the mask of the PCA left out have none.

    Returns
    -------
    The projection, and the range of the expression before scaling.

    Raises
    ------
    KeyError
        If the loadings or the layer are missing.
    ValueError
        If X, the loadings and Z do not belong together (another X, Harmony), names of genes are not unique, or X was
        scaled without centering: in a query, such values look like unscaled ones.
    """
    n_components = components.shape[1]
    if "PCs" not in adata.varm or adata.varm["PCs"].shape[1] < n_components:
        msg = f"Did not find .varm['PCs'] with the loadings of {n_components} components."
        raise KeyError(msg)
    loadings = np.nan_to_num(np.asarray(adata.varm["PCs"])[:, :n_components]).astype(np.float32)
    used = loadings.any(1)
    layer = dict(adata.uns.get("pca", {})).get("params", {}).get("layer")
    genes = Genes(adata, adata.var_names[used].to_numpy(dtype=object), layer)
    sample = read_sample(genes, loadings[used])

    z = np.vstack([dense(components.read(rows)) for rows in sample.cells])
    difference = sample.products - z  # (n, D)
    spread = np.sqrt(z.var(0, dtype=np.float64).mean())
    if not difference.std(0).max() <= TOLERANCE * spread:  # also where a value is missing
        msg = f"{genes.source} and varm['PCs'] do not reproduce obsm['X_pca']."
        raise ValueError(msg)
    scaling, certain = _scaling(adata, genes, sample)
    if not certain:
        msg = f"{genes.source} was scaled without centering."
        raise ValueError(msg)
    projection = Projection(genes.names, loadings[used], difference.mean(0), sample.mean, scaling, layer)
    return projection, sample.range_before(scaling)


def read_sample(genes: Genes, loadings: np.ndarray | None = None) -> Sample:
    """Read the sampled cells once, and with ``loadings`` (g, D) multiply them; without, the products are (n, 0)."""
    n_genes = genes.shape[1]
    loadings = np.empty((n_genes, 0)) if loadings is None else loadings
    cells, products, total = [], [], np.zeros(n_genes)
    low, high, largest = np.full(n_genes, np.inf), np.full(n_genes, -np.inf), -np.inf
    n_largest, whole = 0, True
    for rows, block in genes.spread(SAMPLE):
        x = block.astype(np.float64)  # X P and o are large beside their difference
        cells.append(rows)
        products.append(x @ loadings)
        total += x.sum(0)
        low, high = np.minimum(low, x.min(0)), np.maximum(high, x.max(0))
        before, largest = largest, high.max(initial=-np.inf)
        n_largest = (n_largest if largest == before else 0) + int((x == largest).sum())
        whole = whole and bool((x == np.rint(x)).all())
    stacked = np.vstack(products)
    return Sample(cells, stacked, total / len(stacked), low, high, n_largest, whole)


def _scaling(adata: AnnData, genes: Genes, sample: Sample) -> tuple[Scaling | None, bool]:
    """How the genes were scaled, by ``var['mean']`` and ``var['std']``; and whether that is certain.

    Scaled values are negative in part. If none is, X was either scaled without centering or not scaled, and `var`
    describes another matrix: the means of the genes show which.
    """
    stored = scaling_columns(adata, genes)
    if stored is None:
        return None, True
    mean, std = stored
    if sample.low.min() < 0:
        # scanpy does not store max_value: values that were clipped at it equal the largest one
        return Scaling(mean, std, float(sample.high.max()) if sample.n_largest > 1 else None), True
    unscaled, divided = (np.median(np.abs(sample.mean - guess)) for guess in (mean, mean / std))
    return None, bool(unscaled <= divided)


def scaling_columns(adata: AnnData, genes: Genes) -> tuple[np.ndarray, np.ndarray] | None:
    """Return ``var['mean']`` and ``var['std']`` of the genes, each (g,) float64, where `sc.pp.scale` wrote them."""
    if not {"mean", "std"} <= set(adata.var.columns):
        return None
    try:
        mean, std = (adata.var[name].to_numpy(dtype=np.float64)[genes.columns] for name in ("mean", "std"))
    except (TypeError, ValueError):  # columns of these names that hold something else
        return None
    return (mean, std) if np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all() else None
