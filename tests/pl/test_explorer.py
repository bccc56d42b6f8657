"""What the interactive page holds, and what is refused; `tests/explore` opens it."""

from __future__ import annotations

import gzip
import json
import re
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import dask.array as da
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from helpers import QUICK
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from scipy.sparse import csr_matrix

import scgeoae
from scgeoae import cli

if TYPE_CHECKING:
    from anndata import AnnData


def held(adata: AnnData, **arguments: Any) -> dict[str, Any]:
    page = scgeoae.pl.explorer(adata, **arguments).html
    return json.loads(page[page.index('id="contents">') + len('id="contents">') :].split("</script>")[0])


def test_nothing_else_is_written(mapped) -> None:
    """Neither names of cells nor columns that are not named; nor is anything of `adata` changed."""
    mapped.obs["patient"] = "Jane Doe"
    mapped.obs_names = [f"barcode-{i}" for i in range(700)]
    del mapped.uns["louvain_colors"]
    before = mapped.copy()
    page = scgeoae.pl.explorer(mapped, color="louvain", genes=["CD3D"]).html
    assert "patient" not in page
    assert "Jane" not in page
    assert "barcode" not in page
    contents = held(mapped, color="louvain", genes=["CD3D"])
    assert [column["name"] for column in contents["columns"]] == ["louvain", "relative determinant", "anisotropy"]
    assert [gene["name"] for gene in contents["genes"]] == ["CD3D"]
    assert contents["names"] is None
    assert held(mapped, cell_names=True)["names"] is not None
    pd.testing.assert_frame_equal(mapped.obs, before.obs)
    assert mapped.uns.keys() == before.uns.keys()
    assert scgeoae.pl.explorer(mapped, color="louvain", genes=["CD3D"]).html == page  # the same call, the same page


def test_columns(mapped) -> None:
    mapped.obs["number"] = np.r_[np.nan, np.inf, np.arange(698.0)]
    mapped.obs["flag"] = [True, False] * 350
    mapped.obs["text"] = ["b", None] * 350
    mapped.obs["constant"] = 3
    mapped.obs["empty"] = np.nan
    mapped.obs["nullable"] = pd.array([1, None] * 350, dtype="Int64")
    mapped.uns["flag_colors"] = ["red", "no color"]
    names = ["bulk_labels", "number", "flag", "text", "constant", "empty", "nullable"]
    columns = {column["name"]: column for column in held(mapped, color=names)["columns"]}
    assert columns["bulk_labels"]["colors"] == list(mapped.uns["bulk_labels_colors"])
    assert columns["bulk_labels"]["categories"] == mapped.obs["bulk_labels"].cat.categories.tolist()
    assert columns["flag"]["categories"] == ["False", "True"]
    assert all(re.fullmatch("#[0-9a-f]{6}", color) for column in columns.values() for color in column.get("colors", ()))
    assert columns["text"]["categories"] == ["b"]
    assert columns["number"]["low"] < columns["number"]["high"] < 698
    assert columns["constant"]["low"] == columns["constant"]["high"] == 3
    assert columns["empty"]["low"] == 0
    assert columns["nullable"]["high"] == 1


@pytest.mark.parametrize(
    ("cycle", "n_groups"),
    [
        ("matplotlib", 2),
        ("matplotlib", 12),
        ("scanpy", 12),
        ("short", 12),
        ("short", 25),
        ("short", 60),
        ("short", 110),
    ],
)
def test_colors_are_those_of_scanpy(mapped: AnnData, cycle: str, n_groups: int) -> None:
    """Where none are stored, they are what scanpy would store, in the natural order of texts."""
    names = [f"group {i % n_groups}" for i in range(700)]  # "group 10" comes after "group 9"
    mapped.obs["text"] = names
    mapped.obs["category"] = pd.Categorical(names, categories=[f"group {i}" for i in range(n_groups + 1)])
    mapped.obs["flag"] = [True, False] * 350
    columns = ["text", "category", "flag"]
    colors = {"matplotlib": mpl.rcParamsDefault["axes.prop_cycle"], "short": mpl.cycler(color=["k"])}
    with plt.rc_context():
        if cycle == "scanpy":
            sc.set_figure_params()
        else:
            mpl.rcParams["axes.prop_cycle"] = colors[cycle]
        made = {column["name"]: column for column in held(mapped, color=columns)["columns"]}
        assert not {f"{name}_colors" for name in columns} & mapped.uns.keys()
        scanpys = mapped.copy()
        sc.pl.embedding(scanpys, "geoae", color=columns, show=False)
    for name in columns:
        stored = [to_hex(color) for color in scanpys.uns[f"{name}_colors"]]
        assert made[name]["colors"] == stored[: len(made[name]["categories"])]
    assert made["text"]["categories"] == scanpys.obs["text"].cat.categories.tolist()


