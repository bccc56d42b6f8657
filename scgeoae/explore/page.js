// The page: its state, its controls and what the panel shows.

const STEPS = 101; // places at which a path is decoded
const N_BARS = 12;
const N_CURVES = 5;
const PATH_WIDTH = 0.015; // cells this near to a path are its dots, as a share of the size of the map
const MOST_DOTS = 300;

const $ = (id) => document.getElementById(id);
const contents = await unpacked(JSON.parse($("contents").textContent));
const { genes, columns } = contents;
if (contents.names) contents.names = JSON.parse(new TextDecoder().decode(contents.names));
const decoder = new Decoder({ ...contents.decoder, dimension: contents.dimension });
const cells = new Cells(contents.coordinates, contents.dimension, decoder, new Region(contents.region));
const map = new MapView($("map"), cells, contents);
const geneNumbers = new Map(genes.map(({ name }, i) => [name, i]));

const state = {
  tool: "move",
  color: `column:0`, // "column:number" or "gene:number"
  decoded: false,
  hidden: columns.map(() => new Set()), // of each column
  pointer: null,
  kept: null, // a place that was clicked
  ends: [], // of the path
  shape: null, // of the selection
  followed: [], // numbers of genes
  field: false,
  labels: false,
  dark: matchMedia("(prefers-color-scheme: dark)").matches,
};
let chosen = null; // which cells are selected
let legend = null; // of the picture
const decoded = cells.decode((share) => say(`Decoding the map: ${Math.round(100 * share)} %`)).then(() => say(""));

function say(text) {
  $("message").textContent = text;
}

// ---- colors ----

/** The color map of numbers; without its darkest fifth on a dark background. */
function sequential() {
  const all = contents.colormaps.sequential;
  const from = state.dark ? 51 : 0;
  const share = 1 - from / 255;
  return all.map((_, i) => all[3 * Math.round(from + share * Math.floor(i / 3)) + (i % 3)]);
}

function currentColumn() {
  const [kind, number] = state.color.split(":");
  return kind === "column" ? columns[number] : null;
}

function currentGene() {
  const [kind, number] = state.color.split(":");
  return kind === "gene" ? genes[number] : null;
}

/** The column whose groups are named in the panel: the shown one, or the first one with groups. */
function groups() {
  const column = currentColumn();
  return column?.categories ? column : columns.find(({ categories }) => categories);
}

async function recolor() {
  const column = currentColumn();
  const gene = currentGene();
  $("source").hidden = !gene;
  if (column?.categories) {
    colorByGroups(column);
  } else if (column) {
    colorByLevels(column.name, column, column.diverging ? contents.colormaps.diverging : sequential());
  } else {
    const useDecoded = gene.row !== undefined && (state.decoded || !gene.levels);
    for (const input of $("source").querySelectorAll("input")) {
      input.disabled = !(input.value === "decoded" ? gene.row !== undefined : gene.levels);
      input.checked = (input.value === "decoded") === useDecoded;
    }
    if (useDecoded) await decoded;
    if (currentGene() !== gene) return;
    const values = useDecoded ? cells.decodedLevels(gene.row) : gene;
    colorByLevels(`${gene.name}, ${useDecoded ? "decoded" : "measured"}`, values, sequential());
  }
  drawLabels();
  select(state.shape); // of the visible cells
}

