// Arrays and numbers. An array of the page is a sample: of each axis only some places are kept.

class Sampled {
  constructor(raw) {
    this.shape = raw.shape;
    this.dtype = raw.dtype;
    // Along each axis `count` places are kept: 0, step, 2 step ...
    this.counts = raw.places.map(([count]) => count);
    this.steps = raw.places.map(([, step]) => step);
    const bytes = Uint8Array.from(atob(raw.data), (c) => c.charCodeAt(0));
    const types = { f4: Float32Array, f8: Float64Array, i4: Int32Array, u1: Uint8Array };
    this.values = new types[raw.code](bytes.buffer);
    this.whole = this.shape.every((n, axis) => n === this.counts[axis]);
    let peak = 0;
    for (const v of this.values) if (Number.isFinite(v)) peak = Math.max(peak, Math.abs(v));
    this.peak = peak;
  }

  // The number at a place of the whole array; undefined if it is not kept.
  at(index) {
    let flat = 0;
    for (let axis = 0; axis < index.length; axis++) {
      const place = index[axis] / this.steps[axis];
      if (!Number.isInteger(place) || place < 0 || place >= this.counts[axis]) return undefined;
      flat = flat * this.counts[axis] + place;
    }
    return this.values[flat];
  }

  // The places kept along an axis. An axis that the array does not have has the place 0.
  places(axis) {
    if (axis < 0) return [0];
    return Array.from({ length: this.counts[axis] }, (_, i) => i * this.steps[axis]);
  }

  // The axes of the picture's rows and columns; -1 where there is none.
  get rowAxis() {
    return this.shape.length - 2 >= 0 ? this.shape.length - 2 : -1;
  }
  get columnAxis() {
    return this.shape.length - 1;
  }

  get size() {
    return this.shape.reduce((a, b) => a * b, 1);
  }
}

// All indices of a shape, the last axis fastest.
function* indicesOf(shape) {
  if (shape.includes(0)) return;
  const index = shape.map(() => 0);
  while (true) {
    yield index.slice();
    let axis = shape.length - 1;
    while (axis >= 0 && ++index[axis] === shape[axis]) index[axis--] = 0;
    if (axis < 0) return;
  }
}

function sameIndex(a, b) {
  return a.length === b.length && a.every((n, i) => n === b[i]);
}

function flatIndex(index, shape) {
  return index.reduce((flat, n, axis) => flat * shape[axis] + n, 0);
}

function unflatIndex(flat, shape) {
  const index = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index[axis] = flat % shape[axis];
    flat = Math.floor(flat / shape[axis]);
  }
  return index;
}

// A number with at most `digits` digits that count, as short as that can be written.
function written(value, digits) {
  if (value === undefined) return "?";
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  let text = String(Number(value.toPrecision(digits)));
  if (Math.abs(value) < 1e-4 && value !== 0) text = value.toExponential(Math.max(0, digits - 2));
  return text.replace("e+", "e").replaceAll("-", "−");
}

// As many digits as fit into a cell, at most three that count.
function fitting(value, characters) {
  for (let digits = 3; digits > 0; digits--) {
    const text = written(value, digits).replace(/^(−?)0\./, "$1.");
    if (text.length <= characters) return text;
  }
  return Math.abs(value) < 1 ? "≈0" : "…";
}

function inFormula(value) {
  const text = written(value, 3);
  return text.startsWith("−") ? `(${text})` : text;
}

// With all its digits: of a float32 those that tell it from its neighbours.
function exactly(value, dtype) {
  if (value === undefined) return "not kept on this page";
  if (!Number.isFinite(value)) return written(value, 4);
  if (dtype === "float64") return String(value).replaceAll("-", "−");
  for (let digits = 1; digits < 10; digits++) {
    const text = String(Number(value.toPrecision(digits)));
    if (Math.fround(Number(text)) === Math.fround(value)) return text.replaceAll("-", "−");
  }
  return String(value).replaceAll("-", "−");
}
