// Which cells belong together.
//
// A relation answers two questions about an operation:
//
//   reads(port, o)    Which cells is cell o of output `port` made of? A list of terms. Each has
//                     `cells`, pairs [input, index] whose numbers are multiplied, a `factor`, and
//                     `outside: true` where the window lies over padding.
//   uses(slot, i)     Where does cell i of input `slot` go? A list of terms as above, each with
//                     the output cell `o` (and `port`) that it is a term of.
//
// Its `mode` says what is done with the terms: "sum" adds them up, "max" takes the largest.

function relationOf(operation, arrays) {
  const description = operation.relation;
  if (!description || !RELATIONS[description.kind]) return null;
  const inputs = operation.inputs.map((input) => arrays[input.array]);
  const outputs = operation.outputs.map((output) => arrays[output.array]);
  if ([...inputs, ...outputs].some((array) => array === undefined)) return null;
  return RELATIONS[description.kind](description, inputs, outputs, arrays);
}

const RELATIONS = {
  // Each cell by itself, smaller inputs broadcast along axes they lack or have length 1 in.
  each(_, inputs, outputs) {
    const shape = outputs[0].shape;
    const cellOf = (slot, o) => {
      const own = inputs[slot].shape;
      return own.map((n, axis) => (n === 1 ? 0 : o[axis + shape.length - own.length]));
    };
    const term = (o) => ({ port: 0, o, cells: inputs.map((_, slot) => [slot, cellOf(slot, o)]) });
    return {
      mode: "each",
      reads: (port, o) => [term(o)],
      uses(slot, i) {
        const own = inputs[slot].shape;
        const lead = shape.length - own.length;
        const free = shape.map((n, axis) => (axis < lead || own[axis - lead] === 1 ? n : 1));
        return [...indicesOf(free)].map((place) =>
          term(place.map((n, axis) => (free[axis] > 1 || axis < lead ? n : i[axis - lead]))),
        );
      },
    };
  },

  conv(geometry, inputs, outputs) {
    const windows = slidingWindows(geometry, inputs[0], inputs[1], outputs[0]);
    const bias = inputs.length > 2;
    const use = (pair) => ({
      port: 0,
      o: pair.window,
      cells: [
        [0, pair.pixel],
        [1, pair.tap],
      ],
    });
    return {
      mode: "sum",
      padding: { side: "in", slot: 0, widths: geometry.padding, text: "0" },
      windowed: [0],
      reads(port, o) {
        const terms = windows.ofWindow(o).map((pair) => ({
          cells: [
            [0, pair.pixel],
            [1, pair.tap],
          ],
          outside: pair.outside,
        }));
        if (bias) terms.unshift({ cells: [[2, [o[1]]]] });
        return terms;
      },
      uses(slot, i) {
        if (slot === 2)
          return eachPixel(outputs[0], i[0], (o) => ({ port: 0, o, cells: [[2, i]] }));
        if (slot === 0) return windows.ofPixel(i).map(use);
        return partial(windows.ofTap(i).map(use), outputs[0]);
      },
    };
  },

  // The same windows with input and output exchanged.
  conv_transpose(geometry, inputs, outputs) {
    const windows = slidingWindows(geometry, outputs[0], inputs[1], inputs[0]);
    const bias = inputs.length > 2;
    const use = (pair) => ({
      port: 0,
      o: pair.pixel,
      cells: [
        [0, pair.window],
        [1, pair.tap],
      ],
      outside: pair.outside,
    });
    return {
      mode: "sum",
      padding: { side: "out", slot: 0, widths: geometry.padding, text: "cut" },
      windowed: [0],
      reads(port, o) {
        const terms = windows.ofPixel(o).map((pair) => ({
          cells: [
            [0, pair.window],
            [1, pair.tap],
          ],
        }));
        if (bias) terms.unshift({ cells: [[2, [o[1]]]] });
        return terms;
      },
      uses(slot, i) {
        if (slot === 2)
          return eachPixel(outputs[0], i[0], (o) => ({ port: 0, o, cells: [[2, i]] }));
        if (slot === 0) return windows.ofWindow(i).map(use);
        return partial(windows.ofTap(i).map(use), inputs[0]);
      },
    };
  },

  max_pool(geometry, inputs, outputs) {
    // A sequence has no rows: its windows lie along the last axis alone.
    const split = (index) => {
      if (geometry.dims === 2) return [index.slice(0, -2), ...index.slice(-2)];
      return [index.slice(0, -1), 0, index[index.length - 1]];
    };
    const joined = (lead, row, column) =>
      geometry.dims === 2 ? [...lead, row, column] : [...lead, column];
    const [, height, width] = split(inputs[0].shape);
    const [, down, across] = split(outputs[0].shape);
    const rows = geometry.dims === 2 ? [height, down] : [1, 1];
    return {
      mode: "max",
      padding: { side: "in", slot: 0, widths: geometry.padding, text: "" },
      windowed: [0],
      reads(port, o) {
        const [lead, row, column] = split(o);
        return tapsAlong(geometry, 0, row).flatMap(([i]) =>
          tapsAlong(geometry, 1, column).map(([j]) => ({
            cells: [[0, joined(lead, i, j)]],
            outside: i < 0 || j < 0 || i >= rows[0] || j >= width,
          })),
        );
      },
      uses(slot, i) {
        const [lead, row, column] = split(i);
        return windowsAlong(geometry, 0, row, rows[1]).flatMap(([a]) =>
          windowsAlong(geometry, 1, column, across).map(([b]) => ({
            port: 0,
            o: joined(lead, a, b),
            cells: [[0, i]],
          })),
        );
      },
    };
  },

  // Weighted sums along rows and columns: average pooling, unpooling, resizing, RoIAlign.
  weights(description, inputs, outputs) {
    const boxes = regionsOf(description, inputs[0], outputs[0]);
    return {
      mode: "sum",
      windowed: [0],
      boxes: description.boxes,
      reads(port, o) {
        const [row, column] = planeOf(o);
        const [down, across] = boxes.tables(o);
        const terms = [];
        for (const [i, above] of down ? down[row] : [[row, 1]]) {
          for (const [j, beside] of across ? across[column] : [[column, 1]]) {
            terms.push({
              cells: [[0, boxes.source(o, i, j)]],
              factor: above * beside,
              about: boxes.about(o),
            });
          }
        }
        return terms;
      },
      uses(slot, i) {
        if (slot !== 0) return boxes.ofRow(i);
        const [row, column] = planeOf(i);
        const uses = [];
        for (const { head, down, across } of boxes.over(i)) {
          for (const [a, above] of reversed(down, row)) {
            for (const [b, beside] of reversed(across, column)) {
              uses.push({
                port: 0,
                o: [...head, a, b].slice(-outputs[0].shape.length),
                cells: [[0, i]],
                factor: above * beside,
              });
            }
          }
        }
        return uses;
      },
    };
  },

  // The largest pixel of each bin of each box.
  max_regions(description, inputs, outputs) {
    const weighted = {
      ...description,
      tables: description.tables.map((pair) =>
        pair.map((bins) => bins.map((bin) => bin.map((i) => [i, 1]))),
      ),
    };
    return { ...RELATIONS.weights(weighted, inputs, outputs), mode: "max" };
  },

  matmul(_, inputs, outputs) {
    const [a, b] = inputs.map((input) => input.shape);
    const y = outputs[0].shape;
    const inner = a[a.length - 1];
    const lead = (shape, o) =>
      leadOf(shape).map((n, axis) => (n === 1 ? 0 : o[axis + y.length - shape.length]));
    const term = (o, k) => ({
      port: 0,
      o,
      cells: [
        [0, [...lead(a, o), o[o.length - 2], k]],
        [1, [...lead(b, o), k, o[o.length - 1]]],
      ],
    });
    return {
      mode: "sum",
      reads: (port, o) => Array.from({ length: inner }, (_, k) => term(o, k)),
      uses(slot, i) {
        const own = inputs[slot].shape;
        const heads = [...indicesOf(leadOf(y))].filter((head) =>
          sameIndex(lead(own, head), leadOf(i)),
        );
        const [row, column] = planeOf(i);
        const count = slot === 0 ? y[y.length - 1] : y[y.length - 2];
        return heads.flatMap((head) =>
          Array.from({ length: count }, (_, n) =>
            slot === 0 ? term([...head, row, n], column) : term([...head, n, column], row),
          ),
        );
      },
    };
  },

  linear(_, inputs, outputs) {
    const y = outputs[0].shape;
    const inner = inputs[1].shape[1];
    const term = (o, k) => ({
      port: 0,
      o,
      cells: [
        [0, [...o.slice(0, -1), k]],
        [1, [o[o.length - 1], k]],
      ],
    });
    const rows = [...indicesOf(y.slice(0, -1))];
    return {
      mode: "sum",
      reads(port, o) {
        const terms = Array.from({ length: inner }, (_, k) => term(o, k));
        if (inputs.length > 2) terms.unshift({ cells: [[2, [o[o.length - 1]]]] });
        return terms;
      },
      uses(slot, i) {
        if (slot === 2) return rows.map((row) => ({ port: 0, o: [...row, i[0]], cells: [[2, i]] }));
        if (slot === 1) return rows.map((row) => term([...row, i[0]], i[1]));
        const [row, k] = [i.slice(0, -1), i[i.length - 1]];
        return Array.from({ length: y[y.length - 1] }, (_, o) => term([...row, o], k));
      },
    };
  },

  sum(description, inputs) {
    return { mode: "sum", ...overAxes(description, inputs[0], description.factor) };
  },

  extreme(description, inputs) {
    return { mode: description.name, shared: true, ...overAxes(description, inputs[0], 1) };
  },

  move(description, inputs, outputs, arrays) {
    const sources = description.sources.map((number) => arrays[number]);
    const from = (place) => {
      const slot = description.starts.findIndex(
        (start, n) => start <= place && place < description.starts[n + 1],
      );
      return [slot, unflatIndex(place - description.starts[slot], inputs[slot].shape)];
    };
    let goesTo = null; // place -> the cells it goes to, made when it is first asked for
    const findAll = () => {
      goesTo = new Map();
      sources.forEach((source, port) => {
        for (const kept of indicesOf(source.counts)) {
          const o = kept.map((n, axis) => n * source.steps[axis]);
          const place = source.at(o);
          if (place < 0) continue;
          if (!goesTo.has(place)) goesTo.set(place, []);
          goesTo.get(place).push({ port, o });
        }
      });
    };
    return {
      mode: "sum",
      reads(port, o) {
        const place = sources[port].at(o);
        return place === undefined || place < 0 ? [] : [{ cells: [from(place)] }];
      },
      uses(slot, i) {
        if (slot >= description.starts.length - 1) return [];
        if (!goesTo) findAll();
        const place = description.starts[slot] + flatIndex(i, inputs[slot].shape);
        return (goesTo.get(place) || []).map(({ port, o }) => ({ port, o, cells: [[slot, i]] }));
      },
    };
  },

  softmax(description, inputs) {
    const { axis, log } = description;
    const along = (index) =>
      Array.from({ length: inputs[0].shape[axis] }, (_, n) =>
        index.map((m, a) => (a === axis ? n : m)),
      );
    return {
      mode: "softmax",
      axis,
      log,
      reads: (port, o) => along(o).map((i) => ({ cells: [[0, i]] })),
      uses: (slot, i) => along(i).map((o) => ({ port: 0, o, cells: [[0, i]] })),
    };
  },

  cross_entropy(description, inputs, outputs) {
    const [x, target] = inputs;
    const single = description.reduction !== "none";
    const rowOf = (i) => [i[0], ...i.slice(2)];
    const cells = (row) =>
      Array.from({ length: x.shape[1] }, (_, c) => [0, [row[0], c, ...row.slice(1)]]);
    return {
      mode: "cross_entropy",
      ...description,
      rowOf,
      reads(port, o) {
        const rows = single ? [...indicesOf(target.shape)] : [o];
        return rows.flatMap((row) => [
          { cells: [[1, row]] },
          ...cells(row).map((cell) => ({ cells: [cell] })),
        ]);
      },
      uses(slot, i) {
        if (slot > 1) return [];
        return [
          {
            port: 0,
            o: single ? [] : slot === 0 ? rowOf(i) : i,
            cells: [[1, slot === 0 ? rowOf(i) : i]],
          },
        ];
      },
    };
  },

  // (N, C, L) with one mean for each channel, or for each group of channels of each image.
  norm(description, inputs, outputs) {
    const x = inputs[0].shape;
    const each = x[1] / (description.groups || 1);
    const channels = inputs.slice(1);
    const cells = (o) => [[0, o], ...channels.map((_, k) => [k + 1, [o[1]]])];
    return {
      mode: "norm",
      ...description,
      statistic: (o) => (description.groups ? [o[0], Math.floor(o[1] / each)] : [o[1]]),
      reads: (port, o) => [{ port: 0, o, cells: cells(o) }],
      uses(slot, i) {
        if (slot === 0) return [{ port: 0, o: i, cells: cells(i) }];
        return eachPixel(outputs[0], i[0], (o) => ({ port: 0, o, cells: cells(o) }));
      },
    };
  },

  channel_affine(_, inputs, outputs) {
    const terms = (o) =>
      [
        {
          port: 0,
          o,
          cells: [
            [0, o],
            [1, [o[1]]],
          ],
        },
        { port: 0, o, cells: [[2, [o[1]]]] },
      ].slice(0, inputs.length - 1);
    return {
      mode: "sum",
      reads: (port, o) => terms(o),
      uses: (slot, i) =>
        slot === 0 ? [terms(i)[0]] : eachPixel(outputs[0], i[0], (o) => terms(o)[slot - 1]),
    };
  },
};

