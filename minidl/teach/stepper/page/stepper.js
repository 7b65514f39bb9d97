// The page itself: which step is shown, which cell is chosen, and what lights up with it.

const tape = JSON.parse(document.getElementById("tape").textContent);
const arrays = tape.arrays.map((raw) => new Sampled(raw));
const relations = tape.operations.map((operation) => relationOf(operation, arrays));
const part = (id) => document.getElementById(id);
const graph = new Graph(tape, part("graph"), goToOperation);

const state = { step: 0, view: null, maps: [], choice: null, kept: false };

// -- a step ---------------------------------------------------------------------------------------

function goTo(number) {
  state.step = Math.max(0, Math.min(tape.steps.length - 1, number));
  const step = tape.steps[state.step];
  state.view = viewOf(step);
  state.kept = false;
  part("slider").value = state.step + 1;
  part("first").disabled = part("back").disabled = state.step === 0;
  part("last").disabled = part("next").disabled = state.step === tape.steps.length - 1;
  part("counter").textContent = `Step ${state.step + 1} of ${tape.steps.length}, ${step.phase}`;
  document.body.dataset.phase = step.phase;
  window.history.replaceState(null, "", `#${state.step + 1}`);
  graph.show(state.step);
  showText(state.view);
  showCards(state.view);
  choose(firstChoice(state.view));
}

// Everything that the parts of the page ask about a step.
function viewOf(step) {
  const operation = tape.operations[step.operation];
  const of = (number) => (number === null || number === undefined ? null : arrays[number]);
  const facts = {};
  for (const [name, number] of Object.entries({ ...operation.facts, ...step.facts }))
    facts[name] = of(number);
  return {
    step,
    operation,
    facts,
    relation: relations[step.operation],
    backward: step.phase === "backward",
    input: (slot) => of(operation.inputs[slot].array),
    output: (port) => of(operation.outputs[port]?.array),
    given: (port) => of(step.given[port]),
    made: (slot) => of(step.made[slot]),
    sum: (slot) => of(step.sums[slot]),
    isShown: (slot, index, side = "in") =>
      state.maps.some(
        (map) => map.side === side && map.slot === slot && !map.gradient && map.cellAt(index),
      ),
  };
}

function goToOperation(operation) {
  const phase = tape.steps[state.step].phase;
  const found = tape.steps
    .map((step, n) => [step, n])
    .filter(([step]) => step.operation === operation);
  const [, number] = found.find(([step]) => step.phase === phase) || found[0];
  goTo(number);
}

function showText({ operation, backward }) {
  const heading = [element("span", "name", operation.name)];
  if (operation.title) heading.push(element("span", "title", operation.title));
  heading.push(element("span", "phase", backward ? "backward" : "forward"));
  if (operation.within)
    heading.push(element("span", "title", `inside the backward of ${operation.within}`));
  part("heading").replaceChildren(...heading);
  part("source").replaceChildren(
    element("code", "", operation.source),
    " ",
    element("span", "", operation.place),
  );
  part("parameters").replaceChildren(
    ...operation.parameters.map(([name, value]) =>
      element("span", "parameter", element("b", "", name), ` ${value}`),
    ),
  );
  part("parameters").hidden = operation.parameters.length === 0;
}

// The formula of the side and input that the choice is about.
function symbolic({ operation, backward }, { side, slot }) {
  const strip = (text) => text.replace(/\{(\w+)\}/g, (_, name) => (name === "dy" ? "∂y" : name));
  if (!backward) return (operation.each ? "y = " : "") + strip(operation.forward);
  if (side === "out") return "∂y came from what follows";
  const name = operation.inputs[slot].name;
  const text = operation.backward[name];
  if (!text) return operation.forward;
  return (operation.each ? `∂${name} = ` : "") + strip(text);
}

// -- the chosen cell, and what belongs to it ------------------------------------------------------

const act = {
  point(map, index) {
    if (!state.kept) choose({ side: map.side, slot: map.slot, index }, map);
  },
  keep(map, index) {
    const again =
      state.kept &&
      state.choice.side === map.side &&
      state.choice.slot === map.slot &&
      sameIndex(state.choice.index, index);
    state.kept = !again;
    choose({ side: map.side, slot: map.slot, index }, map);
  },
  release() {
    state.kept = false;
    document.body.classList.remove("kept");
  },
};

// At first a cell in the middle of what the step makes: of y, or backward of the first gradient.
function firstChoice(view) {
  let side = "out";
  let slot = 0;
  if (view.backward) {
    slot = view.step.made.findIndex((made) => made !== null);
    side = slot < 0 ? "out" : "in";
    slot = Math.max(0, slot);
  }
  const map = state.maps.find((m) => m.side === side && m.slot === slot);
  if (!map) return null;
  const middle = (axis) => {
    const places = map.array.places(axis);
    return places[Math.floor((places.length - 1) / 2)];
  };
  return { side, slot, index: map.index(middle(map.array.rowAxis), middle(map.array.columnAxis)) };
}

// The terms that the chosen cell is made of (an output) or is part of (an input).
function termsOf(choice) {
  const { relation } = state.view;
  if (!relation || choice.side === "fact") return [];
  if (choice.side === "in") return relation.uses(choice.slot, choice.index);
  return relation
    .reads(choice.slot, choice.index)
    .map((term) => ({ ...term, port: choice.slot, o: choice.index }));
}

