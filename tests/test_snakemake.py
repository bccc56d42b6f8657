"""The workflow of the tutorial, run by snakemake: to the end, again, and after changes of its configuration."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import anndata as ad
import pytest

pytest.importorskip("snakemake")

WORKFLOW = Path(__file__).parents[1] / "tutorials" / "snakemake"
EVERYTHING = {
    "example_data": 1, "normalize": 2, "components": 1, "train": 1,
    "map_query": 1, "quality": 1, "plot": 2, "summary": 1,
}  # fmt: skip
"""Number of jobs of a full run, by rule."""


def snakemake(directory: Path, *words: str) -> str:
    """Run snakemake in this directory on one core and return its output."""
    bound = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *words]
    done = subprocess.run(
        command,
        cwd=directory,
        # a separate home, so that no profile or cache of the user is read or changed
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
    """Return the number of jobs that a run announces, by rule."""
    table = told.partition("Job stats:")[2].partition("total")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE) if rule != "all"}


def change(config: Path, text: str, replacements: dict[str, str]) -> str:
    """Write the configuration with these replacements, each of which must apply once."""
    for old, new in replacements.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    config.write_text(text)
    return text


@pytest.mark.slow
@pytest.mark.skipif(not WORKFLOW.is_dir(), reason="the source archive holds no tutorials")
def test_workflow(tmp_path: Path) -> None:
    directory = tmp_path / "snakemake"
    shutil.copytree(WORKFLOW, directory, ignore=shutil.ignore_patterns(".snakemake", "data", "results"))
    config = directory / "config.yaml"
    before = change(config, config.read_text(), {"train:\n": "train:\n  n_steps: 30\n"})

    told = snakemake(directory)
    assert jobs(told) == EVERYTHING
    params = ad.read_h5ad(directory / "results" / "blood_a" / "map.h5ad").uns["geoae"]["params"]
    assert (params["n_steps"], params["alpha"]) == (30, 0.2)
    assert "Execute 2 jobs" not in told  # on one core
    page = (directory / "results" / "summary.md").read_text()
    assert "| blood_b | 350 |" in page
    for picture in re.findall(r"\]\((.*)\)", page):
        assert (directory / "results" / picture).read_bytes().startswith(b"\x89PNG")
    assert "training a geometric autoencoder" in (directory / "results/logs/train_blood_a.log").read_text()

    assert "Nothing to be done" in snakemake(directory)

    change(config, before, {"alpha: 0.2": "alpha: 0.1"})
    after_alpha = {rule: n for rule, n in EVERYTHING.items() if rule not in ("example_data", "normalize", "components")}
    assert jobs(snakemake(directory, "--dry-run")) == after_alpha

    change(config, before, {"n_pcs: 30": "n_pcs: 20"})
    assert jobs(snakemake(directory, "--dry-run")) == {"components": 1, **after_alpha}

    change(config, before, {"processes: 1": "processes: 2", "gpus: 0": "gpus: 2"})
    told = snakemake(directory, "--dry-run", "--printshellcmds", "--cores", "4", "--resources", "gpu=2")
    assert "torchrun --standalone --nproc-per-node 2 -m scgeoae train results" in told
    assert "--threads 1 --json" in told
    assert "mem_mb=8000" in told
    assert "gpu=2" in told

    config.write_text(before)
    assert "Nothing to be done" in snakemake(directory, "--dry-run")
    snakemake(directory, "--report", "report.html")
    assert (directory / "report.html").stat().st_size > 100_000
