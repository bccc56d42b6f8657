// The page by the keyboard: keys for all tools, and boxes and lassos whose corners are set one by one.

const STEP = 12; // pixels that an arrow moves
const EDGE = 20; // pixels from a border at which the picture moves instead

let draft = null; // {picture, corners} of a box or lasso, places

const middleOf = (picture) => picture.toMap(picture.width / 2, picture.height / 2);

/** Move the pointer of the keyboard; the picture follows, so that it stays in sight. */
function moveCursor(picture, [right, up]) {
  const { view, width, height } = picture;
  const [x, y] = picture.toScreen(picture.cursor ?? middleOf(picture));
  const at = [x + STEP * right, y - STEP * up];
  picture.cursor = picture.toMap(...at);
  const over = [width, height].map((length, i) => at[i] - Math.min(Math.max(at[i], EDGE), length - EDGE));
  if (over.some(Boolean)) picture.move({ x: view.x + over[0] / view.scale, y: view.y - over[1] / view.scale }, true);
  picture.marks.cursor = true;
  state.pointer = shownAt(picture, picture.cursor);
  showDraft();
  inspect();
}

/** The shape that the corners and the cursor make. */
function drafted() {
  const { picture, corners } = draft;
  if (state.tool === "lasso") return [...corners, picture.cursor];
  return picture.box(picture.toScreen(corners[0]), picture.toScreen(picture.cursor));
}

function showDraft() {
  if (draft) outline(draft.picture, drafted());
  active.drawOverlay();
}

/** Set a corner at the cursor. The second one of a box, and the last one of a lasso set again, select. */
function setCorner(picture) {
  if (draft?.picture !== picture) draft = { picture, corners: [] };
  const again = draft.corners.at(-1)?.join() === picture.cursor.join();
  if (again && (state.tool === "box" || draft.corners.length < 3)) return;
  if (again || (state.tool === "box" && draft.corners.length === 1)) {
    const shape = again ? draft.corners : drafted();
    draft = null;
    selectNow(shape, picture.root.id);
    return;
  }
  draft.corners.push(picture.cursor);
  const number = draft.corners.length;
  say(state.tool === "box" ? "One corner is set." : `${number} ${number === 1 ? "corner is" : "corners are"} set.`);
  picture.marks.cursor = true;
  showDraft();
}

/** End a shape that is not complete. */
function endDraft() {
  if (!draft) return false;
  draft = null;
  say(HINTS[state.tool]);
  select(state.shape, state.on);
  return true;
}

function keyDown(event) {
  const writes = event.target.closest("input:not([type=checkbox]):not([type=radio]), select");
  if (writes || event.ctrlKey || event.metaKey || event.altKey) {
    if (event.key === "Escape") focusPicture();
    return;
  }
  const key = event.key.toLowerCase();
  const arrow = { arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, 1], arrowdown: [0, -1] }[key];
  const tool = { m: "move", b: "box", l: "lasso", p: "path" }[key];
  const option = { f: "field", n: "labels", d: "dark" }[key];
  const action = { 0: "fit", o: "fitAll", "+": "zoomIn", "=": "zoomIn", "-": "zoomOut", c: "compare" }[key];
  const picture = event.target === document.body ? active : pictures.find(({ root }) => root === event.target);
  if (arrow && picture) {
    const { x, y, scale } = picture.view;
    if (event.shiftKey) picture.move({ x: x + (60 / scale) * arrow[0], y: y + (60 / scale) * arrow[1] }, true);
    else moveCursor(picture, arrow);
    remember();
  } else if (key === "enter" && picture) {
    picture.cursor ??= middleOf(picture);
    const at = shownAt(picture, picture.cursor);
    if (state.tool === "box" || state.tool === "lasso") setCorner(picture);
    else if (at) click(at);
  } else if (key === "escape") escape();
  else if (key === "/") $("gene").focus();
  else if (tool) setTool(tool);
  else if (option) setOption(option, !state[option]);
  else if (action) actions[action]();
  else return;
  event.preventDefault();
}

/** Take back one thing: a shape that is not complete, else the kept place and the selection, A, or the path. */
function escape() {
  if (endDraft()) return;
  state.kept = null;
  if (state.shape) select(null);
  else if (first) dropFirst();
  else setStored(null);
  showPlace();
}
