// How the page is used: tools, mouse and touch, keys, and the state in the address.

const isPoint = (value) => Array.isArray(value) && value.length === 2 && value.every(Number.isFinite);

function say(text) {
  $("message").textContent = text;
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
  if (chips.length > 0) chips.unshift(element("h3", {}, "Followed in the profile and on the path"));
  $("followed").replaceChildren(...chips);
  showPlace();
  showPath();
  remember();
}

function setColor(color) {
  state.color = color;
  $("color").value = color;
  return recolor();
}

/** Bend the map, from 0 (true areas) to 1 (equal areas for equal numbers of cells). */
function setLens(strength) {
  if (!map.lens) return;
  state.lens = strength;
  $("lens").value = strength;
  map.setLens(strength);
  showPlace();
  remember();
}

/** The box between two pixels of the map; where the map is bent, its sides have many corners on the true map. */
function box([x0, y0], [x1, y1]) {
  const corners = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
  const parts = map.bends ? 24 : 1;
  return corners.flatMap(([x, y], i) => {
    const [nextX, nextY] = corners[(i + 1) % 4];
    return Array.from({ length: parts }, (_, k) => map.toMap(x + ((nextX - x) * k) / parts, y + ((nextY - y) * k) / parts));
  });
}

/** Show a stored path by its number, or none. */
function setStored(number) {
  [state.stored, state.ends] = [number, []];
  showPath();
  remember();
}

const actions = {
  fit: () => (map.fit(), remember()),
  zoomIn: () => (map.zoom(1.4), remember()),
  zoomOut: () => (map.zoom(1 / 1.4), remember()),
  clearPath: () => setStored(null),
  clearSelection: () => select(null),
  savePNG: () => map.savePNG(legend),
  saveSVG: () => map.saveSVG(legend),
};

/** A click on the map at this place. */
function click(at) {
  if (state.tool === "path") {
    state.ends = state.ends.length === 1 ? [state.ends[0], at] : [at];
    state.stored = null;
    if (state.ends.length === 2) say("");
    showPath();
    inspect();
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
  if (!state.kept) inspect();
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
    if (state.tool === "lasso") drag.shape.push(map.toMap(...at));
    else drag.shape = box(drag.start, at);
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
  const writes = event.target.closest("input:not([type=checkbox]):not([type=radio]), select");
  if (writes || event.ctrlKey || event.metaKey || event.altKey) {
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

let remembering = null;
/** Write the state into the fragment of the address, so that a copied address shows the same. */
function remember() {
  clearTimeout(remembering);
  remembering = setTimeout(() => {
    const round = (point) => point.map((value) => Number(value.toPrecision(9)));
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
      lens: state.lens || undefined,
      at: state.kept && round(state.kept),
      ends: state.ends.map(round),
      path: contents.paths[state.stored]?.name,
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
  const { view, color, hidden, at, ends, shape, lens } = kept;
  setLens(lens > 0 && lens <= 1 ? lens : 0);
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
  const stored = contents.paths.findIndex((path) => path.name === kept.path);
  state.stored = stored < 0 ? null : stored;
  state.shape = Array.isArray(shape) && shape.length > 2 && shape.every(isPoint) ? shape : null;
  const names = Array.isArray(kept.genes) ? kept.genes : [];
  state.followed = names.map((each) => geneNumbers.get(each)).filter((each) => each !== undefined);
  for (const option of ["field", "labels", "dark"]) setOption(option, kept[option] ?? state[option]);
  setColor(state.color);
  showFollowed();
}
