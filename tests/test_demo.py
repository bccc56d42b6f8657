from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import pytest

import scgeoae
from scgeoae import cli

if TYPE_CHECKING:
    from pathlib import Path


def test_demo(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("scgeoae.demo.TRAINING", {"n_steps": 50})
    cli.main(["demo", "--output", str(tmp_path / "out")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["vanilla", "geometric", "wrote"]
    assert all("variance of ln det" in line for line in lines[:2])
    names = {path.name for path in (tmp_path / "out").iterdir()}
    pictures = {"map.png", "history.png", "diagnostics.png", "comparison.png"}
    assert names == {*pictures, "pbmc68k_reduced.h5ad", "explorer.html"}
    adata = ad.read_h5ad(tmp_path / "out" / "pbmc68k_reduced.h5ad")
    assert scgeoae.get.metric(adata, key="vanilla").shape == (700, 2, 2)


def test_help(capsys) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])
    assert "demo" in capsys.readouterr().out
