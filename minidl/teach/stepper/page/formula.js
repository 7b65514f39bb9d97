// The formula of a cell, with the numbers put in.

const MOST_TERMS = 12; // written out; the rest is added up

// An element with a class and children, which may be texts.
function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function cellName(name, index) {
  return index.length ? `${name}[${index.join(", ")}]` : name;
}

// What the page says about a chosen cell.
//
// `view` is what is on the page: { operation, relation, step, backward, input(slot), output(port),
// given(port), made(slot), facts, isShown(slot, index) }, each of the functions giving an array.
// `choice` is the cell: { side: "in" or "out", slot, index }.
function explanation(view, choice) {
  const line = element("p", "numbers");
  const { side, slot, index } = choice;
  const names = side === "in" ? view.operation.inputs : view.operation.outputs;
  const name = names[slot].name;
  const array = side === "in" ? view.input(slot) : view.output(slot);
  const gradient = side === "in" ? view.made(slot) : view.given(slot);
  const result = (label, value, dtype) =>
    line.append(label, element("output", "result", exactly(value, dtype)));

  if (view.backward && side === "in" && gradient) {
    line.append(element("b", "", cellName(`∂${name}`, index)), " = ");
    const parts = view.relation ? gradientParts(view, slot, index) : [];
    line.append(...parts);
    result(parts.length ? " = " : "", gradient.at(index), gradient.dtype);
  } else if (view.backward && side === "out" && gradient) {
    line.append(element("b", "", cellName(`∂${name}`, index)));
    result(" = ", gradient.at(index), gradient.dtype);
    line.append(" goes back to the lit cells");
  } else if (side === "out" && array) {
    line.append(element("b", "", cellName(name, index)), " = ");
    const parts = view.relation ? valueParts(view, slot, index) : [];
    line.append(...parts);
    result(parts.length ? " = " : "", array.at(index), array.dtype);
  } else if (array) {
    line.append(element("b", "", cellName(name, index)));
    result(" = ", array.at(index), array.dtype);
    if (view.relation) {
      const uses = view.relation.uses(slot, index).filter((use) => !use.outside);
      const count = uses.length + (uses.partial ? " or more" : "");
      line.append(uses.length === 1 ? " goes into one cell" : ` goes into ${count} cells`);
    }
  }
  return line;
}

// -- forward --------------------------------------------------------------------------------------

function valueParts(view, port, index) {
  const { relation, operation } = view;
  const terms = relation.reads(port, index);
  if (relation.mode === "each") return [put(operation.forward, view, terms[0])];
  if (relation.mode === "sum") {
    if (!terms.length) return ["nothing comes here"];
    return sumOf(
      terms.map((term) => product(view, term)),
      terms.partial,
    );
  }
  if (relation.mode === "softmax") return softmaxParts(view, terms, index);
  if (relation.mode === "cross_entropy") return crossEntropyParts(view, index);
  if (relation.mode === "norm") return normParts(view, index);
  const parts = largestParts(view, terms, relation.mode);
  return port === 0 ? parts : ["the place of ", ...parts]; // the indices of max-pooling
}

// The operands of a term, multiplied: { text, value, outside, shown }.
function product(view, term) {
  const factors = term.cells.map(([slot, index]) => {
    if (term.outside && slot === 0) return 0; // padding
    return view.input(slot).at(index);
  });
  const numbers = factors.map(inFormula);
  if (term.factor !== undefined && term.factor !== 1) {
    numbers.push(inFormula(term.factor));
    factors.push(term.factor);
  }
  return {
    text: numbers.join(" · "),
    value: factors.reduce((a, b) => a * b, 1),
    outside: term.outside,
    shown: term.cells.every(([slot, index]) => view.isShown(slot, index)),
  };
}

// Terms with plus signs between them: those on the shown pictures first, many of them together.
function sumOf(terms, isPartial) {
  const known = terms.filter((term) => !Number.isNaN(term.value) || !term.text.includes("?"));
  const lost = terms.length - known.length;
  const ordered = [...known.filter((t) => t.shown), ...known.filter((t) => !t.shown)];
  const count = ordered.length <= MOST_TERMS + 2 ? ordered.length : MOST_TERMS;
  const parts = [];
  ordered.slice(0, count).forEach((term, n) => {
    if (n) parts.push(" + ");
    parts.push(element("span", term.outside ? "term outside" : "term", term.text));
  });
  const rest = ordered.slice(count);
  if (rest.length) {
    const total = rest.reduce((sum, term) => sum + term.value, 0);
    parts.push(` + ${rest.length} more terms, together ${written(total, 4)}`);
  }
  if (lost) {
    const what = lost === 1 ? "a term that is" : `${lost} terms that are`;
    parts.push(`${parts.length ? " + " : ""}${what} not kept on this page`);
  } else if (isPartial) parts.push(" + those that are not kept on this page");
  else {
    // For whoever checks: what the terms add up to.
    const sum = element("data", "");
    sum.value = ordered.reduce((total, term) => total + term.value, 0);
    parts.push(sum);
  }
  return parts;
}

