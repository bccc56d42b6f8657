"""The structure of the plot of alphas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import scgeoae

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes


@pytest.fixture
def table() -> pd.DataFrame:
    """A path over three alphas, the second of them the default."""
    return pd.DataFrame(
        {
            "alpha": [0.0, 0.1, 1.0],
            "reconstruction": [0.2, 0.25, 0.4],
            "validation_reconstruction": [0.3, 0.28, 0.45],
            "log_det_variance": [2.0, 0.05, 0.001],
            "det_p95_p5": [20.0, 1.4, 1.1],
            "anisotropy": [3.0, 1.3, 1.1],
            "default": [False, True, False],
        }
    )


@pytest.fixture
def adata(table: pd.DataFrame) -> AnnData:
    return ad.AnnData(np.zeros((2, 2)), uns={"geoae_alpha_path": table})


def lines(ax: Axes) -> dict[str, np.ndarray]:
    return {line.get_label(): np.column_stack(line.get_data()) for line in ax.lines}


def test_curves_default_and_labels(adata: AnnData, table: pd.DataFrame) -> None:
    ax = scgeoae.pl.alpha_path(adata, show=False)
    drawn = lines(ax)
    assert list(drawn) == ["all cells", "held-out cells", r"default, $\alpha$ = 0.1"]
    np.testing.assert_array_equal(drawn["all cells"], table[["log_det_variance", "reconstruction"]])
    np.testing.assert_array_equal(drawn["held-out cells"], table[["log_det_variance", "validation_reconstruction"]])
    np.testing.assert_array_equal(drawn[r"default, $\alpha$ = 0.1"], [[0.05, 0.25], [0.05, 0.28]])
    assert [text.get_text() for text in ax.texts] == ["0", "0.1", r"$\alpha$ = 1"]
    assert [text.xy[1] for text in ax.texts] == [0.3, 0.28, 0.45]  # above the upper curve
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert {text.get_text() for text in ax.get_legend().get_texts()} == set(drawn)


def test_without_held_out_cells_or_default(adata: AnnData, table: pd.DataFrame) -> None:
    adata.uns["mine"] = table.assign(validation_reconstruction=np.nan, default=False)
    ax = scgeoae.pl.alpha_path(adata, key="mine", show=False)
    assert list(lines(ax)) == ["all cells"]
    ax.figure.canvas.draw()


def test_a_trained_path_can_be_drawn(pbmc: AnnData) -> None:
    scgeoae.tl.alpha_path(pbmc, [0.1], n_steps=5)
    scgeoae.pl.alpha_path(pbmc, return_fig=True).canvas.draw()


def test_conventions(adata: AnnData) -> None:
    assert isinstance(scgeoae.pl.alpha_path(adata, return_fig=True), Figure)
    _, ax = plt.subplots()
    assert scgeoae.pl.alpha_path(adata, ax=ax, show=False) is ax
    assert scgeoae.pl.alpha_path(adata, show=True) is None
    for key in ("nothing", "other"):
        adata.uns["other"] = pd.DataFrame({"alpha": [1.0]})
        with pytest.raises(KeyError, match=rf"{key}.*tl.alpha_path"):
            scgeoae.pl.alpha_path(adata, key=key)
