// What a page does by itself: theme, copy buttons, search dialog. Everything reads without it.
"use strict";
(() => {
const root = document.documentElement, base = root.dataset.root;
root.classList.add("scripted");

// ---- theme: system → light → dark
const modes = ["", "light", "dark"], button = document.querySelector(".theme-button");
const name = () => { button.ariaLabel = button.title = `Theme: ${root.dataset.theme || "system"}`; };
button.onclick = () => {
  root.dataset.theme = modes[(modes.indexOf(root.dataset.theme) + 1) % 3];
  try { localStorage.setItem("theme", root.dataset.theme); } catch { /* no storage: for this page only */ }
  name();
};
name();

// ---- copy buttons
const said = document.body.appendChild(Object.assign(document.createElement("p"), {className: "unseen", role: "status"}));
for (const box of document.querySelectorAll(".cell_input .highlight, .highlight-sh .highlight, .highlight-bash .highlight")) {
  const copy = Object.assign(document.createElement("button"), {type: "button", className: "copy", textContent: "Copy", ariaLabel: "Copy code"});
  copy.onclick = async () => {
    const text = box.querySelector("pre").textContent.replace(/\n$/, "");
    try { await navigator.clipboard.writeText(text); } catch { // no clipboard from file:// in some browsers
      const area = document.body.appendChild(Object.assign(document.createElement("textarea"), {value: text}));
      area.select(); document.execCommand("copy"); area.remove();
    }
    copy.textContent = "Copied"; said.textContent = "Code copied";
    setTimeout(() => { copy.textContent = "Copy"; said.textContent = ""; }, 2000);
  };
  box.append(copy);
}

// ---- a box that scrolls sideways can be reached by keyboard; one that does not is no stop
const laidOut = new Set(), room = Math.min(innerWidth - 32, 660);
const stop = (box, wide) => { if (wide) box.tabIndex = 0; else if (box !== document.activeElement) box.removeAttribute("tabindex"); };
const mark = box => { laidOut.add(box); stop(box, box.scrollWidth > box.clientWidth + 1); };
const sizes = new ResizeObserver(changes => changes.forEach(c => mark(c.target))); // also when unfolded or scrolled to
for (const box of document.querySelectorAll("pre, div.math, .cell_output:has(table), .pst-scrollable-table-container")) {
  const text = box.textContent; // a guess until it is laid out, rather once too often
  stop(box, box.matches("pre") ? Math.max(...text.split("\n").map(line => line.length)) * 8 + 28 > room
    : !box.matches(".math") || text.length * 9 > room * .6);
  sizes.observe(box);
}
document.fonts.ready.then(() => laidOut.forEach(mark)); // a formula may grow with its font

// ---- the place on the page, in the list of sections
const entries = new Map([...document.querySelectorAll("#page-contents a")].map(a => [decodeURIComponent(a.hash.slice(1)), a]));
if (entries.size) {
  const seen = new Set();
  const watch = new IntersectionObserver(changes => {
    for (const c of changes) c.isIntersecting ? seen.add(c.target.id) : seen.delete(c.target.id);
    const last = [...entries.keys()].filter(id => seen.has(id)).pop();
    for (const [id, a] of entries) id === last ? a.setAttribute("aria-current", "true") : a.removeAttribute("aria-current");
  }, {rootMargin: "-80px 0px -60% 0px"});
  for (const id of entries.keys()) { const s = document.getElementById(id); if (s) watch.observe(s); }
}
for (const list of document.querySelectorAll("nav[popover]")) // a link inside the page closes the list
  list.addEventListener("click", e => { if (e.target.closest("a") && list.matches(":popover-open")) list.hidePopover(); });

// ---- reload and Back return to the same paragraph (sections out of view have estimated heights)
const here = `place ${location.pathname}`, marks = document.querySelectorAll("article :is(p, pre, h2, h3, li, summary)");
addEventListener("pagehide", () => {
  const at = [...document.querySelectorAll("article > section > section")].find(s => s.getBoundingClientRect().bottom > 60);
  const k = at ? [...marks].findIndex(m => at.contains(m) && m.getBoundingClientRect().bottom > 60) : -1;
  history.scrollRestoration = k < 0 ? "auto" : "manual";
  try { sessionStorage.setItem(here, k < 0 ? "" : `${k} ${marks[k].getBoundingClientRect().top}`); } catch { history.scrollRestoration = "auto"; }
});
if (history.scrollRestoration === "manual") {
  const [k, top] = (sessionStorage.getItem(here) || "").split(" ").map(Number), mark = marks[k];
  let frames = 0; // sections that come near are laid out frame by frame, and move the mark
  const back = () => { scrollBy(0, mark.getBoundingClientRect().top - top); if (++frames < 15) requestAnimationFrame(back); };
  if (mark) { back(); addEventListener("load", () => { frames = 0; back(); }); }
  history.scrollRestoration = "auto";
}

// ---- what is loaded on demand (by <script>, for that works from a folder too)
const load = file => new Promise((done, fail) => {
  document.head.append(Object.assign(document.createElement("script"), {src: `${base}_static/${file}`, onload: done, onerror: fail}));
});

// ---- figures to move: the code of one is loaded when it is near the window
const near = new IntersectionObserver(changes => {
  for (const c of changes.filter(c => c.isIntersecting)) { near.unobserve(c.target); load(`${c.target.localName.slice(3)}.js`).catch(() => c.target.classList.add("failed")); }
}, {rootMargin: "300px"});
for (const name of (root.dataset.components ?? "").split(" ").filter(Boolean)) near.observe(document.querySelector(`kl-${name}`));

// ---- search: the index and the code are loaded when somebody searches
let ready;
const prepare = () => ready ??= load("search-index.js").then(() => load("search.js"));
const attach = async form => {
  const input = form.querySelector("input"), list = form.querySelector("ol"), status = form.querySelector("[role=status]");
  await prepare();
  const show = () => {
    const found = klSearch(input.value);
    list.replaceChildren(...found.slice(0, 30).map(hit => {
      const item = document.createElement("li"), a = item.appendChild(document.createElement("a"));
      a.href = base + hit.url; a.textContent = hit.title;
      if (hit.section) item.append(Object.assign(document.createElement("span"), {className: "where", textContent: hit.chapter}));
      const p = item.appendChild(document.createElement("p"));
      for (const [i, piece] of hit.excerpt.entries()) p.append(i % 2 ? Object.assign(document.createElement("mark"), {textContent: piece}) : piece);
      return item;
    }));
    status.textContent = !input.value.trim() ? "" : found.length === 1 ? "1 place found" : `${found.length} places found`;
  };
  input.addEventListener("input", show);
  show();
};

const page = document.querySelector("main form.search");
if (page) {
  page.querySelector("input").value = new URLSearchParams(location.search).get("q") ?? "";
  page.addEventListener("submit", e => e.preventDefault());
  attach(page);
}
const dialog = document.createElement("dialog");
dialog.id = "search";
dialog.setAttribute("aria-label", "Search");
dialog.innerHTML = `<form class="search" role="search"><label for="q">Search the book</label>
<input id="q" type="search" autocomplete="off"><button type="button" class="close">Close</button>
<p role="status" aria-live="polite"></p><ol></ol></form>`;
document.body.append(dialog);
const form = dialog.querySelector("form"), field = dialog.querySelector("input");
field.addEventListener("keydown", e => { if (e.key === "Escape") dialog.close(); }); // Chromium only empties the field
form.addEventListener("submit", e => { e.preventDefault(); dialog.querySelector("ol a")?.click(); });
dialog.querySelector(".close").onclick = () => dialog.close();
dialog.addEventListener("click", e => { if (e.target === dialog || e.target.closest("li a")) dialog.close(); });
let attached;
const open = e => { e.preventDefault(); dialog.showModal(); field.select(); attached ??= attach(form); };
document.querySelector(".search-link").addEventListener("click", e => { if (!e.ctrlKey && !e.metaKey) open(e); });
document.addEventListener("keydown", e => {
  const typing = e.target.closest?.("input, textarea, select, [contenteditable]");
  if (dialog.open || page) return;
  if (e.key.toLowerCase() === "k" && (e.ctrlKey || e.metaKey) || e.key === "/" && !typing && !e.ctrlKey && !e.metaKey && !e.altKey) open(e);
});
})();
