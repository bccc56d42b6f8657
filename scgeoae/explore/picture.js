// A picture of the cells: its view, motion and zoom, the points, and the marks over them.

const FRAME = 25; // milliseconds that a picture may take while it moves
const REST = 120; // milliseconds without motion until all cells are drawn
const ROOM = 1.1; // side of the frame, in those of what it holds
const NEAR = 24; // pixels within which a cell is pointed at

class Picture {
  /** Shows `cells` in an element with a canvas and an overlay; call `begin` when `frame` and `ground` can answer. */
  constructor(root, cells) {
    Object.assign(this, { root, cells, points: new Points(cells), view: { x: 0, y: 0, scale: 1 }, pointSize: 1 });
    this.canvas = root.querySelector("canvas");
    this.overlay = root.querySelector("svg");
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.seesAll = false;
    this.cursor = null; // place at which the keyboard points
    this.marks = { shapes: [], path: [], place: null, labels: [], cursor: false, cell: null };
  }

  begin() {
    new ResizeObserver(() => this.resize()).observe(this.root);
    this.resize();
    this.fit();
  }

  /** Left, right, bottom and top of what is shown at first: that of the plots. */
  get frame() {
    return this.cells.bounds;
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    [this.width, this.height, this.ratio] = [this.root.clientWidth, this.root.clientHeight, ratio];
    this.canvas.width = Math.round(this.width * ratio) + 2 * MARGIN;
    this.canvas.height = Math.round(this.height * ratio) + 2 * MARGIN;
    const style = { left: -MARGIN, top: -MARGIN, width: this.canvas.width, height: this.canvas.height };
    for (const [name, value] of Object.entries(style)) this.canvas.style[name] = `${value / ratio}px`;
    this.image = this.context.createImageData(this.canvas.width, this.canvas.height);
    if (this.fitted === 0 || this.isWhole) this.fit(this.seesAll); // 0: the page was not visible before
    else this.#measure();
    this.draw();
  }

  /** Show the frame or, with outliers, all cells. */
  fit(all = false) {
    this.seesAll = all;
    this.left = this.points.outside(this.frame); // cells that are left out
    this.#measure();
    const shown = all ? this.everything : this.frame;
    const [left, right, bottom, top] = shown;
    this.home = { x: (left + right) / 2, y: (bottom + top) / 2, scale: this.#scaleOf(shown) };
    this.move(this.home);
  }

  /** The scale at which the frame is shown, and the smallest one. */
  #measure() {
    this.fitted = this.#scaleOf(this.frame);
    this.least = Math.min(this.fitted, this.#scaleOf(this.everything)) / 4;
  }

  #scaleOf([left, right, bottom, top]) {
    const size = Math.max((right - left) / this.width, (top - bottom) / Math.max(this.height - 80, 1));
    return 1 / (size || 1 / this.width);
  }

  /** The square around all cells; that of the frame if they are at one place. */
  get everything() {
    const [left, right, bottom, top] = this.points.extent;
    const half = (ROOM / 2) * Math.max(right - left, top - bottom);
    const [x, y] = [(left + right) / 2, (bottom + top) / 2];
    return half > 0 ? [x - half, x + half, y - half, y + half] : this.frame;
  }

  /** Whether the picture is as `fit` has left it. */
  get isWhole() {
    return ["x", "y", "scale"].every((part) => this.view[part] === this.home?.[part]);
  }

  /** Change the view; while it is `moving`, as many cells are drawn as fit into the time of a picture. */
  move(view, moving = false) {
    Object.assign(this.view, view);
    this.view.scale = this.#limited(this.view.scale);
    this.draw(moving);
  }

