from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import scgeoae

if TYPE_CHECKING:
    from anndata import AnnData


def test_model_is_rebuilt_ready_to_use(mapped: AnnData) -> None:
    model = scgeoae.get.model(mapped)
    assert not model.autoencoder.training
    assert model.unit == 1
    assert model.input.features[:2].tolist() == ["X_pca_1", "X_pca_2"]
    assert model.error_quantiles[50] == pytest.approx(mapped.obs["geoae_reconstruction_error"].median())
    assert model.region.contains(mapped.obsm["X_geoae"]).mean() > 0.98
    model.autoencoder.decoder.first.weight.data.zero_()  # its own copy
    assert scgeoae.get.model(mapped).autoencoder.decoder.first.weight.abs().sum() > 0


def test_metric_at_points(mapped: AnnData) -> None:
    points = np.array([[0.0, 0.0], [1.0, -2.0]])
    g = scgeoae.get.metric(mapped, points)
    model = scgeoae.get.model(mapped).autoencoder.double()
    jacobian = torch.func.vmap(torch.func.jacfwd(lambda z: model.decode(z[None])[0]))(torch.from_numpy(points))
    np.testing.assert_allclose(g, (jacobian.mT @ jacobian).detach(), rtol=1e-9)
    assert scgeoae.get.metric(mapped, np.zeros((0, 2))).shape == (0, 2, 2)


@pytest.mark.parametrize("points", [np.zeros(2), np.zeros((3, 3)), np.full((1, 2), np.nan)])
def test_bad_points(mapped: AnnData, points: np.ndarray) -> None:
    with pytest.raises(ValueError, match="points must be finite"):
        scgeoae.get.metric(mapped, points)


def test_missing_result_names_what_is_there(mapped: AnnData) -> None:
    with pytest.raises(KeyError, match=r"results there: \['geoae'\].*scgeoae.tl.geometric_ae"):
        scgeoae.get.model(mapped, key="pca")
