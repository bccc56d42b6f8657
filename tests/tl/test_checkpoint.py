"""A training that was cut off goes on with the result that it would have had."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from helpers import QUICK

import scgeoae
from scgeoae.tl._checkpoint import Checkpoint

if TYPE_CHECKING:
    from io import StringIO
    from pathlib import Path

    from anndata import AnnData


class Preempted(Exception):
    """What ends the machine."""


def cut_off(monkeypatch, after: int) -> None:
    """Let the process die after this many checkpoints."""
    write = Checkpoint.write
    written = []

    def dying(self: Checkpoint, trainer: object) -> None:
        write(self, trainer)
        written.append(1)
        if len(written) == after:
            raise Preempted

    monkeypatch.setattr(Checkpoint, "write", dying)


@pytest.mark.parametrize("contrast_weight", [0, 0.05])
def test_goes_on_with_the_same_result(pbmc: AnnData, tmp_path: Path, monkeypatch, contrast_weight: float) -> None:
    arguments = {**QUICK, "contrast_weight": contrast_weight}
    expected = scgeoae.tl.geometric_ae(pbmc, **arguments, copy=True)
    arguments |= {"checkpoint": tmp_path / "state", "resume": True}
    with monkeypatch.context() as patch:
        cut_off(patch, 20)
        with pytest.raises(Preempted):
            scgeoae.tl.geometric_ae(pbmc, **arguments)
    assert "X_geoae" not in pbmc.obsm
    scgeoae.tl.geometric_ae(pbmc, **arguments)
    np.testing.assert_array_equal(pbmc.obsm["X_geoae"], expected.obsm["X_geoae"])
    for name, curve in expected.uns["geoae"]["history"].items():
        np.testing.assert_array_equal(pbmc.uns["geoae"]["history"][name], curve)
    assert [file.name for file in tmp_path.iterdir()] == ["state"]


def test_begins_at_the_beginning_without_a_file(pbmc: AnnData, tmp_path: Path, log: StringIO) -> None:
    scgeoae.tl.geometric_ae(pbmc, n_steps=3, checkpoint=str(tmp_path / "state"), resume=True)
    assert (tmp_path / "state").exists()


def test_full_disk_leaves_the_previous_checkpoint(pbmc: AnnData, tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "state"
    scgeoae.tl.geometric_ae(pbmc, n_steps=3, checkpoint=file)
    before = file.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        scgeoae.tl.geometric_ae(pbmc, n_steps=4, checkpoint=file)
    assert file.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["state"]


def test_of_another_training(pbmc: AnnData, tmp_path: Path) -> None:
    file = tmp_path / "state"
    scgeoae.tl.geometric_ae(pbmc, n_steps=3, checkpoint=file)
    with pytest.raises(ValueError, match=r"another training: alpha was 0\.2 and is 0\.3"):
        scgeoae.tl.geometric_ae(pbmc, n_steps=3, alpha=0.3, checkpoint=file, resume=True)
    pbmc.obsm["X_pca"] *= 2
    with pytest.raises(ValueError, match="another training: scale"):
        scgeoae.tl.geometric_ae(pbmc, n_steps=3, checkpoint=file, resume=True)


class Harmful:
    """What a pickle may do."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch harmed",)


@pytest.mark.parametrize("kind", ["cut off", "text", "empty", "pickle", "future"])
def test_damaged_and_hostile_files(pbmc: AnnData, tmp_path: Path, kind: str, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "state"
    scgeoae.tl.geometric_ae(pbmc, n_steps=3, checkpoint=file)
    whole = file.read_bytes()
    if kind == "pickle":
        torch.save({"format": 1, "made_with": Harmful()}, file)
    elif kind == "future":
        torch.save({"format": 2}, file)
    else:
        file.write_bytes({"cut off": whole[: len(whole) // 2], "text": b"hello", "empty": b""}[kind])
    with pytest.raises(ValueError, match="is not a checkpoint that can be read"):
        scgeoae.tl.geometric_ae(pbmc, n_steps=3, checkpoint=file, resume=True)
    assert not (tmp_path / "harmed").exists()


def test_bad_arguments(pbmc: AnnData, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cannot be written: there is no directory"):
        scgeoae.tl.geometric_ae(pbmc, checkpoint=tmp_path / "nowhere" / "state")
    with pytest.raises(ValueError, match="resume=True needs"):
        scgeoae.tl.geometric_ae(pbmc, resume=True)
