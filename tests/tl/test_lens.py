"""tl.lens: what is stored, read back, carried to new cells, and dropped."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from hard_use.tools import BRIEF, frozen

from scgeoae import get, read_model, tl, write_model
from scgeoae.result import Result

NAMES = {"X_geoae_lens", "geoae_lens"}


@pytest.fixture(scope="module")
def halves() -> tuple[ad.AnnData, ad.AnnData]:
    adata = sc.datasets.pbmc68k_reduced()
    sc.pp.pca(adata, n_comps=10)
    reference, query = adata[::2].copy(), adata[1::2].copy()
    tl.geometric_ae(reference, **BRIEF)
    return reference, query


@pytest.fixture
def reference(halves) -> ad.AnnData:
    adata = halves[0].copy()
    tl.lens(adata, 0.5)
    return adata


def present(adata: ad.AnnData) -> set[str]:
    return NAMES & {*adata.obsm, *adata.uns}


def test_nothing_else_changes(halves) -> None:
    adata = halves[0].copy()
    tl.lens(adata)
    assert present(adata) == NAMES
    del adata.obsm["X_geoae_lens"], adata.uns["geoae_lens"]
    assert frozen(adata) == frozen(halves[0])
    made = tl.lens(adata, copy=True)
    assert present(made) == NAMES
    assert not present(adata)


def test_strength(reference) -> None:
    moved = []
    for strength in (0, 0.35, 1):
        tl.lens(reference, strength)
        moved.append(np.linalg.norm(reference.obsm["X_geoae_lens"] - reference.obsm["X_geoae"], axis=1).max())
        assert reference.uns["geoae_lens"]["strength"] == strength
    assert moved[0] == 0 < moved[1] < moved[2]


def test_points_that_are_read_off_a_bent_picture(reference) -> None:
    cells = reference.obsm["X_geoae"][:20]
    points = get.model(reference).lens.inverse(get.coordinates(reference, lens=True)[:20])
    np.testing.assert_allclose(points, cells, atol=1e-2)
    np.testing.assert_allclose(get.decode(reference, points).X, get.decode(reference, cells).X, atol=1e-2)


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data:UserWarning")
@pytest.mark.parametrize("name", ["map.h5ad", "map.zarr"])
def test_files(name, reference, tmp_path) -> None:
    path = tmp_path / name
    reference.write_h5ad(path) if name.endswith("h5ad") else reference.write_zarr(path)
    read = ad.read_h5ad(path) if name.endswith("h5ad") else ad.read_zarr(path)
    z = read.obsm["X_geoae"]
    assert np.allclose(get.coordinates(read, lens=True), read.obsm["X_geoae_lens"], atol=1e-5)
    assert (get.model(read).lens.forward(z) == get.model(reference).lens.forward(z)).all()


@pytest.mark.parametrize("source", ["adata", "model", "file"])
def test_new_cells_are_bent_as_the_reference_was(source, reference, halves, tmp_path) -> None:
    query, place = halves[1].copy(), reference
    if source == "model":
        place = get.model(reference)
    elif source == "file":
        place = tmp_path / "map.safetensors"
        write_model(reference, place)
        assert read_model(place).lens.strength == 0.5
    tl.map_cells(query, place)
    expected = get.model(reference).lens.forward(query.obsm["X_geoae"])
    assert np.allclose(query.obsm["X_geoae_lens"], expected, atol=1e-5)
    assert np.allclose(get.coordinates(query, lens=True), expected, atol=1e-5)
    own = reference.copy()
    tl.map_cells(own, place)
    assert np.allclose(own.obsm["X_geoae_lens"], reference.obsm["X_geoae_lens"], atol=1e-3)


def test_mapped_cells_keep_the_density_of_the_reference(reference, halves) -> None:
    query = halves[1].copy()
    tl.map_cells(query, reference)
    tl.lens(query, 1)
    expected = get.model(reference).lens.at(1).forward(query.obsm["X_geoae"])
    assert np.allclose(query.obsm["X_geoae_lens"], expected, atol=1e-5)


def test_a_reference_without_a_lens(reference, halves) -> None:
    query = halves[1].copy()
    tl.map_cells(query, reference)
    tl.map_cells(query, halves[0])
    assert not present(query)
    with pytest.raises(KeyError, match=r"Did not find .uns\['geoae_lens'\]. Run `scgeoae.tl.lens\(adata, key='geoae'"):
        get.coordinates(query, lens=True)


def test_a_new_map_has_no_lens(reference) -> None:
    tl.geometric_ae(reference, **BRIEF)
    assert not present(reference)


def test_the_decoder_of_another_map(halves) -> None:
    adata = halves[0].copy()
    tl.fit_decoder(adata, "umap", n_steps=5, hidden_dims=(8,))
    tl.lens(adata, key="geoae_umap")
    assert adata.obsm["X_umap_lens"].shape == (350, 2)
    assert "geoae_umap_lens" in adata.uns


def test_the_bent_decoder(reference) -> None:
    """Cells decode to the same, and what shows on the bent map is what was bent and what the decoder distorts."""
    model = get.model(reference)
    z = reference.obsm["X_geoae"][:20]
    w, jacobian = model.lens.forward_with_jacobian(z)
    assert np.allclose(model.bent_surface.decode(w), model.surface.decode(z), atol=1e-4)
    shown = model.relative_determinant(model.bent_surface.distortion(w)[0])
    assert shown * np.linalg.det(jacobian) == pytest.approx(reference.obs["geoae_det"].to_numpy()[:20], rel=1e-3)


@pytest.mark.parametrize(
    ("strength", "error", "text"),
    [
        (1.5, ValueError, "at most 1"),
        (-1, ValueError, "at least 0"),
        ("a", TypeError, "number"),
        (True, TypeError, "number"),
    ],
)
def test_bad_strength(strength, error, text, reference) -> None:
    before = frozen(reference)
    with pytest.raises(error, match=text):
        tl.lens(reference, strength)
    assert frozen(reference) == before


def test_maps_that_cannot_be_bent(halves) -> None:
    adata = halves[0].copy()
    tl.geometric_ae(adata, n_components=3, **BRIEF)
    with pytest.raises(ValueError, match="maps of two dimensions; this map has 3"):
        tl.lens(adata)
    with pytest.raises(ValueError, match="no cell"):
        tl.lens(halves[0][:0].copy())


@pytest.mark.parametrize("damage", [{"density": np.zeros((4, 4))}, {"strength": 7.0}, {"extent": np.zeros(4)}, None])
def test_damage(damage, reference) -> None:
    stored = reference.uns["geoae_lens"]
    reference.uns["geoae_lens"] = 3 if damage is None else stored | damage
    with pytest.raises(ValueError, match="stored lens is damaged"):
        _ = Result(reference).model
