
"use strict";
// The page is whole without this: it only saves reloading by hand.
(() => {
  const live = () => document.getElementById("live");
  const search = document.getElementById("q");
  const isList = location.pathname === "/images";
  let paused = false, asked = 0;

  // Replaces what changes; what the reader has in hand stays: the focus, an open list of figures, how far a table is scrolled.
  const show = async (address) => {
    const own = ++asked;
    let text;
    try {
      const answer = await fetch(address, { headers: { Accept: "text/html" }, cache: "no-store" });
      if (!answer.ok) throw new Error(answer.status);
      text = await answer.text();
    } catch {
      if (own === asked) document.body.classList.add("stale");
      return;
    }
    const next = new DOMParser().parseFromString(text, "text/html").getElementById("live");
    if (own !== asked || !next || live().contains(document.activeElement)) return;
    live().querySelectorAll("details").forEach((old, at) => {
      const now = next.querySelectorAll("details")[at];
      if (now) now.open = old.open;
    });
    const scrolled = new Map();
    live().querySelectorAll(".wide").forEach((old) => scrolled.set(old.getAttribute("aria-label"), old.scrollLeft));
    live().replaceWith(document.adoptNode(next));
    live().querySelectorAll(".wide").forEach((now) => { now.scrollLeft = scrolled.get(now.getAttribute("aria-label")) || 0; });
  };

  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || document.activeElement === search) return;
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
  setInterval(() => { if (!paused && !document.hidden) show("/"); }, 5000);
})();
