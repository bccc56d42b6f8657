"""The program of the page without a browser: the decoder, the cells and the points."""

from __future__ import annotations

import csv
from io import StringIO
from typing import Any

import numpy as np
import pytest
import scanpy as sc
from helpers import QUICK

import scgeoae

AT_POINTS = """
    const at = POINTS.map(([x, y]) => {
        const { metric, axes, angle, anisotropy, determinant, features } = decoder.geometry([x, y]);
        const occupied = region.contains(x, y);
        return { metric, axes, angle, anisotropy, determinant, genes: Array.from(decoder.genes(features)), occupied };
    });
    result = { names: contents.genes.map(({ name }) => name), at };"""


def random_points(adata, key: str = "geoae") -> np.ndarray:
    z = scgeoae.get.coordinates(adata, key=key)
    return np.random.default_rng(0).uniform(z.min(0), z.max(0), (100, 2))


def compare(adata, node, key: str, space: str, **arguments: Any) -> None:
    """Check values and geometry at random points against Python."""
    points = random_points(adata, key)
    names, found = node(adata, AT_POINTS.replace("POINTS", str(points.tolist())), key=key, **arguments).values()
    expected = scgeoae.get.decode(adata, points, key=key, space=space)
    genes = np.array([each["genes"] for each in found])
    x = expected[:, names].X
    assert np.abs(genes - x).max() <= 1e-4 * np.abs(x).max()
    np.testing.assert_allclose(genes, x, rtol=1e-4, atol=1e-4 * np.abs(x).mean())
    metric = scgeoae.get.metric(adata, points, key=key)
    upper = metric[:, [0, 0, 1], [0, 1, 1]]
    np.testing.assert_allclose([each["metric"] for each in found], upper, rtol=1e-4, atol=1e-4 * upper.mean())
    for name, column in (("determinant", "det"), ("anisotropy", "anisotropy")):
        np.testing.assert_allclose([each[name] for each in found], expected.obs[column], rtol=1e-4)
    assert [each["occupied"] for each in found] == expected.obs["occupied"].tolist()
    for each, g in zip(found, metric, strict=True):  # the axes of the indicatrix have length 1 in the data
        directions = np.array([[np.cos(a), np.sin(a)] for a in (each["angle"], each["angle"] + np.pi / 2)])
        axes = directions * np.array(each["axes"])[:, None]
        np.testing.assert_allclose(axes @ g @ axes.T, np.eye(2), atol=1e-4)


def test_genes(decodable, node) -> None:
    compare(decodable, node, "geoae", "genes")


def test_genes_of_a_readout(decodable, node) -> None:
    scgeoae.tl.gene_readout(decodable, use_raw=True)
    compare(decodable, node, "geoae", "genes")


def test_input_features(mapped, node) -> None:
    compare(mapped, node, "geoae", "input")


def test_decoder_of_a_umap(decodable, node) -> None:
    scgeoae.tl.fit_decoder(decodable, "umap", n_steps=100, hidden_dims=(32, 32))
    compare(decodable, node, "geoae_umap", "genes")


def test_scaled_genes_without_components(pbmc, node) -> None:
    """More outputs than hidden values: the surface lies in a subspace; genes are decoded before scaling."""
    counts = pbmc.raw.to_adata()
    counts.X = counts.X.toarray()
    sc.pp.scale(counts, max_value=10)
    scgeoae.tl.geometric_ae(counts, use_rep="X", **QUICK | {"n_steps": 30})
    assert scgeoae.get.model(counts).input.projection.scaling is not None
    compare(counts, node, "geoae", "genes")
    code = "result = contents.genes.map((gene) => [gene.name, Array.from(gene.levels, (x) => fromLevel(gene, x))])"
    for name, values in node(counts, code, genes=counts.var_names[:20].tolist()):
        measured = pbmc.raw[:, name].X.toarray().ravel()
        clipped = np.clip(measured, *np.quantile(measured, [0.001, 0.999]))
        assert np.abs(values - clipped).max() <= np.ptp(clipped) / 254


def test_no_hidden_layer(pbmc, node) -> None:
    scgeoae.tl.geometric_ae(pbmc, n_steps=20, hidden_dims=())
    compare(pbmc, node, "geoae", "input")


