"""How certain a map is: further trainings with other seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scanpy import logging as logg
from sklearn.utils.parallel import Parallel, delayed

from .._checks import seed_of, whole_number
from ..core.ensemble import axial_deviation, displacement, train_member
from ..core.neighbors import kept_neighbors
from ..fields import DEFAULT_KEY, Field, Keys
from ..reference import MapModel, to_state
from ..result import Result
from ._log import finish, timed, tool
from .plan import stored_plan

if TYPE_CHECKING:
    from anndata import AnnData

    from ..core.ensemble import Member

N_NEIGHBORS = 15
"""Neighbors on the map of which the models may agree."""


@torch.inference_mode(mode=False)  # gradients are needed, also inside a `torch.no_grad` of the caller's
@tool()
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
    places, planned = result.coordinates(), stored_plan(result)
    source = planned.source
    if n_jobs not in {1, None} and planned.representation.streamed:
        msg = f"{source} is not in memory, so several processes cannot read it. Pass n_jobs=1."
        raise ValueError(msg)

    start = logg.info(f"training {n_models} further maps on {source}")
    arguments = {"places": places, "landmarks": planned.landmarks, "bootstrap": bootstrap, "name": source}
    seeds = np.random.default_rng(seed).integers(2**63, size=n_models).tolist()
    trainings = Parallel(n_jobs, pre_dispatch="n_jobs", return_as="generator")(
        delayed(train_member)(planned.rows, planned.spec, member_seed, **arguments) for member_seed in seeds
    )
    members: list[Member] = list(timed(trainings, n_models, "map"))

    stored: dict[str, Any] = {"params": {"n_models": n_models, "bootstrap": bool(bootstrap), "rng": seed}}
    if keep_models:
        recipe = result.model.input
        stored["models"] = {
            str(i): to_state(MapModel(member.network, member.frame, recipe)) for i, member in enumerate(members)
        }
    maps = [member.z for member in members]
    values: dict[Field, Any] = {
        Keys.ensemble: stored,
        Keys.maps: np.hstack(maps),
        Keys.displacement: displacement(places, members),
        Keys.agreement: kept_neighbors(places, maps, N_NEIGHBORS),
        Keys.log_det_std: np.std([member.log_det for member in members], axis=0, ddof=1),
    }
    if angles := [member.direction for member in members if member.direction is not None]:
        values[Keys.direction_std] = axial_deviation(np.array(angles))
    return finish(adata, result.keys, values, start, copy=copy)
