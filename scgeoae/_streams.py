"""Old name of parts of :mod:`scgeoae.inputs`."""

from .inputs import Files, chunk_rows, is_streamed

__all__ = ["Files", "chunk_rows", "is_streamed"]
