"""Options of a command from the signature and the docstring of its function."""

from __future__ import annotations

import argparse
import inspect
import re
import textwrap
from collections import abc
from difflib import get_close_matches
from functools import reduce
from itertools import islice
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

import numpy as np
from anndata import AnnData
from docstring_parser import DocstringStyle
from docstring_parser import parse as parse_docstring
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from jsonargparse.typing import PositiveInt

from .. import tl

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ._commands import Command

FLAGS = {
    "--json": "write the results to stdout as one JSON object",
    "--verbose": "list the fields that are added",
    "--quiet": "no progress, warnings only",
    "--debug": "show the traceback of an error",
}
"""Options of every command that take no value."""

OVERWRITE = "--overwrite"
"""One more, of commands that write cells."""

WIDTH = 78
"""Of paragraphs in the help, in letters."""

SHORT = {"-v": "--verbose", "-q": "--quiet", "-o": "--output", "-h": "--help"}

NAMES = {name: getattr(abc, name) for name in abc.__all__} | {"np": np, "AnnData": AnnData, "Path": Path}
"""What signatures name but modules import for type checkers only."""

PROGRAM = ("--output", "--config", "--threads")
"""Options of every command that take a value."""

UNTYPEABLE = (np.ndarray, np.random.Generator)
"""What nobody can type on a command line. Left to itself, the parser would build these from names of classes."""

METAVARS = {Path: "PATH", int: "N", float: "X", str: "NAME"}

WORDS = {
    r"adata_ref\.obs": "obs of the reference",
    "adata_ref": "the reference",
    "adata": "the file",
    "None": "null",
    "Seed or generator": "Seed",
    "a boolean column of var, or booleans": "a column of var that is true or false",
}
"""What docstrings call things that have other names on the command line."""

TYPES = {
    "int": "a whole number",
    "float": "a number",
    "str": "a name",
    "NoneType": "null",
    "list": "a list",
}
"""What errors call the types."""


