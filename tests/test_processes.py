"""Several processes train one model: each reads its part of the cells, and all get the same map."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import process_worker
import pytest
import torch
from helpers import on_host, paraboloid
from process_worker import CHUNK, KINDS, VARIANTS, N

from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.evaluation import describe
from scgeoae.core.rows import row_blocks

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

Done = list[subprocess.CompletedProcess]


def launch(tmp_path: Path, size: int, job: str, **arguments: Any) -> tuple[Done, list[Any]]:
    """Do a job in so many processes; return how they ended, and the results of those that ended well."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    group = tmp_path / "group"
    running = [
        subprocess.Popen(
            [sys.executable, process_worker.__file__, str(group), str(rank), str(size), job, json.dumps(arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(size)
    ]
    outputs = [process.communicate(timeout=240) for process in running]
    done = [
        subprocess.CompletedProcess(process.args, process.returncode, *output)
        for process, output in zip(running, outputs, strict=True)
    ]
    results = [tmp_path / f"group.{rank}" for rank in range(size)]
    return done, [pickle.loads(result.read_bytes()) for result in results if result.exists()]


def results_of(tmp_path: Path, size: int, job: str, **arguments: Any) -> list[Any]:
    done, results = launch(tmp_path, size, job, **arguments)
    assert [each.returncode for each in done] == [0] * size, done[0].stderr
    return results


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)])
def trained(request, tmp_path_factory) -> list[dict[str, dict[str, Any]]]:
    """Of each process, its trainings by name."""
    return results_of(tmp_path_factory.mktemp("trained"), request.param, "fits")


@pytest.fixture(params=VARIANTS)
def alike(request, trained) -> list[dict[str, Any]]:
    """Of each process, the same training."""
    return [each[request.param] | {"name": request.param} for each in trained]


def test_all_get_the_same_map(alike) -> None:
    """Bit for bit: weights, cells, history and what was left to the data."""
    first, *others = alike
    for other in others:
        assert other.keys() == first.keys()
        for name, value in first.items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(other[name], value, err_msg=name)
        assert repr(other["history"]) == repr(first["history"])  # NaN without held-out cells
        assert other["spec"] == first["spec"]
        assert other["common"] == first["common"]


def test_cells_are_those_of_the_whole_map(alike) -> None:
    """As one process evaluates the same weights."""
    result, spec = alike[0], alike[0]["spec"]
    decoder = alike[0]["name"] == "decoder"
    network = GeometricAutoencoder(5, hidden_dims=spec.hidden_dims)
    network.load_state_dict({name: torch.from_numpy(result[name]) for name in network.state_dict()})
    x = paraboloid(N)
    cells = describe(network, row_blocks(on_host(x)), N, x[:, :2].numpy() if decoder else None)
    for name in ("z", "error", "log_det", "anisotropy"):
        np.testing.assert_allclose(result[name], getattr(cells, name), rtol=1e-5, atol=1e-5, err_msg=name)
    assert network.observation.mean.numpy() == pytest.approx(x.mean(0).numpy(), abs=1e-6)


