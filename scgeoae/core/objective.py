"""The objective: a weighted sum of terms, each a function of one decoded batch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.function import once_differentiable

from .regularizers import weighted_sum

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from .network import DenseNetwork
    from .sharding import Part
    from .spec import Spec

N_ANCHORS = 256
"""Anchor cells per batch."""
LOG_SCALE = 2.0
"""Initial logarithm of the kernel's scale; it ends between 2 and 4 on all sets that were tried."""
MEASURED = ("reconstruction", "regularizer")
"""Terms in the history, also of held-out cells. The contrast is left out: it depends on the size of the batch."""


@dataclass(frozen=True)
class Batch:
    """Cells, their place on the map and what the decoder makes of it: the input of the terms.

    With several processes the rows are those that this process reads.

    Attributes
    ----------
    x
        Standardized cells (m, D).
    z
        Their map coordinates (m, d).
    decoded
        The decoder's values there (m, D).
    tangents
        Columns (d, k, D) of the decoder's Jacobian at the regularized points; `None` without a regularizer.
    part
        Which cells these are.
    landmarks
        Where cells should stay on the map (m, d), NaN for cells that are free; `None` if all are.
    """

    x: Tensor
    z: Tensor
    decoded: Tensor
    tangents: Tensor | None
    part: Part
    landmarks: Tensor | None = None

    @classmethod
    def with_tangents(
        cls,
        decoder: DenseNetwork,
        x: Tensor,
        z: Tensor,
        part: Part,
        n_cells: int,
        between: Tensor | None = None,
        landmarks: Tensor | None = None,
    ) -> Batch:
        """Decode cells, with tangents at the first ``n_cells`` of them and at further map points ``between`` (k, d)."""
        points = z if between is None else torch.cat([between, z])
        k = len(points) - len(z)
        decoded, tangents = decoder.pushforward(points, k + part.n_among_first(n_cells))
        return cls(x, z, decoded[k:], tangents, part, landmarks)


class Objective:
    """``reconstruction + alpha * regularizer + contrast_weight * contrast + landmark_weight * landmarks``.

    A term is a function of a :class:`Batch` that returns a scalar without unit. With several processes it returns the
    summand of this process, and the trainer adds up values and gradients. To add a term, write the function below and
    list it with its weight here.

    Attributes
    ----------
    terms
        Functions by name.
    weights
        Their weights; a term of weight 0 is not computed in training.
    log_scale
        Logarithm of the scale of the contrast's kernel, learned.
    """

    def __init__(self, spec: Spec, device: torch.device) -> None:
        self.spec = spec
        self.log_scale = torch.full((), LOG_SCALE, device=device, requires_grad=True)
        self.terms: dict[str, Callable[[Batch], Tensor]] = {
            "reconstruction": reconstruction,
            "regularizer": partial(regularizer, weights=spec.regularizer),
            "contrast": partial(contrast, log_scale=self.log_scale),
            "landmarks": landmarks,
        }
        self.weights = {
            "reconstruction": 1.0,
            "regularizer": spec.alpha,
            "contrast": spec.contrast_weight,
            "landmarks": spec.landmark_weight,
        }

    @property
    def parameters(self) -> list[Tensor]:
        """Learned parameters apart from the autoencoder's."""
        return [self.log_scale] if self.weights["contrast"] else []

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of a training batch, and its `MEASURED` terms, (2,), detached."""
        values = {name: term(batch) for name, term in self.terms.items() if self.weights[name]}
        loss = torch.stack([self.weights[name] * value for name, value in values.items()]).sum()
        nothing = loss.new_zeros(())
        return loss, torch.stack([values.get(name, nothing) for name in MEASURED]).detach()

    def measure(self, batch: Batch) -> Tensor:
        """The `MEASURED` terms, (2,), of held-out cells."""
        return torch.stack([self.terms[name](batch) for name in MEASURED])

    def batch(
        self,
        decoder: DenseNetwork,
        x: Tensor,
        z: Tensor,
        part: Part,
        generator: torch.Generator,
        landmarks: Tensor | None = None,
    ) -> Batch:
        """Decode a training batch, with tangents at its first cells and between cells if these are regularized."""
        if not self.weights["regularizer"]:
            return Batch(x, z, decoder(z), None, part, landmarks)
        n_points = min(self.spec.regularizer_batch, part.size)
        n_between = int(self.spec.interpolation * n_points)
        between = part.deal(interpolates(part.gathered(z), n_between, generator)) if n_between else None
        return Batch.with_tangents(decoder, x, z, part, n_points - n_between, between, landmarks)


def interpolates(z: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """``n`` points (n, d) on straight lines between unrelated cells of ``z`` (m, d)."""
    share = torch.rand(n, 1, generator=generator).to(z)
    return torch.lerp(z[:n], z.flip(0)[:n], share)


def reconstruction(batch: Batch) -> Tensor:
    """Mean squared residual over cells and features."""
    return (batch.decoded - batch.x).square().sum() / (batch.part.size * batch.x.shape[1])


def regularizer(batch: Batch, weights: Mapping[str, float]) -> Tensor:
    """Weighted sum of the named regularizers: how unevenly the decoder stretches the map."""
    if batch.tangents is None:
        msg = "The batch was decoded without tangents."
        raise ValueError(msg)
    return batch.part.share(weighted_sum(weights, batch.tangents))


def contrast(batch: Batch, log_scale: Tensor) -> Tensor:
    """Cross-entropy of identifying each anchor's nearest cell of the batch by closeness on the map."""
    z, x = batch.part.gathered(batch.z), batch.part.gathered(batch.x)
    return batch.part.share(cross_entropy(z, nearest(x), log_scale))


