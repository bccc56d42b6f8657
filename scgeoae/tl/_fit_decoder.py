"""Fit a decoder and an encoder to an existing map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scanpy import logging as logg

from .._checks import real_array, seed_of
from .._lookup import embedding_key
from ..fields import Keys
from ..reference import MapModel, recipe_of
from ..result import check_names, result_fields
from ._log import finish, tool
from ._origin import origin_of
from .plan import plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


@torch.inference_mode(mode=False)  # gradients are needed, also inside a `torch.no_grad` of the caller's
@tool()
def fit_decoder(
    adata: AnnData,
    basis: str,
    *,
    use_rep: str | None = None,
    n_pcs: int | None = None,
    layer: str | None = None,
    mask_var: str | np.ndarray | None = None,
    key_added: str | None = None,
    rng: int | np.random.Generator | None = 0,
    device: str | None = None,
    copy: bool = False,
    weight_decay: float = 0.3,
    hidden_dims: Sequence[int] = (100, 100, 100, 100),
    n_steps: int = 1500,
    batch_size: int = 512,
    learning_rate: float = 0.03,
    validation_fraction: float = 0.1,
    patience: int | None = 15,
) -> AnnData | None:
    """Fit a decoder and an encoder to a UMAP, a t-SNE or any other map, to see how it distorts and to place new cells.

    Fits a function `f` from the map to the data by least squares, ``mean |x - f(z)|^2 / (D s^2)``, with the decoder and
    the training of :func:`geometric_ae`; held-out cells decide which weights are kept. The map stays as it is. All
    getters and plots then work with ``key="geoae_umap"``: the indicatrices of your own UMAP.

    The determinant is a derivative, so it is meaningless for a decoder that follows the noise of single cells.
    `weight_decay` is the prior against this: it bounds how much one layer can stretch, and so how sharply `f` bends,
    without pulling the determinant towards any value. ``tests/benchmarks/decoders.py`` compares such priors.

    Then an encoder is fitted, which changes nothing of the decoder: it minimizes the mean distance on the map between
    ``e(x)`` and ``z``, with noise on ``x``, so that a cell of one of two islands is not put between them. With it,
    :func:`map_cells` places new cells on the map, also from a file by :func:`scgeoae.write_model`.

    Parameters
    ----------
    adata
        Annotated data matrix.
    basis
        The map: a key of `obsm`, with or without ``X_``.
    use_rep, n_pcs, layer, mask_var
        The data, as in :func:`geometric_ae`. By default what the map was made from, so far as scanpy stores that: the
        data of the neighbors of a UMAP, those of a t-SNE; else the principal components.
    key_added
        Store under this name instead of `'geoae_umap'` (for the basis `'umap'`).
    rng
        Seed or generator.
    device
        `'cpu'`, `'cuda'`, `'mps'`; by default the first available of `'cuda'`, `'mps'`, `'cpu'`.
    copy
        Return a copy instead of writing to `adata`.

    Other Parameters
    ----------------
    weight_decay
        Strength of the smoothness prior: spectral norms of hidden matrices stay near or below ``1 / weight_decay``.
        With 0 the fit is closest, with 1 the determinant is smoothest; the determinants of a dense cluster and of its
        surroundings then blur.
    hidden_dims, n_steps, batch_size, learning_rate, validation_fraction
        As in :func:`geometric_ae`, for the decoder and for the encoder.
    patience
        Stop each of both after this many validations, of 25 steps each, without a new lowest loss. With `None` training
        never stops early.

    Returns
    -------
    `None`, or the copy if `copy=True`. Sets these fields, here for the basis `'umap'`:

    `adata.obs['geoae_umap_det']` : :class:`pandas.Series`, `float64`
        Relative determinant: area of data per area of map, times the average. Below 1 the map inflates.
    `adata.obs['geoae_umap_anisotropy']` : :class:`pandas.Series`, `float64`
        Largest over smallest stretching by the decoder, at least 1.
    `adata.obs['geoae_umap_reconstruction_error']` : :class:`pandas.Series`, `float64`
        Root mean square over features of what the map does not explain, in input units.
    `adata.uns['geoae_umap' | key_added]` : :class:`dict`
        `'params'` (``params['basis']`` is `'X_umap'`), `'model'`, `'history'` (of the decoder), and `'fingerprint'`, by
        which changes of the input and of the coordinates are noticed.

    Raises
    ------
    KeyError
        If the map or the chosen data do not exist.
    ValueError, TypeError
        If an argument, the map or the data are invalid, or `key_added` names something else. Nothing is written.
    FloatingPointError
        If the training diverges, or the decoder is constant.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.fit_decoder(adata, "umap", n_steps=100)
    >>> ax = scgeoae.pl.indicatrix(adata, key="geoae_umap", color="bulk_labels", show=False)

    New cells on a UMAP:

    >>> reference, query = sc.datasets.pbmc68k_reduced()[::2].copy(), adata[1::2].copy()
    >>> scgeoae.tl.fit_decoder(reference, "umap", n_steps=100)
    >>> del query.uns["geoae_umap"]
    >>> scgeoae.tl.map_cells(query, reference, key="geoae_umap", obs="bulk_labels")
    >>> query.obsm["geoae_umap"].shape
    (350, 2)
    """
    keys = Keys.decoding(embedding_key(adata, basis), key_added)
    check_names(adata, keys, with_coordinates=False)
    z = _coordinates(adata, keys.obsm)
    if use_rep is None and n_pcs is None and layer is None and mask_var is None:
        origin = origin_of(adata, keys.obsm)
        use_rep, n_pcs = origin.get("use_rep"), origin.get("n_pcs")
    planned = plan(
        adata,
        coordinates=z,
        use_rep=use_rep,
        n_pcs=n_pcs,
        layer=layer,
        mask_var=mask_var,
        n_components=z.shape[1],
        device=device,
        hidden_dims=hidden_dims,
        n_steps=n_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        validation_fraction=validation_fraction,
        patience=patience,
    )
    seed = seed_of(rng)
    recipe = recipe_of(adata, planned.representation)  # what fails here must not cost a training

    start = logg.info(f"fitting a decoder from obsm[{keys.obsm!r}] to {planned.source}, and an encoder")
    fitted = planned.fit(seed)
    model = MapModel(fitted.network, fitted.frame, recipe, made_elsewhere=True)

    params = planned.params(fitted, seed)
    fingerprint = planned.fingerprint(fitted)
    values = result_fields(keys, model, fitted.cells, params=params, fingerprint=fingerprint, history=fitted.history)
    return finish(adata, keys, values, start, copy=copy)


def _coordinates(adata: AnnData, name: str) -> np.ndarray:
    """Return the map (n, d) as float64, after checking it."""
    z = real_array(adata.obsm[name], f"obsm[{name!r}]").astype(np.float64)
    if z.ndim != 2:
        msg = f"obsm[{name!r}] must be a matrix; it has shape {z.shape}."
        raise TypeError(msg)
    n_bad = int((~np.isfinite(z).all(1)).sum())
    if n_bad:
        msg = f"obsm[{name!r}] holds missing or infinite coordinates of {n_bad} cells. Drop these cells first."
        raise ValueError(msg)
    if z.shape[1] < 1 or not (np.ptp(z, axis=0) > 0).all():
        msg = f"obsm[{name!r}] must spread the cells in every dimension; all are at one place in some."
        raise ValueError(msg)
    return z
