"""Shortest paths on the surface of the decoder, between places of a two-dimensional map."""

from __future__ import annotations

from functools import cache
from math import gcd
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.interpolate import RectBivariateSpline
from scipy.ndimage import distance_transform_edt
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from .rows import blocks

if TYPE_CHECKING:
    from .region import OccupiedRegion
    from .surface import Surface

REACH = 3
"""Tiles that a step of the graph spans at most, along either side: each tile has 32 neighbors."""

STEPS = [(i, j) for i in range(REACH + 1) for j in range(-REACH, REACH + 1) if gcd(i, j) == 1 and (i, j) > (0, 0)]
"""Rows and columns of each step; the opposite ones are left out."""

N_SEGMENTS = 64
"""Straight segments on the map that a path consists of, at least; none is longer than a tile on average."""

MOST_SEGMENTS = 1_000
"""Straight segments of the piece that joins a place to the region, at most; it may be far away."""

SUBDIVISION = 4
"""Parts of a segment whose decoded chords add up to its length."""

N_LOOKS = 32
"""Parts of a segment at whose ends it must be inside the region."""

TOLERANCE = 1e-5
"""The optimization stops where a step lowers the energy by a smaller share."""

MARGIN = 0.5
"""Distance from the border of the region, in tiles, below which a path is pushed back."""

STIFFNESS = (10.0, 100.0, 1000.0)
"""How strongly it is pushed: the next one is for paths that left the region nevertheless."""

PAD = 16
"""Tiles around the grid for which the distance from the border of the region is known."""

N_CANDIDATES = 2_000
"""Points among which a medoid is found."""


class Geodesic(NamedTuple):
    """A shortest path on the surface of the decoder.

    Attributes
    ----------
    points
        Points (n, 2) of the map from start to end, equally spaced in the data.
    length
        Length in the data, input units.
    length_off_data
        How much of it lies off the occupied region, where the decoder extrapolates.
    """

    points: np.ndarray
    length: float
    length_off_data: float


class Path(NamedTuple):
    """A path: vertices (v, 2) on the map, distance (v,) from the start to each, how much lies off the region."""

    vertices: np.ndarray
    along: np.ndarray
    length_off_data: float


def geodesic(
    surface: Surface, occupied: OccupiedRegion, ends: np.ndarray, n_points: int = 50, *, anywhere: bool = False
) -> Geodesic | None:
    """Find the shortest path between two places, `None` if none connects them.

    Parameters
    ----------
    surface
        The decoder.
    occupied
        The part of the map that cells occupy.
    ends
        Start and end (2, 2).
    n_points
        Points of the result.
    anywhere
        Whether the path may leave the occupied region.
    """
    (path,) = paths(surface, occupied, ends, np.array([[0, 1]]), anywhere=anywhere)
    if path is None:
        return None
    length = float(path.along[-1])
    points = _interpolated(np.linspace(0, length, n_points), path.along, path.vertices)
    points[0], points[-1] = ends
    return Geodesic(points, length, path.length_off_data)


def paths(
    surface: Surface,
    occupied: OccupiedRegion,
    places: np.ndarray,
    pairs: np.ndarray,
    *,
    anywhere: bool = False,
    refine: bool = True,
) -> list[Path | None]:
    """Find the shortest paths between pairs of places.

    A place off the region, such as an outlier, is joined to the center of its nearest tile by a straight piece, which
    counts as off the region. Two places that are nearer to each other than to the region are joined directly.

    Dijkstra's algorithm finds the shortest sequences of steps between tiles, which have 32 directions. A path is then
    shortened: its energy ``sum |f(z_{i+1}) - f(z_i)|^2`` is minimized over the inner points by L-BFGS, with a penalty
    that keeps them inside the region. Its length is the sum of short chords of decoded points.

    Parameters
    ----------
    surface, occupied, anywhere
        As of :func:`geodesic`.
    places
        (k, 2).
    pairs
        Numbers (p, 2) of the places that are connected.
    refine
        Whether to shorten the paths; ``tests/benchmarks/distances.py`` measures what this changes.

    Returns
    -------
    A path for each pair, `None` where none connects the two.
    """
    allowed = occupied.whole() if anywhere else occupied
    joints, away = joined(allowed, places)
    nodes, graph = _graph(surface, allowed, joints)
    starts, row = np.unique(pairs[:, 0], return_inverse=True)
    first = len(nodes) - len(places)
    distance, before = dijkstra(graph, directed=False, indices=first + starts, return_predecessors=True)
    found: list[Path | None] = []
    for number, (start, stop) in zip(row, pairs, strict=True):
        end, tile = first + stop, np.sqrt(allowed.tile_area)
        if np.linalg.norm(places[start] - places[stop]) < away[start] + away[stop]:
            direct = _straight(places[start], places[stop], tile)
            found.append(_measured(surface, occupied, direct, len(direct)))
            continue
        if not np.isfinite(distance[number, end]):
            found.append(None)
            continue
        trace = _trace(before[number], end)
        path = nodes[trace]
        if refine:
            path = _shortened(surface, allowed, path, distance[number, trace])
        out, back = (_straight(places[i], joints[i], tile) for i in (start, stop))
        fine = np.concatenate([out[:-1], _subdivided(path, SUBDIVISION), back[-2::-1]])
        found.append(_measured(surface, occupied, fine, len(out) - 1, len(back) - 1))
    return found