function colorByGroups(column) {
  const hidden = state.hidden[columns.indexOf(column)];
  const colors = [...column.colors, map.theme("missing")]; // the last one for cells without a group
  map.points.color(
    column.codes,
    Uint32Array.from(colors, (color, code) => (hidden.has(code) ? 0 : packedColor(color))),
  );
  const counts = new Array(colors.length).fill(0);
  for (const code of column.codes) counts[code] += 1;
  const names = [...column.categories, "missing"];
  const entries = names.map((name, code) => ({ name, code, color: colors[code], n: counts[code] })).filter(({ n }) => n);
  legend = { title: column.name, entries: entries.filter(({ code }) => !hidden.has(code)) };
  const rows = entries.map(({ name, code, color, n }) => {
    const box = element("input", { type: "checkbox", checked: !hidden.has(code) });
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(code);
      else hidden.add(code);
      recolor();
    });
    const swatch = element("span", { className: "swatch", style: { background: color } });
    const count = element("span", { className: "count" }, n.toLocaleString("en"));
    return element("label", { className: "entry" }, box, swatch, named(name), count);
  });
  const all = (show) => () => {
    hidden.clear();
    if (!show) for (const { code } of entries) hidden.add(code);
    recolor();
  };
  const scroll = $("legend").querySelector(".entries")?.scrollTop ?? 0;
  const focused = [...$("legend").querySelectorAll("input")].indexOf(document.activeElement);
  const list = element("div", { className: "entries" }, ...rows);
  $("legend").replaceChildren(
    list,
    element("div", { className: "row" }, button("Show all", all(true)), button("Hide all", all(false))),
  );
  list.scrollTop = scroll;
  list.querySelectorAll("input")[focused]?.focus();
}

function colorByLevels(title, values, colors) {
  const palette = new Uint32Array(MISSING + 1).fill(packedColor(map.theme("missing")));
  for (let level = 0; level <= LEVELS; level++) palette[level] = packedColor(colorAt(colors, level / LEVELS));
  map.points.color(values.levels, palette);
  const number = (value) => (values.log ? `${short(Math.exp(value))}` : short(value));
  const [low, high] = [number(values.low), number(values.high)];
  legend = { title, map: colors, low, high };
  const numbers = values.diverging ? [low, "1", high] : [low, high];
  $("legend").replaceChildren(named(title), colorBar(colors, ...numbers));
}

function drawLabels() {
  const column = groups();
  map.marks.labels = [];
  if (state.labels && column) {
    const hidden = state.hidden[columns.indexOf(column)];
    const members = column.categories.map(() => []);
    for (const cell of map.points.order.subarray(0, 200_000)) members[column.codes[cell]]?.push(cell);
    const bySize = column.categories.map((_, code) => code).sort((a, b) => members[b].length - members[a].length);
    const median = (of, each) => each.map(of).sort((a, b) => a - b)[each.length >> 1];
    map.marks.labels = bySize.flatMap((code) => {
      const text = column.categories[code];
      if (hidden.has(code) || members[code].length === 0) return [];
      const at = [median((cell) => cells.x(cell), members[code]), median((cell) => cells.y(cell), members[code])];
      return [{ at, text: text.length > 30 ? `${text.slice(0, 29)}…` : text }];
    });
  }
  map.drawOverlay();
}

// ---- the place at the pointer ----

let inspecting = null;
function inspect() {
  inspecting ??= requestAnimationFrame(() => {
    inspecting = null;
    showPlace();
  });
}

function showPlace() {
  const at = state.kept ?? state.pointer;
  if (!at) {
    map.marks.place = null;
    $("place").replaceChildren(element("p", { className: "quiet" }, "Point at the map. A click keeps the place."));
    return map.drawOverlay();
  }
  const geometry = decoder.geometry(cells.point(...at));
  map.marks.place = { at, geometry, kept: state.kept !== null };
  map.drawOverlay();
  const { determinant, anisotropy } = geometry;
  const factor = short(Math.max(determinant, 1 / determinant));
  const looks = factor === "1" ? "true to size" : `looks ${factor} times too ${determinant > 1 ? "small" : "large"}`;
  const rows = [
    ["relative determinant", `${short(determinant)} (${looks})`],
    ["anisotropy", short(anisotropy)],
  ];
  const column = groups();
  if (column) {
    const name = column.categories[column.codes[cells.nearest(...at)]] ?? "missing";
    rows.push(["nearest cell", named(name)]);
  }
  if (state.kept) rows.push(["kept", "until a click or Esc"]);
  const list = rows.flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]);
  const occupied = cells.region.contains(...at);
  const warning = occupied ? [] : [element("p", { className: "warning" }, "No cells here: the profile is an extrapolation.")];
  $("place").replaceChildren(element("dl", { className: "numbers" }, ...list), ...warning, profile(geometry.hidden));
}

