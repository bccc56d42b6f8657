"""Contrast: cells that are neighbours in the data are to be neighbours on the map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from scipy import sparse
    from torch import Tensor


N_HEADS = 256
"""Cells of a batch whose nearest one is to be recognised."""
LOG_SCALE = 2.0
"""Where the logarithm of the kernel's scale begins; it ends between 2 and 4 on all sets that were tried."""


class NeighborGraph:
    """Weighted edges from which partners of cells are drawn.

    Parameters
    ----------
    adjacency
        CSR (n, n) with at least one positive weight, such as scanpy's connectivities.
    cells
        Positions of the cells between which edges count; edges to others are never drawn.
    """

    def __init__(self, adjacency: sparse.csr_matrix | sparse.csr_array, cells: Tensor) -> None:
        chosen = np.zeros(adjacency.shape[0], dtype=bool)
        chosen[cells.numpy()] = True
        weights = np.where(chosen[adjacency.indices], adjacency.data, 0).astype(np.float64)
        self.bounds = torch.from_numpy(adjacency.indptr.astype(np.int64))  # (n + 1,)
        self.ends = torch.from_numpy(adjacency.indices.astype(np.int64))  # (m,)
        self.cumulative = torch.from_numpy(np.concatenate([[0.0], np.cumsum(weights)]))  # (m + 1,)

    def partners(self, heads: Tensor, generator: torch.Generator) -> Tensor:
        """One neighbour of each of the cells ``heads`` (m,), drawn by weight; the cell itself where it has none."""
        first, last = self.bounds[heads], self.bounds[heads + 1]
        low, high = self.cumulative[first], self.cumulative[last]
        drawn = low + torch.rand(len(heads), dtype=torch.float64, generator=generator) * (high - low)
        edge = torch.searchsorted(self.cumulative, drawn, right=True) - 1
        edge = torch.minimum(edge, last - 1).clamp_min(0)  # rounding may reach the next row
        return torch.where(high > low, self.ends[edge], heads)


def spacing(x: Tensor) -> float:
    """Distance of a typical (median) cell of ``x`` (n, D) to its nearest, root mean square by feature.

    For standardised cells it has no unit: near 0 where cells lie dense on a surface, near 1 and above where they
    scatter at random, so that neighbours differ by noise as much as cells of different kinds do.
    """
    distance = torch.cdist(x, x).fill_diagonal_(torch.inf)  # (n, n)
    return (distance.min(1).values.square().median() / x.shape[1]).sqrt().item()


def nearest(x: Tensor, n_heads: int = N_HEADS) -> Tensor:
    """The cell of the batch ``x`` (n, D) that is nearest to each of its first ``n_heads``, itself left out: (h,)."""
    heads = x[:n_heads]
    distance = torch.addmm(x.square().sum(1), heads, x.t(), alpha=-2)  # (h, n), squared, but for a constant by row
    return distance.fill_diagonal_(torch.inf).argmin(1)


def contrast(z: Tensor, partners: Tensor, log_scale: Tensor) -> Tensor:
    """Cross-entropy of recognising a cell's neighbour among all other cells, by closeness on the map.

    With the Cauchy kernel ``1 / (1 + s^2 |z_i - z_j|^2)`` this is InfoNC-t-SNE (Damrich et al. 2023, section 5), of the
    family to which UMAP's loss belongs. The scale ``s`` is learned and counts in units of the batch's own spread, so
    that the term does not depend on the unit of the map.

    Parameters
    ----------
    z
        Latent coordinates (n, d) of a batch.
    partners
        Positions (h,) in the batch of a neighbour of each of its first `h` cells.
    log_scale
        Scalar, the logarithm of the kernel's scale.
    """
    z = z - z.detach().mean(0)  # small numbers: their squares are subtracted from each other
    return _Contrast.apply(z * (log_scale.exp() / z.detach().std().clamp_min(torch.finfo(z.dtype).eps)), partners)


class _Contrast(torch.autograd.Function):
    """The mean of ``ln(sum_j k_ij) - ln k_ip`` over heads `i` with partners `p`, ``k = 1 / (1 + |z_i - z_j|^2)``.

    With its closed-form gradient, because autograd, the oracle in the tests, would keep ten arrays of the size of `k`.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, partners: Tensor) -> Tensor:
        h = len(partners)
        squares = z.square().sum(1)
        distance = torch.addmm(squares + 1, z[:h], z.t(), alpha=-2).add_(squares[:h, None])  # (h, n), squared, plus 1
        kernel = distance.clamp_(min=1).reciprocal_().fill_diagonal_(0)  # no cell is its own neighbour
        chosen, total = kernel.gather(1, partners[:, None]), kernel.sum(1, keepdim=True)
        ctx.save_for_backward(z, partners, kernel, chosen, total)
        return (total / chosen).log().mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        z, partners, kernel, chosen, total = ctx.saved_tensors
        h = len(partners)
        pull = (kernel * kernel).div_(-total)  # (h, n), derivative by each squared distance
        pull.scatter_add_(1, partners[:, None], chosen)
        gradient = z * pull.sum(0)[:, None] - pull.t() @ z[:h]  # (n, d)
        gradient[:h] += z[:h] * pull.sum(1, keepdim=True) - pull @ z
        return gradient * (2 * grad / h), None
