"""Read genes from any representation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scanpy import logging as logg

from .._lookup import groups_of
from ..fields import DEFAULT_KEY, Keys
from ..reference import readout_of, with_readout
from ..result import Result
from ._log import finish, tool

if TYPE_CHECKING:
    from anndata import AnnData


@tool()
def gene_readout(
    adata: AnnData,
    *,
    key: str = DEFAULT_KEY,
    layer: str | None = None,
    use_raw: bool = False,
    batch_key: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Learn to read genes from the input of a model, so that a map of any representation decodes to genes.

    The model of a map that was trained on principal components knows genes by their loadings. For any other
    representation (Harmony, scVI, MOFA, components of proteins), this function fits each gene as a smooth function of
    the representation, by ridge regression on the cells, and stores it with the model. :func:`scgeoae.get.decode`
    with ``space="genes"``, :func:`scgeoae.get.gene_gradient`, and :func:`scgeoae.pl.explorer` then use it, in place of
    loadings if there are any.

    Not every gene can be read: a representation holds what many genes share. R² says how much of the variance of a gene
    is read in cells that the fit has not seen. It is small for most genes, since the counts of single cells are noisy,
    also where the means of groups are decoded well. Genes below 0.02 count as not read: plots leave them out, unless
    they are asked for.

    Parameters
    ----------
    adata
        Annotated data matrix with a result of :func:`geometric_ae`, :func:`fit_decoder` or :func:`map_cells`, its input
        and log-normalized expression. Dense, sparse or on disk; of more than 50,000 cells, about as many are used.
    key
        Name of the result.
    layer
        Layer that holds the expression, instead of `X`. Values that were scaled by :func:`scanpy.pp.scale` are scaled
        back by ``var['mean']`` and ``var['std']``.
    use_raw
        Read the genes of `adata.raw`.
    batch_key
        Column of `obs` with batches. Each gene then gets an intercept in each batch, so that only differences within
        batches count, and R² is a share of the variance within batches. What is decoded is the mean over the batches,
        weighted by their cells: what the cell would express if it were measured in an average batch. Use it where the
        representation was integrated over the same batches; a batch is then no reason for a gene to differ. Where
        batches are conditions, their effect is removed as well. Cells without a batch are left out.
    copy
        Return a copy instead of writing to `adata`.

    Returns
    -------
    `None`, or the copy if `copy=True`. Sets this field:

    `adata.uns['geoae' | key]` : :class:`dict`
        In ``['model']['readout']``: names of the genes, weights, intercepts, R² by gene, and strength of the ridge.
        Everything else stays. It is part of the model and of its file, and goes with a new training.

    Raises
    ------
    KeyError
        If there is no such result, layer or column, or the input of the model is missing.
    ValueError, TypeError
        If there is no such matrix, values are not finite, no gene varies, there are fewer than six cells, or the model
        has more than 1,000 input features. Nothing is written.

    Notes
    -----
    Genes are seldom linear in a representation that a network has learned. So they are fitted to its D features and to
    200 bent ones, ``elu(x A + c)``, of random directions, each of which bends at a cell: a network whose hidden layer
    is drawn at random, and whose last layer has a closed form [1]_. The slopes minimize the squared residuals plus the
    strength times their squares. The strength, one for all genes, is the one with the largest mean R² in five-fold
    cross-validation, among powers of ten times the mean variance of the features. The cells are read once.

    References
    ----------
    .. [1] Huang, Zhu, Siew (2006), Extreme learning machine: theory and applications, Neurocomputing 70.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=100)
    >>> scgeoae.tl.gene_readout(adata, use_raw=True)
    >>> scgeoae.get.decode(adata, adata.obsm["X_geoae"][:5], space="genes").shape
    (5, 765)
    """
    result = Result(adata, key)
    model = result.model
    batches = None if batch_key is None else groups_of(adata, batch_key, at_least=1)[1].astype(np.int64)
    start = logg.info(f"reading genes from the input of the model {key!r}")
    readout = readout_of(adata, model, result.rows(), layer=layer, use_raw=use_raw, batches=batches)
    logg.info(f"    R² in held-out cells: {np.median(readout.r2):.2f} (median of {len(readout.genes)} genes)")
    stored = {**result.stored, "model": with_readout(result.stored["model"], readout)}
    return finish(adata, result.keys, {Keys.readout: stored}, start, copy=copy)
