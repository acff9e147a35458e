// The cart: what is held, for how long, at what price; and the tickets that were bought.

import { money, remembered } from "./wire.js";
import { now } from "./live.js";

const by = (id) => document.getElementById(id);
/** When a screen reader is told how much time is left, in seconds. */
const SAID_AT = [60, 15];

export class Cart {
  /** `release` is called with a hold that is given back; `lapsed` when the time is up. */
  constructor(speak, release, lapsed) {
    Object.assign(this, { speak, release, lapsed, holds: [], booked: { seatIds: [], priceCents: 0 }, span: 0, said: null, me: null, position: 0 });
    const before = remembered.load();
    if (before?.holds?.length) this.show(before);
    setInterval(() => this.tick(), 250);
  }

  get tokens() { return this.holds.map((hold) => hold.token); }

  get deadline() { return Math.min(...this.holds.map((hold) => hold.deadline)); }

  /** Takes in the cart as the server has it, unless a later one is known. Another `me` is of another log. */
  show(cart) {
    if (cart.me === this.me && cart.position < this.position) return;
    if (cart.me) Object.assign(this, { me: cart.me, position: cart.position });
    this.holds = cart.holds;
    this.booked = cart.booked ?? this.booked;
    remembered.save({ holds: this.holds, booked: this.booked });
    // The ring is full when the cart has the most time that was seen.
    const left = this.deadline - now();
    this.span = this.holds.length ? Math.max(this.span, left) : 0;
    this.draw();
    this.tick();
  }

  holdOf(seatId) { return this.holds.find((hold) => hold.seatIds.includes(seatId)); }

  draw() {
    // What has the focus may be drawn anew, or be gone: the focus goes on to what is nearest to it.
    const before = document.activeElement, isHere = Boolean(before?.closest("#cart"));
    const token = before?.dataset.token, place = [...document.querySelectorAll("#lines .back")].indexOf(before);
    this.drawAll();
    if (!isHere || (before.isConnected && !before.disabled && before.offsetParent)) return;
    const backs = [...document.querySelectorAll("#lines .back")];
    const same = backs.find((back) => back.dataset.token === token) ?? backs[Math.min(Math.max(place, 0), backs.length - 1)];
    (same ?? by("cart-name")).focus({ preventScroll: true });
  }

  drawAll() {
    const { holds } = this, cart = by("cart");
    const seats = holds.flatMap((hold) => hold.seatIds);
    cart.dataset.empty = String(!holds.length);
    by("clock").hidden = !holds.length;
    by("lines").replaceChildren(...holds.map((hold) => this.line(hold)));
    by("total").textContent = money(holds.reduce((sum, hold) => sum + hold.priceCents, 0));
    by("confirm").textContent = seats.length ? `Book ${seats.length} ${seats.length === 1 ? "seat" : "seats"}` : "Book";
    for (const id of ["confirm", "more", "drop"]) by(id).disabled = !holds.length;

    by("tickets").hidden = !this.booked.seatIds.length;
    by("ticket-seats").replaceChildren(...this.booked.seatIds.map((id) => chip(id)));
    by("ticket-price").textContent = `${money(this.booked.priceCents)} paid`;
  }

  line(hold) {
    const line = document.createElement("li");
    const seats = document.createElement("div"), price = document.createElement("span"), back = document.createElement("button");
    seats.className = "line-seats";
    seats.append(...hold.seatIds.map((id) => chip(id)));
    price.className = "line-price";
    price.textContent = money(hold.priceCents);
    back.type = "button";
    back.className = "back";
    back.textContent = "×";
    back.dataset.token = hold.token;
    back.setAttribute("aria-label", `Give back ${hold.seatIds.join(", ")}`);
    back.addEventListener("click", () => this.release(hold));
    line.append(seats, price, back);
    return line;
  }

  tick() {
    if (!this.holds.length) { this.said = null; return; }
    const left = Math.max(0, this.deadline - now());
    const seconds = Math.ceil(left / 1000);
    by("left").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    by("ring").style.strokeDashoffset = String(100 - 100 * Math.min(1, left / Math.max(this.span, 1)));
    by("clock").dataset.hurry = String(seconds <= 30);
    const due = SAID_AT.find((mark) => seconds === mark);
    if (due && this.said !== due) {
      this.said = due;
      this.speak(`${due} seconds left to book your seats.`);
    }
    if (left === 0) {
      const gone = this.holds.filter((hold) => hold.deadline <= now());
      this.show({ holds: this.holds.filter((hold) => hold.deadline > now()) });
      this.lapsed(gone.flatMap((hold) => hold.seatIds));
    }
  }
}

function chip(id) {
  const made = document.createElement("span");
  made.className = "chip";
  made.textContent = id;
  return made;
}
