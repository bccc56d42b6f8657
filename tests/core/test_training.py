"""The optimiser, the schedule, batches, held-out cells, interruption."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse

from scgeoae._input import DenseRows
from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.batches import OPEN_CHUNKS, Batches, shuffled
from scgeoae.core.loss import interpolates
from scgeoae.core.neighbors import NeighborGraph, contrast, nearest, spacing
from scgeoae.core.optimizer import HybridOptimizer, orthogonalize
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


def trainer(
    recipe: Recipe = RECIPE, n: int = 400, adjacency: sparse.csr_matrix | None = None, x: torch.Tensor | None = None
) -> Trainer:
    """On cells ``x``, or on a paraboloid in five dimensions."""
    generator = torch.Generator().manual_seed(0)
    if x is None:
        z = torch.randn(n, 2, generator=generator)
        x = torch.column_stack([z, z.square().sum(1), 0.1 * torch.randn(n, 2, generator=generator)])
    rows = DenseRows(x.numpy(), torch.device("cpu"))
    model = GeometricAutoencoder(x.shape[1], hidden_dims=(24, 24, 24), generator=generator)
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
    with torch.no_grad():
        losses, regularizer = run._validation_loss()
    kept = history.step.index(history.kept_at)
    assert losses.mean().item() == pytest.approx(history.validation_reconstruction[kept], rel=1e-6)
    assert regularizer == pytest.approx(history.validation_regularizer[kept], rel=1e-6)


@pytest.mark.parametrize(
    ("later", "kept"),
    [
        (torch.full((4,), 1.5), 20),
        (torch.tensor([0.0, 2.0, 0.5, 1.6]), 80),  # above the lowest by less than the tolerance
        (torch.full((4,), torch.nan), 20),
    ],
)
def test_weights_of_a_worse_validation_are_dropped(monkeypatch, later: torch.Tensor, kept: int) -> None:
    run = trainer(replace(RECIPE, n_steps=80, alpha=0))
    losses = iter([torch.full((4,), 3.0), *[torch.ones(4)] * 19, *[later] * 60])
    monkeypatch.setattr(run, "_validation_loss", lambda: (next(losses), 0.0))
    assert run.run().kept_at == kept
    assert torch.equal(run.model.decoder.last.bias, run._best["decoder.layers.3.bias"])


def test_patience_stops_early(monkeypatch) -> None:
    run = trainer(replace(RECIPE, patience=3))
    losses = iter(torch.tensor([3.0, 2.0, 1.0, *[5.0] * 50]).expand(4, -1).T)
    monkeypatch.setattr(run, "_validation_loss", lambda: (next(losses), 0.0))
    assert len(run.run().step) == 6


def test_non_finite_loss_names_the_step() -> None:
    run = trainer(replace(RECIPE, learning_rate=1e20))
    with pytest.raises(FloatingPointError, match="step 8 of 200"):
        run.run()


def test_one_non_finite_loss_is_survived() -> None:
    """Training goes on from the last good weights at a lower rate."""
    run = trainer()
    before: list[torch.Tensor] = []

    def spoil(step: int) -> None:
        if step == 100:
            before.append(run._best["decoder.layers.0.bias"])
            with torch.no_grad():
                run.model.decoder.last.bias.fill_(torch.inf)
        if step == 104:
            assert torch.equal(run.model.decoder.first.bias, before[0])

    history = run.run(spoil)
    assert history.retried_at == 104
    assert history.step[-1] == 200
    assert np.isfinite(history.validation_reconstruction).all()
    rates = np.array(history.learning_rate)
    assert rates[26] < 0.11 * rates[24]
    assert history.validation_reconstruction[-1] <= 1.05 * history.validation_reconstruction[24]


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
    batches = Batches(index, 4, 1, torch.Generator().manual_seed(0))
    seen = torch.cat([next(batches) for _ in range(5)])
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == index.tolist()


def test_batches_of_fewer_cells_than_asked() -> None:
    batch = next(Batches(torch.arange(3), 512, 1, torch.Generator()))
    assert sorted(batch.tolist()) == [0, 1, 2]


@pytest.mark.parametrize("chunk", [1, 3])
def test_batches_go_on_from_their_state(chunk: int) -> None:
    generator = torch.Generator().manual_seed(0)
    batches = Batches(torch.arange(100, 117), 5, chunk, generator)
    for _ in range(6):
        next(batches)
    state, later = batches.state_dict(), generator.get_state()
    expected = [next(batches).tolist() for _ in range(8)]
    again = Batches(torch.arange(100, 117), 5, chunk, generator)
    again.load_state_dict(state)
    generator.set_state(later)
    assert [next(again).tolist() for _ in range(8)] == expected


def test_chunks_are_shuffled_within_a_window() -> None:
    """Few chunks are open at once, each is read once, and neighbours in the file are far apart in the order."""
    index = torch.arange(50_000)
    order = shuffled(index, 500, torch.Generator().manual_seed(0))
    assert torch.equal(order.sort().values, index)
    chunks = (order // 500).numpy()
    for start in range(0, len(index) - 512, 512):
        assert OPEN_CHUNKS <= len(np.unique(chunks[start : start + 512])) <= OPEN_CHUNKS + 2
    held, n_read = OrderedDict(), 0
    for chunk in chunks.tolist():
        n_read += chunk not in held
        held[chunk] = None
        held.move_to_end(chunk)
        if len(held) > OPEN_CHUNKS + 1:
            held.popitem(last=False)
    assert n_read <= 100 + OPEN_CHUNKS


def test_interpolates_lie_between_cells() -> None:
    z = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    points = interpolates(z, 15, torch.Generator().manual_seed(1))
    a, b = z[:15], z.flip(0)[:15]
    shares = ((points - a) * (b - a)).sum(1) / (b - a).square().sum(1)
    torch.testing.assert_close(a + shares[:, None] * (b - a), points)
    assert 0 <= shares.min() < 0.3 < 0.7 < shares.max() <= 1


@pytest.mark.parametrize(("n", "fraction", "held_out"), [(3, 0.4, 0), (20, 0.1, 2), (100, 0, 0), (30_000, 0.1, 2000)])
def test_held_out_cells(n: int, fraction: float, held_out: int) -> None:
    run = trainer(replace(RECIPE, validation_fraction=fraction), n=n)
    assert len(run.held_out) == held_out
    assert sorted(torch.cat([run.batches.index, run.held_out]).tolist()) == list(range(n))


def test_schedule_rises_and_falls() -> None:
    shares = [schedule(step, 200) for step in range(1, 201)]
    assert shares[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(np.diff(shares[3:]), -1 / 197)  # a straight line
    assert 0 < shares[-1] < 0.01


def test_spacing() -> None:
    """On a square lattice every cell has its nearest one lattice constant away; scaling the cells scales it."""
    side = torch.arange(8.0)
    lattice = torch.cartesian_prod(side, side)
    assert spacing(lattice) == pytest.approx(1 / np.sqrt(2))
    assert spacing(3 * torch.column_stack([lattice, torch.zeros(64, 6)])) == pytest.approx(3 / np.sqrt(8))
    assert spacing(torch.cat([lattice, lattice])) == 0
    # independent normal features: two cells differ by sqrt(2) in each
    scattered = torch.randn(300, 4000, generator=torch.Generator().manual_seed(0))
    assert spacing(scattered) == pytest.approx(np.sqrt(2), rel=0.05)


BY_DATA = replace(RECIPE, n_steps=None, noise=None, batch_size=None)


@pytest.mark.parametrize(("n", "size"), [(100, 256), (20_000, 400), (200_000, 2_048)])
def test_default_batch_grows_with_the_cells(n: int, size: int) -> None:
    assert trainer(replace(BY_DATA, n_steps=1, noise=0.0), n=n).recipe.batch_size == size


@pytest.mark.parametrize(
    ("n", "spread", "steps"),
    [(500, 0.0, 1_500), (500, 0.05, None), (500, 3.0, 300), (4_500, 3.0, 450), (9_000, 3.0, 600)],
)
def test_steps_and_noise_come_from_the_spacing(n: int, spread: float, steps: int | None) -> None:
    """Cells on a dense curve are worth many steps, cells that scatter in 40 dimensions few."""
    generator = torch.Generator().manual_seed(0)
    x = torch.zeros(n, 40)
    x[:, 0] = torch.linspace(-1, 1, n)
    run = trainer(BY_DATA, x=x + spread * torch.randn(n, 40, generator=generator))
    cells = torch.cat([run.held_out, run.batches.index])[:2_000]
    apart = spacing(run.model.standardize(run.rows.take(cells)))
    assert run.noise == run.recipe.noise == pytest.approx(0.35 * apart, rel=1e-6)
    assert run.n_steps == run.recipe.n_steps
    assert run.n_steps == steps if steps else 300 < run.n_steps < 1_500
    given = trainer(replace(BY_DATA, n_steps=7, noise=0.1), x=x + torch.randn(n, 40, generator=generator)).recipe
    assert (given.n_steps, given.noise) == (7, 0.1)


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


@pytest.mark.parametrize(("size", "expected"), [(64, 1), (25_000, 3)])
def test_small_steps_take_one_thread(size: int, expected: int) -> None:
    torch.set_num_threads(3)
    seen = []
    run = trainer(replace(RECIPE, batch_size=size, n_steps=2), n=30_000)
    run.run(lambda _: seen.append(torch.get_num_threads()))
    assert set(seen) == {expected}
    assert torch.get_num_threads() == 3


def test_threads_are_restored_after_an_error(monkeypatch) -> None:
    torch.set_num_threads(3)
    run = trainer()
    monkeypatch.setattr(run, "_validate", lambda *_: 1 / (torch.get_num_threads() - 1))
    with pytest.raises(ZeroDivisionError):
        run.run()
    assert torch.get_num_threads() == 3


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
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(25, 2, generator=generator)
    z = torch.cat([z, z + 0.01 * torch.randn(25, 2, generator=generator)])
    scale, partners = torch.tensor(1.0), torch.arange(25, 50)
    near, far = contrast(z, partners, scale), contrast(z, partners.roll(1), scale)
    assert near < far
    torch.testing.assert_close(contrast(100 * z - 300, partners, scale), near)
    # by hand: softmax of the Cauchy kernel over the other cells
    spread = np.exp(1.0) / (z - z.mean(0)).std().item()
    kernel = 1 / (1 + spread**2 * ((z[:25, None] - z[None]) ** 2).sum(2))
    kernel[torch.arange(25), torch.arange(25)] = 0
    torch.testing.assert_close(near, -(kernel[torch.arange(25), partners] / kernel.sum(1)).log().mean())


def test_nearest_is_that_of_all_distances() -> None:
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    distances = torch.cdist(x, x).fill_diagonal_(torch.inf)
    assert torch.equal(nearest(x, 10), distances.argmin(1)[:10])
    assert torch.equal(nearest(x[:2]), torch.tensor([1, 0]))


def test_gradient_of_the_contrast() -> None:
    """Against autograd, in float64."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(12, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    partners = torch.tensor([5, 0, 7, 11])
    got = torch.autograd.grad(contrast(z, partners, scale), (z, scale))
    y = (z - z.mean(0).detach()) * scale.exp() / (z - z.mean(0)).detach().std()
    kernel = 1 / (1 + (y[:4, None] - y[None]).square().sum(2))
    kernel = torch.where(torch.eye(4, 12, dtype=torch.bool), 0, kernel)
    by_hand = (kernel.sum(1) / kernel[torch.arange(4), partners]).log().mean()
    for value, expected in zip(got, torch.autograd.grad(by_hand, (z, scale)), strict=True):
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("log_scale", [-50.0, 0.0, 20.0])
def test_contrast_stays_finite(log_scale: float) -> None:
    """Cells at one place, far away, and a kernel much too narrow or wide."""
    z = torch.cat([torch.zeros(5, 2), torch.randn(5, 2, generator=torch.Generator().manual_seed(0))])
    z[9] = 1e4
    z.requires_grad_()
    scale = torch.tensor(log_scale, requires_grad=True)
    value = contrast(z, torch.tensor([1, 9, 5]), scale)
    value.backward()
    assert all(torch.isfinite(each).all() for each in (value, z.grad, scale.grad))


def test_neighbour_term_draws_neighbours_together() -> None:
    """A graph that contradicts the distances: only with the term do its neighbours come closer."""
    order = torch.randperm(400, generator=torch.Generator().manual_seed(5))
    i = np.arange(400)
    adjacency = sparse.csr_matrix((np.ones(400), (order[i].numpy(), order[(i + 1) % 400].numpy())), shape=(400, 400))
    distance = {}
    for weight in (0.0, 3.0):
        run = trainer(replace(RECIPE, neighbors_weight=weight), adjacency=adjacency if weight else None)
        run.run()
        z = run.model.encode(run.rows.block(0, 400)).detach()
        distance[weight] = ((z[order] - z[order.roll(-1)]).norm(dim=1).mean() / z.std()).item()
    assert distance[3.0] < 0.8 * distance[0.0]
