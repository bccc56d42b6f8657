"""What is stored of a training is enough to do it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pytest

import scgeoae
from scgeoae.core.terms import TERMS
from scgeoae.result import Result
from scgeoae.tl.plan import WEIGHTS, stored_plan

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"n_pcs": 10, "n_components": 3, "alpha": 0, "rng": 2**40},
        {"use_rep": "X", "mask_var": np.arange(765) % 9 == 0, "noise": 0.0, "regularizer": {"area": 1, "isometry": 2}},
        {"layer": "scaled", "mask_var": "chosen", "patience": 2, "validation_fraction": 0.3, "batch_size": 100},
        {"landmarks": "first", "landmark_weight": 0.5, "contrast_weight": 0.2},
    ],
    ids=["default", "components", "genes", "layer", "landmarks"],
)
def test_a_stored_plan_trains_the_same_map(pbmc: AnnData, arguments: dict, tmp_path: Path) -> None:
    """Bit for bit, from a file."""
    pbmc.layers["scaled"], pbmc.var["chosen"] = pbmc.X, np.arange(765) % 7 == 0
    pbmc.obsm["first"] = np.where(np.arange(700)[:, None] < 300, pbmc.obsm["X_pca"][:, :2], np.nan)
    scgeoae.tl.geometric_ae(pbmc, n_steps=8, hidden_dims=(16, 8), **arguments)
    pbmc.write_h5ad(tmp_path / "cells.h5ad")
    result = Result(ad.read_h5ad(tmp_path / "cells.h5ad"), "geoae")
    planned, seed = stored_plan(result), result.params["rng"]
    fitted = planned.fit(seed)
    np.testing.assert_array_equal(fitted.cells.z, pbmc.obsm["X_geoae"])
    for name, value in planned.params(fitted, seed).items():
        np.testing.assert_array_equal(value, pbmc.uns["geoae"]["params"].get(name), err_msg=name)


def test_every_term_has_the_argument_of_its_weight() -> None:
    assert {*WEIGHTS.values(), "reconstruction"} == TERMS.keys()
    assert list(WEIGHTS) == ["alpha", "contrast_weight", "landmark_weight", "distance_weight"]
