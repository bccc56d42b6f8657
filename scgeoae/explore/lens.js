// The lens: bends the true map, at any strength between those that the page holds.

const LINES = 24; // of the graticule along the longer side of the box

/**
 * Where the lens moves places and cells.
 *
 * At each of the `strengths`, the page holds where the nodes of a square mesh over the box `extent` go, `columns` of
 * them in a row, and how far each cell moves. Between nodes and between strengths, places are interpolated; at the
 * strengths, cells are where they belong.
 */
class Lens {
  constructor({ strengths, extent, columns, meshes, shifts, frames, largest, averages }, n) {
    Object.assign(this, { strengths, extent, columns, meshes, shifts, frames, largest, averages, n });
    this.rows = meshes[0].length / 2 / columns;
    this.tile = (extent[1] - extent[0]) / (columns - 1);
    this.set(0);
  }

  get bends() {
    return this.strength > 0;
  }

  set(strength) {
    this.strength = strength;
    const above = Math.max(this.strengths.findIndex((each) => each >= strength), 1);
    const [low, high] = [this.strengths[above - 1], this.strengths[above]];
    this.between = [above - 1, above, (strength - low) / (high - low)];
    this.mesh = this.#mixed((number) => this.meshes[number]);
    this.quads = null;
  }

  /** Mix numbers of two strengths. */
  #mixed(of) {
    const [low, high, share] = this.between;
    const [first, second] = [of(low), of(high)];
    return first.map((value, i) => (1 - share) * value + share * second[i]);
  }

  get frame() {
    return this.#mixed((number) => this.frames[number]);
  }

  /** How many times larger cells are shown at most. */
  get most() {
    return this.#mixed((number) => [this.largest[number]])[0];
  }

  /** How many times larger cells are shown, on geometric average. */
  get average() {
    return Math.exp(this.#mixed((number) => [Math.log(this.averages[number])])[0]);
  }

  /** How far the cells move: (n, 2). */
  moved() {
    const [low, high, share] = this.between;
    const total = new Float64Array(2 * this.n);
    for (const [number, part] of [[low, 1 - share], [high, share]]) {
      const shifts = this.shifts[number];
      if (!shifts || part === 0) continue;
      const step = (shifts.high - shifts.low) / 65535;
      for (let i = 0; i < total.length; i++) total[i] += part * (shifts.low + step * shifts.levels[i]);
    }
    return total;
  }

  /** The quad of the mesh at a place of the box, and the place in it; `edge` is how far it lies beyond a side. */
  #locate([x, y]) {
    const [left, , bottom] = this.extent;
    const [u, v] = [(x - left) / this.tile, (y - bottom) / this.tile];
    const [inU, inV] = [Math.min(Math.max(u, 0), this.columns - 1), Math.min(Math.max(v, 0), this.rows - 1)];
    const column = Math.min(Math.floor(inU), this.columns - 2);
    const row = Math.min(Math.floor(inV), this.rows - 2);
    const beyond = [(u - inU) * this.tile, (v - inV) * this.tile];
    return { quad: row * this.columns + column, s: inU - column, t: inV - row, beyond };
  }

  #corner(node) {
    return [this.mesh[2 * node], this.mesh[2 * node + 1]];
  }

  /** Place and derivatives along s and t in a bent quad. */
  #bilinear(quad, s, t) {
    const nodes = [quad, quad + 1, quad + this.columns, quad + this.columns + 1].map((node) => this.#corner(node));
    const mix = (i) => {
      const [a, b, c, d] = nodes.map((node) => node[i]);
      const [low, high] = [b - a, d - c];
      return [a + s * low + t * (c - a + s * (high - low)), low + t * (high - low), c - a + s * (high - low)];
    };
    const [[x, xs, xt], [y, ys, yt]] = [mix(0), mix(1)];
    return { at: [x, y], xs, xt, ys, yt };
  }

  /** Where a place of the true map is on the bent one. */
  bend(place) {
    if (!this.bends) return place;
    const { quad, s, t, beyond } = this.#locate(place);
    const { at } = this.#bilinear(quad, s, t);
    return [at[0] + beyond[0], at[1] + beyond[1]];
  }

  /** The derivative of the bent place, by rows: [a, b, c, d]. */
  derivative(place) {
    if (!this.bends) return [1, 0, 0, 1];
    const { quad, s, t, beyond } = this.#locate(place);
    const { xs, xt, ys, yt } = this.#bilinear(quad, s, t);
    const [inX, inY] = beyond.map((distance) => distance === 0);
    const [a, b, c, d] = [xs, xt, ys, yt].map((value) => value / this.tile);
    return [inX ? a : 1, inY && inX ? b : 0, inX && inY ? c : 0, inY ? d : 1];
  }

  /** Where a place of the bent map is on the true one. */
  straighten(place) {
    if (!this.bends) return place;
    this.quads ??= this.#sorted();
    const [left, right, bottom, top] = this.extent;
    const inside = [Math.min(Math.max(place[0], left), right), Math.min(Math.max(place[1], bottom), top)];
    let best = { off: Infinity };
    for (const quad of this.quads[this.#bin(...inside)]) {
      const found = this.#solved(quad, inside);
      if (found.off < best.off) best = found;
      if (best.off < 1e-6) break;
    }
    const { quad, s, t } = best;
    const [column, row] = [(quad % this.columns) + s, Math.floor(quad / this.columns) + t];
    return [left + column * this.tile + place[0] - inside[0], bottom + row * this.tile + place[1] - inside[1]];
  }

  /** The place in a bent quad that is at a point, and how far off it is: beyond the quad, or not there at all. */
  #solved(quad, [x, y]) {
    let [s, t, rest] = [0.5, 0.5, Infinity];
    for (let i = 0; i < 12 && rest > 1e-8 * this.tile; i++) {
      const { at, xs, xt, ys, yt } = this.#bilinear(quad, s, t);
      const [dx, dy, determinant] = [x - at[0], y - at[1], xs * yt - xt * ys];
      rest = Math.hypot(dx, dy);
      // steps that lead far away are shortened: there, the quad is another one
      s += Math.min(Math.max((yt * dx - xt * dy) / determinant, -1), 1);
      t += Math.min(Math.max((xs * dy - ys * dx) / determinant, -1), 1);
    }
    const off = Math.max(-s, s - 1, -t, t - 1, 0) + rest / this.tile;
    return { quad, s, t, off: Number.isFinite(off) ? off : 1e9 };
  }

  #bin(x, y) {
    const [left, , bottom] = this.extent;
    const column = Math.min(Math.max(Math.floor((x - left) / this.tile), 0), this.columns - 2);
    return Math.min(Math.max(Math.floor((y - bottom) / this.tile), 0), this.rows - 2) * this.columns + column;
  }

  /** The bent quads that may hold a place, by the tile of the box in which it lies. */
  #sorted() {
    const bins = Array.from({ length: this.columns * this.rows }, () => []);
    for (let row = 0; row < this.rows - 1; row++) {
      for (let column = 0; column < this.columns - 1; column++) {
        const quad = row * this.columns + column;
        const corners = [0, 1, this.columns, this.columns + 1].map((step) => this.#corner(quad + step));
        const [xs, ys] = [corners.map(([x]) => x), corners.map(([, y]) => y)];
        const first = this.#bin(Math.min(...xs), Math.min(...ys));
        const last = this.#bin(Math.max(...xs), Math.max(...ys));
        for (let bin = first; bin <= last; bin += this.columns) {
          const width = (last % this.columns) - (first % this.columns);
          for (let i = 0; i <= width; i++) bins[bin + i].push(quad);
        }
      }
    }
    return bins;
  }

  /** The lines of the mesh, each a list of places on the bent map. */
  lines() {
    const every = Math.max(Math.round((Math.max(this.columns, this.rows) - 1) / LINES), 1);
    const line = (length, node) => Array.from({ length }, (_, i) => this.#corner(node(i)));
    const lines = [];
    for (let row = 0; row < this.rows; row += every) lines.push(line(this.columns, (i) => row * this.columns + i));
    for (let column = 0; column < this.columns; column += every) {
      lines.push(line(this.rows, (i) => i * this.columns + column));
    }
    return lines;
  }

  /** The geometry of the decoder at a place, as it is on the bent map. */
  seen(geometry, place) {
    if (!this.bends) return geometry;
    const [a, b, c, d] = this.derivative(place);
    const larger = a * d - b * c;
    const [first, second] = geometry.tangents;
    const tangents = [
      first.map((value, i) => (d * value - c * second[i]) / larger),
      first.map((value, i) => (a * second[i] - b * value) / larger),
    ];
    const [e, f, g] = geometry.metric;
    const metric = [
      (d * d * e - 2 * c * d * f + c * c * g) / larger ** 2,
      (-b * d * e + (a * d + b * c) * f - a * c * g) / larger ** 2,
      (b * b * e - 2 * a * b * f + a * a * g) / larger ** 2,
    ];
    const determinant = (geometry.determinant * this.average) / larger; // over its average on the bent map
    return { ...geometry, tangents, ...ellipse(metric, geometry.area / larger), determinant, larger };
  }
}
