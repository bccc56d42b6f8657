"""What a map of scanpy was made from, as scanpy stores it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..inputs import choose

if TYPE_CHECKING:
    from anndata import AnnData

    from ..inputs import Representation

Params = Mapping[str, Any]
DEFAULT_GRAPH = "neighbors"


def params_of_map(adata: AnnData, name: str) -> Params:
    """Return the parameters of the map ``obsm[name]``: under its own name after ``key_added``, else of its tool."""
    return _params(adata, name) or _params(adata, name.removeprefix("X_"))


def is_umap(name: str, params: Params) -> bool:
    """Whether the map ``obsm[name]`` with these parameters is by :func:`scanpy.tl.umap`."""
    return name.removeprefix("X_") == "umap" or {"a", "b"} <= params.keys()


def is_tsne(name: str, params: Params) -> bool:
    """Whether the map ``obsm[name]`` with these parameters is by :func:`scanpy.tl.tsne`."""
    return name.removeprefix("X_") == "tsne" or "perplexity" in params


def data_of(adata: AnnData, params: Params, use_rep: str | None = None) -> Representation:
    """Choose ``use_rep``, or the data that parameters of scanpy name."""
    return choose(adata, **(_options(params) if use_rep is None else {"use_rep": use_rep}))


def graph_of(adata: AnnData, name: str, use_rep: str | None = None) -> Params:
    """Return the parameters of the neighbors of which the UMAP ``obsm[name]`` was made; none if `uns` holds none.

    scanpy does not store which neighbors a UMAP was made of. Those of the data ``use_rep`` are preferred, then those
    under scanpy's default name.

    Raises
    ------
    ValueError
        If there are neighbors in different data and no ``use_rep``.
    """
    graphs = {
        entry: params
        for entry, stored in adata.uns.items()
        if isinstance(stored, Mapping)
        and (entry == DEFAULT_GRAPH or "connectivities_key" in stored)
        and (params := _params(adata, entry)) is not None
    }
    if use_rep is not None:
        of_these = {entry: params for entry, params in graphs.items() if params.get("use_rep") == use_rep}
        graphs = of_these or graphs
    elif len(graphs) > 1:
        data = {entry: (params.get("use_rep"), params.get("n_pcs")) for entry, params in graphs.items()}
        if len(set(data.values())) > 1:
            msg = (
                f".uns holds neighbors in different data, and scanpy does not store of which obsm[{name!r}] was made: "
                + ", ".join(f"{entry!r} (use_rep={of[0]!r}, n_pcs={of[1]!r})" for entry, of in data.items())
                + ". Pass use_rep, the data that the map was made from."
            )
            raise ValueError(msg)
    return graphs.get(DEFAULT_GRAPH) or next(iter(graphs.values()), {})


def origin_of(adata: AnnData, name: str) -> dict[str, Any]:
    """Return `use_rep` and `n_pcs` of the data that a UMAP or a t-SNE was made from, so far as scanpy says so.

    Raises
    ------
    ValueError
        As :func:`graph_of`.
    """
    params = params_of_map(adata, name)
    if is_umap(name, params):
        params = graph_of(adata, name)
    elif not is_tsne(name, params):
        return {}
    return _options(params)


def _options(params: Params) -> dict[str, Any]:
    """Return `use_rep` and `n_pcs` of the data that parameters of scanpy name, so far as they do."""
    if params.get("n_pcs") == 0:
        return {"use_rep": "X"}
    return {option: params[option] for option in ("use_rep", "n_pcs") if params.get(option) is not None}


def _params(adata: AnnData, entry: str) -> Params:
    """Return the parameters that scanpy stores in `uns`, if there are any."""
    stored = adata.uns.get(entry)
    params = stored.get("params") if isinstance(stored, Mapping) else None
    return params if isinstance(params, Mapping) else {}
