"""One of several processes that train one model, or the only one: the jobs of `test_processes`.

Run as ``python process_worker.py GROUP RANK SIZE JOB ARGUMENTS``; the result is pickled into ``GROUP.RANK``.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import scanpy as sc
import torch
from helpers import SPEC, paraboloid

import scgeoae
from scgeoae.core import fit as core_fit
from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.fit import Fitted, fit
from scgeoae.core.step import Drawn, Sample, State, step
from scgeoae.inputs import DenseRows

if TYPE_CHECKING:
    import numpy as np

    from scgeoae.core.spec import Spec

N = 501
CHUNK = 20
KINDS = ["values", "cells", "features", "arguments", "seed", "versions"]
BY_DATA = replace(SPEC, noise=None, weights={"regularizer": 0.1, "contrast": 0.05}, n_steps=60)
VARIANTS: dict[str, tuple[Spec, dict[str, np.ndarray]]] = {
    "map": (BY_DATA, {}),
    "landmarks": (replace(SPEC, n_steps=20, weights={"landmark": 1.0}), {"landmarks": paraboloid(N)[:, :2].numpy()}),
    "decoder": (replace(SPEC, n_steps=20, weights={}), {"coordinates": paraboloid(N)[:, :2].numpy()}),
    "all trained on": (replace(SPEC, n_steps=20, validation_fraction=0), {}),
}


class NotedRows(DenseRows):
    """Rows in chunks, which notes what is read."""

    chunk = CHUNK

    def __init__(self, x: torch.Tensor) -> None:
        super().__init__(x.numpy(), torch.device("cpu"))
        self.taken: list[np.ndarray] = []
        self.passed: list[tuple[int, int]] = []

    def take(self, index: torch.Tensor) -> torch.Tensor:
        self.taken.append(index.numpy())
        return super().take(index)

    def block(self, start: int, stop: int) -> torch.Tensor:
        self.passed.append((start, stop))
        return super().block(start, stop)


def contents(fitted: Fitted) -> dict[str, Any]:
    weights = {name: value.numpy() for name, value in fitted.network.state_dict().items()}
    return {**weights, **fitted.cells._asdict(), "history": fitted.history, "spec": fitted.spec}


def fits(_: int) -> dict[str, dict[str, Any]]:
    """Train all variants, and note what was read for them."""
    done = {}
    for name, (spec, places) in VARIANTS.items():
        rows = NotedRows(paraboloid(N))
        done[name] = {**contents(fit(rows, spec, seed=5, **places)), "taken": rows.taken, "passed": rows.passed}
    return done


def steps(rank: int, *, n: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Take a step on the n cells of a batch that belong to this process; return the gradients and the weights."""
    done = {}
    for name, weights in {"mean": {}, "other": {"regularizer": 0.1, "contrast": 0.05}}.items():
        model = GeometricAutoencoder(5, hidden_dims=(16, 16), generator=torch.Generator().manual_seed(0))
        state = State(model, replace(SPEC, weights=weights))
        step(state, Sample(paraboloid(80)[rank * n : (rank + 1) * n]), Drawn(None, None), 1.0)
        done[name] = state.optimizer.gradient.numpy(), state.optimizer.array.detach().numpy()
    return done


def map_of_blood(_: int, **arguments: Any) -> dict[str, Any]:
    """Train and map with the tools."""
    adata = sc.datasets.pbmc68k_reduced()
    scgeoae.tl.geometric_ae(adata, **arguments)
    mapped = scgeoae.tl.map_cells(adata, adata, obs="bulk_labels", copy=True)
    return {
        "z": adata.obsm["X_geoae"],
        "obs": adata.obs,
        "history": adata.uns["geoae"]["history"],
        "mapped": mapped.obs,
        "placed": mapped.obsm["X_geoae"],
    }


def refusals(rank: int) -> dict[str, str]:
    """Train on what differs in one way after the other; return the messages."""
    messages = {}
    for what in KINDS:
        x, spec, seed, version = paraboloid(N), replace(SPEC, n_steps=3), 0, core_fit.version
        if rank == 1:
            if what == "values":
                x[-1] += 1
            elif what == "cells":
                x = x[:-1]
            elif what == "features":
                x = x[:, :4].contiguous()
            elif what == "arguments":
                spec = replace(spec, weights={"regularizer": 0.3})
            elif what == "seed":
                seed = 1
            else:
                core_fit.version = lambda _: "0.0.1"
        try:
            fit(NotedRows(x), spec, seed)
        except ValueError as error:
            messages[what] = str(error)
        core_fit.version = version
    return messages


def lost(rank: int, *, number: int, mark: str) -> None:
    """The second process gets a signal in the middle of the training."""

    def signalled(step: int, _: int) -> None:
        if rank == 1 and step == 25:
            Path(mark).touch()
            os.kill(os.getpid(), number)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    fit(NotedRows(paraboloid(N)), SPEC, 0, after_validation=signalled)


def main(group: str, rank: str, size: str, job: str, arguments: str) -> None:
    torch.set_num_threads(1)
    sc.settings.verbosity = 3
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{group}", rank=int(rank), world_size=int(size), timeout=timedelta(seconds=60)
    )
    try:
        result = globals()[job](int(rank), **json.loads(arguments))
    finally:
        torch.distributed.destroy_process_group()
    Path(f"{group}.{rank}").write_bytes(pickle.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
