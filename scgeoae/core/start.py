"""Starts: what a network is before its first step, and the principal components that a map begins with and faces.

To add one, write a function that changes the network in place and list it in `STARTS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from sklearn.utils.extmath import randomized_svd

from . import processes
from .rows import block_size, row_blocks
from .threads import LARGE_PASS, threads_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from .autoencoder import GeometricAutoencoder
    from .rows import Rows

SHARE = 0.1
"""Of the initial weights of the encoder's last layer that is left beside the components."""
WIDE = 200
"""Number of features above which components are those of a sample of cells."""
SAMPLE_BLOCKS = 4
"""Size of this sample, in blocks."""
N_ITERATIONS = 7
"""Power iterations by which they are found."""


class Components(NamedTuple):
    """Variances (d,) and axes (D, d) of the first principal components of standardized cells, float64, on the host."""

    variances: Tensor
    axes: Tensor


def random(*_: object) -> None:
    """Leave the weights as they were drawn."""


@torch.no_grad()
def pca(network: GeometricAutoencoder, _: Rows, origin: Components) -> None:
    """Begin with the plot of the first principal components, divided by their overall standard deviation."""
    encoder = network.encoder
    if encoder is None or encoder.shortcut is None:
        return
    encoder.shortcut.copy_(origin.axes.t() / origin.variances.mean().sqrt())
    encoder.last.weight.mul_(SHARE)
    encoder.last.bias.mul_(SHARE)


STARTS: dict[str, Callable[[GeometricAutoencoder, Rows, Components], None]] = {"random": random, "pca": pca}


def components(network: GeometricAutoencoder, rows: Rows) -> Components:
    """Compute the components of all cells; of more than `WIDE` features, those of a sample.

    The largest loading of each is positive, so that equal data have equal signs.
    """
    (n, n_features), d = rows.shape, network.n_components
    if n_features > WIDE:
        size = min(n, SAMPLE_BLOCKS * block_size(n_features))
        index = torch.from_numpy(np.linspace(0, n - 1, size).astype(np.int64))
        x = network.standardize(rows.take(index)).cpu().double().numpy()
        _, sigma, axes = randomized_svd(x, d, n_iter=N_ITERATIONS, random_state=0)
        variances, vectors = torch.zeros(d, dtype=torch.float64), torch.zeros(n_features, d, dtype=torch.float64)
        variances[: len(sigma)] = torch.from_numpy(sigma**2 / size)  # fewer cells have fewer components
        vectors[:, : len(sigma)] = torch.from_numpy(axes.T.copy())
    else:
        covariance = torch.zeros(n_features, n_features, dtype=torch.float64)
        with threads_for(n * n_features, LARGE_PASS):
            for _, block in row_blocks(rows, processes.owned(n)):
                wide = network.standardize(block).cpu().double()
                covariance += wide.t() @ wide
        covariance = processes.total(covariance, rows.device) / n
        values, vectors = torch.linalg.eigh(covariance)
        variances, vectors = values[-d:].flip(0), vectors[:, -d:].flip(1)
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    return Components(variances, vectors * largest.sign())