/** The genes that stand out against the average over the cells, and the followed ones. */
function profile(hidden) {
  const values = decoder.genes(hidden);
  const rows = standingOut((gene) => values[gene.row] - gene.mean).map(({ gene, length }) => ({
    name: gene.name,
    length,
    color: length < 0 ? "#0072b2" : "#d55e00",
    text: short(values[gene.row]),
  }));
  const title = element("h3", {}, "Decoded profile: standard deviations from the average; value");
  return element("div", {}, title, bars(rows, { longest: 1 }));
}

/** Followed genes and those with the largest difference, in standard deviations, largest first. */
function standingOut(difference, spread = (gene) => gene.sd) {
  const usable = genes.filter((gene) => Number.isFinite(difference(gene)) && spread(gene) > 0);
  const rows = usable.map((gene) => ({ gene, length: difference(gene) / spread(gene) }));
  const followed = rows.filter(({ gene }) => state.followed.includes(genes.indexOf(gene)));
  const others = rows
    .filter((row) => !followed.includes(row))
    .sort((a, b) => Math.abs(b.length) - Math.abs(a.length))
    .slice(0, Math.max(N_BARS - followed.length, 4));
  return [...followed, ...others].sort((a, b) => b.length - a.length);
}

// ---- the path ----

/** The places of a path from its two ends: a straight line on the map. */
function route([[x0, y0], [x1, y1]]) {
  return Array.from({ length: STEPS }, (_, i) => {
    const share = i / (STEPS - 1);
    return [x0 + share * (x1 - x0), y0 + share * (y1 - y0)];
  });
}

function showPath() {
  map.marks.path = state.ends;
  $("pathSection").hidden = state.ends.length === 0;
  if (state.ends.length < 2) {
    $("path").replaceChildren(element("p", { className: "quiet" }, "Click where the path ends."));
    return map.drawOverlay();
  }
  const places = route(state.ends);
  map.marks.path = places;
  const hidden = places.map((place) => decoder.hidden(cells.point(...place)));
  const positions = hidden.map((values) => linear(decoder.surface, null, values));
  const length = positions.slice(1).reduce((sum, position, i) => {
    return sum + Math.hypot(...position.map((value, j) => value - positions[i][j]));
  }, 0);
  const curves = hidden.map((values) => decoder.genes(values));
  const outside = places.map((place) => !cells.region.contains(...place));
  const trusted = outside.includes(false) ? curves.filter((_, i) => !outside[i]) : curves;
  const range = (gene) => {
    const values = trusted.map((step) => step[gene.row]);
    return (Math.max(...values) - Math.min(...values)) / (gene.sd || Infinity);
  };
  const shown = state.followed.map((number) => genes[number]).filter(({ row }) => row !== undefined);
  const others = genes.filter((gene) => gene.row !== undefined && !shown.includes(gene)).sort((a, b) => range(b) - range(a));
  shown.push(...others.slice(0, Math.max(N_CURVES - shown.length, 0)));
  const [left, right, bottom, top] = cells.bounds;
  let near = cells.along(...state.ends, PATH_WIDTH * Math.max(right - left, top - bottom));
  const every = Math.ceil(near.length / MOST_DOTS);
  near = near.filter((_, i) => i % every === 0);
  const colors = Object.fromEntries(["line", "quiet", "text", "accent"].map((name) => [name, map.theme(name)]));
  const charts = shown.map((gene) => {
    const dots = gene.levels ? near.map(({ cell, share }) => [share, fromLevel(gene, gene.levels[cell])]) : [];
    const curve = curves.map((step) => step[gene.row]);
    return chart(gene.name, curve, dots.filter(([, value]) => !Number.isNaN(value)), outside, colors);
  });
  const gap = outside.filter(Boolean).length / STEPS;
  const notes = [
    `From the open to the filled end, ${short(length)} in the data. Lines: decoded along the straight path. Dots: measured ` +
      "in cells nearby.",
  ];
  if (gap > 0) notes.push(`Gray: no cells there (${percent(gap)} of the path), so the line is an extrapolation.`);
  $("path").replaceChildren(...notes.map((note) => element("p", { className: "quiet" }, note)), ...charts);
  map.drawOverlay();
}

