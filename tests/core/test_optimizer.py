"""What a step of the optimizer does to which parameters."""

from __future__ import annotations

import pytest
import torch

from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.optimizer import HybridOptimizer, orthogonalize


def test_weight_decay_leaves_biases_and_the_scale_alone() -> None:
    """Without a gradient weights shrink by rate times decay, biases and further parameters not at all."""
    model = GeometricAutoencoder(5, hidden_dims=(8, 8, 6), generator=torch.Generator().manual_seed(0))
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    scale = torch.tensor(3.0, requires_grad=True)
    optimizer = HybridOptimizer(model, 0.1, 0.5, [scale])
    for parameter in optimizer.parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step(1.0)
    hidden = {
        "encoder.layers.1.weight",
        "encoder.layers.2.weight",
        "decoder.layers.1.weight",
        "decoder.layers.2.weight",
    }
    for name, value in model.named_parameters():
        rate = 0.1 if name in hidden else 0.01
        kept = 1 - rate * 0.5 if name.endswith("weight") else 1
        torch.testing.assert_close(value.detach(), kept * before[name], msg=name)
    assert scale.item() == 3


@pytest.mark.parametrize("shape", [(3, 10, 10), (2, 30, 8), (1, 8, 30)])
def test_orthogonalize_evens_singular_values(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    got = orthogonalize(matrices)
    sigma = torch.linalg.svdvals(got)
    assert sigma.max() < 1.3
    assert sigma.median() > 0.6
    # the singular vectors stay: the polar factor is a multiple of what comes out, up to the spread of sigma
    assert ((got * (u @ vh)).sum((1, 2)) / (got.square().sum((1, 2)) * sigma.shape[1]).sqrt()).min() > 0.9
