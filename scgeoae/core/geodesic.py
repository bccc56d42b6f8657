"""Shortest paths on the surface of the decoder, between places of a two-dimensional map."""

from __future__ import annotations

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
    from collections.abc import Sequence

    from .manifold import Manifold
    from .region import OccupiedRegion

REACH = 3
"""Tiles that a step of the graph spans at most, along either side: each tile has 32 neighbors."""

STEPS = [(i, j) for i in range(REACH + 1) for j in range(-REACH, REACH + 1) if gcd(i, j) == 1 and (i, j) > (0, 0)]
"""Rows and columns of each step; the opposite ones are left out."""

N_SEGMENTS = 64
"""Straight segments on the map that a path consists of."""

SUBDIVISION = 4
"""Parts of a segment whose decoded chords add up to its length."""

N_LOOKS = 32
"""Parts of a segment at whose ends it must be inside the region."""

N_TOGETHER = 8
"""Paths that are shortened by one optimization."""

TOLERANCE = 1e-5
"""The optimization stops where a step lowers the energy by a smaller share."""

MARGIN = 0.75
"""Distance from the border of the region, in tiles, below which a path is pushed back."""

STIFFNESS = (10.0, 100.0, 1000.0)
"""How strongly it is pushed: the next one is for paths that left the region nevertheless."""

PAD = 16
"""Tiles around the grid for which the distance from the region is known."""

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


def geodesics(
    manifold: Manifold,
    occupied: OccupiedRegion,
    places: np.ndarray,
    pairs: Sequence[tuple[int, int]],
    *,
    anywhere: bool = False,
    n_points: int = 50,
) -> list[Geodesic]:
    """Find the shortest paths between pairs of places.

    Dijkstra's algorithm, run once from each start, finds the shortest sequence of steps between tiles. Each path is
    then shortened: its energy ``sum |f(z_{i+1}) - f(z_i)|^2`` is minimized over the inner points by L-BFGS, with a
    penalty that keeps them inside. Its length is the sum of short chords of decoded points.

    Parameters
    ----------
    manifold
        The decoder.
    occupied
        The part of the map that cells occupy.
    places
        (k, 2), in the occupied region, or on its grid if `anywhere`.
    pairs
        Start and end of each path, as rows of ``places``; in one piece of the occupied region unless `anywhere`.
    anywhere
        Whether paths may leave the occupied region.
    n_points
        Points of each result.
    """
    allowed = occupied.whole() if anywhere else occupied
    nodes, graph = _graph(manifold, allowed, places)
    first = len(nodes) - len(places)  # the places are the last nodes
    starts = sorted({start for start, _ in pairs})
    found = dijkstra(graph, directed=False, indices=[first + start for start in starts], return_predecessors=True)
    paths = []
    for start, end in pairs:
        distance, before = (values[starts.index(start)] for values in found)  # (m + k,)
        trace = [first + end]
        while trace[-1] != first + start:
            trace.append(before[trace[-1]])
        paths.append((nodes[trace[::-1]], distance[trace[::-1]]))
    results = []
    for number in range(0, len(paths), N_TOGETHER):
        shortened = _shorten(manifold, allowed, paths[number : number + N_TOGETHER])
        results += [_measured(manifold, occupied, path, n_points) for path in shortened]
    return results


def medoid(z: np.ndarray) -> int:
    """Find the point of ``z`` (n, d) with the smallest sum of distances to the others.

    Of more than `N_CANDIDATES` points, so many take part, evenly spaced in their order.
    """
    chosen = np.unique(np.linspace(0, len(z) - 1, N_CANDIDATES).astype(int))
    return int(chosen[cdist(z[chosen], z[chosen]).sum(1).argmin()])


def _graph(manifold: Manifold, allowed: OccupiedRegion, places: np.ndarray) -> tuple[np.ndarray, csr_array]:
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

    ends = np.concatenate(steps)  # (e, 2)
    x, tangents = manifold.pushforward(nodes)  # (m + k, w), (2, m + k, w)
    metric = np.einsum("anw,bnw->abn", tangents, tangents, optimize=True)  # (2, 2, m + k)
    length = np.empty(len(ends))
    for where in blocks(len(ends), 2 * x.shape[1]):
        a, b = ends[where].T
        step = (nodes[b] - nodes[a]).T  # (2, e)
        speed_a, speed_b = (np.sqrt(np.einsum("ae,abe,be->e", step, metric[:, :, end], step)) for end in (a, b))
        length[where] = np.maximum((speed_a + speed_b) / 2, np.linalg.norm(x[b] - x[a], axis=1))
    length = np.maximum(length, np.finfo(float).tiny)  # csgraph takes 0 for no step
    return nodes, csr_array((length, tuple(ends.T)), shape=(len(nodes), len(nodes)))


def _crossed(i: int, j: int) -> set[tuple[int, int]]:
    """Tiles that the segment from the center of the tile (0, 0) to that of (i, j) crosses or touches at a corner."""
    along, beside = np.linspace(0, 1, 121), (-1e-6, 1e-6)
    return {(round(t * i + a), round(t * j + b)) for t in along for a in beside for b in beside}


