"""The data sets of the benchmark, all prepared alike.

``load(name)`` takes digits, pbmc68k_reduced and two structures that are made up, swiss_roll and tree, from anywhere;
``load("pbmc3k", "DIR")`` reads ``DIR/pbmc3k.h5ad``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

LABEL_COLUMNS = ("cell_type", "label", "bulk_labels")  # the first one found in `obs` is used
POINT_ARRAYS = ("X", "m10k")  # the array read from an .npz file; m10k is the small mammoth
IN_FILE_ORDER = ("mnist63k",)  # shuffled by its makers: `max_cells` takes the first ones
MIN_COUNTS = {"xenium_breast": 10}  # cells with fewer counts are dropped
N_GENES = 2000
N_PCS = 50
N_MADE = 3000  # points of each structure that is made up
ROLL_NOISE = 0.1  # the roll is about 25 wide
N_BRANCHES, BRANCH_LENGTH, TREE_NOISE, TREE_DIMENSIONS = 10, 10.0, 0.2, 50


def names(data_dir: str | Path | None = None) -> list[str]:
    """Return the names that :func:`load` takes: the bundled data sets, then those of the folder."""
    if data_dir is None:
        return list(BUNDLED)
    files = sorted(Path(data_dir).iterdir())
    return [*BUNDLED, *(file.stem for file in files if _is_supported(file))]


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
        return _read_counts(h5ad, max_cells, seed)
    return _read_points(h5ad.with_suffix(".npz"), max_cells, seed)


def split(n_cells: int, *, test_fraction: float = 0.2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Split cells at random: return the sorted indices of the training cells and of the held-out cells."""
    shuffled = np.random.default_rng(seed).permutation(n_cells)
    n_test = round(test_fraction * n_cells)
    return np.sort(shuffled[n_test:]), np.sort(shuffled[:n_test])


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
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    return (pixels / 16).astype(np.float32), digits.astype(object)


def _pbmc68k_reduced(seed: int) -> tuple[np.ndarray, np.ndarray]:
    import scanpy as sc

    adata = sc.datasets.pbmc68k_reduced()
    return adata.obsm["X_pca"].astype(np.float32), _labels(adata.obs)


def _swiss_roll(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A rolled-up sheet in three dimensions; the labels are eighths of the way along the spiral's angle."""
    from sklearn.datasets import make_swiss_roll

    X, angle = make_swiss_roll(N_MADE, noise=ROLL_NOISE, random_state=seed)
    bounds = np.quantile(angle, np.arange(1, 8) / 8)
    return X.astype(np.float32), np.searchsorted(bounds, angle).astype(object)


def _tree(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Straight branches of equal length and random direction, each begun on an earlier one; the label is the branch."""
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


def _read_counts(file: Path, max_cells: int | None, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Read raw counts and prepare them in the usual way, up to principal components."""
    import scanpy as sc

    adata = sc.read_h5ad(file)
    sc.pp.filter_cells(adata, min_counts=MIN_COUNTS.get(file.stem, 0))
    adata = adata[_choose(adata.n_obs, max_cells, seed)].copy()
    sc.pp.filter_genes(adata, min_cells=3)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    if adata.n_vars > N_GENES:
        sc.pp.highly_variable_genes(adata, n_top_genes=N_GENES)
        adata = adata[:, adata.var["highly_variable"]].copy()
    sc.pp.scale(adata, max_value=10)
    sc.pp.pca(adata, n_comps=min(N_PCS, *(size - 1 for size in adata.shape)))
    return adata.obsm["X_pca"].astype(np.float32), _labels(adata.obs)


def _labels(obs: pd.DataFrame) -> np.ndarray | None:
    """Return the column of cell types, missing ones as `None`."""
    column = next((obs[name] for name in LABEL_COLUMNS if name in obs), None)
    if column is None:
        return None
    labels = column.astype(object)
    return labels.where(labels.notna(), None).to_numpy()


BUNDLED = {"digits": _digits, "pbmc68k_reduced": _pbmc68k_reduced, "swiss_roll": _swiss_roll, "tree": _tree}
