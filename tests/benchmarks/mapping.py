"""Do new cells land where they belong, and are cells noticed that the reference does not explain?

``OMP_NUM_THREADS=1 python tests/benchmarks/mapping.py halves --data DIR``
``OMP_NUM_THREADS=1 python tests/benchmarks/mapping.py labels --data DIR``
``OMP_NUM_THREADS=1 python tests/benchmarks/mapping.py missing --data DIR``
``OMP_NUM_THREADS=1 python tests/benchmarks/mapping.py left_out --data DIR``
``OMP_NUM_THREADS=1 python tests/benchmarks/mapping.py displaced --data DIR``
``OMP_NUM_THREADS=1 python tests/benchmarks/mapping.py laboratories --data DIR`` (needs symphonypy)
``OMP_NUM_THREADS=1 python tests/benchmarks/mapping.py grow --data DIR``
``OMP_NUM_THREADS=1 python tests/benchmarks/mapping.py foreign --data DIR``

`halves`: train on half of the cells and map the other half. Prints the accuracy of labels, the share of mapped cells
that are flagged, and the correlation of decoded genes with the expression that the principal components keep.
`labels`: label 40 % of the cells by a reference of the others. Prints the accuracy and the expected calibration error
(mean difference of confidence and accuracy over ten bins) with the reference's cells and with the published model file,
and the accuracy of `sc.tl.ingest` and of the 20 nearest cells in the principal components.
`missing`: the same query without some of its genes. Prints the share of the weight that is missing, how far cells move
on the map (in units of its root mean square radius) and the accuracy of labels.
`left_out`: leave one cell type out of the training and map it. Prints, for both flags of `tl.map_cells`, the share of
its cells that are flagged (sensitivity) and of held-out cells of the other types that are not (specificity), also after
thinning the counts of the query to a half and a quarter; and the means over the types.
`displaced`: print the share of the squared reconstruction error that all cells of a query have in common, for single
cell types and after shifts of each component, in its standard deviations.
`laboratories`: the cells of the reference come from two laboratories, those of the query from a third. Each finds a
share of the molecules of each gene that is its own, of several strengths. Maps the query in three ways: by components
of the reference; in Harmony's space, only projected; in Harmony's space by Symphony. Prints the accuracy of labels, the
share of cells flagged, and how far the median places of the types of query and reference are apart, in units of the
map's radius, as the mean over types.
`grow`: map all cells after a map without the third-largest type, from scratch and with landmarks of several weights.
Prints how far the earlier cells move (after an alignment by shift, rotation and reflection, in units of the map's
radius) and the quality of the new map.
`foreign`: make a UMAP and a t-SNE of all cells, drop the places of a fifth of them and place these again, by the models
of `tl.fit_decoder`, also with other weights of the encoder, by `sc.tl.ingest` and by the mean of the 15 nearest. Prints
the median and the 95th percentile of the distance to where the cells are, in units of the map's radius, and the share
of correct labels. `ingest` gets the places of the reference on the UMAP of all cells, neighbors of the reference alone,
and the components of the query, which it would center by the mean of the query. Then does what `left_out` does with the
five largest types, on a UMAP of the reference.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import anndata as ad
import datasets
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy.linalg import orthogonal_procrustes
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

import scgeoae
from scgeoae.core.evaluation import describe
from scgeoae.core.rows import row_blocks
from scgeoae.inputs import DenseRows
from scgeoae.reference import neighbors

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

SETS = "pbmc3k,cite_cbmc_top2000,human_kidney_top2000"
N_NEIGHBORS = 15
"""Of the vote of `tl.map_cells`."""
DROPPED = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
LANDMARK_WEIGHTS = (0, 0.1, 1, 10)
MEASURES = ("knn_recall", "trustworthiness", "spearman", "stress", "knn_accuracy", "det_p95_p5")
MIN_CELLS = 50
"""Smallest cell type that is left out."""
SHARES = (1, 0.5, 0.25)
"""Of the counts of a query that `left_out` maps."""
STRENGTHS = (0, 0.5, 1)
"""Of made laboratories: standard deviation of the logarithm of the share of the molecules of a gene that is found."""
FLAGS = ("outside", "novel")
ENCODER_SHARES = (0, 0.1, 1)
"""Weights of the encoder that `foreign` compares with the usual one."""
N_LEFT_OUT = 5
"""Largest cell types that `foreign` leaves out, one at a time."""


def labeled(data: Path, name: str) -> AnnData:
    """Return log-normalized expression of the labeled cells, their types in ``obs["label"]``."""
    return datasets.log_normalized(counts_of(data, name))


def bundled(name: str) -> AnnData:
    """Return a set without genes, its features as `X`."""
    x, labels = datasets.load(name)
    return ad.AnnData(x, obs=pd.DataFrame({"label": labels.astype(str)}, index=[str(i) for i in range(len(x))]))


def counts_of(data: Path, name: str) -> AnnData:
    """Return raw counts of the labeled cells, their types in ``obs["label"]``."""
    adata = datasets.read_counts(data / f"{name}.h5ad")
    adata.obs["label"] = datasets.labels_of(adata.obs)
    adata = adata[adata.obs["label"].notna()].copy()
    adata.obs["label"] = adata.obs["label"].astype(str)
    return adata


def thinned(counts: AnnData, share: float) -> AnnData:
    """Log-normalize a random ``share`` of the counts."""
    counts = counts.copy() if share == 1 else scgeoae.pp.split_counts(counts, share=share)[0]
    sc.pp.normalize_total(counts, target_sum=1e4)
    sc.pp.log1p(counts)
    return counts


def train(adata: AnnData) -> None:
    """Scale, reduce and train."""
    sc.pp.scale(adata, max_value=10)
    sc.pp.pca(adata, n_comps=datasets.N_PCS)
    scgeoae.tl.geometric_ae(adata)


def halves(adata: AnnData, name: str, seed: int) -> None:
    """Train on a random half and map the other."""
    order = np.random.default_rng(seed).permutation(adata.n_obs)
    first, second = (adata[half].copy() for half in np.array_split(order, 2))
    train(first)
    truth = second.obs["label"].to_numpy()
    scgeoae.tl.map_cells(second, first, obs="label")
    mapped = float((second.obs["geoae_label"].astype(str) == truth).mean())
    z = first.obsm["X_geoae"]
    own = scgeoae.metrics.knn_accuracy(z, first.obs["label"], k=N_NEIGHBORS)
    decoded = scgeoae.get.decode(first, z, space="genes").X
    kept = scgeoae.get.model(first).input.projection.undo(first.obsm["X_pca"])
    x, y = (genes - genes.mean(0) for genes in (decoded, kept))
    by_gene = (x * y).sum(0) / np.sqrt(np.square(x).sum(0) * np.square(y).sum(0))
    print(
        f"{name}, seed {seed}: kNN accuracy of training cells {own:.3f}, of mapped cells {mapped:.3f} "
        f"({100 * (mapped - own):+.1f} points); flagged: {second.obs['geoae_outside'].mean():.3f} of the mapped half; "
        f"decoded genes against the components: correlation {np.corrcoef(decoded.ravel(), kept.ravel())[0, 1]:.3f} "
        f"over all entries, median over genes {np.median(by_gene):.3f}",
        flush=True,
    )


def thirds(adata: AnnData, seed: int) -> tuple[AnnData, AnnData]:
    """Train on 60 % of the cells; return them and the others."""
    order = np.random.default_rng(seed).permutation(adata.n_obs)
    reference, query = (adata[part].copy() for part in np.split(order, [int(0.6 * adata.n_obs)]))
    train(reference)
    return reference, query


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error over ten bins (Guo et al. 2017)."""
    bins = np.minimum((10 * confidence).astype(int), 9)
    return sum(abs(confidence[bins == i].sum() - right[bins == i].sum()) for i in range(10)) / len(bins)


