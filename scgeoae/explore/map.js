// The map: its lens, the field of the determinant, and what is drawn over it.

const CIRCLE = 36; // radius in pixels of the undistorted circle at the pointer

class MapView extends Picture {
  /** Draws `cells` into the element; `contents` are those of the page. */
  constructor(root, cells, contents) {
    super(root, cells);
    Object.assign(this, { contents, lens: contents.lens && new Lens(contents.lens, cells.n) });
    this.field = null; // canvas with one pixel for each tile
    this.begin();
  }

  get bends() {
    return this.lens !== null && this.lens.bends;
  }

  get frame() {
    return this.bends ? this.lens.frame : super.frame;
  }

  /** Bend the map; a picture that shows the whole frame still does. */
  setLens(strength) {
    const { isWhole } = this;
    this.lens.set(strength);
    this.points.place(this.cells, this.bends ? this.lens.moved() : null);
    if (isWhole) this.fit(this.seesAll);
    this.setField(this.determinant);
  }

  /** The place of the true map at a pixel. */
  toMap(x, y) {
    const place = this.toPlane(x, y);
    return this.bends ? this.lens.straighten(place) : place;
  }

  /** The pixel at which a place of the true map is shown. */
  toScreen(place) {
    return super.toScreen(this.bends ? this.lens.bend(place) : place);
  }

  /** Where the map is bent, the sides of a box have many corners on the true map. */
  box(from, to) {
    return super.box(from, to, this.bends ? 24 : 1);
  }

  /** On the field, the points are smaller. */
  get radius() {
    return super.radius * (this.field ? 0.6 : 1);
  }

  get ground() {
    if (!this.field && !this.bends) return null;
    return (context, toCanvas, ratio) => {
      if (this.field) {
        const [left, right, bottom, top] = this.fieldExtent;
        const [[x0, y0], [x1, y1]] = [toCanvas(left, top), toCanvas(right, bottom)];
        context.imageSmoothingEnabled = false;
        context.drawImage(this.field, x0, y0, x1 - x0, y1 - y0);
      }
      if (this.bends) {
        context.strokeStyle = this.theme("line");
        context.lineWidth = ratio;
        context.stroke(new Path2D(this.graticule(toCanvas)));
      }
    };
  }

  /** What lies below the cells as elements of SVG. */
  groundShapes() {
    const { view, width, height } = this;
    const toPixel = (x, y) => [(x - view.x) * view.scale + width / 2, (view.y - y) * view.scale + height / 2];
    const shapes = [];
    if (this.field) {
      const [left, right, bottom, top] = this.fieldExtent;
      const [[x, y], [x1, y1]] = [toPixel(left, top), toPixel(right, bottom)];
      const place = { x, y, width: x1 - x, height: y1 - y, preserveAspectRatio: "none" };
      shapes.push(svg("image", { href: this.field.toDataURL(), ...place, "image-rendering": "pixelated" }));
    }
    if (this.bends) shapes.push(svg("path", { d: this.graticule(toPixel), fill: "none", stroke: this.theme("line") }));
    return shapes;
  }

  get fieldExtent() {
    return (this.bends ? this.lens : this.contents.region).extent;
  }

  /** The mesh of the true map as it is bent, as a path of SVG; `to` gives the pixel of a place of the bent map. */
  graticule(to) {
    const line = (places) => places.map((place) => to(...place).map((value) => value.toFixed(1)).join(" ")).join("L");
    return this.lens.lines().map((places) => `M${line(places)}`).join("");
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

  overlaid() {
    return [this.#labels(), ...super.overlaid(), this.#path(), this.#place(), this.#scaleBar(), this.outside(36)];
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
      return [this.text(x, row, text, { "text-anchor": "middle", "font-weight": 600, "data-mark": "label" })];
    });
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
      const most = short(this.lens.most);
      const text = most === "1" ? "true areas" : `bent: areas up to ${most} times`;
      return this.text(14, this.height - 14, text, { "data-mark": "bent" });
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
      this.text(x, y - 8, `distance ${short(length)} in the data`),
    );
  }
}
