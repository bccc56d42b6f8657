"""The command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``scgeoae demo [--output DIRECTORY]``."""
    parser = argparse.ArgumentParser(prog="scgeoae", description="Area-true maps of single cells.")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="map 700 blood cells that come with scanpy, with and without regularizer")
    demo.add_argument(
        "--output", type=Path, default=Path("scgeoae-demo"), help="directory for pictures and the .h5ad file"
    )
    chosen = parser.parse_args(arguments)

    from .demo import run_demo  # torch and scanpy take seconds to import: not for --help

    for line in run_demo(chosen.output):
        sys.stdout.write(f"{line}\n")
