"""Trainings that end in no map, or in a poor one, say so."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pytest
from hard_use.tools import cells, check_results, frozen, train

import scgeoae
from scgeoae import tl
from scgeoae.core.evaluation import describe

if TYPE_CHECKING:
    from io import StringIO

    from anndata import AnnData

    from scgeoae.core.autoencoder import GeometricAutoencoder


def line() -> AnnData:
    """On a straight line in six genes."""
    t = np.random.default_rng(3).normal(size=(300, 1))
    return ad.AnnData((t * np.arange(1, 7)).astype(np.float32))


def plane() -> AnnData:
    t = np.random.default_rng(3).normal(size=(300, 2))
    return ad.AnnData((t @ np.random.default_rng(4).normal(size=(2, 6))).astype(np.float32))


def far_cell() -> AnnData:
    """One cell a thousand times farther than the rest."""
    adata = cells(300)
    adata.X[0] = 5_000
    return adata


def sheet() -> AnnData:
    return cells(300)


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (line, {}, "hardly vary in more than 1 of the 2 dimensions"),
        (line, {"alpha": 0}, "hardly vary in more than 1 of the 2 dimensions"),
        (plane, {"n_components": 3}, "hardly vary in more than 2 of the 3 dimensions"),
        (far_cell, {}, "few cells lie far from the rest"),
        (lambda: cells(3, 8), {"n_components": 3}, "hardly vary in more than 2 of the 3 dimensions"),
        (sheet, {"alpha": 1e10}, r"leaves \S+% of the variance unexplained"),
        (sheet, {"alpha": 100, "regularizer": "isometry"}, r"leaves \S+% of the variance unexplained"),
        (sheet, {"noise": 100.0}, r"leaves \S+% of the variance unexplained"),
        (sheet, {"hidden_dims": (1,)}, "singular at 100% of the cells"),
    ],
    ids=[
        "line", "line, vanilla", "plane in 3", "far cell", "3 cells in 3", "alpha huge", "isometry alone", "noise huge",
        "one hidden unit",
    ],
)  # fmt: skip
def test_poor_maps_are_told(make: Any, arguments: dict[str, Any], message: str, log: StringIO) -> None:
    adata = make()
    train(adata, **{"n_steps": 150, "hidden_dims": (16, 16), **arguments})
    assert np.isfinite(adata.obsm["X_geoae"]).all()
    assert np.isfinite(adata.obs["geoae_det"]).all()
    assert scgeoae.get.model(adata).n_features == adata.n_vars
    assert re.search(message, log.getvalue())


@pytest.mark.slow
@pytest.mark.parametrize("learning_rate", [1.0, 3.0, 10.0, 30.0])
@pytest.mark.parametrize("n_hidden", [16, 1])
def test_no_failure_goes_untold(learning_rate: float, n_hidden: int, log: StringIO) -> None:
    """What comes of a learning rate that is too high is chance: no map, a poor one or, rarely, a good one."""
    linear = np.square(np.linalg.svd(sheet().X - sheet().X.mean(0), compute_uv=False)[2:]).sum() / sheet().X.size
    for rng in range(6):
        log.truncate(0)
        adata = sheet()
        before = frozen(adata)
        arguments = {"n_steps": 150, "hidden_dims": (n_hidden, n_hidden), "alpha": 0, "rng": rng}
        try:
            train(adata, learning_rate=learning_rate, **arguments)
        except FloatingPointError as error:
            assert re.match("The map collapsed|The map blew up|The loss is not finite", str(error))  # noqa: PT017
            assert frozen(adata) == before
            continue
        check_results(adata)
        if np.square(adata.obs["geoae_reconstruction_error"]).mean() > 2 * linear:
            assert re.search("singular|unexplained", log.getvalue())


@pytest.mark.parametrize(
    "call",
    [
        train,
        lambda adata: tl.fit_decoder(adata, "given", use_rep="X", n_steps=8),
        lambda adata: tl.alpha_path(adata, [0.1], use_rep="X", n_steps=8),
        lambda adata: tl.ensemble(adata, n_models=2),
        lambda adata: tl.ensemble(adata, n_models=2, bootstrap=True),
        tl.verdict,
    ],
    ids=["geometric_ae", "fit_decoder", "alpha_path", "ensemble", "bootstrap", "verdict"],
)
@pytest.mark.parametrize(("log_det", "message"), [(-700.0, "The map collapsed"), (np.inf, "The map blew up")])
def test_no_map_no_result(call: Any, log_det: float, message: str, monkeypatch) -> None:
    """Whatever trains refuses a map that there is not, and writes nothing."""
    adata = sheet()
    adata.obsm["X_given"] = adata.X[:, :2].copy()
    train(adata)
    before = frozen(adata)

    def spoiled(*arguments: Any) -> Any:
        cells = describe(*arguments)
        return cells._replace(log_det=np.full_like(cells.log_det, log_det))

    monkeypatch.setattr("scgeoae.core.calibration.describe", spoiled)
    with pytest.raises(FloatingPointError, match=message):
        call(adata)
    assert frozen(adata) == before


def test_a_loss_that_is_not_finite_once_is_told(log: StringIO, after_validation) -> None:
    """With its step, and what was done about it; the map is a sound one."""

    def spoil(step: int, model: GeometricAutoencoder) -> None:
        if step == 25:
            model.decoder.last.bias.data.fill_(np.inf)

    after_validation(spoil)
    adata = sheet()
    train(adata, n_steps=100)
    told = r"The loss was not finite at step 50: .* at 0\.1 of the learning rate\. Lower learning_rate or alpha"
    assert re.search(told, log.getvalue())
    assert list(adata.uns["geoae"]["history"]["step"]) == [25, 50, 75, 100]
    check_results(adata)
    rates = adata.uns["geoae"]["history"]["learning_rate"]
    assert rates[2] < 0.1 * rates[1]
    scgeoae.pl.history(adata, show=False)


def test_a_constant_decoder_of_a_given_map_is_told(log: StringIO) -> None:
    adata = sheet()
    adata.obsm["X_given"] = adata.X[:, :2].copy()
    tl.fit_decoder(adata, "given", use_rep="X", n_steps=20, hidden_dims=(1,))
    assert "singular at 100% of the cells" in log.getvalue()
    assert np.isfinite(adata.obs["geoae_given_det"]).all()
    assert (adata.obs["geoae_given_det"] > 0).all()


@pytest.mark.parametrize(("make", "n_components"), [(plane, 2), (sheet, 2), (line, 1)])
def test_good_maps_are_not_called_poor(make: Any, n_components: int, log: StringIO) -> None:
    adata = make()
    train(adata, n_steps=300, hidden_dims=(16, 16), batch_size=64, n_components=n_components)
    check_results(adata)
    assert log.getvalue() == ""
