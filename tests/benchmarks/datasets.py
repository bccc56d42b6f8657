"""The data sets of the benchmarks, all prepared alike.

``load(name)`` returns one of the bundled sets: digits, pbmc68k_reduced, and two synthetic structures, swiss_roll and
tree. ``load("pbmc3k", "DIR")`` reads ``DIR/pbmc3k.h5ad``. ``load_halves`` splits the counts of a set that has them and
prepares each half by itself, the second also in the features of the first.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

LABEL_COLUMNS = ("cell_type", "label", "bulk_labels")  # the first one found in `obs` is used
POINT_ARRAYS = ("X", "m10k")  # the array read from an .npz file; m10k is the small mammoth
IN_FILE_ORDER = ("mnist63k",)  # shuffled by its makers: `max_cells` takes the first ones
MIN_COUNTS = {"xenium_breast": 10}  # cells with fewer counts are dropped
MAX_PIXEL = 16  # of the digits: each pixel counts the black ones of 4 x 4
N_GENES = 2000
N_PCS = 50
N_MADE = 3000  # points of each synthetic structure
ROLL_NOISE = 0.1  # the roll is about 25 wide
N_BRANCHES, BRANCH_LENGTH, TREE_NOISE, TREE_DIMENSIONS = 10, 10.0, 0.2, 50


def names(data_dir: str | Path | None = None) -> list[str]:
    """Return the names that :func:`load` takes: the bundled data sets, then those of the folder."""
    if data_dir is None:
        return list(BUNDLED)
    files = sorted(Path(data_dir).iterdir())
    return [*BUNDLED, *(file.stem for file in files if _is_supported(file))]


def names_with_counts(data_dir: str | Path | None = None) -> list[str]:
    """Return the names that :func:`load_halves` takes; pbmc68k_reduced holds scaled expression and no counts."""
    files = [] if data_dir is None else sorted(Path(data_dir).glob("*.h5ad"))
    return ["digits", *(file.stem for file in files)]


def load(
    name: str, data_dir: str | Path | None = None, *, max_cells: int | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray | None]:
    """Load one data set.

    Parameters
    ----------
    name
        One of :func:`names`. An ``.h5ad`` file must hold raw counts in ``X``; an ``.npz`` file points in ``X``
        (integers are read as pixels of 0 to 255) and, where there are any, labels in ``y``.
    data_dir
        Folder of the data sets that are not bundled.
    max_cells
        Keep at most this many cells, drawn before genes are selected and principal components computed.
    seed
        Which cells are drawn, and where the points of `swiss_roll` and `tree` lie.

    Returns
    -------
    X
        Features, shape (n, D), float32: 50 principal components of expression, pixels in [0, 1], or coordinates.
    labels
        Shape (n,), dtype object, `None` where a cell has no label; or `None` for a data set without labels.
    """
    if name not in names(data_dir):
        msg = f"No data set {name!r}. There are: {', '.join(names(data_dir))}."
        raise ValueError(msg)
    if name in BUNDLED:
        X, labels = BUNDLED[name](seed)
        chosen = _choose(len(X), max_cells, seed)
        return X[chosen], labels[chosen]
    h5ad = Path(data_dir) / f"{name}.h5ad"
    if h5ad.exists():
        adata = read_counts(h5ad)
        adata = adata[_choose(adata.n_obs, max_cells, seed)].copy()
        return _prepared(adata).obsm["X_pca"].astype(np.float32), labels_of(adata.obs)
    return _read_points(h5ad.with_suffix(".npz"), max_cells, seed)


def load_halves(
    name: str, data_dir: str | Path | None = None, *, max_cells: int | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Split the counts of a data set at random and prepare each half by itself, the choice of genes included.

    Parameters
    ----------
    name
        One of :func:`names_with_counts`.
    data_dir, max_cells
        As of :func:`load`. The same cells are drawn for every seed.
    seed
        How the counts are split.

    Returns
    -------
    first, second
        Features of the cells that have counts in both halves, each of shape (n, D) and as :func:`load` returns them.
    projected
        Those of the second half by the genes, the scaling and the loadings of the first, shape (n, D).
    labels
        As of :func:`load`, shape (n,).
    """
    import scanpy as sc

    import scgeoae.inputs
    import scgeoae.reference

    if name not in names_with_counts(data_dir):
        msg = f"No data set with counts {name!r}. There are: {', '.join(names_with_counts(data_dir))}."
        raise ValueError(msg)
    adata = _digit_counts() if name == "digits" else read_counts(Path(data_dir) / f"{name}.h5ad")
    adata = adata[_choose(adata.n_obs, max_cells, 0)].copy()
    halves = scgeoae.pp.split_counts(adata, rng=seed)
    kept = np.all([np.asarray(half.X.sum(axis=1)).ravel() > 0 for half in halves], axis=0)
    labels = labels_of(adata.obs[kept])
    if name == "digits":
        first, second = ((half[kept].X / (MAX_PIXEL / 2)).astype(np.float32) for half in halves)
        return first, second, second, labels
    first, second = (_prepared(half[kept].copy()) for half in halves)
    other = halves[1][kept].copy()
    sc.pp.normalize_total(other, target_sum=1e4)
    sc.pp.log1p(other)
    projected = scgeoae.reference.projected(first, scgeoae.inputs.choose(first), other)
    return *(half.obsm["X_pca"].astype(np.float32) for half in (first, second)), projected, labels


