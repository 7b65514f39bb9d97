// An array as a picture: a cell for each number of two axes, warm if positive, cool if negative.

const WIDEST_CELL = 38; // pixels
const SMALLEST_CELL = 8;
const WITH_NUMBER = 27; // pixels that a cell needs to show its number
const DIGIT = 7; // pixels that a character of it takes at most
const OVERLAP = 1.5; // how far the frame of a window reaches beyond its cells

let pictures = 0; // for the ids of cells

class HeatMap {
  // `own` says what it shows: { array, side, slot, gradient, name, ring, ringText, boxes }.
  // `act` is told what is done: act.point(map, index), act.keep(map, index), act.release().
  constructor(own, act) {
    Object.assign(this, own);
    this.act = act;
    this.id = `map${pictures++}`;
    this.lead = this.array.shape.slice(0, -2).map(() => 0);
    this.grid = element("div", "grid");
    this.grid.setAttribute("role", "grid");
    this.grid.tabIndex = 0;
    this.frame = element("div", "frame");
    this.overlay = element("div", "overlay");
    this.box = element("div", "picture", this.grid, this.overlay, this.frame);
    this.element = element("div", "scroll", this.box);
    this.listen();
  }

  // Rows and columns shown: the kept ones, and padding around them where all are kept.
  ranges() {
    const { array } = this;
    const around = (axis, [before, after]) => {
      const places = array.places(axis);
      if (!this.ring || axis < 0 || array.counts[axis] !== array.shape[axis]) return places;
      const ends = [Math.max(0, before), Math.max(0, after)];
      return Array.from({ length: places.length + ends[0] + ends[1] }, (_, i) => i - ends[0]);
    };
    const [vertical, horizontal] = this.ring || [
      [0, 0],
      [0, 0],
    ];
    return [around(array.rowAxis, vertical), around(array.columnAxis, horizontal)];
  }

  index(row, column) {
    if (this.array.shape.length === 0) return [];
    if (this.array.shape.length === 1) return [column];
    return [...this.lead, row, column];
  }

  // Whether the plane of an index is on the page at all.
  hasPlaneOf(index) {
    return index.slice(0, -2).every((n, axis) => this.array.places(axis).includes(n));
  }

  isOnPlane(index) {
    return sameIndex(index.slice(0, -2), this.lead);
  }

  draw(room) {
    const [rows, columns] = this.ranges();
    [this.rows, this.columns] = [rows, columns];
    const size = Math.max(SMALLEST_CELL, Math.min(WIDEST_CELL, Math.floor(room / columns.length)));
    this.size = size;
    this.box.style.setProperty("--cell", `${size}px`);
    this.box.style.setProperty("--columns", columns.length);
    this.box.classList.toggle("numbered", size >= WITH_NUMBER);
    this.cells = new Map();
    const shape = this.array.shape;
    this.grid.setAttribute("aria-label", this.described());
    this.grid.setAttribute("aria-rowcount", rows.length);
    this.grid.setAttribute("aria-colcount", columns.length);
    this.grid.replaceChildren(
      ...rows.map((row) => {
        const line = element("div", "row");
        line.setAttribute("role", "row");
        for (const column of columns) line.append(this.cell(row, column));
        return line;
      }),
    );
    this.overlay.replaceChildren();
    this.frame.hidden = true;
    if (shape.includes(0)) this.grid.replaceChildren(element("p", "empty", "no elements"));
  }

  cell(row, column) {
    const cell = element("span", "cell");
    const index = this.index(row, column);
    const value = this.array.at(index);
    cell.id = `${this.id}-${row}-${column}`;
    cell.setAttribute("role", "gridcell");
    cell.dataset.row = row;
    cell.dataset.column = column;
    if (value === undefined) {
      cell.classList.add("ring");
      cell.textContent = this.size >= WITH_NUMBER ? this.ringText : "";
      cell.setAttribute(
        "aria-label",
        `row ${row}, column ${column}: ${this.ringText === "cut" ? "cut off" : "padding"}`,
      );
    } else {
      this.colour(cell, value);
      if (this.size >= WITH_NUMBER) cell.textContent = fitting(value, this.size / DIGIT);
      cell.setAttribute("aria-label", `row ${row}, column ${column}: ${written(value, 4)}`);
    }
    this.cells.set(`${row},${column}`, cell);
    return cell;
  }

  colour(cell, value) {
    if (!Number.isFinite(value)) {
      cell.classList.add("odd");
      return;
    }
    const share = this.array.peak ? Math.abs(value) / this.array.peak : 0;
    cell.classList.add(value < 0 ? "minus" : "plus");
    // The root makes small numbers visible beside a large one.
    const depth = Math.round(100 * Math.sqrt(share));
    cell.style.setProperty("--depth", `${depth}%`);
    if (depth > 62) cell.classList.add("deep");
  }

  described() {
    const { array } = this;
    const name = this.gradient ? `gradient of ${this.name}` : this.name;
    const where = this.lead.map((n, axis) => `, ${this.axes[axis]} ${n}`).join("");
    const [rows, columns] = this.ranges();
    return `${name}${where}: ${rows.length} rows, ${columns.length} columns of ${array.dtype}`;
  }