def test_each_reads_its_own_cells(alike) -> None:
    """But for the cells that are held out or measured beforehand, and three that are compared."""
    faced = alike[0]["name"] == "landmarks"  # by each process's own cells
    n_processes = len(alike)
    bounds = [N * rank // n_processes for rank in range(n_processes + 1)]
    n_held_out = 0 if alike[0]["name"] == "all trained on" else N // 5
    trained_on = []
    for result, (start, stop) in zip(alike, pairwise(bounds), strict=True):
        taken = result["taken"][faced:]
        shared, batches = taken[:2], taken[2:]  # the second ones say how cells are spaced
        assert len(shared[0]) == n_held_out
        assert all(np.array_equal(each, other) for each, other in zip(shared, alike[0]["taken"][faced:], strict=False))
        trained_on.append(np.unique(np.concatenate(batches)))
        assert start <= trained_on[-1].min() <= trained_on[-1].max() < stop
        assert {len(batch) for batch in batches} == {64 // n_processes}
        compared, passes = result["passed"][:3], np.array(result["passed"][3:])
        assert compared == [(i, i + 1) for i in (0, N // 2, N - 1)]
        assert passes.min() == start
        assert passes.max() == stop
        assert np.diff(passes).max() <= CHUNK
    seen = np.sort(np.concatenate([*trained_on, alike[0]["taken"][faced]]))
    assert len(np.unique(seen)) == len(seen)
    if n_processes == 2:  # every cell has its turn in as many steps
        np.testing.assert_array_equal(seen, np.arange(N))


def test_gradient_is_the_average(tmp_path: Path) -> None:
    """Of the gradients of the processes' losses; for a mean over cells that is the gradient of the joined batch."""
    first, second = results_of(tmp_path, 2, "steps", n=40)
    alone = [process_worker.steps(rank, n=40) for rank in range(2)]
    for name, (gradient, stepped) in first.items():
        np.testing.assert_array_equal(second[name], [gradient, stepped])
        one, other = (each[name][0] for each in alone)
        assert np.abs(one - other).max() > 0.01
        np.testing.assert_allclose(gradient, (one + other) / 2, rtol=1e-5, atol=1e-7)
    gradient, stepped = first["mean"]
    joined, after = process_worker.steps(0, n=80)["mean"]
    np.testing.assert_allclose(gradient, joined, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(stepped, after, atol=1e-3)


def test_the_tools(tmp_path: Path) -> None:
    """The map is as good as one of a single process; only the first process says what is done."""
    arguments = {"n_steps": 300, "hidden_dims": [32, 32], "batch_size": 256}
    done, (first, second) = launch(tmp_path, 2, "map_of_blood", **arguments)
    assert [each.returncode for each in done] == [0, 0], done[0].stderr
    for name in ("z", "placed"):
        np.testing.assert_array_equal(first[name], second[name])
    for name in ("obs", "mapped"):
        assert first[name].equals(second[name])
    np.testing.assert_allclose(first["placed"], first["z"], atol=1e-3)

    # Seeds differ by 4 % in what is left and by 2 % in how uneven areas are. With batches of half the size the contrast
    # finds neighbors that are a little farther away.
    singles = [process_worker.map_of_blood(0, **arguments, rng=seed)["obs"] for seed in range(2)]
    assert left(first["obs"]) < 1.06 * max(map(left, singles))
    assert unevenness(first["obs"]) < 1.1 * max(map(unevenness, singles))

    logs = [each.stdout + each.stderr for each in done]
    assert "training a geometric autoencoder" in logs[0]
    assert "finished" in logs[0]
    assert "training" not in logs[1]


def left(obs: pd.DataFrame) -> float:
    """Variance that the map does not explain."""
    return obs["geoae_reconstruction_error"].pow(2).mean()


def unevenness(obs: pd.DataFrame) -> float:
    """95th over 5th percentile of the determinant."""
    low, high = obs["geoae_det"].quantile([0.05, 0.95])
    return high / low


@pytest.mark.slow
def test_processes_that_do_not_train_alike(tmp_path: Path) -> None:
    """All refuse, and can train something else afterwards."""
    for messages in results_of(tmp_path, 2, "refusals"):
        assert list(messages) == KINDS
        assert all("The processes do not train alike" in message for message in messages.values())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_dies_ends_the_others(tmp_path: Path, number: signal.Signals) -> None:
    """A Ctrl-C too: the others would wait for it."""
    done, results = launch(tmp_path, 2, "lost", number=int(number), mark=str(tmp_path / "lost"))
    assert time.time() - (tmp_path / "lost").stat().st_mtime < 55  # before a message is overdue
    assert done[1].returncode != 0
    assert done[0].returncode == 1
    assert "ConnectionError: Process 0 of 2 has lost another one, which failed or was ended" in done[0].stderr
    assert not results
