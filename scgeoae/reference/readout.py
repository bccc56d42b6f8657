"""What decoded inputs are read as: the input features, or genes as a function of these."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch
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
"""R² on held-out cells from which a gene counts as read: in 700 cells, noise seldom reaches it. Over types, decoded
means of genes just above it correlate by .7 with measured ones, below .005 by .1 (``tests/benchmarks/readout.py``)."""

SAMPLE = 50_000
"""About how many cells a readout is fitted to; if there are fewer, all are."""

MAX_FEATURES = 1_000
"""Most input features that genes are read from: time grows with their square, memory with their product with genes."""

N_BENT = 200
"""Bent features. In ``tests/benchmarks/readout.py``, genes are no linear functions of scVI's ten latent dimensions."""

N_FOLDS = 5
"""Parts of the cells, of which each is held out once."""

MOST_GENES = 1_000
"""Genes, spread over all, by which the strength of the ridge is chosen."""

PENALTIES = np.logspace(-6, 2, 9)
"""Strengths of the ridge, as shares of the mean variance of the input features."""

ALL = slice(None)
ROUNDING = 1e-12
"""A sum of squares below this share of that before centering is a rounding error."""


@dataclass(frozen=True, repr=False)
class Bend:
    """A fixed layer of bent features of an input, ``elu(x A + c)``: linear functions of these are not linear in it.

    Attributes
    ----------
    weight, bias
        `A`, (D, p), and `c`, (p,).
    """

    weight: np.ndarray = field(metadata={"shape": ("D", "bent")})
    bias: np.ndarray = field(metadata={"shape": ("bent",)})

    def features(self, x: np.ndarray) -> np.ndarray:
        """Inputs ``x`` (n, D) with their bent features behind, (n, D + p)."""
        bent = x @ self.weight + self.bias
        return np.hstack([x, np.where(bent > 0, bent, np.expm1(np.minimum(bent, 0)))])

    def differential(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Rates of change (n, D + p) of the features at ``x`` (n, D) along vectors ``v`` (n, D)."""
        return np.hstack([v, np.exp(np.minimum(x @ self.weight + self.bias, 0)) * (v @ self.weight)])


@dataclass(frozen=True, repr=False)
class Readout:
    """Genes as a function of the input of a model, fitted by ridge regression on it and on bent features of it.

    Attributes
    ----------
    genes
        Names, (g,) object.
    bend
        The bent features.
    weight, bias
        Genes are ``features W + b``: W is (D + p, g) float32, b is (g,) float64.
    r2
        Share of the variance of each gene, within batches, that it explains in cells that were held out, (g,); 0 for
        genes that do not vary.
    penalty
        Strength of the ridge, as a share of the mean variance of the features.
    layer
        Layer that holds the genes; `X`, or the raw matrix, if `None`.
    raw
        Whether the genes are those of the raw matrix.
    """

    genes: np.ndarray = field(metadata={"shape": ("read",), "dtype": str})
    bend: Bend
    weight: np.ndarray = field(metadata={"shape": ("features", "read")})
    bias: np.ndarray = field(metadata={"shape": ("read",)})
    r2: np.ndarray = field(metadata={"shape": ("read",)})
    penalty: float = field(metadata={"positive": True})
    layer: str | None = None
    raw: bool = False

    def __post_init__(self) -> None:
        if len(self.weight) != sum(self.bend.weight.shape):
            msg = f"A readout has weights of {len(self.weight)} features, but {sum(self.bend.weight.shape)} features."
            raise ValueError(msg)

    def __repr__(self) -> str:
        """Sizes instead of arrays."""
        return f"Readout({len(self.genes)} genes of {self.n_features} features, R² {np.median(self.r2):.2f})"

    @property
    def n_features(self) -> int:
        """D, the number of input features."""
        return len(self.bend.weight)


class Space(NamedTuple):
    """What decoded inputs are read as: an affine function of an input and, where there is a bend, of bent features.

    Attributes
    ----------
    names
        Of the features or genes, (g,) object.
    affine, linear
        Functions of features (n, D) or (n, D + p): values (n, g), float64, before scaling; the same without what is
        added.
    bend
        The bent features, if there are any.
    r2
        How well each gene can be read, (g,), where that was measured.
    scaling
        How the genes were scaled, if they were.
    layer, raw
        Where the measured values are.
    """

    names: np.ndarray
    affine: Callable[[np.ndarray], np.ndarray]
    linear: Callable[[np.ndarray], np.ndarray]
    bend: Bend | None = None
    r2: np.ndarray | None = None
    scaling: Scaling | None = None
    layer: str | None = None
    raw: bool = False

    def values(self, x: np.ndarray) -> np.ndarray:
        """Values (n, g) of inputs ``x`` (n, D)."""
        return self.affine(x if self.bend is None else self.bend.features(x))

    def differential(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Rates of change (n, g) of the values at ``x`` (n, D) along vectors ``v`` (n, D)."""
        return self.linear(v if self.bend is None else self.bend.differential(x, v))

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


def space_of(model: MapModel, space: str, key: str | None = None) -> Space:
    """Return the space of the ``"input"`` or of the ``"genes"``: by the readout, or else by the projection.

    Messages name the ``key`` of the result, if the model is that of an AnnData.

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
        weight, bias = readout.weight.astype(np.float64), readout.bias
        return Space(
            readout.genes,
            lambda features: features @ weight + bias,
            lambda features: features @ weight,
            bend=readout.bend,
            r2=readout.r2,
            layer=readout.layer,
            raw=readout.raw,
        )
    if projection is not None:
        affine, linear = projection.undo, projection.undo_differential
        return Space(projection.genes, affine, linear, scaling=projection.scaling, layer=projection.layer)
    call = f"scgeoae.tl.gene_readout(adata, key={key!r})" if key is not None else "scgeoae.tl.gene_readout"
    msg = (
        "The model does not know how genes became its input: it was trained on an obsm that X and varm['PCs'] do not "
        f"reproduce. Run `{call}` first, to read genes from it."
    )
    raise ValueError(msg)


def readout_of(
    adata: AnnData,
    model: MapModel,
    rows: Rows,
    *,
    layer: str | None = None,
    use_raw: bool = False,
    batches: np.ndarray | None = None,
) -> Readout:
    """Fit genes to the input of a model by ridge regression, with an intercept for each batch.

    Genes are seldom linear functions of a representation that a network has learned. So the regression is on the input
    and on `N_BENT` bent features of it: random directions, each of which bends at one of the cells. Slopes are fitted
    to differences within batches; what is read is the mean over the batches, weighted by their cells. The strength is
    the one with the largest mean R² over the genes in cells that were held out, each cell once. Values that were scaled
    are scaled back first.

    Parameters
    ----------
    adata
        The cells and their expression.
    model
        The model.
    rows
        Its input (n, D) of the same cells.
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
    bend = _bend(model, rows)
    scale = np.repeat([model.scale, 1.0], [n_features, N_BENT])  # which makes the features alike
    sums = _Sums(n_features + N_BENT, matrix.shape[1], 1 if batches is None else max(1, batches.max(initial=0) + 1))
    for where in matrix.spread(SAMPLE):
        y = matrix.dense(where)
        y = y if scaling is None else scaling.undo(y)
        codes = np.zeros(len(y), dtype=np.int64) if batches is None else batches[where]
        x = rows.block(where.start, where.stop).cpu().numpy().astype(np.float64)
        features = bend.features(x) / scale
        sums.add(features[codes >= 0], y[codes >= 0], codes[codes >= 0])
    weight, bias, r2, penalty = sums.fit()
    return Readout(names, bend, (weight / scale[:, None]).astype(np.float32), bias, r2, penalty, layer, use_raw)


def _bend(model: MapModel, rows: Rows) -> Bend:
    """Make random bent features of rows (n, D), as large as the input; the same for the same rows."""
    n, n_features = rows.shape
    directions = np.random.default_rng(0).normal(size=(n_features, N_BENT))
    directions /= np.linalg.norm(directions, axis=0)
    cells = rows.take(torch.linspace(0, n - 1, N_BENT).long()).cpu().double().numpy()  # (p, D)
    weight = directions / model.scale
    return Bend(weight, -(cells * weight.T).sum(1))


class _Sums:
    """What ridge regression needs to know of the cells, in `N_FOLDS` folds (k) and by batch (B). D counts the features.

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
        n_genes = self.yy.shape[1]
        some = np.linspace(0, n_genes - 1, min(n_genes, MOST_GENES)).astype(int)
        folds = [self._fold(number) for number in range(N_FOLDS)]
        errors = sum(
            np.array([fold.errors(penalty, some) for penalty in PENALTIES]) for fold in folds
        )  # (penalties, s)
        total = sum(fold.yy for fold in folds)  # (g,)
        varies = total > ROUNDING * self.yy.sum(0)
        if not varies.any():
            msg = "No gene varies between the cells."
            raise ValueError(msg)
        unexplained = errors / np.where(varies, total, np.inf)[some]
        penalty = float(PENALTIES[unexplained.sum(1).argmin()])
        r2 = np.where(varies, 1 - sum(fold.errors(penalty) for fold in folds) / np.where(varies, total, 1), 0)
        x, y = (_means(part.sum(0), n) for part in (self.x, self.y))
        weight = _Ridge(*self._scatter(np.ones(N_FOLDS, dtype=bool), x, y)[:2]).weight(penalty)
        return weight, (n / n.sum()) @ (y - x @ weight), r2, penalty

    def _fold(self, number: int) -> _Fold:
        """Return what is held out in a fold, about the means of the others, and the regression on these."""
        others = np.arange(N_FOLDS) != number
        x, y = (_means(part[others].sum(0), self.n[others].sum(0)) for part in (self.x, self.y))
        return _Fold(_Ridge(*self._scatter(others, x, y)[:2]), *self._scatter(~others, x, y))

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

    def weight(self, penalty: float, genes: slice | np.ndarray = ALL) -> np.ndarray:
        """Slopes (D, g), of all or of some genes."""
        return self.axes @ (self.along[:, genes] / (self.values + penalty * self.mean)[:, None])


class _Fold(NamedTuple):
    """A regression, and sums of products over cells that were held out: (D, D), (D, g) and (g,)."""

    ridge: _Ridge
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray

    def errors(self, penalty: float, genes: slice | np.ndarray = ALL) -> np.ndarray:
        """Sums of the squared residuals of the held-out cells, (g,), of all or of some genes."""
        weight = self.ridge.weight(penalty, genes)
        return self.yy[genes] + (weight * (self.xx @ weight - 2 * self.xy[:, genes])).sum(0)
