// The cells as points, drawn pixel by pixel: a million take some tens of milliseconds, without a graphics card.

const MARGIN = 64; // pixels around the visible part, so that points at its border are whole

/** Pack a color "#rrggbb" into the number that ImageData holds (little-endian). */
function packedColor(hex) {
  const number = parseInt(hex.slice(1), 16);
  return (0xff000000 | ((number & 0xff) << 16) | (number & 0xff00) | (number >> 16)) >>> 0;
}

/** The color "#rrggbb" of a packed one. */
function unpackedColor(packed) {
  const parts = [packed & 0xff, (packed >> 8) & 0xff, (packed >> 16) & 0xff];
  return `#${parts.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}

/** Mix two packed colors; `share` of the second, 0 to 256. */
function mixed(first, second, share) {
  const rest = 256 - share;
  const outer = (((first & 0xff00ff) * rest + (second & 0xff00ff) * share) >>> 8) & 0xff00ff;
  const green = (((first & 0xff00) * rest + (second & 0xff00) * share) >>> 8) & 0xff00;
  return (0xff000000 | outer | green) >>> 0;
}

/** The largest radius of a disc. */
const LARGEST = MARGIN - 2;

/** The pixels of a disc: offsets from its center and coverage, 0 to 256; whole pixels if it is tiny. */
function disc(radius) {
  const pixels = [];
  if (radius <= 1) {
    for (const [dx, dy] of [[0, 0], [1, 0], [0, 1], [1, 1]]) pixels.push({ dx, dy, coverage: 256 });
    return pixels;
  }
  const reach = Math.ceil(radius);
  for (let dy = -reach; dy <= reach; dy++) {
    for (let dx = -reach; dx <= reach; dx++) {
      const coverage = Math.min(Math.max(radius + 0.5 - Math.hypot(dx, dy), 0), 1);
      if (coverage > 0) pixels.push({ dx, dy, coverage: Math.round(256 * coverage) });
    }
  }
  return pixels;
}

class Points {
  /** Shuffle the cells, so that none hides others by its place in the file and the first ones are a fair sample. */
  constructor(cells) {
    this.n = cells.n;
    this.order = Uint32Array.from({ length: this.n }, (_, i) => i);
    let state = 1;
    for (let i = this.n - 1; i > 0; i--) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      const j = Math.floor((state / 2 ** 32) * (i + 1));
      [this.order[i], this.order[j]] = [this.order[j], this.order[i]];
    }
    this.place(cells);
    this.codes = new Uint16Array(this.n);
    this.chosen = null;
    this.palette = new Uint32Array(0);
    this.perPoint = 1e-4; // milliseconds, measured at each drawing
  }

  /** Put the cells where they are or, with how far each one is `moved` (n, 2), elsewhere. */
  place(cells, moved = null) {
    this.x = Float32Array.from(this.order, (cell) => cells.x(cell) + (moved ? moved[2 * cell] : 0));
    this.y = Float32Array.from(this.order, (cell) => cells.y(cell) + (moved ? moved[2 * cell + 1] : 0));
    this.extent = [Infinity, -Infinity, Infinity, -Infinity]; // a cell without coordinates is not a number
    for (let i = 0; i < this.n; i++) {
      const [x, y] = [this.x[i], this.y[i]];
      if (x < this.extent[0]) this.extent[0] = x;
      if (x > this.extent[1]) this.extent[1] = x;
      if (y < this.extent[2]) this.extent[2] = y;
      if (y > this.extent[3]) this.extent[3] = y;
    }
  }

  /** Set the color number of each cell, and the packed colors; 0 hides a cell. */
  color(codes, palette) {
    this.codes = Uint16Array.from(this.order, (cell) => codes[cell]);
    this.palette = palette;
  }

  /** Set which cells stand out, 1 or 0 each; null for all. */
  choose(chosen) {
    this.chosen = chosen && Uint8Array.from(this.order, (cell) => chosen[cell]);
  }

  /**
   * Draw into the pixels (Uint32Array) of an image of this width and height, margins included.
   *
   * `view` is {x, y, scale}: the map point in the middle, and pixels per unit of the map. Unchosen cells are mixed with
   * the background and lie below. With a `limit` in milliseconds, only as many points are drawn as probably fit.
   */
  draw(pixels, width, height, view, radius, background, limit = Infinity) {
    const start = performance.now();
    const n = Math.min(this.n, Math.max(2000, Math.round(limit / this.perPoint)));
    const stamp = disc(Math.min(radius, LARGEST));
    const offsets = Int32Array.from(stamp, ({ dx, dy }) => dy * width + dx);
    const coverage = Uint16Array.from(stamp, (pixel) => pixel.coverage);
    const reach = Math.max(...stamp.map(({ dx }) => dx));
    for (const [pass, palette] of this.#passes(background)) {
      for (let i = 0; i < n; i++) {
        if (this.chosen && this.chosen[i] !== pass) continue;
        const color = palette[this.codes[i]];
        if (color === 0) continue;
        const column = Math.round((this.x[i] - view.x) * view.scale + width / 2);
        const row = Math.round((view.y - this.y[i]) * view.scale + height / 2);
        if (!(column >= reach && row >= reach && column < width - reach && row < height - reach)) continue;
        const center = row * width + column;
        for (let k = 0; k < offsets.length; k++) {
          const pixel = center + offsets[k];
          pixels[pixel] = coverage[k] === 256 ? color : mixed(pixels[pixel], color, coverage[k]);
        }
      }
    }
    this.perPoint = (performance.now() - start) / n;
    return n;
  }

  /** Whether cells are chosen (1) or not (0) and their colors, in the order of drawing. */
  #passes(background) {
    const faint = this.palette.map((color) => color && mixed(background, color, 40));
    return this.chosen ? [[0, faint], [1, this.palette]] : [[1, this.palette]];
  }

  /** The cells in an image of this width and height, in the order of drawing: their places and packed colors. */
  *visible(width, height, view, radius, background) {
    for (const [pass, palette] of this.#passes(background)) {
      for (let i = 0; i < this.n; i++) {
        const color = palette[this.codes[i]];
        if (color === 0 || (this.chosen && this.chosen[i] !== pass)) continue;
        const x = (this.x[i] - view.x) * view.scale + width / 2;
        const y = (view.y - this.y[i]) * view.scale + height / 2;
        if (x > -radius && y > -radius && x < width + radius && y < height + radius) yield { x, y, color };
      }
    }
  }

  /** How many cells lie outside a frame. */
  outside([left, right, bottom, top]) {
    let n = 0;
    for (let i = 0; i < this.n; i++) {
      if (this.x[i] < left || this.x[i] > right || this.y[i] < bottom || this.y[i] > top) n += 1;
    }
    return n;
  }
}
