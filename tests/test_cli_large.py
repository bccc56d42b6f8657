"""The command line on files that do not fit into memory, on several files, and in several processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scgeoae
from scgeoae.cli import _files, _run, main
from scgeoae.inputs import is_streamed

if TYPE_CHECKING:
    from anndata import AnnData

zarr = pytest.mark.filterwarnings("ignore::UserWarning:zarr", "ignore:.*zarr:UserWarning", "ignore::FutureWarning")
OPTIONS = ["--n_steps", "20", "--hidden_dims", "16,16", "--batch_size", "64", "--json"]


@pytest.fixture
def cells(pbmc: AnnData) -> AnnData:
    """Non-negative sparse expression and principal components."""
    X = sparse.csr_matrix(np.maximum(pbmc.X, 0))
    return ad.AnnData(X, obs=pbmc.obs, var=pbmc.var[[]], obsm={"X_pca": pbmc.obsm["X_pca"]}, layers={"dense": pbmc.X})


@pytest.fixture
def _large_files(monkeypatch) -> None:
    monkeypatch.setattr(_files, "LARGE_BYTES", 0)


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
@pytest.mark.parametrize("options", [[], ["--use_rep", "X"]])
@zarr
def test_large_zarr_store(pbmc: AnnData, tmp_path: Path, options: list[str]) -> None:
    """Dense and sparse matrices stay on disk and are copied; a data frame in obsm is read."""
    pbmc.obsm["frame"] = pd.DataFrame({"a": np.arange(700.0)}, index=pbmc.obs_names)
    pbmc.X = sparse.csr_matrix(np.maximum(pbmc.X, 0))
    pbmc.write_zarr(tmp_path / "cells.zarr")
    lazy = _files.read_or_open(tmp_path / "cells.zarr")
    assert all(map(is_streamed, [lazy.X, lazy.obsm["X_pca"], lazy.obsp["connectivities"]]))
    main(["train", str(tmp_path / "cells.zarr"), str(tmp_path / "map.zarr"), *OPTIONS, *options])
    result = ad.read_zarr(tmp_path / "map.zarr")
    assert np.isfinite(result.obsm["X_geoae"]).all()
    np.testing.assert_array_equal(result.obsm["X_pca"], pbmc.obsm["X_pca"])
    pd.testing.assert_frame_equal(result.obsm["frame"], pbmc.obsm["frame"])
    assert (result.obsp["connectivities"] != pbmc.obsp["connectivities"]).nnz == 0
    scgeoae.get.model(result)


@pytest.mark.usefixtures("_large_files")
def test_large_query_and_reference(cells: AnnData, tmp_path: Path, capsys) -> None:
    """`map` leaves both on disk, and so does `fit-decoder`."""
    cells.obsm["X_umap"] = cells.obsm["X_pca"][:, :2]
    cells.write_h5ad(tmp_path / "cells.h5ad")
    files = [str(tmp_path / name) for name in ("cells.h5ad", "map.h5ad", "new.h5ad")]
    main(["train", *files[:2], "--use_rep", "X", *OPTIONS])
    main(["map", *files, "--obs", "bulk_labels", "--json"])
    main(["fit-decoder", files[0], str(tmp_path / "decoder.h5ad"), "--basis", "umap", *OPTIONS])
    new, known = ad.read_h5ad(files[2]), ad.read_h5ad(files[1])
    np.testing.assert_allclose(new.obsm["X_geoae"], known.obsm["X_geoae"], atol=1e-3)
    assert "geoae_bulk_labels_confidence" in new.obs
    capsys.readouterr()

    cells[:, 400:].copy().write_h5ad(files[0])
    with pytest.raises(SystemExit, match="2"):
        main(["map", files[0], files[1], str(tmp_path / "other.h5ad")])
    assert "400 of the 765 genes of the reference are missing in the query" in capsys.readouterr().err
    assert not (tmp_path / "other.h5ad").exists()


@pytest.mark.usefixtures("_large_files")
def test_truncated_file(cells: AnnData, tmp_path: Path, capsys) -> None:
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with (tmp_path / "cells.h5ad").open("r+b") as stream:
        stream.truncate((tmp_path / "cells.h5ad").stat().st_size // 2)
    with pytest.raises(SystemExit, match="2"):
        main(["train", str(tmp_path / "cells.h5ad"), str(tmp_path / "map.h5ad"), *OPTIONS])
    assert "cannot be read; it is damaged" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["cells.h5ad"]


@pytest.mark.usefixtures("_large_files")
def test_large_file_is_not_converted(cells: AnnData, tmp_path: Path, capsys) -> None:
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(SystemExit, match="2"):
        main(["train", str(tmp_path / "cells.h5ad"), str(tmp_path / "map.zarr"), *OPTIONS])
    assert "the output must be .h5ad" in capsys.readouterr().err


@pytest.fixture
def two_files(cells: AnnData, tmp_path: Path) -> list[str]:
    """Two files of different cells, with common and separate genes in different order."""
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
    features = scgeoae.get.model(result).input.features
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


@zarr
def test_several_files_of_different_kinds(cells: AnnData, tmp_path: Path, capsys) -> None:
    """Dense and sparse, h5ad and zarr, different categories: genes have the order of the first file."""
    first, second = cells[:300, 50:].copy(), cells[300:, ::-1].copy()
    first.X = first.X.toarray()
    first.obs["batch"], second.obs["batch"] = pd.Categorical(["x"] * 300), pd.Categorical(["y"] * 400)
    first.write_h5ad(tmp_path / "a.h5ad")
    second.write_zarr(tmp_path / "b.zarr")
    files = [str(tmp_path / "a.h5ad"), str(tmp_path / "b.zarr")]
    main(["train", *files, "-o", str(tmp_path / "map.h5ad"), "--use_rep", "X", *OPTIONS])
    capsys.readouterr()
    result = ad.read_h5ad(tmp_path / "map.h5ad")
    assert result.var_names.tolist() == cells.var_names[50:].tolist()
    assert result.obs["batch"].tolist() == ["x"] * 300 + ["y"] * 400
    place = scgeoae.tl.map_cells(cells, result, copy=True)
    np.testing.assert_allclose(place.obsm["X_geoae"], result.obsm["X_geoae"], atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "message"),
    [("genes twice", "duplicate gene names"), ("by columns", "by columns (CSC)"), ("no dask", "scgeoae[dask]")],
)
def test_several_files_that_cannot_be_joined(
    two_files: list[str], tmp_path: Path, capsys, monkeypatch, kind: str, message: str
) -> None:
    second = ad.read_h5ad(two_files[1])
    if kind == "genes twice":
        second.var_names = [second.var_names[1], *second.var_names[1:]]
        second.write_h5ad(two_files[1])
    elif kind == "by columns":
        second.X = second.X.tocsc()
        second.write_h5ad(two_files[1])
    else:
        monkeypatch.setattr(_files, "find_spec", {}.get)
    with pytest.raises(SystemExit, match="2"):
        main(["train", *two_files, "-o", str(tmp_path / "map.h5ad"), "--use_rep", "X", *OPTIONS])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "map.h5ad").exists()


def test_one_of_several_files_changes(two_files: list[str], tmp_path: Path, capsys, monkeypatch) -> None:
    calibrate = scgeoae.core.fit.calibrate
    monkeypatch.setattr(
        scgeoae.core.fit,
        "calibrate",
        lambda *args: (os.utime(two_files[1], (0, 0)), calibrate(*args))[1],
    )
    with pytest.raises(SystemExit, match="2"):
        main(["train", *two_files, "-o", str(tmp_path / "map.h5ad"), "--use_rep", "X", *OPTIONS])
    assert "changed while it was read" in capsys.readouterr().err
    assert not (tmp_path / "map.h5ad").exists()


def started(*words: str) -> subprocess.Popen:
    """``torchrun --nproc-per-node 2 -m scgeoae …``."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "scgeoae"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*command, *words], env=environment, **pipes)


