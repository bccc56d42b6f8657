"""Differential geometry of the decoder: each quantity as one short function of its tangents.

Tangents are the columns of the Jacobian `J`, shape (d, n, D): ``tangents[i]`` is the derivative along map coordinate
``i`` at each of `n` points. Lengths are in input units if the tangents are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def metric(tangents: Tensor) -> Tensor:
    """Pullback metric `G = J^T J`, (n, d, d), of ``tangents`` (d, n, D)."""
    columns = tangents.transpose(0, 1)  # (n, d, D)
    return columns @ columns.mT


def gram_schmidt(tangents: Tensor) -> tuple[Tensor, Tensor]:
    """Factor `J = Q R` by twice-projected Gram–Schmidt.

    Projecting twice keeps `Q` orthogonal to machine precision also where the tangents are nearly parallel
    (Giraud et al. 2005); it is a few elementwise passes where a batched QR would call LAPACK once per cell.

    Parameters
    ----------
    tangents
        (d, n, D).

    Returns
    -------
    Orthonormal directions (d, n, D), shorter where the Jacobian is singular, and the upper triangular factor (n, d, d).
    """
    d, n = tangents.shape[:2]
    nothing = tangents.new_zeros(n)
    directions: list[Tensor] = []
    entries: list[Tensor] = []
    for i, rest in enumerate(tangents.unbind()):  # (n, D)
        shares = [nothing] * d  # a column of the triangular factor
        for j, direction in 2 * list(enumerate(directions)):
            share = (direction * rest).sum(1)  # (n,)
            rest = torch.addcmul(rest, share[:, None], direction, value=-1)
            shares[j] = shares[j] + share
        shares[i] = torch.linalg.vector_norm(rest, dim=1)
        entries += shares
        # below the root of the smallest number squares underflow and the length is not that of the rest
        directions.append(rest / shares[i].clamp_min(torch.finfo(rest.dtype).tiny ** 0.5)[:, None])
    return torch.stack(directions), torch.stack(entries).view(d, d, n).permute(2, 1, 0)


def log_det(tangents: Tensor) -> Tensor:
    """`ln sqrt(det J^T J)`, (n,), of ``tangents`` (d, n, D): the log generalized Jacobian determinant.

    Bounded below: each diagonal entry ``r`` of the triangular factor counts as ``sqrt(r^2 + (eps |J|)^2)``, with the
    machine epsilon of the dtype and the Frobenius norm of the Jacobian. Value and gradient stay finite where the
    Jacobian is singular, and at condition numbers up to 1e4 the bound changes a float32 value by less than 1e-6.
    """
    return _LogDet.apply(tangents)[0]


def distortion(tangents: Tensor) -> tuple[Tensor, Tensor]:
    """Compute, from one factorization, the log determinant, as :func:`log_det`, and the anisotropy, each (n,).

    The anisotropy is `sigma_max / sigma_min` of the Jacobian, at least 1; infinite where it is singular.
    """
    _, triangle = gram_schmidt(tangents)
    sigma = torch.linalg.svdvals(triangle)  # (n, d), largest first
    return 0.5 * _bounded_squares(triangle).log().sum(1), sigma[:, 0] / sigma[:, -1]


class _LogDet(torch.autograd.Function):
    """Log determinant with its closed-form gradient, the transposed pseudoinverse `J G^-1 = Q R^-T`.

    :func:`distortion` computes the same value in plain torch operations, which can be differentiated twice.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(tangents: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        directions, triangle = gram_schmidt(tangents)
        squares = _bounded_squares(triangle)
        return 0.5 * squares.log().sum(1), directions, triangle, squares

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, ...]) -> None:  # noqa: ARG004
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*output[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: None) -> Tensor:
        directions, triangle, squares = ctx.saved_tensors
        inverse_diagonal = triangle.diagonal(dim1=1, dim2=2) / squares  # (n, d)
        d = len(directions)
        pseudoinverse: dict[int, Tensor] = {}
        for i in reversed(range(d)):
            rest = directions[i]  # (n, D)
            for j in range(i + 1, d):
                rest = torch.addcmul(rest, triangle[:, i, j, None], pseudoinverse[j], value=-1)
            pseudoinverse[i] = rest * inverse_diagonal[:, i, None]
        return torch.stack([pseudoinverse[i] for i in range(d)]) * grad[:, None]


def _bounded_squares(triangle: Tensor) -> Tensor:
    """Squares of the diagonal (n, d), kept above zero."""
    limits = torch.finfo(triangle.dtype)
    floor = triangle.square().sum((1, 2))[:, None] * limits.eps**2 + limits.tiny
    return triangle.diagonal(dim1=1, dim2=2).square() + floor


def gradient(metric: Tensor, differential: Tensor) -> tuple[Tensor, Tensor]:
    """Size and direction of the gradients of functions on the surface.

    The functions depend on the points of the surface alone, so they do not change in directions in which the surface
    does not, and the pseudoinverse of a singular metric is the right one.

    Parameters
    ----------
    metric
        `G`, (n, d, d).
    differential
        Derivatives of g functions along the map coordinates, (d, n, g).

    Returns
    -------
    ``sqrt(grad^T G^-1 grad)``, (n, g): the most that a function rises per unit of the data. And ``G^-1 grad`` (d, n,
    g), scaled to length 1: the direction on the map in which it rises most; 0 where it does not change.
    """
    columns = differential.transpose(0, 1)  # (n, d, g)
    steepest = torch.linalg.pinv(metric, hermitian=True) @ columns
    size = (columns * steepest).sum(1).clamp_min(0).sqrt()
    length = torch.linalg.vector_norm(steepest, dim=1, keepdim=True)
    return size, (steepest / length.clamp_min(torch.finfo(length.dtype).tiny)).transpose(0, 1)


def indicatrix(metric: Tensor, radius: float = 1.0) -> tuple[Tensor, Tensor]:
    """Semi-axes of the ellipse ``{v : v^T G v = radius^2}``.

    Parameters
    ----------
    metric
        `G`, (n, d, d).
    radius
        Radius of the circle in the data, input units.

    Returns
    -------
    Lengths (n, d) in units of the map, longest first, and directions (n, d, d), one axis per column.
    """
    eigenvalues, eigenvectors = torch.linalg.eigh(metric)
    return radius / eigenvalues.sqrt(), eigenvectors
