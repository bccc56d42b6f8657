"""Put new cells on a map that was trained before."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

from anndata import AnnData
from scanpy import logging as logg

from ..fields import DEFAULT_KEY, Field, Keys, check_labels
from ..fingerprint import Fingerprint, Values
from ..inputs import resolve_device
from ..models import read_model
from ..reference import Labeling, MapModel, labeling, place, placed_by_neighbors, query_of, without
from ..result import Result, check_names, lens_fields, result_fields
from ._log import finish, tool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

DISPLACED, MIN_DISPLACED = 0.25, 50
"""A query of at least so many cells is displaced if this share of its squared reconstruction error is common to all its
cells. Measured (``tests/benchmarks/mapping.py displaced``): 0.01 and less for cells like those of the reference, up to
0.1 for most cell types alone, 0.24 for a rare one; 0.3 to 0.5 after a shift of each component by half of its standard
deviation."""


@tool()
def map_cells(
    adata: AnnData,
    adata_ref: AnnData | MapModel | str | PathLike[str],
    *,
    key: str = DEFAULT_KEY,
    obs: str | Sequence[str] | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Put new cells on the map of a reference, and flag those that the reference does not explain.

    Genes are matched by name. The model of a reference that was trained on principal components contains its PCA,
    provided that `X` reproduced the components at training; the model of a reference that was scaled by
    :func:`scanpy.pp.scale` contains the means and standard deviations. The query is then log-normalized expression.
    Every cell is mapped by itself: its place does not depend on the other cells of the query.

    On a UMAP or another map that was made elsewhere (:func:`fit_decoder`, ``key="geoae_umap"``), a cell is placed by
    the encoder that was fitted to the map. If `adata_ref` holds the cells of the reference, their input and
    coordinates, its place is the geometric median of the places of the 15 reference cells that are nearest in the
    input, nearer ones counting more, and of the encoder's place: a cell whose neighbors lie on two islands is put on
    that of most, not between them. A cell that lies on the map already is put where it is.

    A warning says if the query is displaced as a whole, as by a batch effect: if a quarter of its squared
    reconstruction error is common to all its cells.

    Genes that the query lacks are set to the mean of the reference, with a warning, as long as they carry at most 50 %
    of the weight of all genes. With 40 % missing, a typical cell moves by 5 to 7 % of the radius of the map
    (``tests/benchmarks/mapping.py missing``).

    Parameters
    ----------
    adata
        The query. `X`, or the layer that the reference used, may be dense, sparse or, in a backed object, on disk. It
        is log-normalized as the reference was, or already scaled with the reference's own mean and standard deviation
        (as the reference itself is). If the reference was trained on an `obsm` that is not a PCA of its `X` (Harmony,
        scVI), the query must hold an `obsm` of the same name, in the same space.
    adata_ref
        An AnnData with a result of :func:`scgeoae.tl.geometric_ae` or :func:`scgeoae.tl.fit_decoder`, a model
        (:func:`scgeoae.get.model`), or the path of a file by :func:`scgeoae.write_model`. Never modified.
    key
        Name of the result in `adata_ref`, and of the one that is written.
    obs
        Labels to carry over. With the cells of the reference: columns of ``adata_ref.obs``, by a vote of the 15
        reference cells that are nearest in the input of the model: in direction from the mean of the reference, or by
        distance if there are at most 10 features. With a model or a file: labels that :func:`scgeoae.write_model`
        stored, by the tile of the map in which the cell lies. They get names of their own: no column of `adata` that
        is not of this result is replaced.
    copy
        Return a copy instead of writing to `adata`.

    Returns
    -------
    `None`, or the copy if `copy=True`. Sets these fields, those of another `key` under its name (a UMAP of the query's
    own stays as it is: the coordinates on that of the reference are ``obsm['geoae_umap']``):

    `adata.obsm['X_geoae']` : :class:`numpy.ndarray` (n, d), `float32`
        Map coordinates; a length is a distance in the reference's input, but for maps that were made elsewhere.
    `adata.obs['geoae_det']` : :class:`pandas.Series`, `float64`
        Relative determinant, times the average over the reference.
    `adata.obs['geoae_anisotropy']` : :class:`pandas.Series`, `float64`
        Largest over smallest stretching by the decoder, at least 1.
    `adata.obs['geoae_reconstruction_error']` : :class:`pandas.Series`, `float64`
        Root mean square over features of what the map does not explain, in input units.
    `adata.obs['geoae_outside']` : :class:`pandas.Series`, `bool`
        Whether the reconstruction error is beyond the 99th percentile of the reference's, or the cell lies off the
        region of the map that the reference occupies (maps of two dimensions), or the cell expresses no gene of the
        model. Expect up to 4 % false positives among cells like the reference's.
    `adata.obs['geoae_novelty']` : :class:`pandas.Series`, `float64`
        Mean residual of the top 1 % of genes, relative to reference cells with equally many detected genes: 1 is
        typical, NaN for cells that express no gene of the model. See the notes. Only if the model contains the PCA of
        the reference.
    `adata.obs['geoae_novel']` : :class:`pandas.Series`, `bool`
        Whether the novelty is beyond the 95th percentile of the reference's, or not known. Expect 5 to 7 % false
        positives among cells like the reference's, and more if genes are missing.
    `adata.obs['geoae_cell_type']`, `adata.obs['geoae_cell_type_confidence']` : `category` and `float64`
        (``f'{key}_{name}'`` for each ``name`` in `obs`.) The label, in the reference's categories as texts, and the
        share of the votes for it. Missing, and NaN, for cells that express no gene of the model and, with a model or a
        file, where no labeled cells of the reference lie.
    `adata.uns['geoae_cell_type_colors']` : :class:`numpy.ndarray` of `str`
        (``f'{key}_{name}_colors'``.) The reference's colors of the categories, if it has any.
    `adata.obsm['X_geoae_lens']`, `adata.uns['geoae_lens']` : :class:`numpy.ndarray` (n, 2) and :class:`dict`
        Coordinates on the bent map, and the lens of the reference (:func:`lens`), if it has one.
    `adata.uns['geoae']` : :class:`dict`
        `'params'`, with ``mapped=True`` and `'obs'`, `'model'` and `'fingerprint'`: plots and getters work on the
        query. If genes are missing, `'params'` has `'n_missing_genes'`, `'missing_share'` (the share of the sum of
        squared loadings that falls on them; without loadings, the share of the genes) and
        `'missing_share_by_component'`.

    Raises
    ------
    KeyError
        If the reference holds no result, the query no such layer or `obsm`, or `adata_ref` no such label.
    ValueError
        If too many genes are missing, the query was scaled by itself, values are not finite, the model file is damaged,
        the model has no encoder (earlier versions fitted only a decoder to a UMAP), or `adata` is `adata_ref`. Nothing
        is written then.
    TypeError
        If `adata_ref` is something else.
    OSError
        If the file of the query changes or vanishes while it is read.

    Notes
    -----
    Cells of a type that the reference lacks often differ from a known type only in genes that no component contains.
    They are mapped to the known type, and their reconstruction error, which is measured in the components, is small.
    Their novelty is large: it is the mean of the 1 % of genes that exceed their reconstruction from the components
    most, in standard deviations of the gene over the reference, divided by the same of reference cells with as many
    detected genes. So a shallow cell is not novel for that alone. The percentiles of the reference are corrected for
    the fact that its own cells were in the PCA.

    With one type left out of the reference at a time, 66 % of the cells of a type are novel in human kidney, on
    average, and 30 % in pbmc3k, at a specificity of 94 %. Types with genes of their own are found (B cells 86 %, NK
    cells 68 %); those that have a close relative in the reference are not (memory CD4 T cells 3 %). With half of the
    counts, the averages are 61 % and 25 %, at the same specificity (``tests/benchmarks/mapping.py left_out``). A group
    of cells is foreign if the share of novel cells in it is well above 7 %.

    If genes are the input of the model, the reconstruction error is measured in them, and there is no novelty.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> reference, query = adata[::2].copy(), adata[1::2].copy()
    >>> scgeoae.tl.geometric_ae(reference, n_steps=100)
    >>> scgeoae.tl.map_cells(query, reference, obs="bulk_labels")
    >>> query.obsm["X_geoae"].shape
    (350, 2)
    """
    if adata is adata_ref and not copy:
        msg = "adata is adata_ref, and the reference is never modified. Pass copy=True."
        raise ValueError(msg)
    keys = Keys.named(None if key == DEFAULT_KEY else key)
    check_names(adata, keys)
    model, reference = _reference(adata_ref, key)
    names = [] if obs is None else [obs] if isinstance(obs, str) else list(obs)
    check_labels(keys, names)
    labels = _labeling(model, reference, names)
    query = query_of(adata, model)
    by = _neighbors(model, reference)

    start = logg.info(f"mapping {adata.n_obs} cells")
    if names and reference is not None and reference.other_cells:
        logg.warning(
            f"{reference.other_cells}: new cells get the labels of these cells alone, also cells of other types."
        )
    cells, novelty, silent = place(model, query, by)
    if silent.any():
        logg.warning(
            f"{silent.sum()} of the {len(silent)} cells of the query express no gene of the model: they are flagged as "
            "outside and get no label, and where they lie means nothing."
        )
    if cells.common > DISPLACED and adata.n_obs >= MIN_DISPLACED:
        logg.warning(
            f"{cells.common:.0%} of the squared reconstruction error is common to all cells of the query: it is "
            "displaced as a whole. Was it measured or prepared in another way? Bring a query from another batch into "
            "the space of the reference first, for example by Symphony or scVI."
        )
    outside = model.frame.outside(cells.z, cells.error) | silent
    values: dict[Field, Any] = {Keys.coordinates: cells.z, Keys.outside: outside}
    if novelty is not None and model.input.novelty is not None:
        values |= {Keys.novelty: novelty, Keys.novel: (novelty > model.input.novelty.threshold) | silent}
    found = {name: without(label, silent) for name, label in labels.label(query.rows, cells.z).items()}
    values[Keys.label] = {name: label for name, (label, _) in found.items()}
    values[Keys.confidence] = {name: confidence for name, (_, confidence) in found.items()}
    values[Keys.palette] = labels.colors
    if model.lens is not None:
        values |= lens_fields(model.lens, cells.z)
    fingerprint = {
        "input": Fingerprint.of(Values.of_rows(query.rows), adata.obs_names),
        "coordinates": Fingerprint.of(Values.of(cells.z), adata.obs_names),
    }
    params = {"mapped": True, "obs": names or None, **query.missing}
    values |= result_fields(keys, model, cells, params=params, fingerprint=fingerprint)
    return finish(adata, keys, values, start, copy=copy)


