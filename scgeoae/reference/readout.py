"""What decoded inputs are read as: the input features, or genes by an affine function of these."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scanpy import logging as logg

from ..core.rows import check_finite
from ..inputs import expression
from .projection import Scaling
from .recipe import mean_and_std

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData

    from ..core.rows import Rows
    from .model import MapModel

SPACES = ("input", "genes")

READABLE = 0.02
"""R² on held-out cells from which a gene counts as read. Measured (``tests/benchmarks/readout.py``): of the genes above
it, decoded and measured means of the groups correlate by 0.95 and more in nine out of ten; below, in half of them."""

SAMPLE = 50_000
"""About how many cells a readout is fitted to; if there are fewer, all are."""

MAX_FEATURES = 1_000
"""Most input features that genes are read from: time grows with their square, memory with their product with genes."""

N_FOLDS = 5
"""Parts of the cells, of which each is held out once."""

PENALTIES = np.logspace(-6, 2, 9)
"""Strengths of the ridge, as shares of the mean variance of the input features."""

ROUNDING = 1e-12
"""A sum of squares below this share of that before centering is a rounding error."""


@dataclass(frozen=True, repr=False)
class Readout:
    """Genes as an affine function of the input of a model, ``x W + b``, fitted by ridge regression.

    Attributes
    ----------
    genes
        Names, (g,) object.
    weight
        `W`, (D, g) float32.
    bias
        `b`, (g,) float64.
    r2
        Share of the variance of each gene, within batches, that it explains in cells that were held out, (g,); 0 for
        genes that do not vary.
    penalty
        Strength of the ridge, as a share of the mean variance of the input features.
    layer
        Layer that holds the genes; `X`, or the raw matrix, if `None`.
    raw
        Whether the genes are those of the raw matrix.
    """

    genes: np.ndarray = field(metadata={"shape": ("read",), "dtype": str})
    weight: np.ndarray = field(metadata={"shape": ("D", "read")})
    bias: np.ndarray = field(metadata={"shape": ("read",)})
    r2: np.ndarray = field(metadata={"shape": ("read",)})
    penalty: float = field(metadata={"positive": True})
    layer: str | None = None
    raw: bool = False

    def __repr__(self) -> str:
        """Sizes instead of arrays."""
        return f"Readout({len(self.genes)} genes of {len(self.weight)} features, R² {np.median(self.r2):.2f})"

    def values(self, x: np.ndarray) -> np.ndarray:
        """Genes (n, g), float64, of inputs ``x`` (n, D)."""
        return np.asarray(x, dtype=np.float64) @ self.weight + self.bias

    def differential(self, v: np.ndarray) -> np.ndarray:
        """Rates of change (n, g) of the genes along vectors ``v`` (n, D) of the input."""
        return np.asarray(v, dtype=np.float64) @ self.weight


class Space(NamedTuple):
    """What decoded inputs are read as.

    Attributes
    ----------
    names
        Of the features or genes, (g,) object.
    values
        A function of inputs (n, D): values (n, g), float64, before scaling.
    differential
        A function of vectors (n, D) of the input: rates of change (n, g) of the values along them.
    r2
        How well each gene can be read, (g,), where that was measured.
    scaling
        How the genes were scaled, if they were.
    layer, raw
        Where the measured values are.
    """

    names: np.ndarray
    values: Callable[[np.ndarray], np.ndarray]
    differential: Callable[[np.ndarray], np.ndarray]
    r2: np.ndarray | None = None
    scaling: Scaling | None = None
    layer: str | None = None
    raw: bool = False

    @property
    def readable(self) -> np.ndarray:
        """Which genes can be read: their R² is not known or at least `READABLE`, (g,) bool."""
        return np.ones(len(self.names), dtype=bool) if self.r2 is None else self.r2 >= READABLE

    def positions(self, names: str | Sequence[str] | None = None) -> np.ndarray:
        """Return the positions of some features or genes; of all by default. A `KeyError` names those not found."""
        if names is None:
            return np.arange(len(self.names))
        wanted = [names] if isinstance(names, str) else list(names)
        found = pd.Index(self.names).get_indexer(pd.Index(wanted, dtype=object))
        if missing := [name for name, position in zip(wanted, found, strict=True) if position < 0]:
            msg = f"Did not find {missing[:5]} among the {len(self.names)} genes that the model decodes."
            raise KeyError(msg)
        return found


def space_of(model: MapModel, space: str) -> Space:
    """Return the space of the ``"input"`` or of the ``"genes"``: by the readout, or else by the projection.

    Raises
    ------
    ValueError
        If it is another one, or the model holds neither.
    """
    if space not in SPACES:
        msg = f"Unknown space {space!r}. Choose from {SPACES}."
        raise ValueError(msg)
    features, projection, readout = model.input.features, model.input.projection, model.readout
    if space == "input":
        names = np.arange(model.n_features).astype(str).astype(object) if features is None else features
        return Space(names, np.asarray, np.asarray)
    if readout is not None:
        return Space(
            readout.genes, readout.values, readout.differential, readout.r2, layer=readout.layer, raw=readout.raw
        )
    if projection is not None:
        undo, backwards = projection.undo, projection.undo_differential
        return Space(projection.genes, undo, backwards, scaling=projection.scaling, layer=projection.layer)
    msg = (
        "The model does not know how genes became its input: it was trained on an obsm that X and varm['PCs'] do not "
        "reproduce. Run `scgeoae.tl.gene_readout(adata)` to read genes from it, or pass space='input'."
    )
    raise ValueError(msg)


def readout_of(
    adata: AnnData,
    rows: Rows,
    *,
    layer: str | None = None,
    use_raw: bool = False,
    batches: np.ndarray | None = None,
) -> Readout:
    """Fit genes to the input of a model by ridge regression, with an intercept for each batch.

    Slopes are fitted to differences within batches; what is read is the mean over the batches, weighted by their cells.
    The strength is the one with the largest mean R² over the genes in cells that were held out, each cell once. Values
    that were scaled are scaled back first.

    Parameters
    ----------
    adata
        The cells and their expression.
    rows
        Input of the model (n, D) of the same cells.
    layer, use_raw
        A layer, or the raw matrix, instead of `X`.
    batches
        Number of each cell's batch, (n,) int; cells with -1 are left out.

    Raises
    ------
    KeyError
        If the layer does not exist.
    ValueError, TypeError
        If there is no such matrix, values are not finite real numbers, there are too many features or too few cells, or
        no gene or no feature varies.
    """
    n_features = rows.shape[1]
    if n_features > MAX_FEATURES:
        msg = f"Genes are read from at most {MAX_FEATURES:,} input features; the model has {n_features:,}."
        raise ValueError(msg)
    matrix, names = expression(adata, layer, use_raw=use_raw)
    check_finite(rows, "The input of the model")
    values = matrix.value_range(SAMPLE)
    stored = mean_and_std(adata.var, names) if values.low < 0 and not use_raw else None
    scaling = None if stored is None else Scaling(*stored)
    if values.whole and values.high > 1:
        logg.warning(
            f"{matrix.source} ranges from {values}, as raw counts do. Genes are read best from log-normalized values."
        )
    elif values.low < 0 and scaling is None:
        logg.warning(
            f"{matrix.source} has negative values, and `var` holds no mean and std by which it was scaled: genes are "
            "read in its units."
        )
    sums = _Sums(n_features, matrix.shape[1], 1 if batches is None else max(1, batches.max(initial=0) + 1))
    for where in matrix.spread(SAMPLE):
        y = matrix.dense(where)
        y = y if scaling is None else scaling.undo(y)
        codes = np.zeros(len(y), dtype=np.int64) if batches is None else batches[where]
        x = rows.block(where.start, where.stop).cpu().numpy().astype(np.float64)
        sums.add(x[codes >= 0], y[codes >= 0], codes[codes >= 0])
    weight, bias, r2, penalty = sums.fit()
    return Readout(names, weight.astype(np.float32), bias, r2, penalty, layer, use_raw)


class _Sums:
    """What ridge regression needs to know of the cells, in `N_FOLDS` folds (k) and by batch (B).

    Attributes
    ----------
    n, x, y
        Number of cells (k, B), sums of the features (k, B, D) and of the genes (k, B, g).
    xx, xy, yy
        Sums of products (k, D, D), (k, D, g), (k, g).
    """

    def __init__(self, n_features: int, n_genes: int, n_batches: int) -> None:
        self.n = np.zeros((N_FOLDS, n_batches))
        self.x, self.y = (np.zeros((*self.n.shape, width)) for width in (n_features, n_genes))
        self.xx, self.xy = (np.zeros((N_FOLDS, n_features, width)) for width in (n_features, n_genes))
        self.yy = np.zeros((N_FOLDS, n_genes))

    def add(self, x: np.ndarray, y: np.ndarray, codes: np.ndarray) -> None:
        """Add cells with features ``x`` (b, D) and genes ``y`` (b, g) of these batches (b,) to the folds in turn."""
        first = int(self.n.sum())
        for fold in range(N_FOLDS):
            part = slice((fold - first) % N_FOLDS, None, N_FOLDS)
            features, expression = x[part], y[part]
            of_batch = np.equal.outer(np.arange(self.n.shape[1]), codes[part]).astype(np.float64)  # (B, b)
            self.n[fold] += of_batch.sum(1)
            self.x[fold] += of_batch @ features
            self.y[fold] += of_batch @ expression
            self.xx[fold] += features.T @ features
            self.xy[fold] += features.T @ expression
            self.yy[fold] += np.square(expression).sum(0)

    def fit(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Weight (D, g), bias (g,), R² (g,) of held-out cells, and the strength of the ridge that was chosen."""
        n = self.n.sum(0)
        if not n.sum() > N_FOLDS:
            msg = f"{n.sum():.0f} cells are too few to read genes from the input of the model."
            raise ValueError(msg)
        errors, total = np.zeros((len(PENALTIES), self.y.shape[2])), np.zeros(self.y.shape[2])
        for fold in range(N_FOLDS):
            others = np.arange(N_FOLDS) != fold
            x, y = (_means(part[others].sum(0), self.n[others].sum(0)) for part in (self.x, self.y))
            ridge = _Ridge(*self._scatter(others, x, y)[:2])
            xx, xy, yy = self._scatter(~others, x, y)
            total += yy
            for number, penalty in enumerate(PENALTIES):
                weight = ridge.weight(penalty)
                errors[number] += yy + (weight * (xx @ weight - 2 * xy)).sum(0)
        varies = total > ROUNDING * self.yy.sum(0)
        if not varies.any():
            msg = "No gene varies between the cells."
            raise ValueError(msg)
        r2 = np.where(varies, 1 - errors / np.where(varies, total, 1), 0)  # (penalties, g)
        best = int(r2.mean(1).argmax())
        everything = np.ones(N_FOLDS, dtype=bool)
        x, y = (_means(part.sum(0), n) for part in (self.x, self.y))
        weight = _Ridge(*self._scatter(everything, x, y)[:2]).weight(PENALTIES[best])
        bias = (n / n.sum()) @ (y - x @ weight)
        return weight, bias, r2[best], float(PENALTIES[best])

    def _scatter(self, folds: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sums of products over some folds of differences from the means ``x`` (B, D) and ``y`` (B, g) by batch."""
        n, sum_x, sum_y = self.n[folds].sum(0)[:, None], self.x[folds].sum(0), self.y[folds].sum(0)
        xx = self.xx[folds].sum(0) - x.T @ sum_x - sum_x.T @ x + x.T @ (n * x)
        xy = self.xy[folds].sum(0) - x.T @ sum_y - sum_x.T @ y + x.T @ (n * y)
        yy = self.yy[folds].sum(0) - 2 * (y * sum_y).sum(0) + (n * np.square(y)).sum(0)
        return xx, xy, yy


def _means(sums: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Means (B, w) by batch; 0 where a batch has no cell."""
    return sums / np.maximum(n, 1)[:, None]


class _Ridge:
    """Solutions of ridge regression for any strength, of the scatter ``xx`` (D, D) and ``xy`` (D, g)."""

    def __init__(self, xx: np.ndarray, xy: np.ndarray) -> None:
        values, self.axes = np.linalg.eigh(xx)
        self.values, self.mean = np.maximum(values, 0), values.mean()
        if not self.mean > 0:
            msg = "No feature of the input varies between the cells."
            raise ValueError(msg)
        self.along = self.axes.T @ xy

    def weight(self, penalty: float) -> np.ndarray:
        """Slopes (D, g)."""
        return self.axes @ (self.along / (self.values + penalty * self.mean)[:, None])