def labels(adata: AnnData, name: str, seed: int) -> None:
    """Carry labels over in five ways."""
    reference, query = thirds(adata, seed)
    truth = query.obs["label"].to_numpy()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "map.safetensors"
        scgeoae.write_model(reference, file, obs="label")
        for source, reference_of in {"reference's cells": reference, "model file": file}.items():
            mapped = scgeoae.tl.map_cells(query, reference_of, obs="label", copy=True)
            right = mapped.obs["geoae_label"].astype(str).to_numpy() == truth
            error = calibration_error(mapped.obs["geoae_label_confidence"].to_numpy(), right)
            print(f"{name}, seed {seed}, {source}: accuracy {right.mean():.3f}, calibration error {error:.3f}")
    projection = scgeoae.get.model(reference).input.projection
    components = projection.apply(query[:, projection.genes].X.toarray())
    nearest = KNeighborsClassifier(20).fit(reference.obsm["X_pca"], reference.obs["label"])
    print(f"{name}, seed {seed}, 20 nearest in the components: {nearest.score(components, truth):.3f}")
    sc.pp.neighbors(reference)
    sc.tl.umap(reference)
    scaled = (query.X.toarray() - reference.var["mean"].to_numpy()) / reference.var["std"].to_numpy()
    query.X = np.clip(scaled, -10, 10)
    reference.obs["label"] = reference.obs["label"].astype("category")
    sc.tl.ingest(query, reference, obs="label")
    print(f"{name}, seed {seed}, ingest: {(query.obs['label'].astype(str) == truth).mean():.3f}", flush=True)


