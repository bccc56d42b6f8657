"""The rules of the layers, read from the imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import scgeoae

PACKAGE = Path(scgeoae.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Absolute names of everything that a module imports, wherever it stands in the file."""
    package = ["scgeoae", *path.relative_to(PACKAGE).parent.parts]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return names


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_layer(path: Path) -> None:
    layer = path.relative_to(PACKAGE).parts[0]
    names = imported(path)
    private = {name for name in names if within(name, "scanpy", "anndata") and "._" in name}
    assert not private
    forbidden = {
        "core": ("anndata", "scanpy", "matplotlib", "pandas", "scgeoae.tl", "scgeoae.get", "scgeoae.pl"),
        "tl": ("matplotlib", "scgeoae.pl"),
        "pl": ("scgeoae.tl", "scgeoae._input"),
        "pp": ("matplotlib", "torch", "scgeoae.tl", "scgeoae.pl", "scgeoae._input"),
        "get": ("matplotlib", "scgeoae.pl", "scgeoae.tl"),
    }.get(layer, ())
    assert not {name for name in names if within(name, *forbidden)}


def test_import_is_light() -> None:
    code = "import sys, scgeoae; print({'torch', 'scanpy', 'matplotlib', 'sklearn'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_public_names() -> None:
    assert set(scgeoae.__all__) <= set(dir(scgeoae))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = scgeoae.nothing