def test_beside(mapped: AnnData, tmp_path: Path) -> None:
    """Coordinates of two columns, of a table too; cells without them are not numbers."""
    umap = mapped.obsm["X_umap"].astype(np.float32)
    umap[3] = np.nan
    mapped.obsm["X_umap"] = umap
    mapped.obsm["spatial"] = pd.DataFrame(umap, index=mapped.obs_names, columns=["x", "y"])
    before = mapped.copy()
    for name, sign in (("umap", 1), ("X_umap", 1), ("spatial", -1)):  # down, as in an image
        found = held(mapped, beside=name)["beside"]
        places = np.frombuffer(gzip.decompress(b64decode(found["coordinates"]["gzip"])), dtype=np.float32)
        np.testing.assert_array_equal(places.reshape(-1, 2), umap * [1, sign])
        left, right, bottom, top = found["frame"]
        assert (left, right) < (np.nanmax(umap[:, 0]), np.inf)
        assert right - left == pytest.approx(top - bottom)
    np.testing.assert_array_equal(mapped.obsm["spatial"], before.obsm["spatial"])
    assert held(mapped)["beside"] is None
    with pytest.raises(KeyError, match=r"Did not find \.obsm\['nothing'\]"):
        scgeoae.pl.explorer(mapped, tmp_path / "page.html", beside="nothing")
    with pytest.raises(ValueError, match=r"shape \(700, 50\); a picture needs two columns"):
        scgeoae.pl.explorer(mapped, tmp_path / "page.html", beside="pca")
    mapped.obsm["spatial"][:] = np.nan
    with pytest.raises(ValueError, match="no finite coordinates"):
        scgeoae.pl.explorer(mapped, tmp_path / "page.html", beside="spatial")
    assert not list(tmp_path.iterdir())


def test_default_genes(mapped, pbmc) -> None:
    """Without a projection the input features are decoded; named genes are measured."""
    genes = held(mapped)["genes"]
    assert len(genes) == 50
    assert all("levels" not in gene and "row" in gene for gene in genes)
    (gene,) = held(mapped, genes="CD3D")["genes"]
    assert "levels" in gene
    assert "row" not in gene


def test_measured_values_are_limited(decoded: AnnData, monkeypatch) -> None:
    monkeypatch.setattr("scgeoae.explore._contents.MEASURED_BYTES", 20_000)
    genes = held(decoded)["genes"]
    n_measured = sum("levels" in gene for gene in genes)
    assert len(genes) == 200
    assert 5 < n_measured < 100
    assert all("levels" in gene for gene in genes[:n_measured])
    chosen = [gene["name"] for gene in genes]
    assert all("levels" in gene for gene in held(decoded, genes=chosen)["genes"])


def values(gene: dict[str, Any]) -> np.ndarray:
    """The measured values of a gene, from its levels."""
    levels = np.frombuffer(gzip.decompress(b64decode(gene["levels"]["gzip"])), dtype=np.uint8)
    return gene["low"] + (gene["high"] - gene["low"]) * levels / 254


def test_genes_that_are_not_in_var_names(decoded: AnnData) -> None:
    """They are read from `.raw`; a layer and `use_raw` choose the matrix, as in `sc.pl.embedding`."""
    raw = decoded.raw[:, "NKG7"].X.toarray().ravel()
    raw = np.clip(raw, *np.quantile(raw, [0.001, 0.999]))
    decoded.layers["twice"] = 2 * decoded.X
    fewer = decoded[:, decoded.var_names != "NKG7"].copy()
    (found,) = held(fewer, genes="NKG7")["genes"]
    resolution = np.ptp(raw) / 254
    np.testing.assert_allclose(values(found), raw, atol=resolution)
    own, twice, of_raw = (
        held(decoded, genes="NKG7", **arguments)["genes"][0]
        for arguments in ({}, {"layer": "twice"}, {"use_raw": True})
    )
    assert values(of_raw) == pytest.approx(raw, abs=resolution)
    assert not np.allclose(values(own), raw, atol=0.1)
    np.testing.assert_allclose(values(twice), 2 * values(own), atol=0.1)
    with pytest.raises(KeyError, match=r"Did not find \['no'\] among the 765 .* \.var_names or the .* \.raw"):
        held(decoded, genes=["no"])
    held(fewer, genes="NKG7")  # the model decodes it
    fewer.raw = None
    assert "levels" not in held(fewer, genes="NKG7")["genes"][0]
    with pytest.raises(ValueError, match=r"There is no \.raw"):
        held(fewer, use_raw=True)


