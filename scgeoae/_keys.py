"""Names under which a result is stored in AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

DEFAULT_KEY = "geoae"
SCANPY_TOOLS = ("umap", "tsne", "pca", "diffmap", "draw_graph")


class ResultKeys(NamedTuple):
    """The fields of one result.

    `uns` holds parameters, model and history; `obsm` the coordinates; the others are columns of `obs`.
    """

    uns: str
    obsm: str

    @classmethod
    def named(cls, key_added: str | None) -> ResultKeys:
        """Fields of a new result: `"geoae"` and `"X_geoae"`, or ``key_added`` verbatim for both."""
        if key_added is None:
            return cls(DEFAULT_KEY, f"X_{DEFAULT_KEY}")
        return cls(_checked(key_added), key_added)

    @classmethod
    def decoding(cls, obsm: str, key_added: str | None) -> ResultKeys:
        """Fields of the decoder of ``obsm['X_umap']``: `"geoae_umap"`, or ``key_added`` verbatim, beside the `obsm`."""
        return cls(_checked(f"{DEFAULT_KEY}_{obsm.removeprefix('X_')}" if key_added is None else key_added), obsm)

    @classmethod
    def stored(cls, adata: AnnData, key: str) -> ResultKeys:
        """Fields of a result that is there.

        Raises
        ------
        KeyError
            If there is none under this key.
        """
        return cls(key, str(result(adata, key)["params"]["basis"]))

    @property
    def determinant(self) -> str:
        """Column of the relative determinant."""
        return f"{self.uns}_det"

    @property
    def anisotropy(self) -> str:
        """Column of the anisotropy."""
        return f"{self.uns}_anisotropy"

    @property
    def error(self) -> str:
        """Column of the reconstruction error."""
        return f"{self.uns}_reconstruction_error"

    @property
    def outside(self) -> str:
        """Column of the mapped cells that the reference does not explain."""
        return f"{self.uns}_outside"


def _checked(key_added: str) -> str:
    if not isinstance(key_added, str):
        msg = f"key_added must be a str, not {type(key_added).__name__}."
        raise TypeError(msg)
    if key_added in {"", ".", ".."} or not key_added.isprintable() or not {"/", "\\"}.isdisjoint(key_added):
        msg = (
            "key_added must be printable, not empty, not '.' or '..', and without '/' or '\\', which h5ad and zarr "
            f"files take for a path: {key_added!r}."
        )
        raise ValueError(msg)
    return key_added


def areas_key(key: str) -> str:
    """The entry of `uns` that holds the areas of groups on the map of this result."""
    return f"{key}_areas"


def alpha_path_key(key_added: str | None) -> str:
    """The entry of `uns` that holds the maps' measures by alpha: `"geoae_alpha_path"`, or ``key_added`` verbatim."""
    return f"{DEFAULT_KEY}_alpha_path" if key_added is None else _checked(key_added)


def embedding_key(adata: AnnData, basis: str) -> str:
    """The name in `obsm` of ``basis``, as it is or behind ``X_``, as :func:`scanpy.pl.embedding` looks for it.

    Raises
    ------
    KeyError
        If there is none; names what is there.
    """
    for name in (basis, f"X_{basis}"):
        if name in adata.obsm:
            return name
    tool = basis.removeprefix("X_")
    advice = f"Run `sc.tl.{tool}` first." if tool in SCANPY_TOOLS else "Choose one of them."
    msg = f"Did not find .obsm[{basis!r}] or .obsm['X_{basis}']; .obsm holds {list(adata.obsm) or 'nothing'}. {advice}"
    raise KeyError(msg)


def result(adata: AnnData, key: str) -> Mapping[str, Any]:
    """What ``uns[key]`` holds, or a `KeyError` that names the results that are there and the call that makes one."""
    if key in adata.uns and is_result(adata.uns[key]):
        return adata.uns[key]
    there = [name for name, value in adata.uns.items() if is_result(value)]
    msg = (
        f"Did not find a geometric autoencoder in .uns[{key!r}] (results there: {there or 'none'}). "
        "Run `scgeoae.tl.geometric_ae` or `scgeoae.tl.fit_decoder` first."
    )
    raise KeyError(msg)


def is_result(value: object) -> bool:
    """Whether an entry of `uns` looks like one of ours."""
    params = value.get("params") if isinstance(value, dict) and "model" in value else None
    return isinstance(params, dict) and "basis" in params
