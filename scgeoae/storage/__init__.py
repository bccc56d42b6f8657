"""Plain arrays of dataclasses, the model file, and files that are written whole or not at all."""

from .arrays import from_arrays, to_arrays
from .files import check_writable, replacing
from .model_file import read_arrays, write_arrays

__all__ = ["check_writable", "from_arrays", "read_arrays", "replacing", "to_arrays", "write_arrays"]
