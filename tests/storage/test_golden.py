"""A model file that an earlier version has written is read for ever, and places cells where it did.

``pytest tests/storage/test_golden.py --write-golden`` writes the file again. Do this only if the format itself changes,
and then keep the old one.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import scanpy as sc
import torch
from hard_use.tools import cells

import scgeoae

if TYPE_CHECKING:
    from anndata import AnnData

MODEL = Path(__file__).with_name("golden") / "format_1.safetensors"
EXPECTED = MODEL.with_suffix(".npz")
DECODER = MODEL.with_name("format_1_decoder.safetensors")
"""Of a map that was made elsewhere, when an encoder was not yet fitted to such maps."""


def expressed(n: int, seed: int) -> AnnData:
    """Cells with expression of twelve genes, none below 0."""
    adata = cells(n, 12, seed)
    adata.X = np.abs(adata.X)
    return adata


def measured(path: Path) -> dict[str, np.ndarray]:
    """What a file makes of new cells and of points: all that a user can ask of it."""
    model = scgeoae.read_model(path)
    new = expressed(40, seed=1)
    scgeoae.tl.map_cells(new, path, obs="kind")
    points = np.linspace([-2.0, -1.0], [2.0, 1.0], 25)
    decoded = scgeoae.get.decode(model, points)
    with torch.no_grad():
        exact = deepcopy(model.autoencoder).double()  # in float32, the last digits depend on the processor
        encoded = exact.encode(torch.from_numpy(decoded.X).double()).numpy()
    labels = np.array([new.obs[name].cat.codes for name in new.obs if name.endswith("kind")])
    return {
        "coordinates": new.obsm["X_geoae"],
        "determinant": new.obs["geoae_det"].to_numpy(),
        "anisotropy": new.obs["geoae_anisotropy"].to_numpy(),
        "error": new.obs["geoae_reconstruction_error"].to_numpy(),
        "outside": new.obs["geoae_outside"].to_numpy(),
        "novelty": new.obs["geoae_novelty"].to_numpy(),
        "label": labels[-1],
        "colors": np.array([int(color[1:], 16) for color in model.labels["kind"].colors]),
        "decoded": decoded.X,
        "genes": scgeoae.get.decode(model, points, space="genes").X,
        "encoded": encoded,
        "det_of_points": decoded.obs["det"].to_numpy(),
        "occupied": decoded.obs["occupied"].to_numpy(),
        "unit": np.array([model.unit, model.frame.length_between]),
    }


def write() -> None:
    """Train on principal components of scaled genes, so that the file holds all that a file may hold."""
    adata = expressed(200, seed=0)
    adata.uns["kind_colors"] = ["#ff0000", "#0000ff"]
    sc.pp.scale(adata, max_value=8)
    sc.pp.pca(adata, n_comps=6)
    scgeoae.tl.geometric_ae(adata, n_steps=200, hidden_dims=(16, 16), batch_size=64)
    scgeoae.write_model(adata, MODEL, obs="kind")
    np.savez_compressed(EXPECTED, **measured(MODEL))


@pytest.mark.filterwarnings("ignore:Received a view:UserWarning")
def test_a_file_of_format_1(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--write-golden"):
        write()
    assert MODEL.stat().st_size + EXPECTED.stat().st_size < 100_000
    found = measured(MODEL)
    with np.load(EXPECTED) as expected:
        assert set(expected) == set(found)
        for name, value in expected.items():
            tolerance = 1e-5 if value.dtype == np.float32 else 1e-6
            np.testing.assert_allclose(found[name], value, rtol=tolerance, atol=tolerance, err_msg=name)


def test_it_is_written_again_as_it_is(tmp_path: Path) -> None:
    """What is read is all that there is in the file."""
    scgeoae.write_model(scgeoae.read_model(MODEL), tmp_path / "model")
    again, golden = (measured(path) for path in (tmp_path / "model", MODEL))
    for name, value in golden.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)


def test_a_decoder_without_an_encoder(tmp_path: Path) -> None:
    """It is read as ever; to place new cells, it has to be fitted again."""
    model = scgeoae.read_model(DECODER)
    assert model.made_elsewhere
    assert scgeoae.get.decode(model, [[0.0, 0.0]], space="genes").shape == (1, 12)
    scgeoae.write_model(model, tmp_path / "model")
    for path in (DECODER, tmp_path / "model"):
        with pytest.raises(ValueError, match=r"no encoder.* Run `scgeoae.tl.fit_decoder` again"):
            scgeoae.tl.map_cells(expressed(40, seed=1), path)
