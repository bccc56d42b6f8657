"""Area-true maps of single cells: a geometric autoencoder for scanpy."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("scgeoae")
__all__ = ["get", "metrics", "pl", "pp", "read_model", "tl", "write_model"]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import; `import scgeoae` should not
    if name in {"read_model", "write_model"}:
        return getattr(import_module(".models", __name__), name)
    if name in __all__:
        return import_module(f".{name}", __name__)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
