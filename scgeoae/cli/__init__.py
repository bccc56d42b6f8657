"""The command line: the tools of the package, from file to file."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from .._signals import signals_to

if TYPE_CHECKING:
    from collections.abc import Sequence

BAD_INPUT, INTERNAL_ERROR = 2, 1
INPUT_ERRORS = (click.ClickException, KeyError, ValueError, TypeError, OSError, FloatingPointError, ImportError)
"""What click and the package raise if an argument or a file is invalid."""

INTERRUPTED = "scgeoae: interrupted, nothing is written"

OTHER_NAMES = {"random_state": "--rng", "seed": "--rng"}
"""Options of other programs, and ours."""

COMMAND_OF = {"scgeoae.tl.geometric_ae": "scgeoae train", "scgeoae.tl.fit_decoder": "scgeoae fit-decoder"}
"""The command for each function that an error message may tell the user to run."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``scgeoae COMMAND …``.

    Parameters
    ----------
    arguments
        The words of the command line; by default those that the program was called with.

    Raises
    ------
    SystemExit
        With the exit status, if that is not 0, and after ``--help`` and ``--version``.
    """
    from ._program import program

    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_MININTERVAL", "30")  # progress bars would fill a log file
    try:
        with signals_to(_exit):
            status = program.main(arguments, "scgeoae", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        sys.stderr.write(f"{INTERRUPTED}\n")
        raise SystemExit(130) from None
    except Exception as error:  # noqa: BLE001 - every error ends as one line; --debug shows the traceback
        known = isinstance(error, INPUT_ERRORS)
        sys.stderr.write(f"scgeoae: {'error' if known else 'internal error'}: {_line(error, known=known)}\n")
        raise SystemExit(BAD_INPUT if known else INTERNAL_ERROR) from None
    if status is not None:  # of --help and --version
        raise SystemExit(status)


def _line(error: Exception, *, known: bool) -> str:
    """Return the message of an error in one line."""
    # str() of a KeyError puts its message in quotes
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if isinstance(error, click.ClickException):
        text = error.format_message()
    if isinstance(error, click.NoSuchOption) and error.ctx:
        ours = OTHER_NAMES.get(error.option_name.lstrip("-"))
        if any(ours in option.opts for option in error.ctx.command.params):
            text = f"{error.message} Pass {ours}."
    if isinstance(error, OSError) and error.filename is None and error.strerror:
        text = error.strerror  # without its number
    if isinstance(error, click.UsageError) and error.ctx:
        text = f"{text} (see {error.ctx.command_path} --help)"
    text = " ".join(text.split()) or type(error).__name__
    for function, command in COMMAND_OF.items():
        text = text.replace(function, command)
    return text if known else f"{type(error).__name__}: {text} (--debug shows where)"


def _exit(status: int) -> NoReturn:
    """Exit at once: C modules swallow exceptions while they are imported, and there is nothing to clean up yet."""
    os.write(2, f"\n{INTERRUPTED}\n".encode())
    os._exit(status)