def _shorten(
    manifold: Manifold, allowed: OccupiedRegion, paths: Sequence[tuple[np.ndarray, np.ndarray]]
) -> list[np.ndarray]:
    """Shorten paths, each of nodes (v, 2) and their distances (v,) from the start; return their vertices.

    A path that leaves the region however strongly it is pushed back stays as it is.
    """
    result = [nodes for nodes, _ in paths]
    z = np.empty((len(paths), N_SEGMENTS + 1, 2))
    for path, (nodes, distance) in zip(z, paths, strict=True):
        path[:] = _interpolated(np.linspace(0, distance[-1], N_SEGMENTS + 1), distance, nodes)
    outside = np.arange(len(paths))
    for stiffness in STIFFNESS:
        z[outside] = _relaxed(manifold, allowed, z[outside], stiffness)
        inside = np.array([allowed.contains(_subdivided(path, N_LOOKS)).all() for path in z[outside]])
        for number in outside[inside]:
            result[number] = z[number]
        outside = outside[~inside]
        if not len(outside):
            break
    return result


def _relaxed(manifold: Manifold, allowed: OccupiedRegion, z: np.ndarray, stiffness: float) -> np.ndarray:
    """Minimize the energies of paths ``z`` (p, n + 1, 2), each as a share of what it is, over their inner points.

    The variables are sine coefficients of the displacement, divided by their frequency, in units in which the mean
    metric of the path is the identity. The Hessian is then the identity where the metric is constant, so that a dozen
    iterations are enough.
    """
    p, n = len(z), z.shape[1] - 1
    frequency, tiny = np.arange(1, n), np.finfo(float).tiny
    modes = np.sin(np.pi * np.outer(frequency, frequency) / n) / frequency  # (n - 1, n - 1)

    def decoded(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, tangents = manifold.pushforward(z.reshape(-1, 2))
        return np.diff(x.reshape(p, n + 1, -1), axis=1), tangents.reshape(2, p, n + 1, -1)

    chords, tangents = decoded(z)  # (p, n, w), (2, p, n + 1, w)
    metric = np.einsum("apnw,bpnw->pab", tangents, tangents, optimize=True) / (n + 1)
    metric += (1e-6 * np.trace(metric, axis1=1, axis2=2)[:, None, None] + tiny) * np.eye(2)  # it may be singular
    energy = np.maximum(np.square(chords).sum((1, 2)), tiny)[:, None, None]  # (p, 1, 1)
    units = np.linalg.cholesky(np.linalg.inv(metric)) * np.sqrt(energy * n) / np.pi  # (p, 2, 2)
    tile = np.sqrt(allowed.tile_area)
    push = stiffness * tile / np.maximum(np.linalg.norm(np.diff(z, axis=1), axis=2).sum(1), tile)[:, None, None]
    depth_at = _depth(allowed)

    def moved(variables: np.ndarray) -> np.ndarray:
        path = z.copy()
        path[:, 1:-1] += modes @ (variables.reshape(p, n - 1, 2) @ units.mT)
        return path

    def objective(variables: np.ndarray) -> tuple[float, np.ndarray]:
        path = moved(variables)
        chords, tangents = decoded(path)
        x, y = np.moveaxis(path[:, 1:-1], 2, 0)  # (p, n - 1)
        lacking = np.maximum(0, MARGIN - depth_at.ev(x, y))[:, :, None]
        inward = np.stack([depth_at.ev(x, y, 1, 0), depth_at.ev(x, y, 0, 1)], axis=2)
        slope = -np.einsum("apnw,pnw->pna", tangents[:, :, 1:-1], np.diff(chords, axis=1)) / energy
        slope -= push * lacking * inward
        value = (np.square(chords) / energy).sum() + (push * np.square(lacking)).sum()
        return value, 2 * (modes.T @ slope @ units).ravel()

    start, options = np.zeros(2 * p * (n - 1)), {"maxiter": 200, "ftol": TOLERANCE}
    return moved(minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x)


def _depth(allowed: OccupiedRegion) -> RectBivariateSpline:
    """Distance from the border of the region, in tiles and negative outside, as a function of the place."""
    mask, tile, extra = np.pad(allowed.mask, PAD), np.sqrt(allowed.tile_area), np.arange(1, PAD + 1)
    depth = np.where(mask, distance_transform_edt(mask) - 0.5, 0.5 - distance_transform_edt(~mask))
    x, y = (np.concatenate([c[0] - tile * extra[::-1], c, c[-1] + tile * extra]) for c in allowed.centers())
    return RectBivariateSpline(x, y, depth.T, kx=2, ky=2)


def _measured(manifold: Manifold, occupied: OccupiedRegion, path: np.ndarray, n_points: int) -> Geodesic:
    """Measure a path of vertices (v, 2), and space points equally on it."""
    fine = _subdivided(path, SUBDIVISION)
    chords = np.linalg.norm(np.diff(manifold.on_surface(fine), axis=0), axis=1)
    along = np.concatenate([[0], np.cumsum(chords)])
    points = _interpolated(np.linspace(0, along[-1], n_points), along, fine)
    points[0], points[-1] = path[0], path[-1]
    off = ~occupied.contains((fine[1:] + fine[:-1]) / 2)
    return Geodesic(points, float(along[-1]), float(chords[off].sum()))


def _subdivided(path: np.ndarray, parts: int) -> np.ndarray:
    """Vertices (v, 2) of a path, and points that divide each segment into equal parts."""
    last = len(path) - 1
    return _interpolated(np.linspace(0, last, parts * last + 1), np.arange(last + 1), path)


def _interpolated(at: np.ndarray, along: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (m, 2) at the positions ``at`` (m,) of a polygon with corners (v, 2) at the positions ``along`` (v,)."""
    return np.column_stack([np.interp(at, along, coordinate) for coordinate in points.T])
