// The cells: where they are, which are selected, what they express, and the occupied region of the map.

const MISSING = 255; // level of a missing number
const LEVELS = 254; // the highest level

/** Let the page draw and answer; resolves in the next task. */
const pause = () => new Promise((resolve) => setTimeout(resolve));

/** The part of the map that cells occupy: a mask over square tiles; row 0 is the lowest. */
class Region {
  constructor({ mask, columns, extent }) {
    Object.assign(this, { mask, columns, rows: mask.length / columns, extent });
    const [left, right, bottom, top] = extent;
    this.tileArea = ((right - left) * (top - bottom)) / mask.length;
  }

  /** Number of the tile at a point, or -1. */
  tile(x, y) {
    const [left, right, bottom, top] = this.extent;
    const column = Math.floor(((x - left) / (right - left)) * this.columns);
    const row = Math.floor(((y - bottom) / (top - bottom)) * this.rows);
    const inside = column >= 0 && column < this.columns && row >= 0 && row < this.rows;
    return inside ? row * this.columns + column : -1;
  }

  center(tile) {
    const [left, right, bottom, top] = this.extent;
    const column = tile % this.columns;
    const row = (tile - column) / this.columns;
    const x = left + ((column + 0.5) * (right - left)) / this.columns;
    return [x, bottom + ((row + 0.5) * (top - bottom)) / this.rows];
  }

  contains(x, y) {
    const tile = this.tile(x, y);
    return tile >= 0 && this.mask[tile] === 1;
  }
}

