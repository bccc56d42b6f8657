"""Files and contents of `uns` that mean harm: only the documented errors, no code is run, memory is bounded.

A longer run: ``HYPOTHESIS_EXAMPLES=5000 pytest tests/hard_use/test_hostile.py``.
"""

from __future__ import annotations

import functools
import json
import os
import struct
import sys
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scanpy as sc
import torch
from hard_use.tools import cells, frozen, train
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

import scgeoae
from scgeoae import get, pl, tl

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

pytestmark = pytest.mark.slow

N_EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "60"))
MEMORY = 50 * 2**20
"""Bytes of Python and numpy that reading a model of 5 KB may take."""

bounded = settings(
    max_examples=N_EXAMPLES, deadline=None, derandomize=N_EXAMPLES <= 60, suppress_health_check=list(HealthCheck)
)


class Watch:
    """Notes what Python does that would run code of a file, while it is switched on."""

    events = frozenset({"exec", "compile", "marshal.loads", "pickle.find_class", "os.system", "subprocess.Popen"})

    def __init__(self) -> None:
        self.on, self.seen = False, set()
        sys.addaudithook(self._note)

    def _note(self, event: str, _: object) -> None:
        if self.on and event in self.events:
            self.seen.add(event)


@functools.cache
def watch() -> Watch:
    return Watch()


@functools.cache
def mapped() -> AnnData:
    adata = cells()
    adata.layers["velocity"] = np.ones(adata.shape)
    train(adata)
    tl.cluster_areas(adata, "kind")
    return adata


@functools.cache
def content() -> bytes:
    """With all that a file may hold: a projection, a novelty, labels."""
    adata = cells()
    sc.pp.pca(adata, n_comps=5)
    train(adata, use_rep="X_pca")
    with TemporaryDirectory() as folder:
        scgeoae.write_model(adata, Path(folder) / "model", obs="kind")
        scgeoae.read_model(Path(folder) / "model")  # compiles the annotations of our own classes, once
        return (Path(folder) / "model").read_bytes()


def header_length() -> int:
    return struct.unpack("<Q", content()[:8])[0]


@functools.cache
def parts() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors and metadata."""
    header = json.loads(content()[8 : 8 + header_length()])
    return load(content()), json.loads(header["__metadata__"]["scgeoae"])


def test_the_file_holds_all_that_a_file_may_hold() -> None:
    arrays, others = parts()
    assert {"labels/0/counts", "input/projection/loadings", "frame/region/mask"} <= arrays.keys()
    assert {"labels/0/name", "input/novelty/threshold"} <= others.keys()


def read(content: bytes) -> None:
    """Read a file of this content: a model that can be used, or a `ValueError`; and neither takes much memory."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        path.write_bytes(content)
        tracemalloc.start()
        watch().on = True
        try:
            model = scgeoae.read_model(path)
        except ValueError:
            return
        finally:
            watch().on = False
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < MEMORY
            assert not watch().seen
        with torch.no_grad():
            assert model.autoencoder(torch.zeros(1, model.n_features)).shape == (1, model.n_features)


@bounded
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=20))
def test_bytes_of_a_file(changes: list[tuple[float, int]]) -> None:
    """Anywhere: in the header, in the numbers."""
    hostile = bytearray(content())
    for place, byte in changes:
        hostile[int(place * len(hostile))] = byte
    read(bytes(hostile))


@bounded
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=5))
def test_bytes_of_the_header(changes: list[tuple[float, int]]) -> None:
    hostile = bytearray(content())
    for place, byte in changes:
        hostile[8 + int(place * header_length())] = byte
    read(bytes(hostile))


@bounded
@given(st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 20_000)), st.floats(0, 1))
def test_lengths(length: int, kept: float) -> None:
    """Of the header, as it is declared; and of the file."""
    read(struct.pack("<Q", length) + content()[8 : int(kept * len(content()))])


@bounded
@given(st.binary(max_size=2_000))
def test_any_bytes(hostile: bytes) -> None:
    read(hostile)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
PATHS = [
    "format",
    "frame",
    "frame/unit",
    "frame/region",
    "frame/region/extent",
    "input",
    "input/features",
    "input/projection",
    "input/projection/genes",
    "input/novelty",
    "input/novelty/threshold",
    "labels",
    "labels/0",
    "labels/0/categories",
    "labels/0/counts",
    "labels/0/name",
    "weights",
    "a/b/c",
    "",
]


