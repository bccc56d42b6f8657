"""Arrows of genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from helpers import QUICK
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver

import scgeoae

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

LABELS = "bulk_labels"


@pytest.fixture
def readable(mapped: AnnData) -> AnnData:
    scgeoae.tl.gene_readout(mapped, use_raw=True)
    return mapped


def arrows(ax: Axes) -> Quiver:
    (quiver,) = (drawn for drawn in ax.collections if isinstance(drawn, Quiver))
    return quiver


def test_the_genes_that_change_most_at_each_group(readable: AnnData) -> None:
    before = readable.copy()
    ax = scgeoae.pl.gene_arrows(readable, groupby=LABELS, n_genes=2, show=False)
    drawn = arrows(ax)
    starts = np.unique(drawn.get_offsets(), axis=0)
    assert len(starts) == readable.obs[LABELS].nunique()
    names = [text.get_text() for text in ax.texts if text.get_text() in set(readable.raw.var_names)]
    assert len(names) == drawn.N <= 2 * len(starts)
    found = scgeoae.get.gene_gradient(readable, drawn.get_offsets())
    for place, name in enumerate(names):
        x, y = (found.layers[f"direction{i}"][place, found.var_names.get_loc(name)] for i in (1, 2))
        rise = found[:, name].X[place, 0]
        np.testing.assert_allclose([drawn.U[place], drawn.V[place]], [rise * x, rise * y], rtol=1e-4)
    first = found.var_names[found.X[0] == found.X[0].max()]
    assert names[0] == first
    assert readable.obs.columns.tolist() == before.obs.columns.tolist()
    assert not {"pbmc"} & set(readable.uns)


def test_arrows_of_a_group_differ_in_direction(readable: AnnData) -> None:
    ax = scgeoae.pl.gene_arrows(readable, groupby=LABELS, show=False)
    drawn = arrows(ax)
    vectors = np.column_stack([drawn.U, drawn.V])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for start in np.unique(drawn.get_offsets(), axis=0):
        here = vectors[(drawn.get_offsets() == start).all(1)]
        cosines = np.abs(here @ here.T)[np.triu_indices(len(here), 1)]
        assert (cosines < np.cos(np.pi / 6) + 1e-6).all()


def test_given_genes(readable: AnnData) -> None:
    panels = scgeoae.pl.gene_arrows(readable, ["NKG7", "CD79A"], show=False)
    decoded = scgeoae.get.decode(readable, readable.obsm["X_geoae"], space="genes")
    region = scgeoae.get.model(readable).region
    for ax, gene in zip(panels, ("NKG7", "CD79A"), strict=True):
        assert ax.get_title() == gene
        cells = next(
            drawn for drawn in ax.collections if drawn.get_array() is not None and len(drawn.get_offsets()) == 700
        )
        values = decoded[:, gene].X.ravel()  # cells are drawn in random order
        np.testing.assert_allclose(np.sort(np.asarray(cells.get_array())), np.sort(values), rtol=1e-5)
        drawn = arrows(ax)
        assert drawn.N > 10
        assert region.contains(drawn.get_offsets()).all()
        found = scgeoae.get.gene_gradient(readable, drawn.get_offsets(), genes=gene)
        np.testing.assert_allclose(np.hypot(drawn.U, drawn.V), found.X.ravel(), rtol=1e-4)
    assert list(readable.uns) == list(readable.copy().uns)


def test_the_figure_and_one_axes(readable: AnnData) -> None:
    assert isinstance(scgeoae.pl.gene_arrows(readable, "NKG7", return_fig=True), Figure)
    ax = Figure().subplots()
    assert scgeoae.pl.gene_arrows(readable, "NKG7", ax=ax, show=False) is ax


def test_bad_input(mapped: AnnData, pbmc: AnnData) -> None:
    draw = scgeoae.pl.gene_arrows
    with pytest.raises(ValueError, match=r"Run `scgeoae\.tl\.gene_readout"):
        draw(mapped, "NKG7")
    for arguments in ({}, {"genes": "NKG7", "groupby": LABELS}):
        with pytest.raises(ValueError, match="either genes"):
            draw(mapped, **arguments)
    scgeoae.tl.gene_readout(mapped)
    with pytest.raises(KeyError, match="'nothing'"):
        draw(mapped, ["NKG7", "nothing"])
    with pytest.raises(KeyError, match="'nothing'"):
        draw(mapped, groupby="nothing")
    with pytest.raises(ValueError, match="n_genes must be at least 1"):
        draw(mapped, groupby=LABELS, n_genes=0)
    scgeoae.tl.geometric_ae(pbmc, n_components=3, **QUICK | {"n_steps": 5})
    with pytest.raises(ValueError, match="two dimensions only"):
        draw(pbmc, groupby=LABELS)
