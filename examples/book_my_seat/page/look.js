// The theme: the system's, unless somebody chose one. Runs before the page is drawn.
(() => {
  const KEY = "book-my-seat.theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try { chosen = localStorage.getItem(KEY); } catch { /* Without storage it is forgotten, that is all. */ }

  const isDark = () => (chosen ? chosen === "dark" : system.matches);
  const show = () => {
    root.dataset.theme = isDark() ? "dark" : "light";
    document.getElementById("theme")?.setAttribute("aria-pressed", String(isDark()));
  };
  show();
  system.addEventListener("change", show);
  document.addEventListener("DOMContentLoaded", () => {
    show();
    document.getElementById("theme").addEventListener("click", () => {
      chosen = isDark() ? "light" : "dark";
      try { localStorage.setItem(KEY, chosen); } catch { /* As above. */ }
      show();
    });
  });
})();
