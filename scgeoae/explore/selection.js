// Selections: one against the rest, or two against each other.

let chosen = null; // 1 for each cell of the selection, 0 for others
let first = null; // the same of the selection that is kept for a comparison

/** The shape of the selection, and what it left out as hidden. */
function selection() {
  const column = columns.indexOf(currentColumn());
  return { shape: state.shape, on: state.on, column, hidden: [...(state.hidden[column] ?? [])] };
}

/** Which cells a selection holds: 1 or 0 each. */
function members({ shape, on, column, hidden }) {
  const inside = (on === "map" ? map : beside).cells.inside(shape);
  const codes = new Set(hidden);
  if (codes.size > 0) columns[column].codes.forEach((code, cell) => codes.has(code) && (inside[cell] = 0));
  return inside;
}

const size = (cellsOf) => cellsOf.reduce((sum, one) => sum + one, 0);

/** Outline A and the selection, or a shape that is being drawn, on a picture. */
function outline(picture, shape, name = "") {
  const kept = state.first?.on === picture.root.id ? [{ shape: state.first.shape, name: "A" }] : [];
  picture.marks.shapes = shape ? [...kept, { shape, name }] : kept;
}

/** Select the visible cells in a shape on one of the pictures, or nothing. */
async function select(shape, on = "map") {
  Object.assign(state, { shape, on });
  chosen = shape && members(selection());
  const both = chosen && first ? chosen.map((one, cell) => one | first[cell]) : (chosen ?? first);
  for (const picture of pictures) {
    outline(picture, on === picture.root.id ? shape : null, first ? "B" : "");
    picture.points.choose(both);
    picture.draw();
  }
  remember();
  $("selectionTitle").textContent = first ? "Selection B" : "Selection";
  $("selectionSection").hidden = !shape;
  $("comparisonSection").hidden = !first;
  if (first && !shape) {
    const text = `A has ${size(first).toLocaleString("en")} cells. Select others, which will be B.`;
    $("comparison").replaceChildren(element("p", { className: "quiet" }, text));
  }
  if (!shape) return;
  for (const id of first ? ["comparison", "selection"] : ["selection"]) {
    $(id).replaceChildren(element("p", { className: "quiet" }, "Measuring …"));
  }
  await decoded;
  if (state.shape !== shape) return;
  showSelection();
  if (first) showComparison();
}

/** Select by hand: say how many cells there are, and bring what is measured of them into view. */
async function selectNow(shape, on) {
  const done = select(shape, on);
  const n = size(chosen);
  say(`${n.toLocaleString("en")} ${n === 1 ? "cell" : "cells"} selected.`);
  const section = first ? "comparisonSection" : "selectionSection";
  reveal(section);
  await done;
  if (state.shape === shape) reveal(section);
}

/** Select all visible cells, such as those of a group. */
function selectShown() {
  selectNow(cells.corners(), "map");
}

/** Keep the selection as the first of two, A; what is selected afterwards is B. */
function keepFirst() {
  if (!chosen?.includes(1)) return say("Select the cells of A first, with Box or Lasso.");
  [state.first, first] = [selection(), chosen];
  select(null);
  say("These are A. Now select B.");
  reveal("comparisonSection");
  focusPicture();
}

function dropFirst() {
  [state.first, first] = [null, null];
  select(state.shape, state.on);
  focusPicture();
}

/** The area of a selection on the map; some of the cells there, or cells that are selected beside it, have none. */
const areaOf = ({ shape, on, hidden }) => (on === "map" && hidden.length === 0 ? cells.area(shape) : null);

function showSelection() {
  const n = size(chosen);
  const area = areaOf(selection());
  const rows = [["cells", `${n.toLocaleString("en")} (${percent(n / cells.n)})`]];
  if (area) {
    rows.push(["area on the map", `${short(area.map)} (${percent(area.mapShare)})`]);
    rows.push(["area in the data", `${short(area.data)} (${percent(area.dataShare)})`]);
  }
  const list = rows.flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]);
  const parts = [element("dl", { className: "numbers" }, ...list)];
  if (n > 0) {
    const compare = first ? [] : [button("Keep as A (C)", keepFirst)];
    for (const each of compare) each.title = "Compare this selection, A, with the next one, B";
    const names = button(contents.names ? "Save cell names" : "Save cell numbers", saveCells);
    parts.push(element("div", { className: "row" }, ...compare, names));
  }
  if (n > 0 && groups()) parts.push(shares(groups(), chosen));
  if (n > 0 && n < cells.n) parts.push(genesAgainstRest());
  $("selection").replaceChildren(...parts);
}

