// The map: the view, the picture of the cells, what is drawn over it, and its export.

const CIRCLE = 36; // radius in pixels of the undistorted circle at the pointer
const FRAME = 25; // milliseconds that a picture may take while the map moves
const REST = 120; // milliseconds without motion until all cells are drawn

class MapView {
  /** Draws `cells` into the element; `contents` are those of the page. */
  constructor(root, cells, contents) {
    Object.assign(this, { root, cells, contents, points: new Points(cells), view: { x: 0, y: 0, scale: 1 } });
    this.lens = contents.lens && new Lens(contents.lens, cells.n);
    this.canvas = root.querySelector("canvas");
    this.overlay = root.querySelector("svg");
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.pointSize = 1;
    this.field = null; // canvas with one pixel for each tile
    this.marks = { shape: null, path: [], place: null, labels: [] };
    new ResizeObserver(() => this.resize()).observe(root);
    this.resize();
    this.fit();
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    [this.width, this.height, this.ratio] = [this.root.clientWidth, this.root.clientHeight, ratio];
    this.canvas.width = Math.round(this.width * ratio) + 2 * MARGIN;
    this.canvas.height = Math.round(this.height * ratio) + 2 * MARGIN;
    const style = { left: -MARGIN, top: -MARGIN, width: this.canvas.width, height: this.canvas.height };
    for (const [name, value] of Object.entries(style)) this.canvas.style[name] = `${value / ratio}px`;
    this.image = this.context.createImageData(this.canvas.width, this.canvas.height);
    if (this.fitted === 0) this.fit(); // the page was not visible before
    this.draw();
  }

  get bends() {
    return this.lens !== null && this.lens.bends;
  }

  /** Bend the map; a picture that shows the whole frame still does. */
  setLens(strength) {
    const whole = this.view.scale === this.fitted;
    this.lens.set(strength);
    this.points.place(this.cells, this.bends ? this.lens.moved() : null);
    if (whole) this.fit();
    this.setField(this.determinant);
  }

  /** Show the frame, which is that of the other plots. */
  fit() {
    const [left, right, bottom, top] = this.bends ? this.lens.frame : this.cells.bounds;
    const size = Math.max((right - left) / this.width, (top - bottom) / Math.max(this.height - 80, 1));
    this.fitted = 1 / (size || 1 / this.width);
    this.move({ x: (left + right) / 2, y: (bottom + top) / 2, scale: this.fitted });
  }

  /** Change the view; while it is `moving`, as many cells are drawn as fit into the time of a picture. */
  move(view, moving = false) {
    Object.assign(this.view, view);
    this.view.scale = this.#limited(this.view.scale);
    this.draw(moving);
  }

