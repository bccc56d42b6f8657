"""Labels that are carried over look as they do in the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
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
    del query.obs["bulk_labels"]
    return query


def test_a_type_has_the_same_colour(mapped: AnnData, query: AnnData, tmp_path: Path) -> None:
    scgeoae.tl.map_cells(query, mapped, obs=["bulk_labels", "phase"])
    names = mapped.obs["bulk_labels"].cat.categories
    assert list(query.obs["bulk_labels"].cat.categories) == list(names)
    assert list(query.uns["bulk_labels_colors"]) == list(mapped.uns["bulk_labels_colors"])
    assert "phase_colors" not in query.uns
    query.uns["bulk_labels_colors"][0] = "black"
    assert mapped.uns["bulk_labels_colors"][0] != "black"
    query.write_h5ad(tmp_path / "query.h5ad")
    sc.pl.embedding(query, basis="geoae", color="bulk_labels", show=False)
    assert query.uns["bulk_labels_colors"][0] == "black"  # scanpy takes them


def test_colours_of_a_replaced_column_are_replaced(mapped: AnnData, query: AnnData) -> None:
    query.uns["bulk_labels_colors"] = ["red", "blue"]
    copied = scgeoae.tl.map_cells(query, mapped, obs="bulk_labels", copy=True)
    assert list(copied.uns["bulk_labels_colors"]) == list(mapped.uns["bulk_labels_colors"])
    assert query.uns["bulk_labels_colors"] == ["red", "blue"]


@pytest.mark.parametrize(("n_colors", "n_kept"), [(9, None), (12, 10)])
def test_palettes_of_another_length(mapped: AnnData, query: AnnData, n_colors: int, n_kept: int | None) -> None:
    mapped.uns["bulk_labels_colors"] = np.array([f"#0000{i:02}" for i in range(n_colors)], dtype=object)
    scgeoae.tl.map_cells(query, mapped, obs="bulk_labels")
    assert len(query.uns.get("bulk_labels_colors", [])) == (n_kept or 0)