def missing(adata: AnnData, name: str, seed: int, data: Path) -> None:
    """Map a query from which genes were dropped at random, and one with the genes of a targeted panel."""
    reference, query = thirds(adata, seed)
    truth = query.obs["label"].to_numpy()
    whole = scgeoae.tl.map_cells(query, reference, obs="label", copy=True)
    radius = np.sqrt(reference.obsm["X_geoae"].var(0).sum())
    rng = np.random.default_rng(seed)
    panel = np.isin(query.var_names, ad.read_h5ad(data / "xenium_breast.h5ad", backed="r").var_names)
    drops = {f"{share:.0%} of the genes": rng.permutation(query.n_vars) >= share * query.n_vars for share in DROPPED}
    for what, kept in {**drops, f"all but {panel.sum()} genes of a panel": panel}.items():
        if kept.sum() == 0:
            continue
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(query, "MAX_MISSING", 1.0)
            mapped = scgeoae.tl.map_cells(query[:, kept].copy(), reference, obs="label", copy=True)
        moved = np.linalg.norm(mapped.obsm["X_geoae"] - whole.obsm["X_geoae"], axis=1) / radius
        right = (mapped.obs["label"].astype(str) == truth).mean(), (whole.obs["label"].astype(str) == truth).mean()
        print(
            f"{name}, seed {seed}, without {what}: {mapped.uns['geoae']['params']['missing_share']:.2f} of the weight "
            f"missing, moved by {np.median(moved):.3f} (95 % below {np.quantile(moved, 0.95):.3f}), accuracy "
            f"{right[0]:.3f} instead of {right[1]:.3f}",
            flush=True,
        )


def draw(adata: AnnData) -> None:
    """Scale, reduce, draw a UMAP and fit a decoder and an encoder to it."""
    sc.pp.scale(adata, max_value=10)
    sc.pp.pca(adata, n_comps=datasets.N_PCS)
    sc.pp.neighbors(adata, use_rep="X_pca")
    sc.tl.umap(adata)
    scgeoae.tl.fit_decoder(adata, "umap")


def left_out(
    adata: AnnData,
    queries: dict[float, AnnData],
    name: str,
    label: str,
    prepare: Callable[[AnnData], None] = train,
    key: str = "geoae",
) -> pd.DataFrame:
    """Train without one type of cells; map it and a fifth of the other cells."""
    missing, rest = (np.flatnonzero((adata.obs["label"] == label) == chosen) for chosen in (True, False))
    kept, held_out = datasets.split(len(rest))
    reference = adata[rest[kept]].copy()
    prepare(reference)
    rows = []
    for share, query in queries.items():
        foreign, known = (query[cells].copy() for cells in (missing, rest[held_out]))
        for cells in (foreign, known):
            scgeoae.tl.map_cells(cells, reference, key=key)
        shares = [[cells.obs[f"{key}_{flag}"].mean() for flag in FLAGS] for cells in (foreign, known)]
        rows += [(flag, share, found, 1 - false) for flag, found, false in zip(FLAGS, *shares, strict=True)]
    table = pd.DataFrame(rows, columns=["flag", "share", "sensitivity", "specificity"])
    print(f"{name} without {label} ({len(missing)} cells)\n{as_text(table)}", flush=True)
    return table


def as_text(table: pd.DataFrame) -> str:
    """One line a flag, one column a measure and share of the counts."""
    return table.pivot_table(index="flag", columns="share", sort=False).round(3).to_string()


def displaced(adata: AnnData, name: str, seed: int) -> None:
    """Shift a query as a whole."""
    reference, query = thirds(adata, seed)
    model = scgeoae.get.model(reference)
    projection = model.input.projection
    components = projection.apply(query[:, projection.genes].X.toarray()).astype(np.float32)
    signs = np.random.default_rng(seed).choice([-1, 1], components.shape[1])
    sizes = query.obs["label"].value_counts()
    queries = {f"type {label}": components[query.obs["label"] == label] for label in sizes.index[sizes >= MIN_CELLS]}
    for shift in (0, 0.1, 0.2, 0.5, 1):
        queries[f"shifted by {shift}"] = components + (shift * components.std(0) * signs).astype(np.float32)
    for what, x in queries.items():
        common = describe(model.autoencoder, row_blocks(DenseRows(x, model.device)), len(x)).common
        print(f"{name}, seed {seed}, {what}: {common:.3f}", flush=True)