def test_three_dimensions(pbmc, node) -> None:
    """The coordinate that is not drawn is that of the nearest cell; the drawn ones come first."""
    scgeoae.tl.geometric_ae(pbmc, n_components=3, **QUICK | {"n_steps": 30})
    z = scgeoae.get.coordinates(pbmc)
    code = """result = [cells.point(cells.x(5), cells.y(5)), cells.point(cells.x(9), cells.y(9))].map((z) => {
        const { metric, determinant, features } = decoder.geometry(z);
        return { z, metric, determinant, genes: Array.from(decoder.genes(features)) };
    });
    result = { names: contents.genes.map(({ name }) => name), at: result };"""
    names, found = node(pbmc, code, dimensions=(2, 0)).values()
    expected = scgeoae.get.decode(pbmc, z[[5, 9]])
    np.testing.assert_allclose([each["z"] for each in found], z[[5, 9]][:, [2, 0, 1]], rtol=1e-6)
    np.testing.assert_allclose([each["genes"] for each in found], expected[:, names].X, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose([each["determinant"] for each in found], expected.obs["det"], rtol=1e-4)
    metric = scgeoae.get.metric(pbmc, z[[5, 9]])
    np.testing.assert_allclose([each["metric"] for each in found], metric[:, [2, 2, 0], [2, 0, 0]], rtol=1e-4)


def test_swapped_dimensions(mapped, node) -> None:
    points = random_points(mapped)
    code = f"result = {points[:, ::-1].tolist()}.map(([x, y]) => region.contains(x, y))"
    assert node(mapped, code, dimensions=(1, 0)) == scgeoae.get.decode(mapped, points).obs["occupied"].tolist()


@pytest.mark.parametrize("fitted", [False, True], ids=["loadings", "readout"])
def test_genes_that_rise(decodable, node, fitted: bool) -> None:  # noqa: FBT001
    """The most that each gene rises per unit of the data, where to, and along another direction."""
    if fitted:
        scgeoae.tl.gene_readout(decodable)
    points = random_points(decodable)[:10]
    code = f"""const names = contents.genes.map(({{ name }}) => name);
        const at = {points.tolist()}.map((place) => {{
            const geometry = decoder.geometry(place);
            return contents.genes.map(({{ row }}) => decoder.rise(row, geometry, [1, 2]));
        }});
        result = {{ names, at }};"""
    names, at = node(decodable, code).values()
    expected = scgeoae.get.gene_gradient(decodable, points, genes=names)
    most, along = (np.array([[gene[part] for gene in place] for place in at]) for part in ("most", "along"))
    np.testing.assert_allclose(most, expected.X, rtol=1e-3, atol=1e-4 * expected.X.max())
    clear = most > 1e-2 * most.max()
    direction = np.array([[gene["direction"] for gene in place] for place in at])
    direction /= np.linalg.norm(direction, axis=2, keepdims=True)
    for i in range(2):
        difference = direction[:, :, i] - expected.layers[f"direction{i + 1}"]
        assert np.abs(difference[clear]).max() < 1e-2
    step = (
        np.array([1, 2])
        / np.sqrt(np.einsum("i,mij,j->m", [1, 2], scgeoae.get.metric(decodable, points), [1, 2]))[:, None]
    )
    before, after = (
        scgeoae.get.decode(decodable, points + sign * 1e-2 * step, space="genes")[:, names].X.astype(float)
        for sign in (-1, 1)
    )
    np.testing.assert_allclose(along, (after - before) / 2e-2, atol=1e-2 * most.max())
    assert (np.abs(along) <= most * (1 + 1e-3) + 1e-6).all()


def test_averages(decodable, node) -> None:
    """Mean and spread of decoded genes are those over the cells."""
    entries = node(decodable, "result = contents.genes.map(({ name, mean, sd }) => ({ name, mean, sd }))")
    expected = scgeoae.get.decode(decodable, scgeoae.get.coordinates(decodable), space="genes")
    x = expected[:, [each["name"] for each in entries]].X
    np.testing.assert_allclose([each["mean"] for each in entries], x.mean(0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose([each["sd"] for each in entries], x.std(0), rtol=1e-3)
    everything = expected.X.std(0)
    assert set(expected.var_names[np.argsort(-everything)[:50]]) <= {each["name"] for each in entries}


def test_selection(decodable, node) -> None:
    """Which cells lie in a shape, its area on the map and in the data, and means over it."""
    z = scgeoae.get.coordinates(decodable)
    (left, bottom), (right, top) = np.quantile(z, [0.3, 0.9], axis=0)
    shape = [[left, bottom], [right, bottom], [right, top], [left, top]]
    code = f"""await cells.decode();
        const shape = {[[float(x), float(y)] for x, y in shape]};
        const chosen = cells.inside(shape);
        const rest = chosen.map((one) => 1 - one);
        const means = contents.genes.map((gene) => measuredMeans(gene, chosen, rest));
        const decoded = Array.from(cells.decodedMeans(chosen));
        const names = contents.genes.map(({{ name }}) => name);
        result = {{ names, chosen: Array.from(chosen), area: cells.area(shape), means, decoded }};"""
    found = node(decodable, code)
    inside = ((z > [left, bottom]) & (z < [right, top])).all(1)
    assert np.array_equal(np.array(found["chosen"], dtype=bool), inside)
    region = scgeoae.get.model(decodable).region
    tiles = region.points()
    covered = ((tiles > [left, bottom]) & (tiles < [right, top])).all(1)
    assert found["area"]["map"] == pytest.approx(covered.sum() * region.tile_area)
    determinant = np.sqrt(np.linalg.det(scgeoae.get.metric(decodable, tiles)))
    assert found["area"]["data"] == pytest.approx(determinant[covered].sum() * region.tile_area, rel=1e-4)
    assert found["area"]["dataShare"] == pytest.approx(determinant[covered].sum() / determinant.sum(), rel=1e-4)
    names = found["names"]
    measured = decodable[:, names].X
    tolerance = np.ptp(measured, axis=0).max() / 254
    assert np.abs(np.array([each["first"] for each in found["means"]]) - measured[inside].mean(0)).max() < tolerance
    assert np.abs(np.array([each["second"] for each in found["means"]]) - measured[~inside].mean(0)).max() < tolerance
    clipped = np.clip(measured, *np.quantile(measured, [0.001, 0.999], axis=0))
    np.testing.assert_allclose([each["spread"] for each in found["means"]], clipped.std(0), rtol=0.01)
    decoded = scgeoae.get.decode(decodable, z[inside], space="genes")[:, names].X.mean(0)
    assert np.corrcoef(found["decoded"], decoded)[0, 1] > 0.999  # each cell counts as the tile that it lies in


def test_points(decodable, node) -> None:
    """Each visible cell colors a pixel; hidden ones do not; unchosen ones are faint and below."""
    code = """const points = new Points(cells);
        const draw = (limit) => {
            const pixels = new Uint32Array(300 * 300).fill(0xffffffff);
            points.draw(pixels, 300, 300, view, 2, 0xffffffff, limit);
            return pixels.reduce((sum, pixel) => sum + (pixel !== 0xffffffff), 0);
        };
        const [left, right, bottom, top] = cells.bounds;
        const scale = 200 / Math.max(right - left, top - bottom);
        const view = { x: (left + right) / 2, y: (bottom + top) / 2, scale };
        const codes = contents.columns[0].codes;
        points.color(codes, Uint32Array.from(contents.columns[0].colors, (color) => packedColor(color)));
        result = [draw()];
        const first = (color, i) => (i === 0 ? packedColor(color) : 0);
        points.color(codes, Uint32Array.from(contents.columns[0].colors, first));
        result.push(draw());
        points.color(codes, new Uint32Array(10));
        result.push(draw());
        points.color(codes, Uint32Array.from(contents.columns[0].colors, (color) => packedColor(color)));
        const seen = () => [...points.visible(300, 300, view, 2, 0xffffffff)];
        const all = seen();
        points.choose(cells.inside([[-1e9, -1e9], [0, -1e9], [0, 1e9], [-1e9, 1e9]]));
        result.push([all.length, all.every(({ x, y }) => x > 40 && x < 260 && y > 40 && y < 260), seen()]);
        points.choose(null);
        view.x += 1e9;
        result.push(draw(), seen().length);
        result.push([packedColor("#102030"), mixed(0xff000000, 0xffffffff, 128), disc(0.5).length]);
        result.push(unpackedColor(packedColor("#102030")));"""
    everything, one, none, seen, beside, nothing, details, color = node(decodable, code, color="bulk_labels")
    assert everything > one > none == beside == nothing == 0
    assert details == [0xFF302010, 0xFF7F7F7F, 4]
    assert color == "#102030"
    n, within, in_order = seen
    assert n == 700
    assert within
    x = np.array([each["x"] for each in in_order])
    n_left = int((scgeoae.get.coordinates(decodable)[:, 0] < 0).sum())
    assert x[700 - n_left :].max() < x[: 700 - n_left].min() + 1  # the chosen ones come last


def test_rows_of_a_file_hold_no_formulas(decodable, node) -> None:
    fields = ["a", "=1+1", "+2", "@x", "-3", 'say "hi", twice', "two\nlines", -4.5]
    row = node(decodable, f"result = csvRow({fields!r});")
    (read,) = csv.reader(StringIO(row, newline=""))
    assert read == ["a", "'=1+1", "'+2", "'@x", "'-3", 'say "hi", twice', "two\nlines", "-4.5"]


BENT = """
    const lens = new Lens(contents.lens, cells.n);
    lens.set(STRENGTH);
    const places = POINTS;
    const moved = lens.moved();
    result = {
        cells: Array.from({ length: cells.n }, (_, i) => [cells.x(i) + moved[2 * i], cells.y(i) + moved[2 * i + 1]]),
        bent: places.map((place) => lens.bend(place)),
        back: places.map((place) => lens.straighten(lens.bend(place))),
        seen: places.map((place) => lens.seen(decoder.geometry(place), place)).map((each) => ({
            metric: each.metric, determinant: each.determinant, anisotropy: each.anisotropy,
            tangents: each.tangents.map((tangent) => Array.from(tangent)) })),
        frame: lens.frame, largest: lens.most };"""


@pytest.mark.parametrize("dimensions", [(0, 1), (1, 0)])
def test_lens(dimensions, decodable, node) -> None:
    """Cells are where Python puts them; between nodes of its mesh the page interpolates, with a small error."""

    """Cells are where Python puts them; between the nodes of its mesh the page interpolates, with a small error."""
    scgeoae.tl.lens(decodable, 0.5)
    model = scgeoae.get.model(decodable)
    order = list(dimensions)
    z = scgeoae.get.coordinates(decodable)[::20].astype(np.float64)
    code = BENT.replace("STRENGTH", "0.5").replace("POINTS", str(z[:, order].tolist()))
    found = node(decodable, code, dimensions=dimensions)
    bent = decodable.obsm["X_geoae_lens"][:, order]
    size = np.ptp(bent, axis=0).max()
    np.testing.assert_allclose(found["cells"], bent, atol=1e-4 * size)
    assert np.abs(np.array(found["bent"]) - bent[::20]).max() < 0.01 * size
    np.testing.assert_allclose(found["back"], z[:, order], atol=1e-6 * size)
    assert found["frame"][0] < np.quantile(bent[:, 0], 0.1)
    w, jacobian = model.lens.forward_with_jacobian(z)
    assert found["largest"] >= np.linalg.det(jacobian).max() * 0.999
    metric = model.bent_surface.metric(w)[:, order][:, :, order]
    shown = np.array([each["metric"] for each in found["seen"]])
    assert np.median(np.abs(shown / metric[:, [0, 0, 1], [0, 1, 1]] - 1)) < 0.1
    log_det = np.log([each["determinant"] for each in found["seen"]])
    larger = np.log(model.lens.magnification(scgeoae.get.coordinates(decodable))).mean()
    expected = model.bent_surface.distortion(w)[0] - 2 * np.log(model.unit) + larger
    assert np.median(np.abs(log_det - expected)) < 0.1


def test_between_strengths(decodable, node) -> None:
    """Halfway between two strengths, cells are halfway, and the true map is the true map."""
    scgeoae.tl.lens(decodable)
    lens, z = scgeoae.get.model(decodable).lens, scgeoae.get.coordinates(decodable)
    for strength, expected in ((0.525, (lens.at(0.35).forward(z) + lens.at(0.7).forward(z)) / 2), (0.0, z)):
        found = node(decodable, BENT.replace("STRENGTH", str(strength)).replace("POINTS", "[[0, 0]]"))
        np.testing.assert_allclose(found["cells"], expected, atol=1e-3 * np.ptp(z))
