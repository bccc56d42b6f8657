"""A page in a headless browser, and JavaScript in node."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest
import scanpy as sc
from helpers import QUICK

import scgeoae

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from anndata import AnnData

ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--window-size=1300,1000",
    "--force-device-scale-factor=1",
    "--force-prefers-reduced-motion",
)
MODULES = ("decoder", "lens", "cells", "points", "drawing")
"""Parts of the program that need no browser."""
PATIENCE = 60
"""Seconds to wait for a page."""


@pytest.fixture(scope="session")
def _decodable_once(_pbmc_once: AnnData) -> AnnData:
    adata = _pbmc_once.copy()
    sc.pp.pca(adata, n_comps=30)
    scgeoae.tl.geometric_ae(adata, **QUICK)
    return adata


@pytest.fixture
def decodable(_decodable_once: AnnData) -> AnnData:
    """The blood cells with a quickly trained map whose model holds how its input was made from genes."""
    return _decodable_once.copy()


@pytest.fixture
def node(tmp_path: Path) -> Callable[[AnnData, str], Any]:
    """Run JavaScript with the program's functions and the `contents` of a page; return what it assigns to `result`."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("node is not installed")

    def run(adata: AnnData, code: str, **arguments: Any) -> Any:
        page = scgeoae.pl.explorer(adata, **arguments).html
        (tmp_path / "contents.json").write_text(contents_of(page))
        functions = [(files("scgeoae.explore") / f"{name}.js").read_text() for name in MODULES]
        start = f"""import {{ readFileSync }} from "node:fs";
            const contents = await unpacked(JSON.parse(readFileSync({json.dumps(str(tmp_path / "contents.json"))})));
            const decoder = new Decoder({{ ...contents.decoder, dimension: contents.dimension }});
            const region = new Region(contents.region);
            const cells = new Cells(contents.coordinates, contents.dimension, decoder, region, contents.frame);
            let result;"""
        script = "\n".join([*functions, start, code, "process.stdout.write(JSON.stringify(result))"])
        command = [program, "--input-type=module", "-"]
        ended = subprocess.run(command, input=script, capture_output=True, text=True, check=False, timeout=120)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    return run


def contents_of(page: str) -> str:
    """Return the JSON in a page."""
    start = page.index('id="contents">') + len('id="contents">')
    return page[start : page.index("</script>", start)]


class Browser:
    """Chromium with one page."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path, fragment: str = "") -> None:
        self.driver.get("about:blank")
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self.driver.get(f"{path.as_uri()}{fragment}")
        self.until("window.explorer !== undefined")

    def run(self, code: str, *arguments: Any) -> Any:
        return self.driver.execute_script(code, *arguments)

    def until(self, condition: str) -> None:
        end = time.monotonic() + PATIENCE
        while not self.run(f"return {condition}"):
            assert time.monotonic() < end, (condition, self.errors())
            time.sleep(0.05)

    def settle(self) -> None:
        """Wait until two pictures have been drawn."""
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))"
        )

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Return the addresses asked for since the page was opened."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [entry["params"] for entry in messages if entry["method"] == "Network.requestWillBeSent"]
        return [entry["request"]["url"] for entry in asked]

    def text(self, selector: str) -> str:
        return self.run("return document.querySelector(arguments[0]).innerText", selector)

    def mouse(self, *steps: tuple[str, float, float]) -> None:
        """Move, press, release or click at pixels of the map."""
        from selenium.webdriver.common.action_chains import ActionChains

        left, top = self.run("const b = document.getElementById('map').getBoundingClientRect(); return [b.left, b.top]")
        chain = ActionChains(self.driver, duration=0)
        for step, x, y in steps:
            chain.w3c_actions.pointer_action.move_to_location(round(left + x), round(top + y))
            if step != "move":
                {"press": chain.click_and_hold, "release": chain.release, "click": chain.click}[step]()
        chain.perform()
        self.settle()

    def keys(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver, duration=0).send_keys(*keys).perform()
        self.settle()

    def click(self, selector: str) -> None:
        self.driver.find_element("css selector", selector).click()
        self.settle()

    def size(self, width: int, height: int) -> None:
        """Make the page this large, which may be smaller than a window can be."""
        device = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)

    def shows(self, selector: str) -> bool:
        """Whether the top of an element of the panel is in sight."""
        return self.run(
            """const boxOf = (selector) => document.querySelector(selector).getBoundingClientRect();
            const [box, panel] = [boxOf(arguments[0]), boxOf("#panel")];
            const bottom = Math.min(panel.bottom, window.innerHeight);
            return box.height > 0 && box.top >= panel.top - 1 && Math.min(box.bottom, box.top + 60) <= bottom + 1;""",
            selector,
        )

    def saved(self) -> list[str]:
        """Return the texts of the files saved since the first call."""
        return self.run(
            """if (!window.files) {
                window.files = [];
                URL.createObjectURL = (blob) => (window.files.push(blob), "data:,");
            }
            return Promise.all(window.files.map((file) => file.text()));"""
        )

    def colored(self) -> int:
        """Count the pixels of the map that differ from its background."""
        return self.run(
            """const canvas = document.getElementById("points");
            const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            const pixels = new Uint32Array(image.data.buffer);
            return pixels.reduce((sum, pixel) => sum + (pixel !== pixels[0]), 0);"""
        )


@pytest.fixture(scope="session")
def _browser_once() -> Iterator[Browser]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, chromedriver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(chromedriver))
    driver.set_script_timeout(PATIENCE)
    yield Browser(driver)
    driver.quit()


@pytest.fixture
def browser(_browser_once: Browser) -> Iterator[Browser]:
    """A headless Chromium; there must be no error in its console at the end."""
    _browser_once.driver.set_window_size(1300, 1000)
    _browser_once.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    yield _browser_once
    assert _browser_once.errors() == []
