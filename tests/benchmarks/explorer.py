"""How large is the page of `pl.explorer`, how soon does it draw, and how fluently does it move and decode?

``OMP_NUM_THREADS=1 python tests/benchmarks/explorer.py [--cells 700,70000,1000000] [--folder DIR]``

The page is opened in headless Chromium, which draws without a graphics card. Beyond 700, the cells are drawn with
replacement from those of pbmc68k_reduced and moved a little on the map; contents are the default ones and the labels.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import scanpy as sc

import scgeoae

SCATTER = 0.02
"""Standard deviation by which copies of a cell are moved, as a share of that of the map."""

MEASURE = """
const done = arguments[0];
const { map, cells, decoder, state, showPlace } = explorer;
const seconds = (name) => performance.getEntriesByName(name)[0].startTime / 1000;
const result = { drawn: seconds("drawn"), decoded: seconds("decoded") };
const median = (n, action) => {
  const times = Array.from({ length: n }, (_, i) => {
    const start = performance.now();
    for (let k = 0; k < 10; k++) action((7919 * (10 * i + k)) % cells.n);
    return (performance.now() - start) / 10;
  });
  return times.sort((a, b) => a - b)[n >> 1];
};
result.decode = median(200, (cell) => {
  decoder.genes(decoder.geometry(cells.point(cells.x(cell), cells.y(cell))).features);
});
result.pointer = median(20, (cell) => {
  state.pointer = [cells.x(cell), cells.y(cell)];
  showPlace();
});
result.paint = median(1, () => map.paint(Infinity));
let [frames, shown] = [0, 0];
const start = performance.now();
const x = map.view.x;
const pan = () => {
  frames += 1;
  shown += map.drawn;
  const passed = performance.now() - start;
  if (passed > 5000) {
    done({ ...result, frames: (1000 * frames) / passed, share: shown / frames / cells.n });
    return;
  }
  map.move({ x: x + (40 / map.view.scale) * Math.sin(passed / 300) }, true);
  requestAnimationFrame(pan);
};
map.move({}, true);
requestAnimationFrame(pan);
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", default="700,70000,1000000", help="numbers of cells with commas between")
    parser.add_argument("--folder", type=Path, help="keep the pages here")
    arguments = parser.parse_args()
    reference = sc.datasets.pbmc68k_reduced().raw.to_adata()  # log-normalized, sparse
    reference.obs = sc.datasets.pbmc68k_reduced().obs[["bulk_labels"]]
    sc.pp.pca(reference)
    scgeoae.tl.geometric_ae(reference)
    print(
        "| cells | page, MB | limit, MB | to make, s | until drawn, s | until decoded, s | decode, ms | "
        "pointer, ms | all cells, ms | frames a second | cells in a frame |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for size in map(int, arguments.cells.split(",")):
        with tempfile.TemporaryDirectory() as temporary:
            path = (arguments.folder or Path(temporary)) / f"{size}.html"
            adata = resampled(reference, size)
            start = time.perf_counter()
            scgeoae.pl.explorer(adata, path, color="bulk_labels")
            seconds = time.perf_counter() - start
            n_bytes = path.stat().st_size
            row = measured(path)
        print(
            f"| {size:,} | {n_bytes / 1e6:.2f} | {3 + 20e-6 * size:.2f} | {seconds:.1f} | {row['drawn']:.1f} | "
            f"{row['decoded']:.1f} | {row['decode']:.3f} | {row['pointer']:.1f} | {row['paint']:.0f} | "
            f"{row['frames']:.0f} | {row['share']:.0%} |",
            flush=True,
        )


def resampled(reference: ad.AnnData, size: int) -> ad.AnnData:
    """Draw cells with replacement and move them a little; the reference itself if that is its size."""
    if size == reference.n_obs:
        return reference
    rng = np.random.default_rng(0)
    drawn = rng.integers(reference.n_obs, size=size)
    z = reference.obsm["X_geoae"]
    noise = rng.standard_normal((size, 2), dtype=np.float32)
    obs = reference.obs.iloc[drawn].set_index(np.arange(size).astype(str))
    x = reference.X[drawn]
    return ad.AnnData(
        x, obs=obs, var=reference.var, uns=reference.uns, obsm={"X_geoae": z[drawn] + SCATTER * z.std() * noise}
    )


def measured(path: Path) -> dict[str, Any]:
    """Open a page and measure it."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1300,1000"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.set_page_load_timeout(600)
        driver.set_script_timeout(600)
        driver.get(path.resolve().as_uri())
        while not driver.execute_script("return window.explorer !== undefined"):
            time.sleep(0.5)
        return driver.execute_async_script(MEASURE)
    finally:
        driver.quit()


if __name__ == "__main__":
    main()
