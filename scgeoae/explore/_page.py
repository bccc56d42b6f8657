"""The HTML of an interactive page: one file with its style, its program and its contents."""

from __future__ import annotations

import html
import json
from base64 import b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SCRIPTS = (
    "decoder.js",
    "lens.js",
    "cells.js",
    "points.js",
    "drawing.js",
    "picture.js",
    "map.js",
    "beside.js",
    "export.js",
    "panel.js",
    "selection.js",
    "controls.js",
    "keyboard.js",
    "address.js",
    "page.js",
)
"""The program: one module, in this order."""

HEIGHT = 640
"""Of the page in a notebook, in pixels."""


@dataclass(frozen=True)
class Explorer:
    """An interactive page; a notebook shows it.

    Attributes
    ----------
    html
        The whole page.
    path
        Where it was written, if it was.
    """

    html: str = field(repr=False)
    path: Path | None = None

    def _repr_html_(self) -> str:
        """Show the page in a frame that cannot reach the notebook around it."""
        source = html.escape(self.html)
        return (
            f'<iframe srcdoc="{source}" sandbox="allow-scripts allow-downloads" title="scgeoae explorer" '
            f'style="width: 100%; height: {HEIGHT}px; border: 0"></iframe>'
        )


def page(contents: Mapping[str, Any]) -> str:
    """Put a page together.

    A browser runs only the program and uses only the style whose hashes the page names, and loads nothing: names of
    genes and cells are data and cannot become part of it.
    """
    folder = files(__package__)
    script = "\n".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
    style = (folder / "page.css").read_text(encoding="utf-8")
    template = Template((folder / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        script=script,
        script_hash=_hash(script),
        style=style,
        style_hash=_hash(style),
        contents=json.dumps(contents, allow_nan=False).replace("<", "\\u003c"),
    )


def _hash(text: str) -> str:
    """Return the name of a text in a content security policy."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
