// The hall: every seat a cell of one grid, drawn once and then only changed, reached with the arrow keys.

import { CATEGORIES, money } from "./wire.js";
import { now } from "./live.js";

const WORDS = {
  available: "free",
  asking: "chosen, on its way",
  mine: "held for you",
  ticket: "yours",
  held: "held by somebody else",
  booked: "booked",
};

/** Half the width of the widest row, in seats: rows bend towards the screen at their ends. */
const REACH = 11.5;

export class Hall {
  /** `choose` is called with a seat and how it looks. */
  constructor(grid, choose) {
    this.grid = grid;
    this.seats = new Map();
    this.rows = [];
    this.asking = new Set();
    this.me = null;
    this.lapse = 0;
    grid.addEventListener("click", (event) => {
      const seat = this.seatOf(event.target);
      if (seat) { this.focus(seat, false); choose(seat, this.look(seat)); }
    });
    grid.addEventListener("keydown", (event) => this.move(event));
    grid.addEventListener("focusin", (event) => {
      const seat = this.seatOf(event.target);
      if (seat) this.rove(seat);
    });
  }

  seatOf(element) {
    const cell = element.closest?.("[data-seat]");
    return cell && this.seats.get(cell.dataset.seat);
  }

  /** Draws every seat, once. */
  draw(list) {
    const rows = Map.groupBy ? Map.groupBy(list, (seat) => seat.row) : grouped(list);
    let category = null;
    for (const [name, seats] of rows) {
      if (seats[0].category !== category) {
        category = seats[0].category;
        this.grid.append(heading(category, seats[0].priceCents));
      }
      const row = element("div", "row");
      row.setAttribute("role", "row");
      row.setAttribute("aria-label", `Row ${name}`);
      row.dataset.category = category;
      row.append(label(name));
      let block = null, group = null;
      const cells = [];
      const wide = seats[0].isRecliner ? 1.5 : 1;
      const aisles = seats.at(-1).blockIndex;
      const width = seats.length * wide + aisles;
      seats.forEach((told, index) => {
        if (told.blockIndex !== block) {
          block = told.blockIndex;
          group = element("div", "block");
          group.setAttribute("role", "presentation");
          row.append(group);
        }
        const x = (index + 0.5) * wide + block - width / 2;
        const seat = { ...told, x, status: told.status, by: null, until: 0, bookings: 1, position: 0, cell: this.cell(told) };
        seat.cell.style.setProperty("--bend", ((x / REACH) ** 2).toFixed(3));
        this.seats.set(told.id, seat);
        group.append(seat.cell);
        cells.push(seat);
      });
      row.append(label(name));
      this.rows.push(cells);
      this.grid.append(row);
    }
    this.grid.setAttribute("aria-busy", "false");
    const middle = this.rows.find((row) => row[0].category === "prime") ?? this.rows[0];
    this.rove(middle[Math.floor(middle.length / 2)]);
    this.refresh();
  }

  cell(told) {
    const cell = element("button", told.isRecliner ? "seat recliner" : "seat");
    cell.type = "button";
    cell.tabIndex = -1;
    cell.dataset.seat = told.id;
    cell.setAttribute("role", "gridcell");
    const number = element("b");
    number.textContent = told.number;
    cell.append(number);
    return cell;
  }

  /** How a seat looks to this window, at this moment. */
  look(seat) {
    if (this.asking.has(seat.id)) return "asking";
    if (seat.status === "booked") return this.me && seat.by === this.me ? "ticket" : "booked";
    if (seat.status === "held" && seat.until > now()) return this.me && seat.by === this.me ? "mine" : "held";
    return "available";
  }

  /**
   * Takes in what the server says of some seats, as of a position; whether one of them is or was ours. What is older than
   * what is known is left out, unless it is of all seats: the server may have begun another log.
   */
  learn(list, position, isAll = false) {
    let ours = false;
    for (const told of list) {
      const seat = this.seats.get(told.id);
      if (!seat || (position < seat.position && !isAll)) continue;
      seat.position = position;
      const was = seat.by;
      Object.assign(seat, { status: told.status, by: told.by ?? null, until: told.until ?? 0, bookings: told.bookings ?? 1 });
      ours ||= this.me !== null && (was === this.me || seat.by === this.me);
      this.paint(seat);
    }
    this.watch();
    return ours;
  }

