"""A result in an AnnData: the names of its fields, how it is found and checked, read and written."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from ._checks import check_adata, in_memory, real_array

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from anndata import AnnData

    from .core.evaluation import Cells
    from .core.manifold import Manifold
    from .core.training import History
    from .reference import MapModel

DEFAULT_KEY = "geoae"
SCVELO_PARAMS = "velocity_params"
"""Entry of `uns` in which scvelo lists, as ``embeddings``, the maps that have velocities; it recomputes others."""

PCA_KEYS = ("X_pca", "pca")
"""Where in `obsm` `sc.pp.pca` writes the components by default: as scanpy 1, and as its preset ``ScanpyV2Preview``."""

SCANPY_TOOLS = ("umap", "tsne", "pca", "diffmap", "draw_graph")

TERMS = ("reconstruction", "regularizer")
"""Terms of the loss. The history has a curve for each, and one of the held-out cells, named ``validation_…``."""

COLORED, SMALLEST_LIMIT = 99, 2.0
"""Share of the cells, in percent, that the limits of the colors of the determinant hold, and the smallest limit, with
which an even map looks even."""


class ResultKeys(NamedTuple):
    """The names of the fields of one result.

    `uns` holds parameters, model and history; `obsm` the coordinates; the others are columns of `obs`.
    """

    uns: str
    obsm: str

    @classmethod
    def named(cls, key_added: str | None) -> ResultKeys:
        """Name the fields of a new result: `"geoae"` and `"X_geoae"`, or ``key_added`` verbatim for both."""
        if key_added is None:
            return cls(DEFAULT_KEY, f"X_{DEFAULT_KEY}")
        return cls(_check_key(key_added), key_added)

    @classmethod
    def decoding(cls, obsm: str, key_added: str | None) -> ResultKeys:
        """Name the fields of a decoder of this `obsm`: `"geoae_umap"` for `"X_umap"`, or ``key_added`` verbatim."""
        key = f"{DEFAULT_KEY}_{obsm.removeprefix('X_')}" if key_added is None else key_added
        return cls(_check_key(key), obsm)

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
        """Column that marks the mapped cells that the reference does not explain."""
        return f"{self.uns}_outside"

    @property
    def novelty(self) -> str:
        """Column of the novelty of mapped cells."""
        return f"{self.uns}_novelty"

    @property
    def novel(self) -> str:
        """Column that marks the mapped cells whose novelty is beyond that of the reference's cells."""
        return f"{self.uns}_novel"

    @property
    def displacement(self) -> str:
        """Column of how far the maps of an ensemble place the cells from each other."""
        return f"{self.uns}_displacement"

    @property
    def agreement(self) -> str:
        """Column of the share of neighbors that all maps of an ensemble have in common."""
        return f"{self.uns}_agreement"

    @property
    def log_det_std(self) -> str:
        """Column of the standard deviation of ln det over an ensemble."""
        return f"{self.uns}_log_det_std"

    @property
    def direction_std(self) -> str:
        """Column of the angular deviation of the direction of stretching over an ensemble."""
        return f"{self.uns}_direction_std"

    @property
    def ensemble(self) -> tuple[str, str]:
        """Entries of `uns` and `obsm` with an ensemble and its maps."""
        return f"{self.uns}_ensemble", f"{self.obsm}_ensemble"

    @property
    def velocity(self) -> str:
        """Name in `obsm` of the velocities on the map, as scvelo looks for them."""
        return f"velocity_{self.obsm.removeprefix('X_')}"

    @property
    def velocity_normal(self) -> str:
        """Column of the share of the velocity that is normal to the surface."""
        return f"{self.uns}_velocity_normal"

    def drop_former(self, adata: AnnData, written: Collection[str], *, moved: bool) -> None:
        """Remove what described the former result: columns that are not ``written``, tables, and the ensemble.

        If the cells have ``moved``, also their velocities and the verdict on the map.
        """
        columns = [self.outside, self.novelty, self.novel]
        columns += [self.displacement, self.agreement, self.log_det_std, self.direction_std]
        entry, maps = self.ensemble
        entries, arrays = [areas_key(self.uns), distances_key(self.uns), entry], [maps]
        if moved:
            verdict = VerdictKeys.of_map(self.obsm)
            columns += [self.velocity_normal, verdict.verdict, verdict.kept, verdict.chance]
            entries += [verdict.verdict, verdict.colors]
            arrays += [self.velocity]
        for name in set(columns) - set(written):
            if name in adata.obs:
                del adata.obs[name]
        for name in entries:
            adata.uns.pop(name, None)
        for name in arrays:
            adata.obsm.pop(name, None)