def torchrun(*words: str) -> subprocess.CompletedProcess:
    process = started(*words)
    output = process.communicate(timeout=240)
    return subprocess.CompletedProcess(words, process.returncode, *output)


@pytest.mark.slow
def test_two_processes(cells: AnnData, tmp_path: Path) -> None:
    cells.write_h5ad(tmp_path / "cells.h5ad")
    done = torchrun("train", str(tmp_path / "cells.h5ad"), str(tmp_path / "map.h5ad"), *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cells"] == 700  # only the first process reports
    assert ad.read_h5ad(tmp_path / "map.h5ad").obsm["X_geoae"].shape == (700, 2)


@pytest.mark.parametrize(
    ("device", "gpus", "backend"),
    [(None, True, "nccl"), ("cuda", True, "nccl"), ("cpu", True, "gloo"), (None, False, "gloo")],
)
def test_backend_by_device(monkeypatch, device: str | None, gpus: bool, backend: str) -> None:  # noqa: FBT001
    begun = []
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(_run.distributed, "is_torchelastic_launched", lambda: True)
    monkeypatch.setattr(_run.distributed, "init_process_group", begun.append)
    monkeypatch.setattr(_run.distributed, "destroy_process_group", lambda: begun.append("end"))
    monkeypatch.setattr(_run.torch.cuda, "is_available", lambda: gpus)
    monkeypatch.setattr(_run.torch.cuda, "set_device", begun.append)
    with _run._group(device):
        pass
    assert begun == ([1] if backend == "nccl" else []) + [backend, "end"]


@pytest.mark.slow
def test_bad_input_of_two_processes(cells: AnnData, tmp_path: Path) -> None:
    cells.write_h5ad(tmp_path / "cells.h5ad")
    done = torchrun("train", str(tmp_path / "cells.h5ad"), str(tmp_path / "map.h5ad"), "--use_rep", "X_none", *OPTIONS)
    assert done.returncode != 0
    assert "X_none" in done.stderr
    assert {file.name for file in tmp_path.iterdir()} == {"cells.h5ad"}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to find the processes")
def test_killed_process(cells: AnnData, tmp_path: Path) -> None:
    """It ends the other process, and nothing is written."""
    cells.write_h5ad(tmp_path / "cells.h5ad")
    process = started("train", str(tmp_path / "cells.h5ad"), str(tmp_path / "map.h5ad"), "--n_steps", "1000000")
    try:
        seen = ""
        while "step/s" not in seen:  # the progress bar: the training runs
            assert process.poll() is None
            seen += process.stderr.read(1)
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(workers[-1]), signal.SIGKILL)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode != 0
    assert "lost another one" in error or "interrupted, nothing is written" in error
    assert {file.name for file in tmp_path.iterdir()} == {"cells.h5ad"}
