"""Write files and folders whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from .._signals import signals_to

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``: it replaces ``path`` at the end, and is removed on failure.

    Raises
    ------
    OSError
        If it cannot be written; names ``path`` where the disk is full, and the folder where that does not exist.
    """
    path = _resolved(path)  # a link stays a link
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.", ignore_cleanup_errors=True) as folder:
        temporary = Path(folder) / path.name
        try:
            yield temporary
        except BaseException as error:
            for _ in range(50):  # after one thread of zarr has failed, others may write for another moment
                shutil.rmtree(folder, ignore_errors=True)
                time.sleep(0.1)
                if not os.path.exists(folder):
                    break
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                msg = f"{str(path)!r} cannot be written: {os.strerror(error.errno)}"
                raise OSError(error.errno, msg) from error
            raise
        with signals_to(lambda _: None):  # this takes an instant and must not stop halfway
            if not (path.is_dir() and temporary.is_dir()):
                temporary.replace(path)
                return
            replaced = temporary.with_name("replaced")  # a folder cannot be moved onto another one
            path.rename(replaced)
            try:
                temporary.rename(path)
            except BaseException:
                replaced.rename(path)
                raise


def _resolved(path: str | os.PathLike[str]) -> Path:
    """Follow links; raise a `FileNotFoundError` if the folder of the file does not exist."""
    path = Path(os.path.realpath(path))
    if not path.parent.is_dir():
        msg = f"{str(path)!r} cannot be written: there is no directory {str(path.parent)!r}."
        raise FileNotFoundError(msg)
    return path


def check_writable(path: Path) -> None:
    """Raise an `OSError` before any work is done if the folder of a file does not exist or cannot be written to."""
    folder = _resolved(path).parent
    try:
        TemporaryDirectory(dir=folder, prefix=f".{path.name}.").cleanup()  # permission bits are not enough
    except OSError as error:
        msg = f"{str(path)!r} cannot be written to the directory {str(path.parent)!r}: {error.strerror}"
        raise OSError(error.errno, msg) from error
