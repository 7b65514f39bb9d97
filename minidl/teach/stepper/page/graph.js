// The graph's picture: boxes are operations, rounded ones the values that go in from outside.

const NODE_HEIGHT = 38;
const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

class Graph {
  constructor(tape, holder, chosen) {
    this.tape = tape;
    this.holder = holder;
    const { graph } = tape;
    this.edges = graph.edges.map((edge) => svg("path", { d: this.curve(edge), class: "edge" }));
    this.nodes = graph.nodes.map((node) => this.node(node, chosen));
    this.picture = svg(
      "svg",
      {
        width: graph.width,
        height: graph.height,
        viewBox: `0 0 ${graph.width} ${graph.height}`,
        role: "img",
      },
      ...this.edges,
      ...this.nodes,
    );
    holder.replaceChildren(this.picture);
  }

  node({ label, detail, operation, x, y, width }, chosen) {
    const rounded = operation === null;
    const group = svg(
      "g",
      { class: rounded ? "node value" : "node", transform: `translate(${x},${y})` },
      svg("rect", {
        x: -width / 2,
        y: -NODE_HEIGHT / 2,
        width,
        height: NODE_HEIGHT,
        rx: rounded ? NODE_HEIGHT / 2 : 7,
      }),
      svg("text", { y: -3, class: "label" }, label),
      svg("text", { y: 12, class: "detail" }, detail),
    );
    if (!rounded) group.addEventListener("click", () => chosen(operation));
    return group;
  }

  // From the bottom of one node to the top of the other, straight down at both ends.
  curve({ route }) {
    const half = NODE_HEIGHT / 2;
    let path = "";
    route.forEach(([x, y], n) => {
      if (n === 0) {
        path = `M${x},${y + half}`;
        return;
      }
      const [px, py] = route[n - 1];
      const start = n === 1 ? py + half : py;
      const end = n === route.length - 1 ? y - half : y;
      const middle = (start + end) / 2;
      path += `C${px},${middle} ${x},${middle} ${x},${end}`;
    });
    return path;
  }

  // Colour everything as it is at a step.
  show(number) {
    const { steps, graph, operations } = this.tape;
    const done = new Set();
    let passed = new Set(); // of the pass that the step belongs to
    steps.slice(0, number + 1).forEach(({ phase, operation }) => {
      if (phase === "backward") {
        passed.add(operation);
      } else {
        done.add(operation);
        if (!operations[operation].within) passed = new Set();
      }
    });
    const { phase, operation } = steps[number];
    const backward = phase === "backward";
    graph.nodes.forEach((node, n) => {
      const classes = this.nodes[n].classList;
      const current = node.operation === operation;
      classes.toggle("current", current);
      classes.toggle("done", done.has(node.operation));
      classes.toggle("passed", passed.has(node.operation));
      if (current) this.reveal(node);
    });
    graph.edges.forEach((edge, n) => {
      const classes = this.edges[n].classList;
      const target = graph.nodes[edge.to].operation;
      classes.toggle("current", target === operation);
      classes.toggle("done", done.has(target));
      classes.toggle("passed", passed.has(target));
    });
    const name = operations[operation].name;
    this.picture.setAttribute(
      "aria-label",
      `Graph of ${operations.length} operations; now ${name}, ${backward ? "backward" : "forward"}`,
    );
  }

  // Scroll the current node into the middle of the graph's own window.
  reveal({ x, y }) {
    this.holder.scrollTo({
      left: x - this.holder.clientWidth / 2,
      top: y - this.holder.clientHeight / 2,
      behavior: "auto",
    });
  }
}
