"""One seed, one map: in another process, after other work, whatever the number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hard_use.tools import cells, frozen, train

import scgeoae

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anndata import AnnData

SCRIPT = """
import sys, numpy as np, torch
sys.path.insert(0, sys.argv[1])
from hard_use.tools import cells, train
for threads, file in ((1, "one"), (2, "two"), (2, "again")):
    torch.set_num_threads(threads)
    adata = cells(700, 40)
    train(adata, n_steps=60, hidden_dims=(100, 100), batch_size=512)
    np.savez(f"{sys.argv[2]}/{file}.npz", z=adata.obsm["X_geoae"], det=adata.obs["geoae_det"])
"""


def here() -> dict[str, np.ndarray]:
    adata = cells(700, 40)
    train(adata, n_steps=60, hidden_dims=(100, 100), batch_size=512)
    return {"z": adata.obsm["X_geoae"], "det": adata.obs["geoae_det"].to_numpy()}


@pytest.mark.slow
def test_processes_and_threads(tmp_path: Path) -> None:
    """With equally many threads bit for bit; with another number sums are taken in another order."""
    words = [sys.executable, "-c", SCRIPT, str(Path(__file__).parents[1]), str(tmp_path)]
    subprocess.run(words, check=True, env={**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"})
    one, two, again = (dict(np.load(tmp_path / f"{name}.npz")) for name in ("one", "two", "again"))
    expected = here()
    for name in expected:
        np.testing.assert_array_equal(one[name], expected[name])
        np.testing.assert_array_equal(two[name], again[name])
    np.testing.assert_allclose(one["z"], two["z"], atol=1e-3 * np.ptp(one["z"]))
    np.testing.assert_allclose(one["det"], two["det"], rtol=1e-2)


def test_other_work_before_and_beside() -> None:
    expected = here()
    torch.manual_seed(123)
    torch.nn.functional.dropout(torch.randn(500, 500) @ torch.randn(500, 500))
    network = torch.nn.Linear(10, 10)
    network(torch.randn(4, 10)).sum().backward()
    np.random.seed(5)  # noqa: NPY002
    np.testing.assert_array_equal(here()["z"], expected["z"])
    torch.use_deterministic_algorithms(mode=True)
    try:
        np.testing.assert_array_equal(here()["z"], expected["z"])
    finally:
        torch.use_deterministic_algorithms(mode=False)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def all_of_it() -> Any:
    """What the tools write that compute with torch."""
    adata = train(cells(), copy=True)
    adata.obsm["X_given"], adata.layers["velocity"] = adata.X[:, :2].copy(), adata.X[::-1] - adata.X
    scgeoae.tl.fit_decoder(adata, "given", use_rep="X", n_steps=5, hidden_dims=(8,))
    scgeoae.tl.velocity(adata)
    scgeoae.tl.ensemble(adata, n_models=2)
    scgeoae.tl.cluster_distances(adata, "kind")
    adata.obs["nonlinearity"] = scgeoae.get.nonlinearity(adata, radius=1.0)
    new = cells(5, seed=1)
    scgeoae.tl.map_cells(new, adata)
    return frozen(adata), frozen(new)


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param(lambda: default_dtype(torch.float64), id="float64"),
        pytest.param(lambda: default_dtype(torch.bfloat16), id="bfloat16"),
        pytest.param(lambda: default_dtype(torch.float16), id="float16"),
        pytest.param(lambda: torch.autocast("cpu", dtype=torch.bfloat16), id="autocast"),
        pytest.param(lambda: torch.device("meta"), id="default device"),
    ],
)
def test_settings_of_torch(setting: Callable[[], Any]) -> None:
    """What the user has asked of torch for other work changes nothing."""
    expected = all_of_it()
    with setting():
        found = all_of_it()
    assert found == expected


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_where_the_user_needs_no_gradients(mode: type) -> None:
    def trained() -> AnnData:
        adata = train(cells(), copy=True)
        adata.obsm["X_given"] = adata.X[:, :2].copy()
        scgeoae.tl.fit_decoder(adata, "given", use_rep="X", n_steps=5, hidden_dims=(8,))
        return adata

    expected = frozen(trained())
    with mode():
        assert frozen(trained()) == expected
        assert torch.is_inference_mode_enabled() == (mode is torch.inference_mode)
        assert not torch.is_grad_enabled()


def test_global_states_are_left_alone() -> None:
    adata = cells()
    adata.obsm["X_given"] = adata.X[:, :2].copy()
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    train(adata)
    scgeoae.tl.fit_decoder(adata, "given", use_rep="X", n_steps=5, hidden_dims=(8,))
    scgeoae.tl.map_cells(cells(5), adata)
    scgeoae.tl.cluster_areas(adata, "kind")
    scgeoae.tl.alpha_path(adata, [0, 1], use_rep="X", n_steps=5, hidden_dims=(8,))
    scgeoae.metrics.embedding_quality(adata, ["geoae"], use_rep="X", k=5, max_cells=30)
    scgeoae.pl.indicatrix(adata, show=False)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (threads, dtype)
