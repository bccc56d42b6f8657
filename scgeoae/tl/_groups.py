"""Cells of groups on the map, in its input and in the other half of the counts: what no decoder decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from .._lookup import groups_of, matched
from ..inputs import genes
from ..reference import query_of

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from ..core.rows import Rows
    from ..reference import MapModel
    from ..result import Result

MOST_CELLS = 5_000
"""Cells of a group that are read, at most: their size is then known within 1 %."""


class GroupedCells(NamedTuple):
    """Cells of groups: all, or of large groups `MOST_CELLS` that were drawn at random.

    Attributes
    ----------
    names
        Names of the groups (k,), in the order of the categories.
    codes
        Number of the group of each cell of the AnnData (n,), -1 without one.
    groups
        Names of the groups of the cells that were read (m,), `None` without one.
    z, x
        These cells on the map (m, d) and in its input (m, D).
    other
        The same cells in the other half of the counts, in the features of the input, (m, D).
    """

    names: pd.Index
    codes: np.ndarray
    groups: np.ndarray
    z: np.ndarray
    x: np.ndarray
    other: np.ndarray | None

    def members(self) -> list[np.ndarray]:
        """Positions of the cells that were read of each group."""
        return [np.flatnonzero(self.groups == name) for name in self.names]


def grouped_cells(result: Result, groupby: str, other: AnnData | None) -> GroupedCells:
    """Read the cells of at least two groups.

    Raises
    ------
    KeyError
        If there is no such column, or the input of the result is missing.
    ValueError
        If the column holds measurements or fewer than two groups; if ``other`` does not hold the other half of the
        counts of these cells, prepared as those of the result, or it is not known how genes became the input.
    """
    names, codes = groups_of(result.adata, groupby, at_least=2)
    rng, everyone = np.random.default_rng(0), np.arange(len(codes))
    parts = [everyone[codes == number] for number in range(-1, len(names))]
    drawn = [part if len(part) <= MOST_CELLS else rng.choice(part, MOST_CELLS, replace=False) for part in parts]
    cells = np.sort(np.concatenate(drawn))
    adata, model = result.adata, result.model
    x, second = _taken(result.rows(), cells), None
    if other is not None:
        second = _taken(_other_half(model, matched(adata, other)), cells)
        if np.allclose(second, x, atol=1e-3 * x.std()):
            msg = "other holds the values of adata: it is no other half of the counts. Run `scgeoae.pp.split_counts`."
            raise ValueError(msg)
    groups = np.array([*names, None], dtype=object)[codes[cells]]
    return GroupedCells(names, codes, groups, result.decoder_points()[cells].astype(np.float64), x, second)


def _other_half(model: MapModel, other: AnnData) -> Rows:
    """The input (n, D) of the other half of the counts, by the scaling and the loadings of the model."""
    projection, known = model.input.projection, model.input.value_range
    if projection is None:
        msg = (
            f"It is not known how genes became obsm[{model.input.obsm_key!r}], so that the other half of the counts "
            "cannot be brought there: what noise adds to sizes and distances cannot be said. Leave out other."
        )
        raise ValueError(msg)
    x, present = genes(other, projection.genes, projection.layer)
    if not present.all():
        missing = projection.genes[~present]
        msg = f"other lacks {len(missing)} of the {len(present)} genes of the map, such as {missing[0]!r}."
        raise ValueError(msg)
    if known is not None and not known.whole and x.value_range().whole:
        msg = (
            f"{x.source} of other holds whole numbers, such as raw counts. Prepare it as adata was prepared before "
            "`sc.pp.scale`, usually by `sc.pp.normalize_total` and `sc.pp.log1p`."
        )
        raise ValueError(msg)
    try:
        return query_of(other, model).rows
    except (KeyError, TypeError, ValueError) as error:
        msg = f"In other: {error.args[0]}"
        raise type(error)(msg) from error


def _taken(rows: Rows, cells: np.ndarray) -> np.ndarray:
    """Rows (m, D) at these positions, float64 on the host."""
    return rows.take(torch.from_numpy(cells)).cpu().double().numpy()
