"""Options: made from the signatures of functions, the values that they accept, and the configuration file."""

from __future__ import annotations

import ast
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable

FILE = click.Path(path_type=Path)


def kind(metavar: str, meaning: str, parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Make a type of options; the word ``null`` stands for `None`.

    Parameters
    ----------
    metavar
        Placeholder of the value in the help.
    meaning
        Description of valid values, for error messages.
    parse
        Converts a word of the command line, or a list or dict of words from a configuration file.
    """

    def convert(value: Any) -> Any:
        try:
            return None if value == "null" else parse(value)
        except (ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
            msg = f"{value!r} is not {meaning}."
            raise click.BadParameter(msg) from error

    convert.__name__ = metavar  # where click looks for it
    return convert


def _words(value: Any) -> list[str]:
    return [word.strip() for word in (value.strip("[] ").split(",") if isinstance(value, str) else value)]


def _weights(value: Any) -> Any:
    read = yaml.safe_load(value) if isinstance(value, str) and value.startswith("{") else value
    return read if isinstance(read, str) else {name: float(weight) for name, weight in read.items()}


NAMES = kind("A,B,...", "a list of names such as a,b", lambda value: tuple(_words(value)))
INTEGERS = kind("N,N,...", "a list of integers such as 64,64", lambda value: tuple(int(word) for word in _words(value)))
KINDS = {
    "Mapping[str, float]": kind("NAME", "a name or weights such as '{area: 1, isometry: 0.5}'", _weights),
    "Sequence[str]": NAMES,
    "Sequence[int]": INTEGERS,
    "tuple[int, int]": INTEGERS,
    "float": kind("X", "a number", float),
    "int": kind("N", "an integer", int),
    "str": kind("NAME", "a name", "".__add__),  # a TypeError for lists
}
"""Types of arguments and of the options for them; of several types of one argument, the first counts."""


def options_of(function: str, /, **helps: str) -> list[click.Option]:
    """Make options for some arguments of a function, with the types and defaults of its signature.

    The signature is read from the source code: importing the function would import torch, which takes seconds.

    Parameters
    ----------
    function
        Path of the function in the package: folder, module and name, joined by dots.
    **helps
        The arguments, and what the help says of each.
    """
    folder, module, name = function.split(".")
    source = files("scgeoae").joinpath(folder, f"{module}.py").read_text("utf-8")
    (signature,) = (
        node.args for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == name
    )
    without = [None] * (len(signature.args) - len(signature.defaults))
    defaults = [*without, *signature.defaults, *signature.kw_defaults]
    pairs = zip([*signature.args, *signature.kwonlyargs], defaults, strict=True)
    arguments = {argument.arg: (argument, default) for argument, default in pairs}
    return [_option_of(*arguments[name], help) for name, help in helps.items()]


def _option_of(argument: ast.arg, default: ast.expr | None, help: str) -> click.Option:
    """Make the option for an argument; it is required if the argument has no default."""
    types = ast.unparse(argument.annotation).split(" | ") if argument.annotation else []
    if types == ["bool"]:
        return flag(f"--{argument.arg}", help)
    if "bool" in types:
        return click.Option([f"--{argument.arg}/--no_{argument.arg}"], default=None, help=help)
    type = next(kind for name, kind in KINDS.items() if name in types)
    try:
        value = None if default is None else ast.literal_eval(default)
    except ValueError:  # the name of a constant
        value = None
    value = ",".join(map(str, value)) if isinstance(value, tuple) else value
    return option(f"--{argument.arg}", type, help, value, required=default is None)


def option(names: str, type: Any, help: str, default: Any = None, **settings: Any) -> click.Option:
    """Make an option with a value."""
    if default is not None:
        settings |= {"default": default, "show_default": True}
    return click.Option(names.split(), type=type, help=help, **settings)


def flag(names: str, help: str) -> click.Option:
    """Make an option without a value."""
    return click.Option(names.split(), is_flag=True, help=help)


def read_config(ctx: click.Context, _: click.Parameter, file: TextIO | None) -> None:
    """Take the options in a YAML file as defaults, which the command line overrides."""
    if file is None:
        return
    try:
        with file:
            given = yaml.load(file, yaml.BaseLoader) or {}  # values stay text, for the options to convert
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise click.BadParameter(str(error)) from error
    if not isinstance(given, dict):
        msg = f"expected lines such as 'n_steps: 500', found {given!r}."
        raise click.BadParameter(msg)
    given = {name.replace("-", "_"): "null" if value == "" else value for name, value in given.items()}
    names = [str(option.name) for option in ctx.command.params if option.name not in ("files", "config")]
    for name in sorted(given.keys() - names):
        msg = f"--config: there is no option {name!r}."
        raise click.NoSuchOption(name, msg, get_close_matches(name, names), ctx)
    ctx.default_map = given


OUTPUT = [option("-o --output", FILE, "The output, instead of naming it last.")]
REPLACING = [*OUTPUT, flag("--overwrite", "Allow the output to replace an input.")]
PROGRAM = [
    option(
        "--config",
        click.File(encoding="utf-8"),
        "YAML file of options, such as 'n_steps: 500'. The command line overrides it.",
        is_eager=True,  # before the options whose defaults it sets
        expose_value=False,
        callback=read_config,
    ),
    option(
        "--threads",
        click.IntRange(min=1),
        "Most threads to use. Default: OMP_NUM_THREADS, or all cores. Training takes one unless its steps are large.",
        metavar="N",
    ),
    flag("--json", "Write the results to stdout as one JSON object."),
    flag("-v --verbose", "List the fields that are added."),
    flag("-q --quiet", "Show warnings only, no progress."),
    flag("--debug", "Show the traceback of an error."),
]
"""Options of every command."""
