// HTML and SVG elements, small charts, the scale bar. Names are only ever added as text.

/** Make an HTML element; children are elements or text. */
function element(tag, properties = {}, ...children) {
  const { style, dataset, ...others } = properties;
  const made = Object.assign(document.createElement(tag), others);
  Object.assign(made.style, style);
  Object.assign(made.dataset, dataset);
  made.append(...children);
  return made;
}

/** Make an SVG element; children are elements or text. */
function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** A text of the page by any name, set apart from the direction of the text around it. */
const named = (text) => element("bdi", { title: text }, text);

/** A number with three digits that count. */
function short(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(1);
  return size >= 100 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
}

const percent = (share) => `${short(100 * share)} %`;

/** The longest of 1, 2, 5, 10, … that is at most a limit. */
function roundLength(limit) {
  const power = 10 ** Math.floor(Math.log10(limit));
  return [5, 2, 1].find((step) => step * power <= limit * (1 + 1e-9)) * power;
}

/** Color "#rrggbb" of a share, 0 to 1, in a map of 256 colors. */
function colorAt(map, share) {
  const start = 3 * Math.round(255 * Math.min(Math.max(share, 0), 1));
  return `#${Array.from(map.subarray(start, start + 3), (part) => part.toString(16).padStart(2, "0")).join("")}`;
}

/** A map of 256 colors as a bar with numbers below it. */
function colorBar(map, ...numbers) {
  const bar = element("canvas", { width: 256, height: 1 });
  const pixels = Uint32Array.from({ length: 256 }, (_, i) => packedColor(colorAt(map, i / 255)));
  bar.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(pixels.buffer), 256, 1), 0, 0);
  const scale = element("div", { className: "scale" }, ...numbers.map((number) => element("span", {}, number)));
  return element("div", { className: "colors" }, bar, scale);
}

/** Rows of a name, a bar or two (one above the other) and a text; lengths are relative to the longest or to `longest`. */
function bars(rows, { centered = true, longest = 0 } = {}) {
  const lengthsOf = ({ length, below }) => (below === undefined ? [length] : [length, below]);
  const full = Math.max(longest, ...rows.flatMap(lengthsOf).map(Math.abs)) || 1;
  const cells = rows.flatMap((row) => {
    const lengths = lengthsOf(row);
    const fills = lengths.map((length, i) => {
      const share = (Math.abs(length) / full) * (centered ? 50 : 100);
      const left = centered ? (length < 0 ? 50 - share : 50) : 0;
      const className = lengths.length === 1 ? "" : i === 0 ? "upper" : "lower";
      return element("i", { className, style: { left: `${left}%`, width: `${share}%`, background: row.color } });
    });
    const bar = element("div", { className: centered ? "bar" : "bar from-left" }, ...fills);
    return [named(row.name), bar, element("span", { className: "value" }, row.text)];
  });
  return element("div", { className: "bars" }, ...cells);
}

/**
 * A curve over [0, 1] with dots, and bands where it is an extrapolation.
 *
 * `curve` are values at equal steps, `dots` pairs of position and value, `outside` marks the steps without cells.
 */
function chart(name, curve, dots, outside, colors) {
  const [width, height, top] = [300, 64, 14];
  const values = [...curve, ...dots.map(([, value]) => value)];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (share) => 4 + share * (width - 8);
  const y = (value) => height - 4 - ((value - low) / (high - low || 1)) * (height - top - 8);
  const step = 1 / (curve.length - 1);
  const bands = svg("g", { fill: colors.line, opacity: 0.6 });
  outside.forEach((is, i) => {
    const band = { x: x((i - 0.5) * step), y: top, width: step * (width - 8) + 0.5, height: height - top };
    if (is) bands.append(svg("rect", band));
  });
  const points = dots.map(([share, value]) =>
    svg("circle", { cx: x(share), cy: y(value), r: 1.6, fill: colors.quiet, opacity: 0.55 }),
  );
  const line = curve.map((value, i) => `${x(i * step).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  const text = { "font-size": 11, "font-family": "sans-serif", fill: colors.text };
  return svg(
    "svg",
    { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img" },
    svg("title", {}, `${name} along the path`),
    bands,
    ...points,
    svg("polyline", { points: line, fill: "none", stroke: colors.accent, "stroke-width": 2 }),
    svg("text", { x: 4, y: 10, ...text }, name.length > 28 ? `${name.slice(0, 27)}…` : name),
    svg("text", { x: width - 4, y: 10, ...text, "text-anchor": "end" }, `${short(low)} to ${short(high)}`),
  );
}

function button(text, action) {
  const made = element("button", {}, text);
  made.addEventListener("click", action);
  return made;
}

/** Offer a file for download. */
function save(name, type, content) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** A row of a CSV file (RFC 4180); a text that a spreadsheet would take for a formula begins with an apostrophe. */
function csvRow(fields) {
  const harmless = (field) => (typeof field === "string" && /^[=+\-@\t\r]/.test(field) ? `'${field}` : field);
  const quoted = (field) => (/[",\r\n]/.test(field) ? `"${String(field).replaceAll('"', '""')}"` : field);
  return `${fields.map(harmless).map(quoted).join(",")}\r\n`;
}
