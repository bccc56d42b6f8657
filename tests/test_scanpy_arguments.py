"""Arguments of scanpy's functions that ours do not have: the error says what to pass instead."""

from __future__ import annotations

from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

import pytest

from scgeoae import metrics, pl, pp, tl

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

FUNCTIONS = {f"{room.__name__}.{name}": getattr(room, name) for room in (tl, pl, pp) for name in room.__all__}
SEEDED = {name: function for name, function in FUNCTIONS.items() if "rng" in signature(function).parameters}
SEEDED["metrics.embedding_quality"] = metrics.embedding_quality
PLOTS = {name: function for name, function in FUNCTIONS.items() if "show" in signature(function).parameters}


def passes_on(function: Callable[..., Any]) -> bool:
    return any(each.kind is Parameter.VAR_KEYWORD for each in signature(function).parameters.values())


@pytest.mark.parametrize("name", SEEDED)
def test_random_state(name: str) -> None:
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'random_state'\. Pass rng, a seed"):
        SEEDED[name](None, random_state=0)


def test_arguments_that_are_passed_on(pbmc: AnnData) -> None:
    with pytest.raises(TypeError, match=r"^alpha_path\(\) got .* argument 'random_state'\. Pass rng"):
        tl.alpha_path(pbmc, [0.1], random_state=0)
    with pytest.raises(TypeError, match=r"^alpha_path\(\) got an unexpected keyword argument 'colour'$"):
        tl.alpha_path(pbmc, [0.1], colour="red")


@pytest.mark.parametrize("name", [name for name, function in PLOTS.items() if not passes_on(function)])
def test_save(name: str) -> None:
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'save'\. Pass show=False .* `ax\.figure\.sav"):
        PLOTS[name](None, save="map.png")


@pytest.fixture(scope="module")
def full(_pbmc_once: AnnData) -> AnnData:
    """What all plots need."""
    adata = _pbmc_once.copy()
    tl.geometric_ae(adata, n_steps=5, hidden_dims=(8,))
    tl.ensemble(adata, n_models=2)
    tl.gene_readout(adata, use_raw=True)
    tl.verdict(adata, embed=lambda x: x[:, :2].astype(float))
    return adata


@pytest.mark.parametrize("name", [name for name, function in PLOTS.items() if passes_on(function)])
def test_save_is_not_passed_on_to_scanpy(name: str, full: AnnData) -> None:
    arguments = {"groupby": "bulk_labels"} if name.endswith("gene_arrows") else {}
    with pytest.raises(TypeError, match=r"no argument 'save' here\. Pass show=False .* `ax\.figure\.savefig"):
        PLOTS[name](full, save="map.png", **arguments)
