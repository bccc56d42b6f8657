"""A result in an AnnData: find it, read its model, coordinates and columns, check that it fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ._checks import check_adata, check_points, real_array
from ._lookup import column, holds_numbers
from .fields import DEFAULT_KEY, Field, Keys
from .fingerprint import Comparison, Fingerprint, Values, compare, warn_if_unknown
from .storage import from_arrays, to_arrays

if TYPE_CHECKING:
    from anndata import AnnData

    from .core.evaluation import Cells
    from .core.lens import Lens
    from .core.loop import History
    from .core.region import OccupiedRegion
    from .core.rows import Rows
    from .core.surface import Surface
    from .reference import MapModel

CENTRAL, MARGIN, ROOM = 0.99, 0.1, 1.1
"""The frame holds this share of the cells along each dimension, a margin of this share of the longer side, and all of
it is this much larger."""

TERMS = ("reconstruction", "regularizer")
"""Terms of the loss. The history has a curve for each, and one of the held-out cells, named ``validation_…``."""


class Result:
    """A stored result.

    The model and the surface are built at first use and kept as long as this object; coordinates and columns are read
    from `adata` at each call.

    Parameters
    ----------
    adata
        Annotated data matrix that holds the result.
    key
        Name of the result.

    Attributes
    ----------
    adata
        The annotated data matrix.
    keys
        Names of its fields.
    stored
        The entry of `uns`: parameters, model and history.

    Raises
    ------
    KeyError
        If there is no result under this key.
    TypeError
        If `adata` is no AnnData.
    """

    def __init__(self, adata: AnnData, key: str = DEFAULT_KEY) -> None:
        check_adata(adata)
        if key not in adata.uns or not _is_result(adata.uns[key]):
            msg = (
                f"Did not find a geometric autoencoder in .uns[{key!r}] (results there: "
                f"{self.names(adata) or 'none'}). {_advice(adata, key)}"
            )
            raise KeyError(msg)
        self.adata = adata
        self.stored: Mapping[str, Any] = adata.uns[key]
        self.keys = Keys(key, str(self.stored["params"]["basis"]))

    @classmethod
    def names(cls, adata: AnnData) -> list[str]:
        """Return the names of all results in an AnnData."""
        return [key for key, value in adata.uns.items() if _is_result(value)]

    @classmethod
    def of_map(cls, adata: AnnData, obsm: str) -> list[Result]:
        """Find the results whose coordinates are this `obsm`: those under a default name first, then by name."""
        usual = (DEFAULT_KEY, Keys.decoding(obsm).key)
        results = [cls(adata, key) for key in sorted(cls.names(adata), key=lambda name: (name not in usual, name))]
        return [result for result in results if result.keys.obsm == obsm]

    @property
    def params(self) -> Mapping[str, Any]:
        """The arguments that shaped the result."""
        return self.stored["params"]

    @property
    def mapped(self) -> bool:
        """Whether the cells were mapped by the model of others."""
        return bool(self.params.get("mapped", False))

    @cached_property
    def model(self) -> MapModel:
        """The model, on the host; raises a `ValueError` if it is damaged."""
        from .reference import bent_by, from_state  # torch takes seconds to import, and columns do not need it

        model, lens = from_state(self.stored["model"]), self.adata.uns.get(self.keys.lens)
        return model if lens is None else bent_by(model, lens)

    @cached_property
    def surface(self) -> Surface:
        """The decoder as a surface, after :meth:`check_coordinates`."""
        self.check_coordinates()
        return self.model.surface

    def rows(self) -> Rows:
        """The input (n, D) of the cells, as it was when the result was made: see :func:`.reference.input_of`."""
        from .reference import input_of

        return input_of(self.adata, self.model, self.fingerprint("input"), mapped=self.mapped)

    @property
    def lens(self) -> Lens:
        """The lens; raises a `KeyError` if there is none."""
        lens = self.model.lens
        if lens is None:
            msg = f"Did not find .uns[{self.keys.lens!r}]. Run `scgeoae.tl.lens(adata, key={self.keys.key!r})` first."
            raise KeyError(msg)
        return lens

    def bent_coordinates(self) -> np.ndarray:
        """Read the cells' coordinates (n, 2) on the bent map; raise a `KeyError` if there are none."""
        self.check_coordinates()
        name = self.keys.bent
        if self.model.lens is None or name not in self.adata.obsm:
            msg = f"Did not find .obsm[{name!r}]. Run `scgeoae.tl.lens(adata, key={self.keys.key!r})` first."
            raise KeyError(msg)
        return check_points(self.adata.obsm[name], 2, f"obsm[{name!r}]")

    @cached_property
    def magnification(self) -> np.ndarray:
        """How many times larger than the true map the bent one shows the place of each cell, (n,)."""
        return self.lens.magnification(self.coordinates())

    @property
    def bent_unit(self) -> float:
        """Distance in the data per unit of the bent map, on geometric average over the cells."""
        return float(self.model.unit * np.exp(-0.5 * np.log(self.magnification).mean()))

    @property
    def history(self) -> Mapping[str, np.ndarray]:
        """The curves of the training; raises a `KeyError` if there are none, as with mapped cells."""
        expected = {"step", *TERMS, *(f"validation_{term}" for term in TERMS)}
        curves = self.stored.get("history")
        if not isinstance(curves, Mapping) or not expected <= curves.keys():
            msg = (
                f"Did not find in .uns[{self.keys.key!r}] a history with the curves {sorted(expected)}: it is written "
                "by the training, not where cells are mapped."
            )
            raise KeyError(msg)
        return curves

    def fingerprint(self, part: str) -> Fingerprint | None:
        """Return the fingerprint of the `'input'` or the `'coordinates'`; earlier versions stored none.

        Raises
        ------
        ValueError
            If it is damaged.
        """
        return _fingerprint(self.stored, part, f"the result {self.keys.key!r}")

    def check_coordinates(self) -> None:
        """Raise a `ValueError` if the cells' coordinates are not those of the result any more.

        Log a warning if that cannot be told.
        """
        name, key = self.keys.obsm, self.keys.key
        if name not in self.adata.obsm:
            return
        found = self._compared_coordinates
        if found.same is False:
            if self.model.made_elsewhere and not self.mapped:
                advice = f"Run `scgeoae.tl.fit_decoder(adata, {name!r}, key_added={key!r})` again."
            else:
                advice = (
                    "Write those of the result back, or train again, or fit a decoder to the map as it is now by "
                    f"`scgeoae.tl.fit_decoder(adata, {name!r}, key_added=…)`."
                )
            msg = f"obsm[{name!r}] was changed after the result {key!r} was made: {found.why}. {advice}"
            raise ValueError(msg)

    @cached_property
    def _compared_coordinates(self) -> Comparison:
        """The comparison of the coordinates, made and warned of once."""
        name = self.keys.obsm
        z = real_array(self.adata.obsm[name], f"obsm[{name!r}]")
        found = compare(self.fingerprint("coordinates"), Values.of(z), self.adata.obs_names)
        warn_if_unknown(found, f"obsm[{name!r}] still holds the coordinates of the result {self.keys.key!r}")
        return found

    def coordinates(self, points: np.ndarray | None = None) -> np.ndarray:
        """Read the cells' map coordinates (n, d), or check other points (m, d) of the map; both finite.

        The coordinates must still be those of the result, see :meth:`check_coordinates`.
        """
        name = self.keys.obsm
        if name not in self.adata.obsm:
            msg = (
                f"Did not find .obsm[{name!r}], the coordinates of the result {self.keys.key!r}; .obsm holds "
                f"{list(self.adata.obsm)}."
            )
            raise KeyError(msg)
        z = check_points(self.adata.obsm[name], None, f"obsm[{name!r}]")
        self.check_coordinates()
        return z if points is None else check_points(points, z.shape[1])

    def decoder_points(self, points: np.ndarray | None = None) -> np.ndarray:
        """Return coordinates as :meth:`coordinates` does, after checking that the decoder takes their dimension."""
        return check_points(self.coordinates(points), self.model.n_components)

    def frame(self, dimensions: tuple[int, int], *, outliers: bool = False) -> tuple[float, float, float, float]:
        """Return left, right, bottom and top of the square that pictures of the map show; see :func:`frame_of`.

        Of mapped cells, it also holds what the cells of the reference occupy.
        """
        drawn = self.coordinates()[:, dimensions]
        if not self.mapped or self.model.region is None:
            return frame_of(drawn, outliers=outliers)
        corners = np.reshape(self.model.region.extent, (2, 2)).T  # (2, 2), lower left and upper right
        return frame_of(drawn, corners[:, dimensions], outliers=outliers)

    def relative_determinant(self, points: np.ndarray, *, lens: bool = False) -> np.ndarray:
        """Compute the determinant (m,) at map points (m, d), relative to its geometric mean over the training cells.

        With the lens, points and mean are those of the bent map.
        """
        if lens:
            return np.exp(self.model.bent_surface.distortion(points)[0]) / self.bent_unit**2
        return self.model.relative_determinant(self.surface.distortion(points)[0])

    def column(self, field: Field) -> pd.Series:
        """Read one of the columns of `obs` that belong to the result and its coordinates."""
        self.check_coordinates()
        return column(self.adata, field.name(self.keys), field.advice)

    def numbers(self, field: Field) -> np.ndarray:
        """Read one of these columns as numbers (n,), float64."""
        values = self.column(field)
        if not holds_numbers(values):
            found = "str" if pd.api.types.is_string_dtype(values) else values.dtype
            msg = f"obs[{values.name!r}] must hold numbers, but it is of type {found}."
            raise TypeError(msg)
        return values.to_numpy(dtype=np.float64, na_value=np.nan)

    def check_trained(self) -> None:
        """Raise a `ValueError` if the map was made elsewhere, or the cells were mapped: then nothing was trained."""
        key = self.keys.key
        if self.model.made_elsewhere:
            msg = (
                f"The result {key!r} is a decoder of obsm[{self.keys.obsm!r}], a map that was made elsewhere: training "
                "the decoder again does not move it. Choose a result of `scgeoae.tl.geometric_ae`."
            )
            raise ValueError(msg)
        if self.mapped:
            msg = f"The cells of the result {key!r} were mapped, nothing was trained on them. Pass the reference."
            raise ValueError(msg)

    @property
    def other_cells(self) -> str:
        """Say how the cells are not those of the training, as far as numbers tell; empty if they may be."""
        if self.params.get("mapped", False):
            return f"The cells of the result {self.keys.key!r} were mapped, nothing was trained on them"
        n_trained, n_here = self.model.frame.n_cells, self.adata.n_obs
        if n_trained in {None, n_here}:
            return ""
        return f"The map {self.keys.key!r} was trained on {n_trained} cells, but the AnnData holds {n_here}"

    def ensemble_maps(self) -> list[np.ndarray]:
        """Read the aligned maps (n, d) of the ensemble, or raise an error that says what to run or to choose."""
        entry, name = self.keys.ensemble, self.keys.maps
        if entry not in self.adata.uns or name not in self.adata.obsm:
            self.check_trained()
            msg = (
                f"Did not find .uns[{entry!r}] and .obsm[{name!r}], an ensemble of the result {self.keys.key!r}. Run "
                f"`scgeoae.tl.ensemble(adata, key={self.keys.key!r})` first."
            )
            raise KeyError(msg)
        n_models = int(self.adata.uns[entry]["params"]["n_models"])
        return np.split(np.asarray(self.adata.obsm[name]), n_models, axis=1)

    def distortion(self) -> dict[str, float]:
        """Summarize the distortion at the cells; see :func:`distortion_summary`."""
        return distortion_summary(np.log(self.numbers(Keys.determinant)), self.numbers(Keys.anisotropy))

    def reconstruction(self) -> float:
        """Compute the share of the variance of the cells that the map leaves unexplained."""
        return float(self.column(Keys.error).pow(2).mean() / self.model.scale**2)

    def medoid(self, cells: np.ndarray) -> np.ndarray:
        """Find the medoid (2,) of the cells (n,) bool, among those in the occupied region if there are any."""
        from .core.geodesic import medoid

        z = self.decoder_points()[cells].astype(np.float64)
        inside = region_of(self.model).contains(z)
        chosen = z[inside] if inside.any() else z
        return chosen[medoid(chosen)]