def laboratories(counts: AnnData, name: str, seed: int) -> None:
    """Map a query from a laboratory that the reference lacks."""
    import symphonypy

    rng = np.random.default_rng(seed)
    laboratory = rng.choice(3, counts.n_obs)
    for strength in STRENGTHS:
        found = np.clip(0.5 * rng.lognormal(0, strength, (3, counts.n_vars)), 0, 1)
        adata = counts.copy()
        adata.X = counts.X.copy()
        entries = adata.X.indices
        cells = np.repeat(laboratory, np.diff(adata.X.indptr))
        adata.X.data = rng.binomial(adata.X.data.astype(int), found[cells, entries]).astype(np.float32)
        adata.X.eliminate_zeros()
        adata.obs["laboratory"] = laboratory.astype(str)
        adata = datasets.log_normalized(adata)
        reference, query = adata[laboratory < 2].copy(), adata[laboratory == 2].copy()
        train(reference)
        ways = {"components": mapped(query, reference)}
        reference.var["highly_variable"] = True
        query.uns["log1p"] = {}
        symphonypy.pp.harmony_integrate(reference, "laboratory", theta=4)  # 2 leaves laboratories apart
        scgeoae.tl.geometric_ae(reference, use_rep="X_pca_harmony")
        symphonypy.tl.map_embedding(query, reference, key="laboratory")
        ways["Harmony, Symphony"] = mapped(query, reference)
        query.obsm["X_pca_harmony"] = query.obsm["X_pca_reference"]
        ways["Harmony, as it is"] = mapped(query, reference)
        for way, text in ways.items():
            print(f"{name}, seed {seed}, strength {strength}, {way}: {text}", flush=True)


def mapped(query: AnnData, reference: AnnData) -> str:
    """Map a query and say how well it agrees with the reference."""
    query = query.copy()
    truth = query.obs["label"].to_numpy()
    scgeoae.tl.map_cells(query, reference, obs="label")
    z, places = query.obsm["X_geoae"], reference.obsm["X_geoae"]
    sizes = pd.Series(truth).value_counts()
    apart = [
        np.linalg.norm(np.median(z[truth == label], 0) - np.median(places[reference.obs["label"] == label], 0))
        for label in sizes.index[sizes >= MIN_CELLS]
    ]
    right = (query.obs["label"].astype(str) == truth).mean()
    radius = np.sqrt(places.var(0).sum())
    return (
        f"labels {right:.3f}, outside {query.obs['geoae_outside'].mean():.3f}, types apart by "
        f"{np.mean(apart) / radius:.3f}"
    )


def grow(adata: AnnData, name: str, seed: int) -> None:
    """Map the cells of an earlier map together with a new type."""
    new = (adata.obs["label"] == adata.obs["label"].value_counts().index[2]).to_numpy()
    earlier, both = adata[~new].copy(), adata.copy()
    train(earlier)
    sc.pp.scale(both, max_value=10)
    sc.pp.pca(both, n_comps=datasets.N_PCS)
    places = earlier.obsm["X_geoae"].astype(np.float64)
    both.obsm["earlier"] = np.full((adata.n_obs, 2), np.nan)
    both.obsm["earlier"][~new] = places
    radius = np.sqrt(places.var(0).sum())
    for weight in LANDMARK_WEIGHTS:
        arguments = {"landmarks": "earlier", "landmark_weight": weight} if weight else {}
        scgeoae.tl.geometric_ae(both, rng=seed, **arguments)
        z = both.obsm["X_geoae"][~new].astype(np.float64)
        turn, _ = orthogonal_procrustes(z - z.mean(0), places - places.mean(0))
        moved = np.linalg.norm((z - z.mean(0)) @ turn + places.mean(0) - places, axis=1) / radius
        quality = scgeoae.metrics.embedding_quality(both, ["geoae"], labels="label").iloc[0]
        measures = ", ".join(f"{measure} {quality[measure]:.3f}" for measure in MEASURES)
        print(
            f"{name}, seed {seed}, {f'landmark weight {weight}' if weight else 'from scratch'}: moved by "
            f"{np.median(moved):.3f} (95 % below {np.quantile(moved, 0.95):.3f}); {measures}",
            flush=True,
        )


