"""The input of new cells: make it as that of the reference was made, and measure their novelty on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scanpy import logging as logg

from .._checks import check_adata
from .._lookup import PCA_KEYS
from ..core.evaluation import describe
from ..core.rows import check_finite, row_blocks
from ..fingerprint import Values, compare, warn_if_unknown
from ..inputs import ReadRows, choose, genes
from .preparation import COMPATIBLE, DETECTED, PREPARATIONS, is_scaled, recognize
from .recipe import mean_and_std, recipe_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pandas as pd
    from anndata import AnnData
    from torch import Tensor

    from ..core.evaluation import Cells
    from ..core.rows import Rows
    from ..fingerprint import Fingerprint
    from ..inputs import Matrix, Representation, ValueRange
    from .model import MapModel
    from .novelty import Novelty
    from .projection import Projection, Scaling
    from .recipe import InputRecipe

N_LISTED = 5
"""Missing genes that a message lists at most."""

QUERY_SAMPLE = 500
"""About how many cells of a query tell how they were prepared."""

ZERO_SHARE = 0.1
"""Least share of entries at the reference's zero level for a query to count as scaled with the reference's numbers.
Measured on pbmc3k: 0.9 where it was, 0.001 where the query was scaled by itself."""

RATIO = 10.0
"""A warning is given if the values of a query span less than the reference's divided by this."""

MAX_MISSING = 0.5
"""Largest share of the genes' weight that a query may lack. Measured (``tests/benchmarks/mapping.py missing``): with
40 % missing, the median cell moves by 5 to 7 % of the radius of the map and 1 to 3 % fewer labels are right; with 60 %,
by 10 to 15 % and 2 to 5 %; with 80 %, by 22 to 35 % and 7 to 12 %."""


class GeneRows(ReadRows):
    """Input (n, D) of cells, computed from their genes as these are read.

    Parameters
    ----------
    matrix
        Genes of the projection, in its order: those that are there.
    device
        Device of the model.
    projection
        How the input is computed.
    scaling
        That of the genes that are there; `None` if they are scaled already, or not at all.
    fill
        Scaled fill values (g,) for genes missing from the matrix, NaN where present; `None` if all are present.
    """

    def __init__(
        self,
        matrix: Matrix,
        device: torch.device,
        projection: Projection,
        scaling: Scaling | None,
        fill: np.ndarray | None,
    ) -> None:
        super().__init__(matrix, device)
        self.projection, self.scaling, self.fill = projection, scaling, fill
        self.shape = (matrix.shape[0], projection.n_features)
        self._present = None if fill is None else np.isnan(fill)

    def measured(
        self, novelty: Novelty | None, values: np.ndarray, silent: np.ndarray
    ) -> Iterator[tuple[slice, Tensor]]:
        """Read all rows in blocks; write into ``values`` (n,) how novel cells are, into ``silent`` (n,) if all is 0."""
        scaling, present = self.projection.scaling, slice(None) if self._present is None else self._present
        zero = 0.0 if scaling is None else scaling.zero_level[present]
        for rows in self.matrix.blocks():
            x = self._scaled_genes(rows)
            y, tensor = self._input(x)
            silent[rows] = (np.abs(x[:, present] - zero) <= DETECTED).all(1)
            if novelty is not None:
                values[rows] = novelty.of(self.projection, x, y, self._present)
            yield rows, tensor

    def _read(self, rows: slice | np.ndarray) -> Tensor:
        return self._input(self._scaled_genes(rows))[1]

    def _scaled_genes(self, rows: slice | np.ndarray) -> np.ndarray:
        """All genes (b, g) of the projection, float64."""
        genes = self.matrix.dense(rows)
        genes = genes if self.scaling is None else self.scaling.apply(genes)
        if self.fill is None:
            return genes
        x = np.tile(self.fill, (len(genes), 1))
        x[:, self._present] = genes
        return x

    def _input(self, x: np.ndarray) -> tuple[np.ndarray, Tensor]:
        """Input (b, D) of scaled genes: float64 on the host, and float32 on the device."""
        y = self.projection.apply(x, scaled=True)
        return y, torch.from_numpy(y.astype(np.float32)).to(self.device)


