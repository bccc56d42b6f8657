"""Files that do not fit into memory: their matrices stay where they are, and results are added to a copy."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import anndata as ad
import h5py
from scanpy import logging as logg

from ._files import read_errors, whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData

LARGE_BYTES = 2 * 2**30
"""Size of a file from which its matrices are left on disk."""

IN_MEMORY = ("obs", "var", "obsm", "varm", "obsp", "uns")


def is_large(path: Path) -> bool:
    """Whether the matrices of a file should stay on disk."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file()) > LARGE_BYTES


def read_lazily(path: Path) -> AnnData:
    """Read all but `X` and the layers, of which rows are read when they are needed."""
    with read_errors(path):
        group = opened(path)
        fields = {name: ad.io.read_elem(group[name]) for name in IN_MEMORY if name in group}
        layers = {name: _lazy(matrix) for name, matrix in group["layers"].items()} if "layers" in group else {}
        return ad.AnnData(X=_lazy(group["X"]) if "X" in group else None, layers=layers, **fields)


def add_to_copy(adata: AnnData, source: Path, path: Path) -> None:
    """Write a copy of the file ``source`` with the tables of `adata` in place of its own.

    Raises
    ------
    ValueError
        If the copy would be of another kind.
    """
    if source.suffix != path.suffix:
        msg = f"{str(source)!r} is large and its matrices are copied as they are: the output must be {source.suffix}"
        raise ValueError(msg)
    with whole(path) as temporary:
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, temporary)
        group = opened(temporary, "r+")
        for name, field in {"obs": adata.obs, "obsm": dict(adata.obsm), "uns": dict(adata.uns)}.items():
            ad.io.write_elem(group, name, field)
        if isinstance(group, h5py.File):
            group.close()


def tables_of(adata: AnnData) -> AnnData:
    """The cells without their matrices."""
    return ad.AnnData(obs=adata.obs, var=adata.var, obsm=dict(adata.obsm), uns=adata.uns)


def joined(paths: Sequence[Path], obsm_key: str | None = None) -> AnnData:
    """The cells of several files in their order, with the genes that all of them have; nothing is copied.

    Raises
    ------
    ValueError
        If they have no gene in common, or the same file is named twice.
    KeyError
        If one has not the `obsm` that is asked for.
    """
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    parts = [_part(path, obsm_key) for path in paths]
    result = ad.concat(parts, join="inner", label="file", keys=names, index_unique="-")
    n_genes = [part.n_vars for part in parts]
    if obsm_key is None and result.n_vars == 0:
        msg = f"the files have no gene in common; their var_names begin with {[list(p.var_names[:2]) for p in parts]}"
        raise ValueError(msg)
    logg.info(f"{len(paths)} files, {result.n_obs} cells; {result.n_vars} genes in common, of {min(n_genes)} or more")
    return result


def _part(path: Path, obsm_key: str | None) -> AnnData:
    """Names, and X and layers as dask arrays; or the one field of `obsm`."""
    with read_errors(path):
        group = opened(path)
        fields = {name: ad.io.read_elem(group[name]) for name in ("obs", "var")}
        if obsm_key is not None:
            return ad.AnnData(obs=fields["obs"], obsm={obsm_key: ad.io.read_elem(group["obsm"][obsm_key])})
        lazy = _dask_reader()
        layers = {name: lazy(matrix) for name, matrix in group.get("layers", {}).items()}
        return ad.AnnData(X=lazy(group["X"]), layers=layers, **fields)


def _dask_reader() -> Any:
    try:
        import dask.array  # noqa: F401
    except ImportError as error:
        msg = "several files are joined by dask, which is not installed: pip install 'scgeoae[dask]'"
        raise ValueError(msg) from error
    return ad.experimental.read_elem_lazy


def opened(path: Path, mode: Any = "r") -> Any:
    """The file as a group of h5py or zarr."""
    if path.suffix != ".zarr":
        return h5py.File(path, mode)
    import zarr

    return zarr.open_group(path, mode=mode)


def _lazy(matrix: Any) -> Any:
    return matrix if "shape" in dir(matrix) and not hasattr(matrix, "keys") else ad.io.sparse_dataset(matrix)
