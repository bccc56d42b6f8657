"""Read the rows of a matrix wherever it lies: in memory, an HDF5 or zarr file, a dask array, a memory map."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from .._checks import refuse_masked
from ..core.rows import block_size
from ..fingerprint import Values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import DTypeLike

ALL = slice(None)
RUN, N_RUNS = 1_000, 10
"""Rows, at most, that are read together where a sample of all rows is read, and the least number of such runs."""


def is_streamed(values: Any) -> bool:
    """Whether a matrix is read from elsewhere when it is sliced: h5py, zarr, dask, sparse datasets, memory maps."""
    if isinstance(values, np.memmap):
        return True
    if isinstance(values, np.ndarray) or sparse.issparse(values):  # views of an AnnData have classes of anndata
        return False
    module = type(values).__module__.split(".")[0]
    return hasattr(values, "shape") and hasattr(values, "dtype") and module in {"h5py", "zarr", "dask", "anndata"}


def is_dask(values: Any) -> bool:
    """Whether this is a dask array; does not import dask."""
    dask_array = sys.modules.get("dask.array")
    return dask_array is not None and isinstance(values, dask_array.Array)


@dataclass(frozen=True)
class ValueRange:
    """Smallest and largest value of a matrix, and whether all its values are whole numbers, as raw counts are."""

    low: float
    high: float
    whole: bool

    def __str__(self) -> str:
        """Two numbers for a message."""
        return f"{self.low:.3g} to {self.high:.3g}{' in whole numbers' if self.whole else ''}"


class Matrix:
    """A matrix (n, g) of real numbers that is read by rows, or some columns of it.

    Parameters
    ----------
    values
        numpy array or sparse matrix; or an array of h5py, zarr or dask, a sparse dataset of anndata, a memory map.
    source
        Its name in messages, such as ``obsm['X_pca']``.
    columns
        The columns to use: booleans, or positions in the order wanted. By default all.

    Attributes
    ----------
    shape
        Number of rows and of columns in use.
    streamed
        Whether rows are read from outside memory.

    Raises
    ------
    TypeError
        If it is not a two-dimensional matrix of real numbers, lies on disk by columns, or is an array of CuPy.
    ValueError
        If values are masked.
    """

    def __init__(self, values: Any, source: str, columns: np.ndarray | None = None) -> None:
        refuse_masked(values, source)
        self.source, self.streamed = source, is_streamed(values)
        if type(values).__module__.split(".")[0] in {"cupy", "cupyx"}:
            msg = f"{source} is in the memory of a GPU. Run `rapids_singlecell.get.anndata_to_CPU(adata)` first."
            raise TypeError(msg)
        if not self.streamed:
            values = values.tocsr() if sparse.issparse(values) else np.asarray(values)
        elif getattr(values, "format", "csr") == "csc":
            msg = f"{source} lies on disk by columns (CSC), but is read by rows: write it as CSR."
            raise TypeError(msg)
        if len(values.shape) != 2 or np.dtype(values.dtype).kind not in "fiub":
            found = f"dtype {values.dtype} and shape {values.shape}"
            msg = f"{source} must be a two-dimensional matrix of real numbers; it has {found}."
            raise TypeError(msg)
        used = np.arange(values.shape[1])[ALL if columns is None else columns]
        self.values = values
        self.shape: tuple[int, int] = (values.shape[0], len(used))
        first = np.array_equal(used, np.arange(len(used)))
        self._columns: slice | np.ndarray = slice(len(used)) if first else used
        self._whole = first and len(used) == values.shape[1]
        self._files = Files(_paths(values))
        self._dask_bounds = np.cumsum([0, *values.chunks[0]]) if is_dask(values) else None
        self._dask_chunks: tuple[tuple[int, int], Any] = (0, 0), None
        """Start and stop of the rows of a dask array that were computed last, and these rows."""

    def read(self, rows: slice | np.ndarray = ALL) -> Any:
        """Read rows as they are stored, as numpy array or CSR; positions may come in any order.

        Raises
        ------
        OSError
            If the files changed since this object was made, or cannot be read.
        """
        if self.streamed:
            part = self._read_streamed(rows)
        elif rows is ALL:
            part = self.values  # a slice of a sparse matrix is a copy
        else:
            part = self.values[rows]
        return part if self._whole else part[:, self._columns]

    def dense(self, rows: slice | np.ndarray = ALL, dtype: DTypeLike = np.float64) -> np.ndarray:
        """Read rows as a dense, contiguous and writeable array; values too large for ``dtype`` become infinite."""
        part = self.read(rows)
        with np.errstate(over="ignore"):
            part = part.astype(dtype, copy=False)
        return part.toarray() if sparse.issparse(part) else np.require(part, requirements=["C", "W", "A"])

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[slice]:
        """Iterate over the rows in order, in slices of which each is small enough to be read densely."""
        stop = self.shape[0] if stop is None else stop
        for first in range(start, stop, self._block_size):
            yield slice(first, min(first + self._block_size, stop))

    def spread(self, n: int) -> Iterator[slice]:
        """Iterate over about ``n`` rows, or all if there are fewer, in short slices spread evenly over all rows."""
        n_rows = self.shape[0]
        run = min(self._block_size, RUN, -(-n // N_RUNS))
        starts = np.arange(0, n_rows, run) if n >= n_rows else np.linspace(0, n_rows - run, -(-n // run)).astype(int)
        for start in starts.tolist():
            yield slice(start, min(start + run, n_rows))

    def by_cell(self) -> Values:
        """The values for a fingerprint, or to be compared with one."""
        if isinstance(self.values, np.ndarray) and not self.streamed and isinstance(self._columns, slice):
            return Values.of(self.values[:, self._columns])
        return Values(self.shape, self._one_by_one if self.streamed else self.dense, slow=self.streamed)

    def _one_by_one(self, rows: np.ndarray) -> np.ndarray:
        """Read few rows, each by itself: chunks of several files may be of different kinds, which dask cannot join."""
        return np.concatenate([np.empty((0, self.shape[1])), *(self.dense(slice(i, i + 1)) for i in rows.tolist())])

    def value_range(self, n: int | None = None) -> ValueRange:
        """Range of the values of all rows, or of about ``n`` spread over all; 0 to 0 if there are none.

        Raises
        ------
        ValueError
            If a value is missing or infinite.
        """
        low, high, whole = np.inf, -np.inf, True
        for rows in self.blocks() if n is None else self.spread(n):
            part = self.read(rows)
            values = part.data if sparse.issparse(part) else part
            if values.size:
                low, high = np.minimum(low, values.min()), np.maximum(high, values.max())  # NaN if a value is
                if not np.isfinite([low, high]).all():
                    msg = f"{self.source} holds missing or infinite values."
                    raise ValueError(msg)
                whole = whole and bool((values == np.rint(values)).all())
            if values.size < np.prod(part.shape):  # a sparse matrix does not store its zeros
                low, high = min(low, 0.0), max(high, 0.0)
        return ValueRange(float(low), float(high), whole) if low <= high else ValueRange(0.0, 0.0, whole=True)

    @property
    def _block_size(self) -> int:
        width = self.values.shape[1] if self.streamed else self.shape[1]  # a file is read with all columns
        return block_size(width)

    def _read_streamed(self, rows: slice | np.ndarray) -> Any:
        self._files.check()
        try:
            part = self._read_slice(rows) if isinstance(rows, slice) else self._read_positions(rows)
        except (OSError, RuntimeError, ValueError) as error:  # by h5py, zarr and codecs, if a file is damaged
            self._files.check()
            msg = (
                f"Rows of {str(self._files) or self.source} cannot be read: {str(error)[:300] or type(error).__name__}"
            )
            raise OSError(msg) from error
        self._files.check()
        return part

    def _read_slice(self, rows: slice) -> Any:
        """Read neighboring rows; of a dask array compute whole chunks and keep them for the next rows in them."""
        if self._dask_bounds is None:
            return self.values[rows]
        start, stop, _ = rows.indices(self.shape[0])
        first, last = np.searchsorted(self._dask_bounds, [start, stop - 1], side="right")
        low, high = self._dask_bounds[[first - 1, last]].tolist()
        if self._dask_chunks[0] != (low, high):
            self._dask_chunks = (0, 0), None  # makes room first
            self._dask_chunks = (low, high), _computed(self.values[low:high])
        return self._dask_chunks[1][start - low : stop - low]

    def _read_positions(self, rows: np.ndarray) -> Any:
        rising, place = np.unique(rows, return_inverse=True)  # h5py takes no others
        return _computed(getattr(self.values, "oindex", self.values)[rising])[place]


def _computed(part: Any) -> Any:
    part = part.compute() if is_dask(part) else part
    return part.tocsr() if sparse.issparse(part) else part  # dask joins dense and sparse files to COO


class Files:
    """Files or folders that must not change while they are read.

    Parameters
    ----------
    paths
        Those that do not exist are left out.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._stamps = {path: _stamp(path) for path in paths if path.exists()}

    def __str__(self) -> str:
        """The first of them."""
        return str(next(iter(self._stamps), ""))

    def check(self) -> None:
        """Raise an `OSError` if one of them changed since this object was made."""
        for path, stamp in self._stamps.items():
            if _stamp(path) != stamp:
                msg = f"{path} {'changed' if path.exists() else 'vanished'} while it was read."
                raise OSError(msg)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _paths(values: Any) -> list[Path]:
    """The file of a matrix, or the folders of its zarr store; none where they are not known."""
    group = getattr(values, "group", values)  # anndata's sparse datasets are groups of arrays
    if isinstance(values, np.memmap):
        return [Path(values.filename)] if values.filename else []
    if hasattr(group, "file"):
        return [Path(group.file.filename)]
    root = getattr(getattr(group, "store", None), "root", None)
    if root is None:
        return []
    folder = Path(root) / group.path
    arrays = [folder, folder / "data", folder / "indices", folder / "indptr"]
    return [place for array in arrays for place in (array, array / "c")]  # chunks lie in either