  #limited(scale) {
    return Math.min(Math.max(scale, this.least), this.fitted * 1e5);
  }

  zoom(factor, at = [this.width / 2, this.height / 2], moving = false) {
    const [x, y] = this.toPlane(...at);
    const scale = this.#limited(this.view.scale * factor);
    const [dx, dy] = [(at[0] - this.width / 2) / scale, (at[1] - this.height / 2) / scale];
    this.move({ x: x - dx, y: y + dy, scale }, moving);
  }

  /** A point of the picture, in units of its coordinates. */
  toPlane(x, y) {
    const { view, width, height } = this;
    return [view.x + (x - width / 2) / view.scale, view.y - (y - height / 2) / view.scale];
  }

  /** The place at a pixel, and the pixel of a place. */
  toMap(x, y) {
    return this.toPlane(x, y);
  }

  toScreen([x, y]) {
    const { view, width, height } = this;
    return [(x - view.x) * view.scale + width / 2, (view.y - y) * view.scale + height / 2];
  }

  /** The cell nearest to a place, or null if it is far from it on the screen. */
  near(place) {
    const cell = this.cells.nearest(...place);
    const [[x0, y0], [x1, y1]] = [this.toScreen(place), this.toScreen([this.cells.x(cell), this.cells.y(cell)])];
    return Math.hypot(x1 - x0, y1 - y0) <= NEAR ? cell : null;
  }

  /** The cells that are seen, in the order of drawing: where they are, and their color. */
  visible() {
    const { width, height, view, radius } = this;
    return this.points.visible(width, height, view, radius, packedColor(this.theme("background")));
  }

  /** The box between two pixels, as places. */
  box([x0, y0], [x1, y1], parts = 1) {
    const corners = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
    return corners.flatMap(([x, y], i) => {
      const [nextX, nextY] = corners[(i + 1) % 4];
      return Array.from({ length: parts }, (_, k) => {
        return this.toMap(x + ((nextX - x) * k) / parts, y + ((nextY - y) * k) / parts);
      });
    });
  }

  /** A color of the page's theme. */
  theme(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  }

  /** Radius of the points in pixels of the screen: that of scanpy's dots, growing a little with the zoom. */
  get radius() {
    const usual = Math.min(Math.max(0.4 * Math.sqrt(120_000 / this.points.n), 0.5), 4.5);
    const zoomed = Math.min(Math.max(this.view.scale / this.fitted, 0.5), 30) ** 0.4;
    return usual * this.pointSize * zoomed;
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
    this.drawn = this.#fill(this.context, this.image, this.ratio, limit);
  }

  /** What lies below the cells, as a function that draws it; null for nothing. */
  get ground() {
    return null;
  }

  /** Draw ground and cells into a canvas with margins; return the number of cells. */
  #fill(context, image, ratio, limit) {
    const { width, height } = context.canvas;
    const scale = this.view.scale * ratio;
    const background = this.theme("background");
    const { ground } = this;
    if (ground) {
      context.fillStyle = background;
      context.fillRect(0, 0, width, height);
      ground(context, (x, y) => [(x - this.view.x) * scale + width / 2, (this.view.y - y) * scale + height / 2], ratio);
      image = context.getImageData(0, 0, width, height);
    }
    const pixels = new Uint32Array(image.data.buffer);
    if (!ground) pixels.fill(packedColor(background));
    const view = { ...this.view, scale };
    const drawn = this.points.draw(pixels, width, height, view, this.radius * ratio, packedColor(background), limit);
    context.putImageData(image, 0, 0);
    return drawn;
  }

  /** The visible part below the overlay as an image, with this many pixels per pixel of the screen. */
  snapshot(ratio) {
    const [width, height] = [this.width, this.height].map((size) => Math.round(size * ratio));
    const whole = element("canvas", { width: width + 2 * MARGIN, height: height + 2 * MARGIN });
    const context = whole.getContext("2d", { willReadFrequently: true });
    this.#fill(context, context.createImageData(whole.width, whole.height), ratio, Infinity);
    const visible = element("canvas", { width, height });
    visible.getContext("2d").drawImage(whole, -MARGIN, -MARGIN);
    return visible;
  }

  drawOverlay() {
    if (this.fitted > 0) this.overlay.replaceChildren(...this.overlaid().flat());
  }

  /** Elements over the cells. */
  overlaid() {
    return [this.#shapes(), this.#cell(), this.#cursor()];
  }

  text(x, y, text, attributes = {}) {
    return svg(
      "text",
      {
        x, y, "font-size": 12, "font-family": "sans-serif", fill: this.theme("text"), stroke: this.theme("background"),
        "stroke-width": 3, "stroke-linejoin": "round", "paint-order": "stroke", ...attributes,
      },
      text,
    );
  }

  /** What lies below the cells as elements of SVG. */
  groundShapes() {
    return [];
  }

  /** How many cells the frame leaves out, above the lower edge; as the plots say it. */
  outside(above) {
    const n = this.isWhole && !this.seesAll ? this.left : 0;
    const text = `${n.toLocaleString("en")} cell${n > 1 ? "s" : ""} outside`;
    return n > 0 ? this.text(14, this.height - 14 - above, text, { "data-mark": "outside" }) : [];
  }

  /** Outlines of selections, with their names. */
  #shapes() {
    const color = this.theme("accent");
    const style = { fill: color, "fill-opacity": 0.08, stroke: color, "stroke-width": 1.5 };
    return this.marks.shapes.flatMap(({ shape, name }) => {
      const corners = shape.map((point) => this.toScreen(point));
      const points = corners.map((corner) => corner.join(",")).join(" ");
      const [x, y] = corners.reduce((highest, corner) => (corner[1] < highest[1] ? corner : highest));
      const outline = svg("polygon", { points, ...style, "data-mark": "selection" });
      if (!name) return [outline];
      // in sight, and below the tools
      const at = [[x + 6, 6, this.width - 20], [y + 18, 94, this.height - 40]];
      const place = at.map(([value, low, high]) => Math.min(Math.max(value, low), high));
      return [outline, this.text(...place, name, { "font-size": 16, "font-weight": 600, fill: color })];
    });
  }

  /** The cell that is pointed at in another picture. */
  #cell() {
    if (!this.marks.cell) return [];
    const [cx, cy] = this.toScreen(this.marks.cell);
    const ring = { cx, cy, r: this.radius + 5, fill: "none" };
    return [
      svg("circle", { ...ring, stroke: this.theme("background"), "stroke-width": 5 }),
      svg("circle", { ...ring, stroke: this.theme("text"), "stroke-width": 2.5, "data-mark": "cell" }),
    ];
  }

  /** Where the keyboard points. */
  #cursor() {
    if (!this.marks.cursor || !this.cursor) return [];
    const [x, y] = this.toScreen(this.cursor);
    const d = `M${x - 9} ${y}H${x + 9}M${x} ${y - 9}V${y + 9}`;
    return [["background", 4], ["text", 1.5]].map(([color, width]) => {
      return svg("path", { d, stroke: this.theme(color), "stroke-width": width, "data-mark": "cursor" });
    });
  }
}
