"""The command line: what it reads, writes, reports and refuses."""

from __future__ import annotations

import inspect
import json
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
import zarr as zarr_format

import scgeoae
from scgeoae import cli
from scgeoae.cli import _files
from scgeoae.cli._program import program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData

QUICK = ["--n_steps", "20", "--hidden_dims", "16,16", "--quiet"]
zarr = pytest.mark.filterwarnings("ignore::UserWarning:zarr", "ignore:.*zarr:UserWarning", "ignore::FutureWarning")


@pytest.fixture
def cells(tmp_path: Path, pbmc: AnnData) -> Path:
    """A file of 700 blood cells, the only one in its directory."""
    pbmc.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


@pytest.fixture
def result(tmp_path: Path, mapped: AnnData) -> Path:
    """The same with a trained map."""
    mapped.write_h5ad(tmp_path / "result.h5ad")
    return tmp_path / "result.h5ad"


def run(*words: Any) -> None:
    cli.main([str(word) for word in words])


def reported(capsys) -> dict[str, Any]:
    """Return the JSON object that is all of stdout."""
    return json.loads(capsys.readouterr().out)


def refused(capsys, *words: Any) -> str:
    """Return the single line of error with which a command ends."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        run(*words)
    out, err = capsys.readouterr()
    assert caught.value.code == 2
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("scgeoae: error: ")
    return line


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@zarr
@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_train_as_in_python(cells: Path, pbmc: AnnData, suffix: str, capsys) -> None:
    output = cells.with_name(f"map.{suffix}")
    run("train", cells, *QUICK, "--alpha", "0.1", output, "--regularizer", "{area: 1, isometry: 0.5}", "--json")
    results = reported(capsys)
    assert results["output"] == str(output)
    assert results["cells"] == 700
    scgeoae.tl.geometric_ae(pbmc, n_steps=20, hidden_dims=(16, 16), alpha=0.1, regularizer={"area": 1, "isometry": 0.5})
    written = (ad.read_zarr if suffix == "zarr" else ad.read_h5ad)(output)
    np.testing.assert_array_equal(written.obsm["X_geoae"], pbmc.obsm["X_geoae"])
    assert results["anisotropy"] == pytest.approx(pbmc.obs["geoae_anisotropy"].median())
    assert names(cells.parent) == {"cells.h5ad", output.name}
    run("plot", output, cells.parent)  # into an existing directory


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_columns_of_text_are_written_as_anndata_writes_them(pbmc: AnnData, tmp_path: Path, suffix: str) -> None:
    pbmc.obs["text"] = np.where(np.arange(700) % 2, "odd", "even")
    pbmc.write_h5ad(tmp_path / "cells.h5ad", convert_strings_to_categoricals=False)
    assert ad.read_h5ad(tmp_path / "cells.h5ad").obs["text"].dtype != "category"
    run("train", tmp_path / "cells.h5ad", tmp_path / f"map.{suffix}", *QUICK, "--quiet")
    written = (ad.read_zarr if suffix == "zarr" else ad.read_h5ad)(tmp_path / f"map.{suffix}")
    assert written.obs["text"].cat.categories.tolist() == ["even", "odd"]
    assert written.raw.shape == pbmc.raw.shape


def filters(path: Path) -> Any:
    """Compression of the expression matrix in a file."""
    if path.suffix == ".zarr":
        return bool(zarr_format.open_group(path, mode="r")["X"].compressors)
    with h5py.File(path) as file:
        return file["X"].compression, file["X"].compression_opts


@zarr
@pytest.mark.parametrize(
    ("source", "arguments", "output", "expected"),
    [
        ("cells.h5ad", {}, "map.h5ad", (None, None)),
        ("cells.h5ad", {"compression": "gzip"}, "map.h5ad", ("gzip", 4)),
        ("cells.h5ad", {"compression": "gzip", "compression_opts": 9}, "map.h5ad", ("gzip", 9)),
        ("cells.h5ad", {"compression": "lzf"}, "map.h5ad", ("lzf", None)),
        ("cells.h5ad", {}, "map.zarr", True),
        ("cells.h5ad", {"compression": "gzip"}, "map.zarr", True),
        ("cells.zarr", {}, "map.h5ad", ("gzip", 4)),
        ("cells.zarr", {}, "map.zarr", True),
        ("cells.zarr", {"compressors": None}, "map.zarr", False),
        ("cells.zarr", {"compressors": None}, "map.h5ad", (None, None)),
    ],
)
def test_an_output_is_compressed_as_its_input(
    pbmc: AnnData, tmp_path: Path, source: str, arguments: dict[str, Any], output: str, expected: Any
) -> None:
    if source.endswith("zarr"):
        store = zarr_format.open_group(tmp_path / source, mode="w", zarr_format=2)
        ad.io.write_elem(store, "/", pbmc, dataset_kwargs=arguments)
    else:
        pbmc.write_h5ad(tmp_path / source, **arguments)
    adata = _files.read(tmp_path / source)
    _files.write(adata, tmp_path / output, tmp_path / source)
    assert filters(tmp_path / output) == expected
    written = _files.read(tmp_path / output)
    np.testing.assert_array_equal(written.X, pbmc.X)
    assert written.obs.equals(adata.obs)


def test_a_compressed_file_grows_by_what_is_added(pbmc: AnnData, tmp_path: Path) -> None:
    source, output = tmp_path / "cells.h5ad", tmp_path / "map.h5ad"
    pbmc.write_h5ad(source, compression="gzip")
    run("train", source, output, *QUICK)
    assert filters(output) == ("gzip", 4)
    assert output.stat().st_size < 1.2 * source.stat().st_size


def test_text_results(cells: Path, capsys) -> None:
    run("train", cells, "--output", cells.with_name("map.h5ad"), "--n-steps", "20", "--key_added", "mine")
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[:3] == [f"output: {cells.with_name('map.h5ad')}", "key: mine", "cells: 700"]
    assert "training a geometric autoencoder" in err
    assert "mine" in ad.read_h5ad(cells.with_name("map.h5ad")).uns


def test_command_line_overrides_the_configuration(cells: Path, capsys) -> None:
    config = cells.with_name("options.yaml")
    config.write_text("n_steps: 20\nalpha: 1e-2\nhidden_dims: [16, 16]\nbatch_size: 100\nquiet: true\n")
    run("train", cells, cells.with_name("map.h5ad"), "--config", config, "--batch_size=128")
    params = ad.read_h5ad(cells.with_name("map.h5ad")).uns["geoae"]["params"]
    assert (params["n_steps"], params["alpha"], params["batch_size"]) == (20, 0.01, 128)
    assert list(params["hidden_dims"]) == [16, 16]
    assert capsys.readouterr().err.count("training") == 0
    config.write_text("alhpa: 1\n")
    assert re.search(
        r"alhpa.*\balpha\b", refused(capsys, "train", cells, cells.with_name("map.h5ad"), "--config", config)
    )
    assert re.search(r"alhpa.*--alpha", refused(capsys, "train", cells, cells.with_name("map.h5ad"), "--alhpa", "1"))
    config.write_text("")
    assert "takes INPUT" in refused(capsys, "train", "--config", config)
    config.write_text("n-steps: 10\n")
    run("train", cells, cells.with_name("map.h5ad"), "--config", config)
    assert ad.read_h5ad(cells.with_name("map.h5ad")).uns["geoae"]["params"]["n_steps"] == 10


def test_map(result: Path, pbmc: AnnData, mapped: AnnData, capsys) -> None:
    query, output = result.with_name("query.h5ad"), result.with_name("out.h5ad")
    pbmc[:50].copy().write_h5ad(query)
    run("map", query, result, output, "--obs", "bulk_labels", "--json", "--quiet")
    results, there = reported(capsys), ad.read_h5ad(output)
    np.testing.assert_allclose(there.obsm["X_geoae"], mapped.obsm["X_geoae"][:50], atol=1e-4)
    assert results["cells"] == 50
    assert results["cells_outside"] == there.obs["geoae_outside"].sum()
    assert {"geoae_bulk_labels", "geoae_bulk_labels_confidence"} <= set(there.obs)
    model = result.with_name("model.safetensors")
    scgeoae.write_model(mapped, model)
    run("map", query, model, output, "--quiet")
    np.testing.assert_array_equal(ad.read_h5ad(output).obsm["X_geoae"], there.obsm["X_geoae"])
    run("map", query, result, output, "--obs", "bulk_labels,louvain", "--quiet")
    assert {"geoae_bulk_labels_confidence", "geoae_louvain_confidence"} <= set(ad.read_h5ad(output).obs)
    assert "labels there: none" in refused(capsys, "map", query, model, output, "--obs", "bulk_labels", "-q")
    scgeoae.write_model(mapped, model, obs="bulk_labels")
    run("map", query, model, output, "--obs", "bulk_labels", "--quiet")
    assert "geoae_bulk_labels_confidence" in ad.read_h5ad(output).obs


def test_fit_decoder(cells: Path, capsys) -> None:
    output = cells.with_name("out.h5ad")
    run("fit-decoder", cells, output, "--basis", "umap", "--patience", "null", *QUICK, "--json")
    assert reported(capsys)["key"] == "geoae_umap"
    there = ad.read_h5ad(output)
    assert there.uns["geoae_umap"]["params"]["basis"] == "X_umap"
    assert "patience" not in there.uns["geoae_umap"]["params"]
    new = cells.with_name("new.h5ad")
    run("map", cells, output, new, "--key", "geoae_umap", "--obs", "bulk_labels", "--json")
    assert reported(capsys)["key"] == "geoae_umap"
    mapped = ad.read_h5ad(new)  # cells of the reference: they are where they were
    np.testing.assert_allclose(mapped.obsm["geoae_umap"], there.obsm["X_umap"], atol=1e-3)
    assert "geoae_umap_bulk_labels" in mapped.obs


def test_quality(result: Path, mapped: AnnData, capsys) -> None:
    table = result.with_name("table.csv")
    run("quality", result, "--output", table, "--labels", "bulk_labels", "--json", "--quiet")
    results = reported(capsys)
    expected = scgeoae.metrics.embedding_quality(mapped, ["X_umap", "X_geoae"], labels="bulk_labels")
    pd.testing.assert_frame_equal(pd.read_csv(table, index_col=0), expected.loc[pd.read_csv(table)["basis"]])
    assert results["quality"]["X_umap"]["anisotropy"] is None  # JSON has no NaN
    assert results["quality"]["X_geoae"]["knn_recall"] == expected.loc["X_geoae", "knn_recall"]
    run("quality", result, "--bases", "pca,umap", "--k", "10", "--quiet")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "quality:"
    assert lines[1].split() == ["pca", "umap"]
    assert ".csv or .tsv" in refused(capsys, "quality", result, "--output", result.with_name("table.xlsx"))
    mapped.obsm.clear()
    mapped.write_h5ad(result)
    assert "--bases" in refused(capsys, "quality", result)


def test_plot(tmp_path: Path, mapped: AnnData, capsys) -> None:
    scgeoae.tl.cluster_areas(mapped, "bulk_labels")
    scgeoae.tl.alpha_path(mapped, [0, 1], n_steps=10, hidden_dims=(8,))
    scgeoae.tl.geometric_ae(mapped, n_steps=10, n_components=1, key_added="line")
    mapped.write_h5ad(tmp_path / "result.h5ad")
    run("plot", tmp_path / "result.h5ad", tmp_path / "new", "--color", "bulk_labels", "--dpi", "50", "--json")
    expected = {f"geoae_{name}.png" for name in ("det_heatmap", "indicatrix", "history", "cluster_areas", "alpha_path")}
    expected |= {"line_det_heatmap.png", "line_history.png"}
    assert names(tmp_path / "new") == expected
    assert reported(capsys)["output"] == sorted(str(tmp_path / "new" / name) for name in expected)
    run("plot", tmp_path / "result.h5ad", tmp_path / "one", "--key", "line", "--format", "svg", "--quiet")
    assert names(tmp_path / "one") == {"line_det_heatmap.svg", "line_history.svg"}
    capsys.readouterr()
    line = refused(capsys, "plot", tmp_path / "result.h5ad", tmp_path / "bad", "--format", "docx")
    assert "docx" in line
    line = refused(capsys, "plot", tmp_path / "result.h5ad", tmp_path / "bad", "--color", "labels")
    assert "Did not find 'labels' in .obs, which holds ['bulk_labels'," in line
    assert not (tmp_path / "bad").exists()


def test_nothing_to_plot(cells: Path, capsys) -> None:
    assert "no result to draw" in refused(capsys, "plot", cells, cells.with_name("pictures"))
    assert names(cells.parent) == {"cells.h5ad"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "missing.h5ad", "out.h5ad"], "there is no file"),
        (["train", "cells.h5ad", "out.csv"], "must end in .h5ad or .zarr"),
        (["train", "cells.loom", "out.h5ad"], "must end in .h5ad or .zarr"),
        (["train", "cells.h5ad", "nowhere/out.h5ad"], "no directory"),
        (["train", "cells.h5ad", "cells.h5ad"], "--overwrite"),
        (["train", "cells.h5ad", "./link.h5ad"], "--overwrite"),
        (["train", "cells.h5ad"], "INPUT... --output PATH"),
        (["train", "cells.h5ad", "b.h5ad", "out.h5ad"], "INPUT OUTPUT"),
        (["train", "cells.h5ad", "out.h5ad", "--use_rep", "X_nothing"], "Did not find .obsm['X_nothing']"),
        (["train", "cells.h5ad", "out.h5ad", "--alpha", "-1"], "alpha must be a finite number"),
        (["train", "cells.h5ad", "out.h5ad", "--alpha", "much"], "'--alpha': 'much' is not a number"),
        (["train", "cells.h5ad", "out.h5ad", "--n-steps", "1.5"], "'--n_steps': '1.5' is not an integer"),
        (["train", "cells.h5ad", "out.h5ad", "--n-steps"], "'--n_steps' requires an argument"),
        (["train", "cells.h5ad", "out.h5ad", "--alhpa", "1"], "--alhpa"),
        (["train", "cells.h5ad", "out.h5ad", "--hidden-dims", "32", "16"], "by commas"),
        (["train", "cells.h5ad", "out.h5ad", "--hidden_dims", "16,wide"], "'--hidden_dims': '16,wide' is not a list"),
        (["train", "cells.h5ad", "out.h5ad", "--threads", "0"], "'--threads': 0 is not in the range x>=1"),
        (["train", "cells.h5ad", "out.h5ad", "--config", "missing.yaml"], "missing.yaml"),
        (["train", "truncated.h5ad", "out.h5ad"], "cannot be read"),
        (["train", "text.h5ad", "out.h5ad"], "cannot be read"),
        (["train", "cells.h5ad", "folder.h5ad"], "is a directory"),
        (["train", "cells.h5ad", "folder.zarr"], "is a directory"),
        (["train"], "takes INPUT OUTPUT"),
        (["map", "cells.h5ad", "cells.h5ad", "out.h5ad"], "the reference 'cells.h5ad' holds no map"),
        (["map", "cells.h5ad", "text.safetensors", "out.h5ad"], "is not a model file"),
        (["fit-decoder", "cells.h5ad", "out.h5ad"], "Missing option '--basis'"),
        (
            ["fit-decoder", "cells.h5ad", "out.h5ad", "--basis", "tsne"],
            "Run `sc.tl.tsne` first, or choose",
        ),
        (["quality", "cells.h5ad", "--labels", "nothing"], "Did not find .obs['nothing']"),
        (["quality", "cells.h5ad", "table.csv"], "takes INPUT [--output PATH]"),
        (["plot", "cells.h5ad", "pictures", "--key", "mine"], "Did not find a geometric autoencoder"),
        (["plot", "cells.h5ad", "nowhere/pictures"], "no directory"),
        (["plot", "cells.h5ad", "cells.h5ad"], "no directory"),
        (["plot", "cells.h5ad", "pictures", "--overwrite"], "--overwrite"),
        (["demo", "cells.h5ad"], "takes no file"),
        (["demo", "--output", "cells.h5ad"], "no directory"),
        (["demo", "--output", "nowhere/demo"], "no directory"),
        (["trian"], "No such command 'trian'"),
        (["map", "cells.h5ad", "blood.pt", "out.h5ad"], "must end in .h5ad, .zarr or .safetensors"),
        (["map", "cells.h5ad", "blood.safetensors", "out.h5ad"], "there is no file 'blood.safetensors'"),
        (["quality", "cells.h5ad", "--other", "missing.h5ad"], "there is no file 'missing.h5ad'"),
        (["explore", "cells.h5ad", "page.png"], "must end in .html or .htm"),
        (["plot", "cells.h5ad", "map.png"], "would be a directory, for several pictures"),
        (["train", "cells.h5ad", "out.h5ad", "--random-state", "0"], "No such option '--random_state'. Pass --rng."),
        (["train", "cells.h5ad", "out.h5ad", "--use_rep", "pca"], "Pass use_rep='X_pca'"),
        (["quality", "cells.h5ad", "--labels", "n_counts"], "different numbers, not groups"),
    ],
)
def test_refused(words: list[str], message: str, cells: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(cells.parent)
    cells.with_name("truncated.h5ad").write_bytes(cells.read_bytes()[:300_000])
    cells.with_name("text.h5ad").write_text("hello")
    cells.with_name("text.safetensors").write_text("hello")
    cells.with_name("link.h5ad").symlink_to(cells)
    for name in ("folder.h5ad", "folder.zarr"):
        cells.with_name(name).mkdir()
    before = names(cells.parent)
    assert message in refused(capsys, *words)
    assert names(cells.parent) == before


def test_overwrite(cells: Path, capsys) -> None:
    run("train", cells, cells, "--overwrite", *QUICK)
    assert "geoae" in ad.read_h5ad(cells).uns
    assert names(cells.parent) == {"cells.h5ad"}


@zarr
def test_replaced(cells: Path, pbmc: AnnData) -> None:
    for name in ("out.h5ad", "out.zarr"):
        output = cells.with_name(name)
        run("train", cells, output, *QUICK)
        run("train", cells, output, *QUICK, "--key_added", "second")
        written = (ad.read_zarr if name == "out.zarr" else ad.read_h5ad)(output)
        assert "second" in written.obsm
        assert "X_geoae" not in written.obsm
    assert names(cells.parent) == {"cells.h5ad", "out.h5ad", "out.zarr"}


@zarr
@pytest.mark.parametrize("name", ["out.h5ad", "out.zarr"])
@pytest.mark.parametrize("error", [OSError("the disk is full"), KeyboardInterrupt()])
def test_failure_while_writing(name: str, error: BaseException, cells: Path, capsys, monkeypatch) -> None:
    output = cells.with_name(name)
    run("train", cells, output, *QUICK)
    before = sorted((path, path.read_bytes()) for path in cells.parent.rglob("*") if path.is_file())

    def half(path: Path) -> None:
        path.write_text("half")
        raise error

    def unconsolidated(_: Any) -> None:
        raise error

    monkeypatch.setattr(zarr_format, "consolidate_metadata", unconsolidated)
    monkeypatch.setattr("pathlib.Path.write_bytes", lambda path, _: half(path))
    with pytest.raises(SystemExit) as caught:
        run("train", cells, output, *QUICK)
    assert caught.value.code == (2 if isinstance(error, OSError) else 130)
    assert sorted((path, path.read_bytes()) for path in cells.parent.rglob("*") if path.is_file()) == before


def test_debug_and_internal_errors(cells: Path, capsys, monkeypatch) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("train", cells, cells, "--debug")
    assert "Traceback" in capsys.readouterr().err
    cells.with_name("options.yaml").write_text("debug: true")
    with pytest.raises(SystemExit, match="2"):
        run("train", cells, cells, "--config", cells.with_name("options.yaml"))
    assert "Traceback" in capsys.readouterr().err

    def fail(*_: Any, **__: Any) -> None:
        msg = "a bug"
        raise RuntimeError(msg)

    monkeypatch.setattr("scgeoae.tl.geometric_ae", fail)
    with pytest.raises(SystemExit, match="1"):
        run("train", cells, cells.with_name("out.h5ad"))
    assert capsys.readouterr().err == "scgeoae: internal error: RuntimeError: a bug (--debug shows where)\n"


def test_settings_are_restored(cells: Path, monkeypatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr("scgeoae.tl.geometric_ae", lambda *_, **__: seen.append(torch.get_num_threads()))
    torch.set_num_threads(1)
    before = sc.settings.verbosity, sc.settings.logfile, signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit):
        run("train", cells, cells.with_name("out.h5ad"), "--threads", "2")  # the replaced function adds no result
    assert seen == [2]
    assert torch.get_num_threads() == 1
    assert (sc.settings.verbosity, sc.settings.logfile, signal.getsignal(signal.SIGINT)) == before


@pytest.mark.parametrize("command", list(program.commands))
def test_help_of_commands(command: str, capsys) -> None:
    with pytest.raises(SystemExit, match="0"):
        run(command, "--help")
    out = capsys.readouterr().out
    assert f"scgeoae {command}" in out
    assert not any(markup in out for markup in ("`", ":cite", ":func:", "adata", ":class:", "generator"))
    assert f"Examples:\n  scgeoae {command} " in out
    assert ("--overwrite" in out) is (command in ("train", "map", "fit-decoder"))


@pytest.mark.parametrize(
    ("command", "function"),
    [
        ("train", scgeoae.tl.geometric_ae),
        ("map", scgeoae.tl.map_cells),
        ("fit-decoder", scgeoae.tl.fit_decoder),
        ("quality", scgeoae.metrics.embedding_quality),
        ("explore", scgeoae.pl.explorer),
    ],
)
def test_each_argument_is_an_option(command: str, function: Callable[..., Any]) -> None:
    options = {option.name for option in program.commands[command].params}
    files_and_arrays = {"adata", "adata_ref", "path", "paths", "copy"}
    assert set(inspect.signature(function).parameters) - files_and_arrays <= options


def test_only_given_options_are_passed_on(cells: Path, monkeypatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr("scgeoae.tl.geometric_ae", lambda _, **arguments: given.update(arguments))
    cells.with_name("options.yaml").write_text("n-steps: 20\npatience:\n")
    words = ["--alpha", "0.2", "--hidden_dims", "8,8", "--config", cells.with_name("options.yaml"), "--quiet"]
    with pytest.raises(SystemExit):
        run("train", cells, cells.with_name("out.h5ad"), *words)  # the replaced function adds no result
    assert given == {"alpha": 0.2, "hidden_dims": (8, 8), "n_steps": 20, "patience": None}


def test_null_and_lists_in_the_configuration(cells: Path, capsys) -> None:
    config, output = cells.with_name("options.yaml"), cells.with_name("map.h5ad")
    config.write_text("basis: umap\npatience:\nmask_var: null\n")
    run("fit-decoder", cells, output, *QUICK, "--config", config)
    assert "patience" not in ad.read_h5ad(output).uns["geoae_umap"]["params"]
    config.write_text("regularizer: {area: 1, isometry: 0.5}\n")
    run("train", cells, output, *QUICK, "--config", config)
    assert ad.read_h5ad(output).uns["geoae"]["params"]["regularizer"] == {"area": 1, "isometry": 0.5}
    for text, message in [
        ("alpha: [1]", "'--alpha'"),
        ("alpha: {a: 1}", "'--alpha'"),
        ("regularizer: [area]", "'--regularizer'"),
        ("regularizer: '{area: 1'", "'--regularizer'"),
        ("- alpha", "found ['alpha']"),
        ("alpha: [", "Invalid value for '--config'"),
        ("overwrite: perhaps", "'--overwrite'"),
        ("config: other.yaml", "no option 'config'"),
    ]:
        config.write_text(text)
        assert message in refused(capsys, "train", cells, output, *QUICK, "--config", config)


def test_other_data_of_the_same_cells(result: Path, pbmc: AnnData, capsys) -> None:
    pbmc.obsm["X_pca"] = pbmc.obsm["X_pca"][:, :5]
    pbmc.write_h5ad(result.with_name("other.h5ad"))
    run("quality", result, "--other", result.with_name("other.h5ad"), "--json")
    other = reported(capsys)
    run("quality", result, "--json", "--n-pcs", "5")
    assert reported(capsys) == other


def without_imports(folder: Path, status: int, *commands: list[str]) -> subprocess.CompletedProcess[str]:
    """Run commands that end with an exit status, and check that nothing was imported that takes seconds."""
    code = (
        f"import sys\nfrom scgeoae import cli\n"
        f"for words in {commands}:\n    try:\n        cli.main(words)\n        raise AssertionError(words)\n"
        f"    except SystemExit as end:\n        assert (end.code or 0) == {status}, words\n"
        "assert not {'torch', 'scanpy', 'anndata', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules)"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder)


def test_version_and_help_are_quick(tmp_path: Path) -> None:
    out = without_imports(tmp_path, 0, ["train", "--help"], ["--help"], ["--version"]).stdout
    assert out.endswith(f"scgeoae {scgeoae.__version__}\n")


def test_wrong_files_are_told_of_before_anything_is_imported(tmp_path: Path) -> None:
    (tmp_path / "cells.h5ad").touch()
    missing = (
        ["train", "missing.h5ad", "out.h5ad"],
        ["train", "cells.h5ad", "missing.zarr", "--output", "out.h5ad"],
        ["map", "cells.h5ad", "missing.safetensors", "out.h5ad"],
        ["fit-decoder", "missing.h5ad", "out.h5ad", "--basis", "umap"],
        ["quality", "missing.h5ad"],
        ["quality", "cells.h5ad", "--other", "missing.h5ad"],
        ["plot", "missing.h5ad", "pictures"],
        ["explore", "missing.h5ad", "page.html"],
    )
    wrong = (
        ["train", "cells.h5ad", "out.csv"],
        ["train", "cells.h5ad", "nowhere/out.h5ad"],
        ["explore", "cells.h5ad", "page.png"],
        ["plot", "cells.h5ad", "map.png"],
        ["demo", "--output", "cells.h5ad"],
    )
    lines = without_imports(tmp_path, 2, *missing, *wrong).stderr.splitlines()
    assert len(lines) == len(missing) + len(wrong)
    assert all("there is no file 'missing." in line for line in lines[: len(missing)])
    assert names(tmp_path) == {"cells.h5ad"}


def test_alone_it_shows_the_help(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        run()
    alone, err = capsys.readouterr()
    assert (caught.value.code, err) == (2, "")
    with pytest.raises(SystemExit, match="0"):
        run("--help")
    assert alone == capsys.readouterr().out
    assert "fit-decoder" in alone


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_interrupted_training_leaves_nothing(number: signal.Signals, status: int, cells: Path) -> None:
    words = [sys.executable, "-m", "scgeoae", "train", str(cells), str(cells.with_name("out.h5ad")), "--threads", "1"]
    process = subprocess.Popen([*words, "--n_steps", "1000000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    seen = b""
    while b"step/s]" not in seen:  # the progress bar: the training runs
        seen += process.stderr.read(1)
    time.sleep(0.3)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert out == b""
    assert b"interrupted, nothing is written" in err
    assert b"Traceback" not in err
    assert names(cells.parent) == {"cells.h5ad"}
