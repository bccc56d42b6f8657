// How the page is used: tools, options, mouse and touch.

const STROKE = 6; // pixels between the corners of a shape drawn by hand
const HINTS = {
  box: "Drag a box. Or: arrows move, Enter sets its two corners, Esc ends.",
  lasso: "Draw around cells. Or: arrows move, Enter sets corners, once more at the last one selects, Esc ends.",
  path: "Click where the path begins and where it ends. Or: arrows move, Enter sets.",
};

let active = null; // the picture that was used last

function say(text) {
  $("message").textContent = text;
}

/** Bring a part of the panel, or its head, into view when those above it are drawn; the focus stays where it is. */
function reveal(id) {
  requestAnimationFrame(() => {
    for (const part of [$(id), $(id).querySelector("h2")]) part.scrollIntoView({ block: "nearest" });
  });
}

/** Give the focus to the picture that was used last, as what had it is gone or done. */
function focusPicture() {
  active.root.focus({ preventScroll: true });
}

function setTool(tool) {
  state.tool = tool;
  for (const each of document.querySelectorAll("[data-tool]")) {
    each.setAttribute("aria-pressed", String(each.dataset.tool === tool));
  }
  endDraft();
  say(HINTS[tool] ?? "");
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
  focusPicture();
  if (!state.followed.includes(number)) state.followed.push(number);
  setColor(`gene:${number}`);
  showFollowed();
}

function showFollowed() {
  const chips = state.followed.map((number) => {
    const remove = button("×", () => {
      state.followed = state.followed.filter((each) => each !== number);
      showFollowed();
      $("gene").focus();
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
  offerAll();
  showPlace();
  remember();
}

/** Make the points larger or smaller, by a power of 2. */
function setSize(power) {
  state.size = power;
  $("size").value = power;
  for (const picture of pictures) {
    picture.pointSize = 2 ** power;
    picture.draw();
  }
  remember();
}

/** Show a stored path by its number, or none. */
function setStored(number) {
  [state.stored, state.ends] = [number, []];
  showPath();
  if (number !== null) reveal("pathSection");
  remember();
}

/** Show the frame of the plots or, with outliers, all cells. */
function fit(all) {
  for (const picture of pictures) picture.fit(all);
  offerAll();
  remember();
}

/** Offer to see all cells where the frame leaves some out. */
function offerAll() {
  const left = pictures.reduce((sum, picture) => sum + picture.left, 0);
  const see = document.querySelector("[data-action=fitAll]");
  see.hidden = left === 0;
  see.title = `Show also the ${left.toLocaleString("en")} cells outside the frame (O)`;
}

const actions = {
  fit: () => fit(false),
  fitAll: () => fit(true),
  zoomIn: () => (active.zoom(1.4), remember()),
  zoomOut: () => (active.zoom(1 / 1.4), remember()),
  clearPath: () => (setStored(null), focusPicture()),
  clearSelection: () => (select(null), focusPicture()),
  clearComparison: dropFirst,
  compare: keepFirst,
  savePNG,
  saveSVG,
};

/** The place of the map that a place of a picture shows: itself or, beside the map, that of the cell there, if any. */
function shownAt(picture, at) {
  if (picture === map) return at;
  const cell = picture.near(at);
  return cell === null ? null : [cells.x(cell), cells.y(cell)];
}

/** A click at this place of the map. */
function click(at) {
  if (state.tool === "path") {
    state.ends = state.ends.length === 1 ? [state.ends[0], at] : [at];
    state.stored = null;
    showPath();
    inspect();
    say(state.ends.length === 2 ? "The path and the genes along it are in the panel." : "Now where the path ends.");
    if (state.ends.length === 2) reveal("pathSection");
  } else {
    state.kept = state.kept ? null : at;
    state.pointer = at;
    showPlace();
    if (state.kept) reveal("placeSection");
  }
  remember();
}

/** Let a picture be moved, zoomed, pointed at and drawn on by mouse, pen and fingers. */
function listen(picture) {
  const { root } = picture;
  const pointers = new Map(); // those that are down, with their last position
  let drag = null; // {start, last, moved, shape}

  const position = (event) => {
    const box = root.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  root.addEventListener("focus", () => (active = picture));
  root.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.target.closest("#tools")) return;
    root.setPointerCapture(event.pointerId);
    active = picture;
    endDraft();
    const at = position(event);
    pointers.set(event.pointerId, at);
    drag = { start: at, last: at, moved: pointers.size > 1, shape: [picture.toMap(...at)] };
  });
  root.addEventListener("pointermove", (event) => {
    const at = position(event);
    const before = pointers.get(event.pointerId);
    if (event.target.closest("#tools")) state.pointer = null;
    else {
      picture.marks.cursor = false;
      picture.cursor = picture.toMap(...at);
      state.pointer = shownAt(picture, picture.cursor);
    }
    if (!state.kept) inspect();
    if (!before || !drag) return;
    const distance = ([x0, y0], [x1, y1]) => Math.hypot(x1 - x0, y1 - y0);
    drag.moved ||= distance(at, drag.start) > 3;
    if (pointers.size === 2) {
      const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, where]) => where);
      picture.zoom(Math.max(distance(at, other), 1) / Math.max(distance(before, other), 1), other, true);
    } else if (drag.moved && (state.tool === "move" || state.tool === "path")) {
      const { x, y, scale } = picture.view;
      picture.move({ x: x - (at[0] - before[0]) / scale, y: y + (at[1] - before[1]) / scale }, true);
    } else if (drag.moved) {
      if (state.tool === "box") drag.shape = picture.box(drag.start, at);
      else if (distance(at, drag.last) > STROKE) {
        drag.shape.push(picture.toMap(...at));
        drag.last = at;
      }
      outline(picture, drag.shape);
      picture.drawOverlay();
    }
    pointers.set(event.pointerId, at);
  });
  const lift = (event) => {
    if (!pointers.delete(event.pointerId) || !drag) return;
    const { moved, shape } = drag;
    if (pointers.size === 0) drag = null;
    const at = shownAt(picture, picture.toMap(...position(event)));
    if (!moved && at) click(at);
    else if (moved && shape.length > 2) selectNow(shape, root.id);
    else if (moved && shape.length > 1) select(state.shape, state.on); // too small
    remember();
  };
  root.addEventListener("pointerup", lift);
  root.addEventListener("pointercancel", lift);
  root.addEventListener("pointerleave", () => {
    state.pointer = null;
    inspect();
  });
  const wheel = (event) => {
    event.preventDefault();
    picture.zoom(2 ** (-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), position(event), true);
    remember();
  };
  root.addEventListener("wheel", wheel, { passive: false });
}