// ---- the selection ----

/** Select the visible cells in a shape, or nothing. */
async function select(shape) {
  state.shape = shape;
  chosen = shape && cells.inside(shape);
  const column = currentColumn();
  const hidden = state.hidden[columns.indexOf(column)];
  if (chosen && hidden?.size) column.codes.forEach((code, cell) => hidden.has(code) && (chosen[cell] = 0));
  map.marks.shape = shape;
  map.points.choose(chosen);
  map.draw();
  remember();
  $("selectionSection").hidden = !shape;
  if (!shape) return;
  $("selection").replaceChildren(element("p", { className: "quiet" }, "Measuring …"));
  await decoded;
  if (state.shape === shape) showSelection();
}

function showSelection() {
  const n = chosen.reduce((sum, one) => sum + one, 0);
  const area = cells.area(state.shape);
  const rows = [
    ["cells", `${n.toLocaleString("en")} (${percent(n / cells.n)})`],
    ["area on the map", `${short(area.map)} (${percent(area.mapShare)})`],
    ["area in the data", `${short(area.data)} (${percent(area.dataShare)})`],
  ];
  const list = rows.flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]);
  const parts = [element("dl", { className: "numbers" }, ...list)];
  if (n > 0 && groups()) parts.push(shares(groups(), n));
  if (n > 0 && n < cells.n) parts.push(topGenes());
  if (n > 0) parts.push(button(contents.names ? "Save cell names (CSV)" : "Save cell numbers (CSV)", saveCells));
  $("selection").replaceChildren(...parts);
}

function shares(column, n) {
  const counts = new Array(column.categories.length + 1).fill(0);
  chosen.forEach((one, cell) => (counts[column.codes[cell]] += one));
  const rows = counts
    .map((count, code) => ({
      name: column.categories[code] ?? "missing",
      length: count,
      color: column.colors[code] ?? map.theme("missing"),
      text: percent(count / n),
    }))
    .filter(({ length }) => length > 0)
    .sort((a, b) => b.length - a.length)
    .slice(0, N_BARS);
  return element("div", {}, element("h3", {}, "Share of ", named(column.name)), bars(rows, { centered: false }));
}

function topGenes() {
  const useMeasured = genes.every(({ levels }) => levels);
  const rest = chosen.map((one) => 1 - one);
  const [inside, outside] = useMeasured ? [] : [cells.decodedMeans(chosen), cells.decodedMeans(rest)];
  const measured = new Map(useMeasured ? genes.map((gene) => [gene, measuredMeans(gene, chosen)]) : []);
  const value = (gene, of) => measured.get(gene)?.[of] ?? (of === "selected" ? inside : outside)[gene.row];
  const difference = (gene) => value(gene, "selected") - value(gene, "rest");
  const spread = (gene) => measured.get(gene)?.spread ?? gene.sd;
  const rows = standingOut(difference, spread).map(({ gene, length }) => ({
    name: gene.name,
    length,
    color: length < 0 ? "#0072b2" : "#d55e00",
    text: short(value(gene, "selected")),
  }));
  const kind = useMeasured ? "measured" : "decoded";
  const title = `Mean ${kind} expression: selection minus rest, in standard deviations; mean of the selection`;
  return element("div", {}, element("h3", {}, title), bars(rows));
}

