// The page: its data, its state, and what connects the controls.

const FORMAT = 1; // of the data, which this program reads

const $ = (id) => document.getElementById(id);
if (!("DecompressionStream" in window)) say("This page needs a browser of 2023 or later.");
const stored = JSON.parse($("contents").textContent);
if (stored.format !== FORMAT) {
  say(`The data of this page have format ${stored.format}, but its program reads format ${FORMAT}. Make it again.`);
  throw new Error(`format ${stored.format} instead of ${FORMAT}`);
}
const contents = await unpacked(stored);
const { genes, columns } = contents;
if (contents.names) contents.names = JSON.parse(new TextDecoder().decode(contents.names));
const decoder = new Decoder({ ...contents.decoder, dimension: contents.dimension });
const cells = new Cells(contents.coordinates, contents.dimension, decoder, new Region(contents.region), contents.frame);
if (contents.beside) {
  document.body.classList.add("two"); // before the pictures measure their places
  $("beside").hidden = false;
  $("beside").ariaLabel = `${contents.beside.name}: the same cells in another picture, with the same keys.`;
}
const map = new MapView($("map"), cells, contents);
const beside = contents.beside ? new Beside($("beside"), contents.beside) : null;
const pictures = beside ? [map, beside] : [map];
active = map;
const geneNumbers = new Map(genes.map(({ name }, i) => [name, i]));

const state = {
  tool: "move",
  color: "column:0", // "column:number" or "gene:number"
  decoded: false,
  hidden: columns.map(() => new Set()), // of each column
  pointer: null,
  kept: null, // a place that was clicked
  ends: [], // of the straight path
  stored: null, // number of the stored path that is shown
  shape: null, // of the selection
  on: "map", // or "beside": the picture on which the shape lies
  first: null, // the selection to which this one is compared: {shape, on, column, hidden}
  followed: [], // numbers of genes
  field: false,
  labels: false,
  lens: 0, // strength
  size: 0, // of the points, a power of 2
  dark: matchMedia("(prefers-color-scheme: dark)").matches,
};
let legend = null; // of the picture
const decoded = cells
  .decode((share) => say(`Decoding the map: ${Math.round(100 * share)} %`))
  .then(() => say(HINTS[state.tool] ?? ""));

const factor = Math.exp(columns.find(({ diverging }) => diverging).high);
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
contents.paths = contents.paths.map(({ name, places }) => {
  return { name, places: Array.from({ length: places.length / 2 }, (_, i) => [places[2 * i], places[2 * i + 1]]) };
});
for (const [i, { name }] of contents.paths.entries()) $("stored").append(new Option(name, i));
$("stored").parentElement.hidden = contents.paths.length === 0;
$("stored").addEventListener("change", (event) => {
  setStored(event.target.value === "" ? null : Number(event.target.value));
});
$("source").addEventListener("change", (event) => {
  state.decoded = event.target.value === "decoded";
  recolor();
});
$("size").addEventListener("input", () => setSize(Number($("size").value)));
$("lens").parentElement.hidden = !map.lens;
for (const strength of map.lens?.strengths ?? []) $("strengths").append(element("option", { value: strength }));
$("lens").addEventListener("input", () => setLens(Number($("lens").value)));
for (const each of document.querySelectorAll("[data-tool]")) {
  each.addEventListener("click", () => {
    setTool(each.dataset.tool);
    focusPicture(); // where the tool is used, also by the keyboard
  });
}
for (const each of document.querySelectorAll("[data-action]")) {
  each.addEventListener("click", () => actions[each.dataset.action]());
}
for (const each of document.querySelectorAll("[data-option]")) {
  each.addEventListener("change", () => setOption(each.dataset.option, each.checked));
}
pictures.forEach(listen);
document.addEventListener("keydown", keyDown);
window.addEventListener("hashchange", recall);
setTool("move");
offerAll();
recall();
requestAnimationFrame(() => performance.mark("drawn"));
await decoded;
performance.mark("decoded");

/** For the console, tests and measurements. */
window.explorer = {
  state, map, beside, cells, decoder, contents, select, setColor, click, showPlace,
  get chosen() {
    return chosen;
  },
  get first() {
    return first;
  },
};