def test_color_by_a_gene(decoded: AnnData) -> None:
    columns = held(decoded, color=["bulk_labels", "NKG7"], use_raw=True)["columns"]
    assert [column["name"] for column in columns[:2]] == ["bulk_labels", "NKG7"]
    raw = decoded.raw[:, "NKG7"].X.toarray().ravel()
    raw = np.clip(raw, *np.quantile(raw, [0.001, 0.999]))
    np.testing.assert_allclose(values(columns[1]), raw, atol=np.ptp(raw) / 254)


def test_default_genes_tell_the_groups_apart(rng: np.random.Generator) -> None:
    """The marker of a small group, and not only genes that vary among most of the cells."""
    n, kinds = 600, np.repeat([0, 1, 2], [400, 180, 20])
    markers = 2.0 * np.equal.outer(kinds, [0, 1, 2])
    within = rng.normal(size=(n, 3)) * [6, 3, 1]  # of features that have nothing to do with the groups
    x = np.hstack([5 * np.equal.outer(kinds, [0, 1, 2]), within])
    others = within @ rng.normal(size=(3, 300)) / 5
    adata = ad.AnnData(np.hstack([markers, others]) + 0.01 * rng.normal(size=(n, 303)))
    adata.obsm["X_rep"], adata.obs["kind"] = x.astype(np.float32), pd.Categorical(kinds.astype(str))
    scgeoae.tl.geometric_ae(adata, use_rep="X_rep", n_components=3, **QUICK)
    scgeoae.tl.gene_readout(adata)
    first = [gene["name"] for gene in held(adata, color="kind")["genes"]]
    assert {"0", "1", "2"} <= set(first)
    assert not {"0", "1", "2"} <= {gene["name"] for gene in held(adata)["genes"]}


def test_genes_that_cannot_be_read(mapped: AnnData, rng: np.random.Generator) -> None:
    """They are left out by default, and marked where they are asked for."""
    mapped.X = mapped.X.copy()
    mapped.X[:, :100] = rng.normal(size=(700, 100))
    scgeoae.tl.gene_readout(mapped)
    r2 = scgeoae.get.decode(mapped, np.zeros((1, 2)), space="genes").var["r2"]
    assert (r2.iloc[:100] < 0.02).mean() > 0.9  # a few reach more by chance
    assert (r2.iloc[100:] > 0.02).mean() > 0.5
    assert all(r2[gene["name"]] >= 0.02 for gene in held(mapped)["genes"])
    noise, good = r2.index[r2.argmin()], r2.index[r2.argmax()]
    marked = {gene["name"]: gene for gene in held(mapped, genes=[noise, good])["genes"]}
    assert (marked[noise]["readable"], marked[good]["readable"]) == (False, True)
    assert marked[good]["r2"] == pytest.approx(r2.max())


@pytest.fixture
def decoded(pbmc) -> AnnData:
    sc.pp.pca(pbmc, n_comps=20)
    return scgeoae.tl.geometric_ae(pbmc, **QUICK, copy=True)


def test_matrices(decoded, tmp_path: Path) -> None:
    """The page is the same of a sparse matrix, a dask array and a file; without X, genes are decoded only."""
    dense = held(decoded, genes=["CD3D", "NKG7"])
    decoded.write_h5ad(tmp_path / "map.h5ad")
    backed = ad.read_h5ad(tmp_path / "map.h5ad", backed="r")
    assert held(backed, genes=["CD3D", "NKG7"]) == dense
    backed.file.close()
    x = csr_matrix(decoded.X)
    for matrix in (x, da.from_array(x, chunks=(100, 765)), da.from_array(x.toarray(), chunks=(100, 765))):
        decoded.X = matrix
        assert held(decoded, genes=["CD3D", "NKG7"]) == dense
    del decoded.X
    assert all("levels" not in gene for gene in held(decoded, use_raw=False)["genes"])


def test_odd_numbers(mapped) -> None:
    """Singular places have a determinant of 0 and an infinite anisotropy: their cells are gray."""
    mapped.obs.loc[mapped.obs_names[:5], "geoae_det"] = [0, np.nan, np.inf, 1, 1]
    mapped.obs.loc[mapped.obs_names[:5], "geoae_anisotropy"] = np.inf
    columns = held(mapped)["columns"]
    assert all(np.isfinite([column["low"], column["high"]]).all() for column in columns)
    mapped.obs["geoae_det"] = np.nan
    assert held(mapped)["columns"][0]["high"] == np.log(2)


