// What the panel shows: colors and their legend, the place at the pointer, the path.

const STEPS = 101; // places at which a path is decoded
const N_BARS = 12;
const N_CURVES = 5;
const N_RISES = 6;
const PATH_WIDTH = 0.015; // cells this near to a path are its dots, as a share of the size of the map
const MOST_DOTS = 300;

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

let turns = 0; // of recoloring, which may wait for the decoding

/** Color the cells by what is chosen, and draw its legend. */
async function recolor() {
  const turn = ++turns;
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
    if (turn !== turns) return;
    const values = useDecoded ? cells.decodedLevels(gene.row) : gene;
    colorByLevels(useDecoded ? `${decodedName(gene)}, decoded` : `${gene.name}, measured`, values, sequential());
  }
  drawLabels();
  select(state.shape, state.on); // of the visible cells
}

/** The name of a decoded gene, with its R² if it can hardly be read from what the map was trained on. */
const decodedName = ({ name, readable, r2 }) => (readable === false ? `${name} (hardly read: R² ${short(r2)})` : name);

/** Whether a gene is shown as decoded: it can be read or is followed. */
const isRead = (gene) => gene.readable !== false || state.followed.includes(genes.indexOf(gene));

function colorByGroups(column) {
  const hidden = state.hidden[columns.indexOf(column)];
  const colors = [...column.colors, map.theme("missing")]; // the last one for cells without a group
  const palette = Uint32Array.from(colors, (color, code) => (hidden.has(code) ? 0 : packedColor(color)));
  for (const picture of pictures) picture.points.color(column.codes, palette);
  const counts = new Array(colors.length).fill(0);
  for (const code of column.codes) counts[code] += 1;
  const names = [...column.categories, "missing"];
  const all = names.map((name, code) => ({ name, code, color: colors[code], n: counts[code] }));
  const entries = all.filter(({ n }) => n > 0);
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
  const showAll = (show) => () => {
    hidden.clear();
    if (!show) for (const { code } of entries) hidden.add(code);
    recolor();
  };
  const scroll = $("legend").querySelector(".entries")?.scrollTop ?? 0;
  const focused = [...$("legend").querySelectorAll("input")].indexOf(document.activeElement);
  const list = element("div", { className: "entries" }, ...rows);
  $("legend").replaceChildren(
    list,
    element(
      "div",
      { className: "row" },
      button("Show all", showAll(true)),
      button("Hide all", showAll(false)),
      button("Select shown", selectShown),
    ),
  );
  list.scrollTop = scroll;
  list.querySelectorAll("input")[focused]?.focus();
}

function colorByLevels(title, values, colors) {
  const palette = new Uint32Array(MISSING + 1).fill(packedColor(map.theme("missing")));
  for (let level = 0; level <= LEVELS; level++) palette[level] = packedColor(colorAt(colors, level / LEVELS));
  for (const picture of pictures) picture.points.color(values.levels, palette);
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
  beside?.point(at && map.near(at));
  if (!at) {
    map.marks.place = null;
    $("place").replaceChildren(element("p", { className: "quiet" }, "Point at the map. A click keeps the place."));
    return map.drawOverlay();
  }
  const geometry = seen(at);
  map.marks.place = { at, geometry, kept: state.kept !== null };
  map.drawOverlay();
  const { determinant, anisotropy } = geometry;
  const factor = short(Math.max(determinant, 1 / determinant));
  const looks = factor === "1" ? "true to size" : `looks ${factor} times too ${determinant > 1 ? "small" : "large"}`;
  const rows = [
    ["relative determinant", short(determinant) + (contents.dimension === 2 ? ` (${looks})` : "")],
    ["anisotropy", short(anisotropy)],
  ];
  if (geometry.larger) rows.push(["area of the bent map", `${short(geometry.larger)} times that of the true one`]);
  const column = groups();
  if (column) {
    const name = column.categories[column.codes[cells.nearest(...at)]] ?? "missing";
    rows.push(["nearest cell", named(name)]);
  }
  if (state.kept) rows.push(["kept", "until a click or Esc"]);
  const list = rows.flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]);
  const occupied = cells.region.contains(...at);
  const text = occupied ? "" : "No cells here: the profile is an extrapolation.";
  const warning = element("p", { className: "warning", hidden: occupied }, text);
  $("place").replaceChildren(element("dl", { className: "numbers" }, ...list), warning, profile(geometry.features), rises());
}

/** The geometry at a place, as it is on the map that is shown. */
function seen(at) {
  const geometry = decoder.geometry(cells.point(...at));
  return map.bends ? map.lens.seen(geometry, at) : geometry;
}

