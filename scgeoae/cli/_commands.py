"""What the commands do: read files, call one function of the package, write its result."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import pandas as pd
from anndata import AnnData
from matplotlib import pyplot as plt

from .. import metrics, pl, tl
from .._lookup import embedding_key
from ..core import processes
from ..demo import run_demo
from ..fields import DEFAULT_KEY, Keys
from ..inputs import Files
from ..result import Result
from ..storage import replacing
from ._files import join, read, read_or_open, write
from ._paths import MODEL, TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


def train(inputs: list[Path], output: Path, **arguments: Any) -> dict[str, Any]:
    """Train a map; of several files, write the cells without their matrices."""
    keys = Keys.named(arguments.get("key_added"))
    if len(inputs) == 1:
        adata = read_or_open(inputs[0], output)
        tl.geometric_ae(adata, **arguments)
    else:
        use_rep, layer = arguments.get("use_rep"), arguments.get("layer")
        if use_rep is None and layer is None:
            msg = (
                "several files have no principal components in common: pass --use_rep X or --layer, or --use_rep with "
                "an obsm that was computed for all of them together"
            )
            raise ValueError(msg)
        files = Files(inputs)
        joined = join(inputs, obsm=None if use_rep == "X" else use_rep, layer=layer)
        tl.geometric_ae(joined, **arguments)
        files.check()
        adata = AnnData(obs=joined.obs, var=joined.var, obsm=dict(joined.obsm), uns=joined.uns)
    return _write(adata, inputs[0], output, keys, _fit(adata, keys))


def map_cells(inputs: list[Path], output: Path, *, key: str = DEFAULT_KEY, **arguments: Any) -> dict[str, Any]:
    """Put the cells of a file on the map of a reference."""
    query, reference = inputs
    adata = read_or_open(query, output)
    model = reference if reference.suffix == MODEL else read_or_open(reference)
    if isinstance(model, AnnData) and key not in Result.names(model):
        msg = (
            f"the reference {str(reference)!r} holds no map under the key {key!r} (maps there: "
            f"{Result.names(model) or 'none'}); run scgeoae train first"
        )
        raise KeyError(msg)
    tl.map_cells(adata, model, key=key, **arguments)
    keys = Result(adata, key).keys
    outside = adata.obs[keys.outside]
    numbers = {"cells_outside": int(outside.sum()), "share_outside": float(outside.mean())}
    if keys.novel in adata.obs:
        numbers["cells_novel"] = int(adata.obs[keys.novel].sum())
    return _write(adata, query, output, keys, numbers)


def fit_decoder(
    inputs: list[Path],
    output: Path,
    *,
    basis: str,
    key_added: str | None = None,
    **arguments: Any,
) -> dict[str, Any]:
    """Fit a decoder to a map of the file."""
    adata = read_or_open(inputs[0], output)
    tl.fit_decoder(adata, basis, key_added=key_added, **arguments)
    keys = Keys.decoding(embedding_key(adata, basis), key_added)
    return _write(adata, inputs[0], output, keys, _fit(adata, keys))


def quality(
    inputs: list[Path],
    output: Path | None,
    *,
    bases: tuple[str, ...] | None = None,
    other: Path | None = None,
    **arguments: Any,
) -> dict[str, Any]:
    """Measure the maps of a file."""
    adata = read(inputs[0])
    names = bases or [name for name, z in adata.obsm.items() if z.ndim == 2 and z.shape[1] == 2]
    if not names:
        msg = f"obsm holds no map of two dimensions ({list(adata.obsm) or 'nothing'}); name the maps with --bases"
        raise ValueError(msg)
    table = metrics.embedding_quality(adata, names, other=None if other is None else read(other), **arguments)
    results = {"quality": table.T.to_dict()}
    if output is None:
        return results
    with replacing(output) as temporary:
        table.to_csv(temporary, sep=TABLES[output.suffix])
    return {"output": str(output)} | results


def plot(
    inputs: list[Path],
    output: Path,
    *,
    key: str | None = None,
    color: str | None = None,
    dpi: int = 150,
    format: str = "png",
) -> dict[str, Any]:
    """Draw one result in a file, or all: all pictures or none."""
    mpl.use("agg")
    pictures = dict(_pictures(read(inputs[0]), key, color))
    if not pictures:
        msg = "the file holds no result to draw; run scgeoae train or scgeoae fit-decoder first"
        raise KeyError(msg)
    with TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as temporary:
        for name, picture in pictures.items():
            figure = picture(show=False, return_fig=True)
            figure.savefig(Path(temporary) / f"{name}.{format}", dpi=dpi, format=format, bbox_inches="tight")
            plt.close(figure)
        output.mkdir(exist_ok=True)
        return {"output": sorted(str(path.replace(output / path.name)) for path in Path(temporary).iterdir())}


def _pictures(adata: AnnData, key: str | None, color: str | None) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield names and plotting functions."""
    for name in Result.names(adata) if key is None else [key]:
        result = Result(adata, name)
        yield f"{name}_det_heatmap", partial(pl.det_heatmap, adata, key=name)
        if result.model.n_components > 1:
            yield f"{name}_indicatrix", partial(pl.indicatrix, adata, key=name, color=color)
        if "history" in result.stored:
            yield f"{name}_history", partial(pl.history, adata, key=name)
        if result.keys.areas in adata.uns:
            yield f"{name}_cluster_areas", partial(pl.cluster_areas, adata, key=name)
    for name, value in adata.uns.items() if key is None else ():
        if isinstance(value, pd.DataFrame) and {"alpha", "log_det_variance", "default"} <= set(value.columns):
            yield name, partial(pl.alpha_path, adata, key=name)


def explore(inputs: list[Path], output: Path, **arguments: Any) -> dict[str, Any]:
    """Write an interactive page."""
    pl.explorer(read(inputs[0]), output, **arguments)
    return {"output": str(output), "bytes": output.stat().st_size}


def demo(_: list[Path], output: Path, *, json: bool) -> dict[str, Any]:
    """Run the demo; without `json`, write each line when it is known."""
    lines = []
    for line in run_demo(output):
        lines.append(line)
        if not json:
            sys.stdout.write(f"{line}\n")
    return {"lines": lines} if json else {}


def _fit(adata: AnnData, keys: Keys) -> dict[str, float]:
    """Return how well a map explains the data and how even it is."""
    result = Result(adata, keys.key)
    if result.params["interrupted"]:
        raise KeyboardInterrupt  # the result of a training that ended early is not written
    return {"reconstruction": result.reconstruction(), **result.distortion(), "unit": float(result.model.unit)}


def _write(adata: AnnData, source: Path, output: Path, keys: Keys, numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Write the cells and return what to report; of several processes, only the first does."""
    if processes.rank() > 0:
        return {}
    write(adata, output, source)
    return {"output": str(output), "key": keys.key, "cells": adata.n_obs, **numbers}


COMMANDS: dict[str, Callable[..., dict[str, Any]]] = {
    "train": train,
    "map": map_cells,
    "fit-decoder": fit_decoder,
    "quality": quality,
    "plot": plot,
    "explore": explore,
    "demo": demo,
}