class Query(NamedTuple):
    """The input of new cells.

    Attributes
    ----------
    rows
        Input (n, D) in the order of the cells, on the device of the model.
    missing
        Number and weight of the genes that the cells lack, if there are any, by the names of the result's parameters.
    """

    rows: Rows
    missing: Mapping[str, Any]


def query_of(adata: AnnData, model: MapModel) -> Query:
    """Make the input of a model of new cells, and warn if their values look prepared in another way.

    A gene that is missing counts as the reference's mean: it contributes nothing to the distance from the mean.

    Parameters
    ----------
    adata
        The new cells.
    model
        The model.

    Raises
    ------
    KeyError
        If the layer or `obsm` does not exist.
    ValueError, TypeError
        If more than `MAX_MISSING` of the genes' weight is missing, values are not finite, or the cells were scaled by
        themselves.
    """
    check_adata(adata)
    projection = model.input.projection
    if projection is None:
        return Query(_rows_of_obsm(adata, model), {})
    x, present = genes(adata, projection.genes, projection.layer)
    missing = {} if present.all() else _missing_genes(adata, projection, present)
    scaling = _scaling_of(adata.var, x, model.input, projection, present)
    fill = None
    if missing:
        fill = np.where(present, np.nan, model.mean if projection.center is None else projection.center)
    return Query(GeneRows(x, model.device, projection, scaling, fill), missing)


def projected(adata: AnnData, representation: Representation, other: AnnData) -> np.ndarray:
    """Compute the input (n, D), float64, of other data of the reference, such as the other half of the counts.

    By the scaling and the loadings of the reference: components of their own would be another space.

    Raises
    ------
    KeyError
        If there is no such layer.
    ValueError, TypeError
        If it is not known how genes became the input, or the other data lack genes or were scaled.
    """
    projection = recipe_of(adata, representation, with_novelty=False).projection
    if projection is None:
        msg = f"It is not known how genes became {representation.source}."
        raise ValueError(msg)
    x, present = genes(other, projection.genes, projection.layer)
    if not present.all() or (projection.scaling is not None and x.value_range().low < 0):
        msg = "The other data lack genes of the reference, or were scaled by themselves."
        raise ValueError(msg)
    return np.concatenate([projection.apply(x.dense(rows)) for rows in x.blocks()])


def input_of(adata: AnnData, model: MapModel, fingerprint: Fingerprint | None, *, mapped: bool = False) -> Rows:
    """Return the input (n, D) of the cells of a result, as it was when the result was made.

    That is the `obsm`, where it is still there and the same, else what is computed from genes, if that is the same.

    Parameters
    ----------
    adata
        The cells.
    model
        Their model.
    fingerprint
        That of the input. An earlier version stored none: then a warning is logged.
    mapped
        Whether the cells were mapped, so that an `obsm` of the same name may be in another space.

    Raises
    ------
    KeyError, TypeError
        As :func:`query_of`.
    ValueError
        Also if neither is the same as it was.
    """
    key, changed = model.input.obsm_key, ""
    if key is not None and key in adata.obsm and not mapped:
        values = choose(adata, use_rep=key, n_pcs=min(model.n_features, adata.obsm[key].shape[1]))
        found = compare(fingerprint, values.by_cell(), adata.obs_names)
        if found.same is not False and values.shape[1] == model.n_features:
            warn_if_unknown(found, f"{values.source} is still what the map was made from")
            return values.rows(model.device)
        changed = f"{values.source} is no longer what the map was made from: {found.why}."
        if model.input.projection is None:
            msg = f"{changed} Write the earlier values back, or train again."
            raise ValueError(msg)
    try:
        rows = query_of(adata, model).rows
    except ValueError as error:
        if not changed:
            raise
        msg = f"{changed} Nor can it be computed from genes: {error}"
        raise ValueError(msg) from error
    found = compare(fingerprint, Values.of_rows(rows), adata.obs_names)
    if found.same is False:
        msg = (
            f"{changed} The expression that the map was made from was changed too: {found.why}. Write the earlier "
            "values back, or train again."
        ).lstrip()
        raise ValueError(msg)
    warn_if_unknown(found, "the cells still have the expression that the map was made from")
    if changed:
        logg.warning(f"{changed} Its values are computed again, from genes.")
    return rows