  #limited(scale) {
    return Math.min(Math.max(scale, this.fitted / 4), this.fitted * 1e5);
  }

  zoom(factor, at = [this.width / 2, this.height / 2], moving = false) {
    const [x, y] = this.#toPlane(...at);
    const scale = this.#limited(this.view.scale * factor);
    const [dx, dy] = [(at[0] - this.width / 2) / scale, (at[1] - this.height / 2) / scale];
    this.move({ x: x - dx, y: y + dy, scale }, moving);
  }

  /** A point of the picture, in units of the map. */
  #toPlane(x, y) {
    const { view, width, height } = this;
    return [view.x + (x - width / 2) / view.scale, view.y - (y - height / 2) / view.scale];
  }

  /** The place of the true map at a pixel. */
  toMap(x, y) {
    const place = this.#toPlane(x, y);
    return this.bends ? this.lens.straighten(place) : place;
  }

  /** The pixel at which a place of the true map is shown. */
  toScreen(place) {
    const { view, width, height } = this;
    const [x, y] = this.bends ? this.lens.bend(place) : place;
    return [(x - view.x) * view.scale + width / 2, (view.y - y) * view.scale + height / 2];
  }

  /** A color of the page's theme. */
  theme(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  }

  /** Radius of the points in pixels of the screen: that of scanpy's dots, growing a little with the zoom. */
  get radius() {
    const usual = Math.min(Math.max(0.4 * Math.sqrt(120_000 / this.cells.n), 0.5), 4.5);
    const zoomed = Math.min(Math.max(this.view.scale / this.fitted, 0.5), 30) ** 0.4;
    return usual * this.pointSize * zoomed * (this.field ? 0.6 : 1);
  }

  /** Draw with the next picture of the screen. */
  draw(moving = false) {
    clearTimeout(this.resting);
    if (moving) this.resting = setTimeout(() => this.draw(), REST);
    this.moving = moving;
    this.pending ??= requestAnimationFrame(() => {
      this.pending = null;
      this.paint(this.moving ? FRAME : Infinity);
      this.drawOverlay();
    });
  }

  paint(limit) {
    const { width, height } = this.canvas;
    const background = packedColor(this.theme("background"));
    let image = this.image;
    const scale = this.view.scale * this.ratio;
    const toCanvas = (x, y) => [(x - this.view.x) * scale + width / 2, (this.view.y - y) * scale + height / 2];
    if (this.field || this.bends) {
      this.context.fillStyle = this.theme("background");
      this.context.fillRect(0, 0, width, height);
      if (this.field) {
        const [left, right, bottom, top] = (this.bends ? this.lens : this.contents.region).extent;
        this.context.imageSmoothingEnabled = false;
        this.context.drawImage(this.field, ...toCanvas(left, top), (right - left) * scale, (top - bottom) * scale);
      }
      if (this.bends) this.#graticule(toCanvas);
      image = this.context.getImageData(0, 0, width, height);
    }
    const pixels = new Uint32Array(image.data.buffer);
    if (!this.field && !this.bends) pixels.fill(background);
    const view = { ...this.view, scale: this.view.scale * this.ratio };
    this.drawn = this.points.draw(pixels, width, height, view, this.radius * this.ratio, background, limit);
    this.context.putImageData(image, 0, 0);
  }

  /** The mesh of the true map as it is bent. */
  #graticule(toCanvas) {
    this.context.strokeStyle = this.theme("line");
    this.context.lineWidth = this.ratio;
    this.context.beginPath();
    for (const line of this.lens.lines()) {
      line.forEach((place, i) => this.context[i ? "lineTo" : "moveTo"](...toCanvas(...place)));
    }
    this.context.stroke();
  }

  /** The determinants that the bent map has at pixels of the box of the lens. */
  #bentField(determinant) {
    const { lens, cells } = this;
    const { extent, tile } = lens;
    const [columns, rows] = [2 * (lens.columns - 1), 2 * (lens.rows - 1)];
    const values = new Float64Array(columns * rows).fill(NaN);
    for (let i = 0; i < values.length; i++) {
      const column = i % columns;
      const place = [extent[0] + ((column + 0.5) * tile) / 2, extent[2] + (((i - column) / columns + 0.5) * tile) / 2];
      const straight = lens.straighten(place);
      const [a, b, c, d] = lens.derivative(straight);
      const where = cells.region.tile(...straight);
      if (where >= 0) values[i] = (determinant[where] * lens.average) / (a * d - b * c);
    }
    return { columns, rows, values };
  }

  /** Show the determinant, of which each tile has one, in diverging colors, or nothing. */
  setField(determinant) {
    this.determinant = determinant;
    this.field = null;
    if (determinant) {
      const { columns, rows, values } = this.bends
        ? this.#bentField(determinant)
        : { ...this.cells.region, values: determinant };
      this.field = element("canvas", { width: columns, height: rows });
      const pixels = new Uint32Array(columns * rows);
      const { high } = this.contents.columns.find(({ diverging }) => diverging);
      values.forEach((value, tile) => {
        if (Number.isNaN(value)) return;
        const row = rows - 1 - Math.floor(tile / columns);
        const share = (Math.log(value) / high + 1) / 2;
        pixels[row * columns + (tile % columns)] = packedColor(colorAt(this.contents.colormaps.diverging, share));
      });
      const image = new ImageData(new Uint8ClampedArray(pixels.buffer), columns, rows);
      this.field.getContext("2d").putImageData(image, 0, 0);
    }
    this.draw();
  }

  drawOverlay() {
    if (this.fitted === 0) return;
    const marks = [this.#labels(), this.#shape(), this.#path(), this.#place(), this.#scaleBar()];
    this.overlay.replaceChildren(...marks.flat());
  }

  #text(x, y, text, attributes = {}) {
    return svg(
      "text",
      {
        x, y, "font-size": 12, "font-family": "sans-serif", fill: this.theme("text"), stroke: this.theme("background"),
        "stroke-width": 3, "stroke-linejoin": "round", "paint-order": "stroke", ...attributes,
      },
      text,
    );
  }

  /** Names of groups; one that would cover a name before it moves up or down a little, or is left out. */
  #labels() {
    const taken = [];
    return this.marks.labels.flatMap(({ at, text }) => {
      const [x, y] = this.toScreen(at);
      const half = 3.6 * text.length;
      const free = (row) => taken.every((box) => Math.abs(box.y - row) >= 15 || Math.abs(box.x - x) >= box.half + half);
      const row = [0, 15, -15, 30, -30].map((shift) => y + shift).find(free);
      if (row === undefined) return [];
      taken.push({ x, y: row, half });
      return [this.#text(x, row, text, { "text-anchor": "middle", "font-weight": 600, "data-mark": "label" })];
    });
  }

  #shape() {
    if (!this.marks.shape) return [];
    const points = this.marks.shape.map((point) => this.toScreen(point).join(",")).join(" ");
    const color = this.theme("accent");
    const style = { fill: color, "fill-opacity": 0.08, stroke: color, "stroke-width": 1.5 };
    return [svg("polygon", { points, ...style, "data-mark": "selection" })];
  }

  #path() {
    if (this.marks.path.length === 0) return [];
    const points = this.marks.path.map((point) => this.toScreen(point));
    const [text, background] = [this.theme("text"), this.theme("background")];
    const line = { points: points.map((point) => point.join(",")).join(" "), fill: "none", "stroke-linecap": "round" };
    const ends = [points[0], points.at(-1)].map(([cx, cy], i) =>
      svg("circle", { cx, cy, r: 5, fill: i ? text : background, stroke: text, "stroke-width": 2 }),
    );
    return [
      svg("polyline", { ...line, stroke: background, "stroke-width": 6 }),
      svg("polyline", { ...line, stroke: text, "stroke-width": 2.5, "data-mark": "path" }),
      ...(points.length > 1 ? ends : ends.slice(0, 1)),
    ];
  }

  /** The indicatrix of the place: a circle in the data, as it is on this map (solid) and on an undistorted one. */
  #place() {
    if (!this.marks.place) return [];
    const { at, geometry, kept } = this.marks.place;
    const [cx, cy] = this.toScreen(at);
    const unit = this.contents.decoder.unit / (this.bends ? Math.sqrt(this.lens.average) : 1);
    const [rx, ry] = geometry.axes.map((length) => Math.min(length * unit * CIRCLE, 1e5));
    const [text, background] = [this.theme("text"), this.theme("background")];
    const turned = `rotate(${(-geometry.angle * 180) / Math.PI} ${cx} ${cy})`;
    const ellipse = { cx, cy, rx, ry, transform: turned };
    const circle = { cx, cy, r: CIRCLE, fill: "none" };
    return [
      svg("circle", { ...circle, stroke: background, "stroke-width": 5 }),
      svg("ellipse", { ...ellipse, fill: background, "fill-opacity": 0.2, stroke: background, "stroke-width": 6 }),
      svg("ellipse", { ...ellipse, fill: "none", stroke: text, "stroke-width": 2.5, "data-mark": "indicatrix" }),
      svg("circle", { ...circle, stroke: this.theme("accent"), "stroke-width": 1.5, "stroke-dasharray": "4 4" }),
      svg("circle", { cx, cy, r: kept ? 4 : 2.5, fill: text, stroke: background, "stroke-width": 1 }),
    ];
  }

  /** The scale bar or, as a bent map has no scale, how much it is bent. */
  #scaleBar() {
    if (this.bends) {
      const text = `bent: areas up to ${short(this.lens.most)} times`;
      return this.#text(14, this.height - 14, text, { "data-mark": "bent" });
    }
    const unit = this.contents.decoder.unit;
    const length = roundLength((Math.min(160, 0.3 * this.width) / this.view.scale) * unit);
    const [x, y, pixels] = [14, this.height - 14, (length / unit) * this.view.scale];
    const bar = { x1: x, x2: x + pixels, y1: y, y2: y };
    return svg(
      "g",
      { "data-mark": "scale" },
      svg("line", { ...bar, stroke: this.theme("background"), "stroke-width": 7 }),
      svg("line", { ...bar, stroke: this.theme("text"), "stroke-width": 3 }),
      this.#text(x, y - 8, `distance ${short(length)} in the data`),
    );
  }

  /** The visible part of the picture as an image. */
  #snapshot() {
    this.paint(Infinity);
    const copy = element("canvas", { width: this.canvas.width - 2 * MARGIN, height: this.canvas.height - 2 * MARGIN });
    copy.getContext("2d").drawImage(this.canvas, -MARGIN, -MARGIN);
    return copy;
  }

  /** The overlay and a legend beside the map as SVG; with the cells as an image in it, or without. */
  #drawing(legend, cells) {
    const width = this.width + (legend ? 200 : 0);
    const size = { width, height: this.height, viewBox: `0 0 ${width} ${this.height}` };
    const map = [...this.overlay.childNodes].map((node) => node.cloneNode(true));
    const clip = svg("clipPath", { id: "frame" }, svg("rect", { width: this.width, height: this.height }));
    const picture = svg("svg", size, clip);
    if (cells) {
      picture.append(svg("rect", { width, height: this.height, fill: this.theme("background") }));
      const href = cells.toDataURL();
      picture.append(svg("image", { href, width: this.width, height: this.height }));
    }
    picture.append(svg("g", { "clip-path": "url(#frame)" }, ...map), ...this.#legend(legend));
    return new XMLSerializer().serializeToString(picture);
  }

  /** A legend as SVG, of `{title, entries}` or `{title, map, low, high}`. */
  #legend(legend) {
    if (!legend) return [];
    const [x, text] = [this.width + 16, (y, words, dx = 0) => this.#text(x + dx, y, words)];
    const cut = (words) => (words.length > 24 ? `${words.slice(0, 23)}…` : words);
    const parts = [text(28, cut(legend.title))];
    if (legend.entries) {
      legend.entries.slice(0, Math.max(1, Math.floor((this.height - 50) / 18))).forEach(({ color, name }, i) => {
        const swatch = svg("circle", { cx: x + 6, cy: 46 + 18 * i, r: 5.5, fill: color });
        parts.push(swatch, text(50 + 18 * i, cut(name), 18));
      });
      return parts;
    }
    for (let i = 0; i < 64; i++) {
      parts.push(svg("rect", { x: x + 2.5 * i, y: 38, width: 3, height: 12, fill: colorAt(legend.map, i / 63) }));
    }
    return [...parts, text(66, legend.low), this.#text(x + 160, 66, legend.high, { "text-anchor": "end" })];
  }

  saveSVG(legend) {
    save("scgeoae-map.svg", "image/svg+xml", this.#drawing(legend, this.#snapshot()));
    this.draw();
  }

  async savePNG(legend) {
    const cells = this.#snapshot();
    const over = new Image();
    over.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(this.#drawing(legend, null))}`;
    await over.decode();
    const ratio = Math.max(2, this.ratio);
    const picture = element("canvas", { width: over.width * ratio, height: over.height * ratio });
    const context = picture.getContext("2d");
    context.fillStyle = this.theme("background");
    context.fillRect(0, 0, picture.width, picture.height);
    context.drawImage(cells, 0, 0, this.width * ratio, this.height * ratio);
    context.drawImage(over, 0, 0, picture.width, picture.height);
    const blob = await new Promise((resolve) => picture.toBlob(resolve));
    save("scgeoae-map.png", "image/png", blob);
    this.draw();
    return picture;
  }
}