class VerdictKeys(NamedTuple):
    """The names of the fields of the verdict on a map: columns of `obs`, and entries of `uns`."""

    verdict: str
    kept: str
    chance: str
    colors: str

    @classmethod
    def of_map(cls, obsm: str) -> VerdictKeys:
        """Name the fields: `"umap_verdict"` and so on for `"X_umap"`."""
        name = obsm.removeprefix("X_")
        return cls(f"{name}_verdict", f"{name}_kept", f"{name}_chance", f"{name}_verdict_colors")


def areas_key(key: str) -> str:
    """Name the entry of `uns` with the areas of groups of cells on the map of this result."""
    return f"{key}_areas"


def distances_key(key: str) -> str:
    """Name the entry of `uns` with the distances between groups of cells on the map of this result."""
    return f"{key}_distances"


def alpha_path_key(key_added: str | None) -> str:
    """Name the entry of `uns` with the measures by alpha: `"geoae_alpha_path"`, or ``key_added`` verbatim."""
    return f"{DEFAULT_KEY}_alpha_path" if key_added is None else _check_key(key_added)


def _check_key(key_added: str) -> str:
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


class Result:
    """A stored result.

    The model and the manifold are built at first use and kept as long as this object; coordinates and columns are read
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
        self.keys = ResultKeys(key, str(self.stored["params"]["basis"]))

    @classmethod
    def names(cls, adata: AnnData) -> list[str]:
        """Return the names of all results in an AnnData."""
        return [key for key, value in adata.uns.items() if _is_result(value)]

    @classmethod
    def of_map(cls, adata: AnnData, obsm: str) -> list[Result]:
        """Find the results whose coordinates are this `obsm`: those under a default name first, then by name."""
        usual = (DEFAULT_KEY, ResultKeys.decoding(obsm, None).uns)
        results = [cls(adata, key) for key in sorted(cls.names(adata), key=lambda name: (name not in usual, name))]
        return [result for result in results if result.keys.obsm == obsm]

    @property
    def params(self) -> Mapping[str, Any]:
        """The arguments that shaped the result."""
        return self.stored["params"]

    @cached_property
    def model(self) -> MapModel:
        """The model, on the host; raises a `ValueError` if it is damaged."""
        from .reference import from_state  # torch takes seconds to import, and columns do not need it

        return from_state(self.stored["model"])

    @cached_property
    def manifold(self) -> Manifold:
        """The decoder as a surface."""
        return self.model.surface

    @property
    def history(self) -> Mapping[str, np.ndarray]:
        """The curves of the training; raises a `KeyError` if there are none, as with mapped cells."""
        expected = {"step", *TERMS, *(f"validation_{term}" for term in TERMS)}
        curves = self.stored.get("history")
        if not isinstance(curves, Mapping) or not expected <= curves.keys():
            msg = (
                f"Did not find in .uns[{self.keys.uns!r}] a history with the curves {sorted(expected)}: it is written "
                "by the training, not where cells are mapped."
            )
            raise KeyError(msg)
        return curves

    def coordinates(self, points: np.ndarray | None = None) -> np.ndarray:
        """Read the cells' map coordinates (n, d), or check other points (m, d) of the map; both finite."""
        name = self.keys.obsm
        if name not in self.adata.obsm:
            msg = (
                f"Did not find .obsm[{name!r}], the coordinates of the result {self.keys.uns!r}; .obsm holds "
                f"{list(self.adata.obsm)}."
            )
            raise KeyError(msg)
        if points is not None:
            return check_points(points, self.adata.obsm[name].shape[1])
        return check_points(self.adata.obsm[name], None, f"obsm[{name!r}]")

    def decoder_points(self, points: np.ndarray | None = None) -> np.ndarray:
        """Return coordinates as :meth:`coordinates` does, after checking that the decoder takes their dimension."""
        return check_points(self.coordinates(points), self.model.n_components)

    def relative_determinant(self, points: np.ndarray) -> np.ndarray:
        """Compute the determinant (m,) at map points (m, d), relative to its geometric mean over the training cells."""
        return self.model.relative_determinant(self.manifold.distortion(points)[0])

    def log_det_limit(self) -> float:
        """Return the limit of ``|ln det|`` for colors: the 99th percentile of the finite values, but at least ln 2."""
        with np.errstate(divide="ignore", invalid="ignore"):
            sizes = np.abs(np.log(self.numbers(self.keys.determinant)))
        finite = sizes[np.isfinite(sizes)]
        return float(max(np.percentile(finite, COLORED) if len(finite) else 0, np.log(SMALLEST_LIMIT)))

    def column(self, name: str) -> pd.Series:
        """Read one of the columns of `obs` that belong to the result."""
        return column(self.adata, name, "Run `scgeoae.tl.geometric_ae` or `scgeoae.tl.map_cells` first.")

    def numbers(self, name: str) -> np.ndarray:
        """Read one of these columns as numbers (n,), float64."""
        values = self.column(name)
        if not holds_numbers(values):
            found = "str" if pd.api.types.is_string_dtype(values) else values.dtype
            msg = f"obs[{name!r}] must hold numbers, but it is of type {found}."
            raise TypeError(msg)
        return values.to_numpy(dtype=np.float64, na_value=np.nan)

    def check_trained(self) -> None:
        """Raise a `ValueError` if the map was made elsewhere, or the cells were mapped: then nothing was trained."""
        key = self.keys.uns
        if not self.model.has_encoder:
            msg = (
                f"The result {key!r} is a decoder of obsm[{self.keys.obsm!r}], a map that was made elsewhere: training "
                "the decoder again does not move it. Choose a result of `scgeoae.tl.geometric_ae`."
            )
            raise ValueError(msg)
        if self.params.get("mapped", False):
            msg = f"The cells of the result {key!r} were mapped, nothing was trained on them. Pass the reference."
            raise ValueError(msg)

    def ensemble_maps(self) -> list[np.ndarray]:
        """Read the aligned maps (n, d) of the ensemble, or raise an error that says what to run or to choose."""
        entry, name = self.keys.ensemble
        if entry not in self.adata.uns or name not in self.adata.obsm:
            self.check_trained()
            msg = (
                f"Did not find .uns[{entry!r}] and .obsm[{name!r}], an ensemble of the result {self.keys.uns!r}. Run "
                f"`scgeoae.tl.ensemble(adata, key={self.keys.uns!r})` first."
            )
            raise KeyError(msg)
        n_models = int(self.adata.uns[entry]["params"]["n_models"])
        return np.split(np.asarray(self.adata.obsm[name]), n_models, axis=1)

    def expected_metric(self, points: np.ndarray) -> np.ndarray:
        """Average the pullback metric (m, d, d) at points (m, d) over the map and the kept models of its ensemble."""
        from .reference import from_state

        entry, _ = self.keys.ensemble
        models = self.adata.uns.get(entry, {}).get("models")
        if models is None:
            self.check_trained()
            msg = (
                f"Did not find models in .uns[{entry!r}]. Run "
                f"`scgeoae.tl.ensemble(adata, key={self.keys.uns!r}, keep_models=True)` first."
            )
            raise KeyError(msg)
        others = (from_state(state).surface for state in models.values())
        return np.mean([surface.metric(points) for surface in (self.manifold, *others)], axis=0)

    def distortion(self) -> dict[str, float]:
        """Summarize the distortion at the cells; see :func:`distortion_summary`."""
        return distortion_summary(np.log(self.numbers(self.keys.determinant)), self.numbers(self.keys.anisotropy))

    def reconstruction(self) -> float:
        """Compute the share of the variance of the cells that the map leaves unexplained."""
        return float(self.column(self.keys.error).pow(2).mean() / self.model.scale**2)

    @staticmethod
    def write(
        adata: AnnData,
        keys: ResultKeys,
        model: MapModel,
        cells: Cells,
        *,
        params: Mapping[str, Any],
        history: History | None = None,
        coordinates: bool = True,
        columns: Mapping[str, Any] | None = None,
        uns: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Write all fields of a result, or none if an exception occurs; drop what described the former one.

        Parameters
        ----------
        adata
            Annotated data matrix, changed in place.
        keys
            Names of the fields.
        model
            The calibrated model.
        cells
            Coordinates, reconstruction error and distortion of the cells.
        params
            The arguments that shaped the result; those that are `None` are left out.
        history
            Curves of the training, if there was one.
        coordinates
            Whether to write the coordinates. `False` for the decoder of a map that was made elsewhere.
        columns, uns
            Further columns of `obs` and entries of `uns`.

        Returns
        -------
        The fields with their meaning, for the log.
        """
        from .reference import to_state

        columns, uns = columns or {}, uns or {}
        with all_or_none(adata):
            if coordinates:
                adata.obsm[keys.obsm] = cells.z
            adata.obs[keys.determinant] = model.relative_determinant(cells.log_det)
            adata.obs[keys.anisotropy] = cells.anisotropy
            adata.obs[keys.error] = cells.error
            for name, values in columns.items():
                adata.obs[name] = values
            keys.drop_former(adata, columns, moved=coordinates)
            known = {name: value for name, value in params.items() if value is not None}
            adata.uns[keys.uns] = {"params": {"basis": keys.obsm} | known, "model": to_state(model)}
            if history is not None:
                adata.uns[keys.uns]["params"] |= {"interrupted": history.interrupted, "kept_at": history.kept_at}
                adata.uns[keys.uns]["history"] = _curves(history)
            adata.uns.update(uns)
        return [
            *([f"{keys.obsm!r}, map coordinates (adata.obsm)"] if coordinates else []),
            f"{keys.determinant!r}, relative determinant (adata.obs)",
            f"{keys.anisotropy!r}, anisotropy (adata.obs)",
            f"{keys.error!r}, reconstruction error (adata.obs)",
            *(f"{name!r} (adata.obs)" for name in columns),
            f"{keys.uns!r}, parameters{' and model' if history is None else ', model and history'} (adata.uns)",
        ]


def _advice(adata: AnnData, key: str) -> str:
    """Say what to do where there is no result of this name."""
    if f"{key}_det" in adata.obs:
        return "Its columns are in .obs without the model: `anndata.concat` keeps it with uns_merge='same'."
    obsm = next((name for name in (key, f"X_{key}") if name in adata.obsm), None)
    if obsm is None or adata.obsm[obsm].shape[1] > 3:  # such as components, which are no map
        return "Run `scgeoae.tl.geometric_ae` or `scgeoae.tl.fit_decoder` first."
    if results := Result.of_map(adata, obsm):
        return f"Pass key={results[0].keys.uns!r} for the map in .obsm[{obsm!r}]."
    decoder = ResultKeys.decoding(obsm, None).uns
    return f"Run `scgeoae.tl.fit_decoder` for the map in .obsm[{obsm!r}] first, and pass key={decoder!r}."


def _is_result(value: object) -> bool:
    params = value.get("params") if isinstance(value, dict) and "model" in value else None
    return isinstance(params, dict) and "basis" in params


def distortion_summary(log_det: np.ndarray, anisotropy: np.ndarray) -> dict[str, float]:
    """Summarize how uneven a map is.

    Parameters
    ----------
    log_det, anisotropy
        Log determinant, up to a constant, and anisotropy of the cells, each (n,).

    Returns
    -------
    `'log_det_variance'` : the variance of ln det over cells, 0 where all areas are true.
    `'det_p95_p5'` : 95th over 5th percentile of det.
    `'anisotropy'` : its median, at least 1.
    """
    low, high = np.percentile(log_det, [5, 95])
    return {
        "log_det_variance": float(pd.Series(log_det).var()),
        "det_p95_p5": float(np.exp(high - low)),
        "anisotropy": float(pd.Series(anisotropy).median()),
    }


def _curves(history: History) -> dict[str, np.ndarray]:
    curves = {name: values for name, values in asdict(history).items() if isinstance(values, list)}
    complete = min(len(values) for values in curves.values())  # an interruption may cut the last entry short
    return {name: np.array(values[:complete]) for name, values in curves.items()}


@contextmanager
def all_or_none(adata: AnnData) -> Iterator[None]:
    """Restore the fields of `adata` if an exception, such as a KeyboardInterrupt, occurs within."""
    obs, obsm, uns = adata.obs.copy(deep=False), dict(adata.obsm), dict(adata.uns)
    try:
        yield
    except BaseException:
        adata.obs, adata.obsm, adata.uns = obs, obsm, uns
        raise


def embedding_key(adata: AnnData, basis: str) -> str:
    """Find the name in `obsm` of ``basis``, as it is or after ``X_``, as :func:`scanpy.pl.embedding` does.

    Raises
    ------
    KeyError
        If there is none; names what is there.
    """
    check_adata(adata)
    for name in (basis, f"X_{basis}"):
        if name in adata.obsm:
            return name
    tool = basis.removeprefix("X_")
    advice = f"Run `sc.tl.{tool}` first." if tool in SCANPY_TOOLS else "Choose one of them."
    msg = f"Did not find .obsm[{basis!r}] or .obsm['X_{basis}']; .obsm holds {list(adata.obsm) or 'nothing'}. {advice}"
    raise KeyError(msg)


def column(adata: AnnData, name: str, advice: str = "") -> pd.Series:
    """Read a column of `obs`, or raise a `KeyError` that names those that are there."""
    if not isinstance(name, str):
        msg = f"Pass the name of one column of .obs, not {name!r}."
        raise TypeError(msg)
    if name not in adata.obs:
        msg = f"Did not find .obs[{name!r}]; .obs holds {list(adata.obs.columns) or 'nothing'}. {advice}".rstrip()
        raise KeyError(msg)
    return in_memory(adata.obs, [name])[name]


def holds_numbers(values: pd.Series) -> bool:
    """Whether the values of a column are numbers; others, such as texts and booleans, are names of groups."""
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def stored_table(adata: AnnData, name: str, columns: Collection[str], command: str) -> pd.DataFrame:
    """Read the table ``uns[name]``, or raise a `KeyError` that says which command writes it."""
    stored = adata.uns.get(name)
    if not set(columns) <= set(getattr(stored, "columns", ())):
        msg = f"Did not find in .uns[{name!r}] a table with the columns {sorted(columns)}. Run `{command}` first."
        raise KeyError(msg)
    return stored


def check_points(points: Any, n_components: int | None, name: str = "points") -> np.ndarray:
    """Return points (m, d) as an array, after checking that they are finite and have this dimension, if it is given."""
    points = real_array(points, name)
    if points.ndim != 2 or n_components not in {None, points.shape[1]} or not np.isfinite(points).all():
        shape = f"(m, {n_components or 'd'}), a matrix with a row for each point"
        msg = f"{name} must be finite and of shape {shape}; the shape is {points.shape}."
        raise ValueError(msg)
    return points


def check_dimensions(dimensions: tuple[int, int], n_components: int) -> None:
    """Raise a `ValueError` unless these are two different dimensions of the map."""
    if len(set(dimensions)) != 2 or not all(0 <= number < n_components for number in dimensions):
        msg = f"dimensions must be two different numbers below {n_components}; they are {dimensions}."
        raise ValueError(msg)
