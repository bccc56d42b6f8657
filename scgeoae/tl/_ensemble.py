"""How certain a map is: further trainings with other seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scanpy import logging as logg
from scanpy import settings
from sklearn.utils.parallel import Parallel, delayed
from tqdm import tqdm

from .._checks import seed_of, whole_number
from ..core.ensemble import axial_deviation, displacement, train_member
from ..core.neighbors import kept_neighbors
from ..reference import MapModel, to_state
from ..result import DEFAULT_KEY, Result, all_or_none
from ._log import PROGRESS, finished, rank_0_logs
from ._retraining import training_of

if TYPE_CHECKING:
    from anndata import AnnData

    from ..core.ensemble import Member

N_NEIGHBORS = 15
"""Neighbors on the map of which the models may agree."""


@torch.inference_mode(mode=False)  # gradients are needed, also inside a `torch.no_grad` of the caller's
@rank_0_logs()
def ensemble(
    adata: AnnData,
    n_models: int = 5,
    *,
    key: str = DEFAULT_KEY,
    bootstrap: bool = False,
    n_jobs: int | None = 1,
    rng: int | np.random.Generator | None = 0,
    keep_models: bool = False,
    copy: bool = False,
) -> AnnData | None:
    """Train the same map again with other seeds, and measure for each cell how far the maps agree.

    Each of the `n_models` further maps is trained on the data and with the parameters of the stored result, then
    shifted, rotated and reflected to be nearest to the stored map by least squares. It is never scaled: a length on
    each of them is a distance in the data. What differs is what the data do not decide: training amplifies the choice
    of the first weights, the held-out cells and the batches. With `bootstrap` the choice of the cells varies too.

    Parameters
    ----------
    adata
        Annotated data matrix with a result of :func:`geometric_ae` and the data that it was trained on.
    n_models
        Number of further maps, at least 2. The stored map is not counted.
    key
        Name of the result.
    bootstrap
        Train each map on as many cells as there are, drawn with replacement. A cell that is drawn several times counts
        once, so that each map is made from about 63 % of the cells. All cells are then placed on it.
    n_jobs
        Number of processes that train at the same time, as in scikit-learn; ``-1`` uses all cores. Each uses one
        thread. The result does not depend on it.
    rng
        Seed or generator, from which the seeds of all trainings are drawn.
    keep_models
        Keep the aligned models in `uns`, for :func:`scgeoae.get.metric` with ``expected=True``.
    copy
        Return a copy instead of writing to `adata`.

    Returns
    -------
    `None`, or the copy if `copy=True`. Sets these fields, those of another `key` under its name:

    `adata.obs['geoae_displacement']` : :class:`pandas.Series`, `float64`
        Root mean square over the maps of the distance between the places of the cell on it and on the stored map, in
        units of the data.
    `adata.obs['geoae_agreement']` : :class:`pandas.Series`, `float64`
        Share of the 15 nearest neighbors on the stored map that are among the 15 nearest on all maps. It falls with
        `n_models`.
    `adata.obs['geoae_log_det_std']` : :class:`pandas.Series`, `float64`
        Standard deviation over the maps of the logarithm of the determinant at the cell.
    `adata.obs['geoae_direction_std']` : :class:`pandas.Series`, `float64`
        Angular deviation over the maps of the direction in which the decoder stretches most, in degrees: 0 where it is
        the same on all, at most 40.5. It means little where the anisotropy is near 1. For maps of two dimensions.
    `adata.obsm['X_geoae_ensemble']` : :class:`numpy.ndarray` (n, n_models * d), `float32`
        Coordinates on the aligned maps, one map after the other.
    `adata.uns['geoae_ensemble']` : :class:`dict`
        `'params'` and, with `keep_models`, `'models'`.

    Raises
    ------
    KeyError
        If there is no such result, or the data that it was trained on are not there.
    ValueError
        If `n_models` is less than 2, `n_jobs` is 0 or more than 1 with data on disk, the result is a decoder of another
        map or holds mapped cells, or the data are not those that it was trained on. Nothing is trained.
    TypeError
        If an argument is of another type.
    FloatingPointError
        If a training diverges or its map collapses. Nothing is written, as after a Ctrl-C.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=50)
    >>> scgeoae.tl.ensemble(adata, n_models=2)
    >>> adata.obsm["X_geoae_ensemble"].shape
    (700, 4)
    """
    result = Result(adata, key)
    n_models, seed = whole_number(n_models, "n_models", 2), seed_of(rng)
    if n_jobs == 0 or not isinstance(n_jobs, int | None):
        msg = f"n_jobs must be a number of processes, or -1 for one on each core; it is {n_jobs!r}."
        raise ValueError(msg)
    places, training = result.coordinates(), training_of(result)
    source = training.representation.source
    if n_jobs not in {1, None} and training.representation.streamed:
        msg = f"{source} is not in memory, so several processes cannot read it. Pass n_jobs=1."
        raise ValueError(msg)

    start = logg.info(f"training {n_models} further maps on {source}")
    arguments = {"places": places, "landmarks": training.landmarks, "bootstrap": bootstrap, "name": source}
    seeds = np.random.default_rng(seed).integers(2**63, size=n_models).tolist()
    begun = tqdm(seeds, unit="map", disable=settings.verbosity < PROGRESS, leave=False)
    members: list[Member] = Parallel(n_jobs, pre_dispatch="n_jobs")(
        delayed(train_member)(training.rows, training.spec, member_seed, **arguments) for member_seed in begun
    )

    keys, columns = result.keys, _measures(result, members)
    entry, maps = keys.ensemble
    stored: dict[str, Any] = {"params": {"n_models": n_models, "bootstrap": bool(bootstrap), "rng": seed}}
    if keep_models:
        recipe = result.model.input
        models = [MapModel(member.network, member.frame, recipe) for member in members]
        stored["models"] = {str(i): to_state(model) for i, model in enumerate(models)}
    adata = adata.copy() if copy else adata
    with all_or_none(adata):
        for name, (values, _) in columns.items():
            adata.obs[name] = values
        adata.obsm[maps] = np.hstack([member.z for member in members])
        adata.uns[entry] = stored
    finished(
        start,
        *(f"{name!r}, {what} (adata.obs)" for name, (_, what) in columns.items()),
        f"{maps!r}, coordinates on the aligned maps (adata.obsm)",
        f"{entry!r}, parameters (adata.uns)",
    )
    return adata if copy else None


def _measures(result: Result, members: list[Member]) -> dict[str, tuple[np.ndarray, str]]:
    """Compute the columns of `obs`, each with a description for the log."""
    keys, places = result.keys, result.coordinates()
    measures = {
        keys.displacement: (displacement(places, members), "root mean square displacement"),
        keys.agreement: (
            kept_neighbors(places, [member.z for member in members], N_NEIGHBORS),
            f"share of {N_NEIGHBORS} neighbors on all maps",
        ),
        keys.log_det_std: (np.std([m.log_det for m in members], axis=0, ddof=1), "standard deviation of ln det"),
    }
    angles = [member.direction for member in members if member.direction is not None]
    if angles:
        measures[keys.direction_std] = (axial_deviation(np.array(angles)), "deviation of the direction of stretching")
    return measures