def check_verdict(adata: AnnData, keys: Keys) -> None:
    """Raise a `ValueError` if a map is no longer the one that its verdict is on; log a warning if that is unknown."""
    name = keys.obsm
    fingerprint = _fingerprint(adata.uns[keys.null], "coordinates", f"the verdict on obsm[{name!r}]")
    z = real_array(adata.obsm[name], f"obsm[{name!r}]")
    found = compare(fingerprint, Values.of(z), adata.obs_names)
    if found.same is False:
        msg = (
            f"obsm[{name!r}] was changed after its verdict: {found.why}. Run `scgeoae.tl.verdict(adata, {name!r})` "
            "again."
        )
        raise ValueError(msg)
    warn_if_unknown(found, f"obsm[{name!r}] is still the map that its verdict is on")


def check_names(adata: AnnData, keys: Keys, *, with_coordinates: bool = True) -> None:
    """Raise a `ValueError` if a new result of this name would replace what is not an earlier one of the same name."""
    check_adata(adata)
    key, name = keys.key, keys.obsm
    earlier = adata.uns.get(key)
    advice = "Choose another key_added, or delete it first."
    if earlier is not None and not _is_result(earlier):
        msg = f".uns[{key!r}] holds something else than a result of scgeoae, which would be replaced. {advice}"
        raise ValueError(msg)
    if earlier is not None and earlier["params"]["basis"] != name:
        msg = f".uns[{key!r}] holds a result of another map, obsm[{earlier['params']['basis']!r}]. {advice}"
        raise ValueError(msg)
    if not with_coordinates or name not in adata.obsm:
        return
    owners = [each.keys.key for each in Result.of_map(adata, name) if _owns_its_map(each)]
    own = key in owners or (not owners and (key == DEFAULT_KEY or (earlier is None and keys.determinant in adata.obs)))
    if not own:
        whose = f"the coordinates of the result {owners[0]!r}" if owners else "what is not a result of this name"
        msg = f".obsm[{name!r}] holds {whose}, which would be replaced. {advice}"
        raise ValueError(msg)


