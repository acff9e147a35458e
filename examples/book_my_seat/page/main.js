// The page: puts hall, cart and rush together, and says what happens.

import { Cart } from "./cart.js";
import { Hall } from "./hall.js";
import { drawOops, drawRush, drawWaiting } from "./stress.js";
import { follow, heardTime } from "./live.js";
import { CATEGORIES, money, sentence, show as showOf, shows } from "./wire.js";

const by = (id) => document.getElementById(id);
const LINKS = { connecting: "Connecting", live: "Live", lost: "Reconnecting", resting: "Resting" };
/** Most seats that the page offers to find side by side. */
const MOST = 7;

const speak = (text) => { by("speak").textContent = text; };
/** The seats that were sold more than once, as they were said last. */
let oops = "";

function toast(text, kind = "note") {
  const made = document.createElement("p");
  made.className = `toast ${kind}`;
  made.textContent = text;
  by("toasts").append(made);
  setTimeout(() => made.classList.add("gone"), 5000);
  setTimeout(() => made.remove(), 5400);
}

/** Does something that may be refused; true if it was not. */
async function attempt(work) {
  try {
    await work();
    return true;
  } catch (no) {
    toast(sentence(no), "bad");
    return false;
  }
}

async function open() {
  const { shows: [first] } = await shows();
  const show = showOf(first.id);
  const told = await show.seats();
  by("title").textContent = first.title;
  document.title = `${first.title}: book my seat`;

  const hall = new Hall(by("hall"), choose);
  const cart = new Cart(speak, (hold) => give(hold), (gone) => {
    hall.refresh();
    if (gone.length) toast(`The time was up: ${gone.join(", ")}.`, "bad");
  });
  hall.oncount = (free, all) => { by("free").textContent = `${free} of ${all} seats free`; };
  hall.draw(told.seats);
  centre();

  const refresh = later(async () => {
    try {
      const mine = await show.cart();
      heardTime(mine.now);
      cart.show(mine);
      hall.know(mine.me);
    } catch { /* The connection says so already; whoever comes back asks again. */ }
  });
  const learn = (isAll) => (seats, position) => {
    if (hall.learn(seats, position, isAll)) refresh();
    const found = [...hall.seats.values()].filter((seat) => seat.bookings > 1);
    const said = found.map((seat) => `${seat.id} ${seat.bookings}`).join();
    // It is read out whenever it is drawn.
    if (said !== oops) drawOops(by("oops"), found);
    oops = said;
  };
  follow(show.events, {
    hall: learn(true),
    seats: learn(false),
    back: refresh,
    state(name) {
      by("link").dataset.state = name;
      by("link").querySelector("span").textContent = LINKS[name];
    },
  });

  /** A hold was made: what the answer says need not wait for the stream. */
  function took({ hold, now, me, position }) {
    heardTime(now);
    hall.know(me);
    hall.learn(hold.seatIds.map((id) => ({ id, status: "held", by: me, until: hold.deadline })), position);
    refresh();
    const total = money(hold.priceCents);
    speak(`${hold.seatIds.join(", ")} held for you, ${total}.`);
  }

  async function choose(seat, look) {
    if (look === "available") {
      hall.ask([seat.id]);
      await attempt(async () => took(await show.hold([seat.id])));
      hall.answered([seat.id]);
    } else if (look === "mine") {
      const hold = cart.holdOf(seat.id);
      if (hold) await give(hold);
    } else if (look !== "asking") {
      toast({ held: `${seat.id} is held by somebody else. It may come back.`, booked: `${seat.id} is booked.`, ticket: `${seat.id} is yours.` }[look]);
    }
  }

  async function give(hold) {
    await attempt(async () => {
      cart.show(await show.release(hold.token));
      speak(`${hold.seatIds.join(", ")} given back.`);
    });
    refresh();
  }

  button("confirm", async () => {
    const seats = cart.holds.flatMap((hold) => hold.seatIds);
    const done = await attempt(async () => cart.show(await show.confirm(cart.tokens)));
    if (done) toast(`Booked: ${seats.join(", ")}. Enjoy the film.`, "good");
    refresh();
  });
  button("more", () => attempt(async () => {
    const before = cart.deadline;
    const mine = await show.extend(cart.tokens);
    cart.show(mine);
    if (cart.deadline - before > 500) speak("You have more time.");
  }));
  button("drop", async () => { await attempt(async () => cart.show(await show.giveBack(cart.tokens))); refresh(); });

  let together = 4;
  const step = (by_) => () => {
    together = Math.min(MOST, Math.max(1, together + by_));
    by("together").textContent = together;
    by("find").textContent = together === 1 ? "Hold the best seat" : `Hold the best ${together}`;
  };
  by("fewer").addEventListener("click", step(-1));
  by("morer").addEventListener("click", step(1));
  for (const name of new Set(told.seats.map((seat) => seat.category))) {
    by("where").append(new Option(CATEGORIES[name], name));
  }
  by("best").addEventListener("submit", async (event) => {
    event.preventDefault();
    await attempt(async () => {
      const found = await show.best(together, by("where").value);
      took(found);
      const { seatIds } = found.hold;
      const middle = hall.seats.get(seatIds[seatIds.length >> 1]);
      middle.cell.scrollIntoView({ block: "nearest", inline: "center", behavior: calm() ? "auto" : "smooth" });
    });
  });

  button("stress", async () => {
    drawWaiting(by("lanes"));
    const ran = await attempt(async () => speak(drawRush(by("lanes"), await show.stress(10))));
    if (!ran) by("lanes").replaceChildren();
  });
  const reset = by("reset");
  let armed = 0;
  reset.addEventListener("click", async () => {
    if (!armed) {
      reset.textContent = "Really? Everybody loses their seats";
      armed = setTimeout(() => { armed = 0; reset.textContent = "Reset the demo"; }, 4000);
      return;
    }
    clearTimeout(armed);
    armed = 0;
    reset.textContent = "Reset the demo";
    if (await attempt(() => show.reset())) { by("lanes").replaceChildren(); toast("As it was before the doors opened."); }
    refresh();
  });
}

/** A button that is out of use while its work is done. */
function button(id, work) {
  by(id).addEventListener("click", async () => {
    by(id).setAttribute("aria-busy", "true");
    try { await work(); } finally { by(id).removeAttribute("aria-busy"); }
  });
}

/** Runs once for any number of calls that come while it waits or runs, and once more for those that came while it ran. */
function later(work) {
  let state = "idle";
  const run = async () => {
    state = "running";
    await work();
    const again = state === "again";
    state = "idle";
    if (again) run();
  };
  return () => { if (state === "idle") run(); else state = "again"; };
}

const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** On a narrow screen the hall is wider than the window: begin in the middle, or show all of it. */
function centre() {
  const scroll = by("scroll");
  scroll.scrollLeft = (scroll.scrollWidth - scroll.clientWidth) / 2;
}

by("zoom").addEventListener("click", () => {
  const whole = document.body.classList.toggle("whole-hall");
  by("zoom").setAttribute("aria-pressed", String(whole));
  by("zoom").textContent = whole ? "Closer" : "Whole hall";
  centre();
});

// A server that is not there yet may be there in a moment.
(async function start() {
  try {
    await open();
  } catch (no) {
    by("link").dataset.state = "lost";
    by("link").querySelector("span").textContent = LINKS.lost;
    console.warn(no);
    setTimeout(start, 1500);
  }
})();
