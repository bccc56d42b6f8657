"""The table of fields: names, writing all or none, and what becomes stale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from hard_use.tools import BRIEF, cells, frozen

from scgeoae import fields, tl
from scgeoae.fields import FIELDS, Field, Keys

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from anndata import AnnData

KEYS = Keys.named(None)
ROWS = [field for field in FIELDS if field is not Keys.alpha_path and "{label}" not in field.pattern]
"""Rows with one field for each result; the table by alpha belongs to none and may have the name of one."""


def ids(field: Any) -> str | None:
    return f"{field.slot} {field.pattern}" if isinstance(field, Field) else None


def value(field: Field, n: int) -> Any:
    return {"obs": np.arange(n), "obsm": np.ones((n, 2)), "uns": {"params": {}}}[field.slot]


def present(adata: AnnData) -> set[Field]:
    return {field for field in ROWS if field.name(KEYS) in getattr(adata, field.slot)}


def origins(field: Field) -> set[Field]:
    return set(field.made_from).union(*map(origins, field.made_from))


@pytest.fixture
def full() -> AnnData:
    """Cells with all fields."""
    adata = cells(8)
    for field in ROWS:
        getattr(adata, field.slot)[field.name(KEYS)] = value(field, 8)
    return adata


def test_names() -> None:
    named = {name: field.name(KEYS) for name, field in vars(Keys).items() if field in ROWS}
    assert named == {
        "coordinates": "X_geoae",
        "model": "geoae",
        "readout": "geoae",
        "determinant": "geoae_det",
        "anisotropy": "geoae_anisotropy",
        "error": "geoae_reconstruction_error",
        "outside": "geoae_outside",
        "novelty": "geoae_novelty",
        "novel": "geoae_novel",
        "ensemble": "geoae_ensemble",
        "maps": "X_geoae_ensemble",
        "displacement": "geoae_displacement",
        "agreement": "geoae_agreement",
        "log_det_std": "geoae_log_det_std",
        "direction_std": "geoae_direction_std",
        "areas": "geoae_areas",
        "distances": "geoae_distances",
        "lens": "geoae_lens",
        "bent": "X_geoae_lens",
        "velocity": "velocity_geoae",
        "velocity_normal": "geoae_velocity_normal",
        "scvelo": "velocity_params",
        "verdict": "geoae_verdict",
        "kept": "geoae_kept",
        "chance": "geoae_chance",
        "null": "geoae_verdict",
        "verdict_colors": "geoae_verdict_colors",
    }
    assert Keys.named("mine") == Keys("mine", "mine")
    assert Keys.named(None, fields.ALPHA_PATH).key == Keys.alpha_path.name(Keys("geoae_alpha_path", ""))
    decoder = Keys.decoding("X_umap")
    assert (decoder.determinant, decoder.coordinates, decoder.verdict) == ("geoae_umap_det", "X_umap", "umap_verdict")
    assert Keys.confidence.name(KEYS, "kind") == "geoae_kind_confidence"


@pytest.mark.parametrize("field", FIELDS, ids=ids)
def test_rows(field: Field) -> None:
    assert set(field.tools) <= set(tl.__all__)
    assert field.slot in {"obs", "obsm", "uns"}
    assert all(FIELDS.index(origin) < FIELDS.index(field) for origin in field.made_from)
    same = [row for row in (*ROWS, Keys.label, Keys.confidence, Keys.palette) if ids(row) == ids(field)]
    assert same == [field] or field is Keys.alpha_path or set(same) == {Keys.model, Keys.readout}


@pytest.mark.parametrize("written", ROWS, ids=ids)
def test_exactly_the_stale_fields_are_dropped(full: AnnData, written: Field) -> None:
    full.obs["other_det"], full.uns["umap_verdict"] = 1.0, {}  # of another result, of another map
    fields.write(full, KEYS, {written: value(written, 8)})
    assert present(full) == {field for field in ROWS if written not in origins(field)}
    assert {"other_det", "kind"} <= set(full.obs)
    assert "umap_verdict" in full.uns


def test_what_a_new_training_makes_stale(full: AnnData) -> None:
    trained = (Keys.model, Keys.readout, Keys.determinant, Keys.anisotropy, Keys.error)
    fields.write(full, KEYS, {field: value(field, 8) for field in trained})
    moved = {Keys.velocity, Keys.verdict, Keys.kept, Keys.chance, Keys.null, Keys.verdict_colors}
    assert present(full) == {*trained, Keys.coordinates, Keys.scvelo} | moved
    fields.write(full, KEYS, {field: value(field, 8) for field in (Keys.coordinates, *trained)})
    assert present(full) == {*trained, Keys.coordinates, Keys.scvelo}


def test_lines_for_the_log() -> None:
    adata = cells(8)
    labels = {"kind": np.repeat("a", 8), "stage": np.repeat("b", 8)}
    values = {Keys.label: labels, Keys.palette: {}, Keys.determinant: np.ones(8), Keys.coordinates: np.ones((8, 2))}
    assert fields.write(adata, KEYS, values) == [
        "'X_geoae', map coordinates (adata.obsm)",
        "'geoae_det', relative determinant (adata.obs)",
        "'geoae_kind', labels by the reference (adata.obs)",
        "'geoae_stage', labels by the reference (adata.obs)",
    ]
    assert list(adata.obs["geoae_stage"]) == ["b"] * 8


def interrupting(_: Any) -> Any:
    raise KeyboardInterrupt


class Interrupting(dict):
    items = interrupting


@pytest.mark.parametrize("slot", ["obs", "obsm", "uns"])
@pytest.mark.parametrize("filled", [0, 1], ids=["new", "again"])
def test_all_or_none(slot: str, filled: int, full: AnnData) -> None:
    adata = full if filled else cells(8)
    before = frozen(adata)
    (first,) = (field for field in (Keys.coordinates, Keys.model, Keys.determinant) if field.slot == slot)
    written = {first: value(first, 8)}
    with pytest.raises(KeyboardInterrupt):
        fields.write(adata, KEYS, {**written, Keys.label: Interrupting()})
    assert frozen(adata) == before
    with pytest.raises(ValueError, match=r"[Ll]ength"):
        fields.write(adata, KEYS, {**written, Keys.error: np.ones(7)})
    assert frozen(adata) == before


@pytest.mark.parametrize(("owner", "name"), [(pd.DataFrame, "__delitem__"), (pd.DataFrame, "__setitem__")])
def test_all_or_none_where_pandas_is_interrupted(owner: type, name: str, full: AnnData, monkeypatch) -> None:
    before, done = frozen(full), getattr(owner, name)

    def interrupt(*args: Any) -> None:
        done(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(owner, name, interrupt)
    with pytest.raises(KeyboardInterrupt):
        fields.write(full, KEYS, {Keys.model: {}, Keys.determinant: np.zeros(8)})
    monkeypatch.undo()
    assert frozen(full) == before


def test_a_table_that_is_missing(full: AnnData) -> None:
    with pytest.raises(
        KeyError, match=r"Did not find in \.uns\['a_areas'\] .*\['x'\]. Run `scgeoae.tl.cluster_areas` f"
    ):
        fields.read_table(full, Keys.areas, "a", {"x"})
    full.uns["geoae_areas"] = table = pd.DataFrame({"x": [1]})
    assert fields.read_table(full, Keys.areas, "geoae", {"x"}) is table


@pytest.fixture(scope="module")
def trained() -> AnnData:
    adata = sc.datasets.pbmc68k_reduced()
    sc.pp.pca(adata, n_comps=10)  # so that the model holds the genes
    tl.geometric_ae(adata, **BRIEF)
    tl.lens(adata)
    adata.obsm["v"] = adata.obsm["X_pca"][::-1] - adata.obsm["X_pca"]
    adata.uns["velocity_params"] = {}
    return adata


TOOLS: dict[str, Callable[[AnnData, AnnData], Any]] = {
    "geometric_ae": lambda adata, _: tl.geometric_ae(adata, **BRIEF),
    "fit_decoder": lambda adata, _: tl.fit_decoder(adata, "geoae", key_added="geoae", n_steps=5, hidden_dims=(8,)),
    "map_cells": lambda adata, reference: tl.map_cells(adata, reference, obs="bulk_labels"),
    "gene_readout": lambda adata, _: tl.gene_readout(adata, use_raw=True),
    "ensemble": lambda adata, _: tl.ensemble(adata, n_models=2),
    "cluster_areas": lambda adata, _: tl.cluster_areas(adata, "bulk_labels"),
    "cluster_distances": lambda adata, _: tl.cluster_distances(adata, "bulk_labels"),
    "lens": lambda adata, _: tl.lens(adata),
    "velocity": lambda adata, _: tl.velocity(adata, "v"),
    "verdict": lambda adata, _: tl.verdict(adata, embed=lambda x: x[:, :2]),
    "alpha_path": lambda adata, _: tl.alpha_path(adata, [0.1], **BRIEF),
}


def test_all_tools_are_run() -> None:
    assert set(TOOLS) == set(tl.__all__) == {tool for field in FIELDS for tool in field.tools}


def contents(adata: AnnData) -> dict[tuple[str, str], int | None]:
    """All places in `obs`, `obsm` and `uns`, with the identity of what is there; columns have none."""
    held = {("obs", name): None for name in adata.obs}
    return held | {(slot, name): id(entry) for slot in ("obsm", "uns") for name, entry in getattr(adata, slot).items()}


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_writes_its_rows_and_a_new_training_drops_the_stale_ones(tool: str, trained: AnnData) -> None:
    keys = Keys.named(None, fields.ALPHA_PATH) if tool == "alpha_path" else KEYS
    rows = {(field.slot, field.name(keys, "bulk_labels")): field for field in FIELDS if tool in field.tools}
    adata = trained.copy()
    for (slot, name), field in rows.items():
        if field not in {Keys.scvelo, Keys.readout} and name in getattr(adata, slot):
            del getattr(adata, slot)[name]
    before = contents(adata)
    TOOLS[tool](adata, trained)
    after = contents(adata)
    assert dict(after.items() - before.items()).keys() == rows.keys()

    written = {field for field in FIELDS if "geometric_ae" in field.tools}
    tl.geometric_ae(adata, **BRIEF)
    kept = {place for place, field in rows.items() if field in written or written.isdisjoint(origins(field))}
    new = {(field.slot, field.name(KEYS)) for field in written}
    dropped = {(field.slot, field.name(KEYS)) for field in FIELDS if not written.isdisjoint(origins(field))}
    assert set(contents(adata)) == (set(after) - set(rows) - dropped) | kept | new


def without(adata: AnnData, places: Collection[tuple[str, str]]) -> Any:
    """All that an AnnData holds, but for these places."""
    rest = adata.copy()
    for slot, name in places:
        if name in getattr(rest, slot):
            del getattr(rest, slot)[name]
    return frozen(rest)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_changes_nothing_but_its_fields(tool: str, trained: AnnData) -> None:
    """Neither in the cells that it is given, of which all is compared, nor in the reference."""
    keys = Keys.named(None, fields.ALPHA_PATH) if tool == "alpha_path" else KEYS
    adata, reference = trained.copy(), frozen(trained)
    written = [field for field in FIELDS if tool in field.tools]
    places = {(field.slot, field.name(keys, "bulk_labels")) for field in [*written, *fields.stale(written)]}
    before = without(adata, places)
    TOOLS[tool](adata, trained)
    assert without(adata, places) == before
    assert frozen(trained) == reference


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_documents_its_rows(tool: str) -> None:
    text = getattr(tl, tool).__doc__
    for field in FIELDS:
        if tool in field.tools and "{label}" not in field.pattern:
            names = {field.name(keys) for keys in (KEYS, Keys.decoding("X_umap"), Keys.named(None, fields.ALPHA_PATH))}
            assert any(f"adata.{field.slot}['{name}'" in text for name in names), field.pattern
