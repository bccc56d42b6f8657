"""The commands: each reads, calls one function of the package, and writes."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anndata import AnnData

from .. import metrics, tl
from ..core import sharding
from ..demo import run_demo
from ..inputs import Files
from ..result import Result, ResultKeys, embedding_key
from ._files import TABLES, check_directory, check_output, read, whole, write
from ._large import add_to_copy, check_same_kind, is_large, is_lazy, joined, read_lazily, tables_of
from ._pictures import draw

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jsonargparse import Namespace

MODEL_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Command:
    """How a command is called and what it does.

    Attributes
    ----------
    run
        Takes the options; returns what is to be told.
    function
        Where the options come from.
    skip
        Parameters of `function` that are no options.
    inputs, output
        How the help names the files; without `output`, none must be given.
    files, output_help
        What the help says of them.
    defaults
        Parameters that need not be given here, and what the help says is done then.
    several
        Whether the first input may be several files.
    writes_cells
        Whether the output is of the kind of the input, and could replace it.
    examples, results
        The end of the help: what may follow the name of the command, and what the numbers on stdout mean.
    """

    run: Callable[[Namespace], Mapping[str, Any]]
    function: Callable[..., Any]
    skip: frozenset[str]
    inputs: tuple[str, ...] = ("INPUT",)
    output: str | None = "OUTPUT"
    files: str = "AnnData files, .h5ad or .zarr"
    output_help: str = "the output, instead of naming it last"
    defaults: Mapping[str, str] = field(default_factory=dict)
    several: bool = False
    writes_cells: bool = False
    examples: tuple[str, ...] = ("",)
    results: str = ""

    @property
    def places(self) -> tuple[str, ...]:
        """The files in their order."""
        return self.inputs if self.output is None else (*self.inputs, self.output)

    def arguments(self, options: Namespace) -> dict[str, Any]:
        """The options that `function` takes."""
        names = inspect.signature(self.function).parameters
        return {name: options[name] for name in names if name not in self.skip and name in options}


def train(options: Namespace) -> dict[str, Any]:
    """Train a map and write it with the cells."""
    command = COMMANDS["train"]
    check_output(options.output, options.inputs, overwrite=options.overwrite)
    several = len(options.inputs) > 1
    files = Files(options.inputs)
    adata = _joined(options) if several else _read(options.inputs[0], options.output)
    tl.geometric_ae(adata, **command.arguments(options))
    if several:
        files.check()
    keys = ResultKeys.named(options.key_added)
    return _written(tables_of(adata) if several else adata, options, keys.uns, _fit(adata, keys))


def _joined(options: Namespace) -> AnnData:
    """Several files as one."""
    if options.use_rep is None and options.layer is None:
        msg = (
            "several files have no principal components in common: pass --use_rep X or --layer, or --use_rep with an "
            "obsm that was made for all of them together"
        )
        raise ValueError(msg)
    obsm = None if options.use_rep == "X" else options.use_rep
    return joined(options.inputs, obsm=obsm, layer=options.layer)


def fit_decoder(options: Namespace) -> dict[str, Any]:
    """Fit a decoder to a map of the file and write it with the cells."""
    command = COMMANDS["fit-decoder"]
    check_output(options.output, options.inputs, overwrite=options.overwrite)
    adata = _read(options.inputs[0], options.output)
    tl.fit_decoder(adata, **command.arguments(options))
    keys = ResultKeys.decoding(embedding_key(adata, options.basis), options.key_added)
    return _written(adata, options, keys.uns, _fit(adata, keys))


def map_cells(options: Namespace) -> dict[str, Any]:
    """Put the cells of a file on the map of a reference."""
    command = COMMANDS["map"]
    query, reference = options.inputs
    check_output(options.output, options.inputs, overwrite=options.overwrite)
    adata = _read(query, options.output)
    model = reference if reference.suffix == MODEL_SUFFIX else _read(reference)
    if isinstance(model, AnnData) and options.key not in Result.names(model):
        msg = (
            f"the reference {str(reference)!r} holds no map under the key {options.key!r} (there are "
            f"{Result.names(model) or 'none'}); scgeoae train makes one"
        )
        raise KeyError(msg)
    tl.map_cells(adata, model, **command.arguments(options))
    outside = adata.obs[Result(adata, options.key).keys.outside]
    numbers = {"cells_outside": int(outside.sum()), "share_outside": float(outside.mean())}
    return _written(adata, options, options.key, numbers)


def quality(options: Namespace) -> dict[str, Any]:
    """Measure the maps of a file."""
    command = COMMANDS["quality"]
    if options.output is not None:
        check_output(options.output, options.inputs, overwrite=False, suffixes=TABLES)
    adata = read(options.inputs[0])
    arguments = command.arguments(options)
    arguments["bases"] = options.bases if options.bases is not None else _maps(adata)
    table = metrics.embedding_quality(adata, **arguments)
    results: dict[str, Any] = {"quality": table.T.to_dict()}
    if options.output is not None:
        with whole(options.output) as temporary:
            table.to_csv(temporary, sep=TABLES[options.output.suffix])
        results = {"output": str(options.output)} | results
    return results


def plot(options: Namespace) -> dict[str, Any]:
    """Draw what a file holds results for."""
    check_directory(options.output)
    adata = read(options.inputs[0])
    pictures = draw(adata, options.output, **COMMANDS["plot"].arguments(options))
    return {"output": [str(path) for path in pictures]}


def demo(options: Namespace) -> dict[str, Any]:
    """Run the demo, telling each line when it is known."""
    directory = options.output or Path("scgeoae-demo")
    check_directory(directory)
    lines = []
    for line in run_demo(directory):
        lines.append(line)
        if not options.json:
            sys.stdout.write(f"{line}\n")
    return {"lines": lines} if options.json else {}


def _written(adata: AnnData, options: Namespace, key: str, numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Write the cells and say where they are; of several processes the first alone."""
    if sharding.rank() > 0:
        return {}
    if is_lazy(adata):
        add_to_copy(adata, options.inputs[0], options.output)
    else:
        write(adata, options.output)
    return {"output": str(options.output), "key": key, "cells": adata.n_obs, **numbers}


