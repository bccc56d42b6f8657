"""Odd files: the command line reports in one line what is wrong, and leaves all files unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from hard_use.tools import cells, train
from scipy import sparse

import scgeoae
from scgeoae import cli

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData

pytestmark = pytest.mark.filterwarnings("ignore:(Variable|Observation) names are not unique")
BRIEF = ["--use_rep", "X", "--n_steps", "8", "--hidden_dims", "8,8", "--quiet"]


@dataclass(frozen=True)
class File:
    """An odd file, the command that reads it, and the error message if it fails."""

    name: str
    change: Callable[[AnnData], Any]
    words: tuple[str, ...] = ("train", "in.h5ad", "out.h5ad", *BRIEF)
    message: str = ""


def matrix(change: Callable[[np.ndarray], Any]) -> Callable[[AnnData], None]:
    return lambda adata: setattr(adata, "X", change(adata.X))


def with_map(adata: AnnData) -> None:
    train(adata)


def damaged(adata: AnnData) -> None:
    train(adata)
    del adata.uns["geoae"]["model"]["weights"]["observation.scale"]


def from_the_future(adata: AnnData) -> None:
    train(adata)
    adata.uns["geoae"]["model"]["format"] = 99


def few(n: int) -> Callable[[AnnData], None]:
    return lambda adata: adata._inplace_subset_obs(np.arange(n))


def put(field: str, name: str, value: Any) -> Callable[[AnnData], None]:
    return lambda adata: getattr(adata, field).__setitem__(name, value)


MAP = ("map", "in.h5ad", "in.h5ad", "out.h5ad")
FILES = [
    File("plain", lambda _: None),
    File("no cell", few(0), message="at least 3 cells; there are 0"),
    File("2 cells", few(2), message="at least 3 cells; there are 2"),
    File("3 cells", few(3)),
    File("equal cell names", lambda adata: setattr(adata, "obs_names", ["one"] * adata.n_obs)),
    File("equal genes", lambda adata: setattr(adata, "var_names", ["one"] * 6), message="var_names_make_unique"),
    File("NaN", matrix(lambda x: np.where(x > 3, np.nan, x)), message="missing, infinite"),
    File("text", matrix(lambda x: x.astype(str)), message="real numbers"),
    File("complex", matrix(lambda x: x.astype(complex)), message="real numbers"),
    File("booleans", matrix(lambda x: x > 0)),
    File("float16", matrix(lambda x: x.astype(np.float16))),
    File("equal cells", matrix(np.ones_like), message="All cells are equal"),
    File("CSR", matrix(sparse.csr_matrix)),
    File("CSC", matrix(sparse.csc_matrix)),
    File("X is None", lambda adata: delattr(adata, "X"), message="X is None"),
    File("slashes in names", lambda adata: setattr(adata, "var_names", [f"a/{i}" for i in range(6)])),
    File("our names in use", put("obs", "geoae_det", "text")),
    File("frame", put("obsm", "odd", pd.DataFrame({"a": np.arange(60.0), "b": 1.0}, [f"cell {i}" for i in range(60)])),
         ("train", "in.h5ad", "out.h5ad", *BRIEF[2:], "--use_rep", "odd", "--n_components", "1")),
    File("key of a path", lambda _: None, ("train", "in.h5ad", "out.h5ad", *BRIEF, "--key_added", "../x"), "'/'"),
    File("map without its coordinates", lambda adata: with_map(adata) or adata.obsm.clear(),
         ("plot", "in.h5ad", "pictures"), "Did not find .obsm['X_geoae']"),
    File("damaged map, drawn", damaged, ("plot", "in.h5ad", "pictures"), "stored model is damaged"),
    File("damaged map, mapped onto", damaged, MAP, "stored model is damaged"),
    File("map of a newer format", from_the_future, MAP, "format 99; this version of scgeoae reads up to 1"),
    File("map", with_map, MAP),
    File("map of few, quality", lambda adata: with_map(adata) or few(4)(adata),
         ("quality", "in.h5ad", "--use_rep", "X"), "k must be less than half"),
    File("flat map, fitted", put("obsm", "odd", np.zeros((60, 2))),
         ("fit-decoder", "in.h5ad", "out.h5ad", "--basis", "odd", *BRIEF), "spread the cells"),
    File("diverges", lambda _: None,
         ("train", "in.h5ad", "out.h5ad", *BRIEF, "--alpha", "1e300"), "not finite at step"),
]  # fmt: skip


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_commands(file: File, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    adata = cells()
    file.change(adata)
    adata.write_h5ad("in.h5ad")
    before = (tmp_path / "in.h5ad").read_bytes()
    capsys.readouterr()
    if not file.message:
        cli.main(file.words)
        assert np.isfinite(ad.read_h5ad("out.h5ad").obsm["X_geoae"]).all()
    else:
        with pytest.raises(SystemExit, match="2"):
            cli.main(file.words)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("scgeoae: error: ")
        assert file.message in line
        assert [path.name for path in tmp_path.iterdir()] == ["in.h5ad"]
    assert (tmp_path / "in.h5ad").read_bytes() == before


def half_of_a_file(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:4_000])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[800:900] = bytes(255 - byte for byte in content[800:900])
    path.write_bytes(content)


def without_obs(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["obs"]


def of_other_length(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["X"]
        file["X"] = np.zeros((3, 2))


def loop(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["uns/again"] = h5py.SoftLink("/uns/again")


@pytest.mark.parametrize(
    "damage", [half_of_a_file, flipped, without_obs, of_other_length, loop, lambda p: p.write_bytes(b"")]
)
def test_damaged_files(damage: Callable[[Path], Any], tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells().write_h5ad("in.h5ad")
    damage(tmp_path / "in.h5ad")
    before = (tmp_path / "in.h5ad").read_bytes()
    with pytest.raises(SystemExit) as caught:
        cli.main(["train", "in.h5ad", "out.h5ad", *BRIEF])
    err = capsys.readouterr().err
    assert caught.value.code == 2, err
    assert "cannot be read" in err
    assert (tmp_path / "in.h5ad").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["in.h5ad"]


@pytest.mark.parametrize("name", ["é中 model", "model.with.dots", "-dash", "a" * 200])
def test_names_of_model_files(name: str, tmp_path: Path) -> None:
    adata = cells()
    train(adata)
    scgeoae.write_model(adata, tmp_path / name)
    assert scgeoae.read_model(tmp_path / name).n_features == 6
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_places_where_no_model_can_be_written(tmp_path: Path) -> None:
    adata = cells()
    train(adata)
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "folder", tmp_path / "nowhere" / "model", tmp_path / ("a" * 300)):
        with pytest.raises(OSError, match=r"director|too long"):
            scgeoae.write_model(adata, place)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]