function saveCells() {
  let text = csvRow([contents.names ? "cell" : "number", ...contents.axes]);
  chosen.forEach((one, cell) => {
    if (one) text += csvRow([contents.names ? contents.names[cell] : cell, cells.x(cell), cells.y(cell)]);
  });
  save("scgeoae-selection.csv", "text/csv", text);
}

// ---- controls ----

function button(text, action) {
  const made = element("button", {}, text);
  made.addEventListener("click", action);
  return made;
}

function setTool(tool) {
  state.tool = tool;
  for (const each of document.querySelectorAll("[data-tool]")) {
    each.setAttribute("aria-pressed", String(each.dataset.tool === tool));
  }
  if (tool === "path") say("Click where the path begins and where it ends.");
  else if ($("message").textContent.startsWith("Click")) say("");
}

function setOption(name, on) {
  state[name] = on;
  document.querySelector(`[data-option="${name}"]`).checked = on;
  if (name === "dark") {
    document.documentElement.dataset.theme = on ? "dark" : "light";
    recolor();
    showPath();
  } else if (name === "labels") {
    drawLabels();
  } else {
    $("fieldLegend").hidden = !on;
    decoded.then(() => map.setField(state.field ? cells.determinant : null));
  }
  remember();
}

/** Color by the gene in the search box and follow it. */
function findGene() {
  const name = $("gene").value.trim();
  if (name === "") return;
  const same = ({ name: other }) => other.toLowerCase() === name.toLowerCase();
  const number = geneNumbers.get(name) ?? genes.findIndex(same);
  if (number < 0) return say(`This page holds no gene ${name}.`);
  say("");
  $("gene").value = "";
  $("map").focus();
  if (!state.followed.includes(number)) state.followed.push(number);
  setColor(`gene:${number}`);
  showFollowed();
}

function showFollowed() {
  const chips = state.followed.map((number) => {
    const remove = button("×", () => {
      state.followed = state.followed.filter((each) => each !== number);
      showFollowed();
    });
    remove.setAttribute("aria-label", `Do not follow ${genes[number].name}`);
    const show = button("", () => setColor(`gene:${number}`));
    show.append(named(genes[number].name));
    return element("span", { className: "chip" }, show, remove);
  });
  $("followed").replaceChildren(...(chips.length ? [element("h3", {}, "Followed in the profile and on the path"), ...chips] : []));
  showPlace();
  showPath();
  remember();
}

function setColor(color) {
  state.color = color;
  $("color").value = color;
  return recolor();
}

const actions = {
  fit: () => (map.fit(), remember()),
  zoomIn: () => (map.zoom(1.4), remember()),
  zoomOut: () => (map.zoom(1 / 1.4), remember()),
  clearPath: () => ((state.ends = []), showPath(), remember()),
  clearSelection: () => select(null),
  savePNG: () => map.savePNG(legend),
  saveSVG: () => map.saveSVG(legend),
};

/** A click on the map at this place. */
function click(at) {
  if (state.tool === "path") {
    state.ends = state.ends.length === 1 ? [state.ends[0], at] : [at];
    if (state.ends.length === 2) say("");
    showPath();
  } else {
    state.kept = state.kept ? null : at;
    state.pointer = at;
    showPlace();
  }
  remember();
}

const pointers = new Map(); // those that are down, with their last position
let drag = null; // {start, moved, corner or shape}

function position(event) {
  const box = $("map").getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

function pointerDown(event) {
  if (event.button !== 0 || event.target.closest("#tools")) return;
  $("map").setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, position(event));
  drag = { start: position(event), moved: pointers.size > 1, shape: [map.toMap(...position(event))] };
}

