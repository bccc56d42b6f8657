"""The input of a model: choose a matrix of an AnnData, read its rows wherever it lies, make the same of new cells."""

from .matrix import Files, Matrix, is_streamed
from .recipe import query_rows, recipe_of, reference_rows
from .representation import Representation, choose, genes
from .rows import DenseRows, ReadRows, chunk_rows, resolve_device
from .velocity import read_velocity

__all__ = [
    "DenseRows",
    "Files",
    "Matrix",
    "ReadRows",
    "Representation",
    "choose",
    "chunk_rows",
    "genes",
    "is_streamed",
    "query_rows",
    "read_velocity",
    "recipe_of",
    "reference_rows",
    "resolve_device",
]
