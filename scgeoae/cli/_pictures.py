"""Draw everything that a file holds results for."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import matplotlib as mpl
import pandas as pd
from matplotlib import pyplot as plt

from .. import pl
from ..result import Result, areas_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from anndata import AnnData


def draw(
    adata: AnnData,
    directory: Path,
    *,
    key: str | None = None,
    color: str | None = None,
    dpi: int = 150,
    format: str = "png",
) -> list[Path]:
    """Draw all that a file holds results for: determinants, indicatrices, the course of the training, areas of groups.

    Parameters
    ----------
    adata
        Annotated data matrix.
    directory
        Where the pictures go; all of them or none.
    key
        Name of the result to draw. By default all results, and the table of alphas.
    color
        Column of `obs`, or gene, that colours the cells below the indicatrices.
    dpi
        Dots per inch.
    format
        `png`, `pdf`, `svg` or what else matplotlib writes.

    Returns
    -------
    Paths of the pictures.

    Raises
    ------
    KeyError
        If there is no such result, or none at all, or no such colour.
    """
    mpl.use("agg")
    keys = Result.names(adata) if key is None else [key]
    pictures = dict(_all_pictures(adata, keys, color, tables=key is None))
    if not pictures:
        msg = "the file holds no result to draw; run scgeoae train or scgeoae fit-decoder first"
        raise KeyError(msg)
    with TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}.") as temporary:
        for name, picture in pictures.items():
            figure = picture(show=False, return_fig=True)
            figure.savefig(Path(temporary) / f"{name}.{format}", dpi=dpi, format=format, bbox_inches="tight")
            plt.close(figure)
        directory.mkdir(exist_ok=True)
        return sorted(path.replace(directory / path.name) for path in Path(temporary).iterdir())


def _all_pictures(
    adata: AnnData, keys: list[str], color: str | None, *, tables: bool
) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Names and drawing functions."""
    for key in keys:
        result = Result(adata, key)
        yield f"{key}_det_heatmap", partial(pl.det_heatmap, adata, key=key)
        if result.model.n_components > 1:
            yield f"{key}_indicatrix", partial(pl.indicatrix, adata, key=key, color=color)
        if "history" in result.stored:
            yield f"{key}_history", partial(pl.history, adata, key=key)
        if areas_key(key) in adata.uns:
            yield f"{key}_cluster_areas", partial(pl.cluster_areas, adata, key=key)
    if tables:
        for name, value in adata.uns.items():
            if isinstance(value, pd.DataFrame) and {"alpha", "log_det_variance", "default"} <= set(value.columns):
                yield name, partial(pl.alpha_path, adata, key=name)