  ask(ids) { for (const id of ids) { this.asking.add(id); this.paint(this.seats.get(id)); } }

  answered(ids) { for (const id of ids) { this.asking.delete(id); this.paint(this.seats.get(id)); } }

  /** Who we are to the others: it is found in the answers, and may come after a seat that is ours. */
  know(me) {
    if (this.me === me) return;
    this.me = me;
    this.refresh();
  }

  refresh() { for (const seat of this.seats.values()) this.paint(seat); this.watch(); }

  paint(seat) {
    if (!seat) return;
    const { cell } = seat, look = this.look(seat);
    const oops = seat.bookings > 1 ? `${seat.bookings}×` : "";
    if (cell.dataset.state === look && (cell.dataset.oops ?? "") === oops) return;
    const before = cell.dataset.state;
    cell.dataset.state = look;
    if (oops) cell.dataset.oops = oops; else delete cell.dataset.oops;
    cell.setAttribute("aria-selected", String(look === "mine" || look === "asking"));
    cell.setAttribute("aria-disabled", String(["held", "booked", "ticket"].includes(look)));
    const more = oops ? `, sold ${seat.bookings} times` : "";
    const name = `Row ${seat.row} seat ${seat.number}, ${CATEGORIES[seat.category]}, ${money(seat.priceCents)}, ${WORDS[look]}${more}`;
    cell.setAttribute("aria-label", name);
    cell.title = name;
    if (before && before !== look) {
      cell.classList.remove("changed");
      requestAnimationFrame(() => cell.classList.add("changed"));
    }
  }

  /** Looks again when the next hold lapses: no message says so. */
  watch() {
    clearTimeout(this.lapse);
    let next = Infinity;
    for (const seat of this.seats.values()) {
      if (seat.status === "held" && seat.until > now()) next = Math.min(next, seat.until);
    }
    if (next < Infinity) this.lapse = setTimeout(() => { this.refresh(); this.onlapse?.(); }, Math.max(next - now(), 0) + 20);
    this.oncount?.([...this.seats.values()].filter((seat) => this.look(seat) === "available").length, this.seats.size);
  }

  /** One seat of the grid is reached with the Tab key; the arrows go on from there. */
  rove(seat) {
    if (this.here) this.here.cell.tabIndex = -1;
    this.here = seat;
    seat.cell.tabIndex = 0;
  }

  focus(seat, scroll = true) {
    this.rove(seat);
    seat.cell.focus({ preventScroll: !scroll });
    if (scroll) seat.cell.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  move(event) {
    const seat = this.seatOf(event.target);
    if (!seat || event.altKey || event.metaKey || event.ctrlKey) return;
    const row = this.rows.findIndex((cells) => cells.includes(seat));
    const column = this.rows[row].indexOf(seat);
    const nearest = (cells) => cells?.reduce((best, other) => (Math.abs(other.x - seat.x) < Math.abs(best.x - seat.x) ? other : best));
    const to = {
      ArrowLeft: () => this.rows[row][column - 1],
      ArrowRight: () => this.rows[row][column + 1],
      ArrowUp: () => nearest(this.rows[row - 1]),
      ArrowDown: () => nearest(this.rows[row + 1]),
      Home: () => this.rows[row][0],
      End: () => this.rows[row].at(-1),
      PageUp: () => nearest(this.rows[0]),
      PageDown: () => nearest(this.rows.at(-1)),
    }[event.key];
    if (!to) return;
    event.preventDefault();
    const there = to();
    if (there) this.focus(there);
  }
}

function element(tag, name = "") {
  const made = document.createElement(tag);
  made.className = name;
  return made;
}

function label(name) {
  const made = element("span", "row-name");
  made.textContent = name;
  made.setAttribute("aria-hidden", "true");
  return made;
}

function heading(category, price) {
  const made = element("div", "group");
  made.dataset.category = category;
  // Every seat says its category and price itself.
  made.setAttribute("aria-hidden", "true");
  const name = element("span"), cost = element("span", "price");
  name.textContent = CATEGORIES[category];
  cost.textContent = money(price);
  made.append(name, cost);
  return made;
}

function grouped(list) {
  const rows = new Map();
  for (const seat of list) rows.set(seat.row, [...(rows.get(seat.row) ?? []), seat]);
  return rows;
}
