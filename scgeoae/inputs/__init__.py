"""The input of a model: choose a matrix of an AnnData and read its rows wherever it lies."""

from .matrix import Files, Matrix, ValueRange, is_streamed
from .representation import Representation, choose, expression, genes
from .rows import DenseRows, ReadRows, chunk_rows, resolve_device

__all__ = [
    "DenseRows",
    "Files",
    "Matrix",
    "ReadRows",
    "Representation",
    "ValueRange",
    "choose",
    "chunk_rows",
    "expression",
    "genes",
    "is_streamed",
    "resolve_device",
]
