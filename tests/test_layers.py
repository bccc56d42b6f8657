"""The rules of the layers, read from the imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import scgeoae

PACKAGE = Path(scgeoae.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
SEALED = ("inputs", "reference", "storage")
"""Rooms of which others import what is exported, and no module."""
ABOVE = ("scgeoae.tl", "scgeoae.pl", "scgeoae.explore", "scgeoae.get", "scgeoae.pp", "scgeoae.metrics", "scgeoae.cli")
"""Layers that use `core` and `result`."""


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


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_layer(path: Path) -> None:
    layer = path.relative_to(PACKAGE).parts[0]
    names = imported(path)
    private = {name for name in names if within(name, "scanpy", "anndata") and "._" in name}
    assert not private
    forbidden = {
        "core": (
            "anndata",
            "scanpy",
            "matplotlib",
            "pandas",
            *ABOVE,
            "scgeoae.result",
            *(f"scgeoae.{name}" for name in SEALED),
        ),
        "storage": (
            "anndata",
            "scanpy",
            "matplotlib",
            "torch",
            *ABOVE,
            "scgeoae.result",
            "scgeoae.inputs",
            "scgeoae.reference",
        ),
        "inputs": ("matplotlib", *ABOVE, "scgeoae.result", "scgeoae.reference", "scgeoae.storage"),
        "reference": ("matplotlib", "scgeoae.core.sharding", *ABOVE),
        "result.py": ("scanpy", "matplotlib", "scgeoae.inputs", *ABOVE),
        "tl": ("matplotlib", "scgeoae.pl", "scgeoae.explore"),
        "pl": ("scgeoae.tl", "scgeoae.inputs"),
        "explore": ("torch", "scgeoae.inputs", *set(ABOVE) - {"scgeoae.explore"}),
        "pp": ("matplotlib", "torch", "scgeoae.tl", "scgeoae.pl", "scgeoae.inputs"),
        "get": ("matplotlib", "scgeoae.pl", "scgeoae.tl", "scgeoae.core.training"),
    }.get(layer, ())
    assert not {name for name in names if within(name, *forbidden)}
    for room in set(SEALED) - {layer}:
        package = f"scgeoae.{room}"
        exported = {package, *(f"{package}.{name}" for name in import_module(package).__all__)}
        assert {name for name in names if within(name, package)} <= exported


@pytest.mark.parametrize("layer", ["pl", "metrics"])
def test_numbers_come_through_result_and_manifold(layer: str) -> None:
    further = {"pl": ["metrics.quality", "explore", "storage"], "metrics": ["inputs", "_checks"]}[
        layer
    ]  # the measures; the data to compare
    allowed = [f"scgeoae.{name}" for name in (layer, "result", "core.manifold", *further)]
    for path in (PACKAGE / layer).glob("*.py"):
        ours = {name for name in imported(path, types=False) if within(name, "scgeoae")}
        assert not {name for name in ours if not within(name, *allowed)} - {"scgeoae", "scgeoae.core"}, path.name


def test_fields_are_named_in_one_place() -> None:
    """Nobody else puts together the name of a column or of an entry of `uns`."""
    suffixes = (
        "_det",
        "_anisotropy",
        "_reconstruction_error",
        "_outside",
        "_novelty",
        "_novel",
        "_areas",
        "_distances",
        "_velocity_normal",
        "_alpha_path",
        "_displacement",
        "_agreement",
        "_log_det_std",
        "_direction_std",
        "_ensemble",
        "_verdict",
        "_kept",
        "_chance",
    )
    for path in MODULES:
        if path.name == "result.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr) and isinstance(node.values[-1], ast.Constant):
                assert node.values[-1].value not in suffixes, f"{path.name}:{node.lineno}"


def test_import_is_light() -> None:
    code = "import sys, scgeoae; print({'torch', 'scanpy', 'matplotlib', 'sklearn'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_public_names() -> None:
    assert set(scgeoae.__all__) <= set(dir(scgeoae))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = scgeoae.nothing
