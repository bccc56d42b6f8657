// The arrays of the page, and the decoder: values, tangents and the geometry at a point of the map.

const ARRAYS = { uint8: Uint8Array, uint16: Uint16Array, float32: Float32Array };

/** Replace every `{dtype, gzip}` in a JSON value by its typed array. */
async function unpacked(value) {
  if (Array.isArray(value)) return Promise.all(value.map(unpacked));
  if (value === null || typeof value !== "object") return value;
  if ("gzip" in value) {
    const binary = atob(value.gzip);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new ARRAYS[value.dtype](await new Response(stream).arrayBuffer());
  }
  const entries = Object.entries(value).map(async ([name, part]) => [name, await unpacked(part)]);
  return Object.fromEntries(await Promise.all(entries));
}

/** Multiply a matrix, stored by rows, with a vector and add a bias, if there is one. */
function linear(weight, bias, x) {
  const y = new Float64Array(weight.length / x.length);
  for (let i = 0, k = 0; i < y.length; i++) {
    let sum = bias ? bias[i] : 0;
    for (let j = 0; j < x.length; j++, k++) sum += weight[k] * x[j];
    y[i] = sum;
  }
  return y;
}

function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** A dense layer with an activation (ELU); tangents, one vector each, are replaced by those of its output. */
function activated({ weight, bias }, x, tangents) {
  const y = linear(weight, bias, x);
  for (let i = 0; i < tangents.length; i++) {
    tangents[i] = linear(weight, null, tangents[i]);
    for (let j = 0; j < y.length; j++) if (y[j] < 0) tangents[i][j] *= Math.exp(y[j]);
  }
  for (let j = 0; j < y.length; j++) if (y[j] < 0) y[j] = Math.expm1(y[j]);
  return y;
}

/** Two vectors as one. */
const joined = (a, b) => Float64Array.of(...a, ...b);

/** ln of the volume that vectors span: twice-projected Gram-Schmidt, as in scgeoae/core/geometry.py. */
function logVolume(vectors) {
  const directions = [];
  let sum = 0;
  for (const vector of vectors) {
    const rest = Float64Array.from(vector);
    for (let pass = 0; pass < 2; pass++) {
      for (const direction of directions) {
        const share = dot(direction, rest);
        for (let i = 0; i < rest.length; i++) rest[i] -= share * direction[i];
      }
    }
    const length = Math.sqrt(dot(rest, rest));
    sum += Math.log(length);
    directions.push(rest.map((value) => value / length));
  }
  return sum;
}

/** The indicatrix of a metric [a, b, c] of two coordinates, with the area that it gives to the unit square. */
function ellipse(metric, area) {
  const [a, b, c] = metric;
  const larger = (a + c) / 2 + Math.hypot((a - c) / 2, b);
  const smaller = area ** 2 / larger; // without cancellation
  return {
    metric,
    axes: [1 / Math.sqrt(smaller), 1 / Math.sqrt(larger)],
    angle: (Math.atan2(2 * b, a - c) + Math.PI) / 2,
    anisotropy: Math.sqrt(larger / smaller),
    area,
  };
}

/**
 * The decoder of a map.
 *
 * `layers` are the dense layers with an activation (ELU); their output is called hidden. Two linear maps read it:
 * `surface` gives positions in an orthonormal basis of the data, for lengths, and `readout` the decoded genes, which
 * may also depend on features that the layer `bend` makes of it.
 * The first two coordinates of a point are the drawn ones.
 */
class Decoder {
  constructor({ layers, surface, bend, readout, unit, dimension }) {
    Object.assign(this, { layers, surface, bend, readout, unit, dimension });
  }

  /** The hidden values at a point; tangents, one vector each, are replaced by those of the hidden values. */
  hidden(z, tangents = []) {
    let x = Float64Array.from(z);
    for (const layer of this.layers) x = activated(layer, x, tangents);
    return x;
  }

  /** What the genes are read from: the hidden values and bent features of these; and their tangents. */
  features(hidden, tangents = []) {
    if (this.bend.bias.length === 0) return hidden;
    const before = [...tangents];
    const bent = activated(this.bend, hidden, tangents);
    for (let i = 0; i < tangents.length; i++) tangents[i] = joined(before[i], tangents[i]);
    return joined(hidden, bent);
  }

  /** Position in the data, up to a translation and a rotation. */
  position(z) {
    return linear(this.surface, null, this.hidden(z));
  }

  /** Values of all genes. */
  genes(features) {
    return linear(this.readout.weight, this.readout.bias, features);
  }

  /** Value of one gene. */
  gene(number, features) {
    const { weight, bias } = this.readout;
    const row = weight.subarray(number * features.length, (number + 1) * features.length);
    return bias[number] + dot(row, features);
  }

  /**
   * How a gene changes at a place of this geometry: the most that it rises per unit of the data, the direction on the
   * map in which it does, and how much it rises per unit of the data in another direction, if one is given.
   */
  rise(number, { tangents, metric: [a, b, c] }, along = null) {
    const width = tangents[0].length;
    const row = this.readout.weight.subarray(number * width, (number + 1) * width);
    const [p, q] = tangents.map((tangent) => dot(row, tangent));
    const direction = [(c * p - b * q) / (a * c - b * b), (a * q - b * p) / (a * c - b * b)];
    const most = Math.sqrt(Math.max(p * direction[0] + q * direction[1], 0));
    if (!along) return { most, direction };
    const [x, y] = along;
    return { most, direction, along: (p * x + q * y) / Math.sqrt(a * x * x + 2 * b * x * y + c * y * y) };
  }

  /**
   * The geometry at a point.
   *
   * Returns what genes are read from and its tangents along the drawn coordinates; the metric [a, b, c] of the two drawn coordinates; the semi-axes of the indicatrix of
   * radius 1, longest first, and the angle of the longest; their ratio; the area in the data per area of the drawn
   * plane; the determinant, of all coordinates, over its average.
   */
  geometry(z) {
    const tangents = Array.from(z, (_, i) => Float64Array.from(z, (_, j) => Number(i === j)));
    const hidden = this.hidden(z, tangents);
    const columns = tangents.map((tangent) => linear(this.surface, null, tangent));
    const [first, second] = columns;
    const metric = [dot(first, first), dot(first, second), dot(second, second)];
    const logDeterminant = logVolume(columns) - this.dimension * Math.log(this.unit);
    const drawn = tangents.slice(0, 2);
    return {
      features: this.features(hidden, drawn),
      tangents: drawn,
      ...ellipse(metric, Math.exp(logVolume([first, second]))),
      determinant: Math.exp(logDeterminant),
    };
  }
}