class Placed(NamedTuple):
    """What a model says of new cells.

    Attributes
    ----------
    cells
        Place, reconstruction error and distortion of each.
    novelty
        How novel each is, (n,), NaN for silent cells; `None` if the model does not know.
    silent
        Which cells express no gene of the model, (n,) bool: nothing is known of them.
    """

    cells: Cells
    novelty: np.ndarray | None
    silent: np.ndarray


def place(model: MapModel, query: Query, by: Callable[[Tensor], Tensor] | None = None) -> Placed:
    """Evaluate a model at new cells, measure their novelty and find silent ones, in one pass over the genes.

    The function ``by`` places standardized cells (m, D) on the map; by default the encoder does.
    """
    rows, novelty, n = query.rows, model.input.novelty, query.rows.shape[0]
    if not isinstance(rows, GeneRows):
        return Placed(describe(model.autoencoder, row_blocks(rows), n, place=by), None, np.zeros(n, dtype=bool))
    values, silent = np.full(n, np.nan), np.zeros(n, dtype=bool)
    cells = describe(model.autoencoder, rows.measured(novelty, values, silent), n, place=by)
    if model.input.signed:
        silent[:] = False  # values below 0 are ordinary, and so is 0
    values[silent] = np.nan
    return Placed(cells, None if novelty is None else values, silent)


def _missing_genes(adata: AnnData, projection: Projection, present: np.ndarray) -> dict[str, Any]:
    """Measure how much is missing; warn, or raise a `ValueError` if it is too much.

    Measured is the share of the weight of all loadings (sum of squares), and of those of each component, (D,), that
    falls on missing genes; if genes are the input, the share of the genes alone.
    """
    names, share, by_component = projection.genes[~present], float(np.mean(~present)), None
    if projection.loadings is not None:
        weight = np.square(projection.loadings.astype(np.float64))  # (g, D)
        by_component = weight[~present].sum(0) / weight.sum(0)
        share = float(weight[~present].sum() / weight.sum())
    listed = ", ".join(map(str, names[:N_LISTED])) + (", …" if len(names) > N_LISTED else "")
    found = f"{len(names)} of the {len(present)} genes of the reference are missing in the query: {listed}"
    if share <= MAX_MISSING:
        logg.warning(
            f"{found}. They are set to the mean of the reference; {share:.0%} of the weight of all genes is missing."
        )
        return {"n_missing_genes": len(names), "missing_share": share, "missing_share_by_component": by_component}
    plain = {str(name).split(".")[0].casefold() for name in adata.var_names}
    n_alike = sum(str(name).split(".")[0].casefold() in plain for name in names)
    hint = " Many differ in case or in a version such as '.3' alone: rename them." if n_alike > len(names) / 2 else ""
    msg = (
        f"{found} (its var_names begin with {adata.var_names[:3].tolist()}). {share:.0%} of the weight of all genes is "
        f"missing, and a map can do without {MAX_MISSING:.0%}.{hint}"
    )
    raise ValueError(msg)