// -- what the relations share ---------------------------------------------------------------------

const planeOf = (index) => (index.length > 1 ? index.slice(-2) : [0, ...index.slice(-1)]);
const leadOf = (index) => index.slice(0, -2);

// The cells (n, channel, ...) of one channel that are kept, each as a term.
function eachPixel(array, channel, term) {
  const places = array.shape.map((_, axis) => (axis === 1 ? [channel] : array.places(axis)));
  return partial(allOf(places).map(term), array);
}

// The pixels that a window's taps find along an axis: pairs [pixel, tap].
function tapsAlong(geometry, axis, window) {
  const first = window * geometry.stride[axis] - geometry.padding[axis][0];
  return Array.from({ length: geometry.kernel[axis] }, (_, tap) => [
    first + tap * geometry.dilation[axis],
    tap,
  ]);
}

// The windows that find a pixel along an axis: pairs [window, tap].
function windowsAlong(geometry, axis, pixel, count) {
  const found = [];
  for (let tap = 0; tap < geometry.kernel[axis]; tap++) {
    const window =
      (pixel + geometry.padding[axis][0] - tap * geometry.dilation[axis]) / geometry.stride[axis];
    if (Number.isInteger(window) && window >= 0 && window < count) found.push([window, tap]);
  }
  return found;
}

