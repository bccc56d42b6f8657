"""Plot all results in an AnnData."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import pandas as pd
from matplotlib import pyplot as plt

from .. import pl
from ..result import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    """Write pictures of one result, or of all, to a directory: all pictures or none. Returns their paths."""
    mpl.use("agg")
    pictures = dict(_pictures(adata, key, color))
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


def _pictures(adata: AnnData, key: str | None, color: str | None) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield names and plotting functions."""
    for name in Result.names(adata) if key is None else [key]:
        result = Result(adata, name)
        yield f"{name}_det_heatmap", partial(pl.det_heatmap, adata, key=name)
        if result.model.n_components > 1:
            yield f"{name}_indicatrix", partial(pl.indicatrix, adata, key=name, color=color)
        if "history" in result.stored:
            yield f"{name}_history", partial(pl.history, adata, key=name)
        if result.keys.areas in adata.uns:
            yield f"{name}_cluster_areas", partial(pl.cluster_areas, adata, key=name)
    for name, value in adata.uns.items() if key is None else ():
        if isinstance(value, pd.DataFrame) and {"alpha", "log_det_variance", "default"} <= set(value.columns):
            yield name, partial(pl.alpha_path, adata, key=name)
