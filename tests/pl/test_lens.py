"""Plots of the bent map: cells, determinant and ellipses of that map, its mesh, and a key that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.collections import EllipseCollection, LineCollection
from matplotlib.offsetbox import AnchoredOffsetbox
from matplotlib.text import Text

import scgeoae
from scgeoae.pl._indicatrix import HALO

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes


@pytest.fixture
def bent(mapped: AnnData) -> AnnData:
    scgeoae.tl.lens(mapped, 0.5)
    return mapped


def key(ax: Axes) -> str:
    boxes = [artist for artist in ax.artists if isinstance(artist, AnchoredOffsetbox)]
    return " ".join(text.get_text() for box in boxes for text in box.findobj(Text))


def offsets(ax: Axes) -> np.ndarray:
    return np.sort(np.asarray(ax.collections[0].get_offsets()), axis=0)


def test_cells_and_mesh(bent: AnnData) -> None:
    true = scgeoae.pl.embedding(bent, color="bulk_labels", show=False)
    assert "in the data" in key(true)
    assert "bent" not in key(true)
    ax = scgeoae.pl.embedding(bent, color="bulk_labels", lens=True, graticule=True, show=False)
    np.testing.assert_allclose(offsets(ax), np.sort(bent.obsm["X_geoae_lens"], axis=0))
    lens = scgeoae.get.model(bent).lens
    larger = lens.magnification(scgeoae.get.coordinates(bent))
    assert f"bent: areas up to {larger.max():.2g} times" in key(ax)
    assert "in the data" not in key(ax)  # it has no scale
    (mesh,) = [drawn for drawn in ax.collections if isinstance(drawn, LineCollection)]
    np.testing.assert_allclose(mesh.get_segments()[3], lens.graticule()[3])
    assert mesh.get_zorder() < ax.collections[0].get_zorder()


def test_without_strength(mapped: AnnData) -> None:
    scgeoae.tl.lens(mapped, 0)
    assert "true areas" in key(scgeoae.pl.embedding(mapped, lens=True, show=False))


def test_ellipses(bent: AnnData) -> None:
    """All stand for circles of one radius, by the metric of the bent map."""
    ax = scgeoae.pl.indicatrix(bent, lens=True, show=False)
    (drawn,) = [c for c in ax.collections if isinstance(c, EllipseCollection) and c.get_gid() != HALO]
    centers = np.asarray(drawn.get_offsets())
    model = scgeoae.get.model(bent)
    assert model.region.contains(model.lens.inverse(centers)).mean() > 0.9  # the bent region consists of tiles
    g = model.bent_surface.metric(centers)
    radii = np.sqrt(drawn.get_widths() * drawn.get_heights() / 4 * np.sqrt(np.linalg.det(g)))
    np.testing.assert_allclose(radii, radii[0], rtol=1e-5)


@pytest.mark.parametrize("field", [False, True])
def test_determinant(field: bool, bent: AnnData) -> None:  # noqa: FBT001
    ax = scgeoae.pl.det_heatmap(bent, lens=True, field=field, show=False)
    assert "bent map" in ax.get_title()
    model, w = scgeoae.get.model(bent), bent.obsm["X_geoae_lens"]
    log_det = model.bent_surface.distortion(w)[0]
    expected = np.exp(log_det - log_det.mean())
    if field:
        (image,) = ax.images
        shown = image.get_array().compressed()
        assert expected.min() / 2 < np.median(shown) < 2 * expected.max()
        assert image.get_extent() == list(model.lens.extent)
    else:
        np.testing.assert_allclose(np.sort(ax.collections[0].get_array()), np.sort(expected), rtol=5e-3)


def test_ensemble(bent: AnnData) -> None:
    z = bent.obsm["X_geoae"]
    bent.obsm["X_geoae_ensemble"] = np.hstack([z, z])
    bent.uns["geoae_ensemble"] = {"params": {"n_models": 2, "bootstrap": False, "rng": 0}}
    bent.obs["geoae_displacement"] = np.linspace(0, 4, bent.n_obs)
    large, *small = scgeoae.pl.ensemble(bent, lens=True, show=False)
    for panel in (large, *small):
        np.testing.assert_allclose(offsets(panel), np.sort(bent.obsm["X_geoae_lens"], axis=0), atol=1e-4)


def test_errors(mapped: AnnData) -> None:
    for plot in (scgeoae.pl.embedding, scgeoae.pl.indicatrix, scgeoae.pl.det_heatmap):
        with pytest.raises(KeyError, match=r"X_geoae_lens.*Run `scgeoae.tl.lens"):
            plot(mapped, lens=True, show=False)
    with pytest.raises(ValueError, match="Pass lens=True"):
        scgeoae.pl.embedding(mapped, graticule=True, show=False)
