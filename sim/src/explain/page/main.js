// Puts the page together.

function on(id, what, handler) {
  document.getElementById(id).addEventListener(what, handler);
}
readColours();
showHeader();
showLegend();
showDetails();
listen();
keys();
on("fit", "click", fit);
on("zoom-in", "click", () => zoom(0.6));
on("zoom-out", "click", () => zoom(1 / 0.6));
on("axis-time", "click", () => setAxisKeeping("time"));
on("axis-order", "click", () => setAxisKeeping("order"));
on("to-failure", "click", toFailure);
on("show-help", "click", () => document.getElementById("help").showModal());
on("show-plan", "click", () => document.getElementById("plan").showModal());
on("copy", "click", async () => {
  const button = document.getElementById("copy");
  try {
    await navigator.clipboard.writeText(raw.about.reproduce);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(document.getElementById("reproduce"));
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
});
let typing = 0;
on("query", "input", (e) => {
  clearTimeout(typing);
  typing = setTimeout(() => search(e.target.value), 150);
});
on("query", "keydown", (e) => {
  if (e.key === "Enter" && e.shiftKey) {
    e.preventDefault();
    toHit(-1);
  }
});
on("search", "submit", (e) => {
  e.preventDefault();
  if (!state.hits.length) search(document.getElementById("query").value);
  toHit(1);
});
on("hit-before", "click", () => toHit(-1));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  readColours();
  showLegend();
  showDetails();
  redraw();
});
fit();

// What a test needs to drive the page and to measure it.
window.wattle = {
  count: COUNT,
  arrows: arrows.from.length,
  lost: arrows.lost.reduce((a, b) => a + b, 0),
  stats,
  view,
  state,
  select,
  search,
  show,
  fit,
  draw,
  toFailure,
  kindOf: (i) => raw.kinds[kind[i]],
  find,
  causeOf: (i) => cause[i],
  pointOf: (i) => [eventX(i), eventY(i)],
  timeOf: (i) => at[i],
};
