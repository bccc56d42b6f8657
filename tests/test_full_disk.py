"""A full disk: a clear error, earlier files unchanged, no temporary files left."""

from __future__ import annotations

import errno
import subprocess
from typing import TYPE_CHECKING

import pytest
from helpers import QUICK

from scgeoae.cli import _files, main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anndata import AnnData


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount")
    if done.returncode:
        pytest.skip("mounting is not permitted")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data:UserWarning")
@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
@pytest.mark.parametrize("large_from", [0, 2**30])
def test_output(
    pbmc: AnnData, small_disk: Path, tmp_path: Path, capsys, monkeypatch, suffix: str, large_from: int
) -> None:
    monkeypatch.setattr(_files, "LARGE_BYTES", large_from)
    source, output = tmp_path / f"cells{suffix}", small_disk / f"map{suffix}"
    pbmc.uns.clear()
    pbmc.write_h5ad(source) if suffix == ".h5ad" else pbmc.write_zarr(source)
    (small_disk / "others").write_text("mine")
    with pytest.raises(SystemExit, match="2"):
        main(["train", str(source), str(output), "--n_steps", str(QUICK["n_steps"]), "--quiet"])
    error = capsys.readouterr().err
    assert "No space left on device" in error
    assert output.name in error
    assert [each.name for each in small_disk.iterdir()] == ["others"]
    assert source.exists()


def test_output_by_name(pbmc: AnnData, tmp_path: Path, capsys, monkeypatch) -> None:
    """The same without mounting a disk."""

    def full(path: Path, _: bytes) -> None:
        path.write_text("begun")
        raise OSError(errno.ENOSPC, "no more room")

    pbmc.write_h5ad(tmp_path / "cells.h5ad")
    (tmp_path / "map.h5ad").write_text("before")
    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(SystemExit, match="2"):
        main(["train", str(tmp_path / "cells.h5ad"), str(tmp_path / "map.h5ad"), "--n_steps", "3", "--quiet"])
    assert "map.h5ad' cannot be written: No space left on device" in capsys.readouterr().err
    assert (tmp_path / "map.h5ad").read_text() == "before"
    assert {each.name for each in tmp_path.iterdir()} == {"cells.h5ad", "map.h5ad"}