class _Help(argparse.RawDescriptionHelpFormatter):
    """Without the second name ``--option+`` that the parser gives to lists, by which values are appended."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        return re.sub(r", --\w+\+.*", "", super()._format_action_invocation(action))


def parse(name: str, command: Command, words: Sequence[str]) -> Namespace:
    """The options of a command; ``inputs`` is a list of paths, ``output`` a path, or `None` where it may be missing."""
    parser = build(name, command)
    files, others = split(words, command.function)
    try:
        options = parser.parse_args([*others, *(["--", *files] if command.places else [])])
        options.files = files
        _assign_files(options, command)
    except ArgumentError as error:
        msg = f"{readable(str(error), options_of(command))} (see scgeoae {name} --help)"
        raise ArgumentError(None, msg) from error
    return options


def build(name: str, command: Command) -> ArgumentParser:
    """The parser of a command."""
    places = " ".join(command.places)
    parser = ArgumentParser(
        prog=f"scgeoae {name}",
        usage=f"scgeoae {name} {places}{' ' if places else ''}[options]",
        description=fill(plain((inspect.getdoc(command.function) or "").split("\n\n")[0])),
        epilog="\n".join(["examples:", *(f"  scgeoae {name}{words}" for words in command.examples), *_notes(command)]),
        formatter_class=_Help,
        exit_on_error=False,
        allow_abbrev=False,
    )
    if places:
        group = parser.add_argument_group("files")
        group.add_argument("files", nargs="*", type=str, metavar=places, help=command.files)
    add_function(parser.add_argument_group("options of the method"), command)
    _add_common(parser.add_argument_group("options of the program"), command)
    return parser


def _notes(command: Command) -> list[str]:
    """What stands below the examples."""
    return ["", fill(command.results)] if command.results else []


def _add_common(group: Any, command: Command) -> None:
    if command.output_help:
        group.add_argument("-o", "--output", type=str, metavar="PATH", help=command.output_help)
    group.add_argument(
        "--config", action="config", metavar="FILE", help="YAML file with options by name; those typed here are on top"
    )
    group.add_argument(
        "--threads", type=PositiveInt, metavar="N", help="threads of the computation; by default all cores"
    )
    if command.writes_cells:
        group.add_argument(OVERWRITE, action="store_true", help="allow the output to be the input")
    for flag, text in FLAGS.items():
        short = [letter for letter, name in SHORT.items() if name == flag]
        group.add_argument(*short, flag, action="store_true", help=text)


def _assign_files(options: Namespace, command: Command) -> None:
    """Tell inputs from the output, which comes last unless it was named by ``--output``."""
    files, output = list(options.files), options.get("output")
    wanted = " ".join(command.inputs)
    if command.output is not None and output is None:
        if len(files) != len(command.places):
            msg = f"name {' '.join(command.places)}, or {wanted} --output PATH; {_given(files)}"
            raise ArgumentError(None, msg)
        output = files.pop()
    if len(files) != len(command.inputs) and not (command.several and files):
        msg = f"takes {wanted or 'no file'}{' and --output PATH' if command.output_help else ''}; {_given(files)}"
        raise ArgumentError(None, msg)
    options.inputs = [Path(file) for file in files]
    options.output = None if output is None else Path(output)


def _given(files: list[str]) -> str:
    """The files that are there, and the likely mistake where there are too many."""
    there = f"given: {' '.join(files) or 'nothing'}"
    return f"{there}. Several values of one option are joined by commas" if len(files) > 1 else there


def add_function(group: Any, command: Command) -> None:
    """One option for each parameter that can be typed, with its type, its default and what the docstring says."""
    types, docs = get_type_hints(command.function, localns=NAMES), describe(command.function)
    names = set(types) - command.skip
    for name, parameter in inspect.signature(command.function).parameters.items():
        if name in command.skip or parameter.kind is parameter.VAR_KEYWORD:
            continue
        if types[name] is bool:
            group.add_argument(f"--{name}", action="store_true", help=plain(docs.get(name, ""), names))
            continue
        kind = typeable(types[name])
        required = parameter.default is parameter.empty and name not in command.defaults
        default = None if parameter.default is parameter.empty else parameter.default
        shown = command.defaults.get(name, ",".join(map(str, default)) if isinstance(default, tuple) else default)
        ending = " (required)" if required else "" if shown is None else f" (default: {shown})"
        group.add_argument(
            f"--{name}",
            type=kind | None if default is None else kind,
            default=default,
            required=required,
            metavar=metavar(kind),
            help=(plain(docs.get(name, ""), names) + ending).replace("%", "%%"),
        )


def typeable(hint: Any) -> Any:
    """The type without what nobody can type."""
    members = get_args(hint)
    kept = tuple(member for member in members if member not in UNTYPEABLE)
    return reduce(or_, kept) if len(kept) < len(members) else hint


def metavar(kind: Any) -> str:
    """What stands for the value in the help."""
    members = (kind, *get_args(kind))
    if any(get_origin(member) is abc.Sequence for member in members):
        return "A,B,..."
    return next((text for known, text in METAVARS.items() if known in members), "VALUE")


def options_of(command: Command) -> list[str]:
    """The long names of all options."""
    names = [f"--{name}" for name in inspect.signature(command.function).parameters if name not in command.skip]
    return [*names, *PROGRAM, *FLAGS, *[OVERWRITE] * command.writes_cells]


def describe(function: Callable[..., Any]) -> dict[str, str]:
    """What the docstring says of each parameter; where it refers to `tl.geometric_ae`, what is said there."""
    docs: dict[str, str] = {}
    for entry in parse_docstring(inspect.getdoc(function) or "", style=DocstringStyle.NUMPYDOC).params:
        docs |= dict.fromkeys(entry.arg_name.split(", "), entry.description or "")
    if function is tl.geometric_ae:
        return docs
    there, known = describe(tl.geometric_ae), inspect.signature(tl.geometric_ae).parameters
    for name, text in docs.items():
        sentences = re.split(r"(?<=\.)\s+", text)
        own = [sentence for sentence in sentences if "geometric_ae`" not in sentence]
        if name in known and own != sentences:
            same = inspect.signature(function).parameters[name].default == known[name].default
            docs[name] = " ".join([there[name] if same else there[name].split(" By default")[0], *own])
    return docs


def plain(text: str, options: Collection[str] = ()) -> str:
    """Text without the markup of the docs, in words of the command line; ``options`` get their dashes."""
    text = re.sub(r"\s*:cite:\w+:`[^`]*`", "", text)
    for name in options:
        text = re.sub(rf"(?<!`)`{name}`(?!`)", f"--{name}", text)
        text = re.sub(rf"(?<!`)`{name}='([^`']*)'`(?!`)", rf"--{name} \1", text)
    text = re.sub(r":\w+:`~?([^`]*)`", r"\1", text).replace("`", "")
    for name, word in WORDS.items():
        text = re.sub(rf"\b{name}\b", word, text)
    return " ".join(text.split())


def fill(text: str) -> str:
    """A paragraph of the help, in lines."""
    return textwrap.fill(text, WIDTH)


def split(words: Sequence[str], function: Callable[..., Any]) -> tuple[list[str], list[str]]:
    """Tell files from options of a function, which may stand between them.

    Options get underscores, as Python writes them, and ``a,b`` becomes ``[a,b]`` where several values are taken.
    """
    hints = {f"--{name}": hint for name, hint in get_type_hints(function, localns=NAMES).items()}
    flags = {*FLAGS, OVERWRITE, "--help", *(name for name, hint in hints.items() if hint is bool)}
    files: list[str] = []
    options: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            files.extend(rest)
        elif not word.startswith("-"):
            files.append(word)
        else:
            name, equals, value = word.partition("=")
            name = SHORT.get(name, "--" + name[2:].replace("-", "_") if name.startswith("--") else name)
            takes_value = not equals and name.startswith("--") and name not in flags
            values = [value] if equals else [*islice(rest, 1)] if takes_value else []
            options.extend([f"{name}={_bracketed(text, hints.get(name))}" for text in values] or [name])
    return files, options


def _bracketed(text: str, hint: Any) -> str:
    """``a,b`` as a list, where the type asks for one; where one value will do too, if there are several."""
    if text.startswith(("[", "null")):
        return text
    one = get_origin(hint) is abc.Sequence
    either = "," in text and any(get_origin(member) is abc.Sequence for member in get_args(hint))
    return f"[{text}]" if one or either else text


def readable(message: str, options: Collection[str] = ()) -> str:
    """An error of the parser in the words of the command line; ``options`` are those that it may have been about."""
    unknown = re.match(r"unrecognized arguments: (-[\w-]+)|Option '([^']+)' is not accepted", message)
    if unknown:
        name = unknown[1] or f"--{unknown[2]}"
        close = get_close_matches(name, options, n=1, cutoff=0.7)
        where = "" if unknown[1] else "--config: "
        return f"{where}there is no option {name}{f'; did you mean {close[0]}?' if close else ''}"
    if missing := re.match(r"the following arguments are required: (\w+)", message):
        return f"--{missing[1]} is required"
    if missing := re.search(r"(--\w+): expected one argument", message):
        return f"{missing[1]} needs a value"
    if restricted := re.search(r'"(\w+)".*Not of type PositiveInt: (.*) does not conform', message, re.DOTALL):
        return f"--{restricted[1]} takes a whole number above 0, not {restricted[2]}"
    name = re.search(r'Parser key "([\w.]+)"', message)
    value = re.search(r"(?:Given|Got) value: (.*)", message)
    types = re.findall(r"(?:Expected an? <class '|Not of type )(\w+)", message)
    types = sorted(dict.fromkeys(types), key="NoneType".__eq__)
    if name and value and types not in ([], ["NoneType"]):
        return f"--{name[1]} takes {' or '.join(TYPES.get(known, known) for known in types)}, not {value[1]}"
    text = re.sub(r'Parser key "([\w.]+)":', r"--\1:", message)
    text = re.sub(r"<class '(\w+)'>", r"\1", text)
    return " ".join(text.split())