def distortion_summary(log_det: np.ndarray, anisotropy: np.ndarray) -> dict[str, float]:
    """Summarize log determinant, up to a constant, and anisotropy of the cells, each (n,); leave out missing values.

    Returns
    -------
    `'log_det_variance'` : the variance of ln det over cells, 0 where all areas are true.
    `'det_p95_p5'` : 95th over 5th percentile of det.
    `'anisotropy'` : its median, at least 1.
    """
    low, high = np.percentile(log_det, [5, 95])
    with np.errstate(invalid="ignore"):  # of infinite values, the variance is NaN
        variance = np.nanvar(log_det, ddof=1)
    return {
        "log_det_variance": float(variance),
        "det_p95_p5": float(np.exp(high - low)),
        "anisotropy": float(np.nanmedian(anisotropy)),
    }


def frame_of(
    drawn: np.ndarray, others: np.ndarray | None = None, *, outliers: bool = False
) -> tuple[float, float, float, float]:
    """Return left, right, bottom and top of the square that pictures of a map show.

    Parameters
    ----------
    drawn
        Coordinates (n, 2) of the cells.
    others
        Places (m, 2) that are shown too.
    outliers
        Whether the frame holds all cells, also those far from the central 99 %.
    """
    drawn = drawn.astype(np.float64)
    low, high = drawn.min(0), drawn.max(0)
    inner = np.quantile(drawn, [(1 - CENTRAL) / 2, (1 + CENTRAL) / 2], axis=0)
    margin = MARGIN * np.ptp(inner, axis=0).max()
    if margin > 0 and not outliers:  # not if most cells are at one place
        low, high = np.maximum(low, inner[0] - margin), np.minimum(high, inner[1] + margin)
    if others is not None:
        low, high = np.minimum(low, others.min(0)), np.maximum(high, others.max(0))
    middle = (low + high) / 2
    side = (high - low).max() or np.abs(drawn).max() or 1.0  # a single place is as large as far from the origin
    (left, bottom), (right, top) = middle - ROOM / 2 * side, middle + ROOM / 2 * side
    return float(left), float(right), float(bottom), float(top)


