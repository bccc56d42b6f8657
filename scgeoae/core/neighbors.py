"""The neighbour term: cells that are neighbours in the data are to be neighbours on the map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from scipy import sparse
    from torch import Tensor


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


def contrast(heads: Tensor, tails: Tensor, log_scale: Tensor) -> Tensor:
    """Cross-entropy of recognising each cell's neighbour among those of the others, by closeness on the map.

    With the Cauchy kernel ``1 / (1 + s^2 |z_i - z_j|^2)`` this is InfoNC-t-SNE (Damrich et al. 2023, section 5), of the
    family to which UMAP's loss belongs. The scale ``s`` is learned and counts in units of the batch's own spread, so
    that the term does not depend on the unit of the map.

    Parameters
    ----------
    heads, tails
        Latent coordinates (m, d); ``tails[i]`` is a neighbour of ``heads[i]``.
    log_scale
        Scalar, the logarithm of the kernel's scale.
    """
    scale = log_scale.exp() / heads.detach().std().clamp_min(torch.finfo(heads.dtype).tiny)
    difference = (heads[:, None] - tails[None]) * scale  # (m, m, d)
    similarity = -torch.log1p(difference.square().sum(2))
    return (similarity.logsumexp(1) - similarity.diagonal()).mean()
