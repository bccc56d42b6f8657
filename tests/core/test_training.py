"""The optimiser, the schedule, batches, held-out cells, interruption."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from scipy import sparse

from scgeoae._input import DenseRows
from scgeoae.core import training
from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.neighbors import NeighborGraph, contrast
from scgeoae.core.optimizer import orthogonalize
from scgeoae.core.rows import fit_scaling
from scgeoae.core.training import Recipe, Trainer, schedule

RECIPE = Recipe(
    alpha=0.1,
    regularizer={"area": 1.0},
    regularizer_batch=32,
    noise=0.1,
    n_steps=200,
    batch_size=64,
    learning_rate=0.03,
    weight_decay=0.0,
    validation_fraction=0.2,
    patience=None,
)


def trainer(recipe: Recipe = RECIPE, n: int = 400, adjacency: sparse.csr_matrix | None = None) -> Trainer:
    """On a paraboloid in five dimensions."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(n, 2, generator=generator)
    x = torch.column_stack([z, z.square().sum(1), 0.1 * torch.randn(n, 2, generator=generator)]).numpy()
    rows = DenseRows(x, torch.device("cpu"))
    model = GeometricAutoencoder(5, hidden_dims=(24, 24, 24), generator=generator)
    fit_scaling(model, rows)
    return Trainer(model, rows, recipe, generator, adjacency=adjacency)


def test_learns_a_paraboloid() -> None:
    history = trainer(replace(RECIPE, n_steps=500)).run()
    assert history.reconstruction[-1] < 0.05
    assert min(history.validation_reconstruction) < 0.05
    assert history.regularizer[-1] < 0.1
    assert {len(curve) for curve in vars(history).values() if isinstance(curve, list)} == {50}


def test_best_weights_are_kept() -> None:
    run = trainer()
    history = run.run()
    total = np.array(history.validation_reconstruction) + 0.1 * np.array(history.validation_regularizer)
    with torch.no_grad():
        reconstruction, regularizer = run._validation_loss()
    kept = np.flatnonzero(total <= (1 + training.TOLERANCE) * np.minimum.accumulate(total))[-1]
    assert reconstruction + 0.1 * regularizer == pytest.approx(total[kept], rel=1e-6)


def test_weights_of_a_worse_validation_are_dropped(monkeypatch) -> None:
    run = trainer()
    losses = iter([3.0, 1.0, *[1.5] * 50])
    at_lowest: list[torch.Tensor] = []

    def validate() -> tuple[float, float]:
        value = next(losses)
        if value == 1.0:
            at_lowest.append(run.model.mean.new_tensor(run.model.decoder.last.bias.detach().numpy()))
        return value, 0.0

    monkeypatch.setattr(run, "_validation_loss", validate)
    run.run()
    assert torch.equal(run.model.decoder.last.bias.detach(), at_lowest[0])


def test_patience_stops_early(monkeypatch) -> None:
    run = trainer(replace(RECIPE, patience=3))
    losses = iter([3.0, 2.0, 1.0, *[5.0] * 50])
    monkeypatch.setattr(run, "_validation_loss", lambda: (next(losses), 0.0))
    assert len(run.run().step) == 6


def test_non_finite_loss_names_the_step() -> None:
    run = trainer()
    with torch.no_grad():
        run.model.decoder.last.bias.fill_(torch.inf)
    with pytest.raises(FloatingPointError, match="step 4 of 200"):
        run.run()


def test_interruption_keeps_the_best_weights(monkeypatch) -> None:
    run = trainer()

    def interrupt(step: int) -> None:
        if step >= 40:
            raise KeyboardInterrupt

    history = run.run(interrupt)
    assert history.interrupted
    assert history.step[-1] == 40
    assert torch.isfinite(run.model(torch.zeros(1, 5))).all()


def test_every_cell_is_seen_once_an_epoch() -> None:
    index = torch.arange(100, 110)
    batches = training._batches(index, 4, torch.Generator().manual_seed(0))
    seen = torch.cat(list(islice(batches, 5)))
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == index.tolist()


