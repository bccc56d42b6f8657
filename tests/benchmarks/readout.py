"""How well are genes decoded from representations that are no principal components?

``OMP_NUM_THREADS=1 python tests/benchmarks/readout.py --data DIR``

Cells are distributed over two laboratories with a batch effect of our making, as in tutorial 7, and integrated by
Harmony (needs harmonypy) and, where it is installed, by scVI. Maps are trained and readouts are fitted on 80 % of the
cells. The others are mapped, decoded to genes, and compared with what was measured in them: for each gene the
correlation over the cell types of mean decoded with mean measured expression. Prints its median and 10th percentile
over the 500 genes that differ most between the types, by route:

components
    A map of the principal components, by their loadings.
readout
    `tl.gene_readout`; without and with `batch_key`.
linear
    The same map, but a ridge regression on the input alone.
network
    The same map, but a network with one hidden layer, trained as a whole.
30 nearest
    The same map; the mean of the 30 training cells that are nearest on it, without a decoder.

The second table says how good genes of which R² are.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import datasets
import numpy as np
import pandas as pd
import scanpy as sc
from scipy.spatial import KDTree
from sklearn.linear_model import RidgeCV
from sklearn.neural_network import MLPRegressor

import scgeoae

if TYPE_CHECKING:
    from anndata import AnnData

SETS = "pbmc3k,human_kidney_top2000,cite_cbmc_top2000"
N_BEST = 500
N_NEAREST = 30
FEWEST = 10
"""Held-out cells that a type must have."""

GOOD = 0.95
BOUNDS = (-np.inf, 0.005, 0.01, 0.02, 0.05, 0.1, np.inf)


def prepared(name: str, data: Path, seed: int) -> AnnData:
    """Return log-normalized expression with its counts, components, and two laboratories with a batch effect."""
    import harmonypy

    adata = datasets.read_counts(data / f"{name}.h5ad")
    adata.obs["type"] = pd.Categorical(datasets.labels_of(adata.obs))
    adata = adata[adata.obs["type"].notna()].copy()
    rng = np.random.default_rng(seed)
    laboratory = rng.choice(["A", "B"], adata.n_obs)
    counts = adata.X.toarray().astype(int)
    for each in "AB":
        found = np.clip(0.5 * rng.lognormal(0, 0.7, adata.n_vars), 0, 1)
        counts[laboratory == each] = rng.binomial(counts[laboratory == each], found)
    adata.X = counts.astype(np.float32)
    adata = adata[counts.sum(1) > 0].copy()
    adata.obs["laboratory"] = laboratory[counts.sum(1) > 0]
    adata.layers["counts"] = adata.X.copy()
    adata = datasets.log_normalized(adata)
    adata.layers["log"] = adata.X.copy()
    sc.pp.scale(adata, max_value=10)
    sc.pp.pca(adata)
    corrected = harmonypy.run_harmony(adata.obsm["X_pca"], adata.obs, "laboratory", theta=4, verbose=False).Z_corr
    corrected = np.asarray(corrected, dtype=np.float32)
    adata.obsm["X_pca_harmony"] = corrected if len(corrected) == adata.n_obs else corrected.T
    if importlib.util.find_spec("scvi") is not None:
        adata.obsm["X_scVI"] = scvi_latent(adata, seed)
    return adata


def scvi_latent(adata: AnnData, seed: int) -> np.ndarray:
    """Return the latent means (n, 10) of scVI, with the laboratories as batches."""
    import scvi

    scvi.settings.seed = seed
    cells = adata.copy()
    scvi.model.SCVI.setup_anndata(cells, layer="counts", batch_key="laboratory")
    model = scvi.model.SCVI(cells)
    model.train(max_epochs=50, accelerator="cpu", enable_progress_bar=False)
    return model.get_latent_representation()


def routes(adata: AnnData, held_out: np.ndarray, use_rep: str) -> dict[str, np.ndarray]:
    """Decode held-out cells (n,) bool to genes (m, g) by each route."""
    train, test = adata[~held_out].copy(), adata[held_out].copy()
    scgeoae.tl.geometric_ae(train, use_rep=use_rep)
    scgeoae.tl.map_cells(test, train)
    z, expression = scgeoae.get.coordinates(test), train.layers["log"]

    def decoded() -> np.ndarray:
        return scgeoae.get.decode(train, z, space="genes")[:, adata.var_names].X

    if use_rep == "X_pca":
        return {"components": decoded()}
    found = {}
    for route, batch_key in (("readout", None), ("readout, batch_key", "laboratory")):
        scgeoae.tl.gene_readout(train, layer="log", batch_key=batch_key)
        found[route] = decoded()
    found["r2"] = scgeoae.get.model(train).readout.r2
    scale = train.obsm[use_rep].std()
    x, y, at = train.obsm[use_rep] / scale, dense(expression), scgeoae.get.decode(train, z).X / scale
    found["linear"] = RidgeCV(np.logspace(-2, 4, 7)).fit(x, y).predict(at)
    network = MLPRegressor(
        hidden_layer_sizes=(64,), early_stopping=True, n_iter_no_change=5, max_iter=100, random_state=0
    )
    found["network"] = network.fit(x, y).predict(at)
    nearest = KDTree(scgeoae.get.coordinates(train)).query(z, k=N_NEAREST)[1]
    found["30 nearest"] = np.mean([dense(expression[column]) for column in nearest.T], axis=0)
    return found


def dense(x: object) -> np.ndarray:
    """Return a sparse or dense matrix as dense."""
    return x.toarray() if hasattr(x, "toarray") else np.asarray(x)


def means(x: np.ndarray, labels: pd.Series) -> np.ndarray:
    """Means (k, g) of the types that have enough cells."""
    counts = labels.value_counts()
    return np.array([x[(labels == name).to_numpy()].mean(0) for name in counts.index[counts >= FEWEST]])


def correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Correlation (g,) over the rows of two matrices (k, g), 0 where one is constant."""
    first, second = (x - x.mean(0) for x in (first, second))
    size = np.sqrt((first**2).sum(0) * (second**2).sum(0))
    return (first * second).sum(0) / np.where(size > 0, size, 1)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--sets", default=SETS, help="names, separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sc.settings.verbosity = 0
    by_gene = []
    print("| data | input | route | median | 10th percentile |\n|---|---|---|---|---|", flush=True)
    for name in arguments.sets.split(","):
        adata = prepared(name, arguments.data, arguments.seed)
        held_out = np.zeros(adata.n_obs, dtype=bool)
        held_out[datasets.split(adata.n_obs, seed=arguments.seed)[1]] = True
        labels = adata.obs["type"][held_out]
        measured = means(dense(adata.layers["log"][held_out]), labels)
        best = np.argsort(-measured.std(0))[:N_BEST]
        for use_rep in ("X_pca", "X_pca_harmony", "X_scVI"):
            if use_rep not in adata.obsm:
                print(f"| {name} | {use_rep} | not installed | | |", flush=True)
                continue
            found = routes(adata, held_out, use_rep)
            r2 = found.pop("r2", None)
            for route, genes in found.items():
                values = correlations(means(genes, labels), measured)
                row = f"{np.median(values[best]):.3f} | {np.quantile(values[best], 0.1):.3f}"
                print(f"| {name} | {use_rep} | {route} | {row} |", flush=True)
                if route == "readout, batch_key":
                    by_gene.append(pd.DataFrame({"r2": r2, "r": values}))
    table = pd.concat(by_gene)
    print("\n| R² | genes | median correlation | correlation of at least 0.95 |\n|---|---|---|---|")
    for bounds, part in table.groupby(pd.cut(table["r2"], BOUNDS), observed=True):
        print(f"| {bounds} | {len(part)} | {part['r'].median():.2f} | {(part['r'] >= GOOD).mean():.0%} |")


if __name__ == "__main__":
    main()