def joined(allowed: OccupiedRegion, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find where places (k, 2) are joined to a region, and how far away that is, (k,).

    A place in the region is its own joint; that of another place is the center of the nearest tile.
    """
    centers = allowed.points()
    away, tile = cKDTree(centers).query(places)
    inside = allowed.contains(places)
    return np.where(inside[:, None], places, centers[tile]), np.where(inside, 0, away)


def _straight(start: np.ndarray, end: np.ndarray, tile: float) -> np.ndarray:
    """Points (v, 2) that divide a straight piece as finely as paths are divided; one if it has no length."""
    length = np.linalg.norm(end - start)
    n_parts = SUBDIVISION * min(int(np.ceil(length / tile)), MOST_SEGMENTS)
    return np.linspace(start, end, n_parts + 1) if n_parts else end[None]


def _measured(surface: Surface, occupied: OccupiedRegion, points: np.ndarray, n_out: int = 0, n_back: int = 0) -> Path:
    """Measure a path along points (v, 2) by its chords, of which the first and last ones count as off the region."""
    chords = np.linalg.norm(np.diff(surface.on_surface(points), axis=0), axis=1)
    is_off = ~occupied.contains((points[1:] + points[:-1]) / 2)  # by the middle of each chord
    is_off[:n_out] = is_off[len(chords) - n_back :] = True
    return Path(points, np.concatenate([[0], np.cumsum(chords)]), float(chords[is_off].sum()))


def medoid(z: np.ndarray) -> int:
    """Find the point of ``z`` (n, d) with the smallest sum of distances to the others.

    Of more than `N_CANDIDATES` points, so many take part, evenly spaced in their order.
    """
    chosen = np.unique(np.linspace(0, len(z) - 1, N_CANDIDATES).astype(int))
    return int(chosen[cdist(z[chosen], z[chosen]).sum(1).argmin()])


def _graph(surface: Surface, allowed: OccupiedRegion, places: np.ndarray) -> tuple[np.ndarray, csr_array]:
    """Nodes (m + k, 2), the centers of the tiles and then the places, and the lengths of the steps between them.

    A step crosses tiles of the region only. Its length is that by the metric at both ends, by the trapezoidal rule, and
    at least the chord.
    """
    mask, centers = allowed.mask, allowed.points()
    number = np.full(mask.shape, -1)
    number[mask] = np.arange(len(centers))
    padded = np.pad(mask, REACH)
    steps = []
    for i, j in STEPS:
        free = np.ones_like(mask)
        for a, b in _crossed(i, j):
            free &= padded[REACH + a :, REACH + b :][: mask.shape[0], : mask.shape[1]]
        row, column = np.nonzero(free)
        steps.append(np.column_stack([number[row, column], number[row + i, column + j]]))

    nodes = np.concatenate([centers, places])
    near = cKDTree(nodes).query_ball_point(places, REACH * np.sqrt(allowed.tile_area))
    around = np.array([(len(centers) + place, node) for place, found in enumerate(near) for node in found])
    along = np.linspace(0, 1, 4 * REACH + 1)[:, None, None]
    between = nodes[around[:, 0]] * (1 - along) + nodes[around[:, 1]] * along  # (., e, 2)
    inside = np.all(allowed.contains(between.reshape(-1, 2)).reshape(between.shape[:2]), axis=0)
    steps.append(around[inside & (around[:, 0] != around[:, 1])])

    ends = np.concatenate(steps).astype(np.int32)  # (e, 2); csgraph of SciPy before 1.15 takes no other integers
    x, tangents = surface.pushforward(nodes)  # (m + k, w), (2, m + k, w)
    metric = np.einsum("anw,bnw->abn", tangents, tangents, optimize=True)  # (2, 2, m + k)
    length = np.empty(len(ends))
    for where in blocks(len(ends), 2 * x.shape[1]):
        a, b = ends[where].T
        step = (nodes[b] - nodes[a]).T  # (2, e)
        squares = (np.einsum("ae,abe,be->e", step, metric[:, :, end], step) for end in (a, b))
        at_a, at_b = (np.sqrt(np.maximum(0, square)) for square in squares)
        length[where] = np.maximum((at_a + at_b) / 2, np.linalg.norm(x[b] - x[a], axis=1))
    length = np.maximum(length, np.finfo(float).tiny)  # csgraph takes 0 for no step
    return nodes, csr_array((length, tuple(ends.T)), shape=(len(nodes), len(nodes)))


@cache
def _crossed(i: int, j: int) -> set[tuple[int, int]]:
    """Tiles that the segment from the center of the tile (0, 0) to that of (i, j) crosses or touches at a corner."""
    along, beside = np.linspace(0, 1, 121), (-1e-6, 1e-6)
    return {(round(t * i + a), round(t * j + b)) for t in along for a in beside for b in beside}


def _trace(before: np.ndarray, end: int) -> np.ndarray:
    """Numbers (v,) of the nodes on the way to a node, given the predecessor (m,) of each; negative at the start."""
    trace = [end]
    while before[trace[-1]] >= 0:
        trace.append(before[trace[-1]])
    return np.array(trace[::-1])


def _shortened(surface: Surface, allowed: OccupiedRegion, path: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Shorten a path of vertices (v, 2) at distances (v,) from the start.

    A path that leaves the region, however strongly it is pushed back, stays as it is.
    """
    on_map = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
    n_segments = max(N_SEGMENTS, int(np.ceil(on_map / np.sqrt(allowed.tile_area))))
    shorter = _interpolated(np.linspace(0, distance[-1], n_segments + 1), distance, path)
    for stiffness in STIFFNESS:
        shorter = _relaxed(surface, allowed, shorter, stiffness)
        if allowed.contains(_subdivided(shorter, N_LOOKS)).all():
            return shorter
    return path


def _relaxed(surface: Surface, allowed: OccupiedRegion, path: np.ndarray, stiffness: float) -> np.ndarray:
    """Minimize the energy of a path (n + 1, 2), as a share of what it is, and the penalty over its inner points.

    The variables are sine coefficients of the displacement, divided by their frequency, in units in which the mean
    metric of the path is the identity. The Hessian is then the identity where the metric is constant, so that a few
    dozen iterations are enough.
    """
    n, tiny, tile = len(path) - 1, np.finfo(float).tiny, np.sqrt(allowed.tile_area)
    frequency, depth_at = np.arange(1, n), _depth(allowed)
    modes = np.sin(np.pi * np.outer(frequency, frequency) / n) / frequency  # (n - 1, n - 1)
    x, tangents = surface.pushforward(path)  # (n + 1, w), (2, n + 1, w)
    energy = max(np.square(np.diff(x, axis=0)).sum(), tiny)
    metric = np.einsum("anw,bnw->ab", tangents, tangents) / (n + 1)
    metric += (1e-6 * np.trace(metric) + tiny) * np.eye(2)  # it may be singular
    units = np.linalg.cholesky(np.linalg.inv(metric)) * np.sqrt(energy * n) / np.pi  # (2, 2)
    subdivide = _subdivided(np.eye(n + 1), SUBDIVISION)  # (m, n + 1): a corner must not lie between two vertices
    push = stiffness / SUBDIVISION * tile / max(np.linalg.norm(np.diff(path, axis=0), axis=1).sum(), tile)

    def moved(variables: np.ndarray) -> np.ndarray:
        inner = path[1:-1] + modes @ variables.reshape(n - 1, 2) @ units.T
        return np.concatenate([path[:1], inner, path[-1:]])

    def objective(variables: np.ndarray) -> tuple[float, np.ndarray]:
        z = moved(variables)
        points, tangents = surface.pushforward(z)
        chords = np.diff(points, axis=0)  # (n, w)
        x, y = (subdivide @ z).T
        lacking = np.maximum(0, MARGIN - depth_at.ev(x, y))  # (m,)
        inward = np.stack([depth_at.ev(x, y, 1, 0), depth_at.ev(x, y, 0, 1)])  # (2, m)
        slope = -(tangents[:, 1:-1] * np.diff(chords, axis=0)).sum(2) / energy  # (2, n - 1)
        slope -= push * (lacking * inward) @ subdivide[:, 1:-1]
        value = np.square(chords).sum() / energy + push * np.square(lacking).sum()
        return value, 2 * (modes.T @ slope.T @ units).ravel()

    start, options = np.zeros(2 * (n - 1)), {"maxiter": 200, "ftol": TOLERANCE}
    return moved(minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x)


def _depth(allowed: OccupiedRegion) -> RectBivariateSpline:
    """Distance from the border of the region, in tiles and negative outside, as a function of the place."""
    mask, tile, extra = np.pad(allowed.mask, PAD), np.sqrt(allowed.tile_area), np.arange(1, PAD + 1)
    depth = np.where(mask, distance_transform_edt(mask) - 0.5, 0.5 - distance_transform_edt(~mask))
    x, y = (np.concatenate([c[0] - tile * extra[::-1], c, c[-1] + tile * extra]) for c in allowed.centers())
    return RectBivariateSpline(x, y, depth.T, kx=2, ky=2)


def _subdivided(path: np.ndarray, parts: int) -> np.ndarray:
    """Vertices (v, 2) of a path, and points that divide each segment into equal parts."""
    last = len(path) - 1
    return _interpolated(np.linspace(0, last, parts * last + 1), np.arange(last + 1), path)


def _interpolated(at: np.ndarray, along: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (m, 2) at the positions ``at`` (m,) of a polygon with corners (v, 2) at the positions ``along`` (v,)."""
    return np.column_stack([np.interp(at, along, coordinate) for coordinate in points.T])
