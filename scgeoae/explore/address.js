// The state in the address, so that a copied one, and a page that is loaded again, show the same.

const MOST_CORNERS = 300; // of a shape that is kept

const isPoint = (value) => Array.isArray(value) && value.length === 2 && value.every(Number.isFinite);
const isShape = (value) => Array.isArray(value) && value.length > 2 && value.every(isPoint);
const isPicture = (value) => pictures.some(({ root }) => root.id === value);
const round = (point) => point.map((value) => Number(value.toPrecision(9)));

let remembering = null;
/** Write the state into the fragment of the address. */
function remember() {
  clearTimeout(remembering);
  remembering = setTimeout(() => {
    const [kind, number] = state.color.split(":");
    const shape = (selected) => {
      if (!selected?.shape || selected.shape.length > MOST_CORNERS) return undefined;
      const { on, column, hidden } = selected;
      return { shape: selected.shape.map(round), on, column: columns[column]?.name, hidden };
    };
    const { shape: current, on } = shape(state) ?? {};
    const kept = {
      view: viewOf(map),
      besideView: beside ? viewOf(beside) : undefined,
      color: [kind, kind === "gene" ? genes[number].name : columns[number].name],
      hidden: currentColumn() && [...state.hidden[number]],
      decoded: state.decoded,
      field: state.field,
      labels: state.labels,
      dark: state.dark,
      size: state.size || undefined,
      lens: state.lens || undefined,
      at: state.kept && round(state.kept),
      ends: state.ends.map(round),
      path: contents.paths[state.stored]?.name,
      shape: current,
      on,
      first: shape(state.first),
      genes: state.followed.map((each) => genes[each].name),
    };
    try {
      history.replaceState(null, "", `#${encodeURIComponent(JSON.stringify(kept))}`);
    } catch {
      // in a frame of a notebook the page has no address
    }
  }, 300);
}

/** Place in the middle of a picture, and its scale over that of the frame. */
function viewOf({ view: { x, y, scale }, fitted }) {
  return [...round([x, y]), Number((scale / fitted).toPrecision(6))];
}

function show(picture, view) {
  if (!Array.isArray(view) || view.length !== 3 || !view.every(Number.isFinite) || view[2] <= 0) return;
  const { x, y } = picture.view;
  const [atX, atY] = round([x, y]);
  // a rounded view is not taken for another one than that of the frame
  const same = view[0] === atX && view[1] === atY && view[2] === 1;
  if (!same) picture.move({ x: view[0], y: view[1], scale: view[2] * picture.fitted });
}

/** Take the state from the address; what does not fit to this page is ignored. */
function recall() {
  let kept = {};
  try {
    kept = JSON.parse(decodeURIComponent(location.hash.slice(1))) ?? {};
  } catch {
    // no state, or a damaged one
  }
  const { color, hidden, at, ends, shape, lens } = kept;
  setLens(lens > 0 && lens <= 1 ? lens : 0);
  setSize(Math.abs(kept.size) <= 2 ? kept.size : 0);
  show(map, kept.view);
  if (beside) show(beside, kept.besideView);
  state.decoded = kept.decoded === true;
  const [kind, name] = Array.isArray(color) ? color : [];
  const number = kind === "gene" ? geneNumbers.get(name) : columns.findIndex((column) => column.name === name);
  if (number >= 0) state.color = `${kind === "gene" ? "gene" : "column"}:${number}`;
  if (currentColumn() && Array.isArray(hidden)) state.hidden[state.color.split(":")[1]] = new Set(hidden);
  state.kept = isPoint(at) ? at : null;
  state.ends = Array.isArray(ends) && ends.every(isPoint) ? ends.slice(0, 2) : [];
  const stored = contents.paths.findIndex((path) => path.name === kept.path);
  state.stored = stored < 0 ? null : stored;
  state.shape = isShape(shape) ? shape : null;
  state.on = isPicture(kept.on) ? kept.on : "map";
  state.first = null;
  if (isShape(kept.first?.shape) && isPicture(kept.first.on)) {
    const column = columns.findIndex((each) => each.name === kept.first.column);
    const left = columns[column]?.codes && Array.isArray(kept.first.hidden) ? kept.first.hidden : [];
    state.first = { shape: kept.first.shape, on: kept.first.on, column, hidden: left };
  }
  first = state.first && members(state.first);
  const names = Array.isArray(kept.genes) ? kept.genes : [];
  state.followed = names.map((each) => geneNumbers.get(each)).filter((each) => each !== undefined);
  for (const option of ["field", "labels", "dark"]) setOption(option, kept[option] ?? state[option]);
  setColor(state.color);
  showFollowed();
}
