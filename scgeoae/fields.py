"""The fields that are written into an AnnData: one table of their names and origins, and one way to write them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import pandas as pd
    from anndata import AnnData

DEFAULT_KEY = "geoae"
ALPHA_PATH = f"{DEFAULT_KEY}_alpha_path"
"""Default key of the table by alpha, which belongs to no result."""

DECODING, MAPPING = ("geometric_ae", "fit_decoder", "map_cells"), ("geometric_ae", "map_cells")
QUERY, ENSEMBLE, VELOCITY, VERDICT = ("map_cells",), ("ensemble",), ("velocity",), ("verdict",)
LENS = ("lens", "map_cells")
"""Tools that write fields together."""


@dataclass(frozen=True, eq=False)
class Field:
    """One row of the table :class:`Keys`.

    Attributes
    ----------
    slot
        `"obs"`, `"obsm"` or `"uns"`.
    pattern
        The name: ``{key}`` is the key of the result, ``{obsm}`` the name of its coordinates, ``{basis}`` the same
        without ``X_``, and ``{label}`` a column of labels, each of which has such a field.
    meaning
        What it holds, for the log.
    tools
        The functions of :mod:`scgeoae.tl` that write it.
    made_from
        Fields that it describes. It is stale, and dropped, as soon as one of them is written without it. Others write
        the coordinates, and the input, too: the model is stored with a fingerprint of both
        (:mod:`scgeoae.fingerprint`), with which :class:`~scgeoae.result.Result` compares them.
    """

    slot: str
    pattern: str
    meaning: str
    tools: tuple[str, ...]
    made_from: tuple[Field, ...] = ()

    @property
    def advice(self) -> str:
        """What to do where it is missing."""
        return f"Run `scgeoae.tl.{self.tools[0]}` first."

    @property
    def by_label(self) -> bool:
        """Whether there is one for each label."""
        return "{label}" in self.pattern

    def name(self, keys: Keys, label: str = "") -> str:
        """Name the field of a result."""
        return self.pattern.format(key=keys.key, obsm=keys.obsm, basis=keys.basis, label=label)

    def may_be(self, name: str) -> bool:
        """Whether it is the name of this field for some result, with something before or after the name of that."""
        before, brace, rest = self.pattern.partition("{")
        after = rest.partition("}")[2]
        if not (brace and before + after):
            return name == self.pattern
        return len(name) > len(before + after) and name.startswith(before) and name.endswith(after)

    @overload
    def __get__(self, keys: None, _: type) -> Field: ...
    @overload
    def __get__(self, keys: Keys, _: type) -> str: ...
    def __get__(self, keys: Keys | None, _: type) -> Field | str:
        """Return the row from the class :class:`Keys`, and the name from one of its objects."""
        return self if keys is None else self.name(keys)


@dataclass(frozen=True)
class Keys:
    """The table of all fields, and their names for one result: ``Keys("geoae", "X_geoae").determinant``.

    A field comes after those that it is made from.

    Attributes
    ----------
    key
        Key of the result.
    obsm
        Name of its coordinates.
    """

    key: str
    obsm: str

    coordinates = Field("obsm", "{obsm}", "map coordinates", MAPPING)
    model = Field("uns", "{key}", "parameters and model", DECODING, (coordinates,))
    readout = Field("uns", "{key}", "readout of genes, in the model", ("gene_readout",), (coordinates,))
    """A part of the model, written later: nothing is made from it, and it goes with the model."""
    determinant = Field("obs", "{key}_det", "relative determinant", DECODING, (model,))
    anisotropy = Field("obs", "{key}_anisotropy", "anisotropy", DECODING, (model,))
    error = Field("obs", "{key}_reconstruction_error", "reconstruction error", DECODING, (model,))

    outside = Field("obs", "{key}_outside", "cells that the reference does not explain", QUERY, (model,))
    novelty = Field("obs", "{key}_novelty", "novelty of the genes", QUERY, (model,))
    novel = Field("obs", "{key}_novel", "cells more novel than those of the reference", QUERY, (model,))
    label = Field("obs", "{key}_{label}", "labels by the reference", QUERY, (model,))
    confidence = Field("obs", "{key}_{label}_confidence", "share of the votes for the label", QUERY, (model,))
    palette = Field("uns", "{key}_{label}_colors", "colors of the reference", QUERY, (model,))

    ensemble = Field("uns", "{key}_ensemble", "parameters of the ensemble", ENSEMBLE, (model,))
    maps = Field("obsm", "{obsm}_ensemble", "coordinates on the aligned maps", ENSEMBLE, (ensemble,))
    displacement = Field("obs", "{key}_displacement", "root mean square displacement", ENSEMBLE, (ensemble,))
    agreement = Field("obs", "{key}_agreement", "share of neighbors on all maps", ENSEMBLE, (ensemble,))
    log_det_std = Field("obs", "{key}_log_det_std", "standard deviation of ln det", ENSEMBLE, (ensemble,))
    direction_std = Field("obs", "{key}_direction_std", "deviation of the stretching", ENSEMBLE, (ensemble,))

    areas = Field("uns", "{key}_areas", "areas of the groups", ("cluster_areas",), (model,))
    distances = Field("uns", "{key}_distances", "distances between the groups", ("cluster_distances",), (model,))

    lens = Field("uns", "{key}_lens", "the lens that bends the map", LENS, (model,))
    bent = Field("obsm", "{obsm}_lens", "coordinates on the bent map", LENS, (lens,))

    velocity = Field("obsm", "velocity_{basis}", "velocities on the map", VELOCITY, (coordinates,))
    velocity_normal = Field("obs", "{key}_velocity_normal", "their share normal to the surface", VELOCITY, (model,))
    scvelo = Field("uns", "velocity_params", "maps that scvelo draws without recomputing", VELOCITY)

    verdict = Field("obs", "{basis}_verdict", "verdict", VERDICT, (coordinates,))
    kept = Field("obs", "{basis}_kept", "share of neighbors that are kept", VERDICT, (coordinates,))
    chance = Field("obs", "{basis}_chance", "share of the null that keeps as many", VERDICT, (coordinates,))
    null = Field("uns", "{basis}_verdict", "parameters and null", VERDICT, (coordinates,))
    verdict_colors = Field("uns", "{basis}_verdict_colors", "colors of the verdicts", VERDICT, (coordinates,))

    alpha_path = Field("uns", "{key}", "measures by alpha", ("alpha_path",))

    @property
    def basis(self) -> str:
        """Name of the coordinates without ``X_``, as scanpy's and scvelo's plots take it."""
        return self.obsm.removeprefix("X_")

    @classmethod
    def named(cls, key_added: str | None, default: str = DEFAULT_KEY) -> Keys:
        """Name the fields of a new result: by default `"geoae"` and `"X_geoae"`, or ``key_added`` verbatim for both."""
        return cls(default, f"X_{default}") if key_added is None else cls(_checked(key_added), key_added)

    @classmethod
    def decoding(cls, obsm: str, key_added: str | None = None) -> Keys:
        """Name the fields of a decoder of this `obsm`: `"geoae_umap"` for `"X_umap"`, or ``key_added`` verbatim."""
        return cls(_checked(f"{DEFAULT_KEY}_{obsm.removeprefix('X_')}" if key_added is None else key_added), obsm)


FIELDS = tuple(row for row in vars(Keys).values() if isinstance(row, Field))


def stale(written: Collection[Field]) -> list[Field]:
    """List the fields that are made, directly or by way of others, from those written, and are not written too.

    Of fields by label, those of other labels may be stale although some are written.
    """
    changed = set(written)
    for field in FIELDS:
        if not changed.isdisjoint(field.made_from):
            changed.add(field)
    return [field for field in FIELDS if field in changed and (field.by_label or field not in written)]


def check_labels(keys: Keys, labels: Sequence[str]) -> None:
    """Raise a `ValueError` if columns of labels would have the name of another field of the result."""
    names = [(row.slot, row.name(keys)) for row in FIELDS if not row.by_label]
    for label in labels:
        own = [(row.slot, row.name(keys, label)) for row in FIELDS if row.by_label]
        if taken := [name for slot, name in own if (slot, name) in names]:
            msg = f"The labels {label!r} would be written as {taken[0]!r}, which has another meaning. Rename them."
            raise ValueError(msg)
        names += own


def write(adata: AnnData, keys: Keys, values: Mapping[Field, Any]) -> list[str]:
    """Write fields and drop those that become stale; if an exception occurs, leave `adata` as it was.

    Parameters
    ----------
    adata
        Annotated data matrix, changed in place.
    keys
        Names of the fields.
    values
        What to write, by row of the table; of fields with a ``{label}``, values by label.

    Returns
    -------
    Name, meaning and slot of each field that was written, for the log.
    """
    lines: dict[tuple[str, str], str] = {}
    before = carried_labels(adata, keys)
    with _all_or_none(adata):
        for field in (row for row in FIELDS if row in values):
            by_label = values[field] if field.by_label else {"": values[field]}
            for label, value in by_label.items():
                name = field.name(keys, label)
                getattr(adata, field.slot)[name] = value
                lines[field.slot, name] = f"{name!r}, {field.meaning} (adata.{field.slot})"
        for field in stale(values):
            slot = getattr(adata, field.slot)
            for name in {field.name(keys, label) for label in (before if field.by_label else [""])}:
                if name in slot and (field.slot, name) not in lines:
                    del slot[name]
    return list(lines.values())


def carried_labels(adata: AnnData, keys: Keys) -> list[str]:
    """Return the labels that :func:`scgeoae.tl.map_cells` carried over to this result, as its parameters name them."""
    stored = adata.uns.get(keys.key)
    params = stored.get("params") if isinstance(stored, Mapping) else None
    return [str(label) for label in params.get("obs", [])] if isinstance(params, Mapping) else []


def read_table(adata: AnnData, field: Field, key: str, columns: Collection[str]) -> pd.DataFrame:
    """Read a table of `uns`, or raise a `KeyError` that says which tool writes it."""
    name = field.name(Keys(key, ""))
    table = adata.uns.get(name)
    if not set(columns) <= set(getattr(table, "columns", ())):
        msg = f"Did not find in .uns[{name!r}] a table with the columns {sorted(columns)}. {field.advice}"
        raise KeyError(msg)
    return table


def _checked(key_added: str) -> str:
    if not isinstance(key_added, str):
        msg = f"key_added must be a str, not {type(key_added).__name__}."
        raise TypeError(msg)
    if taken := [row.meaning for row in FIELDS if row.slot != "obs" and row.may_be(key_added)]:
        msg = f"key_added={key_added!r} is a name by which scgeoae stores the {taken[0]} of a result. Choose another."
        raise ValueError(msg)
    if key_added in {"", ".", ".."} or not key_added.isprintable() or not {"/", "\\"}.isdisjoint(key_added):
        msg = (
            "key_added must be printable, not empty, not '.' or '..', and without '/' or '\\', which h5ad and zarr "
            f"files take for a path: {key_added!r}."
        )
        raise ValueError(msg)
    return key_added


@contextmanager
def _all_or_none(adata: AnnData) -> Iterator[None]:
    """Restore the fields of `adata` if an exception, such as a KeyboardInterrupt, occurs within."""
    obs, obsm, uns = adata.obs.copy(deep=False), dict(adata.obsm), dict(adata.uns)
    try:
        yield
    except BaseException:
        adata.obs, adata.obsm, adata.uns = obs, obsm, uns
        raise
