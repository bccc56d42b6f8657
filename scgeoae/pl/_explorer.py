"""An interactive page that decodes the map under the pointer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .._checks import check_points
from .._lookup import embedding_key
from ..explore import Explorer, contents, page
from ..fields import DEFAULT_KEY
from ..result import Result
from ..storage import check_writable, replacing
from ._scatter import coordinates_to_draw

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import numpy as np
    from anndata import AnnData


def explorer(
    adata: AnnData,
    path: str | os.PathLike[str] | None = None,
    *,
    key: str = DEFAULT_KEY,
    color: str | Sequence[str] | None = None,
    genes: Sequence[str] | None = None,
    dimensions: tuple[int, int] = (0, 1),
    cell_names: bool = False,
    paths: Mapping[str, np.ndarray] | None = None,
    layer: str | None = None,
    use_raw: bool | None = None,
    beside: str | None = None,
) -> Explorer:
    """Make an interactive page of a map that decodes the place under the pointer.

    The page is one HTML file that needs neither Python nor a network; open it in a browser of 2023 or later. It holds
    the decoder, so at the pointer it shows the indicatrix beside the undistorted circle, the relative determinant, the
    anisotropy, and the decoded profile: the genes that differ most from the average over the map. Cells are colored by
    columns of `obs` or by genes, measured or decoded. Two clicks show genes along the straight path between them. A
    selection shows shares of groups, its area on the map and in the data, and its genes, and two selections are
    compared. All of it also works by the keyboard; the page explains itself, and its address holds what it shows.

    The page can be passed on, with what is in it: the coordinates, determinants and anisotropies of all cells, the
    columns of `obs` that `color` names, the genes as described there, the coordinates `beside`, and the decoder without
    the rest of the genes. It holds no other column and, unless `cell_names`, no names of cells.

    On maps of more than two dimensions, the other coordinates of a place are those of the nearest cell.

    Parameters
    ----------
    adata
        Annotated data matrix with a result of :func:`scgeoae.tl.geometric_ae` or :func:`scgeoae.tl.fit_decoder`.
    path
        Write the page to this file (.html), whole or not at all.
    key
        Name of the result.
    color
        Columns of `obs` to color the cells by: numbers, or up to 1,000 groups, in the colors that scanpy has stored
        or would choose; or genes, as measured.
    genes
        Genes to include, measured and decoded. By default 200: those whose decoded expression tells the groups of the
        first column of groups in `color` apart, of each group in turn, or else those that vary most over the map; in
        scaled units if they were scaled, and only genes that can be read (:func:`scgeoae.tl.gene_readout`). They come
        with measured values of the first of them, up to 2 MB, which are stored in 8 bits. If the model does not know
        genes, its input features, such as principal components, are decoded instead.
    dimensions
        The two dimensions to draw.
    cell_names
        Include the names of the cells, for the file of a selection. Otherwise that holds their numbers.
    paths
        Paths to choose from, by name: points (m, 2) of the map, such as ``points`` of
        :func:`scgeoae.get.geodesic`, which are drawn with genes along them. Maps of two dimensions only.
    layer, use_raw
        Read measured values from this layer, or from `adata.raw`, as in :func:`scanpy.pl.embedding`. By default they
        come from the matrix that the model reads genes of, and those of genes that it lacks from `adata.raw`, unless
        ``use_raw=False``.
    beside
        Draw these coordinates of the cells in a second picture beside the map: a name in `obsm`, with or without
        ``X_``, of two columns, such as ``"spatial"`` or ``"umap"``. What is selected or pointed at in one of the
        pictures stands out in both. The second axis of ``"spatial"`` points down, as in the image of a tissue.

    Returns
    -------
    The page: a notebook shows it, `html` is its text, and `path` where it was written.

    Raises
    ------
    KeyError
        If there is no result under this key, no such column of `obs`, gene, layer or name in `obsm`.
    ValueError
        If the name of the file does not end in .html or .htm, there is no cell, the map has one dimension, `dimensions`
        are not dimensions of the map, a column has too many groups, a path is not one of the map, the coordinates
        beside it do not have two columns, or there is no `adata.raw`.
    TypeError
        If a column holds what is neither a number nor a group.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sc.pp.pca(adata)  # so that genes can be decoded
    >>> scgeoae.tl.geometric_ae(adata, n_steps=100)
    >>> scgeoae.pl.explorer(adata, "map.html", color=["bulk_labels", "n_genes"])
    Explorer(path=PosixPath('map.html'))
    """
    target = None if path is None else Path(path)
    if target is not None:
        if target.is_dir():
            msg = f"{str(target)!r} is a directory; name a file in it."
            raise IsADirectoryError(msg)
        if target.suffix.lower() not in {".html", ".htm"}:
            msg = f"The explorer writes an HTML page, so {str(target)!r} must end in .html or .htm."
            raise ValueError(msg)
        check_writable(target)
    result = Result(adata, key)
    n_components = coordinates_to_draw(result.coordinates(), dimensions, "the explorer").shape[1]
    checked = {name: check_points(points, 2, f"paths[{name!r}]") for name, points in (paths or {}).items()}
    if short := [name for name, points in checked.items() if len(points) < 2]:
        msg = f"A path needs at least two points; {short} have fewer."
        raise ValueError(msg)
    if checked and n_components != 2:
        msg = f"Paths lie on maps of two dimensions; the map has {n_components}."
        raise ValueError(msg)
    made = page(
        contents(
            result,
            color=[color] if isinstance(color, str) else list(color or ()),
            genes=[genes] if isinstance(genes, str) else genes,
            dimensions=(dimensions[0], dimensions[1]),
            cell_names=cell_names,
            paths=checked,
            layer=layer,
            use_raw=use_raw,
            beside=None if beside is None else embedding_key(adata, beside),
        )
    )
    if target is not None:
        with replacing(target) as temporary:
            temporary.write_text(made, encoding="utf-8")
    return Explorer(made, target)
