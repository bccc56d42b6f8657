"""Names under which a result is stored in AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

DEFAULT_KEY = "geoae"


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
        if not isinstance(key_added, str):
            msg = f"key_added must be a str, not {type(key_added).__name__}."
            raise TypeError(msg)
        if not key_added or "/" in key_added:
            msg = f"key_added must not be empty or hold '/', which h5ad and zarr files take for a path: {key_added!r}."
            raise ValueError(msg)
        return cls(key_added, key_added)

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


def result(adata: AnnData, key: str) -> Mapping[str, Any]:
    """What ``uns[key]`` holds, or a `KeyError` that names the results that are there and the call that makes one."""
    if key in adata.uns and is_result(adata.uns[key]):
        return adata.uns[key]
    there = [name for name, value in adata.uns.items() if is_result(value)]
    msg = (
        f"Did not find a geometric autoencoder in .uns[{key!r}] (results there: {there or 'none'}). "
        "Run `scgeoae.tl.geometric_ae` first."
    )
    raise KeyError(msg)


def is_result(value: object) -> bool:
    """Whether an entry of `uns` looks like one of ours."""
    return isinstance(value, dict) and {"params", "model"} <= value.keys()
