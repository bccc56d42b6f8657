"""Train the geometric autoencoder on an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from scanpy import logging as logg

from .._checks import seed_of
from ..core.rows import check_finite
from ..fields import Keys
from ..reference import MapModel, recipe_of
from ..result import check_names, result_fields
from ._log import finish, tool
from ._warnings import warn_of_counts
from .plan import plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from anndata import AnnData


@torch.inference_mode(mode=False)  # gradients are needed, also inside a `torch.no_grad` of the caller's
@tool()
def geometric_ae(
    adata: AnnData,
    *,
    use_rep: str | None = None,
    n_pcs: int | None = None,
    layer: str | None = None,
    mask_var: str | np.ndarray | None = None,
    n_components: int = 2,
    alpha: float = 0.2,
    key_added: str | None = None,
    rng: int | np.random.Generator | None = 0,
    device: str | None = None,
    copy: bool = False,
    init: str = "pca",
    regularizer: str | Mapping[str, float] | None = None,
    contrast_weight: float = 0.05,
    distance_weight: float = 0.1,
    landmarks: str | None = None,
    landmark_weight: float = 1.0,
    noise: float | None = None,
    hidden_dims: Sequence[int] = (100, 100, 100, 100),
    n_steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float = 0.08,
    validation_fraction: float = 0.1,
    patience: int | None = None,
) -> AnnData | None:
    """Map cells by an autoencoder whose decoder preserves area :cite:p:`Nazari2023`.

    Minimizes ``mean |x - f(e(x))|^2 / (D s^2) + alpha * R``, where `e` is the encoder, `f` the decoder, `s` the overall
    standard deviation of the input, and the regularizer `R` measures how unevenly the decoder stretches the map. A
    contrast term keeps neighbors together. All terms are without unit, so one `alpha` means the same on every data set.
    Afterwards the map is centered, turned to the first principal components and scaled such that a length on it is, on
    geometric average over the cells, a distance in the data.

    The data may lie on disk: a backed AnnData, zarr, dask or a memory map. They are then read in chunks, of which 17
    are kept in a buffer of at most 256 MB, and cells are shuffled within a window of 16 chunks that slides over all of
    them in random order. Larger chunks of a dask array cause a warning.

    Inside a process group of :mod:`torch.distributed` all processes train one model: each draws its batches from its
    own share of the cells, gradients are averaged, and all get the result.

    Parameters
    ----------
    adata
        Annotated data matrix.
    use_rep
        Key of `obsm` to train on, or `'X'`. By default the principal components, `'X_pca'` or else `'pca'`.
    n_pcs
        Use only the first columns of the `obsm`.
    layer
        Train on this layer instead.
    mask_var
        Genes to train on, with `use_rep='X'` or `layer`: a boolean column of `var`, or booleans. By default all.
    n_components
        Dimension d of the map.
    alpha
        Weight of the regularizer: larger values give more even areas, smaller ones a closer reconstruction.
    key_added
        Store under this name instead of `'geoae'`.
    rng
        Seed or generator. Equal seeds give equal maps, bit for bit, on one machine. Torch uses one thread unless a step
        is large (256 cells of 2,000 features and more): the map then depends on the number of threads, by rounding
        errors that training amplifies. Global random states and settings stay unchanged.
    device
        `'cpu'`, `'cuda'`, `'mps'`; by default the first available of `'cuda'`, `'mps'`, `'cpu'`.
    copy
        Return a copy instead of writing to `adata`.

    Other Parameters
    ----------------
    init
        Where the training begins: `'pca'`, the plot of the first principal components of the input (turned to the
        landmarks), to which the encoder adds what it learns, or `'random'` weights. From the components, maps of other
        seeds and of the other half of the counts are arranged alike (``tests/benchmarks/quality.py --replicate``).
    regularizer
        `'area'`: variance of the log determinant, the paper's; `'isometry'`; `'conformal'`; or a mapping of these names
        to weights. By default `{'area': 1, 'conformal': 0.3}` (area alone in one dimension): with area alone the
        decoder often shears the map, which the conformal part prevents.
    contrast_weight
        Weight of the contrast, a cross-entropy: for each of 256 anchor cells per batch, identify by closeness on the
        map which cell of the batch is nearest in the data.
    distance_weight
        Weight of the distances: the squared stress, at the best scale, of the distances of random pairs of cells of a
        batch. It improves the arrangement of far groups, unless straight distances are the wrong ones, as on a Swiss
        roll.
    landmarks
        Key of an `obsm` (n, d) with places near which cells should stay, NaN for cells that are free: coordinates on an
        earlier map, so that a map of more cells looks like it. The new map is shifted, rotated and reflected onto them
        and keeps its unit of 1.
    landmark_weight
        Weight of the landmarks: mean squared distance from them, per cell and dimension, where their variance is 1.
    noise
        Standard deviation of Gaussian noise on the encoder's input during training, as a share of the input's overall
        standard deviation. The target of the reconstruction has no noise. New cells are then mapped as well as training
        cells. By default 0.35 times the distance of a typical cell to its nearest among 2,000 cells (root mean square
        by feature).
    hidden_dims
        Widths of the encoder's hidden layers; the decoder mirrors them.
    n_steps
        Number of optimizer steps. By default held-out cells decide, between 300 and 1,200 (600 without any): more steps
        are taken as long as twice as many lower the contrast among held-out cells by 1 %, without `contrast_weight`
        their reconstruction. Where cells differ from their neighbors by noise, more steps copy the noise; where they
        lie dense on a surface, more steps find more of their neighbors. The choice is stored in `params`.
    batch_size
        Cells per step, of all processes together. By default 2 % of the cells, at least 512 and at most 2,048.
    learning_rate
        Peak learning rate of Muon, which trains the matrices between hidden layers; Adam trains the rest at a tenth of
        it. It rises for 10 steps, and falls with the square root of the steps from the 50th on. The map is made of
        averages of the weights over the latest eighth of the steps, about, so that training can end at any of them.
    validation_fraction
        Share of cells held out of training, at most 2,000 cells. They are compared every 25 steps; the latest weights
        whose loss on them is within 5 % of the lowest are kept.
    patience
        Stop after this many validations, of 25 steps each, without a new lowest loss. By default the loss does not stop
        the training.

    Returns
    -------
    `None`, or the copy if `copy=True`. Sets these fields:

    `adata.obsm['X_geoae' | key_added]` : :class:`numpy.ndarray` (n, d), `float32`
        Map coordinates; a length is a distance in the input representation.
    `adata.obs['geoae_det']` : :class:`pandas.Series`, `float64`
        Relative determinant: area of data per area of map, times the average. Below 1 the map inflates.
    `adata.obs['geoae_anisotropy']` : :class:`pandas.Series`, `float64`
        Largest over smallest stretching by the decoder, at least 1.
    `adata.obs['geoae_reconstruction_error']` : :class:`pandas.Series`, `float64`
        Root mean square over features of what the map does not explain, in input units.
    `adata.uns['geoae' | key_added]` : :class:`dict`
        `'params'`, `'model'`, `'history'`, and `'fingerprint'`, by which changes of the input and of the coordinates
        are noticed. Survives writing to h5ad and zarr; `anndata.concat` drops it unless
        called with ``uns_merge='same'``. A Ctrl-C ends the training early: the best weights so far are kept, and
        ``params['interrupted']`` is `True`. Before or after the training, a Ctrl-C leaves `adata` unchanged.

    Raises
    ------
    KeyError
        If the chosen field does not exist.
    ValueError, TypeError
        If an argument or the data are invalid, or `key_added` names something else. Nothing is written.
    FloatingPointError
        If the training diverges, also after one retry from the best weights at a tenth of the learning rate, or the
        map collapses.
    OSError
        If a file changes or vanishes while it is read, or another process is lost.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=100)
    >>> adata.obsm["X_geoae"].shape
    (700, 2)
    """
    keys = Keys.named(key_added)
    check_names(adata, keys)
    planned = plan(
        adata,
        use_rep=use_rep,
        n_pcs=n_pcs,
        layer=layer,
        mask_var=mask_var,
        n_components=n_components,
        alpha=alpha,
        device=device,
        init=init,
        regularizer=regularizer,
        contrast_weight=contrast_weight,
        distance_weight=distance_weight,
        landmarks=landmarks,
        landmark_weight=landmark_weight,
        noise=noise,
        hidden_dims=hidden_dims,
        n_steps=n_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        validation_fraction=validation_fraction,
        patience=patience,
    )
    seed = seed_of(rng)
    try:
        recipe = recipe_of(adata, planned.representation)  # what fails here must not cost a training
    except ValueError:
        check_finite(planned.rows, planned.source)  # says where
        raise

    start = logg.info(f"training a geometric autoencoder on {planned.source}")
    fitted = planned.fit(seed)
    warn_of_counts(recipe)
    model = MapModel(fitted.network, fitted.frame, recipe)

    params, history = planned.params(fitted, seed), fitted.history
    values = {Keys.coordinates: fitted.cells.z}
    fingerprint = planned.fingerprint(fitted)
    values |= result_fields(keys, model, fitted.cells, params=params, fingerprint=fingerprint, history=history)
    return finish(adata, keys, values, start, copy=copy)
