
"use strict";
// The page is whole without this: it only saves reloading by hand.
(() => {
  const live = () => document.getElementById("live");
  const search = document.getElementById("q");
  const isList = location.pathname === "/images";
  const PATIENCE = 20000;
  let paused = false, asked = 0, running = 0, fresh = new Date();

  const notice = document.createElement("p");
  notice.className = "notice";
  notice.setAttribute("role", "status");
  live().before(notice);
  // Set only when it changes: screen readers say it again otherwise.
  const tell = (text) => { if (notice.textContent !== text) notice.textContent = text; };

  const load = async (address) => {
    const answer = await fetch(address, { headers: { Accept: "text/html" }, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new Error(answer.status);
    const next = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
    if (!next) throw new Error("another page");
    return next;
  };

  // Replaces what changes; what the reader has in hand stays: the focus, an open list of figures, how far a table is scrolled.
  const show = async (address) => {
    const own = ++asked;
    let next;
    running += 1;
    try {
      next = await load(address);
    } catch {
      if (own === asked) tell("Not refreshed since " + fresh.toISOString().replace("T", " ").slice(0, 19) + " UTC: the server does not answer.");
      return;
    } finally {
      running -= 1;
    }
    if (own !== asked) return;
    fresh = new Date();
    tell("");
    live().querySelectorAll("details").forEach((old, at) => {
      const now = next.querySelectorAll("details")[at];
      if (now) now.open = old.open;
    });
    const scrolled = new Map();
    live().querySelectorAll(".wide").forEach((old) => scrolled.set(old.getAttribute("aria-label"), old.scrollLeft));
    const focused = live().contains(document.activeElement) ? document.activeElement : null;
    const name = (element) => element.tagName + (element.getAttribute("aria-label") || element.getAttribute("rel") || "");
    live().replaceWith(document.adoptNode(next));
    live().querySelectorAll(".wide").forEach((now) => { now.scrollLeft = scrolled.get(now.getAttribute("aria-label")) || 0; });
    if (focused) {
      const same = [...live().querySelectorAll(focused.tagName)].find((now) => name(now) === name(focused));
      (same || document.getElementById("main")).focus({ preventScroll: true });
    }
  };

  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
    event.preventDefault();
    search.focus();
  });

  if (isList) {
    let waiting;
    search.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => {
        const address = "/images?" + new URLSearchParams({ q: search.value });
        history.replaceState(null, "", address);
        show(address);
      }, 200);
    });
    return;
  }

  const button = document.createElement("button");
  button.type = "button";
  button.id = "pause";
  const say = () => { button.textContent = paused ? "Go on refreshing" : "Pause refreshing"; };
  button.addEventListener("click", () => { paused = !paused; say(); });
  say();
  document.querySelector("header").append(button);
  setInterval(() => { if (!paused && !document.hidden && running === 0) show("/"); }, 5000);
})();
