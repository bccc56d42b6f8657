"""Shortest paths on the surface of the decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import real_array, whole_number
from .._lookup import cells_named, groups_of
from ..core.geodesic import Geodesic, joined
from ..core.geodesic import geodesic as shortest_path
from ..fields import DEFAULT_KEY
from ..models import opened
from ..result import region_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from ..reference import MapModel
    from ..result import Result

REGIONS = ("occupied", "anywhere")


def geodesic(
    adata: AnnData | MapModel,
    start: str | Sequence[float] | np.ndarray,
    end: str | Sequence[float] | np.ndarray,
    *,
    n_points: int = 50,
    key: str = DEFAULT_KEY,
    groupby: str | None = None,
    region: str = "occupied",
) -> Geodesic:
    """Find the shortest path between two places of the map, measured in the data.

    A straight line on the map may cross places where there are no cells, and where the map is distorted it is not the
    shortest way. This path is the shortest on the decoder's surface. By default it stays where cells are, so that its
    points decode to profiles that cells could have: pass them to :func:`decode`.

    Parameters
    ----------
    adata
        Annotated data matrix with a two-dimensional result, or a model (:func:`scgeoae.read_model`).
    start, end
        A point of the map (two coordinates), or a name. Without `groupby`, a name is that of a cell. With `groupby`, it
        is that of a group, and stands for its medoid on the map: the cell with the smallest sum of distances to the
        others of the group, among those in the occupied region. A model has no names. An end off the region, such as an
        outlier, is joined to the nearest place in it by a straight piece, which counts as off the data; two ends that
        are nearer to each other than to the region are joined directly.
    n_points
        Points of the path, at least 2.
    key
        Name of the result.
    groupby
        Column of `obs` with the groups.
    region
        `'occupied'`: the path stays in the part of the map that cells occupy. `'anywhere'`: it may cross gaps, where
        the decoder extrapolates.

    Returns
    -------
    A named tuple:

    `points` : :class:`numpy.ndarray` (`n_points`, 2)
        Points of the map from start to end, equally spaced in the data.
    `length` : `float`
        Length in the data, in input units. At least the straight distance between the decoded ends.
    `length_off_data` : `float`
        How much of it lies off the occupied region.

    Raises
    ------
    KeyError
        If there is no such result, column, cell or group.
    ValueError
        If the map is not of two dimensions, the ends lie in, or are joined to, different pieces of the occupied region,
        or `n_points` or `region` is invalid.
    TypeError
        If `adata` is neither an AnnData nor a model, or a model is asked for a name.

    Notes
    -----
    Dijkstra's algorithm finds the shortest sequence of steps between the tiles of the map, each with 32 neighbors. The
    energy ``sum |f(z_{i+1}) - f(z_i)|^2`` of this path is then minimized over its inner points in float64, with a
    penalty that keeps it in the region.

    Examples
    --------
    >>> import scanpy as sc, scgeoae
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> scgeoae.tl.geometric_ae(adata, n_steps=100)
    >>> path = scgeoae.get.geodesic(
    ...     adata, "CD14+ Monocyte", "Dendritic", groupby="bulk_labels", n_points=20, region="anywhere"
    ... )
    >>> scgeoae.get.decode(adata, path.points).shape
    (20, 50)
    """
    n_points = whole_number(n_points, "n_points", 2)
    if region not in REGIONS:
        msg = f"Unknown region {region!r}. Choose from {REGIONS}."
        raise ValueError(msg)
    result, model = opened(adata, key)
    occupied = region_of(model)
    ends = {"start": start, "end": end}
    places = np.array([_place(place, name, result, groupby) for name, place in ends.items()])
    surface = model.surface if result is None else result.surface
    path = shortest_path(surface, occupied, places, n_points, anywhere=region == "anywhere")
    if path is None:
        first, second = occupied.pieces(joined(occupied, places)[0])
        sizes = np.bincount(occupied.pieces(occupied.points())) / occupied.mask.sum()
        msg = (
            f"The region that cells occupy has {np.count_nonzero(sizes)} pieces: start lies in one with "
            f"{sizes[first]:.1%} of its area, end in one with {sizes[second]:.1%}. Pass region='anywhere' to cross the "
            "gap between them."
        )
        raise ValueError(msg)
    return path


def _place(place: Any, name: str, result: Result | None, groupby: str | None) -> np.ndarray:
    """Return the point (2,) that the argument ``name`` stands for."""
    if not isinstance(place, str):
        point = real_array(place, name).astype(np.float64)
        if point.shape != (2,) or not np.isfinite(point).all():
            msg = f"{name} must be a point of the map (two finite coordinates) or a name, but it is {place!r}."
            raise ValueError(msg)
        return point
    if result is None:
        msg = f"A model has no cells: {name} must be a point of the map, not {place!r}."
        raise TypeError(msg)
    if groupby is not None:
        names, codes = groups_of(result.adata, groupby)
        if place not in names:
            msg = f"There is no group {place!r} in obs[{groupby!r}]; the groups are {names.tolist()}."
            raise KeyError(msg)
        return result.medoid(codes == names.get_loc(place))
    advice = "Pass the name of one cell, or `groupby` and the name of a group."
    return result.decoder_points()[cells_named(result.adata, [place], advice)[0]]
