"""The command line: the functions of the package, file in and file out."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

COMMANDS = {
    "train": "train a map of the cells and write it with them",
    "map": "put new cells on the map of a reference",
    "fit-decoder": "fit a decoder to a UMAP, a t-SNE or another map, to see how it distorts",
    "quality": "measure how well the maps of a file show its data",
    "plot": "draw all that a file holds results for",
    "demo": "map 700 blood cells that come with scanpy, with and without regularizer",
}
"""Name of each command and what it does."""

EPILOG = (
    "scgeoae COMMAND --help tells the options of a command. AnnData files are read and written by their suffix, .h5ad "
    "or .zarr. Results go to stdout and progress to stderr; the exit status is 2 for bad input and 130 after Ctrl-C, "
    "and nothing is written then."
)

INTERRUPTED = "scgeoae: interrupted, nothing is written"
STATUS_OF_SIGNAL = {signal.SIGINT: 130, signal.SIGTERM: 143}


class _TopParser(argparse.ArgumentParser):
    """What stands before the command; it knows the names of the commands, but not their options."""

    def error(self, message: str) -> NoReturn:
        """One line, as for every other mistake."""
        sys.stderr.write(f"scgeoae: error: {message.removeprefix('argument COMMAND: ')} (see scgeoae --help)\n")
        raise SystemExit(2)


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
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] not in COMMANDS:
        _top_parser().parse_args(words)  # help, version or an error: no command is left
        raise SystemExit(2)

    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_MININTERVAL", "30")  # a log file should not fill with progress bars
    try:
        with signals_to(_exit):
            from ._run import run  # torch and scanpy take seconds to import: not for --help

        run(words[0], words[1:])
    except KeyboardInterrupt:
        sys.stderr.write(f"{INTERRUPTED}\n")
        raise SystemExit(130) from None


@contextmanager
def signals_to(leave: Callable[[int], Any]) -> Iterator[None]:
    """Call `leave` with the exit status on Ctrl-C and on a request to end."""
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number, status in STATUS_OF_SIGNAL.items():
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and a shell's & want it
                before[number] = signal.signal(number, lambda *_, status=status: leave(status))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(status: int) -> NoReturn:
    """End without unwinding: there is nothing to clean up yet, and modules in C that are set up swallow exceptions."""
    os.write(2, f"\n{INTERRUPTED}\n".encode())
    os._exit(status)


def _top_parser() -> argparse.ArgumentParser:
    usage, description = "scgeoae COMMAND FILES [options]", "Area-true maps of single cells."
    parser = _TopParser(prog="scgeoae", usage=usage, description=description, epilog=EPILOG)
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND       ", required=True)
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=summary)
    return parser


class _Version(argparse.Action):
    def __call__(self, *_: object) -> None:
        from .. import __version__

        sys.stdout.write(f"scgeoae {__version__}\n")
        raise SystemExit(0)
