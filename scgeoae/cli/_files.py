"""Read and write files: by suffix, large ones without their matrices, outputs whole or not at all."""

from __future__ import annotations

import shutil
import warnings
from contextlib import contextmanager
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING, Any

import anndata as ad
import h5py
import zarr
from scanpy import logging as logg

from ..inputs import chunk_rows, is_streamed
from ..storage import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData

LARGE_BYTES = 2**30
"""Size of a file above which its matrices stay on disk."""

IN_MEMORY, ON_DISK = ("obs", "var", "varm", "uns"), ("layers", "obsm", "obsp")


def read(path: Path) -> AnnData:
    """Read an AnnData."""
    with _read_errors(path):
        return ad.read_zarr(path) if path.suffix == ".zarr" else ad.read_h5ad(path)


def read_or_open(path: Path, output: Path | None = None) -> AnnData:
    """Read an AnnData; if the file is large, leave X, layers, obsm and obsp on disk.

    The matrices of a large file are copied to the output as they are, which must therefore have the same suffix.
    """
    files = path.rglob("*") if path.is_dir() else [path]
    if sum(file.stat().st_size for file in files if file.is_file()) <= LARGE_BYTES:
        return read(path)
    if output is not None and path.suffix != output.suffix:
        msg = f"{str(path)!r} is large and its matrices are copied as they are: the output must be {path.suffix}"
        raise ValueError(msg)
    with _read_errors(path):
        group = _open(path)
        fields = {name: ad.io.read_elem(group[name]) for name in IN_MEMORY if name in group}
        for name in ON_DISK:
            fields[name] = {key: _lazy(group[name][key]) for key in group.get(name, ())}
        return ad.AnnData(X=_lazy(group["X"]) if "X" in group else None, **fields)


def join(paths: Sequence[Path], *, obsm: str | None, layer: str | None) -> AnnData:
    """Join the cells of several files by their common genes, with one matrix: `obsm`, `layer` or X, left on disk."""
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    parts = [_part(path, obsm, layer) for path in paths]
    joined = ad.concat(parts, join="inner", label="file", keys=names, index_unique="-")
    if obsm is None and joined.n_vars == 0:
        msg = f"the files have no gene in common; their var_names begin with {[list(p.var_names[:2]) for p in parts]}"
        raise ValueError(msg)
    fewest = min(part.n_vars for part in parts)
    logg.info(f"{len(paths)} files, {joined.n_obs} cells; {joined.n_vars} genes in common, of {fewest} or more")
    return joined


