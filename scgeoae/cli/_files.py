"""Files in and out: by suffix, whole or not at all, and never over the input by accident."""

from __future__ import annotations

import errno
import os
import shutil
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import anndata as ad

from . import signals_to

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from anndata import AnnData

SUFFIXES = (".h5ad", ".zarr")
TABLES = {".csv": ",", ".tsv": "\t"}


def read(path: Path) -> AnnData:
    """Read an AnnData by its suffix.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    ValueError
        If it has another suffix or cannot be read.
    """
    with read_errors(path):
        return ad.read_zarr(path) if path.suffix == ".zarr" else ad.read_h5ad(path)


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Say of a file that it is not there, or that it cannot be read."""
    _check_suffix(path, SUFFIXES)
    if not path.exists():
        msg = f"there is no file {str(path)!r}"
        raise FileNotFoundError(msg)
    try:
        yield
    except ImportError:
        raise
    except Exception as error:  # whatever a damaged file leads the reader to
        reason = str(error) or type(error).__name__
        msg = f"{str(path)!r} cannot be read; it is damaged or no AnnData file: {reason[:300]}"
        raise ValueError(msg) from error


def write(adata: AnnData, path: Path) -> None:
    """Write an AnnData by its suffix; the file appears whole or not at all."""
    with whole(path) as temporary:
        if path.suffix == ".zarr":
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Writing zarr v2 data")  # of anndata, about a default to come
                adata.write_zarr(temporary)
        else:
            adata.write_h5ad(temporary)


def check_output(path: Path, inputs: Iterable[Path], *, overwrite: bool, suffixes: Iterable[str] = SUFFIXES) -> None:
    """Refuse an output that cannot or should not be written, before any work is done.

    Raises
    ------
    ValueError
        If it has another suffix, is one of the inputs and `overwrite` is not set, or is something else's place.
    FileNotFoundError, PermissionError
        If its directory is not there or not writeable.
    """
    _check_suffix(path, suffixes)
    check_place(path)
    real = Path(os.path.realpath(path))
    for source in inputs:
        same = real == Path(os.path.realpath(source)) or (real.exists() and source.exists() and real.samefile(source))
        if same and not overwrite:
            msg = f"the output {str(path)!r} is the input {str(source)!r}; --overwrite allows this"
            raise ValueError(msg)
    if real.is_dir() and not (path.suffix == ".zarr" and _is_store(real)):
        msg = f"{str(path)!r} is a directory, and no zarr store that could be replaced"
        raise ValueError(msg)


def check_directory(path: Path) -> None:
    """The same for a directory of pictures, which may be there or not."""
    check_place(path)
    if path.exists() and not path.is_dir():
        msg = f"{str(path)!r} is there and no directory"
        raise NotADirectoryError(msg)


def check_place(path: Path) -> None:
    """Refuse a path in a directory that is not there or not writeable."""
    parent = Path(os.path.realpath(path)).parent
    if not parent.is_dir():
        msg = f"there is no directory {str(path.parent)!r} to write {path.name!r} into"
        raise FileNotFoundError(msg)
    try:
        TemporaryDirectory(dir=parent, prefix=f".{path.name}.").cleanup()  # the rights alone do not tell
    except OSError as error:
        msg = f"the directory {str(path.parent)!r} is not writeable"
        raise PermissionError(msg) from error


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield where to write instead of `path`: beside it, and moved into its place at the end or removed on failure."""
    path = Path(os.path.realpath(path))  # a link stays a link
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.", ignore_cleanup_errors=True) as directory:
        temporary = Path(directory) / path.name
        with _failed_write(path, Path(directory)):
            yield temporary
        with signals_to(lambda _: None):  # too late: what follows takes an instant, and must not stop halfway
            _put(temporary, path)


def _put(temporary: Path, path: Path) -> None:
    if not path.is_dir():
        temporary.replace(path)
        return
    replaced = temporary.with_name("replaced")  # a directory cannot be moved onto another one
    path.rename(replaced)
    try:
        temporary.rename(path)
    except BaseException:
        replaced.rename(path)
        raise
    shutil.rmtree(replaced)


@contextmanager
def _failed_write(path: Path, directory: Path) -> Iterator[None]:
    """Remove what was written, and say of a disk that is full which file it was too small for."""
    try:
        yield
    except BaseException as error:
        _remove(directory)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            msg = f"{str(path)!r} cannot be written: {os.strerror(error.errno)}"
            raise OSError(error.errno, msg) from error
        raise


def _remove(directory: Path) -> None:
    """Remove a directory into which threads of zarr, of which one has failed, may write for another moment."""
    for _ in range(50):
        shutil.rmtree(directory, ignore_errors=True)
        time.sleep(0.1)
        if not directory.exists():
            return


def _check_suffix(path: Path, suffixes: Iterable[str]) -> None:
    if path.suffix not in suffixes:
        msg = f"{str(path)!r} must end in {' or '.join(suffixes)}"
        raise ValueError(msg)


def _is_store(path: Path) -> bool:
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup"))