function largestParts(view, terms, mode) {
  const inside = terms.filter((term) => !term.outside);
  if (!inside.length) return ["an empty window"];
  const values = inside.map((term) => view.input(0).at(term.cells[0][1]));
  const shown = values
    .slice(0, 2 * MOST_TERMS)
    .map((v) => written(v, 4))
    .join(", ");
  const more = values.length > 2 * MOST_TERMS ? ", …" : "";
  return [`${mode === "min" || mode === "amin" ? "min" : "max"}(${shown}${more})`];
}

// Numbers in the place of {names}.
function put(template, view, term, port = 0) {
  const { operation } = view;
  const text = template.replace(/\{(\w+)\}/g, (_, name) => {
    if (name === "y") return inFormula(view.output(port).at(term.o));
    if (name === "dy") return inFormula(view.given(port).at(term.o));
    const slot = operation.inputs.findIndex((input) => input.name === name);
    if (slot >= 0) return inFormula(view.input(slot).at(term.cells[slot][1]));
    const number = operation.numbers[name];
    return typeof number === "number" ? inFormula(number) : number || name;
  });
  return element("span", "term", text);
}

function softmaxParts(view, terms, index) {
  const x = terms.map((term) => view.input(0).at(term.cells[0][1]));
  const own = view.input(0).at(index);
  const powers = x.slice(0, MOST_TERMS).map((v) => `e^${inFormula(v)}`);
  const total = powers.join(" + ") + (x.length > MOST_TERMS ? " + …" : "");
  if (view.relation.log) return [`${written(own, 4)} − log(${total})`];
  return [`e^${inFormula(own)} / (${total})`];
}

function crossEntropyParts(view, index) {
  const { relation, facts } = view;
  if (!relation.plain) return [];
  const target = view.input(1);
  const rows =
    relation.reduction === "none"
      ? [index]
      : allOf(target.shape.map((_, axis) => target.places(axis)));
  const counted = rows.filter((row) => target.at(row) !== relation.ignored);
  const logs = counted.slice(0, MOST_TERMS).map((row) => {
    const p = facts.p.at([row[0], target.at(row), ...row.slice(1)]);
    return element("span", "term", `−log ${written(p, 4)}`);
  });
  const parts = logs.flatMap((term, n) => (n ? [" + ", term] : [term]));
  if (counted.length > MOST_TERMS || !target.whole) parts.push(" + …");
  if (relation.reduction !== "mean") return parts;
  const count = target.whole ? counted.length : "number of rows";
  return ["(", ...parts, `) / ${count}`];
}

function normParts(view, index) {
  const { relation, facts } = view;
  const place = relation.statistic(index);
  const [weight, bias] = weightAndBias(view, index[1]);
  const x = inFormula(view.input(0).at(index));
  const unit = `(${x} − ${inFormula(facts.mean.at(place))}) / ${inFormula(facts.deviation.at(place))}`;
  const text =
    (weight === null ? "" : `${inFormula(weight)} · `) +
    unit +
    (bias === null ? "" : ` + ${inFormula(bias)}`);
  if (relation.ceiling === null) return [text];
  return [
    relation.ceiling === "inf" ? `max(${text}, 0)` : `min(max(${text}, 0), ${relation.ceiling})`,
  ];
}

function weightAndBias(view, channel) {
  return ["weight", "bias"].map((name) => {
    const slot = view.operation.inputs.findIndex((input) => input.name === name);
    return slot < 0 ? null : view.input(slot).at([channel]);
  });
}

// -- backward -------------------------------------------------------------------------------------

function gradientParts(view, slot, index) {
  const { relation, operation } = view;
  if (relation.mode === "softmax") return softmaxGradientParts(view, index);
  if (relation.mode === "cross_entropy") return crossEntropyGradientParts(view, slot, index);
  if (relation.mode === "norm") return normGradientParts(view, slot, index);
  const uses = relation.uses(slot, index).filter((use) => !use.outside);
  if (!uses.length) return uses.partial ? [] : ["0: it went nowhere"];
  if (relation.mode === "each") {
    const template = operation.backward[operation.inputs[slot].name];
    if (!template) return [];
    const parts = uses
      .slice(0, MOST_TERMS)
      .flatMap((use, n) => (n ? [" + ", put(template, view, use)] : [put(template, view, use)]));
    if (uses.length > MOST_TERMS) parts.push(` + ${uses.length - MOST_TERMS} more terms`);
    return parts;
  }
  if (relation.mode === "sum") {
    return sumOf(
      uses.map((use) => gradientProduct(view, slot, use)),
      uses.partial,
    );
  }
  return winnersParts(view, index, uses);
}

