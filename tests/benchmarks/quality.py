"""How do maps by scgeoae compare with those of other methods, and what of them comes back?

``OMP_NUM_THREADS=1 python tests/benchmarks/quality.py --data DIR --output results``

Runs each method on each data set with several seeds and writes all measures to one table. With ``--replicate`` the
counts are split into halves: maps are made from one and measured against the other, sizes and distances of groups
without noise; and further maps, of another seed, of the other half and of parts of the cells, are laid over the first.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from functools import lru_cache
from itertools import product
from pathlib import Path

import baselines
import datasets
import numpy as np
import pandas as pd
import report
import scoring

KEY = ["set", "method", "seed"]


def main() -> None:
    arguments = parsed()
    arguments.output.mkdir(parents=True, exist_ok=True)
    table_file = arguments.output / ("replicated.csv" if arguments.replicate else "results.csv")
    table = pd.read_csv(table_file) if table_file.exists() else pd.DataFrame(columns=[*KEY, "error"])
    seeds = range(arguments.seeds)
    for name in arguments.sets:
        jobs = list(product(seeds, arguments.methods))
        if arguments.resume:
            jobs = [job for job in jobs if not is_done(table, name, *job)]
        for seed, method in jobs:
            data = arrays(name, arguments.data, arguments.max_cells, seed if arguments.replicate else None)
            row = {"set": name, "rna": is_rna(name, arguments.data), "method": method, "seed": seed}
            row |= run(data, method, seed, arguments.threads)
            table = updated(table, row)
            table.to_csv(table_file, index=False)
            table_file.with_suffix(".md").write_text(report.markdown(table, replicated=arguments.replicate))
            outcome = row.get("error") or f"{row['seconds']:.1f} s"
            print(f"{name}, seed {seed}, {method}: {outcome}", flush=True)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of further data sets")
    parser.add_argument("--sets", help="names with commas between; by default all")
    parser.add_argument("--methods", help=f"by default all but the variants of ours: {','.join(scoring.METHODS)}")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, each with its own split")
    parser.add_argument("--max-cells", type=int, help="draw at most so many cells of each set")
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"))
    cores = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    parser.add_argument("--threads", type=int, default=cores, help="threads of each method (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="skip runs that the table holds without an error")
    parser.add_argument("--replicate", action="store_true", help="measure maps of half the counts against the other")
    arguments = parser.parse_args()
    sets, methods = datasets.names(arguments.data), scoring.METHODS
    if arguments.replicate:
        sets, methods = datasets.names_with_counts(arguments.data), [*scoring.METHODS, report.REFERENCE]
    for option, known, default in (("sets", sets, sets), ("methods", methods, [*baselines.METHODS, "ours"])):
        given = getattr(arguments, option)
        chosen = default if given is None else given.split(",")
        unknown = [name for name in chosen if name not in known]
        if unknown:
            parser.error(f"unknown {option}: {unknown}; there are {known}")
        setattr(arguments, option, chosen)
    return arguments


@lru_cache(maxsize=1)
def arrays(name: str, data: Path | None, max_cells: int | None, split_seed: int | None) -> dict[str, np.ndarray]:
    """Return features and labels of a set, or with a seed of half its counts, and the features of the other half."""
    if split_seed is None:
        X, labels = datasets.load(name, data, max_cells=max_cells)
        further = {}
    else:
        X, other, projected, labels = datasets.load_halves(name, data, max_cells=max_cells, seed=split_seed)
        further = {"other": other, "projected": projected}
    names = np.full(len(X), "") if labels is None else np.array(["" if x is None else str(x) for x in labels])
    return {"X": X, "labels": names, **further}


def run(data: dict[str, np.ndarray], method: str, seed: int, threads: int) -> dict[str, object]:
    """Measure a method in a fresh process; a failure is a row with its error."""
    train, test = datasets.split(len(data["X"]), seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        file, job, row = (Path(folder) / name for name in ("data.npz", "job.json", "row.json"))
        np.savez(file, **data, train=train, test=test)
        job.write_text(json.dumps({"method": method, "data": str(file), "seed": seed}))
        command = [sys.executable, "-W", "ignore", __file__, "--worker", str(job), str(row)]
        # Both, because numba's parallel loops set the number of threads of OpenMP, and so of torch, to its own.
        limits = {"OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | limits)
        sizes = {"n_cells": len(train), "n_features": data["X"].shape[1]}
        if row.exists():
            return sizes | json.loads(row.read_text()) | {"error": None}
    messages = done.stderr.strip().splitlines()
    return sizes | {"error": messages[-1] if messages else f"exit status {done.returncode}"}


def is_rna(name: str, data: Path | None) -> bool:
    """Return whether the set holds expression, for which the targets are meant."""
    return name == "pbmc68k_reduced" or (data is not None and (data / f"{name}.h5ad").exists())


def is_done(table: pd.DataFrame, name: str, seed: int, method: str) -> bool:
    same = (table["set"] == name) & (table["method"] == method) & (table["seed"] == seed)
    return bool((same & table["error"].isna()).any())


def updated(table: pd.DataFrame, row: dict[str, object]) -> pd.DataFrame:
    """Add a row, in place of the one with the same set, method and seed."""
    same = (table[KEY] == [row[name] for name in KEY]).all(axis=1)
    rows = table.to_dict("records")
    place = int(np.argmax(same)) if same.any() else len(rows)
    rows[place : place + 1] = [row]
    columns = ["set", "rna", "method", "seed", "n_cells", "n_features", "threads", *report.MEASURES, "error"]
    return pd.DataFrame(rows, columns=columns)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        scoring.work(*sys.argv[2:])
    else:
        main()
