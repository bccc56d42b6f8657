"""The workflow of the tutorial, by the real snakemake: to the end, twice, and after a change of its config."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("snakemake")

WORKFLOW = Path(__file__).parents[1] / "tutorials" / "snakemake"
EVERYTHING = {
    "example_data": 1, "normalize": 2, "components": 1, "train": 1,
    "map_query": 1, "quality": 1, "plot": 2, "summary": 1,
}  # fmt: skip
"""Jobs of a full run by rule."""


def snakemake(directory: Path, *words: str) -> str:
    """What snakemake tells, run in this directory on one core."""
    bound = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *words]
    done = subprocess.run(
        command,
        cwd=directory,
        # a home of its own: profiles and caches of the user do not count, and the tests leave nothing there
        env={**os.environ, **bound, "PATH": path, "HOME": str(directory), "XDG_CACHE_HOME": str(directory / ".cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    logs = "".join(f"\n{log.name}:\n{log.read_text()}" for log in (directory / "results" / "logs").glob("*.log"))
    assert done.returncode == 0, done.stdout + logs
    return done.stdout


def jobs(told: str) -> dict[str, int]:
    """The jobs that a run announces, by rule."""
    table = told.partition("Job stats:")[2].partition("total")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE) if rule != "all"}


@pytest.mark.skipif(not WORKFLOW.is_dir(), reason="the source archive holds no tutorials")
def test_workflow(tmp_path: Path) -> None:
    directory = tmp_path / "snakemake"
    shutil.copytree(WORKFLOW, directory, ignore=shutil.ignore_patterns(".snakemake", "data", "results"))
    config = directory / "config.yaml"
    config.write_text(config.read_text().replace("n_steps: 300", "n_steps: 30"))

    told = snakemake(directory)
    assert jobs(told) == EVERYTHING
    assert "Execute 2 jobs" not in told  # of one core
    page = (directory / "results" / "summary.md").read_text()
    assert "| blood_b | 350 |" in page
    for picture in re.findall(r"\]\((.*)\)", page):
        assert (directory / "results" / picture).read_bytes().startswith(b"\x89PNG")
    assert "training a geometric autoencoder" in (directory / "results/logs/train_blood_a.log").read_text()

    assert "Nothing to be done" in snakemake(directory)

    before = config.read_text()
    config.write_text(before.replace("alpha: 0.2", "alpha: 0.1"))
    after_alpha = {rule: n for rule, n in EVERYTHING.items() if rule not in ("example_data", "normalize", "components")}
    assert jobs(snakemake(directory, "--dry-run")) == after_alpha

    config.write_text(before.replace("n_pcs: 30", "n_pcs: 20"))
    assert jobs(snakemake(directory, "--dry-run")) == {"components": 1, **after_alpha}

    config.write_text(before.replace("processes: 1", "processes: 2").replace("gpus: 0", "gpus: 2"))
    told = snakemake(directory, "--dry-run", "--printshellcmds", "--cores", "4", "--resources", "gpu=2")
    assert "torchrun --standalone --nproc-per-node 2 -m scgeoae train results" in told
    assert "--threads 1 --json" in told
    assert "mem_mb=8000" in told
    assert "gpu=2" in told

    config.write_text(before)
    assert "Nothing to be done" in snakemake(directory, "--dry-run")
    snakemake(directory, "--report", "report.html")
    assert (directory / "report.html").stat().st_size > 100_000