// Convolution as triples of a pixel (n, c, i, j), a tap (o, c in the group, k, l) and a window
// (n, o, i, j): from any one of them the pairs of the other two.
function slidingWindows(geometry, image, kernel, windows) {
  const [, , height, width] = image.shape;
  const [, , down, across] = windows.shape;
  const channels = kernel.shape[1]; // of a group
  const filters = kernel.shape[0] / geometry.groups; // of a group
  return {
    ofWindow([n, o, row, column]) {
      const triples = [];
      const group = Math.floor(o / filters);
      for (let c = 0; c < channels; c++) {
        for (const [i, k] of tapsAlong(geometry, 0, row)) {
          for (const [j, l] of tapsAlong(geometry, 1, column)) {
            triples.push({
              window: [n, o, row, column],
              pixel: [n, group * channels + c, i, j],
              tap: [o, c, k, l],
              outside: i < 0 || j < 0 || i >= height || j >= width,
            });
          }
        }
      }
      return triples;
    },
    ofPixel([n, c, i, j]) {
      const triples = [];
      const group = Math.floor(c / channels);
      for (let f = 0; f < filters; f++) {
        const o = group * filters + f;
        for (const [row, k] of windowsAlong(geometry, 0, i, down)) {
          for (const [column, l] of windowsAlong(geometry, 1, j, across)) {
            triples.push({
              window: [n, o, row, column],
              pixel: [n, c, i, j],
              tap: [o, c - group * channels, k, l],
            });
          }
        }
      }
      return triples;
    },
    ofTap([o, c, k, l]) {
      const triples = [];
      const channel = Math.floor(o / filters) * channels + c;
      for (const n of windows.places(0)) {
        for (const row of windows.places(2)) {
          const i = tapsAlong(geometry, 0, row)[k][0];
          if (i < 0 || i >= height) continue;
          for (const column of windows.places(3)) {
            const j = tapsAlong(geometry, 1, column)[l][0];
            if (j < 0 || j >= width) continue;
            triples.push({
              window: [n, o, row, column],
              pixel: [n, channel, i, j],
              tap: [o, c, k, l],
            });
          }
        }
      }
      return partial(triples, windows);
    },
  };
}

