"""The command line on files that do not fit into memory, on several files, and in several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

import scgeoae
from scgeoae.cli import _large, main

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

OPTIONS = ["--n_steps", "20", "--hidden_dims", "16,16", "--batch_size", "64", "--json"]


@pytest.fixture
def cells(pbmc: AnnData) -> AnnData:
    """Expression without missing gene names, sparse, and the components."""
    X = sparse.csr_matrix(np.maximum(pbmc.X, 0))
    return ad.AnnData(X, obs=pbmc.obs, var=pbmc.var[[]], obsm={"X_pca": pbmc.obsm["X_pca"]}, layers={"dense": pbmc.X})


@pytest.fixture
def _large_files(monkeypatch) -> None:
    monkeypatch.setattr(_large, "LARGE_BYTES", 0)


def results(capsys) -> dict:
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("_large_files")
@pytest.mark.parametrize("options", [[], ["--use_rep", "X"], ["--layer", "dense"]])
def test_matrices_of_a_large_file_stay_on_disk(cells: AnnData, tmp_path: Path, capsys, options: list[str]) -> None:
    source, output = tmp_path / "cells.h5ad", tmp_path / "map.h5ad"
    cells.write_h5ad(source)
    before = source.read_bytes()
    main(["train", str(source), str(output), *OPTIONS, *options])
    assert results(capsys)["cells"] == 700
    assert source.read_bytes() == before
    result = ad.read_h5ad(output)
    assert result.obsm["X_geoae"].shape == (700, 2)
    assert np.isfinite(result.obs["geoae_det"]).all()
    assert (result.X != cells.X).nnz == 0
    np.testing.assert_array_equal(result.layers["dense"], cells.layers["dense"])
    scgeoae.get.model(result)
    main(["map", str(source), str(output), str(tmp_path / "again.h5ad"), "--json"])
    again = ad.read_h5ad(tmp_path / "again.h5ad")
    np.testing.assert_allclose(again.obsm["X_geoae"], result.obsm["X_geoae"], atol=1e-3)
    assert {file.name for file in tmp_path.iterdir()} == {"cells.h5ad", "map.h5ad", "again.h5ad"}


@pytest.mark.usefixtures("_large_files")
def test_large_file_is_not_converted(cells: AnnData, tmp_path: Path, capsys) -> None:
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(SystemExit, match="2"):
        main(["train", str(tmp_path / "cells.h5ad"), str(tmp_path / "map.zarr"), *OPTIONS])
    assert "the output must be .h5ad" in capsys.readouterr().err


@pytest.fixture
def two_files(cells: AnnData, tmp_path: Path) -> list[str]:
    """Halves of the cells, each with some genes of its own, in different order."""
    files = [tmp_path / "a.h5ad", tmp_path / "b.h5ad"]
    cells[:300, :500].copy().write_h5ad(files[0])
    cells[300:, 100:][:, ::-1].copy().write_h5ad(files[1])
    return [str(file) for file in files]


def test_several_files(cells: AnnData, two_files: list[str], tmp_path: Path, capsys) -> None:
    main(["train", *two_files, "--output", str(tmp_path / "map.h5ad"), "--use_rep", "X", *OPTIONS])
    out, err = capsys.readouterr()
    assert json.loads(out)["cells"] == 700
    assert "400 genes in common" in err
    result = ad.read_h5ad(tmp_path / "map.h5ad")
    assert result.X is None
    assert result.obs["file"].tolist() == ["a"] * 300 + ["b"] * 400
    assert [name.rsplit("-", 1)[0] for name in result.obs_names] == cells.obs_names.tolist()
    features = scgeoae.get.model(result).features
    assert set(features) == set(cells.var_names[100:500])
    place = scgeoae.tl.map_cells(cells, result, copy=True)
    np.testing.assert_allclose(place.obsm["X_geoae"], result.obsm["X_geoae"], atol=1e-3)


def test_several_files_with_common_components(two_files: list[str], tmp_path: Path, capsys) -> None:
    main(["train", *two_files, "-o", str(tmp_path / "map.h5ad"), "--use_rep", "X_pca", *OPTIONS])
    assert ad.read_h5ad(tmp_path / "map.h5ad").obsm["X_geoae"].shape == (700, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "no principal components in common"),
        (["--use_rep", "X_scvi"], "X_scvi"),
        (["--layer", "counts"], "counts"),
    ],
)
def test_several_files_refused(two_files: list[str], tmp_path: Path, capsys, options: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["train", *two_files, "-o", str(tmp_path / "map.h5ad"), *OPTIONS, *options])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "map.h5ad").exists()


def test_several_files_without_common_genes(cells: AnnData, tmp_path: Path, capsys) -> None:
    cells[:, :50].copy().write_h5ad(tmp_path / "a.h5ad")
    cells[:, 50:].copy().write_h5ad(tmp_path / "b.h5ad")
    files = [str(tmp_path / "a.h5ad"), str(tmp_path / "b.h5ad")]
    with pytest.raises(SystemExit, match="2"):
        main(["train", *files, "-o", str(tmp_path / "map.h5ad"), "--use_rep", "X", *OPTIONS])
    assert "no gene in common" in capsys.readouterr().err


def torchrun(*words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "scgeoae"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.run([*command, *words], capture_output=True, text=True, timeout=240, env=environment, check=False)


def test_two_processes(cells: AnnData, tmp_path: Path) -> None:
    cells.write_h5ad(tmp_path / "cells.h5ad")
    done = torchrun("train", str(tmp_path / "cells.h5ad"), str(tmp_path / "map.h5ad"), *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cells"] == 700  # the first process alone speaks
    assert ad.read_h5ad(tmp_path / "map.h5ad").obsm["X_geoae"].shape == (700, 2)


def test_bad_input_of_two_processes(cells: AnnData, tmp_path: Path) -> None:
    cells.write_h5ad(tmp_path / "cells.h5ad")
    done = torchrun("train", str(tmp_path / "cells.h5ad"), str(tmp_path / "map.h5ad"), "--use_rep", "X_none", *OPTIONS)
    assert done.returncode != 0
    assert "X_none" in done.stderr
    assert {file.name for file in tmp_path.iterdir()} == {"cells.h5ad"}
