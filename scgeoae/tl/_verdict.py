"""Which cells of a map to believe: their kept neighbors against those on a map of data without structure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scanpy as sc
import torch
from anndata import AnnData
from scanpy import logging as logg
from scipy import sparse

from .._checks import check_points, seed_of, whole_number
from .._lookup import embedding_key
from ..core.fit import fit
from ..core.neighbors import kept_neighbors
from ..fields import DEFAULT_KEY, Field, Keys
from ..fingerprint import Fingerprint, Values
from ..inputs import DenseRows, choose, genes
from ..reference import recipe_of
from ..result import Result
from ..storage import to_arrays
from ._log import finish, progress, tool
from ._origin import DEFAULT_GRAPH, data_of, graph_of, is_tsne, is_umap, params_of_map
from .plan import stored_plan

if TYPE_CHECKING:
    from ..core.rows import Rows
    from ..core.spec import Spec
    from ..inputs import Representation

Embed = Callable[[np.ndarray], np.ndarray]

TRUSTWORTHY, DUBIOUS = 0.025, 0.5
"""A cell is trustworthy up to the first chance and dubious above the second."""
MOST = 2 / 3
"""Share of dubious cells from which it is doubtful that the map was made from the data; half are expected of noise."""
N_NEIGHBORS = 15
"""Of :func:`scanpy.pp.neighbors`, by default."""
OF_TSNE = ("perplexity", "metric", "early_exaggeration", "learning_rate")
"""Arguments of :func:`scanpy.tl.tsne` that it stores and that shape the map."""
COLORS = {"trustworthy": "#0072b2", "uncertain": "#bdbdbd", "dubious": "#d55e00"}
"""The verdicts and their colors, which color-blind readers can tell apart (Okabe and Ito)."""


@torch.inference_mode(mode=False)  # gradients are needed, also inside a `torch.no_grad` of the caller's
@tool()
def verdict(
    adata: AnnData,
    basis: str = DEFAULT_KEY,
    *,
    use_rep: str | None = None,
    n_neighbors: int = 30,
    null: str | None = None,
    embed: Embed | None = None,
    rng: int | np.random.Generator | None = 0,
    copy: bool = False,
) -> AnnData | None:
    """Judge for each cell whether its neighbors on a map can be believed.

    The score of a cell is the share of its nearest neighbors in the data that are among its nearest on the map. A map
    keeps some neighbors also where there is nothing to see, so the score is compared with a null: the values of each
    gene are exchanged among the cells at random, which leaves the genes independent of each other, principal components
    are computed of them, and a map of these is made by the same method. The chance of a cell is the share of the cells
    of that map that keep as many of their neighbors or more. A cell is

    - *trustworthy* if its chance is at most 2.5 %,
    - *dubious* if its chance is above 50 %: it keeps no more of its neighbors than half of the cells of the null,
    - *uncertain* otherwise.

    On data without structure at most 2.5 % of the cells are expected to be trustworthy. Two maps of such data differ;
    with this limit the share hardly ever exceeds 5 % (``tests/benchmarks/certainty.py null``).

    Parameters
    ----------
    adata
        Annotated data matrix with all cells that the map was made of.
    basis
        The map: a key of `obsm`, with or without ``X_``.
    use_rep
        The data that the neighbors are those of: a key of `obsm`, or `'X'`. By default what the map was made from: as
        the result says for a map by :func:`geometric_ae`, as the neighbors in `uns` say for a UMAP, as ``uns['tsne']``
        says for a t-SNE; with `embed`, the principal components.
    n_neighbors
        Number of neighbors.
    null
        What is exchanged among the cells: `'genes'`, if the data are principal components of `X` by
        :func:`scanpy.pp.pca`, or the `'features'` of the data themselves. By default genes where that is possible.
    embed
        Makes a map (n, d) of data (n, D), for maps by other methods. By default maps by :func:`geometric_ae`,
        :func:`scanpy.tl.umap` and :func:`scanpy.tl.tsne` are made again with the parameters that are stored; those that
        scanpy does not store have its defaults.
    rng
        Seed or generator for the null.
    copy
        Return a copy instead of writing to `adata`.

    Returns
    -------
    `None`, or the copy if `copy=True`. Sets these fields, here for the basis `'umap'`:

    `adata.obs['umap_verdict']` : `category`
        `'trustworthy'`, `'uncertain'` or `'dubious'`.
    `adata.obs['umap_kept']` : :class:`pandas.Series`, `float64`
        Share of the neighbors that the map keeps.
    `adata.obs['umap_chance']` : :class:`pandas.Series`, `float64`
        Share of the cells of the null that keep as many or more, the cell itself counted with them.
    `adata.uns['umap_verdict']` : :class:`dict`
        `'params'`; `'null_quantiles'`: quantiles 0, 0.01, …, 1 of the share that cells of the null keep; and the
        `'fingerprint'` of the map, by which :func:`scgeoae.pl.verdict` notices that it was made again.
    `adata.uns['umap_verdict_colors']` : :class:`numpy.ndarray` of `str`
        Colors of the verdicts.

    Raises
    ------
    KeyError
        If the map, the data or the parameters of the neighbors do not exist.
    ValueError, TypeError
        If an argument, the map or the data are invalid, the method of the map is not known and `embed` is not passed,
        `embed` does not return a map, there are neighbors in different data of which the UMAP may be made, or the map
        or the data changed since :func:`geometric_ae`. Nothing is written, as after a Ctrl-C.

    Notes
    -----
    The null is that of scDEED [1]_. Components of independent genes have no groups and, if the genes were scaled, about
    equal variances. If features are exchanged instead, each principal component keeps its variance and the groups that
    it separates by itself. A map keeps many neighbors of such data, and a cell must keep more than what single
    components make easy to keep: few do (``tests/benchmarks/certainty.py verdict``). A map of two features, or hardly
    more, keeps the neighbors whether they are exchanged or not: no cell is trustworthy.

    The score is not that of scDEED, which correlates distances to half of all cells. It is about near neighbors: where
    cells of one type differ by noise, they are dubious, although their type may be well apart from others.

    References
    ----------
    .. [1] Xia, Lee, Li (2024), Statistical method scDEED for detecting dubious 2D single-cell embeddings and optimizing
       t-SNE and UMAP hyperparameters, Nature Communications 15.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=50)
    >>> scgeoae.tl.verdict(adata)  # or "umap"
    >>> list(adata.obs["geoae_verdict"].cat.categories)
    ['trustworthy', 'uncertain', 'dubious']
    """
    name = embedding_key(adata, basis)
    z = check_points(adata.obsm[name], None, f"obsm[{name!r}]")
    seed, n_neighbors = seed_of(rng), whole_number(n_neighbors, "n_neighbors", 1)
    if n_neighbors >= len(z):
        msg = f"n_neighbors must be below the number of cells; it is {n_neighbors} for {len(z)} cells."
        raise ValueError(msg)
    if null not in {None, "genes", "features"}:
        msg = f"null must be 'genes' or 'features'; it is {null!r}."
        raise ValueError(msg)
    if embed is None:
        representation, make = _method(adata, name, z, seed % 2**32, use_rep)  # scanpy takes no larger seeds
    else:
        representation, make = choose(adata, use_rep=use_rep), embed
    x = representation.dense(dtype=np.float32)
    if not np.isfinite(x).all():
        msg = f"{representation.source} holds missing or infinite values."
        raise ValueError(msg)
    expression = None if null == "features" else _expression(adata, representation)
    if null == "genes" and expression is None:
        msg = (
            f"{representation.source} does not consist of the principal components of X by `sc.pp.pca`: there are no "
            "genes to exchange. Pass null='features'."
        )
        raise ValueError(msg)
    null = "features" if expression is None else "genes"

    start = logg.info(f"judging the neighbors on obsm[{name!r}] by {representation.source}; null: {null} exchanged")
    kept = kept_neighbors(x, [z], n_neighbors)
    shuffled = _shuffled(x, expression, seed)
    logg.info(f"    making a map of data without structure, which takes about as long as obsm[{name!r}] took")
    places = np.asarray(make(shuffled))
    if places.shape != z.shape or places.dtype.kind != "f" or not np.isfinite(places).all():
        msg = f"embed must return finite coordinates {z.shape}; it returned {places.dtype} of shape {places.shape}."
        raise ValueError(msg)
    expected = np.sort(kept_neighbors(shuffled, [places], n_neighbors))
    as_many = len(expected) - np.searchsorted(expected, kept, side="left")
    chance = (1 + as_many) / (1 + len(expected))
    verdicts = np.select([chance <= TRUSTWORTHY, chance <= DUBIOUS], ["trustworthy", "uncertain"], "dubious")

    if np.mean(verdicts == "dubious") > MOST:
        logg.warning(
            f"Most cells keep no more neighbors than on a map of data without structure: was obsm[{name!r}] made from "
            f"{representation.source}, and are its parameters in .uns still those of the map? Tools of scanpy replace "
            "them when they are run again. Otherwise make the map again, or pass use_rep."
        )
    params = {"basis": name, "use_rep": use_rep, "n_neighbors": n_neighbors, "null": null, "rng": seed}
    values: dict[Field, Any] = {
        Keys.verdict: pd.Categorical(verdicts, list(COLORS)),
        Keys.kept: kept,
        Keys.chance: chance,
        Keys.null: {
            "params": {key: value for key, value in params.items() if value is not None},
            "null_quantiles": np.quantile(expected, np.linspace(0, 1, 101)),
            "fingerprint": {"coordinates": to_arrays(Fingerprint.of(Values.of(z), adata.obs_names))},
        },
        Keys.verdict_colors: np.array(list(COLORS.values()), dtype=object),
    }
    keys = Keys(DEFAULT_KEY, name)  # the fields are named after the map alone
    return finish(adata, keys, values, start, copy=copy)


def _expression(adata: AnnData, representation: Representation) -> Any:
    """Read the expression (n, g), dense or sparse, whose principal components the data are; `None` without it."""
    projection = recipe_of(adata, representation, with_novelty=False).projection
    if representation.obsm_key is None or projection is None:
        return None
    return genes(adata, projection.genes, projection.layer)[0].read()


def _shuffled(x: np.ndarray, expression: Any, seed: int) -> np.ndarray:
    """Make data (n, D) without structure.

    Principal components of the ``expression`` (n, g) with the values of each gene exchanged among the cells at random;
    if there is none, the data with the values of each feature exchanged.
    """
    rng = np.random.default_rng(seed)
    if expression is None:
        return rng.permuted(x, axis=0)
    if sparse.issparse(expression):
        columns = expression.tocsc(copy=True)
        for start, stop in pairwise(columns.indptr):
            columns.indices[start:stop] = rng.permutation(len(x))[: stop - start]
        columns.has_sorted_indices = False
        columns.sort_indices()
        cells = AnnData(columns.tocsr())
    else:
        cells = AnnData(rng.permuted(expression, axis=0))
    sc.pp.pca(cells, n_comps=x.shape[1], random_state=seed % 2**32, key_added="x")
    return cells.obsm["x"].astype(np.float32)


def _method(adata: AnnData, name: str, z: np.ndarray, seed: int, use_rep: str | None) -> tuple[Representation, Embed]:
    """Find what the map ``obsm[name]`` was made from, or ``use_rep``, and how to make such a map of other data."""
    trained = [result for result in Result.of_map(adata, name) if not result.model.made_elsewhere]
    if trained:
        trained[0].check_coordinates()
        planned = stored_plan(trained[0])
        spec = replace(planned.spec, weights={**planned.spec.weights, "landmark": 0})
        device = planned.rows.device
        representation = planned.representation if use_rep is None else choose(adata, use_rep=use_rep)
        return representation, lambda x: _trained(DenseRows(x, device), spec, seed)
    params = params_of_map(adata, name)
    if is_umap(name, params):
        graph = graph_of(adata, name, use_rep)
        if DEFAULT_GRAPH not in adata.uns and not graph:
            msg = (
                f"Did not find .uns[{DEFAULT_GRAPH!r}], the neighbors that obsm[{name!r}] is made of. Run "
                "`sc.pp.neighbors` as for the map, or pass embed, a function that makes a map (n, d) of data (n, D)."
            )
            raise KeyError(msg)
        options = {option: params[option] for option in ("a", "b") if option in params}
        return data_of(adata, graph, use_rep), partial(
            _umap, graph=graph, n_components=z.shape[1], seed=seed, **options
        )
    if is_tsne(name, params):
        options = {option: params[option] for option in OF_TSNE if option in params}
        return data_of(adata, params, use_rep), partial(_tsne, random_state=seed, **options)
    msg = (
        f"It is not known how obsm[{name!r}] was made, and a map of data without structure must be made in the same "
        "way. Pass embed, a function that makes a map (n, d) of data (n, D)."
    )
    raise ValueError(msg)


def _trained(rows: Rows, spec: Spec, seed: int) -> np.ndarray:
    with progress(spec.n_steps) as show:
        fitted = fit(rows, spec, seed, after_validation=show)
    if fitted.history.interrupted:
        raise KeyboardInterrupt
    return fitted.cells.z


def _umap(x: np.ndarray, *, graph: Mapping[str, Any], n_components: int, seed: int, **options: Any) -> np.ndarray:
    cells = AnnData(obsm={"x": x}, shape=(len(x), 0))
    n_neighbors = int(np.ravel(graph.get("n_neighbors", N_NEIGHBORS))[0])  # some files hold an array of one number
    options_of_graph = {option: graph[option] for option in ("metric", "metric_kwds") if option in graph}
    sc.pp.neighbors(cells, n_neighbors=n_neighbors, use_rep="x", random_state=seed, **options_of_graph)
    sc.tl.umap(cells, n_components=n_components, random_state=seed, key_added="z", **options)
    return cells.obsm["z"]


def _tsne(x: np.ndarray, **options: Any) -> np.ndarray:
    cells = AnnData(obsm={"x": x}, shape=(len(x), 0))
    sc.tl.tsne(cells, use_rep="x", key_added="z", **options)
    return cells.obsm["z"]
