"""Labels that are carried over have names of their own and look as they do in the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import scgeoae

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData


@pytest.fixture
def query(mapped: AnnData) -> AnnData:
    """Cells of two types, which scanpy would colour as the first two."""
    query = mapped[mapped.obs["bulk_labels"].isin(["Dendritic", "CD34+"])].copy()
    query.uns.clear()
    return query


def test_a_type_has_the_same_colour(mapped: AnnData, query: AnnData, tmp_path: Path) -> None:
    scgeoae.tl.map_cells(query, mapped, obs=["bulk_labels", "phase"])
    names = mapped.obs["bulk_labels"].cat.categories
    assert list(query.obs["geoae_bulk_labels"].cat.categories) == list(names)
    colors = query.uns["geoae_bulk_labels_colors"]
    assert list(colors) == list(mapped.uns["bulk_labels_colors"])
    assert "geoae_phase_colors" not in query.uns
    colors[0] = "black"
    assert mapped.uns["bulk_labels_colors"][0] != "black"
    query.write_h5ad(tmp_path / "query.h5ad")
    sc.pl.embedding(query, basis="geoae", color="geoae_bulk_labels", show=False)
    assert query.uns["geoae_bulk_labels_colors"][0] == "black"  # scanpy takes them


def test_what_the_query_knows_of_itself_stays(mapped: AnnData, query: AnnData) -> None:
    """Its own column of the same name, with its colors and a confidence, is the truth that labels are compared with."""
    query.obs["bulk_labels"] = query.obs["bulk_labels"].cat.remove_unused_categories()
    query.obs["bulk_labels_confidence"] = 0.5
    query.uns["bulk_labels_colors"] = ["red", "blue"]
    before = query.copy()
    scgeoae.tl.map_cells(query, mapped, obs="bulk_labels")
    own = [name for name in before.obs if not name.startswith("geoae_")]
    pd.testing.assert_frame_equal(query.obs[own], before.obs[own])
    assert query.uns["bulk_labels_colors"] == ["red", "blue"]
    assert (query.obs["geoae_bulk_labels"].astype(str) == query.obs["bulk_labels"].astype(str)).mean() > 0.8


def test_labels_of_an_earlier_reference_are_replaced_or_dropped(mapped: AnnData, query: AnnData) -> None:
    scgeoae.tl.map_cells(query, mapped, obs=["bulk_labels", "phase"])
    assert list(query.uns["geoae"]["params"]["obs"]) == ["bulk_labels", "phase"]
    scgeoae.tl.map_cells(query, mapped, obs="phase")
    assert "geoae_phase_confidence" in query.obs
    assert not [name for name in (*query.obs, *query.uns) if name.startswith("geoae_bulk_labels")]
    scgeoae.tl.map_cells(query, mapped)
    assert "geoae_phase" not in query.obs
    assert {"bulk_labels", "phase"} <= set(query.obs)


@pytest.mark.parametrize("name", ["outside", "novel", "verdict"])
def test_labels_whose_name_has_another_meaning(mapped: AnnData, query: AnnData, name: str) -> None:
    mapped.obs[name] = "a"
    with pytest.raises(ValueError, match=rf"would be written as 'geoae_{name}', which has another meaning"):
        scgeoae.tl.map_cells(query, mapped, obs=name)
    mapped.obs["phase_confidence"] = "high"
    with pytest.raises(ValueError, match="would be written as 'geoae_phase_confidence'"):
        scgeoae.tl.map_cells(query, mapped, obs=["phase", "phase_confidence"])
    assert "geoae" not in query.uns


@pytest.mark.parametrize(("n_colors", "n_kept"), [(9, None), (12, 10)])
def test_palettes_of_another_length(mapped: AnnData, query: AnnData, n_colors: int, n_kept: int | None) -> None:
    mapped.uns["bulk_labels_colors"] = np.array([f"#0000{i:02}" for i in range(n_colors)], dtype=object)
    scgeoae.tl.map_cells(query, mapped, obs="bulk_labels")
    assert len(query.uns.get("geoae_bulk_labels_colors", [])) == (n_kept or 0)
