"""What an interactive page holds: cells, columns, genes, decoder and occupied region."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_hex
from scanpy import pl
from scipy import sparse

from .._lookup import column, gene_names, groups_of, holds_numbers, labels_of, matrix_of, palette_of
from ..core.region import OccupiedRegion, occupied_region
from ..fields import Keys
from ..reference import Bend
from ..result import frame_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from anndata import Raw

    from ..core.observation import Affine
    from ..reference import Space
    from ..result import Result

FORMAT = 1
"""Of the contents, which the program of the page (`page.js`) compares with its own; rises if older programs cannot read
them."""

N_GENES = 200
"""Genes that are included by default."""

MEASURED_BYTES = 2_000_000
"""Size in the page up to which measured values of these are added."""

N_SAMPLE = 20_000
"""About how many cells the mean and standard deviation of decoded genes are taken from."""

MAX_GROUPS = 1_000
MAX_CHARACTERS = 200
"""Longer names are cut."""

MISSING, LEVELS = 255, 254
"""The level of a missing number, and the highest one."""

CLIPPED = (0.001, 0.999)
"""Quantiles between which numbers have levels; those beyond have the outermost ones."""

COVERED, SMALLEST = 99, 2.0
"""Percentage of the cells that the limits of the colors of the determinant cover, and the smallest limit, so that an
even map looks even."""

DIVERGING = LinearSegmentedColormap.from_list("around 1", ["#2c3fb0", "#86a3e0", "#b9b9b9", "#e59a7c", "#b2182b"])
"""Colors of the determinant. Cells where it is 1 stand out from a white and from a black background."""

GRAY = "#808080"
STRENGTHS, N_TILES = (0.35, 0.7, 1.0), 96
"""Strengths of the lens that the page holds besides the stored one, and meshes along the longer side of its box."""

SPATIAL = "spatial"
"""Name of coordinates in tissue, whose second axis points down, as in images; scanpy and squidpy draw them so."""

BATCH = 16
"""Genes whose measured values are read together."""


def contents(
    result: Result,
    *,
    color: Sequence[str],
    genes: Sequence[str] | None,
    dimensions: tuple[int, int],
    cell_names: bool,
    paths: Mapping[str, np.ndarray],
    layer: str | None = None,
    use_raw: bool | None = None,
    beside: str | None = None,
) -> dict[str, Any]:
    """Collect what the page of a result holds.

    Parameters
    ----------
    result
        The result; its map has at least two dimensions and a cell.
    color
        Columns of `obs`, or genes, measured.
    genes
        Genes to include, measured and decoded; by default those that can be read and tell the groups of the first
        column of groups apart, as they are decoded, or vary most over the map.
    dimensions
        The two dimensions to draw.
    cell_names
        Whether to include the names of the cells.
    paths
        Points (m, 2) of the map by name of the path.
    layer, use_raw
        Where the measured values are; see :func:`_sources`.
    beside
        Name in `obsm` of the coordinates of a second picture.

    Returns
    -------
    Numbers, texts, lists and dictionaries; arrays are compressed, see :func:`packed`.
    """
    adata, model = result.adata, result.model
    z = result.decoder_points()
    order = [*dimensions, *(i for i in range(z.shape[1]) if i not in dimensions)]
    drawn = z[:, order]
    region = model.region or occupied_region(drawn[:, :2])
    if model.region is not None and dimensions == (1, 0):
        region = OccupiedRegion(region.mask.T, (*region.extent[2:], *region.extent[:2]))
    determinant, anisotropy = _distortion(result)
    every = -(-len(z) // N_SAMPLE)
    affine, hidden = _in_order(result.surface.affine(), result.surface.hidden(z[::every]), order)
    space = model.space("genes" if model.knows_genes else "input")
    decoded = _decoded(space, affine, hidden)
    sources = _sources(adata, space, layer=layer, use_raw=use_raw)
    columns = [_column(adata, name, sources) for name in color]
    shown = next((name for name, made in zip(color, columns, strict=True) if "categories" in made), None)
    if genes is None:
        groups = None if shown is None else groups_of(adata, shown)[1][::every]
        entries, rows = _genes(_chosen(decoded, groups), decoded, sources, MEASURED_BYTES)
    else:
        entries, rows = _genes(list(dict.fromkeys(genes)), decoded, sources, None)
    basis = result.keys.obsm.removeprefix("X_")
    names = json.dumps(adata.obs_names.astype(str).tolist()).encode() if cell_names else None
    return {
        "format": FORMAT,
        "dimension": z.shape[1],
        "coordinates": _float32(drawn),
        "frame": list(result.frame(dimensions)),
        "axes": [f"{basis}{number + 1}" for number in dimensions],
        "names": None if names is None else packed(np.frombuffer(names, dtype=np.uint8)),
        "columns": [*columns, determinant, anisotropy],
        "genes": entries,
        "paths": [{"name": short(name), "places": _float32(points[:, order])} for name, points in paths.items()],
        "decoder": {
            "layers": [{"weight": _float32(weight), "bias": _float32(bias)} for weight, bias in affine.layers],
            "surface": _float32(affine.surface),
            "bend": {"weight": _float32(decoded.bend), "bias": _float32(decoded.bend_bias)},
            "readout": {"weight": _float32(decoded.weight[rows]), "bias": _float32(decoded.bias[rows])},
            "unit": float(model.unit),
        },
        "region": {
            "mask": packed(region.mask.astype(np.uint8)),
            "columns": region.mask.shape[1],
            "extent": list(region.extent),
        },
        "lens": _lens(result, dimensions),
        "beside": None if beside is None else _beside(adata, beside),
        "colormaps": {"sequential": _colors(mpl.colormaps["viridis"]), "diverging": _colors(DIVERGING)},
    }


def packed(array: np.ndarray) -> dict[str, str]:
    """Compress an array of uint8, uint16 or float32; the page reads it as a typed array."""
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    return {"dtype": array.dtype.name, "gzip": b64encode(gzip.compress(little.tobytes(), 6, mtime=0)).decode()}


def _float32(array: np.ndarray) -> dict[str, str]:
    return packed(array.astype(np.float32))


def short(name: Any) -> str:
    """Cut a long name, and replace what cannot be printed, such as marks that turn the direction of text."""
    text = str(name)
    text = text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)


def _colors(cmap: Colormap) -> dict[str, str]:
    """Return 256 colors of a color map, (256, 3)."""
    return packed(cmap(np.arange(256), bytes=True)[:, :3])


def _levels(values: np.ndarray, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    """Convert numbers (n,) to levels of 8 bits; add the values of the lowest and the highest level."""
    finite = np.isfinite(values)
    if low is None or high is None:
        known = values[finite] if finite.any() else np.zeros(1)
        low, high = np.quantile(known, CLIPPED).tolist()
        if low == high:
            low, high = float(known.min()), float(known.max())
    levels = np.full(len(values), MISSING, dtype=np.uint8)
    share = (np.clip(values[finite], low, high) - low) / ((high - low) or 1)
    levels[finite] = np.rint(LEVELS * share)
    return {"levels": packed(levels), "low": low, "high": high}


def _lens(result: Result, dimensions: tuple[int, int]) -> dict[str, Any] | None:
    """Bend a mesh and the cells by several strengths of the lens, if there is one; the first one is 0."""
    stored, order = result.model.lens, list(dimensions)
    if stored is None:
        return None
    z = result.coordinates()
    left, right, bottom, top = stored.extent
    sides = np.array([right - left, top - bottom])
    n_x, n_y = 1 + np.maximum(np.rint(N_TILES * sides / sides.max()), 1).astype(int)
    x, y = np.linspace(left, right, n_x), np.linspace(bottom, top, n_y)
    nodes = np.stack(np.meshgrid(x, y), -1)  # (n_y, n_x, 2)
    swapped = order == [1, 0]
    strengths = [0.0, *sorted({*STRENGTHS, stored.strength} - {0.0})]
    made: dict[str, list[Any]] = {"meshes": [], "shifts": [], "frames": [], "largest": [], "averages": []}
    for strength in strengths:
        lens = stored.at(strength)
        mesh, moved = lens.forward(nodes.reshape(-1, 2)).reshape(nodes.shape), lens.forward(z)
        made["meshes"].append(_float32((mesh.transpose(1, 0, 2) if swapped else mesh)[..., order]))
        made["shifts"].append(_shifts((moved - z)[:, order]) if strength else None)
        made["frames"].append(list(frame_of(moved[:, order])))
        larger = lens.magnification(z)
        made["largest"].append(float(larger.max()))
        made["averages"].append(float(np.exp(np.log(larger).mean())))
    return {
        "strengths": strengths,
        "extent": [stored.extent[2 * axis + side] for axis in order for side in (0, 1)],
        "columns": int(n_y if swapped else n_x),
        **made,
    }


def _beside(adata: AnnData, obsm: str) -> dict[str, Any]:
    """Read the coordinates of a second picture; cells without coordinates are not drawn."""
    values = adata.obsm[obsm]
    places = np.array(values.toarray() if sparse.issparse(values) else values, dtype=np.float32)
    if places.ndim != 2 or places.shape[1] != 2:
        msg = (
            f"obsm[{obsm!r}] has the shape {places.shape}; a picture needs two columns. "
            f"Store two of them: `adata.obsm['two'] = adata.obsm[{obsm!r}][:, :2]`."
        )
        raise ValueError(msg)
    known = np.isfinite(places).all(1)
    if not known.any():
        msg = f"obsm[{obsm!r}] has no finite coordinates."
        raise ValueError(msg)
    places[~known] = np.nan
    if obsm.removeprefix("X_") == SPATIAL:
        places[:, 1] *= -1
    return {
        "name": short(obsm.removeprefix("X_")),
        "coordinates": packed(places),
        "frame": list(frame_of(places[known])),
    }


def _shifts(shifts: np.ndarray) -> dict[str, Any]:
    """Convert shifts (n, 2) to levels of 16 bits."""
    low, high = float(shifts.min()), float(shifts.max())
    share = (shifts - low) / ((high - low) or 1)
    return {"levels": packed(np.rint(65535 * share).astype(np.uint16)), "low": low, "high": high}


def log_det_limit(determinant: np.ndarray) -> float:
    """Return the limit of ``|ln det|`` for colors, of determinants (n,): the 99th percentile, but at least ln 2."""
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = np.abs(np.log(determinant))
    finite = sizes[np.isfinite(sizes)]
    return float(max(np.percentile(finite, COVERED) if len(finite) else 0, np.log(SMALLEST)))


def _distortion(result: Result) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make columns of the logarithms of the relative determinant and the anisotropy, which may be 0 or infinite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        log_det, log_anisotropy = (np.log(result.numbers(field)) for field in (Keys.determinant, Keys.anisotropy))
    limit = log_det_limit(result.numbers(Keys.determinant))
    return (
        {"name": "relative determinant", "log": True, "diverging": True, **_levels(log_det, -limit, limit)},
        {"name": "anisotropy", "log": True, **_levels(log_anisotropy)},
    )


def _column(adata: AnnData, name: str, sources: Sequence[Source]) -> dict[str, Any]:
    """Convert a column of `obs`, numbers to levels and anything else to groups with their colors, or a gene."""
    if name not in adata.obs and any(name in source.names for source in sources):
        ((_, levels),) = _measured([name], sources, None)
        return {"name": short(name), **levels}
    values = column(adata, name)
    if holds_numbers(values):
        return {"name": short(name), **_levels(values.to_numpy(dtype=np.float64, na_value=np.nan))}
    groups = labels_of(adata, name)
    frame = values.to_frame()
    AnnData().strings_to_categoricals(frame)  # scanpy's plots do so: texts come in their natural order
    if frame[name].dtype != values.dtype:
        groups = groups.reorder_categories(frame[name].cat.categories)
    names = groups.categories
    used = np.bincount(groups.codes[groups.codes >= 0], minlength=len(names)) > 0
    if used.sum() > MAX_GROUPS:
        msg = f"obs[{name!r}] has {used.sum()} different values; colors are for at most {MAX_GROUPS} groups."
        raise ValueError(msg)
    codes = np.append(np.cumsum(used) - 1, used.sum())[groups.codes]  # the last one is for missing values
    colors = np.array(palette_of(adata, name, names) or _usual_colors(len(names)), dtype=object)[used]
    return {
        "name": short(name),
        "categories": [short(category) for category in names[used]],
        "colors": colors.tolist(),
        "codes": packed(codes.astype(np.uint8 if used.sum() < 256 else np.uint16)),
    }


def _usual_colors(n_groups: int) -> list[str]:
    """Return the colors that scanpy would store for a column without colors."""
    cycle = mpl.rcParams["axes.prop_cycle"].by_key().get("color", [])
    palettes = (cycle, pl.palettes.default_20, pl.palettes.default_28, pl.palettes.default_102)
    usual = next((palette for palette in palettes if n_groups <= len(palette)), [GRAY] * n_groups)
    return [to_hex(color) for color in usual[:n_groups]]


class Decoded(NamedTuple):
    """What is decoded, as an affine function of features: the values ``h`` (n, width) before the decoder's last layer.

    Where genes are no affine function of these, bent features ``elu(h bend^T + bend_bias)`` (n, p) follow.

    Attributes
    ----------
    space
        Names of genes, or of input features if genes are unknown, (g,), and how well they are read.
    weight, bias
        (g, width + p) and (g,); the values are those before scaling, as of :func:`scgeoae.get.decode`.
    bend, bend_bias
        (p, width) and (p,); p may be 0.
    features
        (m, width + p), at some cells.
    """

    space: Space
    weight: np.ndarray
    bias: np.ndarray
    bend: np.ndarray
    bend_bias: np.ndarray
    features: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean of each gene over the cells, (g,)."""
        return self.weight @ self.features.mean(0) + self.bias

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation of each gene over the cells, (g,)."""
        covariance = np.atleast_2d(np.cov(self.features, rowvar=False, ddof=0))
        return np.sqrt(np.maximum(((self.weight @ covariance) * self.weight).sum(1), 0))


def _in_order(affine: Affine, hidden: np.ndarray, order: list[int]) -> tuple[Affine, np.ndarray]:
    """Return the decoder for coordinates in this order, and the values (m, width) before its last layer."""
    if not affine.layers:  # the last layer reads the coordinates
        surface, weight = affine.surface[:, order], affine.weight[:, order]
        return affine._replace(surface=surface, weight=weight), hidden[:, order]
    (first, bias), *inner = affine.layers
    return affine._replace(layers=[(first[:, order], bias), *inner]), hidden


def _decoded(space: Space, affine: Affine, hidden: np.ndarray) -> Decoded:
    """Continue the last layer of the decoder to genes."""
    if not pd.Index(space.names).is_unique:
        msg = "Names of genes are not unique. Run `adata.var_names_make_unique()` before the training."
        raise ValueError(msg)
    width, n_features = hidden.shape[1], len(affine.bias)
    bend = Bend(np.empty((n_features, 0)), np.empty(0)) if space.bend is None else space.bend
    inner = Bend(affine.weight.T @ bend.weight, affine.bias @ bend.weight + bend.bias)  # of the hidden values
    n_bent = len(bend.bias)
    slopes = np.zeros((width + n_bent, n_features + n_bent))
    slopes[:width, :n_features], slopes[width:, n_features:] = affine.weight.T, np.eye(n_bent)
    origin = np.append(affine.bias, np.zeros(n_bent))[None]
    weight, bias = space.linear(slopes).T, space.affine(origin)[0]
    return Decoded(space, weight, bias, inner.weight.T, inner.bias, inner.features(hidden))


def _chosen(decoded: Decoded, groups: np.ndarray | None) -> list[str]:
    """Choose the genes of a page among those that can be read.

    With groups of the cells, (m,) int, -1 for none, these are the genes that tell them apart: of each group in turn the
    gene whose mean differs most from the mean of the other groups, each of which counts alike, however small. Without,
    they are those that vary most. Both in units of the scaled genes, if they were scaled.
    """
    scaling = decoded.space.scaling
    spread = np.ones(len(decoded.bias)) if scaling is None else scaling.std
    used = np.empty(0) if groups is None else np.unique(groups[groups >= 0])
    if len(used) > 1:
        features = np.array([decoded.features[groups == group].mean(0) for group in used])  # (k, width + p)
        means = features @ (decoded.weight / spread[:, None]).T  # (k, g)
        score = np.abs(means - means.mean(0))
    else:
        score = (decoded.deviation / spread)[None]
    ranked = np.argsort(-score, axis=1, kind="stable")  # (k, g)
    in_turn = dict.fromkeys(ranked.T.ravel().tolist())
    readable = [position for position in in_turn if decoded.space.readable[position]]
    return decoded.space.names[readable[:N_GENES]].tolist()


def _genes(
    names: Sequence[str], decoded: Decoded, sources: Sequence[Source], budget: int | None
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Make the entries of these genes, and find the rows of the decoded ones among all that can be decoded."""
    space = decoded.space
    rows = pd.Index(space.names).get_indexer(np.array(names, dtype=object))
    measurable = [any(name in source.names for source in sources) for name in names]
    if unknown := [name for name, row, here in zip(names, rows, measurable, strict=True) if row < 0 and not here]:
        found = " or ".join(f"the {len(source.names)} genes of {source.title}" for source in sources) or "any matrix"
        msg = (
            f"Did not find {unknown[:5]} among {found}, nor among what the model decodes "
            f"({', '.join(space.names[:3])}, …)."
        )
        raise KeyError(msg)
    measured = dict(_measured(names, sources, budget))
    entries = [{"name": short(name), **measured.get(name, {})} for name in names]
    mean, deviation = decoded.mean, decoded.deviation
    for number, entry in enumerate(np.flatnonzero(rows >= 0)):
        row = rows[entry]
        entries[entry] |= {"row": number, "mean": float(mean[row]), "sd": float(deviation[row])}
        if space.r2 is not None:
            entries[entry] |= {"r2": float(space.r2[row]), "readable": bool(space.readable[row])}
    return entries, rows[rows >= 0]


