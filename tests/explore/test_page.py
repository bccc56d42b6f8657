"""The page in a real browser."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote
from xml.etree import ElementTree

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scgeoae

if TYPE_CHECKING:
    from pathlib import Path

LABELS, HOSTILE = (
    "bulk_labels",
    ["</script><script>window.hacked = 1</script>", "<img src=x onerror='hacked = 1'>", "\"'`&<!--"],
)


@pytest.fixture(scope="session")
def page(_decodable_once, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "map with spaces.html"
    scgeoae.pl.explorer(_decodable_once, path, color=[LABELS, "n_genes"], cell_names=True)
    return path


@pytest.fixture
def opened(browser, page):
    browser.open(page)
    return browser


def test_opens_without_a_request(browser, page) -> None:
    browser.open(page)
    assert browser.colored() > 700
    assert browser.requests() == [page.as_uri()]
    blocked = browser.run(
        """return fetch("data:,").then(() => "answered", () => "refused")""",
    )
    assert blocked == "refused"
    assert browser.errors() != []  # of the browser, about the refusal


def test_hover(opened, decodable) -> None:
    z = scgeoae.get.coordinates(decodable)[decodable.obs[LABELS] == "CD19+ B"]
    x, y = opened.run("return explorer.map.toScreen(arguments[0])", np.median(z, axis=0).tolist())
    opened.mouse(("move", x, y))
    at = opened.run("return explorer.state.pointer")
    expected = scgeoae.get.decode(decodable, np.array([at]), space="genes")
    assert f"{expected.obs['det'].iloc[0]:.3g}" in opened.text("#place")
    assert "CD19+ B" in opened.text("#place")
    assert "No cells here" not in opened.text("#place")
    rows = opened.run("return [...document.querySelectorAll('#place bdi')].map((row) => row.textContent)")
    assert {"CD79A", "CD74", "HLA-DRA", "MS4A1"} & set(rows)
    risen = opened.run("return [...document.querySelectorAll('#rises bdi')].map((row) => row.textContent)")
    gradient = scgeoae.get.gene_gradient(decodable, np.array([at]))
    assert risen[0] in gradient.var_names[np.argsort(-gradient.X[0])[:3]]
    ellipse = opened.run(
        """const ellipse = document.querySelector("[data-mark=indicatrix]");
        return ["rx", "ry"].map((name) => Number(ellipse.getAttribute(name)));"""
    )
    unit, metric = scgeoae.get.model(decodable).unit, scgeoae.get.metric(decodable, np.array([at]))[0]
    axes = 36 * unit / np.sqrt(np.linalg.eigvalsh(metric))
    np.testing.assert_allclose(ellipse, axes, rtol=1e-3)
    opened.mouse(("move", 2, 400))
    assert "No cells here" in opened.text("#place")
    opened.mouse(("click", x, y), ("move", 300, 300))
    assert opened.run("return document.querySelectorAll('[data-mark=indicatrix]').length") == 1
    assert f"{expected.obs['det'].iloc[0]:.3g}" in opened.text("#place")  # a click keeps the place
    milliseconds = opened.run(
        """const times = [];
        for (let i = 0; i < 100; i++) {
            const start = performance.now();
            explorer.decoder.genes(explorer.decoder.geometry([i / 50 - 1, 0]).features);
            times.push(performance.now() - start);
        }
        return times.sort((a, b) => a - b)[50];"""
    )
    assert milliseconds < 4


def test_box_and_lasso(opened, decodable) -> None:
    opened.click("[data-tool=box]")
    opened.mouse(("press", 200, 100), ("move", 400, 300), ("release", 600, 700))
    corners = np.array(opened.run("return explorer.state.shape"))
    z = scgeoae.get.coordinates(decodable)
    inside = ((z >= corners.min(0)) & (z <= corners.max(0))).all(1)
    assert 0 < inside.sum() < 700
    assert f"{inside.sum()} (" in opened.text("#selection")
    assert "measured expression" in opened.text("#selection")
    largest = decodable.obs.loc[inside, LABELS].value_counts(normalize=True).iloc[0]
    assert f"{100 * largest:.3g} %" in opened.text("#selection")
    opened.run(
        """window.saved = []; URL.createObjectURL = (blob) => (window.saved.push(blob), "data:,");
        document.querySelector("#selection > button").click()"""
    )
    text = opened.run("return window.saved[0].text()")
    (header, *rows) = [line.split(",") for line in text.strip().splitlines()]
    assert header == ["cell", "geoae1", "geoae2"]
    assert [row[0] for row in rows] == decodable.obs_names[inside].tolist()
    np.testing.assert_allclose(np.array([row[1:] for row in rows], dtype=float), z[inside], rtol=1e-6)
    opened.keys("l")
    opened.mouse(("press", 200, 200), ("move", 600, 200), ("move", 600, 600), ("release", 590, 610))
    assert opened.run("return explorer.state.shape.length") >= 3
    opened.keys("\ue00c")  # Escape
    assert not opened.run("return explorer.chosen")
    assert opened.run("return document.getElementById('selectionSection').hidden")


def test_path(opened) -> None:
    opened.keys("p")
    opened.mouse(("click", 300, 300), ("move", 400, 420))
    assert "from the first end towards the pointer" in opened.text("#place")
    opened.mouse(("click", 500, 500))
    assert "Rises this way" in opened.text("#place")
    assert opened.run("return document.querySelectorAll('#path .chart polyline').length") == 5
    assert "in the data" in opened.text("#path")
    assert opened.run("return document.querySelector('[data-mark=path]').points.length") == 101


def test_stored_path(browser, decodable, tmp_path: Path) -> None:
    ends = decodable.obsm["X_geoae"][[0, -1]]
    path = scgeoae.get.geodesic(decodable, *ends, n_points=30, region="anywhere").points
    scgeoae.pl.explorer(
        decodable, tmp_path / "page.html", color=LABELS, paths={"<b>there</b>": path, "back": path[::-1]}
    )
    browser.open(tmp_path / "page.html")
    choose = "const s = document.getElementById('stored'); s.value = arguments[0]; s.dispatchEvent(new Event('change'))"
    browser.run(choose, "1")
    np.testing.assert_allclose(browser.run("return explorer.map.marks.path"), path[::-1], rtol=1e-5)
    assert browser.run("return document.querySelectorAll('#path .chart polyline').length") == 5
    assert "along the stored path" in browser.text("#path")
    browser.keys("p")
    browser.mouse(("click", 300, 300), ("click", 500, 500))
    assert browser.run("return document.querySelector('[data-mark=path]').points.length") == 101
    assert "along the straight path" in browser.text("#path")
    assert browser.run("return document.getElementById('stored').value") == ""


def test_legend_and_address(opened, page) -> None:
    before = opened.colored()
    opened.click("#legend .entry:nth-child(6) input")
    hidden = opened.colored()
    assert hidden < before
    opened.until("location.hash.includes('hidden')")
    opened.until("decodeURIComponent(location.hash).includes('\"hidden\":[5]')")
    address = opened.run("return location.hash")
    opened.open(page, address)
    opened.settle()
    assert opened.colored() == hidden
    opened.run("explorer.select([[-1e9, -1e9], [1e9, -1e9], [1e9, 1e9], [-1e9, 1e9]])")
    assert opened.run("return explorer.chosen.reduce((a, b) => a + b)") == 700 - 129  # hidden ones are not selected
    opened.run("[...document.querySelectorAll('#legend button')].find((b) => b.textContent === 'Hide all').click()")
    opened.settle()
    assert opened.colored() == 0


def test_genes(opened, page) -> None:
    opened.keys("/", "no such gene", "\ue007")
    assert "no such gene" in opened.text("#message")
    opened.run("document.getElementById('gene').value = ''")
    opened.keys("cd79a", "\ue007")
    opened.until("document.getElementById('legend').innerText.includes('CD79A, measured')")
    measured = opened.run("return Array.from(explorer.map.points.codes)")
    opened.click("#source input[value=decoded]")
    opened.until("document.getElementById('legend').innerText.includes('CD79A, decoded')")
    decoded = opened.run("return Array.from(explorer.map.points.codes)")
    assert np.corrcoef(measured, decoded)[0, 1] > 0.5
    assert "CD79A" in opened.text("#followed")
    opened.until("decodeURIComponent(location.hash).includes('\"decoded\":true')")
    state = json.loads(unquote(opened.run("return location.hash.slice(1)")))
    assert state["genes"] == ["CD79A"]
    assert state["color"] == ["gene", "CD79A"]
    assert state["decoded"] is True


def test_view(opened) -> None:
    """Zoom, pan, field, names, dark; all by the keyboard."""
    scale = opened.run("return explorer.map.view.scale")
    opened.keys("+")
    assert opened.run("return explorer.map.view.scale") > scale
    opened.mouse(("press", 400, 400), ("move", 450, 420), ("release", 500, 440))
    assert opened.run("return explorer.map.view.x !== 0")
    opened.keys("0", "f", "n")
    opened.settle()
    assert opened.run("return document.querySelectorAll('[data-mark=label]').length") >= 7
    assert opened.run("return explorer.map.field !== null")
    assert opened.colored() > 10_000
    opened.keys("d")
    theme = opened.run("return document.documentElement.dataset.theme")
    background = opened.run("return explorer.map.theme('background')")
    assert (theme, background) in {("dark", "#16171b"), ("light", "#ffffff")}
    opened.keys("\ue014", "\ue014", "\ue007")  # right, right, Enter
    assert opened.run("return explorer.state.kept !== null")


def test_pictures(opened) -> None:
    opened.run("window.saved = []; URL.createObjectURL = (blob) => (window.saved.push(blob), 'data:,')")
    opened.mouse(("click", 300, 300))
    opened.click("[data-action=savePNG]")
    opened.until("window.saved.length === 1")
    size = opened.run("""return createImageBitmap(window.saved[0]).then((image) => [image.width, image.height]);""")
    assert size == opened.run("return [2 * explorer.map.width + 400, 2 * explorer.map.height]")
    opened.click("[data-action=saveSVG]")
    root = ElementTree.fromstring(opened.run("return window.saved[1].text()"))
    assert len(root.findall(".//{*}image")) == 1
    assert len(root.findall(".//{*}ellipse")) == 2
    assert "CD19+ B" in [text.text for text in root.findall(".//{*}text")]


def test_hostile_names(browser, decodable, tmp_path: Path) -> None:
    """Names are data: they are shown as they are, cut if they are long, and do not run."""
    names = [*HOSTILE, "\u202emirror", "x" * 10_000_000, "\ud800", "=1+1", "\u2028"]
    decodable.obs["<b>label</b>"] = pd.Categorical.from_codes(np.arange(700) % len(names), names)
    genes = decodable.var_names.tolist()
    genes[:3] = HOSTILE
    decodable.var_names = genes
    decodable.obs_names = [f"</script>{i}" for i in range(700)]
    page = scgeoae.pl.explorer(decodable, tmp_path / "page.html", color="<b>label</b>", genes=HOSTILE, cell_names=True)
    assert len(page.html) < 1_000_000
    browser.open(tmp_path / "page.html")
    browser.run("explorer.state.labels = true; explorer.setColor('column:0'); explorer.click([0, 0])")
    browser.run("explorer.select([[-1e9, -1e9], [1e9, -1e9], [1e9, 1e9], [-1e9, 1e9]])")
    browser.settle()
    shown = browser.run("return [...document.querySelectorAll('#legend bdi')].map((entry) => entry.textContent)")
    assert shown[:4] == [*HOSTILE, "\ufffdmirror"]
    assert max(map(len, shown)) == 200
    assert browser.run("return window.hacked") is None
    assert browser.run("return document.querySelectorAll('img, script').length") == 2
    assert browser.run("return explorer.contents.names[5]") == "</script>5"
    browser.run("explorer.setColor('gene:1'); explorer.map.savePNG(null)")
    browser.settle()
    assert browser.run("return window.hacked") is None


def test_damaged_address(opened) -> None:
    """Of a damaged state, what does not fit is ignored."""
    for state in (
        "%7B",
        "null",
        "[]",
        "1",
        quote('{"view":[1,"a",null],"color":["gene","x"],"hidden":3,"ends":[[1]]}'),
    ):
        opened.run("location.hash = arguments[0]", state)
        opened.settle()
        assert opened.colored() > 700
    opened.run(
        "location.hash = arguments[0]", quote('{"color":["column","n_genes"],"at":[1,2],"shape":[[0,0],[9,0],[9,9]]}')
    )
    opened.settle()
    assert "n_genes" in opened.text("#legend")
    assert opened.run("return [explorer.state.kept, explorer.state.shape.length]") == [[1, 2], 3]


def test_one_cell_without_genes(browser, decodable, tmp_path: Path) -> None:
    scgeoae.pl.explorer(decodable[:1].copy(), tmp_path / "page.html", genes=[])
    browser.open(tmp_path / "page.html")
    assert browser.colored() > 0
    browser.mouse(("click", 300, 300))
    browser.run("explorer.select([[-1e9, -1e9], [1e9, -1e9], [1e9, 1e9], [-1e9, 1e9]])")
    browser.until("document.getElementById('selection').innerText.includes('100 %')")
    browser.keys("p")
    browser.mouse(("click", 300, 300), ("click", 500, 500))


def test_notebook(browser, decodable, tmp_path: Path) -> None:
    """The frame of a notebook shows the page, apart from the notebook."""
    frame = scgeoae.pl.explorer(decodable, color=LABELS)._repr_html_()
    (tmp_path / "notebook.html").write_text(f"<!DOCTYPE html><meta charset=utf-8>{frame}", encoding="utf-8")
    browser.driver.get((tmp_path / "notebook.html").as_uri())
    browser.driver.switch_to.frame(0)
    browser.until("window.explorer !== undefined")
    assert browser.colored() > 700
    assert browser.run("return window.origin") == "null"
    browser.driver.switch_to.default_content()


def test_hidden_at_first(browser, page, tmp_path: Path) -> None:
    """A page in a frame that is shown later, such as a tab of a notebook."""
    frame = f"<!DOCTYPE html><iframe src='{page.as_uri()}' style='display: none; width: 900px; height: 600px'></iframe>"
    (tmp_path / "tabs.html").write_text(frame)
    browser.driver.get((tmp_path / "tabs.html").as_uri())
    browser.run("document.querySelector('iframe').style.display = 'block'")
    browser.driver.switch_to.frame(0)
    browser.until("window.explorer !== undefined")
    browser.settle()
    assert browser.colored() > 700
    browser.driver.switch_to.default_content()


def test_narrow_window(browser, page) -> None:
    browser.driver.set_window_size(520, 900)
    browser.open(page)
    assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.colored() > 100


def test_many_cells(browser, decodable, tmp_path: Path) -> None:
    """100,000 cells load, move and are selected."""
    model, rng = scgeoae.get.model(decodable), np.random.default_rng(0)
    drawn = rng.integers(700, size=100_000)
    many = ad.AnnData(obs=decodable.obs.iloc[drawn].reset_index(drop=True).rename(str))
    many.uns = decodable.uns
    many.obsm["X_geoae"] = decodable.obsm["X_geoae"][drawn] + rng.normal(0, 0.3, (100_000, 2)).astype(np.float32)
    assert model.n_components == 2
    page = scgeoae.pl.explorer(many, tmp_path / "page.html", color=LABELS)
    assert len(page.html) < 3_000_000 + 20 * 100_000
    browser.open(tmp_path / "page.html")
    assert browser.colored() > 10_000
    browser.mouse(("press", 400, 400), ("move", 450, 420), ("release", 500, 440))
    browser.run("explorer.select([[-1e9, -1e9], [0, -1e9], [0, 1e9], [-1e9, 1e9]])")
    browser.until("document.getElementById('selection').innerText.includes('decoded expression')")
    expected = int((many.obsm["X_geoae"][:, 0] < 0).sum())
    assert f"{expected:,} (" in browser.text("#selection")


@pytest.fixture
def bent(browser, decodable, tmp_path):
    scgeoae.tl.lens(decodable)
    scgeoae.pl.explorer(decodable, tmp_path / "bent.html", color=LABELS)
    browser.open(tmp_path / "bent.html")
    return browser


SLIDE = """const slider = document.getElementById("lens");
    slider.value = arguments[0];
    slider.dispatchEvent(new Event("input"));"""


def test_there_is_no_slider_without_a_lens(opened) -> None:
    assert not opened.driver.find_element("id", "lens").is_displayed()


def test_the_slider_bends_the_map(bent, decodable) -> None:
    shown = "return [explorer.map.toScreen(arguments[0]), document.querySelectorAll('[data-mark=scale]').length]"
    z = scgeoae.get.coordinates(decodable)[100].tolist()
    straight, bars = bent.run(shown, z)
    assert bars == 1
    bent.run(SLIDE, 0.35)
    bent.settle()
    assert "bent: areas up to" in bent.run("return document.querySelector('[data-mark=bent]').textContent")
    moved, bars = bent.run(shown, z)
    assert bars == 0
    assert np.hypot(*np.subtract(moved, straight)) > 3
    bent.mouse(("move", *moved))
    at = bent.run("return explorer.state.pointer")  # a place of the true map
    assert np.hypot(*np.subtract(at, z)) < 2 * bent.run("return 1 / explorer.map.view.scale")
    assert "times that of the true one" in bent.text("#place")
    first, last = np.array(moved) - 40, np.array(moved) + 40
    bent.click("[data-tool=box]")
    bent.mouse(("press", *first), ("move", *last), ("release", *last))
    on_screen = np.array(
        bent.run(
            """const { cells, map } = explorer;
            return Array.from({ length: cells.n }, (_, i) => map.toScreen([cells.x(i), cells.y(i)]));"""
        )
    )
    expected = ((on_screen > first) & (on_screen < last)).all(1)
    chosen = np.array(bent.run("return Array.from(explorer.chosen)")) == 1
    assert (chosen != expected).sum() <= 2
    assert expected.sum() > 3


def test_the_address_holds_the_lens(bent) -> None:
    bent.run(SLIDE, 0.7)
    bent.until("location.hash.includes('lens')")
    kept = json.loads(unquote(bent.run("return location.hash.slice(1)")))
    assert kept["lens"] == 0.7
    bent.run(SLIDE, 0)
    bent.until("!location.hash.includes('lens')")
