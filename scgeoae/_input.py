"""Old name of parts of :mod:`scgeoae.inputs`."""

from .inputs import DenseRows, resolve_device
from .inputs import choose as choose_representation

__all__ = ["DenseRows", "choose_representation", "resolve_device"]