def _read(path: Path, output: Path | None = None) -> AnnData:
    """An AnnData; of a large file the matrices stay on disk, and an output must be of the same kind."""
    if not (path.exists() and is_large(path)):
        return read(path)
    if output is not None:
        check_same_kind(path, output)
    return read_lazily(path)


def _fit(adata: AnnData, keys: ResultKeys) -> dict[str, float]:
    """How well a map explains the data and how even it is."""
    result = Result(adata, keys.uns)
    if result.params["interrupted"]:
        raise KeyboardInterrupt  # an early end is no result here: nothing is written
    return {"reconstruction": result.reconstruction(), **result.distortion(), "unit": float(result.model.unit)}


def _maps(adata: AnnData) -> list[str]:
    """The maps of two dimensions."""
    names = [name for name, z in adata.obsm.items() if z.ndim == 2 and z.shape[1] == 2]
    if not names:
        msg = f"obsm holds no map of two dimensions ({list(adata.obsm) or 'nothing'}); name maps by --bases"
        raise ValueError(msg)
    return names


RESULTS = (
    "Results: reconstruction is the share of the variance that the map does not explain, log_det_variance is 0 and "
    "det_p95_p5 (the determinant at 95 % of the cells over that at 5 %) is 1 where all areas are true, anisotropy (the "
    "median) is 1 where no direction is stretched more than another, unit is the distance in the data of a unit of the "
    "map."
)

COMMANDS = {
    "train": Command(
        train,
        tl.geometric_ae,
        frozenset({"adata", "copy"}),
        files="AnnData files, .h5ad or .zarr; with --output several inputs, of which the common genes are used",
        several=True,
        writes_cells=True,
        examples=(
            " cells.h5ad map.h5ad                                  # after sc.pp.pca",
            " cells.h5ad map.h5ad --alpha 0.5 --hidden_dims 64,64",
            " cells.h5ad map.h5ad --regularizer '{area: 1, isometry: 0.5}'",
            " a.h5ad b.h5ad --output map.h5ad --use_rep X          # the genes of both",
        ),
        results=RESULTS,
    ),
    "fit-decoder": Command(
        fit_decoder,
        tl.fit_decoder,
        frozenset({"adata", "copy"}),
        writes_cells=True,
        examples=(" cells.h5ad umap.h5ad --basis umap",),
        results=RESULTS,
    ),
    "map": Command(
        map_cells,
        tl.map_cells,
        frozenset({"adata", "adata_ref", "copy"}),
        inputs=("QUERY", "REFERENCE"),
        files=f"AnnData files, .h5ad or .zarr; the reference also a model file, {MODEL_SUFFIX}",
        writes_cells=True,
        examples=(" new.h5ad map.h5ad new_map.h5ad --obs cell_type,tissue", " new.h5ad blood.safetensors new_map.h5ad"),
    ),
    "quality": Command(
        quality,
        metrics.embedding_quality,
        frozenset({"adata"}),
        output=None,
        files="AnnData file, .h5ad or .zarr",
        output_help="write the table here, .csv or .tsv",
        defaults={"bases": "all maps of two dimensions"},
        examples=(" map.h5ad --bases pca,umap,geoae --labels cell_type --output quality.csv",),
    ),
    "plot": Command(
        plot,
        draw,
        frozenset({"adata", "directory"}),
        output="DIRECTORY",
        files="AnnData file, .h5ad or .zarr, with results; directory for the pictures",
        output_help="the directory, instead of naming it last",
        examples=(" map.h5ad pictures --color cell_type --format pdf",),
    ),
    "demo": Command(
        demo,
        run_demo,
        frozenset({"directory"}),
        inputs=(),
        output=None,
        output_help="directory for pictures and the .h5ad file (default: scgeoae-demo)",
        examples=(" --output scgeoae-demo",),
    ),
}
"""The commands by name."""
