// What happens elsewhere, as it happens: a stream of events that picks itself up, and the server's clock.

/** Longer than the server is ever silent. */
const SILENCE = 40000;
/** How long a window that nobody sees keeps its connection: a browser has six for all of them. */
const HIDDEN = 30000;

let ahead = 0;
let isFresh = true;

/** The server's time in milliseconds. A message can only be late, so the latest time that was told is the best. */
export const now = () => Date.now() + ahead;
export const heardTime = (told) => {
  const offset = told - Date.now();
  if (isFresh || offset > ahead) ahead = offset;
  isFresh = false;
};

/**
 * Follows a show. `on.hall` gets every seat, `on.seats` those that changed, both with a position; `on.state` gets one of connecting, live, lost and
 * resting, and `on.back` is called whenever the connection stands again.
 */
export function follow(url, on) {
  let source = null, silence = 0, again = 0, rest = 0, pause = 500;

  const state = (name) => on.state(name);
  const alive = () => {
    clearTimeout(silence);
    silence = setTimeout(reconnect, SILENCE);
  };
  const close = () => {
    clearTimeout(silence);
    clearTimeout(again);
    source?.close();
    source = null;
  };
  const reconnect = () => {
    close();
    state("lost");
    again = setTimeout(open, pause);
    pause = Math.min(pause * 2, 5000);
  };
  const open = () => {
    close();
    source = new EventSource(url);
    source.addEventListener("open", () => {
      pause = 500;
      isFresh = true;
      state("live");
      on.back();
      alive();
    });
    // The browser comes again by itself and says what it has seen, unless the answer was no stream at all.
    source.addEventListener("error", () => {
      if (source?.readyState === EventSource.CLOSED) reconnect();
      else { state("lost"); alive(); }
    });
    source.addEventListener("pulse", (event) => { heardTime(Number(event.data)); alive(); });
    for (const kind of ["hall", "seats"]) {
      source.addEventListener(kind, (event) => {
        alive();
        // The id is the log, and the position in it.
        on[kind](JSON.parse(event.data).seats, Number(event.lastEventId.split(".")[1]));
      });
    }
  };

  document.addEventListener("visibilitychange", () => {
    clearTimeout(rest);
    if (document.hidden) rest = setTimeout(() => { close(); state("resting"); }, HIDDEN);
    else if (!source) { state("connecting"); open(); }
  });
  addEventListener("online", () => { if (source?.readyState !== EventSource.OPEN) open(); });
  state("connecting");
  open();
}
