"""Old name of parts of :mod:`scgeoae.inputs`."""

from .inputs import choose as choose_representation
from .inputs import resolve_device

__all__ = ["choose_representation", "resolve_device"]