def region_of(model: MapModel) -> OccupiedRegion:
    """Return the occupied region of a map; raise a `ValueError` if the map is not of two dimensions."""
    if model.region is None:
        msg = f"Areas and paths are measured on maps of two dimensions only; this map has {model.n_components}."
        raise ValueError(msg)
    return model.region


def lens_fields(lens: Lens, z: np.ndarray) -> dict[Field, Any]:
    """Collect the fields of a lens and cells at the points ``z`` (n, 2) of the true map, to write them."""
    return {Keys.lens: to_arrays(lens), Keys.bent: lens.forward(z).astype(np.float32)}


def result_fields(
    keys: Keys,
    model: MapModel,
    cells: Cells,
    *,
    params: Mapping[str, Any],
    fingerprint: Mapping[str, Fingerprint],
    history: History | None = None,
) -> dict[Field, Any]:
    """Collect the fields that each result has, save for the coordinates, to write them.

    Parameters
    ----------
    keys
        Names of the fields.
    model
        The calibrated model.
    cells
        Reconstruction error and distortion of the cells.
    params
        The arguments that shaped the result; those that are `None` are left out.
    fingerprint
        Those of the `'input'` and of the `'coordinates'`.
    history
        Curves of the training, if there was one.
    """
    from .reference import to_state

    known = {name: value for name, value in params.items() if value is not None}
    stored: dict[str, Any] = {"params": {"basis": keys.obsm} | known, "model": to_state(replace(model, lens=None))}
    stored["fingerprint"] = {part: to_arrays(of_part) for part, of_part in fingerprint.items()}
    if history is not None:
        stored["params"] |= {"interrupted": history.interrupted, "kept_at": history.kept_at}
        stored["history"] = {name: np.array(values) for name, values in history.curves.items()}
    return {
        Keys.model: stored,
        Keys.determinant: model.relative_determinant(cells.log_det),
        Keys.anisotropy: cells.anisotropy,
        Keys.error: cells.error,
    }


