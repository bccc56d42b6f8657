"""Several processes train one model: the weights are those of one process with the same batches."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import scanpy as sc

import scgeoae
from scgeoae.inputs import rows

if TYPE_CHECKING:
    from pathlib import Path

WORKER = """
import sys, json, numpy as np, torch, scanpy as sc, scgeoae
from datetime import timedelta
torch.set_num_threads(1)
file, rank, size, arguments = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
torch.distributed.init_process_group(
    "gloo", init_method=f"file://{file}", rank=rank, world_size=size, timeout=timedelta(seconds=60)
)
adata = sc.datasets.pbmc68k_reduced()
reads = []
if arguments.pop("streamed", False):
    from scgeoae.inputs import rows
    rows.MAX_CHUNK, read = 50, rows.StreamedRows._read
    def noted(self, part):
        reads.append((part.start, part.stop) if isinstance(part, slice) else (part.min(), part.max() + 1))
        return read(self, part)
    rows.StreamedRows._read = noted
    np.save(f"{file}.{rank}.npy", adata.obsm["X_pca"])
    adata.obsm["X_pca"] = np.load(f"{file}.{rank}.npy", mmap_mode="r")
differ = arguments.pop("differ", None)
if rank == 1 and differ == "values":
    adata.obsm["X_pca"][-1] += 1
elif rank == 1 and differ == "cells":
    adata = adata[:-1].copy()
elif rank == 1 and differ == "features":
    adata.obsm["X_pca"] = adata.obsm["X_pca"][:, :9]
elif rank == 1 and differ == "arguments":
    arguments["alpha"] = 0.3
elif rank == 1 and differ == "versions":
    import scgeoae.tl._training
    scgeoae.tl._training.version = lambda name: "0.0.1"
die = arguments.pop("die", False)
if die and rank == 1:
    import os, signal
    from scgeoae.core.training import Trainer
    Trainer._validate = lambda *args: (open(f"{file}.died", "w").close(), os.kill(os.getpid(), signal.SIGKILL))
if arguments.pop("apart", False):
    arguments["checkpoint"] += str(rank)
sc.settings.verbosity = 3
try:
    scgeoae.tl.geometric_ae(adata, **arguments)
    mapped = scgeoae.tl.map_cells(adata, adata, obs="bulk_labels", copy=True)
finally:
    torch.distributed.destroy_process_group()
weights = {name: value.numpy() for name, value in scgeoae.get.model(adata).autoencoder.state_dict().items()}
np.savez(f"{file}.{rank}.npz", z=adata.obsm["X_geoae"], det=adata.obs["geoae_det"],
         error=adata.obs["geoae_reconstruction_error"], reads=reads, labels=mapped.obs["bulk_labels"].to_numpy(str),
         confidence=mapped.obs["bulk_labels_confidence"], placed=mapped.obsm["X_geoae"], **weights)
"""


def launch(tmp_path: Path, size: int, arguments: dict) -> list[subprocess.CompletedProcess]:
    import json

    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", WORKER, str(tmp_path / "group")]
    running = [
        subprocess.Popen(
            [*command, str(rank), str(size), json.dumps(arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(size)
    ]
    outputs = [process.communicate(timeout=240) for process in running]
    return [
        subprocess.CompletedProcess(process.args, process.returncode, *output)
        for process, output in zip(running, outputs, strict=True)
    ]


def assert_all_refuse(done: list[subprocess.CompletedProcess], message: str) -> None:
    for each in done:
        assert each.returncode == 1, each.stderr
        assert message in each.stderr


@pytest.mark.parametrize(
    ("size", "further"),
    [(2, {"streamed": True}), pytest.param(3, {"regularizer": {"isometry": 1.0}}, marks=pytest.mark.slow)],
)
def test_weights_are_those_of_one_process(tmp_path: Path, monkeypatch, size: int, further: dict) -> None:
    monkeypatch.setattr(rows, "MAX_CHUNK", 50)
    arguments = {"n_steps": 50, "batch_size": 100, "hidden_dims": [32, 32], "learning_rate": 0.01, **further}
    done = launch(tmp_path, size, arguments)
    assert [each.returncode for each in done] == [0] * size, done[0].stderr
    adata = sc.datasets.pbmc68k_reduced()
    if arguments.pop("streamed", False):
        adata.obsm["X_pca"] = np.load(tmp_path / "group.0.npy", mmap_mode="r")
    scgeoae.tl.geometric_ae(adata, **arguments)
    mapped = scgeoae.tl.map_cells(adata, adata, obs="bulk_labels", copy=True)
    for rank in range(size):
        with np.load(tmp_path / f"group.{rank}.npz") as got:
            for name, value in scgeoae.get.model(adata).autoencoder.state_dict().items():
                atol = 1e-5 * value.abs().max().item()
                np.testing.assert_allclose(got[name], value.numpy(), rtol=1e-5, atol=atol, err_msg=name)
            np.testing.assert_allclose(got["z"], adata.obsm["X_geoae"], atol=1e-3)
            np.testing.assert_allclose(got["det"], adata.obs["geoae_det"], rtol=1e-4)
            np.testing.assert_allclose(got["error"], adata.obs["geoae_reconstruction_error"], rtol=1e-4)
            np.testing.assert_allclose(got["placed"], got["z"], atol=1e-3)
            assert (got["labels"] == mapped.obs["bulk_labels"].astype(str)).mean() > 0.99  # ties
            assert (got["confidence"] == mapped.obs["bulk_labels_confidence"]).mean() > 0.99
    if "streamed" in further:  # the second process reads its half, but for the cells that are compared first
        with np.load(tmp_path / "group.1.npz") as got:
            start, stop = got["reads"].T
            assert start[stop > start + 1].min() >= 350 - 50
    logs = [each.stdout + each.stderr for each in done]
    assert "training a geometric autoencoder" in logs[0]
    assert "mapping 700 cells" in logs[0]
    assert "finished" in logs[0]
    assert not any(word in log for log in logs[1:] for word in ("training", "mapping", "finished"))


@pytest.mark.slow
@pytest.mark.parametrize("what", ["values", "cells", "features", "arguments", "versions"])
def test_processes_that_do_not_train_alike(tmp_path: Path, what: str) -> None:
    done = launch(tmp_path, 2, {"n_steps": 3, "differ": what})
    assert_all_refuse(done, "do not train alike")


@pytest.mark.slow
def test_a_process_that_dies_ends_the_others(tmp_path: Path) -> None:
    done = launch(tmp_path, 2, {"n_steps": 500, "die": True})
    assert time.time() - (tmp_path / "group.died").stat().st_mtime < 60
    assert done[1].returncode == -9
    assert done[0].returncode == 1
    assert "Process 0 of 2 has lost another one" in done[0].stderr
    assert not (tmp_path / "group.0.npz").exists()


@pytest.mark.slow
def test_a_checkpoint_that_not_all_processes_see(tmp_path: Path) -> None:
    arguments = {"n_steps": 5, "hidden_dims": [8]}
    scgeoae.tl.geometric_ae(sc.datasets.pbmc68k_reduced(), **arguments, checkpoint=tmp_path / "state0")
    done = launch(tmp_path, 2, {**arguments, "checkpoint": str(tmp_path / "state"), "resume": True, "apart": True})
    assert_all_refuse(done, "not all of them see the checkpoint")
