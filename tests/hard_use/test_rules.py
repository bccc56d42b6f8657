"""Names, labels, colors and optional fields of every kind: one set of rules wherever they are read or written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import seaborn as sns
from hard_use.tools import cells, check_results, frozen, train
from matplotlib.colors import to_hex
from scipy import sparse

import scgeoae
from scgeoae import get, pl, tl
from scgeoae.explore import contents
from scgeoae.result import Result

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import StringIO
    from pathlib import Path

    from anndata import AnnData

RED, BLUE = "#ff0000", "#0000ff"


@pytest.fixture(scope="module")
def _trained_once() -> AnnData:
    return train(cells(), copy=True)


@pytest.fixture
def trained(_trained_once: AnnData) -> AnnData:
    return _trained_once.copy()


def carried(adata: AnnData, folder: Path) -> dict[str, list[str] | None]:
    """Colors of the kinds wherever they are carried; `None` where there are none."""
    scgeoae.write_model(adata, folder / "model", obs="kind")
    stored = scgeoae.read_model(folder / "model").labels["kind"].colors
    by_cells, by_file = (tl.map_cells(cells(5), source, obs="kind", copy=True) for source in (adata, folder / "model"))
    for query in (by_cells, by_file):
        query.write_h5ad(folder / "query.h5ad")
    page = contents(Result(adata), color=["kind"], genes=["gene 0"], dimensions=(0, 1), cell_names=False, paths={})[
        "columns"
    ][0]["colors"]
    found = {"file": stored, "page": page}
    for name, query in (("cells", by_cells), ("tiles", by_file)):
        found[name] = next((value for entry, value in query.uns.items() if entry.endswith("kind_colors")), None)
    return {place: None if colors is None else list(colors) for place, colors in found.items()}


@pytest.mark.parametrize(
    "palette",
    [
        pytest.param([RED, BLUE], id="hexadecimal"),
        pytest.param(np.array(["red", "blue"], dtype=object), id="names"),
        pytest.param(["red", "blue", "green"], id="more than needed"),
        pytest.param([(1, 0, 0), (0, 0, 1)], id="tuples"),
        pytest.param(np.array([[1.0, 0, 0], [0, 0, 1]]), id="rows of RGB"),
        pytest.param(np.array([[1.0, 0, 0, 1], [0, 0, 1, 1]]), id="rows of RGBA"),
        pytest.param(sns.color_palette([RED, BLUE]), id="seaborn"),
        pytest.param({"b": "blue", "a": (1, 0, 0)}, id="by category"),
    ],
)
def test_palettes(palette: Any, trained: AnnData, tmp_path: Path) -> None:
    trained.uns["kind_colors"] = palette
    assert set(map(tuple, carried(trained, tmp_path).values())) == {(RED, BLUE)}


@pytest.mark.parametrize("palette", [["red"], ["red", "no color"], {"a": "red"}, "viridis", 3, None])
def test_palettes_that_scanpy_does_not_take(palette: Any, trained: AnnData, tmp_path: Path) -> None:
    trained.uns["kind_colors"] = palette
    found = carried(trained, tmp_path)
    assert found.pop("page") == [to_hex(color) for color in sc.pl.palettes.default_20[:2]]
    assert set(found.values()) == {None}


def test_transparent_colors_stay_transparent(trained: AnnData, tmp_path: Path) -> None:
    trained.uns["kind_colors"] = [(1, 0, 0, 0.5), "blue"]
    assert carried(trained, tmp_path)["file"] == ["#ff000080", BLUE]


NUMBERS = np.arange(60)
ODD_LABELS: dict[str, tuple[Any, type[Exception], str]] = {
    "1 and '1'": (np.array([1, "1"] * 30, dtype=object), ValueError, "Several categories of .* are called '1'"),
    "lists": (pd.Series([[1]] * 60).to_numpy(), TypeError, "values that are no labels"),
}
LABELS: dict[str, Any] = {
    "nullable booleans": pd.array([True, False, None] * 20, dtype="boolean"),
    "dates": pd.date_range("2024", periods=2).repeat(30),
    "number and text": np.array([1, "x"] * 30, dtype=object),
    "tuples": pd.Series([(1, 2), (3, 4)] * 30).to_numpy(),
}


def uses(adata: AnnData, folder: Path) -> list[Callable[[], Any]]:
    """Whatever takes a column of labels."""
    return [
        lambda: tl.cluster_areas(adata, "odd"),
        lambda: tl.cluster_distances(adata, "odd"),
        lambda: tl.map_cells(cells(5), adata, obs="odd", copy=True).write_h5ad(folder / "query.h5ad"),
        lambda: scgeoae.write_model(adata, folder / "model", obs="odd"),
        lambda: pl.explorer(adata, folder / "page.html", color="odd"),
    ]


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_kinds_of_labels(kind: str, trained: AnnData, tmp_path: Path) -> None:
    trained.obs["odd"] = LABELS[kind]
    for use in uses(trained, tmp_path):
        use()
    names = pd.Categorical(LABELS[kind]).categories.astype(str).tolist()
    assert scgeoae.read_model(tmp_path / "model").labels["odd"].categories.tolist() == names


@pytest.mark.parametrize("kind", [*ODD_LABELS, "twice"])
def test_labels_that_are_refused(kind: str, trained: AnnData, tmp_path: Path) -> None:
    values, error, message = ODD_LABELS.get(kind, (NUMBERS, ValueError, r"2 columns named 'odd'.*duplicated\(\)"))
    trained.obs["odd"] = values
    if kind == "twice":
        trained.obs = pd.concat([trained.obs, trained.obs[["odd"]]], axis=1)
    before = frozen(trained)
    for use in uses(trained, tmp_path):
        with pytest.raises(error, match=message):
            use()
    assert frozen(trained) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [*LABELS, "lists", "twice"])
def test_colors_that_scanpy_cannot_draw(kind: str, trained: AnnData) -> None:
    trained.obs["odd"] = LABELS.get(kind, ODD_LABELS["lists"][0])
    if kind == "twice":
        trained.obs = pd.concat([trained.obs, trained.obs[["odd"]]], axis=1)
    with pytest.raises((TypeError, ValueError), match=r"cannot be drawn .*astype\('category'\)|2 columns"):
        pl.indicatrix(trained, color="odd", show=False)
    if kind != "twice":
        trained.obs["odd"] = trained.obs["odd"].astype(str).astype("category")
        pl.indicatrix(trained, color="odd", show=False)


def test_other_cells_may_have_one_name(trained: AnnData) -> None:
    z = trained.obsm["X_geoae"]
    names = ["twin", "twin", *trained.obs_names[2:]]
    trained.obs_names = names
    ax = pl.indicatrix(trained, cells=names[5:7], show=False)
    assert ax is not None
    path = get.geodesic(trained, names[5], names[6], region="anywhere")
    np.testing.assert_allclose(path.points[[0, -1]], z[5:7])
    for call in (
        lambda: pl.indicatrix(trained, cells=["twin"], show=False),
        lambda: get.geodesic(trained, "twin", names[5]),
    ):
        with pytest.raises(KeyError, match="2 cells are named 'twin'"):
            call()


def test_genes_named_by_numbers(tmp_path: Path) -> None:
    """As `reset_index` leaves them: they are texts in the model, as they are in a file."""
    adata = cells()
    adata.var.reset_index(drop=True, inplace=True)
    sc.pp.pca(adata, n_comps=4)
    for rep in ("X_pca", "X"):
        train(adata, use_rep=rep)
        check_results(adata)
        scgeoae.write_model(adata, tmp_path / "model")
        model = scgeoae.read_model(tmp_path / "model")
        assert model.input.projection.genes.tolist() == [str(i) for i in range(6)]
        text, number = cells(7), cells(7)
        text.var_names = [str(i) for i in range(6)]
        number.var.reset_index(drop=True, inplace=True)
        for query in (text, number):
            tl.map_cells(query, model)
        np.testing.assert_array_equal(text.obsm["X_geoae"], number.obsm["X_geoae"])
        pl.explorer(adata, tmp_path / "page.html", genes=["5"])


def put(slot: str, name: str, value: Any) -> Callable[[AnnData], None]:
    return lambda adata: getattr(adata, slot).__setitem__(name, value(adata) if callable(value) else value)


def twice_scaled(adata: AnnData) -> None:
    adata.var = pd.DataFrame(np.ones((6, 3)), adata.var_names, ["mean", "std", "std"])


@pytest.mark.parametrize(
    ("change", "known"),
    [
        pytest.param(put("varm", "PCs", lambda a: sparse.csr_matrix(a.varm["PCs"])), True, id="sparse loadings"),
        pytest.param(put("varm", "PCs", lambda a: pd.DataFrame(a.varm["PCs"], a.var_names)), True, id="frame"),
        pytest.param(put("varm", "PCs", lambda a: a.varm["PCs"][:, :2]), False, id="too few loadings"),
        pytest.param(put("varm", "PCs", lambda a: a.varm["PCs"][:, :, None]), False, id="loadings of 3 axes"),
        pytest.param(put("varm", "PCs", lambda a: a.varm["PCs"].astype(str)), False, id="loadings of text"),
        pytest.param(put("varm", "PCs", lambda a: 0 * a.varm["PCs"]), False, id="loadings of 0"),
        pytest.param(put("varm", "PCs", lambda a: np.inf * a.varm["PCs"]), False, id="infinite loadings"),
        pytest.param(put("uns", "pca", {"params": None}), True, id="params are None"),
        pytest.param(put("uns", "pca", None), True, id="no params"),
        pytest.param(put("uns", "pca", "text"), True, id="params are text"),
        pytest.param(put("uns", "pca", {"params": {"layer": ["X"]}}), False, id="layer is a list"),
        pytest.param(put("uns", "pca", {"params": {"layer": "gone"}}), False, id="layer is gone"),
        pytest.param(twice_scaled, True, id="std twice"),
        pytest.param(put("var", "mean", "text"), True, id="mean is text"),
    ],
)
def test_no_training_is_lost_by_an_optional_field(
    change: Callable[[AnnData], None],
    known: bool,  # noqa: FBT001
    log: StringIO,
) -> None:
    """Sparse loadings count; others are left out of the model, and the log says why."""
    adata = cells()
    sc.pp.pca(adata, n_comps=4)
    change(adata)
    sc.settings.verbosity, before = "info", sc.settings.verbosity
    try:
        train(adata, use_rep="X_pca")
    finally:
        sc.settings.verbosity = before
    check_results(adata)
    assert (get.model(adata).input.projection is not None) == known
    assert ("New cells can be mapped only by an obsm['X_pca']" in log.getvalue()) != known


def test_what_cannot_be_read_is_not_written(trained: AnnData, tmp_path: Path) -> None:
    """Whatever a model holds: the reader's rules are asked before a file is replaced."""
    scgeoae.write_model(trained, tmp_path / "model")
    before = (tmp_path / "model").read_bytes()
    model = get.model(trained)
    model.input.features[0] = 5
    with pytest.raises(ValueError, match=r"not written, because it could not be read again: .*features"):
        scgeoae.write_model(model, tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data:UserWarning")
def test_data_that_are_read_lazily(trained: AnnData, tmp_path: Path) -> None:
    """Labels and groups are read from disk; what scanpy draws must be in memory."""
    pytest.importorskip("xarray")
    trained.write_h5ad(tmp_path / "cells.h5ad")
    lazy = ad.experimental.read_lazy(tmp_path / "cells.h5ad")
    for adata, name in ((trained, "memory"), (lazy, "disk")):
        scgeoae.write_model(adata, tmp_path / name, obs="kind")
    assert (tmp_path / "disk").read_bytes() == (tmp_path / "memory").read_bytes()
    np.testing.assert_array_equal(
        *(get.geodesic(adata, "a", "b", groupby="kind", region="anywhere").points for adata in (trained, lazy))
    )
    with pytest.raises(TypeError, match=r"adata\.to_memory\(\)"):
        pl.indicatrix(lazy, show=False)
