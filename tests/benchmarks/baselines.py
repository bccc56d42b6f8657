"""Other methods, to compare with: ``METHODS[name](X_train, X_test, seed=0)`` returns an :class:`Embedding`.

The paper's recipe (Nazari, Damrich, Hamprecht 2023, arXiv 2306.17638) is implemented anew, at the paper's settings.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import scanpy as sc
import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

HIDDEN_DIMS = (100, 100, 100, 100)
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-5
BATCH_SIZE = 125
N_EPOCHS = 100
N_NEIGHBORS = 15
REFERENCE = "components"
"""Name of `components`, which is not a map and therefore not in `METHODS`."""


@dataclass(frozen=True)
class Embedding:
    """A map of the training cells and, where the method has them, the held-out cells, the distortion and the unit.

    Attributes
    ----------
    train, test
        Coordinates, shape (n, 2) and (m, 2), in the method's own unit; `test` is `None` without an out-of-sample map.
    seconds
        Wall-clock time of fitting and mapping the training cells.
    reconstruct_train, reconstruct_test
        Share of variance left, see :func:`share_left`.
    log_det, anisotropy
        Per training cell, shape (n,), float64: the logarithm of the product of the singular values of the decoder's
        Jacobian, in data units (not calibrated), and the ratio of the larger to the smaller one.
    far
        By which a far length on the map is divided to be a distance in the data; a near one is such a distance. `None`
        for maps without a unit.
    """

    train: np.ndarray
    test: np.ndarray | None
    seconds: float
    reconstruct_train: float | None = None
    reconstruct_test: float | None = None
    log_det: np.ndarray | None = None
    anisotropy: np.ndarray | None = None
    far: float | None = None


def share_left(X: np.ndarray, reconstructed: np.ndarray, mean: np.ndarray) -> float:
    """Return ``mean ||x - f(e(x))||^2 / mean ||x - mean||^2`` for (n, D) cells and the (D,) mean of the training cells.

    0 is perfect; 1 is what the mean alone would give.
    """
    return float(np.sum((X - reconstructed) ** 2, dtype=np.float64) / np.sum((X - mean) ** 2, dtype=np.float64))


def pca(X_train: np.ndarray, X_test: np.ndarray, *, seed: int) -> Embedding:
    """Two principal components; the map is linear, so every determinant and anisotropy is 1."""
    from sklearn.decomposition import PCA

    start = time.perf_counter()
    model = PCA(n_components=2, random_state=seed)
    train = model.fit_transform(X_train)
    seconds = time.perf_counter() - start
    test = model.transform(X_test)
    return Embedding(
        train,
        test,
        seconds,
        reconstruct_train=share_left(X_train, model.inverse_transform(train), model.mean_),
        reconstruct_test=share_left(X_test, model.inverse_transform(test), model.mean_),
        log_det=np.zeros(len(train)),
        anisotropy=np.ones(len(train)),
        far=1.0,
    )


def components(X_train: np.ndarray, X_test: np.ndarray, *, seed: int) -> Embedding:
    """The data themselves, to measure how much of them other data of the same cells confirm."""
    return Embedding(X_train, X_test, 0.0)


def umap(X_train: np.ndarray, X_test: np.ndarray, *, seed: int) -> Embedding:
    """Scanpy's UMAP with the neighbor graph that it needs; the time is that of both."""
    adata = ad.AnnData(X_train)
    start = time.perf_counter()
    sc.pp.neighbors(adata, n_neighbors=N_NEIGHBORS, use_rep="X", random_state=seed)
    sc.tl.umap(adata, random_state=seed)
    return Embedding(adata.obsm["X_umap"], None, time.perf_counter() - start)


def tsne(X_train: np.ndarray, X_test: np.ndarray, *, seed: int) -> Embedding:
    """Scanpy's t-SNE."""
    adata = ad.AnnData(X_train)
    start = time.perf_counter()
    sc.tl.tsne(adata, use_rep="X", random_state=seed, n_jobs=2)
    return Embedding(adata.obsm["X_tsne"], None, time.perf_counter() - start)


def densmap(X_train: np.ndarray, X_test: np.ndarray, *, seed: int) -> Embedding:
    """Density-preserving UMAP (Narayan, Berger, Cho 2021), umap-learn's defaults."""
    from umap import UMAP

    start = time.perf_counter()
    # With a seed umap-learn uses one thread, and warns unless n_jobs is 1.
    train = UMAP(n_neighbors=N_NEIGHBORS, densmap=True, random_state=seed, n_jobs=1).fit_transform(X_train)
    return Embedding(train, None, time.perf_counter() - start)


def parametric_umap(X_train: np.ndarray, X_test: np.ndarray, *, seed: int) -> Embedding:
    """Parametric UMAP with a decoder (Sainburg, McInnes, Gentner 2021), umap-learn's defaults but for the loss."""
    import keras
    from umap.parametric_umap import ParametricUMAP

    keras.utils.set_random_seed(seed)
    model = ParametricUMAP(
        n_neighbors=N_NEIGHBORS,
        parametric_reconstruction=True,
        # The default, binary cross-entropy, is for pixels in [0, 1] and diverges on principal components.
        parametric_reconstruction_loss_fcn=keras.losses.MeanSquaredError(),
        keras_fit_kwargs={"verbose": 0},
        random_state=seed,
        n_jobs=1,
    )
    start = time.perf_counter()
    train = model.fit_transform(X_train)
    seconds = time.perf_counter() - start
    test = model.transform(X_test)
    mean = X_train.mean(axis=0)
    return Embedding(
        train,
        test,
        seconds,
        reconstruct_train=share_left(X_train, model.inverse_transform(train), mean),
        reconstruct_test=share_left(X_test, model.inverse_transform(test), mean),
    )