def landmarks(batch: Batch) -> Tensor:
    """Mean squared distance of cells from their landmarks, 0 for cells without one, per map dimension."""
    if batch.landmarks is None:
        return batch.z.new_zeros(())
    away = torch.where(batch.landmarks.isnan(), 0, batch.z - batch.landmarks)
    return away.square().sum() / (batch.part.size * batch.z.shape[1])


def nearest(x: Tensor, n_anchors: int = N_ANCHORS) -> Tensor:
    """Find the nearest other cell of the batch ``x`` (n, D) for each of its first ``n_anchors`` cells: indices (h,)."""
    anchors = x[:n_anchors]
    distance = torch.addmm(x.square().sum(1), anchors, x.t(), alpha=-2)  # (h, n), squared, up to a constant by row
    return distance.fill_diagonal_(torch.inf).argmin(1)


def cross_entropy(z: Tensor, partners: Tensor, log_scale: Tensor) -> Tensor:
    """Cross-entropy of identifying each anchor's partner among all other cells by closeness on the map.

    With the Cauchy kernel ``1 / (1 + s^2 |z_i - z_j|^2)`` this is InfoNC-t-SNE (Damrich et al. 2023, section 5), of the
    family to which UMAP's loss belongs. The scale ``s`` is learned and counts in units of the batch's own spread, so
    that the term does not depend on the unit of the map.

    Parameters
    ----------
    z
        Latent coordinates (n, d) of a batch.
    partners
        Positions (h,) in the batch of the partner of each anchor, which are its first `h` cells.
    log_scale
        Scalar, the logarithm of the kernel's scale.
    """
    z = z - z.detach().mean(0)  # small numbers: their squares are subtracted from each other
    scaled = z * (log_scale.exp() / z.detach().std().clamp_min(torch.finfo(z.dtype).eps))
    return _Contrast.apply(scaled, partners)[0]


class _Contrast(torch.autograd.Function):
    """The mean of ``ln(sum_j k_ij) - ln k_ip`` over anchors `i` with partners `p`, ``k = 1 / (1 + |z_i - z_j|^2)``.

    With its closed-form gradient: autograd keeps several arrays of the size of `k`, which takes twice the time
    (``tests/benchmarks/speed.py gradients``).
    """

    @staticmethod
    def forward(z: Tensor, partners: Tensor) -> tuple[Tensor, Tensor]:
        h = len(partners)
        squares = z.square().sum(1)
        distance = torch.addmm(squares + 1, z[:h], z.t(), alpha=-2).add_(squares[:h, None])  # (h, n), squared, plus 1
        kernel = distance.clamp_(min=1).reciprocal_().fill_diagonal_(0)  # no cell is its own neighbor
        return (kernel.sum(1, keepdim=True) / kernel.gather(1, partners[:, None])).log().mean(), kernel

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs, output[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: None) -> tuple[Tensor, None]:
        z, partners, kernel = ctx.saved_tensors
        h = len(partners)
        chosen, total = kernel.gather(1, partners[:, None]), kernel.sum(1, keepdim=True)
        pull = (kernel * kernel).div_(-total)  # (h, n), derivative by each squared distance
        pull.scatter_add_(1, partners[:, None], chosen)
        gradient = z * pull.sum(0)[:, None] - pull.t() @ z[:h]  # (n, d)
        gradient[:h] += z[:h] * pull.sum(1, keepdim=True) - pull @ z
        return gradient * (2 * grad / h), None