// The tables of `weights`: one pair for all planes, or one for each box.
function regionsOf(description, x, y) {
  const { tables, boxes } = description;
  if (!boxes) {
    return {
      tables: () => tables[0],
      about: () => [],
      source: (o, i, j) => [...leadOf(o), i, j].slice(-x.shape.length),
      ofRow: () => [],
      over: (i) => [{ head: leadOf(i), down: tables[0][0], across: tables[0][1] }],
    };
  }
  return {
    tables: ([k]) => tables[k] || [[], []],
    about: ([k]) => [
      [1, [k, 0]],
      [1, [k, 1]],
      [1, [k, 2]],
      [1, [k, 3]],
      [1, [k, 4]],
    ],
    source: ([k, c], i, j) => [boxes[k].image, c, i, j],
    ofRow: ([k]) =>
      [...indicesOf(y.shape.slice(2))].map((bin) => ({
        port: 0,
        o: [k, 0, ...bin],
        cells: [[1, [k, 0]]],
      })),
    over: ([n, c]) =>
      boxes.flatMap((box, k) =>
        box.image === n ? [{ head: [k, c], down: tables[k][0], across: tables[k][1] }] : [],
      ),
  };
}

// The outputs that an input goes to, by the table of what each output is made of.
function reversed(table, input) {
  if (!table) return [[input, 1]];
  return table.flatMap((terms, output) =>
    terms.filter(([i]) => i === input).map(([, weight]) => [output, weight]),
  );
}

// Sums over axes, of a sampled array only over what is kept.
function overAxes(description, input, factor) {
  const { axes, keepdim } = description;
  return {
    reads(port, o) {
      let taken = 0;
      const places = input.shape.map((_, axis) => {
        if (!axes.includes(axis)) return [o[taken++]];
        if (keepdim) taken++;
        return input.places(axis);
      });
      return partial(
        allOf(places).map((i) => ({ cells: [[0, i]], factor })),
        input,
      );
    },
    uses(slot, i) {
      const o = i.flatMap((n, axis) => (axes.includes(axis) ? (keepdim ? [0] : []) : [n]));
      return [{ port: 0, o, cells: [[0, i]], factor }];
    },
  };
}

// Terms that are not all there are, as an array is not whole.
function partial(terms, array) {
  terms.partial = !array.whole;
  return terms;
}

// All combinations of one place from each list.
function allOf(lists) {
  return [...indicesOf(lists.map((list) => list.length))].map((index) =>
    index.map((n, axis) => lists[axis][n]),
  );
}
