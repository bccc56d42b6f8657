"""What the reference's input was made of, so that new cells can be brought to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scanpy import logging as logg

from .._genes import Genes, value_range
from .._streams import read
from ..core.projection import Projection, Scaling, ValueRange

if TYPE_CHECKING:
    from anndata import AnnData

    from .._input import Representation
    from ..core.autoencoder import GeometricAutoencoder

TOLERANCE = 1e-4
"""Largest residual of ``X P - o = Z`` (root mean square over cells, of the worst component), as a share of the overall
standard deviation of Z. Measured: 2e-6 where X is what PCA saw, 4e-2 for a randomised PCA, more for anything else."""

SAMPLE = 20_000
"""Cells, in runs spread over all, on which the projection is tested; up to this many, all."""


class Moments(NamedTuple):
    """Of the expression `X` (n, g) of sampled cells: mean by gene, largest value, how often it occurs."""

    mean: np.ndarray
    largest: float
    hits: int


def remember_input(model: GeometricAutoencoder, adata: AnnData, representation: Representation) -> None:
    """Keep with the model how its input came about: from genes, by a projection, or from an `obsm` by name.

    Parameters
    ----------
    model
        Changed in place: `features`, `obsm_key`, `projection`, `value_range`.
    adata
        The reference.
    representation
        What the model was trained on.
    """
    model.features = representation.features
    model.obsm_key = representation.obsm_key
    if representation.obsm_key is None:
        genes = Genes(adata, representation.features, representation.layer)
        scaling, _ = _scaling(adata, genes)
        model.projection = Projection(genes.names, scaling=scaling, layer=representation.layer)
        model.value_range = _range_before_scaling(genes, scaling)
        return
    model.value_range = value_range(representation.matrix, representation.source, sampled=True)
    if representation.obsm_key == "X_pca":
        found = pca_projection(adata, representation)
        if found is not None:
            model.projection, model.value_range = found


def pca_projection(adata: AnnData, components: Representation) -> tuple[Projection, ValueRange] | None:
    """The projection that takes the genes to the principal ``components`` `Z` (n, D), if it reproduces them.

    With the loadings `P` of ``varm['PCs']`` (NaN as 0) and ``o = mean(X P - Z)``, ``X P - o`` must be Z within
    `TOLERANCE`. `X` is the layer that ``uns['pca']['params']`` names; its mask shows as zero loadings, and only genes
    with a loading are kept.

    Returns
    -------
    The projection and the range of the expression before scaling, or `None` where X, the loadings and Z do not belong
    together (another X, Harmony) or X was scaled without centring, which later cannot be told from unscaled values.
    """
    if "PCs" not in adata.varm or adata.varm["PCs"].shape[1] < components.shape[1]:
        return None
    try:
        return _pca_projection(adata, components)
    except (KeyError, ValueError, TypeError) as error:
        logg.info(f"    to be mapped, new cells will need an obsm['X_pca'] in the same components: {error}")
        return None


def _pca_projection(adata: AnnData, components: Representation) -> tuple[Projection, ValueRange]:
    """The same, or an error that says why not: no such layer, names that are not unique, X that is not what PCA saw."""
    loadings = np.nan_to_num(np.asarray(adata.varm["PCs"])[:, : components.shape[1]]).astype(np.float32)
    used = loadings.any(1)
    layer = dict(adata.uns.get("pca", {})).get("params", {}).get("layer")
    genes = Genes(adata, adata.var_names[used].to_numpy(dtype=object), layer)
    offset, center, residual = _residual(genes, loadings[used], components)
    if not residual <= TOLERANCE:
        msg = f"{genes.source} and varm['PCs'] do not reproduce obsm['X_pca']."
        raise ValueError(msg)
    scaling, certain = _scaling(adata, genes)
    if not certain:
        msg = f"{genes.source} was scaled without centring."
        raise ValueError(msg)
    values = _range_before_scaling(genes, scaling)
    return Projection(genes.names, loadings[used], offset, center, scaling, layer), values


def _residual(genes: Genes, loadings: np.ndarray, components: Representation) -> tuple[np.ndarray, np.ndarray, float]:
    """`o` (D,), mean expression (g,), and the relative residual of ``X P - o = Z``."""
    n, total, products, found = 0, np.zeros(len(loadings)), [], []
    for index, x in genes.spread(SAMPLE):
        wide = x.astype(np.float64)
        n += len(index)
        total += wide.sum(0)
        z = np.asarray(read(components.matrix, slice(index[0], index[-1] + 1)))[:, : components.shape[1]]
        found.append(z)
        products.append(wide @ loadings - z)
    difference = np.vstack(products)  # (n, D)
    spread = np.sqrt(np.vstack(found).var(0, dtype=np.float64).mean())
    return difference.mean(0), total / n, float(difference.std(0).max() / spread)


def _scaling(adata: AnnData, genes: Genes) -> tuple[Scaling | None, bool]:
    """How the genes were scaled, by ``var['mean']`` and ``var['std']``; and whether that is certain.

    Negative values tell scaled from unscaled. Without any, the means by gene tell whether X was scaled without centring
    (then nothing is certain) or whether `var` speaks of some other matrix.
    """
    stored = scaling_columns(adata, genes)
    if stored is None:
        return None, True
    moments = _moments(genes)
    mean, std = stored
    if genes.value_range(sampled=True).low < 0:
        # no max_value is written by scanpy: a clipped matrix attains its largest value again and again
        return Scaling(mean, std, moments.largest if moments.hits > 1 else None), True
    unscaled, divided = (np.median(np.abs(moments.mean - guess)) for guess in (mean, mean / std))
    return None, bool(unscaled <= divided)


def scaling_columns(adata: AnnData, genes: Genes) -> tuple[np.ndarray, np.ndarray] | None:
    """``var['mean']`` and ``var['std']`` of the genes, each (g,) float64, where `sc.pp.scale` left them."""
    if not {"mean", "std"} <= set(adata.var.columns):
        return None
    try:
        mean, std = (adata.var[name].to_numpy(dtype=np.float64)[genes.columns] for name in ("mean", "std"))
    except (TypeError, ValueError):  # columns of these names that hold something else
        return None
    return (mean, std) if np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all() else None


def _moments(genes: Genes) -> Moments:
    n, total, largest, hits = 0, np.zeros(genes.shape[1]), -np.inf, 0
    for index, x in genes.spread(SAMPLE):
        n += len(index)
        total += x.sum(0, dtype=np.float64)
        top = float(x.max())
        if top > largest:
            largest, hits = top, 0
        hits += int((x == largest).sum())
    return Moments(total / n, largest, hits)


def _range_before_scaling(genes: Genes, scaling: Scaling | None) -> ValueRange:
    if scaling is None:
        return genes.value_range(sampled=True)
    low, high = np.inf, -np.inf
    for _, x in genes.spread(SAMPLE):
        before = scaling.undo(x)
        low, high = min(low, float(before.min())), max(high, float(before.max()))
    return ValueRange(low, high, whole=False)