def _fingerprint(entry: Mapping[str, Any], part: str, of: str) -> Fingerprint | None:
    """Read a fingerprint that an entry of `uns` holds, if it holds any; raise a `ValueError` if it is damaged."""
    stored = entry.get("fingerprint")
    if stored is None:
        return None
    try:
        return from_arrays(Fingerprint, stored[part], {})
    except (LookupError, TypeError, ValueError) as error:
        msg = f"The stored fingerprint of {of} is damaged: {error}."
        raise ValueError(msg) from error


def _advice(adata: AnnData, key: str) -> str:
    """Say what to do where there is no result of this name."""
    if Keys(key, "").determinant in adata.obs:
        return "Its columns are in .obs without the model: `anndata.concat` keeps it with uns_merge='same'."
    obsm = next((name for name in (key, f"X_{key}") if name in adata.obsm), None)
    if obsm is None or adata.obsm[obsm].shape[1] > 3:  # such as components, which are no map
        run = "Run `scgeoae.tl.geometric_ae` or `scgeoae.tl.fit_decoder` first"
        return f"{run}, or pass key, the name of one of them." if Result.names(adata) else f"{run}."
    if results := Result.of_map(adata, obsm):
        return f"Pass key={results[0].keys.key!r} for the map in .obsm[{obsm!r}]."
    decoder = Keys.decoding(obsm).key
    return f"Run `scgeoae.tl.fit_decoder` for the map in .obsm[{obsm!r}] first, and pass key={decoder!r}."


def _owns_its_map(result: Result) -> bool:
    """Whether the coordinates were written with the result; also where the model is damaged."""
    try:
        return result.mapped or not result.model.made_elsewhere
    except ValueError:
        return True


def _is_result(value: object) -> bool:
    params = value.get("params") if isinstance(value, dict) and "model" in value else None
    return isinstance(params, dict) and "basis" in params