function pointerMove(event) {
  const at = position(event);
  const before = pointers.get(event.pointerId);
  state.pointer = event.target.closest("#tools") ? null : map.toMap(...at);
  inspect();
  if (!before || !drag) return;
  drag.moved ||= Math.hypot(at[0] - drag.start[0], at[1] - drag.start[1]) > 3;
  if (pointers.size === 2) {
    const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, where]) => where);
    const distance = ([x, y]) => Math.max(Math.hypot(x - other[0], y - other[1]), 1);
    map.zoom(distance(at) / distance(before), other, true);
  } else if (drag.moved && (state.tool === "move" || state.tool === "path")) {
    const { x, y, scale } = map.view;
    map.move({ x: x - (at[0] - before[0]) / scale, y: y + (at[1] - before[1]) / scale }, true);
  } else if (drag.moved) {
    const corner = map.toMap(...drag.start);
    const here = map.toMap(...at);
    if (state.tool === "lasso") drag.shape.push(here);
    else drag.shape = [corner, [here[0], corner[1]], here, [corner[0], here[1]]];
    map.marks.shape = drag.shape;
    map.drawOverlay();
  }
  pointers.set(event.pointerId, at);
}

function pointerUp(event) {
  if (!pointers.delete(event.pointerId) || !drag) return;
  const { moved, shape } = drag;
  if (pointers.size === 0) drag = null;
  if (!moved) click(map.toMap(...position(event)));
  else if (shape.length > 2) select(shape);
  remember();
}

function keyDown(event) {
  if (event.target.closest("input:not([type=checkbox]):not([type=radio]), select") || event.ctrlKey || event.metaKey || event.altKey) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
  const tool = { m: "move", b: "box", l: "lasso", p: "path" }[event.key.toLowerCase()];
  const option = { f: "field", n: "labels", d: "dark" }[event.key.toLowerCase()];
  const action = { 0: "fit", "+": "zoomIn", "=": "zoomIn", "-": "zoomOut" }[event.key];
  const onMap = event.target === $("map") || event.target === document.body;
  if (arrow && onMap) {
    const step = (event.shiftKey ? 60 : 12) / map.view.scale;
    const { x, y } = map.view;
    if (event.shiftKey) map.move({ x: x + step * arrow[0], y: y + step * arrow[1] }, true);
    else state.pointer = (state.pointer ?? [x, y]).map((value, i) => value + step * arrow[i]);
    inspect();
  } else if (event.key === "Enter" && onMap && state.pointer) click(state.pointer);
  else if (event.key === "Escape") {
    state.kept = null;
    if (state.shape) select(null);
    else actions.clearPath();
    showPlace();
  } else if (event.key === "/") $("gene").focus();
  else if (tool) setTool(tool);
  else if (option) setOption(option, !state[option]);
  else if (action) actions[action]();
  else return;
  event.preventDefault();
}

// ---- the state in the address ----

const isPoint = (value) => Array.isArray(value) && value.length === 2 && value.every(Number.isFinite);

let remembering = null;
/** Write the state into the fragment of the address, so that a copied address shows the same. */
function remember() {
  clearTimeout(remembering);
  remembering = setTimeout(() => {
    const round = (point) => point.map((value) => Number(value.toPrecision(6)));
    const { x, y, scale } = map.view;
    const [kind, number] = state.color.split(":");
    const kept = {
      view: [...round([x, y]), Number((scale / map.fitted).toPrecision(6))],
      color: [kind, kind === "gene" ? genes[number].name : columns[number].name],
      hidden: currentColumn() && [...state.hidden[number]],
      decoded: state.decoded,
      field: state.field,
      labels: state.labels,
      dark: state.dark,
      at: state.kept && round(state.kept),
      ends: state.ends.map(round),
      shape: state.shape?.map(round),
      genes: state.followed.map((each) => genes[each].name),
    };
    try {
      history.replaceState(null, "", `#${encodeURIComponent(JSON.stringify(kept))}`);
    } catch {
      // in a frame of a notebook the page has no address
    }
  }, 300);
}