def test_batches_of_fewer_cells_than_asked() -> None:
    batch = next(training._batches(torch.arange(3), 512, torch.Generator()))
    assert sorted(batch.tolist()) == [0, 1, 2]


@pytest.mark.parametrize(("n", "fraction", "held_out"), [(3, 0.4, 0), (20, 0.1, 2), (100, 0, 0), (30_000, 0.1, 2000)])
def test_held_out_cells(n: int, fraction: float, held_out: int) -> None:
    run = trainer(replace(RECIPE, validation_fraction=fraction), n=n)
    assert len(run.held_out) == held_out
    assert sorted(torch.cat([run.training, run.held_out]).tolist()) == list(range(n))


def test_schedule_rises_and_falls() -> None:
    shares = [schedule(step, 100) for step in range(1, 101)]
    assert shares[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert np.all(np.diff(shares[4:]) < 0)
    assert 0 < shares[-1] < 0.01


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


def ring(n: int) -> sparse.csr_matrix:
    """Each cell is the neighbour of the next two, with weights 1 and 3."""
    i = np.arange(n)
    ends = np.concatenate([(i + 1) % n, (i + 2) % n])
    return sparse.csr_matrix((np.repeat([1.0, 3.0], n), (np.tile(i, 2), ends)), shape=(n, n))


def test_partners_are_drawn_by_weight() -> None:
    graph = NeighborGraph(ring(10), torch.arange(10))
    heads = torch.arange(10).repeat(400)
    step = (graph.partners(heads, torch.Generator().manual_seed(0)) - heads) % 10
    assert set(step.tolist()) == {1, 2}
    assert (step == 2).float().mean().item() == pytest.approx(0.75, abs=0.03)


def test_held_out_and_lonely_cells_are_never_drawn() -> None:
    adjacency = ring(10).tolil()
    adjacency[4] = 0
    graph = NeighborGraph(adjacency.tocsr(), torch.tensor([0, 1, 2, 3, 4, 9]))  # 5 to 8 held out
    heads = torch.tensor([0, 1, 2, 3, 4, 9]).repeat(50)
    partners = graph.partners(heads, torch.Generator().manual_seed(0))
    assert set(partners.tolist()) == {0, 1, 2, 3, 4}
    assert (partners[heads == 4] == 4).all()
    assert (partners[heads == 3] == 4).all()  # its other neighbour is held out


def test_contrast_does_not_depend_on_the_unit_and_prefers_neighbours() -> None:
    z = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    scale = torch.tensor(1.0)
    near, far = contrast(z, z + 0.01, scale), contrast(z, z.roll(1, 0), scale)
    assert near < far
    torch.testing.assert_close(contrast(100 * z, 100 * (z + 0.01), scale), near)
    # by hand: softmax over the Cauchy kernel
    spread = np.exp(1.0) / z.std().item()
    kernel = 1 / (1 + spread**2 * ((z[:, None] - (z + 0.01)[None]) ** 2).sum(2))
    torch.testing.assert_close(near, -(kernel.diagonal() / kernel.sum(1)).log().mean())


def test_neighbour_term_draws_neighbours_together() -> None:
    """A graph that contradicts the distances: only with the term do its neighbours come closer."""
    order = torch.randperm(400, generator=torch.Generator().manual_seed(5))
    i = np.arange(400)
    adjacency = sparse.csr_matrix((np.ones(400), (order[i].numpy(), order[(i + 1) % 400].numpy())), shape=(400, 400))
    distance = {}
    for weight in (0.0, 1.0):
        run = trainer(replace(RECIPE, neighbors_weight=weight), adjacency=adjacency if weight else None)
        run.run()
        z = run.model.encode(run.rows.block(0, 400)).detach()
        distance[weight] = ((z[order] - z[order.roll(-1)]).norm(dim=1).mean() / z.std()).item()
    assert distance[1.0] < 0.9 * distance[0.0]