def _part(path: Path, obsm: str | None, layer: str | None) -> AnnData:
    """Read names and one matrix of a file: X or a layer as a dask array, an obsm in memory."""
    name = f"obsm/{obsm}" if obsm else f"layers/{layer}" if layer else "X"
    with _read_errors(path):
        group = _open(path)
        obs, var = ad.io.read_elem(group["obs"]), ad.io.read_elem(group["var"])
        matrix = group.get(name)
    if matrix is None:
        msg = f"{str(path)!r} holds no {name}"
        raise KeyError(msg)
    if obsm:
        return ad.AnnData(obs=obs, obsm={obsm: ad.io.read_elem(matrix)})
    if matrix.attrs.get("encoding-type") == "csc_matrix":
        msg = f"{name} of {str(path)!r} is stored by columns (CSC) and cannot be read by rows; convert it to CSR"
        raise ValueError(msg)
    if not var.index.is_unique:
        duplicates = ", ".join(var.index[var.index.duplicated()].unique()[:3])
        msg = f"{str(path)!r} has duplicate gene names ({duplicates}), and files are joined by gene names"
        raise ValueError(msg)
    if find_spec("dask") is None:
        msg = "several files are joined by dask, which is not installed: pip install 'scgeoae[dask]'"
        raise ImportError(msg)
    lazy = ad.experimental.read_elem_lazy(matrix, chunks=(chunk_rows(len(var)), len(var)))
    return ad.AnnData(obs=obs, var=var, **({"layers": {layer: lazy}} if layer else {"X": lazy}))


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    """Raise a `ValueError` if a file cannot be read."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:  # a damaged file can raise any exception
        reason = str(error) or type(error).__name__
        msg = f"{str(path)!r} cannot be read; it is damaged or no AnnData file: {reason[:300]}"
        raise ValueError(msg) from error


def _open(path: Path, *, writable: bool = False) -> Any:
    mode: Any = "r+" if writable else "r"
    if path.suffix != ".zarr":
        return h5py.File(path, mode)
    # consolidated metadata would hide what is added
    return zarr.open_group(path, mode=mode, use_consolidated=False if writable else None)


def _lazy(element: Any) -> Any:
    """Return an array or a sparse matrix on disk, anything else in memory."""
    if not hasattr(element, "keys"):
        return element
    encoding = element.attrs.get("encoding-type", "csr_matrix")  # missing in files of old versions
    return ad.io.sparse_dataset(element) if encoding in ("csr_matrix", "csc_matrix") else ad.io.read_elem(element)


def write(adata: AnnData, path: Path, source: Path) -> None:
    """Write an AnnData that was read from `source`, compressed as that is.

    If its matrices are on disk, add the rest to a copy of `source`.
    """
    compression = _compression(source, path)
    with replacing(path) as temporary:
        if any(map(is_streamed, [adata.X, *adata.layers.values(), *adata.obsm.values(), *adata.obsp.values()])):
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, temporary)
            _add(adata, temporary, compression)
            return
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Writing zarr v2 data")  # anndata will change its default
            adata.strings_to_categoricals()  # as `AnnData.write_h5ad` and `write_zarr` do
            if path.suffix == ".zarr":
                store = zarr.open_group(temporary, mode="w", zarr_format=ad.settings.zarr_write_format)
                ad.io.write_elem(store, "/", adata, dataset_kwargs=compression)
                zarr.consolidate_metadata(store.store)
                return
            content = BytesIO()  # HDF5 itself crashes at exit if the disk was full
            with h5py.File(content, "w") as file:
                ad.io.write_elem(file, "/", adata, dataset_kwargs=compression)
            temporary.write_bytes(content.getvalue())


def _compression(source: Path, output: Path) -> dict[str, Any]:
    """How arrays of the output are compressed: as the largest array of the source, by gzip where HDF5 lacks the filter.

    Zarr compresses by itself, unless both are stores and the source is not compressed.
    """
    if not source.exists():  # any more
        return {}
    to_zarr, arrays = output.suffix == ".zarr", list[Any]()
    if source.suffix == ".zarr":
        arrays = [array for _, array in _open(source).members(max_depth=None) if isinstance(array, zarr.Array)]
        compressed = bool(max(arrays, key=lambda array: array.nbytes).compressors)
        if to_zarr:
            return {} if compressed else {"compressors": None}
        return {"compression": "gzip"} if compressed else {}
    with _open(source) as file:
        file.visititems(lambda _, item: arrays.append(item) if isinstance(item, h5py.Dataset) else None)
        largest = max(arrays, key=lambda array: array.nbytes)
        if to_zarr or largest.id.get_create_plist().get_nfilters() == 0:
            return {}
        if largest.compression not in ("gzip", "lzf"):
            return {"compression": "gzip"}
        return {"compression": largest.compression, "compression_opts": largest.compression_opts}


def _add(adata: AnnData, path: Path, compression: Mapping[str, Any]) -> None:
    """Replace in a file what `adata` holds in memory."""
    group = _open(path, writable=True)
    ad.io.write_elem(group, "obs", adata.obs, dataset_kwargs=compression)
    ad.io.write_elem(group, "uns", dict(adata.uns), dataset_kwargs=compression)
    if "obsm" not in group:
        ad.io.write_elem(group, "obsm", {})
    for name, matrix in adata.obsm.items():
        if not is_streamed(matrix):
            ad.io.write_elem(group["obsm"], name, matrix, dataset_kwargs=compression)
    if isinstance(group, h5py.File):
        group.close()
    else:
        zarr.consolidate_metadata(group.store)