  cellAt(index) {
    if (index.length > 2 && !this.isOnPlane(index)) return undefined;
    const [row, column] = index.length > 1 ? index.slice(-2) : [0, index.length ? index[0] : 0];
    return this.cells.get(`${row},${column}`);
  }

  // Light the cells at these indices and frame them; one of them may be the chosen one.
  light(indices, chosen, winners, framed) {
    for (const cell of this.grid.querySelectorAll(".lit, .chosen, .winner")) {
      cell.classList.remove("lit", "chosen", "winner");
    }
    this.grid.removeAttribute("aria-activedescendant");
    const lit = indices.map((index) => this.cellAt(index)).filter(Boolean);
    for (const cell of lit) cell.classList.add("lit");
    for (const index of winners) this.cellAt(index)?.classList.add("winner");
    const own = chosen && this.cellAt(chosen);
    if (own) {
      own.classList.add("chosen");
      this.grid.setAttribute("aria-activedescendant", own.id);
    }
    this.cursor = own ? chosen : this.cursor;
    this.enclose(framed ? lit : []);
  }

  // A frame around cells: with dilation it shows the gaps between them.
  enclose(cells) {
    this.frame.hidden = cells.length < 2;
    if (cells.length < 2) return;
    const rows = cells.map((cell) => this.rows.indexOf(Number(cell.dataset.row)));
    const columns = cells.map((cell) => this.columns.indexOf(Number(cell.dataset.column)));
    this.put(
      this.frame,
      Math.min(...rows),
      Math.max(...rows) + 1,
      Math.min(...columns),
      Math.max(...columns) + 1,
    );
  }

  // Lay an element over a rectangle, in cells from the first one shown.
  put(thing, top, bottom, left, right) {
    const unit = (cells, more) => `calc(${cells} * var(--cell) + ${more}px)`;
    thing.style.top = unit(top, -OVERLAP);
    thing.style.left = unit(left, -OVERLAP);
    thing.style.height = unit(bottom - top, 2 * OVERLAP);
    thing.style.width = unit(right - left, 2 * OVERLAP);
  }

  // A region of interest: its bins, and the samples of the bin that is shown.
  region(box, shown) {
    this.overlay.replaceChildren();
    if (!box || !this.array.whole || this.lead[0] !== box.image) return;
    box.rows.forEach(([top, bottom], i) => {
      box.columns.forEach(([left, right], j) => {
        if (bottom <= top || right <= left) return;
        const now = Boolean(shown) && shown[0] === i && shown[1] === j;
        const mark = element("div", now ? "bin now" : "bin");
        this.put(mark, top, bottom, left, right);
        this.overlay.append(mark);
      });
    });
    if (!shown || !box.samples) return;
    const [top, bottom] = box.rows[shown[0]];
    const [left, right] = box.columns[shown[1]];
    const [down, across] = box.samples;
    for (let a = 0; a < down; a++) {
      for (let b = 0; b < across; b++) {
        const y = top + ((bottom - top) * (a + 0.5)) / down;
        const x = left + ((right - left) * (b + 0.5)) / across;
        const dot = element("div", "sample");
        this.put(dot, y, y, x, x);
        this.overlay.append(dot);
      }
    }
  }

  // -- mouse, finger and keys ----------------------------------------------------------------------

  listen() {
    const indexOf = (event) => {
      const cell = event.target.closest(".cell");
      if (!cell || cell.classList.contains("ring")) return null;
      return this.index(Number(cell.dataset.row), Number(cell.dataset.column));
    };
    this.grid.addEventListener("pointerover", (event) => {
      const index = event.pointerType === "touch" ? null : indexOf(event);
      if (index) this.act.point(this, index);
    });
    this.grid.addEventListener("click", (event) => {
      const index = indexOf(event);
      if (index) this.act.keep(this, index);
    });
    this.grid.addEventListener("focus", () => {
      if (this.grid.matches(":focus-visible")) this.act.point(this, this.start());
    });
    this.grid.addEventListener("keydown", (event) => {
      const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      if (event.key === "Escape") {
        this.grid.blur();
        this.act.release();
      } else if (event.key === "Enter" || event.key === " ") {
        this.act.keep(this, this.start());
      } else if (moves[event.key]) {
        this.act.release();
        this.act.point(this, this.moved(...moves[event.key]));
      } else {
        return; // the page's own keys
      }
      event.preventDefault();
      event.stopPropagation();
    });
  }

  // Where the keys start from: the cell chosen last on this picture, if it is on this plane.
  start() {
    if (
      this.cursor &&
      (this.cursor.length < 3 || this.isOnPlane(this.cursor)) &&
      this.array.at(this.cursor) !== undefined
    ) {
      return this.cursor;
    }
    return this.index(0, 0);
  }

  moved(down, across) {
    const index = this.start();
    const inside = (places, place, by) =>
      places[Math.max(0, Math.min(places.length - 1, places.indexOf(place) + by))];
    const [row, column] = index.length > 1 ? index.slice(-2) : [0, index.length ? index[0] : 0];
    return this.index(
      inside(this.array.places(this.array.rowAxis), row, down),
      inside(this.array.places(this.array.columnAxis), column, across),
    );
  }
}
