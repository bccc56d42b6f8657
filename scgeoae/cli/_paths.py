"""Check the files of a command before anything is imported that takes seconds, such as torch and scanpy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

CELLS = (".h5ad", ".zarr")
MODEL = ".safetensors"
TABLES = {".csv": ",", ".tsv": "\t"}
PAGES = (".html", ".htm")
PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".tif", ".tiff", ".eps")
"""Suffixes of the files that are read and written, of tables with their separators, and of pictures, which no directory
has."""


def check_input(path: Path, suffixes: Collection[str] = CELLS) -> None:
    """Raise an error if a file has another suffix or does not exist."""
    _check_suffix(path, suffixes)
    if not path.exists():
        msg = f"there is no file {str(path)!r}"
        raise FileNotFoundError(msg)


def check_output(path: Path, inputs: Iterable[Path], suffixes: Collection[str], *, overwrite: bool) -> None:
    """Raise an error if an output cannot be written, or would replace an input; without suffixes it is a directory."""
    from ..storage import check_writable  # numpy takes a tenth of a second, which help and completion do not need

    if not suffixes:
        if path.suffix.lower() in PICTURES and not path.exists():
            msg = f"{str(path)!r} would be a directory, for several pictures; choose a name without {path.suffix}"
            raise ValueError(msg)
        check_writable(path)
        if path.exists() and not path.is_dir():
            msg = f"{str(path)!r} exists and is no directory"
            raise NotADirectoryError(msg)
        return
    _check_suffix(path, suffixes)
    check_writable(path)
    real = Path(os.path.realpath(path))
    for source in inputs:
        same = real == Path(os.path.realpath(source)) or (real.exists() and source.exists() and real.samefile(source))
        if same and not overwrite:
            msg = f"the output {str(path)!r} is the input {str(source)!r}; --overwrite allows this"
            raise ValueError(msg)
    is_store = path.suffix == ".zarr" and any((real / name).is_file() for name in ("zarr.json", ".zgroup"))
    if real.is_dir() and not is_store:
        msg = f"{str(path)!r} is a directory and not a zarr store; choose another output"
        raise ValueError(msg)


def _check_suffix(path: Path, suffixes: Collection[str]) -> None:
    if path.suffix not in suffixes:
        *others, last = suffixes
        msg = f"{str(path)!r} must end in {', '.join(others)} or {last}"
        raise ValueError(msg)