def split(n_cells: int, *, test_fraction: float = 0.2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Split cells at random: return the sorted indices of the training cells and of the held-out cells."""
    shuffled = np.random.default_rng(seed).permutation(n_cells)
    n_test = round(test_fraction * n_cells)
    return np.sort(shuffled[n_test:]), np.sort(shuffled[:n_test])


def read_counts(file: Path) -> AnnData:
    """Read raw counts of the cells that have enough of them."""
    import scanpy as sc

    adata = sc.read_h5ad(file)
    sc.pp.filter_cells(adata, min_counts=MIN_COUNTS.get(file.stem, 0))
    return adata


def log_normalized(adata: AnnData) -> AnnData:
    """Log-normalize raw counts and return those of 2,000 highly variable genes; `adata` is changed."""
    import scanpy as sc

    sc.pp.filter_genes(adata, min_cells=3)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    if adata.n_vars > N_GENES:
        sc.pp.highly_variable_genes(adata, n_top_genes=N_GENES)
        adata = adata[:, adata.var["highly_variable"]].copy()
    return adata


def labels_of(obs: pd.DataFrame) -> np.ndarray | None:
    """Return the column of cell types, missing ones as `None`."""
    column = next((obs[name] for name in LABEL_COLUMNS if name in obs), None)
    if column is None:
        return None
    labels = column.astype(object)
    return labels.where(labels.notna(), None).to_numpy()


def _is_supported(file: Path) -> bool:
    if file.suffix == ".npz":
        with np.load(file) as arrays:
            return any(key in arrays.files for key in POINT_ARRAYS)
    return file.suffix == ".h5ad"


def _choose(n_cells: int, max_cells: int | None, seed: int) -> np.ndarray | slice:
    """Return what selects at most `max_cells` cells, in their order."""
    if max_cells is None or max_cells >= n_cells:
        return slice(None)
    return np.sort(np.random.default_rng(seed).choice(n_cells, max_cells, replace=False))


def _digits(seed: int) -> tuple[np.ndarray, np.ndarray]:
    adata = _digit_counts()
    return (adata.X / MAX_PIXEL).astype(np.float32), adata.obs["label"].to_numpy()


def _digit_counts() -> AnnData:
    import anndata as ad
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    adata = ad.AnnData(pixels)
    adata.obs["label"] = digits.astype(object)
    return adata


def _pbmc68k_reduced(seed: int) -> tuple[np.ndarray, np.ndarray]:
    import scanpy as sc

    adata = sc.datasets.pbmc68k_reduced()
    return adata.obsm["X_pca"].astype(np.float32), labels_of(adata.obs)


def _swiss_roll(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a rolled-up sheet in three dimensions; labels divide the angle of the spiral into eighths."""
    from sklearn.datasets import make_swiss_roll

    X, angle = make_swiss_roll(N_MADE, noise=ROLL_NOISE, random_state=seed)
    bounds = np.quantile(angle, np.arange(1, 8) / 8)
    return X.astype(np.float32), np.searchsorted(bounds, angle).astype(object)


def _tree(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return straight branches of equal length and random direction, each starting on an earlier one, its label."""
    rng = np.random.default_rng(seed)
    starts, directions = np.zeros((N_BRANCHES, TREE_DIMENSIONS)), rng.normal(size=(N_BRANCHES, TREE_DIMENSIONS))
    directions *= BRANCH_LENGTH / np.linalg.norm(directions, axis=1, keepdims=True)
    for branch in range(1, N_BRANCHES):
        parent = rng.integers(branch)
        starts[branch] = starts[parent] + rng.uniform(0.3, 1) * directions[parent]
    labels = np.arange(N_MADE) % N_BRANCHES
    X = starts[labels] + rng.uniform(size=(N_MADE, 1)) * directions[labels]
    return (X + TREE_NOISE * rng.normal(size=X.shape)).astype(np.float32), labels.astype(object)


def _read_points(file: Path, max_cells: int | None, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    with np.load(file) as arrays:
        X = arrays[next(key for key in POINT_ARRAYS if key in arrays.files)]
        labels = arrays["y"].astype(object) if "y" in arrays.files else None
    chosen = slice(max_cells) if file.stem in IN_FILE_ORDER else _choose(len(X), max_cells, seed)
    scale = 255 if np.issubdtype(X.dtype, np.integer) else 1
    return X[chosen].astype(np.float32) / np.float32(scale), None if labels is None else labels[chosen]


def _prepared(adata: AnnData) -> AnnData:
    """Prepare raw counts in the usual way, up to principal components; `adata` is changed."""
    import scanpy as sc

    adata = log_normalized(adata)
    sc.pp.scale(adata, max_value=10)
    sc.pp.pca(adata, n_comps=min(N_PCS, *(size - 1 for size in adata.shape)))
    return adata


BUNDLED = {"digits": _digits, "pbmc68k_reduced": _pbmc68k_reduced, "swiss_roll": _swiss_roll, "tree": _tree}