@bounded
@given(st.data())
def test_metadata_of_other_types(data: st.DataObject) -> None:
    arrays, others = parts()
    names = st.sampled_from([*others, *PATHS]) | st.text(max_size=10)
    read(
        save(arrays, {"scgeoae": json.dumps(others | data.draw(st.dictionaries(names, JSON, min_size=1, max_size=3)))})
    )


@bounded
@given(JSON)
def test_metadata_of_any_kind(value: Any) -> None:
    read(save(parts()[0], {"scgeoae": json.dumps(value)}))


ARRAYS = st.sampled_from(
    [
        np.zeros(0, np.float32),
        np.zeros((), np.float32),
        np.ones(6, np.float32),
        np.full(6, np.nan, np.float32),
        np.full((8, 8), 3e38, np.float32),
        np.ones((8, 6), np.float16),
        np.ones((2, 8), np.int64),
        np.ones((1, 1, 1), bool),
        np.array([2**62, 2**62]),
        np.array([-1, 8]),
        np.ones(100_000, np.int64),
    ]
)


@bounded
@given(st.data())
def test_tensors_of_other_kinds(data: st.DataObject) -> None:
    arrays, others = parts()
    names = st.sampled_from([*arrays, *others, *PATHS[:-1]])
    gone = data.draw(st.sets(st.sampled_from([*arrays]), max_size=1))
    hostile = {name: value for name, value in arrays.items() if name not in gone}
    read(save(hostile | data.draw(st.dictionaries(names, ARRAYS, max_size=3)), {"scgeoae": json.dumps(others)}))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all entries of nested dictionaries and lists."""
    if not isinstance(value, dict | list):
        return [path]
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    return [path, *(place for name, entry in entries for place in places(entry, (*path, name)))]


CALLS: list[Callable[[AnnData], Any]] = [
    get.model,
    get.metric,
    get.coordinates,
    lambda adata: get.nonlinearity(adata, radius=1.0),
    lambda adata: get.decode(adata, np.zeros((2, 2))),
    lambda adata: tl.cluster_areas(adata, "kind"),
    lambda adata: tl.cluster_distances(adata, "kind"),
    lambda adata: get.geodesic(adata, *adata.obs_names[:2], region="anywhere"),
    tl.velocity,
    lambda adata: scgeoae.metrics.embedding_quality(adata, ["geoae"], use_rep="X", k=3),
    lambda adata: tl.map_cells(adata[:3].copy(), adata),
    train,
]
DRAWN: list[Callable[[AnnData], Any]] = [
    lambda adata: pl.indicatrix(adata, show=False),
    lambda adata: pl.det_heatmap(adata, field=True, show=False),
    lambda adata: pl.history(adata, show=False),
]
OBJECTS = st.sampled_from([{}, {"weights": {}}, [], b"bytes", object, 10**30, -1, float("nan"), "text"])


def damage(stored: dict[str, Any], data: st.DataObject, values: st.SearchStrategy, spared: str = "") -> None:
    """Take away or replace entries, but one that is spared."""
    for _ in range(data.draw(st.integers(1, 3))):
        left = [place for place in places(stored) if place[:1] not in {(), (spared,)}]
        if not left:
            return
        *parents, last = data.draw(st.sampled_from(left))
        owner = functools.reduce(lambda entry, name: entry[name], parents, stored)
        if data.draw(st.booleans()):
            del owner[last]
        else:
            owner[last] = data.draw(values)


def damage_result(adata: AnnData, data: st.DataObject) -> None:
    """The stored model and history; `params` are in the table of odd inputs."""
    damage(adata.uns["geoae"], data, st.one_of(JSON, ARRAYS, OBJECTS), spared="params")


@bounded
@given(st.data())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_contents_of_uns(data: st.DataObject) -> None:
    adata = mapped().copy()
    damage_result(adata, data)
    call = data.draw(st.sampled_from(CALLS))
    before = frozen(adata)
    try:
        call(adata)
    except (ValueError, KeyError, TypeError):
        assert frozen(adata) == before


@settings(bounded, max_examples=N_EXAMPLES // 6)
@given(st.data())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_contents_of_uns_when_drawn(data: st.DataObject) -> None:
    """What is drawn can be shown; and plots leave all as it is."""
    from matplotlib import pyplot as plt

    adata = mapped().copy()
    damage_result(adata, data)
    draw = data.draw(st.sampled_from(DRAWN))
    before = frozen(adata)
    try:
        axes = draw(adata)
    except (ValueError, KeyError, TypeError):
        axes = None
    assert frozen(adata) == before
    for ax in np.atleast_1d(axes) if axes is not None else ():
        ax.figure.canvas.draw()
        assert np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all()
        assert ax.has_data()
    plt.close("all")