def _scaling_of(
    var: pd.DataFrame, x: Matrix, recipe: InputRecipe, projection: Projection, present: np.ndarray
) -> Scaling | None:
    """Choose the scaling of the genes ``x`` (n, g) of new cells that are ``present``; `None` if they need none.

    Warns if their values are unlike those of the reference for a reason that is not known.

    Raises
    ------
    ValueError
        If they were prepared in another way than the reference.
    """
    scaling = None if projection.scaling is None else projection.scaling.subset(present)
    values = x.value_range()
    sample = np.concatenate([np.empty((0, x.shape[1])), *map(x.dense, x.spread(QUERY_SAMPLE))])
    found = recognize(sample, values)
    if scaling is not None and values.low < 0:  # scaled values are below 0 in part
        if recipe.signed:  # as they were before scaling, too: a zero leaves no trace
            return None if is_scaled(sample, scaling.std) else scaling
        if _is_scaled_as(scaling, var, projection.genes[present], sample):
            return None
        found = "scaled"
    elif found is None or recipe.preparation is None or (found, recipe.preparation) in COMPATIBLE:
        _warn_of_range(values, recipe, x.source, signed=True)
        return scaling
    wanted, then = PREPARATIONS.get(recipe.preparation or "", "unscaled values"), ""
    remedy = f"Pass {wanted}"
    if (found, recipe.preparation) == ("counts", "log"):
        remedy = (
            "Run `sc.pp.normalize_total(query, target_sum=…)`, with the target_sum of the reference, and "
            "`sc.pp.log1p(query)`"
        )
    if scaling is not None:
        then, remedy = (
            ", then scaled by its own mean and standard deviation",
            f"{remedy}; they are scaled as the reference was",
        )
    msg = (
        f"{x.source} of the query holds {PREPARATIONS[found]}, but the reference held {wanted}{then}: the cells would "
        f"land in the wrong place. {remedy}."
    )
    raise ValueError(msg)


def _is_scaled_as(scaling: Scaling, var: pd.DataFrame, names: np.ndarray, x: np.ndarray) -> bool:
    """Whether scaled cells ``x`` (n, g) were scaled with the reference's means and standard deviations.

    These show in the values: a zero became `Scaling.zero_level`, which no other numbers hit. Where the data hold no
    zeros, the query's own ``var['mean']`` and ``var['std']`` must be the reference's.
    """
    level = scaling.zero_level
    if (np.abs(x - level) <= 1e-4 * np.abs(level)).mean() >= ZERO_SHARE:
        return True
    own = mean_and_std(var, names)
    return own is not None and np.allclose(own[0], scaling.mean, 1e-4) and np.allclose(own[1], scaling.std, 1e-4)


def _rows_of_obsm(adata: AnnData, model: MapModel) -> Rows:
    key, n_features = model.input.obsm_key, model.n_features
    if key is None:
        msg = "The model does not know what it was trained on: pass its features to `get.model(...).encode` yourself."
        raise ValueError(msg)
    if key not in adata.obsm:
        msg = (
            f"The reference was trained on obsm[{key!r}], which cannot be computed from genes (no PCA projection that "
            f"reproduces it is stored). Put the query's cells into the same space as .obsm[{key!r}] first; .obsm holds "
            f"{list(adata.obsm) or 'nothing'}."
        )
        if key in PCA_KEYS:
            msg += " Or run `sc.pp.pca` on the reference as it is now, and train again."
        raise KeyError(msg)
    found = adata.obsm[key].shape[1]
    if found < n_features:
        msg = f"obsm[{key!r}] of the query has {found} columns; the reference was trained on {n_features}."
        raise ValueError(msg)
    representation = choose(adata, use_rep=key, n_pcs=n_features)
    rows = representation.rows(model.device)
    check_finite(rows, representation.source)
    if key in PCA_KEYS:
        logg.warning(
            f"The reference holds no PCA projection: obsm[{key!r}] of the query is taken as it is. It must be in the "
            "components of the reference; a PCA of the query by itself is another space."
        )
    _warn_of_range(representation.value_range(), model.input, representation.source, signed=False)
    return rows


def _warn_of_range(query: ValueRange, recipe: InputRecipe, source: str, *, signed: bool) -> None:
    """Warn if values differ from the reference's as raw counts differ from log-normalized or scaled values.

    One kind is of whole numbers and the other is not; the values reach twice as far, or less than a tenth as far;
    or, where ``signed`` values mean something, one has negative values and the other has none.
    """
    reference = recipe.value_range
    if reference is None or query.low == query.high:
        return
    span = reference.high - reference.low
    if (
        query.whole != reference.whole
        or not reference.low - span <= query.low <= query.high <= reference.high + span
        or query.high - query.low < span / RATIO
        or (signed and (query.low < 0) != recipe.signed)
    ):
        held = f" Those of the reference were {recipe.prepared}." if recipe.prepared else ""
        logg.warning(
            f"{source} of the query ranges from {query}, in the reference it ranged from {reference}. "
            f"Were both preprocessed in the same way?{held}"
        )
