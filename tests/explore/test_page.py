"""The page in a real browser."""

from __future__ import annotations

import csv
import json
from io import StringIO
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
        document.querySelector("#selection .row button:last-child").click()"""
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


@pytest.mark.parametrize("size", [(1300, 800), (420, 800)], ids=["screen", "phone"])
def test_results_come_into_view(opened, size) -> None:
    """What a selection and a path show is in sight when they are made, and the map keeps the focus."""
    opened.size(*size)
    opened.settle()
    width, height = opened.run("return [explorer.map.width, explorer.map.height]")
    assert width > 400
    assert height > 400
    opened.keys("b")
    opened.mouse(("press", 20, 80), ("move", 200, 300), ("release", width - 20, height - 20))
    opened.until("document.getElementById('selection').innerText.includes('expression')")
    assert opened.shows("#selectionSection h2")
    assert opened.shows("#selection .bars")
    focus = "return document.activeElement.id"
    assert opened.run(focus) == "map"
    opened.run("document.getElementById('panel').scrollTop = 0; explorer.setColor('column:1')")
    opened.settle()
    assert opened.run("return document.getElementById('panel').scrollTop") == 0  # another color is no new selection
    opened.keys("p")
    opened.mouse(("click", 120, 120), ("click", 220, 260))
    assert opened.shows("#pathSection h2")
    assert opened.shows("#path .chart")
    assert opened.run(focus) == "map"
    opened.keys("m")
    opened.mouse(("click", 150, 200))
    assert opened.shows("#placeSection h2")
    assert opened.run("return document.documentElement.scrollTop + window.scrollX") == 0  # the map stays in sight


RIGHT, LEFT, UP, DOWN, ENTER, ESCAPE = "\ue014", "\ue012", "\ue013", "\ue015", "\ue007", "\ue00c"


def on_screen(browser, picture: str = "map") -> np.ndarray:
    """Where the cells are in a picture, in pixels (n, 2)."""
    code = f"""const {{ cells }} = explorer.{picture};
        return Array.from({{ length: cells.n }}, (_, i) => explorer.{picture}.toScreen([cells.x(i), cells.y(i)]));"""
    return np.array(browser.run(code), dtype=float)


def between(browser, low, high) -> list[int]:
    """Which cells are seen between two pixels of the map, 1 or 0 each."""
    at = on_screen(browser)
    return ((at > low) & (at < high)).all(1).astype(int).tolist()


def test_box_and_lasso_by_the_keyboard(opened) -> None:
    middle = np.array(opened.run("return [explorer.map.width / 2, explorer.map.height / 2]"))
    status = "#message"
    opened.click("[data-tool=box]")
    assert "arrows move, Enter sets" in opened.text(status)
    opened.keys(*[LEFT] * 10, ENTER, *[RIGHT] * 20, *[DOWN] * 15)
    assert opened.text(status) == "One corner is set."
    assert opened.run("return document.querySelectorAll('[data-mark=cursor]').length") == 2
    opened.keys(ENTER)
    expected = between(opened, middle - [120, 0], middle + np.array([120, 180]))
    assert 0 < sum(expected) < 700
    assert opened.run("return Array.from(explorer.chosen)") == expected
    assert opened.text(status) == f"{sum(expected)} cells selected."
    opened.keys("l", ENTER, *[UP] * 5, ENTER, *[LEFT] * 5, ESCAPE)
    assert opened.run("return Array.from(explorer.chosen)") == expected  # as before
    assert opened.run("return document.querySelectorAll('[data-mark=selection]').length") == 1
    opened.keys(ENTER, *[LEFT] * 30, ENTER, *[UP] * 20, ENTER, *[RIGHT] * 30, ENTER, ENTER)
    corners = np.array(opened.run("return explorer.state.shape.map((place) => explorer.map.toScreen(place))"))
    assert len(corners) == 4
    np.testing.assert_allclose(np.ptp(corners, axis=0), [360, 240], atol=1e-6)
    expected = between(opened, corners.min(0), corners.max(0))
    assert 0 < sum(expected) < 700
    assert opened.run("return Array.from(explorer.chosen)") == expected
    opened.keys("p", ENTER, *[RIGHT] * 10, ENTER)
    ends = np.array(opened.run("return explorer.state.ends.map((place) => explorer.map.toScreen(place))"))
    np.testing.assert_allclose(ends[1] - ends[0], [120, 0], atol=1e-6)
    opened.keys(*[RIGHT] * 60)  # the picture follows
    assert 0 < opened.run("return explorer.map.toScreen(explorer.map.cursor)[0]") < 2 * middle[0]


def test_what_is_removed_leaves_the_focus_on_the_map(opened) -> None:
    everything = "[[-1e9, -1e9], [1e9, -1e9], [1e9, 1e9], [-1e9, 1e9]]"
    opened.run(f"explorer.select({everything})")
    opened.click("[data-action=clearSelection]")
    assert opened.run("return document.activeElement.id") == "map"
    names = opened.run(
        """return [...document.querySelectorAll("h2 button")].map((each) => each.ariaLabel)""",
    )
    assert names == ["Remove the path", "End the comparison", "Remove the selection"]


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


SIZE_OF_IMAGE = """const image = new Image();
    image.src = arguments[0];
    return image.decode().then(() => [image.width, image.height]);"""


def test_pictures(opened, decodable) -> None:
    opened.saved()
    opened.mouse(("click", 300, 300))
    opened.click("[data-action=savePNG]")
    opened.until("window.files.length === 1")
    size = opened.run("""return createImageBitmap(window.files[0]).then((image) => [image.width, image.height]);""")
    opened.click("[data-action=saveSVG]")
    root = ElementTree.fromstring(opened.saved()[1])
    assert size == [2 * int(root.get(side)) for side in ("width", "height")]
    longest = """const names = [...document.querySelectorAll("#legend bdi")].map(({ textContent }) => textContent);
        const context = document.createElement("canvas").getContext("2d");
        context.font = "12px sans-serif";
        return Math.max(...names.map((name) => context.measureText(name).width));"""
    assert int(root.get("width")) >= opened.run("return explorer.map.width") + 34 + opened.run(longest)
    assert root.findall(".//{*}image") == []
    assert len(root.findall(".//{*}ellipse")) == 2
    assert "CD19+ B" in [text.text for text in root.findall(".//{*}text")]
    (group,) = [each for each in root.findall(".//{*}g") if each.get("data-mark") == "cells"]
    drawn = np.array([[float(circle.get(name)) for name in ("cx", "cy")] for circle in group])
    cells = on_screen(opened)
    np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(cells, axis=0), atol=0.02)
    colors = pd.Series([circle.get("fill") for circle in group]).value_counts()
    expected = decodable.obs[LABELS].value_counts()
    palette = dict(zip(decodable.obs[LABELS].cat.categories, decodable.uns[f"{LABELS}_colors"], strict=True))
    assert colors.to_dict() == {palette[name].lower(): n for name, n in expected.items()}
    opened.keys("f")
    opened.click("[data-action=saveSVG]")
    assert len(ElementTree.fromstring(opened.saved()[2]).findall(".//{*}image")) == 1  # the field, below the cells


FIRST, SECOND = ([[0, -1e9], [side, -1e9], [side, 1e9], [0, 1e9]] for side in (-1e9, 1e9))


def test_two_selections(opened, decodable) -> None:
    """Their sizes, areas, groups and genes against those computed here."""
    opened.keys("c")
    assert "Select the cells of A first" in opened.text("#message")
    opened.run("explorer.select(arguments[0])", FIRST)
    opened.until("document.getElementById('selection').innerText.includes('expression')")
    opened.saved()
    opened.click("#selection button")
    assert "Now select B" in opened.text("#message")
    assert opened.run("return [document.activeElement.id, explorer.chosen]") == ["map", None]
    opened.run("explorer.select(arguments[0])", SECOND)
    opened.until("document.getElementById('comparison').innerText.includes('A minus B')")
    z = scgeoae.get.coordinates(decodable)
    a, b = z[:, 0] < 0, z[:, 0] > 0
    cells = "return [...document.querySelectorAll('#comparison tr')].map((row) => row.innerText.split('\\t'))"
    rows = opened.run(cells)
    assert rows[:2] == [["", "A", "B", "A / B"], ["cells", str(a.sum()), str(b.sum()), f"{a.sum() / b.sum():.3g}"]]
    region = scgeoae.get.model(decodable).region
    tiles = region.points()
    area = np.sqrt(np.linalg.det(scgeoae.get.metric(decodable, tiles)))
    for row, weight in ((rows[2], np.ones(len(tiles))), (rows[3], area)):
        share = weight[tiles[:, 0] < 0].sum() / weight.sum()
        assert row[1:] == [f"{100 * part:.3g} %" for part in (share, 1 - share)] + [f"{share / (1 - share):.3g}"]
    bars = """return [...document.querySelectorAll("#comparison .bars")].map((each) => {
        return [...each.children].map((child) => child.innerText);
    });"""
    groups, genes = (np.reshape(each, (-1, 3))[:, [0, 2]] for each in opened.run(bars))
    shares = [decodable.obs.loc[which, LABELS].value_counts(normalize=True) for which in (a, b)]
    for name, text in groups:
        assert text == ", ".join(f"{100 * share[name]:.2g}" for share in shares) + " %"
    opened.click("#comparison button")
    lines = list(csv.reader(StringIO(opened.saved()[-1])))
    table = pd.DataFrame(lines[1:], columns=lines[0]).set_index("gene").astype(float)
    x = decodable.to_df()[table.index]
    expected = (x[a].mean() - x[b].mean()) / x.std(ddof=0)
    np.testing.assert_allclose(table["mean of A"], x[a].mean(), atol=np.ptp(x.to_numpy()) / 254)
    difference = table["difference in standard deviations"]
    assert np.corrcoef(difference, expected)[0, 1] > 0.999
    largest = difference.reindex(difference.abs().nlargest(24).index).sort_values(ascending=False)
    assert genes[:, 0].tolist() == largest.index.tolist()
    opened.keys(ESCAPE, ESCAPE)
    assert opened.run("return [explorer.chosen, explorer.first]") == [None, None]


def test_groups_as_two_selections(opened, decodable) -> None:
    """Each selection holds the cells that were visible when it was made; on the map, these have no area."""
    labels = decodable.obs[LABELS].cat
    click = "[...document.querySelectorAll('#legend button')].find((each) => each.textContent === arguments[0]).click()"
    for code in (0, 1):
        opened.run(click, "Hide all")
        opened.click(f"#legend .entry:nth-child({code + 1}) input")
        opened.run(click, "Select shown")
        assert f"{(labels.codes == code).sum()} cells selected" in opened.text("#message")
        if code == 0:
            opened.keys("c")
    chosen = opened.run("return [explorer.first, explorer.chosen].map((each) => Array.from(each))")
    assert chosen == [(labels.codes == code).astype(int).tolist() for code in (0, 1)]
    opened.until("document.getElementById('comparison').innerText.includes('A minus B')")
    assert "area" not in opened.text("#comparison")
    opened.run(click, "Show all")
    opened.run(click, "Select shown")
    assert opened.run("return explorer.chosen.every((one) => one === 1)")
    assert "area" in opened.text("#selection")


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
    browser.run("explorer.setColor('gene:1')")
    for kind in ("PNG", "SVG"):
        browser.click(f"[data-action=save{kind}]")
    browser.settle()
    assert browser.run("return window.hacked") is None


def test_the_state_survives_a_reload(opened) -> None:
    opened.run("explorer.select(arguments[0])", FIRST)
    opened.keys("c")
    opened.run("explorer.select(arguments[0])", SECOND)
    opened.click("#legend .entry:nth-child(3) input")
    opened.keys("+", "f", "n", "d")
    opened.run("const size = document.getElementById('size'); size.value = 1; size.dispatchEvent(new Event('input'))")
    opened.run("explorer.click([1, 2])")
    shown = """const { map, state, chosen, first } = explorer;
        const names = ["shape", "on", "first", "kept", "field", "labels", "dark", "size", "color"];
        return [map.view, map.pointSize, Array.from(chosen), Array.from(first), ...names.map((name) => state[name])];"""
    before = opened.run(shown)
    opened.until("decodeURIComponent(location.hash).includes('\"at\":[1,2]')")
    opened.driver.refresh()
    opened.until("window.explorer !== undefined")
    after = opened.run(shown)
    assert after[1:] == before[1:]
    assert after[0] == pytest.approx(before[0], rel=1e-5)
    opened.until("document.getElementById('comparison').innerText.includes('A minus B')")
    opened.keys("0")
    opened.until("JSON.parse(decodeURIComponent(location.hash.slice(1))).view[2] === 1")
    opened.driver.refresh()
    opened.until("window.explorer !== undefined")
    assert opened.run("return explorer.map.isWhole")


def test_another_format(browser, page, tmp_path: Path) -> None:
    text = page.read_text()
    assert text.count('"format": 1') == 1
    (tmp_path / "page.html").write_text(text.replace('"format": 1', '"format": 99'))
    browser.driver.get((tmp_path / "page.html").as_uri())
    browser.until("document.getElementById('message').innerText !== 'Loading …'")
    assert "format 99, but its program reads format 1" in browser.text("#message")
    assert any("format 99 instead of 1" in error for error in browser.errors())


def test_outliers(browser, decodable, tmp_path: Path) -> None:
    """The frame is that of the plots; a button shows all cells."""
    del decodable.uns["geoae"]["fingerprint"]
    z = decodable.obsm["X_geoae"]
    z[:3] = z.mean(0) + 10 * np.ptp(z, axis=0) * np.array([[-1, 0], [0, 1], [1, -1]])
    scgeoae.pl.explorer(decodable, tmp_path / "page.html", color=LABELS)
    browser.open(tmp_path / "page.html")
    ax = scgeoae.pl.embedding(decodable, show=False)
    np.testing.assert_allclose(browser.run("return explorer.map.frame"), [*ax.get_xlim(), *ax.get_ylim()], rtol=1e-6)
    low, high = np.transpose([ax.get_xlim(), ax.get_ylim()])
    n_outside = ((z < low) | (z > high)).any(1).sum()
    mark = "return document.querySelector('[data-mark=outside]')?.textContent ?? ''"
    assert browser.run(mark) == f"{n_outside} cells outside"
    browser.click("[data-action=fitAll]")
    x, y = on_screen(browser).T
    width, height = browser.run("return [explorer.map.width, explorer.map.height]")
    assert ((x > 0) & (x < width) & (y > 0) & (y < height)).all()
    assert browser.run(mark) == ""
    browser.keys("0")
    assert browser.run(mark) != ""
    browser.size(900, 700)  # a picture of the frame stays one
    browser.until("explorer.map.height === 700")
    assert browser.run("return explorer.map.isWhole")


def test_no_button_if_no_cell_is_outside(opened) -> None:
    outside = opened.run("return explorer.map.left")
    assert opened.driver.find_element("css selector", "[data-action=fitAll]").is_displayed() == (outside > 0)


@pytest.fixture
def two(browser, decodable, tmp_path: Path):
    decodable.obsm["spatial"] = np.random.default_rng(0).uniform(1000, 9000, (700, 2))
    decodable.obsm["spatial"][5] = np.nan
    scgeoae.pl.explorer(decodable, tmp_path / "two.html", color=LABELS, beside="spatial")
    browser.open(tmp_path / "two.html")
    return browser


def test_beside(two, decodable) -> None:
    """The second picture is linked by what is pointed at and by selections."""
    z, spatial = scgeoae.get.coordinates(decodable), decodable.obsm["spatial"] * [1, -1]  # down, as in an image
    left = two.run("return document.getElementById('beside').getBoundingClientRect().left")
    ring = """const ring = document.querySelector("#beside [data-mark=cell]");
        return ring && [ring.cx.baseVal.value, ring.cy.baseVal.value];"""
    at = [two.run("return explorer.beside.toScreen(arguments[0])", spatial[cell].tolist()) for cell in (100, 200)]
    two.mouse(("move", left + at[0][0], at[0][1]))
    assert two.run("return explorer.state.pointer") == pytest.approx(z[100].tolist(), rel=1e-6)
    assert decodable.obs[LABELS].iloc[100] in two.text("#place")
    assert two.run(ring) == pytest.approx(at[0], abs=0.1)
    two.mouse(("move", *two.run("return explorer.map.toScreen(arguments[0])", z[200].tolist())))
    shown = two.run(ring)
    nearest = np.nanargmin(np.abs(on_screen(two, "beside") - shown).max(1))
    assert np.hypot(*(z[nearest] - z[200])) * two.run("return explorer.map.view.scale") < 1  # or one as near
    two.keys("b")
    two.mouse(("press", left + 60, 100), ("move", left + 100, 200), ("release", left + 300, 500))
    corners = np.array(two.run("return explorer.state.shape"))
    inside = ((spatial >= corners.min(0)) & (spatial <= corners.max(0))).all(1)
    assert 0 < inside.sum() < 700
    assert two.run("return Array.from(explorer.chosen)") == inside.astype(int).tolist()
    for picture in ("map", "beside"):
        points = f"explorer.{picture}.points"
        order, stands_out = (two.run(f"return Array.from({points}.{each})") for each in ("order", "chosen"))
        assert np.array_equal(np.array(stands_out), inside[order])
    two.run("explorer.map.zoom(3, [10, 10])")
    two.keys("+")  # of the picture that was used last
    views = two.run("return [explorer.map.view, explorer.beside.view]")
    assert views[1]["scale"] == pytest.approx(1.4 * two.run("return explorer.beside.fitted"))
    assert "area" not in two.text("#selection")  # they need not be together on the map
    two.until("JSON.parse(decodeURIComponent(location.hash.slice(1))).besideView[2] > 1")
    two.driver.refresh()
    two.until("window.explorer !== undefined")
    assert two.run("return Array.from(explorer.chosen)") == inside.astype(int).tolist()
    assert two.run("return [explorer.map.view, explorer.beside.view]") == [
        pytest.approx(view, rel=1e-5) for view in views
    ]
    two.keys("0")
    two.saved()
    two.click("[data-action=saveSVG]")
    groups = ElementTree.fromstring(two.saved()[0]).findall(".//{*}g")
    assert [len(group) for group in groups if group.get("data-mark") == "cells"] == [700, 699]


def test_beside_by_the_keyboard(two, decodable) -> None:
    two.keys("b", "\ue004")  # Tab; from the map over the tools
    while two.run("return document.activeElement.id") != "beside":
        assert two.run("return document.activeElement !== document.body")
        two.keys("\ue004")
    two.keys(*[LEFT] * 10, ENTER, *[RIGHT] * 20, *[DOWN] * 15, ENTER)
    width, height = two.run("return [explorer.beside.width, explorer.beside.height]")
    x, y = on_screen(two, "beside").T
    expected = (x > width / 2 - 120) & (x < width / 2 + 120) & (y > height / 2) & (y < height / 2 + 180)
    assert two.run("return Array.from(explorer.chosen)") == expected.astype(int).tolist()


@pytest.mark.parametrize(
    ("size", "columns"), [((1400, 800), 3), ((800, 800), 2), ((420, 800), 1)], ids=["wide", "medium", "narrow"]
)
def test_places_of_two_pictures(two, size, columns) -> None:
    two.size(*size)
    two.settle()
    boxes = two.run(
        """return ["map", "beside", "panel"].map((id) => {
            const { left, right, top, bottom } = document.getElementById(id).getBoundingClientRect();
            return [left, right, top, bottom];
        });"""
    )
    assert len({left for left, *_ in boxes}) == columns
    assert all(right - left > 250 and bottom - top > 150 for left, right, top, bottom in boxes)
    assert max(bottom for *_, bottom in boxes) == size[1]


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
    browser.run("explorer.select(explorer.cells.corners())")
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
    browser.saved()
    browser.click("[data-action=saveSVG]")  # more cells than shapes: an image, as fine as the PNG
    browser.until("window.files.length")
    (image,) = ElementTree.fromstring(browser.saved()[0]).findall(".//{*}image")
    assert browser.run(SIZE_OF_IMAGE, image.get("href")) == browser.run(
        "return [2 * explorer.map.width, 2 * explorer.map.height]"
    )


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
    expected = between(bent, first, last)
    chosen = bent.run("return Array.from(explorer.chosen)")
    assert np.count_nonzero(np.subtract(chosen, expected)) <= 2
    assert sum(expected) > 3


def test_the_address_holds_the_lens(bent) -> None:
    bent.run(SLIDE, 0.7)
    bent.until("location.hash.includes('lens')")
    kept = json.loads(unquote(bent.run("return location.hash.slice(1)")))
    assert kept["lens"] == 0.7
    bent.run(SLIDE, 0)
    bent.until("!location.hash.includes('lens')")
