"""The optimiser, the schedule, batches, held-out cells, interruption."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch

from scgeoae.core.autoencoder import GeometricAutoencoder
from scgeoae.core.batches import OPEN_CHUNKS, Batches, shuffled
from scgeoae.core.fit import prepare, spacing
from scgeoae.core.optimizer import HybridOptimizer, orthogonalize
from scgeoae.core.spec import Spec
from scgeoae.core.training import Best, Trainer, schedule
from scgeoae.inputs import DenseRows

SPEC = Spec(
    n_components=2,
    hidden_dims=(24, 24, 24),
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


def trainer(spec: Spec = SPEC, n: int = 400, x: torch.Tensor | None = None) -> Trainer:
    """On cells ``x``, or on a paraboloid in five dimensions."""
    if x is None:
        generator = torch.Generator().manual_seed(0)
        z = torch.randn(n, 2, generator=generator)
        x = torch.column_stack([z, z.square().sum(1), 0.1 * torch.randn(n, 2, generator=generator)])
    return prepare(DenseRows(x.numpy(), torch.device("cpu")), spec, seed=0)


def test_learns_a_paraboloid() -> None:
    history = trainer(replace(SPEC, n_steps=500)).run()
    assert history.reconstruction[-1] < 0.05
    assert min(history.validation_reconstruction) < 0.05
    assert history.regularizer[-1] < 0.1
    assert {len(curve) for curve in vars(history).values() if isinstance(curve, list)} == {50}


def test_best_weights_are_kept() -> None:
    run = trainer()
    history = run.run()
    with torch.no_grad():
        reconstruction, regularizer = run._validation_losses()
    kept = history.step.index(history.kept_at)
    assert reconstruction == pytest.approx(history.validation_reconstruction[kept], rel=1e-6)
    assert regularizer == pytest.approx(history.validation_regularizer[kept], rel=1e-6)


@pytest.mark.parametrize(
    ("later", "kept"),
    [
        (1.5, 0),
        (1.025, 4),  # above the lowest by less than the tolerance
        (np.nan, 0),
    ],
)
def test_weights_of_a_worse_validation_are_dropped(later: float, kept: int) -> None:
    """Also where none of the later losses is a new lowest, and where they are not finite."""
    model = GeometricAutoencoder(3, hidden_dims=(4,))
    best = Best(model)
    for i, loss in enumerate([1.0, *[later] * 4]):
        with torch.no_grad():
            model.decoder.last.bias.fill_(i)
        assert best.offer(model, loss) == (i <= kept)
        assert best.n_since_lowest == i
    assert (best.weights["decoder.layers.1.bias"] == kept).all()


def test_patience_stops_early() -> None:
    """After the lowest validation loss there are `patience` more."""
    run = trainer(replace(SPEC, patience=3, learning_rate=0.3))
    history = run.run()
    losses = np.add(history.validation_reconstruction, 0.1 * np.array(history.validation_regularizer))
    assert 4 < len(losses) < 50
    assert len(losses) == losses.argmin() + 1 + 3


def test_non_finite_loss_names_the_step() -> None:
    run = trainer(replace(SPEC, learning_rate=1e20))
    with pytest.raises(FloatingPointError, match="step 8 of 200"):
        run.run()


def test_one_non_finite_loss_is_survived() -> None:
    """Training goes on from the last good weights at a lower rate."""
    run = trainer()
    before: list[torch.Tensor] = []

    def spoil(step: int) -> None:
        if step == 100:
            before.append(run.best.weights["decoder.layers.0.bias"])
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


def test_interruption_keeps_the_best_weights() -> None:
    """Of the validations before it, not those that training had come to."""
    run = trainer()

    def interrupt(step: int) -> None:
        if step == 40:
            with torch.no_grad():
                run.model.decoder.last.bias.add_(9)
            raise KeyboardInterrupt

    history = run.run(interrupt)
    assert history.interrupted
    assert history.step[-1] == 40
    with torch.no_grad():
        reconstruction, regularizer = run._validation_losses()
    kept = history.step.index(history.kept_at)
    assert reconstruction == pytest.approx(history.validation_reconstruction[kept], rel=1e-6)
    assert regularizer == pytest.approx(history.validation_regularizer[kept], rel=1e-6)


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


@pytest.mark.parametrize(("n", "fraction", "held_out"), [(3, 0.4, 0), (20, 0.1, 2), (100, 0, 0), (30_000, 0.1, 2000)])
def test_held_out_cells(n: int, fraction: float, held_out: int) -> None:
    run = trainer(replace(SPEC, validation_fraction=fraction), n=n)
    assert run.held_out.part.size == held_out
    assert sorted(torch.cat([run.batches.index, run.held_out.part.cells]).tolist()) == list(range(n))


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


BY_DATA = replace(SPEC, n_steps=None, noise=None, batch_size=None)


@pytest.mark.parametrize(("n", "size"), [(100, 256), (20_000, 400), (200_000, 2_048)])
def test_default_batch_grows_with_the_cells(n: int, size: int) -> None:
    assert trainer(replace(BY_DATA, n_steps=1, noise=0.0), n=n).spec.batch_size == size


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
    cells = torch.cat([run.held_out.part.cells, run.batches.index])[:2_000]
    apart = spacing(run.model.standardize(run.rows.take(cells)))
    assert run.spec.noise == pytest.approx(0.35 * apart, rel=1e-6)
    assert run.n_steps == run.spec.n_steps
    assert run.n_steps == steps if steps else 300 < run.n_steps < 1_500
    given = trainer(replace(BY_DATA, n_steps=7, noise=0.1), x=x + torch.randn(n, 40, generator=generator)).spec
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
    run = trainer(replace(SPEC, batch_size=size, n_steps=2), n=30_000)
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