// The cell of a term on a picture: several where its arguments name more than one.
function cellsOn(map, term) {
  if (map.side === "out") return term.port === map.slot && term.o ? [term.o] : [];
  if (map.side !== "in") return [];
  return [...term.cells, ...(term.about || [])]
    .filter(([slot]) => slot === map.slot)
    .map(([, index]) => index);
}

function choose(choice, first) {
  if (!choice) {
    part("numbers").replaceChildren();
    part("symbolic").textContent = state.view.operation.forward;
    return;
  }
  state.choice = choice;
  document.body.classList.toggle("kept", state.kept);
  const terms = termsOf(choice);
  let visible = terms;
  // Each picture turns to a plane on which something is lit; what is not on it does not count for
  // the pictures after it, so that the kernel's channel is that of the image.
  const order = [...state.maps].sort((a, b) => (b === first) - (a === first));
  for (const map of order) {
    if (map.side === "fact") continue;
    const own = map.side === choice.side && map.slot === choice.slot;
    const there = (own ? [choice.index] : visible.flatMap((term) => cellsOn(map, term))).filter(
      (index) => map.hasPlaneOf(index),
    );
    if (there.length && !there.some((index) => map.isOnPlane(index))) {
      map.lead = there[0].slice(0, -2);
      map.draw(roomFor());
    }
    const kept = visible.filter((term) => {
      const cells = cellsOn(map, term);
      return !cells.length || cells.some((index) => map.isOnPlane(index));
    });
    if (kept.length) visible = kept;
  }
  for (const map of state.maps) lightUp(map, choice, visible);
  for (const map of state.maps) {
    for (const [axis, text, name] of map.texts || []) {
      text.textContent = `${name} ${map.lead[axis]} of ${map.array.shape[axis]}`;
    }
  }
  if (choice.side === "fact") {
    const array = state.view.facts[choice.slot];
    part("numbers").replaceChildren(
      element(
        "p",
        "numbers",
        element("b", "", cellName(choice.slot.replaceAll("_", " "), choice.index)),
        " = ",
        element("output", "result", exactly(array.at(choice.index), array.dtype)),
      ),
    );
    return;
  }
  part("symbolic").textContent = symbolic(state.view, choice);
  part("numbers").replaceChildren(explanation(state.view, choice));
}

function lightUp(map, choice, terms) {
  const { view } = state;
  const { relation } = view;
  const own = map.side === choice.side && map.slot === choice.slot;
  const lit = own ? [choice.index] : terms.flatMap((term) => cellsOn(map, term));
  let winners = [];
  if (
    relation?.mode.startsWith("max") &&
    map.side === "in" &&
    map.slot === 0 &&
    choice.side === "out" &&
    view.output(0)
  ) {
    winners = winnersOf(view, choice.slot, choice.index);
  }
  // (Regions of interest have frames of their own.)
  const framed =
    !own &&
    Boolean(relation?.windowed) &&
    !relation.boxes &&
    (map.slot === 0 || map.side === "out");
  map.light(lit, own ? choice.index : null, winners, framed);
  if (relation?.boxes && map.side === "in" && map.slot === 0) {
    const box = choice.side === "out" || choice.slot === 1 ? choice.index[0] : terms[0]?.o[0];
    map.region(relation.boxes[box], choice.side === "out" ? choice.index.slice(-2) : null);
  }
}

// Leaf to another plane, and choose the cell there that corresponds to the chosen one.
function turnTo(map, lead) {
  const { choice } = state;
  state.kept = false;
  const same = state.maps.filter((other) => other.side === map.side && other.slot === map.slot);
  for (const other of same) {
    other.lead = lead;
    other.draw(roomFor());
  }
  if (choice.side === map.side && choice.slot === map.slot) {
    choose({ ...choice, index: [...lead, ...choice.index.slice(-2)] }, map);
    return;
  }
  // Is the chosen cell still linked to this plane? Then it stays; else one that is takes its place.
  const onPlane = termsOf(choice).some((term) =>
    cellsOn(map, term).some((index) => map.isOnPlane(index)),
  );
  if (onPlane || !state.view.relation) {
    choose(choice, map);
  } else {
    choose({ side: map.side, slot: map.slot, index: map.start() }, map);
  }
}

// -- buttons and keys -----------------------------------------------------------------------------

part("slider").max = tape.steps.length;
part("slider").addEventListener("input", () => goTo(Number(part("slider").value) - 1));
part("first").addEventListener("click", () => goTo(0));
part("back").addEventListener("click", () => goTo(state.step - 1));
part("next").addEventListener("click", () => goTo(state.step + 1));
part("last").addEventListener("click", () => goTo(tape.steps.length - 1));

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target === part("slider")) return;
  const moves = {
    ArrowRight: state.step + 1,
    ArrowLeft: state.step - 1,
    Home: 0,
    End: tape.steps.length - 1,
  };
  if (event.key === "Escape") act.release();
  if (!(event.key in moves)) return;
  event.preventDefault();
  goTo(moves[event.key]);
});

let resized = 0;
window.addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(() => {
    for (const map of state.maps) map.draw(roomFor());
    choose(state.choice);
  }, 100);
});
window.addEventListener("hashchange", () => goTo(Number(window.location.hash.slice(1)) - 1 || 0));

goTo(Number(window.location.hash.slice(1)) - 1 || 0);