def test_file(mapped, tmp_path: Path) -> None:
    page = scgeoae.pl.explorer(mapped, tmp_path / "page.html")
    assert page.path == tmp_path / "page.html"
    assert page.path.read_text(encoding="utf-8") == page.html
    assert list(tmp_path.iterdir()) == [page.path]
    assert "html=" not in repr(page)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"key": "nothing"}, KeyError, "nothing"),
        ({"color": "nothing"}, KeyError, r"\.obs\['nothing'\]"),
        ({"layer": "nothing"}, KeyError, r"\.layers\['nothing'\]"),
        ({"layer": "counts", "use_raw": True}, ValueError, "name two matrices"),
        ({"color": "name"}, ValueError, "700 different values|at most"),
        ({"color": "lists"}, TypeError, "no labels"),
        ({"genes": ["CD3D", "nothing"]}, KeyError, r"\['nothing'\]"),
        ({"dimensions": (0, 2)}, ValueError, "dimensions"),
        ({"dimensions": (1, 1)}, ValueError, "dimensions"),
    ],
)
def test_refused(mapped, tmp_path: Path, arguments, error, message, monkeypatch) -> None:
    monkeypatch.setattr("scgeoae.explore._contents.MAX_GROUPS", 100)
    mapped.obs["name"] = mapped.obs_names
    mapped.obs["lists"] = [[1]] * 700
    with pytest.raises(error, match=message):
        scgeoae.pl.explorer(mapped, tmp_path / "page.html", **arguments)
    assert not list(tmp_path.iterdir())


def test_refused_maps(mapped, pbmc, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no cell"):
        scgeoae.pl.explorer(mapped[:0].copy())
    mapped.var_names = ["same"] * mapped.n_vars
    with pytest.raises(ValueError, match="not unique"):
        scgeoae.pl.explorer(mapped, genes=["same"])
    scgeoae.tl.geometric_ae(pbmc, n_components=1, n_steps=20)
    with pytest.raises(ValueError, match="one dimension"):
        scgeoae.pl.explorer(pbmc)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no file system that cannot be written")
def test_refused_file_system(mapped) -> None:
    with pytest.raises(OSError, match=r"'/proc/page\.html' cannot be written"):
        scgeoae.pl.explorer(mapped, "/proc/page.html")


def test_refused_paths(mapped, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        scgeoae.pl.explorer(mapped, tmp_path / "nowhere" / "page.html")
    with pytest.raises(IsADirectoryError, match="is a directory"):
        scgeoae.pl.explorer(mapped, tmp_path)
    for name in ("page.png", "page.SVG", "page"):
        with pytest.raises(ValueError, match=r"writes an HTML page, so .*page.* must end in \.html or \.htm"):
            scgeoae.pl.explorer(mapped, tmp_path / name)
    (tmp_path / "page.html").write_text("before")
    monkeypatch.setattr("pathlib.Path.write_text", lambda *_, **__: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        scgeoae.pl.explorer(mapped, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1


def test_command(mapped, tmp_path: Path, capsys) -> None:
    mapped.write_h5ad(tmp_path / "map.h5ad")
    words = ["--color", "bulk_labels,n_genes", "--genes", "CD3D,NKG7", "--json"]
    cli.main(["explore", str(tmp_path / "map.h5ad"), str(tmp_path / "page.html"), *words])
    assert json.loads(capsys.readouterr().out)["output"] == str(tmp_path / "page.html")
    expected = scgeoae.pl.explorer(mapped, color=["bulk_labels", "n_genes"], genes=["CD3D", "NKG7"]).html
    assert (tmp_path / "page.html").read_text() == expected
    for output in ("page.txt", "nowhere/page.html"):
        with pytest.raises(SystemExit, match="2"):
            cli.main(["explore", str(tmp_path / "map.h5ad"), str(tmp_path / output)])


@pytest.mark.parametrize(
    ("points", "message"),
    [(np.zeros((1, 2)), "at least two points"), (np.zeros((4, 3)), "shape"), (np.full((4, 2), np.nan), "finite")],
)
def test_bad_paths(mapped: AnnData, tmp_path: Path, points: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scgeoae.pl.explorer(mapped, tmp_path / "page.html", paths={"a": points})
    assert not list(tmp_path.iterdir())
