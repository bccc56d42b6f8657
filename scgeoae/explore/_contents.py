"""What an interactive page holds: cells, columns, genes, decoder and occupied region."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_hex
from scanpy import pl
from scipy import sparse

from .._lookup import column, gene_names, holds_numbers, labels_of, palette_of
from ..core.region import OccupiedRegion, occupied_region
from ..fields import Keys
from ..result import frame_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anndata import AnnData

    from ..core.observation import Affine
    from ..reference import MapModel, Projection
    from ..result import Result

N_GENES = 200
"""Genes that are decoded by default."""

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
) -> dict[str, Any]:
    """Collect what the page of a result holds.

    Parameters
    ----------
    result
        The result; its map has at least two dimensions and a cell.
    color
        Columns of `obs`.
    genes
        Genes to include, measured and decoded; by default those that vary most over the map as it is decoded.
    dimensions
        The two dimensions to draw.
    cell_names
        Whether to include the names of the cells.
    paths
        Points (m, 2) of the map by name of the path.

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
    affine, hidden = _in_order(result.surface.affine(), result.surface.hidden(z[:: -(-len(z) // N_SAMPLE)]), order)
    readout = _readout(model, affine)
    columns = [*(_column(adata, name) for name in color), determinant, anisotropy]
    entries, rows = _genes(adata, readout, hidden, genes, model.input.projection)
    basis = result.keys.obsm.removeprefix("X_")
    names = json.dumps(adata.obs_names.astype(str).tolist()).encode() if cell_names else None
    return {
        "dimension": z.shape[1],
        "coordinates": _float32(drawn),
        "frame": list(frame_of(drawn[:, :2])),
        "axes": [f"{basis}{number + 1}" for number in dimensions],
        "names": None if names is None else packed(np.frombuffer(names, dtype=np.uint8)),
        "columns": columns,
        "genes": entries,
        "paths": [{"name": short(name), "places": _float32(points[:, order])} for name, points in paths.items()],
        "decoder": {
            "layers": [{"weight": _float32(weight), "bias": _float32(bias)} for weight, bias in affine.layers],
            "surface": _float32(affine.surface),
            "readout": {"weight": _float32(readout.weight[rows]), "bias": _float32(readout.bias[rows])},
            "unit": float(model.unit),
        },
        "region": {
            "mask": packed(region.mask.astype(np.uint8)),
            "columns": region.mask.shape[1],
            "extent": list(region.extent),
        },
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


def log_det_limit(result: Result) -> float:
    """Return the limit of ``|ln det|`` for colors: the 99th percentile of the finite values, but at least ln 2."""
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = np.abs(np.log(result.numbers(Keys.determinant)))
    finite = sizes[np.isfinite(sizes)]
    return float(max(np.percentile(finite, COVERED) if len(finite) else 0, np.log(SMALLEST)))


def _distortion(result: Result) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make columns of the logarithms of the relative determinant and the anisotropy, which may be 0 or infinite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        log_det, log_anisotropy = (np.log(result.numbers(field)) for field in (Keys.determinant, Keys.anisotropy))
    limit = log_det_limit(result)
    return (
        {"name": "relative determinant", "log": True, "diverging": True, **_levels(log_det, -limit, limit)},
        {"name": "anisotropy", "log": True, **_levels(log_anisotropy)},
    )


def _column(adata: AnnData, name: str) -> dict[str, Any]:
    """Convert a column of `obs`: numbers to levels, anything else to groups with their colors."""
    values = column(adata, name, "Genes are named by `genes`." if name in gene_names(adata) else "")
    if holds_numbers(values):
        return {"name": short(name), **_levels(values.to_numpy(dtype=np.float64, na_value=np.nan))}
    groups = labels_of(adata, name)
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
    """Return the colors that scanpy would choose."""
    palettes = (pl.palettes.default_20, pl.palettes.default_28, pl.palettes.default_102)
    usual = next((palette for palette in palettes if n_groups <= len(palette)), None)
    return [GRAY] * n_groups if usual is None else [to_hex(color) for color in usual[:n_groups]]


class Readout(NamedTuple):
    """The affine map from the hidden values of the decoder to what is decoded.

    Attributes
    ----------
    names
        Genes, or input features if genes are unknown, (g,).
    weight, bias
        (g, width) and (g,); the values are those before scaling, as of :func:`scgeoae.get.decode`.
    spread
        Standard deviations by which the genes were scaled, 1 if they were not, (g,).
    """

    names: pd.Index
    weight: np.ndarray
    bias: np.ndarray
    spread: np.ndarray


def _in_order(affine: Affine, hidden: np.ndarray, order: list[int]) -> tuple[Affine, np.ndarray]:
    """Return the decoder for coordinates in this order, and the values (m, width) before its last layer."""
    if not affine.layers:  # the last layer reads the coordinates
        surface, weight = affine.surface[:, order], affine.weight[:, order]
        return affine._replace(surface=surface, weight=weight), hidden[:, order]
    (first, bias), *inner = affine.layers
    return affine._replace(layers=[(first[:, order], bias), *inner]), hidden


def _readout(model: MapModel, affine: Affine) -> Readout:
    """Continue the last layer of the decoder to genes."""
    projection, width = model.input.projection, affine.weight.shape[1]
    corners = np.vstack([np.zeros(width), np.eye(width)])  # an affine map is known by these
    decoded = affine.bias + corners @ affine.weight.T
    names = np.arange(model.n_features).astype(str) if model.input.features is None else model.input.features
    scaling = None
    if projection is not None:
        decoded, names, scaling = projection.undo(decoded), projection.genes, projection.scaling
    spread = np.ones(len(names)) if scaling is None else scaling.std
    return Readout(pd.Index(names), (decoded[1:] - decoded[0]).T, decoded[0], spread)


def _genes(
    adata: AnnData, readout: Readout, hidden: np.ndarray, genes: Sequence[str] | None, projection: Projection | None
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Make the entries of the chosen genes, and find the rows of the readout that decode them.

    ``hidden`` (m, width) are the hidden values at some cells.
    """
    here = gene_names(adata)
    if not (readout.names.is_unique and here.is_unique):
        msg = "Names of genes are not unique. Run `adata.var_names_make_unique()` before the training."
        raise ValueError(msg)
    covariance = np.atleast_2d(np.cov(hidden, rowvar=False, ddof=0))
    deviation = np.sqrt(np.maximum(((readout.weight @ covariance) * readout.weight).sum(1), 0))
    mean = readout.weight @ hidden.mean(0) + readout.bias
    if genes is None:
        most = np.argsort(-deviation / readout.spread, kind="stable")[:N_GENES]
        names, budget = readout.names[most].tolist(), MEASURED_BYTES
    else:
        names, budget = list(dict.fromkeys(genes)), None
    rows = readout.names.get_indexer(pd.Index(names))
    unknown = [name for name, row in zip(names, rows, strict=True) if row < 0 and name not in here]
    if unknown:
        msg = (
            f"Did not find {unknown[:5]} among the {adata.n_vars} genes of .var_names, nor among what the model "
            f"decodes ({', '.join(readout.names[:3])}, …)."
        )
        raise KeyError(msg)
    measured = dict(_measured(adata, names, projection, budget))
    entries = [{"name": short(name), **measured.get(name, {})} for name in names]
    for number, entry in enumerate(np.flatnonzero(rows >= 0)):
        row = rows[entry]
        entries[entry] |= {"row": number, "mean": float(mean[row]), "sd": float(deviation[row])}
    return entries, rows[rows >= 0]


def _measured(
    adata: AnnData, names: Sequence[str], projection: Projection | None, budget: int | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield measured values of the genes in `adata`, in the units of the decoded ones, within a budget of bytes.

    They are read from the matrix that the model was made from; scaled values, negative in part, are scaled back.
    """
    layer = None if projection is None else projection.layer
    matrix = adata.X if layer is None else adata.layers.get(layer)
    present = gene_names(adata)
    here = [name for name in names if name in present] if matrix is not None else []
    for start in range(0, len(here), BATCH):
        part = here[start : start + BATCH]
        view = adata[:, present.get_indexer(pd.Index(part))]
        values = view.X if layer is None else view.layers[layer]
        values = values.compute() if hasattr(values, "compute") else values  # of dask
        values = values.toarray() if sparse.issparse(values) else np.asarray(values)
        x = values.astype(np.float64)  # (n, BATCH)
        if projection is not None and projection.scaling is not None and (x < 0).any():
            where = pd.Index(projection.genes).get_indexer(part)
            mean = np.where(where < 0, 0.0, projection.scaling.mean[where])
            x = x * np.where(where < 0, 1.0, projection.scaling.std[where]) + mean
        for name, gene in zip(part, x.T, strict=True):
            levels = _levels(gene)
            if budget is not None:
                budget -= len(levels["levels"]["gzip"])
                if budget < 0:
                    return
            yield name, levels