/** The genes that rise most at the place or, while a path is drawn, from its first end towards the pointer. */
function rises() {
  const [first, pointer] = [state.ends[0], state.pointer];
  const drawing = state.tool === "path" && state.ends.length === 1 && pointer && first.join() !== pointer.join();
  const [a, b, c, d] = drawing && map.bends ? map.lens.derivative(first) : [1, 0, 0, 1];
  const [x, y] = drawing ? [pointer[0] - first[0], pointer[1] - first[1]] : [0, 0];
  const along = drawing ? [a * x + b * y, c * x + d * y] : null;
  const geometry = seen(drawing ? first : state.kept ?? pointer);
  const all = genes.filter((gene) => gene.row !== undefined && isRead(gene));
  const rows = all
    .map((gene) => ({ gene, ...decoder.rise(gene.row, geometry, along) }))
    .sort((a, b) => (along ? b.along - a.along : b.most - a.most))
    .slice(0, N_RISES);
  const entries = rows.flatMap(({ gene, most, direction: [x, y], along: rate }) => {
    const angle = -Math.atan2(y, x);
    const arrow = element("span", { className: "arrow", style: { transform: `rotate(${angle}rad)` } }, "→");
    return [element("dt", {}, arrow, " ", named(gene.name)), element("dd", {}, short(along ? rate : most))];
  });
  const title = `Rises ${along ? "from the first end towards the pointer" : "this way"}, per unit of the data`;
  const parts = [element("h3", {}, title), element("dl", { className: "numbers", id: "rises" }, ...entries)];
  return element("div", {}, ...(entries.length > 0 ? parts : []));
}

/** The genes that stand out against the average over the cells, and the followed ones. */
function profile(features) {
  const values = decoder.genes(features);
  const read = genes.filter((gene) => gene.row !== undefined && isRead(gene));
  const means = new Map(read.map((gene) => [gene, { first: values[gene.row], second: gene.mean, spread: gene.sd }]));
  const rows = standingOut(means).map(({ gene, ...row }) => ({ ...row, name: decodedName(gene), text: short(row.first) }));
  const title = element("h3", {}, "Decoded profile: standard deviations from the average; value");
  return element("div", {}, title, bars(rows, { longest: 1 }));
}

/** Of genes with two means, the followed ones and those with the largest difference, in units of their spread. */
function standingOut(means, most = N_BARS) {
  const rows = [...means].flatMap(([gene, { first, second, spread }]) => {
    const length = (first - second) / spread;
    return Number.isFinite(length) ? [{ gene, first, second, length, color: length < 0 ? "#0072b2" : "#d55e00" }] : [];
  });
  const followed = rows.filter(({ gene }) => state.followed.includes(genes.indexOf(gene)));
  const others = rows
    .filter((row) => !followed.includes(row))
    .sort((a, b) => Math.abs(b.length) - Math.abs(a.length))
    .slice(0, Math.max(most - followed.length, 4));
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
  const corners = contents.paths[state.stored]?.places ?? state.ends;
  map.marks.path = corners;
  $("stored").value = state.stored ?? "";
  $("pathSection").hidden = corners.length === 0;
  if (corners.length < 2) {
    $("path").replaceChildren(element("p", { className: "quiet" }, "Click where the path ends."));
    return map.drawOverlay();
  }
  const places = state.stored === null ? route(corners) : corners;
  map.marks.path = places;
  const hidden = places.map((place) => decoder.hidden(cells.point(...place)));
  const positions = hidden.map((values) => linear(decoder.surface, null, values));
  const length = positions.slice(1).reduce((sum, position, i) => {
    return sum + Math.hypot(...position.map((value, j) => value - positions[i][j]));
  }, 0);
  const curves = hidden.map((values) => decoder.genes(decoder.features(values)));
  const outside = places.map((place) => !cells.region.contains(...place));
  const trusted = outside.includes(false) ? curves.filter((_, i) => !outside[i]) : curves;
  const range = (gene) => {
    const values = trusted.map((step) => step[gene.row]);
    return (Math.max(...values) - Math.min(...values)) / (gene.sd || Infinity);
  };
  const shown = state.followed.map((number) => genes[number]).filter(({ row }) => row !== undefined);
  const others = genes.filter((gene) => gene.row !== undefined && isRead(gene) && !shown.includes(gene));
  others.sort((a, b) => range(b) - range(a));
  shown.push(...others.slice(0, Math.max(N_CURVES - shown.length, 0)));
  const [left, right, bottom, top] = cells.bounds;
  let near = cells.along(corners, PATH_WIDTH * Math.max(right - left, top - bottom));
  const every = Math.ceil(near.length / MOST_DOTS);
  near = near.filter((_, i) => i % every === 0);
  const colors = Object.fromEntries(["line", "quiet", "text", "accent"].map((name) => [name, map.theme(name)]));
  const charts = shown.map((gene) => {
    const dots = gene.levels ? near.map(({ cell, share }) => [share, fromLevel(gene, gene.levels[cell])]) : [];
    const curve = curves.map((step) => step[gene.row]);
    return chart(decodedName(gene), curve, dots.filter(([, value]) => !Number.isNaN(value)), outside, colors);
  });
  const gap = outside.filter(Boolean).length / places.length;
  const notes = [
    `From the open to the filled end, ${short(length)} in the data. ` +
      `Lines: decoded along the ${state.stored === null ? "straight" : "stored"} path. Dots: measured in cells nearby.`,
  ];
  if (gap > 0) notes.push(`Gray: no cells there (${percent(gap)} of the path), so the line is an extrapolation.`);
  $("path").replaceChildren(...notes.map((note) => element("p", { className: "quiet" }, note)), ...charts);
  map.drawOverlay();
}