def paper_recipe(alpha: float = 0.1) -> Callable[..., Embedding]:
    """Return the method that trains as the paper does; `alpha` is its lambda, 0 its vanilla autoencoder."""

    def fit(X_train: np.ndarray, X_test: np.ndarray, *, seed: int) -> Embedding:
        start = time.perf_counter()
        encoder, decoder = _train(torch.from_numpy(X_train), alpha=alpha, seed=seed)
        train = _apply(encoder, X_train)
        seconds = time.perf_counter() - start
        test = _apply(encoder, X_test)
        mean = X_train.mean(axis=0)
        log_det, anisotropy = _distortion(decoder, train)
        return Embedding(
            train,
            test,
            seconds,
            reconstruct_train=share_left(X_train, _apply(decoder, train), mean),
            reconstruct_test=share_left(X_test, _apply(decoder, test), mean),
            log_det=log_det,
            anisotropy=anisotropy,
        )

    return fit


def warm_up() -> None:
    """Let numba compile what the first call of UMAP compiles, so that later calls are timed without it."""
    # Above 8,192 cells scanpy searches neighbors with pynndescent, below by brute force.
    for n_cells in (500, 8500):
        adata = ad.AnnData(np.random.default_rng(0).normal(size=(n_cells, 5)).astype(np.float32))
        sc.pp.neighbors(adata, n_neighbors=N_NEIGHBORS, use_rep="X")
        sc.tl.umap(adata, maxiter=2)


def _train(X: torch.Tensor, *, alpha: float, seed: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Minimize ``MSE + alpha Var(ln det J^T J)`` on (n, D) unscaled cells; return the encoder and the decoder."""
    generator = torch.Generator().manual_seed(seed)
    encoder = _network((X.shape[1], *HIDDEN_DIMS, 2), generator)
    decoder = _network((2, *HIDDEN_DIMS[::-1], X.shape[1]), generator)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    cells = torch.utils.data.TensorDataset(X)
    batches = torch.utils.data.DataLoader(cells, BATCH_SIZE, shuffle=True, drop_last=True, generator=generator)
    for _ in range(N_EPOCHS):
        for (x,) in batches:  # (b, D)
            z = encoder(x)  # (b, 2)
            loss = nn.functional.mse_loss(decoder(z), x)
            if alpha:
                loss = loss + alpha * _log_det_gram(decoder, z).var()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    if not all(parameter.isfinite().all() for parameter in parameters):
        msg = f"Training by the paper's recipe with alpha={alpha}, seed={seed} diverged."
        raise FloatingPointError(msg)
    return encoder, decoder


def _network(dims: tuple[int, ...], generator: torch.Generator) -> nn.Sequential:
    """Return linear layers with an ELU before each, also before the first, as in the paper's code."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(dims):
        linear = nn.utils.skip_init(nn.Linear, n_in, n_out)
        for parameter in (linear.weight, linear.bias):  # torch's default, drawn from the generator
            nn.init.uniform_(parameter, -(n_in**-0.5), n_in**-0.5, generator=generator)
        layers += [nn.ELU(), linear]
    return nn.Sequential(*layers)


def _jacobian(decoder: nn.Sequential, z: torch.Tensor) -> torch.Tensor:
    return torch.func.vmap(torch.func.jacfwd(decoder))(z)  # (b, D, 2)


def _log_det_gram(decoder: nn.Sequential, z: torch.Tensor) -> torch.Tensor:
    jacobian = _jacobian(decoder, z)  # (b, D, 2)
    return torch.logdet(jacobian.mT @ jacobian)  # (b,)


@torch.no_grad()
def _apply(network: nn.Sequential, rows: np.ndarray) -> np.ndarray:
    return network(torch.from_numpy(rows)).numpy()


@torch.no_grad()
def _distortion(decoder: nn.Sequential, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``ln det`` and the anisotropy at (n, 2) points, each (n,), from singular values in float64."""
    decoder = copy.deepcopy(decoder).double()
    chunks = torch.from_numpy(z).double().split(1000)
    singular = torch.cat([torch.linalg.svdvals(_jacobian(decoder, chunk)) for chunk in chunks])  # (n, 2)
    return singular.log().sum(dim=1).numpy(), (singular[:, 0] / singular[:, 1]).numpy()


METHODS: dict[str, Callable[..., Embedding]] = {
    "PCA": pca,
    "UMAP": umap,
    "t-SNE": tsne,
    "densMAP": densmap,
    **({"Parametric UMAP": parametric_umap} if find_spec("tensorflow") else {}),
    "vanilla AE": paper_recipe(0),
    "paper's geometric AE": paper_recipe(0.1),
}