class Source(NamedTuple):
    """A matrix with measured expression.

    Attributes
    ----------
    title
        Its name in messages.
    names
        Its genes.
    read
        A function of names of genes: their values (n, b) in the units of the decoded ones.
    """

    title: str
    names: pd.Index
    read: Callable[[list[str]], np.ndarray]


def _sources(adata: AnnData, space: Space, *, layer: str | None, use_raw: bool | None) -> list[Source]:
    """Find where measured values are: the first source that holds a gene is read.

    By default these are the matrix that the model reads genes of, and the raw matrix for genes that it lacks. A
    ``layer`` or ``use_raw=True`` choose another matrix, and ``use_raw=False`` leaves out the raw one.
    """
    if layer is not None and use_raw:
        msg = f"use_raw=True and layer={layer!r} name two matrices: pass one of them."
        raise ValueError(msg)
    matrix_of(adata, layer)  # raises an error if there is no such layer
    if use_raw and adata.raw is None:
        msg = "There is no .raw. Pass use_raw=False or a layer."
        raise ValueError(msg)
    raw = use_raw or (use_raw is None and layer is None and space.raw and adata.raw is not None)
    found = []
    if not raw:
        own = space.layer if layer is None else layer
        values = adata.X if own is None else adata.layers.get(own)
        if values is not None:
            title = ".var_names" if own is None else f".layers[{own!r}]"
            found = [Source(title, gene_names(adata), partial(_read, adata, own, space))]
    if raw or (use_raw is None and layer is None and adata.raw is not None):
        found.append(Source(".raw", gene_names(adata.raw), partial(_read, adata.raw, None, None)))
    if not all(source.names.is_unique for source in found):
        msg = "Names of genes are not unique. Run `adata.var_names_make_unique()` first."
        raise ValueError(msg)
    return found


