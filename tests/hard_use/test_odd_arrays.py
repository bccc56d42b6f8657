"""Measures of odd arrays: the number of the plain array, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hard_use.tools import cells
from scipy import sparse

from scgeoae import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

MEASURES = ["kl_density", "knn_recall", "continuity", "mrre", "rnx_auc", "spearman", "stress"]
X = cells().X
Z = X[:, :2].copy()
KINDS = np.arange(60) % 3
LAST = np.arange(60) > 56


def measured(name: str, data: Any) -> np.ndarray:
    arguments = {"k": 5} if name in {"knn_recall", "continuity", "mrre"} else {}
    return np.asarray(getattr(metrics, name)(data, Z, **arguments))


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(np.asfortranarray, id="Fortran order"),
        pytest.param(lambda x: np.repeat(x, 2, 1)[:, ::2], id="not contiguous"),
        pytest.param(lambda x: x.astype(np.longdouble), id="float128"),
        pytest.param(lambda x: x.astype(">f4"), id="big-endian"),
        pytest.param(lambda x: x.tolist(), id="list"),
        pytest.param(pd.DataFrame, id="frame"),
        pytest.param(sparse.csr_matrix, id="CSR"),
        pytest.param(sparse.csc_array, id="CSC"),
        pytest.param(sparse.coo_matrix, id="COO"),
        pytest.param(lambda x: x * np.float32(1e30), id="huge"),
        pytest.param(lambda x: x * np.float32(1e-30), id="tiny"),
    ],
)
def test_kinds_of_array(measure: str, convert: Callable[[np.ndarray], Any]) -> None:
    data = convert(X)
    np.testing.assert_allclose(measured(measure, data), measured(measure, X), rtol=1e-4)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (X.astype(str), TypeError, "real numbers"),
        (pd.DataFrame(X).convert_dtypes(), TypeError, "real numbers"),
        (X.astype(float) * 1e160, ValueError, "too large to be squared"),
        (X[:2], ValueError, "at least 3 cells"),
        (X[:59], ValueError, "X has 59, Z 60 rows"),
    ],
    ids=["text", "nullable", "beyond squares", "2 cells", "59 cells"],
)
def test_refused(measure: str, data: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        measured(measure, data)


def test_masked_values_are_refused() -> None:
    with pytest.raises(ValueError, match="masked"):
        metrics.spearman(np.ma.masked_array(X, X > 1), Z)
    with pytest.raises(ValueError, match="masked"):
        metrics.knn_accuracy(Z, np.ma.masked_array(KINDS, KINDS == 0), k=3)


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(pd.Categorical(KINDS, categories=[2, 1, 0, 9]), id="category without cells"),
        pytest.param(np.where(LAST, None, KINDS.astype(object)), id="missing among objects"),
        pytest.param(np.where(LAST, np.nan, KINDS), id="missing among numbers"),
        pytest.param(pd.array(np.where(LAST, None, KINDS.astype(object)), dtype="Int64"), id="nullable"),
        pytest.param(KINDS == 1, id="booleans"),
        pytest.param(np.array(["a", 1] * 30, dtype=object), id="text and numbers"),
        pytest.param(np.arange(60), id="one a cell"),
        pytest.param([f"x/{kind}" for kind in KINDS], id="list"),
    ],
)
def test_kinds_of_label(labels: Any) -> None:
    assert 0 <= metrics.knn_accuracy(Z, labels, k=3) <= 1
    agreement = metrics.cluster_agreement(Z, labels)
    assert np.isfinite([agreement.ari, agreement.nmi]).all()


@pytest.mark.parametrize("labels", [["a"] * 60, [None] * 60, [(1, 2)] * 60, ["a", "b"]])
def test_refused_labels(labels: Any) -> None:
    for measure in (metrics.knn_accuracy, metrics.cluster_agreement):
        with pytest.raises(ValueError, match="labels must"):
            measure(Z, labels)
