// Files of the pictures: what they show, side by side, with the legend.

const MOST_CIRCLES = 20_000; // cells that are drawn as shapes; more are an image
const MOST_LETTERS = 40; // of a name in the legend

/** Pixels of a file per pixel of the screen. */
const resolution = () => Math.max(2, window.devicePixelRatio || 1);

/** Cells of a picture and what lies below them as SVG: shapes or, of many cells, an image. */
function cellsDrawn(picture) {
  const { width, height } = picture;
  const seen = [];
  for (const cell of picture.visible()) if (seen.push(cell) > MOST_CIRCLES) break;
  if (seen.length > MOST_CIRCLES) {
    return [svg("image", { href: picture.snapshot(resolution()).toDataURL(), width, height })];
  }
  const r = Math.max(Math.min(picture.radius, LARGEST), 1 / picture.ratio).toFixed(2); // as pixels show them
  const group = svg("g", { "data-mark": "cells" });
  for (const { x, y, color } of seen) {
    group.append(svg("circle", { cx: x.toFixed(2), cy: y.toFixed(2), r, fill: unpackedColor(color) }));
  }
  return [...picture.groundShapes(), group];
}

/** The pictures and a legend as SVG, with the cells or without. */
function drawing(legend, withCells) {
  const widths = pictures.map(({ width }) => width);
  const left = widths.map((_, i) => widths.slice(0, i).reduce((a, b) => a + b, 0));
  const [all, height] = [left.at(-1) + widths.at(-1), Math.max(...pictures.map((picture) => picture.height))];
  const names = legend ? [legend.title, ...(legend.entries ?? []).map(({ name }) => name)] : [];
  const longest = Math.min(Math.max(0, ...names.map(({ length }) => length)), MOST_LETTERS);
  const width = all + (legend ? Math.max(200, 50 + Math.ceil(7.5 * longest)) : 0);
  const made = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}` });
  if (withCells) made.append(svg("rect", { width, height, fill: map.theme("background") }));
  pictures.forEach((picture, i) => {
    const clip = svg("clipPath", { id: `frame${i}` }, svg("rect", { width: picture.width, height: picture.height }));
    const marks = [...picture.overlay.childNodes].map((node) => node.cloneNode(true));
    const placed = { "clip-path": `url(#frame${i})`, transform: `translate(${left[i]} 0)` };
    made.append(clip, svg("g", placed, ...(withCells ? cellsDrawn(picture) : []), ...marks));
  });
  made.append(...legendDrawn(legend, all + 16, height));
  return { width, height, left, text: new XMLSerializer().serializeToString(made) };
}

/** A legend as SVG, of `{title, entries}` or `{title, map, low, high}`. */
function legendDrawn(legend, x, height) {
  if (!legend) return [];
  const text = (y, words, dx = 0) => map.text(x + dx, y, words);
  const cut = (words) => (words.length > MOST_LETTERS ? `${words.slice(0, MOST_LETTERS - 1)}…` : words);
  const parts = [text(28, cut(legend.title))];
  if (legend.entries) {
    legend.entries.slice(0, Math.max(1, Math.floor((height - 50) / 18))).forEach(({ color, name }, i) => {
      const swatch = svg("circle", { cx: x + 6, cy: 46 + 18 * i, r: 5.5, fill: color });
      parts.push(swatch, text(50 + 18 * i, cut(name), 18));
    });
    return parts;
  }
  for (let i = 0; i < 64; i++) {
    parts.push(svg("rect", { x: x + 2.5 * i, y: 38, width: 3, height: 12, fill: colorAt(legend.map, i / 63) }));
  }
  return [...parts, text(66, legend.low), map.text(x + 160, 66, legend.high, { "text-anchor": "end" })];
}

function saveSVG() {
  save("scgeoae-map.svg", "image/svg+xml", drawing(legend, true).text);
}

async function savePNG() {
  const { width, height, left, text } = drawing(legend, false);
  const over = new Image();
  over.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await over.decode();
  const ratio = resolution();
  const made = element("canvas", { width: Math.round(width * ratio), height: Math.round(height * ratio) });
  const context = made.getContext("2d");
  context.fillStyle = map.theme("background");
  context.fillRect(0, 0, made.width, made.height);
  pictures.forEach((picture, i) => context.drawImage(picture.snapshot(ratio), Math.round(left[i] * ratio), 0));
  context.drawImage(over, 0, 0, made.width, made.height);
  save("scgeoae-map.png", "image/png", await new Promise((resolve) => made.toBlob(resolve)));
}
