"""The objective: a weighted sum of terms, each a function of one decoded batch.

To add a term, write a function below and list it in `TERMS`; `Spec.weights` gives its weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from .regularizers import weighted_sum

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from .autoencoder import GeometricAutoencoder
    from .observation import Observation
    from .spec import Spec

N_ANCHORS = 256
"""Anchor cells per batch."""
LOG_SCALE = 2.0
"""Initial logarithm of the kernel's scale; it ends between 2 and 4 on all sets that were tried."""
N_HELD_OUT = 600
"""Held-out cells among which the contrast is measured: of equally many it can be compared."""
MEASURED = ("reconstruction", "regularizer")
"""Terms in the history of the training. The contrast is left out: it depends on the size of the batch."""


@dataclass(frozen=True)
class Batch:
    """Cells, their place on the map and what the decoder makes of it: the input of the terms.

    Attributes
    ----------
    observation
        The observation model.
    x
        Standardized cells (m, D).
    z
        Their map coordinates (m, d).
    outputs
        The decoder's outputs there (m, D).
    tangents
        Columns (d, k, D) of the Jacobian of the surface at the regularized points; `None` without a regularizer.
    landmarks
        Where cells should stay on the map (m, d), NaN for cells that are free; `None` if all are.
    """

    observation: Observation
    x: Tensor
    z: Tensor
    outputs: Tensor
    tangents: Tensor | None = None
    landmarks: Tensor | None = None

    @classmethod
    def decoded(
        cls,
        model: GeometricAutoencoder,
        x: Tensor,
        z: Tensor,
        n_cells: int,
        between: Tensor | None = None,
        landmarks: Tensor | None = None,
    ) -> Batch:
        """Decode cells, with tangents at the first ``n_cells`` of them and at further map points ``between`` (k, d)."""
        points = z if between is None else torch.cat([between, z])
        k = len(points) - len(z)
        outputs, tangents = model.decoder.pushforward(points, k + n_cells)
        carried = model.observation.carry(outputs[: k + n_cells], tangents) if k + n_cells else None
        return cls(model.observation, x, z, outputs[k:], carried, landmarks)


class Term(NamedTuple):
    """One term: its value, a scalar without unit, of a batch, the spec and its learned parameter, if it has one."""

    value: Callable[[Batch, Spec, Tensor | None], Tensor]
    initial: float | None = None
    """Initial value of a learned scalar."""


class Objective:
    """The sum of all terms with a weight; see `TERMS`.

    Attributes
    ----------
    weights
        Weights of the terms; a term of weight 0 is not computed in training.
    learned
        Learned parameters of the terms by name.
    """

    def __init__(self, spec: Spec, device: torch.device) -> None:
        self.spec = spec
        self.weights: Mapping[str, float] = {"reconstruction": 1.0, **spec.weights}
        self.learned: dict[str, Tensor] = {
            name: torch.full((), term.initial, dtype=torch.float32, device=device, requires_grad=True)
            for name, term in TERMS.items()
            if term.initial is not None and self.weights.get(name)
        }

    def value(self, name: str, batch: Batch) -> Tensor:
        """Value of one term."""
        return TERMS[name].value(batch, self.spec, self.learned.get(name))

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of a training batch, and its `MEASURED` terms, (2,), detached."""
        values = {name: self.value(name, batch) for name in TERMS if self.weights.get(name)}
        loss = torch.stack([self.weights[name] * value for name, value in values.items()]).sum()
        nothing = loss.new_zeros(())
        return loss, torch.stack([values.get(name, nothing) for name in MEASURED]).detach()

    def measure(self, batch: Batch) -> Tensor:
        """The `MEASURED` terms of held-out cells and their contrast (3,), the latter NaN where it has no weight."""
        found = [self.value(name, batch) for name in MEASURED]
        log_scale, every = self.learned.get("contrast"), -(-len(batch.x) // N_HELD_OUT)
        x, z = batch.x[::every], batch.z[::every]
        known = log_scale is not None and len(x) > 1
        found.append(
            cross_entropy(z, nearest(x, len(x)), cast("Tensor", log_scale)) if known else z.new_tensor(torch.nan)
        )
        return torch.stack(found)


def reconstruction(batch: Batch, *_: Any) -> Tensor:
    """Loss of the observation model: how far the decoder is from the cells."""
    return batch.observation.loss(batch.outputs, batch.x)


def regularizer(batch: Batch, spec: Spec, *_: Any) -> Tensor:
    """Weighted sum of the named regularizers: how unevenly the decoder stretches the map; 0 if none is named."""
    if not spec.regularizer:
        return batch.z.new_zeros(())
    if batch.tangents is None:
        msg = "The batch was decoded without tangents."
        raise ValueError(msg)
    return weighted_sum(spec.regularizer, batch.tangents)


def contrast(batch: Batch, _: Spec, log_scale: Tensor | None) -> Tensor:
    """Cross-entropy of identifying each anchor's nearest cell of the batch by closeness on the map."""
    return cross_entropy(batch.z, nearest(batch.x), batch.z.new_tensor(LOG_SCALE) if log_scale is None else log_scale)


def landmark(batch: Batch, *_: Any) -> Tensor:
    """Mean squared distance of cells from their landmarks, 0 for cells without one, per map dimension."""
    if batch.landmarks is None:
        return batch.z.new_zeros(())
    away = torch.where(batch.landmarks.isnan(), 0, batch.z - batch.landmarks)
    return away.square().sum() / batch.z.numel()


def distance(batch: Batch, *_: Any) -> Tensor:
    """Squared stress of the distances of random pairs of cells, at the best scale: 0 where the map keeps their ratios.

    ``min_a sum (d_x - a d_z)^2 / sum d_x^2`` over the pairs of cells ``i`` and ``i + m / 2`` of a batch.
    """
    half = len(batch.z) // 2
    in_data, on_map = (
        (values[:half] - values[half : 2 * half]).square().sum(1).add(torch.finfo(values.dtype).tiny).sqrt()
        for values in (batch.x, batch.z)
    )
    eps = torch.finfo(in_data.dtype).tiny  # squares of very short distances are 0
    return 1 - (F.normalize(in_data, dim=0, eps=eps) @ F.normalize(on_map, dim=0, eps=eps)).square()


TERMS: dict[str, Term] = {
    "reconstruction": Term(reconstruction),
    "regularizer": Term(regularizer),
    "contrast": Term(contrast, LOG_SCALE),
    "landmark": Term(landmark),
    "distance": Term(distance),
}


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
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs, output[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: None) -> tuple[Tensor, None]:
        z, partners, kernel = ctx.saved_tensors
        h = len(partners)
        chosen, total = kernel.gather(1, partners[:, None]), kernel.sum(1, keepdim=True)
        pull = (kernel * kernel).div_(-total)  # (h, n), derivative by each squared distance
        pull.scatter_add_(1, partners[:, None], chosen)
        rows = torch.cat([z.t(), z.new_ones(1, len(z))])  # (d + 1, n): products with few columns take longer
        by_cell, by_anchor = rows[:, :h] @ pull, rows @ pull.t()  # (d + 1, n), (d + 1, h)
        gradient = rows[:-1] * by_cell[-1] - by_cell[:-1]  # (d, n)
        gradient[:, :h] += rows[:-1, :h] * by_anchor[-1] - by_anchor[:-1]
        return gradient.t() * (2 * grad / h), None
