"""The rules of the rooms, read from the imports and the texts of all modules."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import scgeoae
from scgeoae import metrics, pl, tl
from scgeoae.fields import ALPHA_PATH, DEFAULT_KEY, FIELDS, Keys

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(scgeoae.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
LEVELS = (
    ("__main__",),
    ("cli",),
    ("demo",),
    ("tl", "pl"),
    ("explore", "get", "metrics", "pp"),
    ("models",),
    ("result",),
    ("fields",),
    ("reference",),
    ("inputs",),
    ("fingerprint",),
    ("storage",),
    ("core",),
    ("_lookup",),
    ("_checks", "_signals"),
)
"""Packages and modules, from top to bottom. Each imports what is below it, and nothing on its own level."""

SEALED = [name for name in ("explore", "inputs", "reference", "storage") if (PACKAGE / name).is_dir()]
"""Rooms of which others import what is exported, and no module."""

NOT_FOR = {
    "core": ("anndata", "scanpy", "matplotlib", "pandas"),
    "storage": ("anndata", "scanpy", "matplotlib", "torch"),
    "inputs": ("matplotlib",),
    "reference": ("matplotlib", "scgeoae.core.processes"),
    "fields": ("scanpy", "matplotlib"),
    "result": ("scanpy", "matplotlib"),
    "tl": ("matplotlib",),
    "pl": ("scgeoae.inputs",),
    "explore": ("torch", "scgeoae.inputs"),
    "pp": ("matplotlib", "torch", "scgeoae.inputs"),
    "get": ("matplotlib", "scgeoae.core.loop"),
}
"""What else a room does not import."""


def imported(path: Path, *, types: bool = True) -> set[str]:
    """Absolute names of everything that a module imports, anywhere in the file; without ``types`` at run time only."""
    package = ["scgeoae", *path.relative_to(PACKAGE).parent.parts]
    names: set[str] = set()
    tree = ast.parse(path.read_text())
    if not types:
        tree.body = [node for node in tree.body if not is_type_checking(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return names


def is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports(path: Path) -> None:
    room, names = room_of(path), imported(path)
    if room == "__init__":
        assert not {name for name in names if within(name, "scgeoae")}  # it is lazy
        return
    (level,) = (number for number, level in enumerate(LEVELS) if room in level)
    not_below = {f"scgeoae.{other}" for rooms in LEVELS[: level + 1] for other in rooms} - {f"scgeoae.{room}"}
    assert not {name for name in names if within(name, *not_below, *NOT_FOR.get(room, ()))}
    for package in (f"scgeoae.{sealed}" for sealed in SEALED if sealed != room):
        exported = {package, *(f"{package}.{name}" for name in import_module(package).__all__)}
        assert {name for name in names if within(name, package)} <= exported


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_private_is_imported(path: Path) -> None:
    """Neither of scanpy and anndata nor of another room; `_checks` and `_lookup` are of the package itself."""
    names = imported(path)
    assert not {name for name in names if within(name, "scanpy", "anndata") and "._" in name}
    others = {name for name in names if within(name, "scgeoae") and not within(name, f"scgeoae.{room_of(path)}")}
    assert not {name for name in others if any(part.startswith("_") for part in name.split(".")[2:])}


@pytest.mark.parametrize(
    ("room", "further"),
    [
        ("pl", ("metrics.quality", "explore", "get", "fields", "storage", "_lookup", "_checks")),
        ("metrics", ("inputs", "reference", "core.neighbors", "_lookup", "_checks")),
    ],
)
def test_numbers_come_through_result_and_surface(room: str, further: tuple[str, ...]) -> None:
    allowed = [f"scgeoae.{name}" for name in (room, "result", "core.surface", *further)]
    for path in (PACKAGE / room).glob("*.py"):
        ours = {name for name in imported(path, types=False) if within(name, "scgeoae")}
        assert not {name for name in ours if not within(name, *allowed)} - {"scgeoae", "scgeoae.core"}, path.name


def texts(tree: ast.AST) -> Iterator[ast.Constant]:
    """All strings, parts of f-strings too, save for docstrings and the like, which stand alone."""
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node


def affixes() -> tuple[set[str], set[str]]:
    """What names of fields begin and end with, from the table."""
    others = {Keys.palette, Keys.scvelo}  # named by scanpy and scvelo
    names = [re.split(r"{\w+}", field.pattern) for field in FIELDS if field not in others]
    before = {first for first, *_ in names if first}
    return before, {last for *_, last in names if last} | {ALPHA_PATH.removeprefix(DEFAULT_KEY)}


def is_of_a_name(text: str) -> bool:
    """Whether it is the name of a field, or what such a name begins or ends with."""
    before, after = affixes()
    return text in before or text.endswith(tuple(after))


def test_fields_are_named_in_one_place() -> None:
    """No other module holds the name of a field, or puts one together."""
    before, after = affixes()
    assert {"_det", "_novelty", "_ensemble", "_verdict_colors", "_alpha_path"} < after
    assert before == {"velocity_"}
    others = {*tl.__all__, *pl.__all__, *metrics.__all__, "cells_outside", "share_outside", "cells_novel", "with_lens"}
    found = []
    for path in MODULES:
        if room_of(path) != "fields":
            for node in texts(ast.parse(path.read_text())):
                if is_of_a_name(node.value) and node.value.removeprefix("_") not in others:  # such as cluster_areas
                    found.append(f"{path.relative_to(PACKAGE)}:{node.lineno}: {node.value!r}")
    assert not found


@pytest.mark.parametrize(
    "code",
    [
        "f'{key}_det'",
        "key + '_anisotropy'",
        "'{}_novel'.format(key)",
        "adata.obs['geoae_det']",
        "f'velocity_{basis}'",
        "f'{key}_a_kept'",
        "name = 'geoae_alpha_path'",
    ],
)
def test_names_are_found(code: str) -> None:
    assert any(is_of_a_name(node.value) for node in texts(ast.parse(code)))


def test_import_is_light() -> None:
    code = "import sys, scgeoae; print({'torch', 'scanpy', 'matplotlib', 'sklearn'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_public_names() -> None:
    for name in scgeoae.__all__:
        assert getattr(scgeoae, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = scgeoae.nothing
