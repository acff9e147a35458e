// Talking to the server: who we are, what we ask, and how a "no" sounds.

const store = {
  get(key) { try { return localStorage.getItem(key); } catch { return null; } },
  set(key, value) { try { localStorage.setItem(key, value); } catch { /* Then it lasts as long as the window. */ } },
};

const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** All that a cart is protected by: made once, and never shown to anybody. */
export const client = store.get("book-my-seat.client") ?? newId();
store.set("book-my-seat.client", client);

/** The cart as it was when the window was last open, to be drawn before the server has answered. */
export const remembered = {
  load() { try { return JSON.parse(store.get("book-my-seat.cart")); } catch { return null; } },
  save(cart) { store.set("book-my-seat.cart", JSON.stringify(cart)); },
};

/** A "no", with its word for programs. */
export class No extends Error {
  constructor(word, sentence) { super(sentence ?? word); this.word = word; }
}

async function ask(path, body) {
  const how = body === undefined ? {} : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  let answer;
  try {
    answer = await fetch(path, { ...how, signal: AbortSignal.timeout(20000) });
  } catch {
    throw new No("offline", "The box office does not answer. What was booked stays booked; try again in a moment.");
  }
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new No(told.error ?? "error", told.message ?? SENTENCES[told.error] ?? `The box office said ${answer.status}.`);
  return told;
}

const SENTENCES = {
  conflict: "Somebody else was faster.",
  hold_expired: "The time was up, and the seats are free again.",
  no_such_block: "So many seats side by side are not left there.",
  sold_out: "Nothing is left there.",
  hold_not_found: "These seats are no longer held for you.",
  show_not_found: "There is no such show.",
};

const server = new Map(Object.entries(SENTENCES));
/** What to tell people: our sentence where we have one, else the server's. */
export const sentence = (no) => server.get(no.word) ?? no.message;

export const shows = () => ask("/shows");

/** Everything that can be asked about one show. */
export const show = (id) => {
  const wire = `/shows/${encodeURIComponent(id)}`;
  const api = `/api${wire}`;
  const cart = `${api}/carts/${client}`;
  return {
    events: `${api}/events`,
    seats: () => ask(`${wire}/seats`),
    reset: () => ask(`${wire}/reset-demo`, {}),
    hold: (seatIds) => ask(`${api}/holds`, { clientId: client, seatIds }),
    best: (seats, category) => ask(`${api}/holds/best`, { clientId: client, seats, category: category || null }),
    release: (token) => ask(`${api}/holds/${token}/release`, { clientId: client }),
    cart: () => ask(cart),
    confirm: (tokens) => ask(`${cart}/confirm`, { tokens }),
    extend: (tokens) => ask(`${cart}/extend`, { tokens }),
    giveBack: (tokens) => ask(`${cart}/release`, { tokens }),
    stress: (requests) => ask(`${api}/stress`, { requests }),
  };
};

const rupees = new Intl.NumberFormat("en-IN", { style: "currency", currency: "INR" });
export const money = (cents) => rupees.format(cents / 100);
export const CATEGORIES = { classic: "Classic", extra_legroom: "Extra legroom", prime: "Prime", recliner: "Recliner" };