def _labeling(model: MapModel, result: Result | None, names: Sequence[str]) -> Labeling:
    """Choose how new cells are labeled, by the cells of the reference if there are any."""
    if result is None:
        return labeling(model, None, names)
    return labeling(model, result.adata, names, result.rows)


def _neighbors(model: MapModel, result: Result | None) -> Callable[[Tensor], Tensor] | None:
    """Return what places new cells on a map that was made elsewhere, if there are cells that lie on it."""
    if not model.made_elsewhere or result is None or result.mapped:
        return None
    try:
        rows = result.rows()
    except (KeyError, TypeError, ValueError) as error:
        logg.warning(f"New cells are placed by the encoder alone, without the cells of the reference: {error.args[0]}")
        return None
    return placed_by_neighbors(model, rows, result.coordinates())


def _reference(adata_ref: Any, key: str) -> tuple[MapModel, Result | None]:
    """Return the model of the reference, on its device, and its result, if there are any cells.

    The coordinates of these must be those of the result: new cells would land elsewhere on a map that was changed.
    """
    result = None
    if isinstance(adata_ref, MapModel):
        model = adata_ref
    elif isinstance(adata_ref, AnnData):
        result = Result(adata_ref, key)
        result.check_coordinates()
        model = result.model.to(resolve_device(None))
    elif isinstance(adata_ref, str | PathLike):
        model = read_model(adata_ref).to(resolve_device(None))
    else:
        msg = f"adata_ref must be an AnnData, a model or the path of a model file, not {type(adata_ref).__name__}."
        raise TypeError(msg)
    if not model.has_encoder:
        msg = (
            "The reference has no encoder that places new cells: its decoder was fitted to a map by an earlier version "
            "of scgeoae, or interrupted. Run `scgeoae.tl.fit_decoder` again."
        )
        raise ValueError(msg)
    return model, result
