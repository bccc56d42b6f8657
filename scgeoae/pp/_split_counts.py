"""Two independent halves of the same counts."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
from scanpy import logging as logg
from scipy import sparse

from .._checks import LARGEST, check_adata, instead, refuse_masked
from .._lookup import matrix_of

if TYPE_CHECKING:
    from anndata import AnnData


@instead()
def split_counts(
    adata: AnnData, *, layer: str | None = None, share: float = 0.5, rng: int | np.random.Generator | None = 0
) -> tuple[AnnData, AnnData]:
    """Split the counts of every cell at random into two data sets of the same cells and genes.

    Each counted molecule goes to the first data set with probability `share`, else to the second (binomial thinning).
    If counts are Poisson distributed around the expression of the cell, the two are independent of each other given
    that expression [1]_ [2]_. So what was made from the first, such as a map, can be judged by the second, which never
    saw its noise: neighbors that are found again are neighbors in expression [3]_. With overdispersed counts
    (biological variation, amplification) the expression that both share includes that variation.

    Parameters
    ----------
    adata
        Annotated data matrix with raw counts, in memory.
    layer
        Layer with the counts; by default `X`.
    share
        Probability of a molecule to go to the first data set, between 0 and 1.
    rng
        Seed or generator. Global random states are not touched.

    Returns
    -------
    Two AnnData of the same cells and genes, in the same order, with copies of `obs` and `var`. Their `X` (n, g) hold
    the counts, which add up to those of `adata`, with its type (dense or sparse) and dtype. `obsm`, `varm`, `obsp`,
    `varp`, `layers`, `raw` and `uns` are left out, because they were computed from all counts; prepare both data sets
    anew, from normalization on. Columns of `obs` and `var` that were computed from all counts are kept as they are.
    Cells that end without a count in one of the two are kept, with a warning: filter them out of both.

    Raises
    ------
    KeyError
        If there is no such layer.
    ValueError
        If counts are negative, missing, not whole, masked, or too large for their dtype to be exact (above 2**24 for
        float32); if `share` is not between 0 and 1; if `adata` is backed.
    TypeError
        If the counts are not a numpy array or a CSR or CSC matrix of numbers, or `share` is not a number.

    References
    ----------
    .. [1] Neufeld, Gao, Popp, Battle, Witten (2022), Inference after latent variable estimation for single-cell RNA
       sequencing data, Biostatistics 25. Count splitting.
    .. [2] Neufeld, Dharamshi, Gao, Witten (2024), Data thinning for convolution-closed distributions, Journal of
       Machine Learning Research 25.
    .. [3] Batson, Royer, Webber (2019), Molecular cross-validation for single-cell RNA-seq, bioRxiv 786269.

    Examples
    --------
    >>> import anndata as ad, numpy as np, scgeoae
    >>> adata = ad.AnnData(np.random.default_rng(0).poisson(5.0, size=(100, 20)))
    >>> first, second = scgeoae.pp.split_counts(adata)
    >>> bool((first.X + second.X == adata.X).all())
    True
    """
    counts = _counts(adata, layer)
    if not isinstance(share, Real):
        msg = f"share must be a number, not {share!r}."
        raise TypeError(msg)
    if not 0 < float(share) < 1:
        msg = f"share must be between 0 and 1; it is {share!r}."
        raise ValueError(msg)
    values = counts.data if sparse.issparse(counts) else counts
    first = np.random.default_rng(rng).binomial(values.astype(np.int64), share).astype(counts.dtype)
    second = (values - first).astype(counts.dtype, copy=False)
    if sparse.issparse(counts):
        first, second = (
            type(counts)((half, counts.indices, counts.indptr), counts.shape, copy=True) for half in (first, second)
        )
        for half in (first, second):
            half.eliminate_zeros()
    had = np.asarray(counts.sum(1)).ravel() > 0
    for name, half in (("first", first), ("second", second)):
        n_empty = np.count_nonzero(had & (np.asarray(half.sum(1)).ravel() == 0))
        if n_empty:
            logg.warning(
                f"{n_empty} of {len(had)} cells have no count left in the {name} half. Filter cells with few counts "
                "before, or these out of both halves."
            )
    first, second = (ad.AnnData(half, obs=adata.obs.copy(), var=adata.var.copy()) for half in (first, second))
    return first, second


def _counts(adata: AnnData, layer: str | None) -> Any:
    """The checked counts: an array, or a sparse matrix without duplicate entries."""
    check_adata(adata)
    if adata.isbacked:
        msg = "adata is backed: both halves are made in memory. Call `adata.to_memory()` first."
        raise ValueError(msg)
    counts, source = matrix_of(adata, layer)
    refuse_masked(counts, source)
    is_sparse = sparse.issparse(counts) and counts.format in {"csr", "csc"}
    if not (is_sparse or isinstance(counts, np.ndarray)) or counts.dtype.kind not in "fiu":
        found = type(counts).__name__ + (f" of {counts.dtype}" if hasattr(counts, "dtype") else "")
        msg = f"{source} must be a numpy array or a CSR or CSC matrix of counts; it is a {found}."
        raise TypeError(msg)
    if is_sparse:
        counts = counts.copy()
        counts.sum_duplicates()
    else:
        counts = np.asarray(counts)
    values = counts.data if is_sparse else counts
    largest = 2 ** (np.finfo(counts.dtype).nmant + 1) if counts.dtype.kind == "f" else int(np.iinfo(counts.dtype).max)
    largest = min(largest, LARGEST)  # the generator takes no more
    for wrong, bad in {
        "missing or infinite": lambda: ~np.isfinite(values),
        "negative": lambda: values < 0,
        f"above {largest}, too large to be exact": lambda: values > largest,
        "not whole": lambda: values != np.floor(values),
    }.items():
        if n_bad := np.count_nonzero(bad()):
            msg = f"{source} must hold raw counts; {n_bad} of its values are {wrong}. Pass the layer that holds counts."
            raise ValueError(msg)
    return counts
