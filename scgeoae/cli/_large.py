"""Files that do not fit into memory: their matrices stay where they are, and results are added to a copy."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import anndata as ad
import h5py
from scanpy import logging as logg

from ..inputs import chunk_rows, is_streamed
from ._files import read_errors, whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData

LARGE_BYTES = 2**30
"""Size of a file from which its matrices are left on disk."""

IN_MEMORY, ON_DISK = ("obs", "var", "varm", "uns"), ("layers", "obsm", "obsp")


def is_large(path: Path) -> bool:
    """Whether the matrices of a file should stay on disk."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file()) > LARGE_BYTES


def read_lazily(path: Path) -> AnnData:
    """Read all but the matrices with a row for each cell, of which rows are read when they are needed."""
    with read_errors(path):
        group = opened(path)
        fields = {name: ad.io.read_elem(group[name]) for name in IN_MEMORY if name in group}
        for name in ON_DISK:
            fields[name] = {key: _lazy(group[name][key]) for key in group.get(name, ())}
        return ad.AnnData(X=_lazy(group["X"]) if "X" in group else None, **fields)


def is_lazy(adata: AnnData) -> bool:
    """Whether matrices are on disk."""
    return any(map(is_streamed, [adata.X, *adata.layers.values(), *adata.obsm.values(), *adata.obsp.values()]))


def check_same_kind(source: Path, path: Path) -> None:
    """Refuse an output to which the matrices of a large file cannot be copied as they are."""
    if source.suffix != path.suffix:
        msg = f"{str(source)!r} is large and its matrices are copied as they are: the output must be {source.suffix}"
        raise ValueError(msg)


def add_to_copy(adata: AnnData, source: Path, path: Path) -> None:
    """Write a copy of the file ``source`` with all that `adata` holds in memory in place of its own."""
    with whole(path) as temporary:
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, temporary)
        group = _writable(temporary)
        new = {name: matrix for name, matrix in adata.obsm.items() if not is_streamed(matrix)}
        if "obsm" not in group:
            ad.io.write_elem(group, "obsm", {})
        for name, field in {"obs": adata.obs, "uns": dict(adata.uns)}.items():
            ad.io.write_elem(group, name, field)
        for name, matrix in new.items():
            ad.io.write_elem(group["obsm"], name, matrix)
        if isinstance(group, h5py.File):
            group.close()
        else:
            import zarr

            zarr.consolidate_metadata(group.store)


def tables_of(adata: AnnData) -> AnnData:
    """The cells without their matrices."""
    return ad.AnnData(obs=adata.obs, var=adata.var, obsm=dict(adata.obsm), uns=adata.uns)


def joined(paths: Sequence[Path], *, obsm: str | None = None, layer: str | None = None) -> AnnData:
    """The cells of several files in their order, with the genes that all of them have; nothing is copied.

    Parameters
    ----------
    paths
        Files.
    obsm, layer
        What to take of them; `X` if neither is given.

    Raises
    ------
    ValueError
        If they have no gene in common, or one has several genes of one name.
    KeyError
        If one has not what is asked for.
    """
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    parts = [_part(path, obsm, layer) for path in paths]
    result = ad.concat(parts, join="inner", label="file", keys=names, index_unique="-")
    n_genes = [part.n_vars for part in parts]
    if obsm is None and result.n_vars == 0:
        msg = f"the files have no gene in common; their var_names begin with {[list(p.var_names[:2]) for p in parts]}"
        raise ValueError(msg)
    logg.info(f"{len(paths)} files, {result.n_obs} cells; {result.n_vars} genes in common, of {min(n_genes)} or more")
    return result


def _part(path: Path, obsm: str | None, layer: str | None) -> AnnData:
    """Names, and the one matrix: X or a layer as dask array, or the field of `obsm`."""
    name = f"obsm/{obsm}" if obsm else f"layers/{layer}" if layer else "X"
    with read_errors(path):
        group = opened(path)
        obs, var = ad.io.read_elem(group["obs"]), ad.io.read_elem(group["var"])
        matrix = group.get(name)
        kind = None if matrix is None else matrix.attrs.get("encoding-type")
    if matrix is None:
        msg = f"{str(path)!r} holds no {name}"
        raise KeyError(msg)
    if obsm:
        return ad.AnnData(obs=obs, obsm={obsm: ad.io.read_elem(matrix)})
    if kind == "csc_matrix":
        msg = (
            f"{name} of {str(path)!r} lies by columns (CSC), so that rows cannot be read by themselves: write it as CSR"
        )
        raise ValueError(msg)
    if not var.index.is_unique:
        twice = ", ".join(var.index[var.index.duplicated()].unique()[:3])
        msg = f"{str(path)!r} has several genes of one name ({twice}), and genes are matched by name"
        raise ValueError(msg)
    lazy = _dask_array(matrix, len(var))
    return ad.AnnData(obs=obs, var=var, **({"layers": {layer: lazy}} if layer else {"X": lazy}))


def _dask_array(matrix: Any, n_genes: int) -> Any:
    """A matrix in chunks of rows, whatever the chunks of the file."""
    require("dask", "several files are joined")
    return ad.experimental.read_elem_lazy(matrix, chunks=(chunk_rows(n_genes), n_genes))


def require(module: str, purpose: str) -> None:
    """Raise an `ImportError` that names the extra which is missing."""
    if find_spec(module) is None:
        msg = f"{purpose} by {module}, which is not installed: pip install 'scgeoae[{module}]'"
        raise ImportError(msg)


def opened(path: Path) -> Any:
    """The file as a group of h5py or zarr, to read."""
    if path.suffix != ".zarr":
        return h5py.File(path)
    require("zarr", "zarr stores are read")
    import zarr

    return zarr.open_group(path, mode="r")


def _writable(path: Path) -> Any:
    """The same to write, without the metadata that a zarr store keeps of all its parts."""
    if path.suffix != ".zarr":
        return h5py.File(path, "r+")
    import zarr

    return zarr.open_group(path, mode="r+", use_consolidated=False)


def _lazy(element: Any) -> Any:
    """An array or a sparse matrix on disk, anything else in memory."""
    if not hasattr(element, "keys"):
        return element
    kind = element.attrs.get("encoding-type", "csr_matrix")  # older files do not tell
    return ad.io.sparse_dataset(element) if kind in ("csr_matrix", "csc_matrix") else ad.io.read_elem(element)
