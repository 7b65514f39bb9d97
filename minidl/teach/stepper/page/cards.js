// The cards of a step: one for each input and output, with the pictures of its value and gradient.

function showCards(view) {
  state.maps = [];
  const { operation, step, facts } = view;
  const inputs = operation.inputs.map((_, slot) => card(view, "in", slot)).filter(Boolean);
  const ports = [...Array(Math.max(operation.outputs.length, step.given.length)).keys()];
  const outputs = ports.map((port) => card(view, "out", port)).filter(Boolean);
  outputs.push(...Object.entries(facts).map(([name, array]) => factCard(name, array)));

  const [first, ...others] = inputs;
  const left = element("section", "side inputs", first || "", element("div", "rest", ...others));
  left.setAttribute("aria-label", "Inputs");
  const right = element("section", "side outputs", ...outputs);
  right.setAttribute("aria-label", "Outputs");
  const arrow = element("div", "arrow", view.backward ? "←" : "→");
  arrow.setAttribute("aria-hidden", "true");
  part("cards").replaceChildren(left, arrow, right);
  for (const map of state.maps) map.draw(roomFor());
}

// Pixels for a picture's columns. On a wide page inputs and outputs are to lie side by side:
// forward an input, perhaps a kernel, and an output; backward each with its gradient.
function roomFor() {
  const page = part("cards").clientWidth;
  if (!window.matchMedia("(min-width: 1000px)").matches) return page - 36;
  const few = !state.view.backward && state.view.operation.inputs.length === 1;
  return Math.min(480, (few ? 0.42 : 0.29) * page);
}

function card(view, side, slot) {
  const { operation, relation, backward } = view;
  const isInput = side === "in";
  const known = (isInput ? operation.inputs : operation.outputs)[slot];
  const { name, called } = known || { name: "y", called: "" };
  const value = isInput ? view.input(slot) : view.output(slot);
  const gradient = backward ? (isInput ? view.made(slot) : view.given(slot)) : null;
  const sum = backward && isInput ? view.sum(slot) : null;
  if (!value && !gradient) return null;

  const axes = axisNames(operation, side, slot, (value || gradient).shape);
  const picture = (array, what) => array && new HeatMap({ array, side, slot, axes, ...what }, act);
  const padding = relation?.padding;
  const padded = padding && padding.side === side && padding.slot === slot;
  const ring = padded ? { ring: padding.widths, ringText: padding.text } : {};
  const pictures = [
    [name, picture(value, { name, ...ring })],
    [`∂${name}`, picture(gradient, { name, gradient: true })],
    [
      `∂${name} so far, with others' shares`,
      picture(sum, { name: `${name} so far`, gradient: true }),
    ],
  ];
  return cardOf(
    name,
    called,
    pictures.filter(([, map]) => map),
    backward,
  );
}

// A card for what the formula shows beside inputs and outputs.
function factCard(name, array) {
  const text = name.replaceAll("_", " ");
  const axes = axisNames(null, "", 0, array.shape);
  const map = new HeatMap({ array, side: "fact", slot: name, axes, name: text }, act);
  const box = cardOf(text, "", [[text, map]], false);
  box.classList.add("fact");
  return box;
}

function cardOf(name, called, pictures, captions) {
  const maps = pictures.map(([, map]) => map);
  state.maps.push(...maps);
  const { array } = maps[0];
  const head = element("h3", "", element("span", "name", name));
  if (called && called !== name) head.append(element("span", "called", called));
  head.append(element("span", "shape", array.shape.join(" × ") || "a number"));

  const figures = element("div", "figures");
  for (const [label, map] of pictures) {
    const figure = element("figure", map.gradient ? "gradient" : "", map.element);
    if (captions) figure.prepend(element("figcaption", "", label));
    figures.append(figure);
  }
  const box = element("div", "card", head, planeButtons(maps), figures);
  if (!array.whole) box.append(element("p", "sampled", sampledText(array)));
  return box;
}

function axisNames(operation, side, slot, shape) {
  const kind = operation?.relation?.kind;
  const images = ["conv", "conv_transpose", "max_pool", "weights", "max_regions"].includes(kind);
  if (images && shape.length === 4) {
    if (kind.startsWith("conv") && side === "in" && slot === 1) return ["filter", "channel"];
    return [operation.relation.boxes && side === "out" ? "box" : "image", "channel"];
  }
  return shape.slice(0, -2).map((_, axis) => `axis ${axis}, place`);
}

function sampledText(array) {
  const parts = array.shape.map((n, axis) => {
    if (array.counts[axis] === n) return null;
    const step = array.steps[axis];
    if (step > 1) return `every ${ordinal(step)} place of axis ${axis}`;
    return array.counts[axis] === 1
      ? `place 0 of axis ${axis}`
      : `the first ${array.counts[axis]} places of axis ${axis}`;
  });
  return `A part of the array: ${parts.filter(Boolean).join(", ")}.`;
}

function ordinal(n) {
  const ending =
    n % 100 > 10 && n % 100 < 14 ? "th" : { 1: "st", 2: "nd", 3: "rd" }[n % 10] || "th";
  return `${n}${ending}`;
}

// Buttons that leaf through the planes of arrays with more than two axes.
function planeButtons(maps) {
  const { array, axes } = maps[0];
  const rows = axes
    .map((name, axis) => {
      if (array.counts[axis] < 2) return null;
      const text = element("span", "plane");
      const turn = (by) => {
        const n = array.counts[axis];
        const place = maps[0].lead[axis] / array.steps[axis];
        const lead = maps[0].lead.slice();
        lead[axis] = ((place + by + n) % n) * array.steps[axis];
        turnTo(maps[0], lead);
      };
      const button = (sign, by, label) => {
        const made = element("button", "", sign);
        made.setAttribute("aria-label", `${label} ${name}`);
        made.addEventListener("click", () => turn(by));
        return made;
      };
      for (const map of maps) (map.texts ||= []).push([axis, text, name]);
      return element("span", "planes", button("‹", -1, "Previous"), text, button("›", 1, "Next"));
    })
    .filter(Boolean);
  return rows.length ? element("div", "leaf", ...rows) : "";
}