def _read(cells: AnnData | Raw, layer: str | None, space: Space | None, names: list[str]) -> np.ndarray:
    """Read genes (n, b) as float64; values that were scaled, negative in part, are scaled back."""
    matrix = AnnData(cells.X if layer is None else cells.layers[layer])  # alone: odd columns and colors do not matter
    values = matrix[:, gene_names(cells).get_indexer(pd.Index(names))].X
    values = values.compute() if hasattr(values, "compute") else values  # of dask
    values = values.toarray() if sparse.issparse(values) else np.asarray(values)
    x = values.astype(np.float64)
    scaling = None if space is None or space.layer != layer else space.scaling
    if scaling is None or space is None or not (x < 0).any():
        return x
    where = pd.Index(space.names).get_indexer(np.array(names, dtype=object))
    return x * np.where(where < 0, 1.0, scaling.std[where]) + np.where(where < 0, 0.0, scaling.mean[where])


def _measured(
    names: Sequence[str], sources: Sequence[Source], budget: int | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield measured values of the genes that a source holds, within a budget of bytes."""
    for start in range(0, len(names), BATCH):
        rest = list(names[start : start + BATCH])
        values: dict[str, np.ndarray] = {}
        for source in sources:
            here = [name for name in rest if name not in values and name in source.names]
            if here:
                values |= dict(zip(here, source.read(here).T, strict=True))
        for name in rest:
            if name in values:
                levels = _levels(values[name])
                if budget is not None:
                    budget -= len(levels["levels"]["gzip"])
                    if budget < 0:
                        return
                yield name, levels