/** Whether a point lies in a polygon (even-odd rule). */
function within(polygon, x, y) {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [xi, yi] = polygon[i];
    const [xj, yj] = polygon[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}

class Cells {
  /** `coordinates` holds all coordinates of a cell one after another, the drawn ones first; `bounds` those of the view. */
  constructor(coordinates, dimension, decoder, region, bounds) {
    Object.assign(this, { coordinates, dimension, decoder, region, bounds, n: coordinates.length / dimension });
  }

  x(cell) {
    return this.coordinates[cell * this.dimension];
  }

  y(cell) {
    return this.coordinates[cell * this.dimension + 1];
  }

  nearest(x, y) {
    let [best, least] = [0, Infinity];
    for (let i = 0, k = 0; i < this.n; i++, k += this.dimension) {
      const dx = this.coordinates[k] - x;
      const dy = this.coordinates[k + 1] - y;
      const square = dx * dx + dy * dy;
      if (square < least) [best, least] = [i, square];
    }
    return best;
  }

  /** All coordinates of a drawn point; those that are not drawn are taken from the nearest cell. */
  point(x, y) {
    if (this.dimension === 2) return [x, y];
    const start = this.nearest(x, y) * this.dimension;
    return [x, y, ...this.coordinates.subarray(start + 2, start + this.dimension)];
  }

  /** The corners of a box around all cells. */
  corners() {
    let [left, right, bottom, top] = [Infinity, -Infinity, Infinity, -Infinity];
    for (let i = 0; i < this.n; i++) {
      [left, right] = [Math.min(left, this.x(i)), Math.max(right, this.x(i))];
      [bottom, top] = [Math.min(bottom, this.y(i)), Math.max(top, this.y(i))];
    }
    const rim = 0.01 * Math.max(right - left, top - bottom) || 1;
    [left, right, bottom, top] = [left - rim, right + rim, bottom - rim, top + rim];
    return [[left, bottom], [right, bottom], [right, top], [left, top]];
  }

  /** Which cells lie in a polygon: 1 or 0 each. */
  inside(polygon) {
    const chosen = new Uint8Array(this.n);
    const xs = polygon.map(([x]) => x);
    const ys = polygon.map(([, y]) => y);
    const [left, right] = [Math.min(...xs), Math.max(...xs)];
    const [bottom, top] = [Math.min(...ys), Math.max(...ys)];
    for (let i = 0; i < this.n; i++) {
      const [x, y] = [this.x(i), this.y(i)];
      if (x >= left && x <= right && y >= bottom && y <= top && within(polygon, x, y)) chosen[i] = 1;
    }
    return chosen;
  }

  /** Cells within a distance of a path, each with its share of the way, of which all segments have the same. */
  along(corners, distance) {
    const found = [];
    for (let i = 0; i < this.n; i++) {
      let [nearest, share] = [distance, null];
      for (let k = 1; k < corners.length; k++) {
        const [[x0, y0], [x1, y1]] = [corners[k - 1], corners[k]];
        const [dx, dy, x, y] = [x1 - x0, y1 - y0, this.x(i) - x0, this.y(i) - y0];
        const along = (x * dx + y * dy) / (dx * dx + dy * dy || 1);
        const beside = Math.hypot(x - along * dx, y - along * dy);
        if (along < 0 || along > 1 || beside > nearest) continue;
        nearest = beside;
        share = (k - 1 + along) / (corners.length - 1);
      }
      if (share !== null) found.push({ cell: i, share });
    }
    return found;
  }

  /**
   * Decode the centers of the occupied tiles and the cells elsewhere once, in slices, for colors and averages.
   *
   * Afterwards `place[cell]` is the number of the nearest such place, `features` holds what the genes of each
   * place are read from, `determinant` the relative determinant and `areas` the area in the data per area of the map of each
   * tile, NaN where the region is not occupied.
   */
  async decode(progress = () => {}) {
    const { region, decoder } = this;
    const tiles = Array.from(region.mask.keys()).filter((tile) => region.mask[tile]);
    const placeOfTile = new Int32Array(region.mask.length).fill(-1);
    tiles.forEach((tile, place) => (placeOfTile[tile] = place));
    const place = new Uint32Array(this.n);
    const others = [];
    for (let i = 0; i < this.n; i++) {
      const tile = region.tile(this.x(i), this.y(i));
      place[i] = tile >= 0 && placeOfTile[tile] >= 0 ? placeOfTile[tile] : tiles.length + others.push(i) - 1;
    }
    const determinant = new Float64Array(region.mask.length).fill(NaN);
    const areas = new Float64Array(region.mask.length).fill(NaN);
    const n = tiles.length + others.length;
    let features;
    let last = performance.now();
    for (let i = 0; i < n; i++) {
      let values;
      if (i < tiles.length) {
        const geometry = decoder.geometry(this.point(...region.center(tiles[i])));
        determinant[tiles[i]] = geometry.determinant;
        areas[tiles[i]] = geometry.area;
        values = geometry.features;
      } else {
        const start = others[i - tiles.length] * this.dimension;
        values = decoder.features(decoder.hidden(this.coordinates.subarray(start, start + this.dimension)));
      }
      features ??= new Float32Array(n * values.length);
      features.set(values, i * values.length);
      if (performance.now() - last > 12) {
        progress(i / n);
        await pause();
        last = performance.now();
      }
    }
    Object.assign(this, { place, features, determinant, areas, tiles, width: features.length / n });
  }

  /** Decoded values of a gene as levels of the cells, with their range. */
  decodedLevels(gene) {
    const n = this.features.length / this.width;
    const values = new Float64Array(n);
    for (let i = 0; i < n; i++) {
      values[i] = this.decoder.gene(gene, this.features.subarray(i * this.width, (i + 1) * this.width));
    }
    const [low, high] = [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
    const levels = Uint8Array.from(values, (value) => Math.round(((value - low) / (high - low || 1)) * LEVELS));
    return { levels: Uint8Array.from(this.place, (place) => levels[place]), low, high };
  }

  /** Means of all decoded genes over the chosen cells. */
  decodedMeans(chosen) {
    const counts = new Float64Array(this.features.length / this.width);
    let total = 0;
    for (let i = 0; i < this.n; i++) {
      counts[this.place[i]] += chosen[i];
      total += chosen[i];
    }
    const mean = new Float64Array(this.width);
    counts.forEach((count, place) => {
      if (count === 0) return;
      for (let j = 0; j < this.width; j++) mean[j] += (count / total) * this.features[place * this.width + j];
    });
    return this.decoder.genes(mean);
  }

  /** Area of a polygon's occupied tiles: on the map and in the data, each also as a share of the whole region. */
  area(polygon) {
    const sums = { map: 0, data: 0, allMap: 0, allData: 0 };
    for (const tile of this.tiles) {
      sums.allMap += 1;
      sums.allData += this.areas[tile];
      if (!within(polygon, ...this.region.center(tile))) continue;
      sums.map += 1;
      sums.data += this.areas[tile];
    }
    const area = this.region.tileArea;
    return {
      map: sums.map * area,
      data: sums.data * area,
      mapShare: sums.map / sums.allMap,
      dataShare: sums.data / sums.allData,
    };
  }
}

/** A value from its level. */
function fromLevel({ low, high }, level) {
  return level === MISSING ? NaN : low + ((high - low) * level) / LEVELS;
}

/** Means of a measured gene over two sets of cells, 1 or 0 each, and its standard deviation over both. */
function measuredMeans(gene, first, second) {
  const [one, two] = [new Float64Array(LEVELS + 1), new Float64Array(LEVELS + 1)];
  gene.levels.forEach((level, cell) => {
    if (level === MISSING) return;
    one[level] += first[cell];
    two[level] += second[cell];
  });
  const mean = (counts, of) => {
    const n = counts.reduce((a, b) => a + b, 0);
    return counts.reduce((sum, count, level) => sum + (count / n) * of(fromLevel(gene, level)), 0);
  };
  const both = one.map((count, level) => count + two[level]);
  const center = mean(both, (value) => value);
  const spread = Math.sqrt(mean(both, (value) => (value - center) ** 2));
  return { first: mean(one, (value) => value), second: mean(two, (value) => value), spread };
}