/** Take the state from the address; what does not fit to this page is ignored. */
function recall() {
  let kept = {};
  try {
    kept = JSON.parse(decodeURIComponent(location.hash.slice(1))) ?? {};
  } catch {
    // no state, or a damaged one
  }
  const { view, color, hidden, at, ends, shape } = kept;
  if (Array.isArray(view) && view.length === 3 && view.every(Number.isFinite) && view[2] > 0) {
    map.move({ x: view[0], y: view[1], scale: view[2] * map.fitted });
  }
  state.decoded = kept.decoded === true;
  const [kind, name] = Array.isArray(color) ? color : [];
  const number = kind === "gene" ? geneNumbers.get(name) : columns.findIndex((column) => column.name === name);
  if (number >= 0) state.color = `${kind === "gene" ? "gene" : "column"}:${number}`;
  if (currentColumn() && Array.isArray(hidden)) state.hidden[state.color.split(":")[1]] = new Set(hidden);
  state.kept = isPoint(at) ? at : null;
  state.ends = Array.isArray(ends) && ends.every(isPoint) ? ends.slice(0, 2) : [];
  const names = Array.isArray(kept.genes) ? kept.genes : [];
  state.followed = names.map((each) => geneNumbers.get(each)).filter((each) => each !== undefined);
  for (const option of ["field", "labels", "dark"]) setOption(option, kept[option] ?? state[option]);
  setColor(state.color);
  showFollowed();
  if (Array.isArray(shape) && shape.length > 2 && shape.every(isPoint)) select(shape);
}

// ---- start ----

const factor = Math.exp(contents.determinant.high);
$("fieldLegend").replaceChildren(
  colorBar(contents.colormaps.diverging, short(1 / factor), "1", short(factor)),
  element("p", { className: "quiet" }, "area in the data per area of the map, times the average"),
);
for (const [i, { name }] of columns.entries()) $("color").append(new Option(name, `column:${i}`));
const geneOptions = element("optgroup", { label: "genes" });
for (const [i, { name }] of genes.entries()) {
  geneOptions.append(new Option(name, `gene:${i}`));
  $("genes").append(element("option", { value: name }));
}
$("color").append(geneOptions);
$("color").addEventListener("change", () => setColor($("color").value));
$("gene").addEventListener("change", findGene);
$("gene").addEventListener("input", (event) => {
  // a choice from the list; letters that are typed may be the beginning of a longer name
  if (!event.inputType || event.inputType === "insertReplacementText") findGene();
});
$("source").addEventListener("change", (event) => {
  state.decoded = event.target.value === "decoded";
  recolor();
});
$("size").addEventListener("input", () => {
  map.pointSize = 2 ** Number($("size").value);
  map.draw();
});
for (const each of document.querySelectorAll("[data-tool]")) each.addEventListener("click", () => setTool(each.dataset.tool));
for (const each of document.querySelectorAll("[data-action]")) each.addEventListener("click", () => actions[each.dataset.action]());
for (const each of document.querySelectorAll("[data-option]")) {
  each.addEventListener("change", () => setOption(each.dataset.option, each.checked));
}
$("map").addEventListener("pointerdown", pointerDown);
$("map").addEventListener("pointermove", pointerMove);
$("map").addEventListener("pointerup", pointerUp);
$("map").addEventListener("pointercancel", pointerUp);
$("map").addEventListener("pointerleave", () => {
  state.pointer = null;
  inspect();
});
$("map").addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    map.zoom(2 ** (-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), position(event), true);
    remember();
  },
  { passive: false },
);
document.addEventListener("keydown", keyDown);
window.addEventListener("hashchange", recall);
setTool("move");
recall();
requestAnimationFrame(() => performance.mark("drawn"));
await decoded;
performance.mark("decoded");

/** For the console, tests and measurements. */
window.explorer = {
  state, map, cells, decoder, contents, select, setColor, click, showPlace,
  get chosen() {
    return chosen;
  },
};