def foreign(adata: AnnData, name: str, seed: int) -> None:
    """Place cells on a UMAP and a t-SNE that lack them, and flag cells of a type that these lack."""
    use_rep, log = "X", adata.copy()
    if name not in datasets.BUNDLED:  # these have no genes
        use_rep = "X_pca"
        sc.pp.scale(adata, max_value=10)
        sc.pp.pca(adata, n_comps=datasets.N_PCS)
    sc.pp.neighbors(adata, use_rep=use_rep)
    sc.tl.umap(adata)
    sc.tl.tsne(adata, use_rep=use_rep)
    adata.obs["label"] = adata.obs["label"].astype("category")
    kept, held_out = datasets.split(adata.n_obs, seed=seed)
    for basis in ("umap", "tsne"):
        places, key = adata.obsm[f"X_{basis}"], f"geoae_{basis}"
        radius = np.sqrt(places.var(0).sum())
        reference, query = adata[kept].copy(), adata[held_out].copy()
        del query.obsm, query.uns
        if use_rep == "X_pca":
            query.obsm["X_pca"] = adata.obsm["X_pca"][held_out]
        scgeoae.tl.fit_decoder(reference, basis)
        ways = {}
        with TemporaryDirectory() as folder:
            file = Path(folder) / "map.safetensors"
            scgeoae.write_model(reference, file, key=key, obs="label")
            for way, reference_of in {"reference's cells": reference, "model file": file}.items():
                new = scgeoae.tl.map_cells(query, reference_of, key=key, obs="label", copy=True)
                ways[way] = new.obsm[key], new.obs[f"{key}_label"]
        for share in ENCODER_SHARES:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(neighbors, "ENCODER_SHARE", share)
                new = scgeoae.tl.map_cells(query, reference, key=key, obs="label", copy=True)
            ways[f"reference's cells, encoder's share {share}"] = new.obsm[key], new.obs[f"{key}_label"]
        sc.pp.neighbors(reference, use_rep=use_rep)
        if basis == "umap":
            new = sc.tl.ingest(query, reference, obs="label", embedding_method="umap", inplace=False)
            ways["ingest"] = new.obsm["X_umap"], new.obs["label"]
        known, new = (cells.X if use_rep == "X" else cells.obsm["X_pca"] for cells in (reference, query))
        nearest = NearestNeighbors(n_neighbors=N_NEIGHBORS).fit(known).kneighbors(new, return_distance=False)
        voted = KNeighborsClassifier(N_NEIGHBORS).fit(known, reference.obs["label"]).predict(new)
        ways["mean of 15 nearest"] = reference.obsm[f"X_{basis}"][nearest].mean(1), voted
        for way, (z, found) in ways.items():
            away = np.linalg.norm(z - places[held_out], axis=1) / radius
            right = np.mean(np.asarray(found).astype(str) == query.obs["label"].astype(str).to_numpy())
            print(
                f"{name}, seed {seed}, {basis}, {way}: away by {np.median(away):.3f} (95 % below "
                f"{np.quantile(away, 0.95):.3f}), labels {right:.3f}",
                flush=True,
            )
    if name in datasets.BUNDLED:
        return
    types = log.obs["label"].value_counts().index[:N_LEFT_OUT]
    table = pd.concat([left_out(log, {1: log}, name, label, draw, "geoae_umap") for label in types])
    print(f"{name}, UMAP, mean of {N_LEFT_OUT} types\n{as_text(table)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what", choices=["halves", "labels", "missing", "left_out", "displaced", "laboratories", "grow", "foreign"]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of .h5ad files with raw counts")
    parser.add_argument("--sets", default=SETS, help="names with commas between (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="number of splits")
    arguments = parser.parse_args()
    for name in arguments.sets.split(","):
        adata = bundled(name) if name in datasets.BUNDLED else labeled(arguments.data, name)
        if arguments.what != "left_out":
            functions = {
                "halves": halves,
                "labels": labels,
                "missing": partial(missing, data=arguments.data),
                "displaced": displaced,
                "grow": grow,
                "foreign": foreign,
                "laboratories": laboratories,
            }
            for seed in range(arguments.seeds):
                cells = counts_of(arguments.data, name) if arguments.what == "laboratories" else adata.copy()
                functions[arguments.what](cells, name, seed)
        else:
            counts = counts_of(arguments.data, name)
            queries = {share: thinned(counts, share) for share in SHARES}
            sizes = adata.obs["label"].value_counts()
            tables = [left_out(adata, queries, name, label) for label in sizes.index[sizes >= MIN_CELLS]]
            print(f"{name}, mean of {len(tables)} types\n{as_text(pd.concat(tables))}", flush=True)


if __name__ == "__main__":
    main()