/** Shares of groups, largest first: of some cells, or of two sets of cells. */
function shares(column, ...sets) {
  const of = sets.map((cellsOf) => {
    const counts = new Array(column.categories.length + 1).fill(0);
    cellsOf.forEach((one, cell) => (counts[column.codes[cell]] += one));
    return counts.map((count) => count / size(cellsOf));
  });
  const digits = (share) => Number(share.toPrecision(2));
  const rows = of[0]
    .map((length, code) => ({
      name: column.categories[code] ?? "missing",
      length,
      below: of[1]?.[code],
      color: column.colors[code] ?? map.theme("missing"),
      text: of.length > 1 ? `${of.map((each) => digits(100 * each[code])).join(", ")} %` : percent(length),
    }))
    .filter(({ length, below }) => length > 0 || below > 0)
    .sort((a, b) => Math.max(b.length, b.below ?? 0) - Math.max(a.length, a.below ?? 0))
    .slice(0, N_BARS);
  const title = element("h3", {}, "Share of ", named(column.name), of.length > 1 ? ": A above, B below" : "");
  return element("div", {}, title, bars(rows, { centered: false }));
}

/** Means of the genes over two sets of cells and a spread: measured, if all genes are, or else decoded. */
function meansOf(one, two) {
  if (genes.every(({ levels }) => levels)) {
    return { kind: "measured", means: new Map(genes.map((gene) => [gene, measuredMeans(gene, one, two)])) };
  }
  const values = [one, two].map((set) => cells.decodedMeans(set));
  const read = genes.filter((gene) => gene.row !== undefined && isRead(gene));
  const entry = (gene) => ({ first: values[0][gene.row], second: values[1][gene.row], spread: gene.sd });
  return { kind: "decoded", means: new Map(read.map((gene) => [gene, entry(gene)])) };
}

function genesAgainstRest() {
  const { kind, means } = meansOf(chosen, chosen.map((one) => 1 - one));
  const rows = standingOut(means).map(({ gene, ...row }) => ({ ...row, name: gene.name, text: short(row.first) }));
  const title = `Mean ${kind} expression: selection minus rest, in standard deviations; mean of the selection`;
  return element("div", {}, element("h3", {}, title), bars(rows));
}

// ---- two of them ----

function showComparison() {
  const ns = [size(first), size(chosen)];
  const areas = [areaOf(state.first), areaOf(selection())];
  const ratio = ([a, b]) => (b > 0 ? short(a / b) : "–");
  const rows = [["", "A", "B", "A / B"], ["cells", ...ns.map((n) => n.toLocaleString("en")), ratio(ns)]];
  if (areas.every(Boolean)) {
    for (const [name, part] of [["area on the map", "mapShare"], ["area in the data", "dataShare"]]) {
      const both = areas.map((area) => area[part]);
      rows.push([name, ...both.map(percent), ratio(both)]);
    }
  }
  const cell = (text, i, j) => element(i === 0 || j === 0 ? "th" : "td", { scope: j === 0 ? "row" : "col" }, text);
  const table = rows.map((row, i) => element("tr", {}, ...row.map((text, j) => cell(text, i, j))));
  const parts = [element("table", { className: "numbers" }, ...table)];
  const shared = first.reduce((sum, one, i) => sum + (one & chosen[i]), 0);
  if (shared > 0) {
    parts.push(element("p", { className: "warning" }, `${shared.toLocaleString("en")} cells are in A and in B.`));
  }
  if (ns[1] > 0) {
    if (groups()) parts.push(shares(groups(), first, chosen));
    const { kind, means } = meansOf(first, chosen);
    const found = standingOut(means, 2 * N_BARS).map(({ gene, ...row }) => {
      return { ...row, name: gene.name, text: `${short(row.first)}, ${short(row.second)}` };
    });
    const title = `Mean ${kind} expression: A minus B, in standard deviations; means of A and B`;
    parts.push(element("h3", {}, title), bars(found), button("Save all genes (CSV)", () => saveGenes(means)));
  }
  $("comparison").replaceChildren(...parts);
}

// ---- files ----

function saveCells() {
  let text = csvRow([contents.names ? "cell" : "number", ...contents.axes]);
  chosen.forEach((one, cell) => {
    if (one) text += csvRow([contents.names ? contents.names[cell] : cell, cells.x(cell), cells.y(cell)]);
  });
  save("scgeoae-selection.csv", "text/csv", text);
}

function saveGenes(means) {
  let text = csvRow(["gene", "mean of A", "mean of B", "difference in standard deviations"]);
  for (const [gene, { first: a, second: b, spread }] of means) text += csvRow([gene.name, a, b, (a - b) / spread]);
  save("scgeoae-comparison.csv", "text/csv", text);
}