// The gradient of a use times all operands but the one it is for.
function gradientProduct(view, slot, use) {
  const g = view.given(use.port).at(use.o);
  const others = use.cells
    .filter(([other]) => other !== slot)
    .map(([other, i]) => view.input(other).at(i));
  if (use.factor !== undefined && use.factor !== 1) others.push(use.factor);
  return {
    text: [g, ...others].map(inFormula).join(" · "),
    value: others.reduce((a, b) => a * b, g),
    shown:
      view.isShown(use.port, use.o, "out") &&
      use.cells.every(([other, i]) => view.isShown(other, i)),
  };
}

// Of windows, whose largest cell alone gets the gradient, or all that are equal to it.
function winnersParts(view, index, uses) {
  const terms = [];
  for (const use of uses) {
    const winners = winnersOf(view, use.port, use.o);
    if (!winners.some((i) => sameIndex(i, index))) continue;
    const g = view.given(0).at(use.o);
    const share = view.relation.shared && winners.length > 1 ? ` / ${winners.length}` : "";
    terms.push({
      text: inFormula(g) + share,
      value: g / (share ? winners.length : 1),
      shown: true,
    });
  }
  const windows = uses.length === 1 ? "its window" : `any of its ${uses.length} windows`;
  if (!terms.length) return [`0, not the ${view.relation.mode.slice(-3)} of ${windows},`];
  return sumOf(terms, false);
}

// The cells that are the result of a window: the first of equal ones, or all.
function winnersOf(view, port, o) {
  const cells = view.relation
    .reads(port, o)
    .filter((term) => !term.outside)
    .map((term) => term.cells[0][1]);
  const value = view.output(port).at(o);
  const equal = cells.filter(
    (i) => Object.is(view.input(0).at(i), value) || view.input(0).at(i) === value,
  );
  return view.relation.shared ? equal : equal.slice(0, 1);
}

function softmaxGradientParts(view, index) {
  const uses = view.relation.uses(0, index);
  const y = uses.map((use) => view.output(0).at(use.o));
  const g = uses.map((use) => view.given(0).at(use.o));
  const own = view.output(0).at(index);
  const ownG = inFormula(view.given(0).at(index));
  const list = (n) => n.slice(0, MOST_TERMS).join(" + ") + (n.length > MOST_TERMS ? " + …" : "");
  if (view.relation.log) return [`${ownG} − e^${inFormula(own)} · (${list(g.map(inFormula))})`];
  const products = y.map((v, n) => `${inFormula(v)} · ${inFormula(g[n])}`);
  return [`${inFormula(own)} · (${ownG} − (${list(products)}))`];
}

function crossEntropyGradientParts(view, slot, index) {
  const { relation, facts } = view;
  if (!relation.plain || slot !== 0) return [];
  const target = view.input(1);
  const row = relation.rowOf(index);
  if (target.at(row) === relation.ignored) return ["0: this row is ignored"];
  const hit = target.at(row) === index[1] ? 1 : 0;
  const g = inFormula(view.given(0).at(relation.reduction === "none" ? row : []));
  if (relation.reduction !== "mean") return [`(${written(facts.p.at(index), 4)} − ${hit}) · ${g}`];
  const rows = [...target.values].filter((t) => t !== relation.ignored).length;
  return [
    `(${written(facts.p.at(index), 4)} − ${hit}) · ${g} / ${target.whole ? rows : "number of rows"}`,
  ];
}

function normGradientParts(view, slot, index) {
  const { facts, relation } = view;
  if (slot !== 0 || !facts.mean_g) return [];
  const place = relation.statistic(index);
  const [weight] = weightAndBias(view, index[1]);
  const [mean, deviation] = [facts.mean.at(place), facts.deviation.at(place)];
  const unit = (view.input(0).at(index) - mean) / deviation;
  const scale = weight === null ? "1" : inFormula(weight);
  const g = inFormula(view.given(0).at(index));
  const means = [facts.mean_g.at(place), facts.mean_gx.at(place)].map(inFormula);
  return [
    `${scale} / ${inFormula(deviation)} · (${g} − ${means[0]} − ${inFormula(unit)} · ${means[1]})`,
  ];
}
