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


def test_the_rest_is_adamw() -> None:
    """Three steps against `torch.optim.AdamW`, at a rate that changes."""
    model = GeometricAutoencoder(5, hidden_dims=(8, 8), generator=torch.Generator().manual_seed(0)).double()
    outer = [network.first for network in model.networks] + [network.last for network in model.networks]
    weights, biases = ([getattr(layer, name).detach().clone() for layer in outer] for name in ("weight", "bias"))
    decayed, free = ([part.clone().requires_grad_() for part in parts] for parts in (weights, biases))
    theirs = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.5}, {"params": free, "weight_decay": 0.0}])
    ours = HybridOptimizer(model, 0.1, 0.5)
    generator = torch.Generator().manual_seed(1)
    for share in (0.3, 1.0, 0.6):
        for parameter in ours.parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        for layer, weight, bias in zip(outer, decayed, free, strict=True):
            weight.grad, bias.grad = layer.weight.grad, layer.bias.grad
        for group in theirs.param_groups:
            group["lr"] = 0.01 * share
        theirs.step()
        ours.step(share)
    for layer, weight, bias in zip(outer, decayed, free, strict=True):
        torch.testing.assert_close(layer.weight, weight, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(layer.bias, bias, rtol=1e-6, atol=1e-9)


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
