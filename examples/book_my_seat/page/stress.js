// The rush: where each request ended, lane by lane, and what became of the seat.

const SIDES = [
  ["unsafe", "Look, think, write", "Everybody saw a free seat, and everybody wrote."],
  ["safe", "Keep, think, write", "Whoever came first kept the seat while thinking. The others were told no."],
];

/** Draws it, and gives the verdicts as text. */
export function drawRush(lanes, told) {
  const end = Math.max(1, ...SIDES.flatMap(([side]) => told[side].runs.map((run) => run.endedMs)));
  lanes.replaceChildren(...SIDES.map(([side, name, story]) => panel(side, name, story, told[side], end)));
  return [...lanes.querySelectorAll(".lane")].map((lane) => {
    const [name, what, who] = ["h3", ".verdict strong", ".verdict span"].map((part) => lane.querySelector(part).textContent);
    return `${name}: ${what}. ${who}`;
  }).join(" ");
}

export function drawWaiting(lanes) {
  lanes.replaceChildren(...SIDES.map(([side, name]) => {
    const made = part("section", `lane ${side} waiting`);
    made.append(part("h3", "", name), part("div", "bars"));
    for (let run = 0; run < 10; run += 1) made.lastChild.append(part("div", "bar-row"));
    return made;
  }));
}

function panel(side, name, story, told, end) {
  const refused = told.runs.length - told.accepted;
  const made = part("section", `lane ${side}`);
  const head = part("div", "lane-head");
  head.append(part("h3", "", name), part("span", "chip", `Seat ${told.seatId}`));
  const bars = part("div", "bars");
  // Whoever was told yes and does not have the seat was told what is not true.
  for (const run of told.runs) bars.append(bar(run, end, run.ok && run.number !== told.owner));
  const verdict = part("p", "verdict");
  verdict.dataset.bookings = told.bookings;
  verdict.append(
    part("strong", "", told.bookings > 1 ? `${told.bookings} bookings for one seat` : "1 booking for one seat"),
    part("span", "", `${told.accepted} told yes, ${refused} told no. ${told.bookings > 1 || side === "safe" ? story : ""}`),
  );
  const axis = part("div", "axis");
  axis.append(part("span", "", "0 ms"), part("span", "", `${end} ms`));
  made.append(head, bars, axis, verdict);
  return made;
}

function bar(run, end, isFalse) {
  const row = part("div", "bar-row");
  if (isFalse) row.dataset.false = "";
  row.dataset.ok = run.ok;
  const track = part("span", "track"), fill = part("span", "fill");
  fill.style.setProperty("--from", `${(100 * run.startedMs) / end}%`);
  fill.style.setProperty("--to", `${(100 * Math.max(run.endedMs, run.startedMs + 1)) / end}%`);
  fill.style.setProperty("--turn", run.number);
  track.append(fill);
  const ended = part("span", "ended", run.ok ? "✓ booked" : run.error === "conflict" ? "✕ taken" : `✕ ${run.error}`);
  row.append(part("span", "who", `Buyer ${run.number}`), track, ended);
  return row;
}

/** Every seat that was sold more than once, as chips. */
export function drawOops(box, seats) {
  if (!seats.length) { box.replaceChildren(); return; }
  const list = part("div", "chips");
  for (const seat of seats) list.append(part("span", "chip bad", `${seat.id} × ${seat.bookings}`));
  box.replaceChildren(part("strong", "", `Sold more than once: ${seats.length === 1 ? "1 seat" : `${seats.length} seats`}`), list);
}

function part(tag, name = "", text = "") {
  const made = document.createElement(tag);
  made.className = name;
  if (text) made.textContent = text;
  return made;
}
