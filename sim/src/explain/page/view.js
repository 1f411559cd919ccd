// Moving about: what is shown, what is selected, what the pointer and the keys do.

let waiting = false;
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    draw();
    const note = document.getElementById("note");
    note.hidden = !stats.hiddenArrows;
    note.textContent = "Zoom in to see messages";
  });
}

const narrowest = () => (state.axis === "time" ? 20 : 4);
function show(from, to) {
  let span = Math.max(to - from, narrowest());
  const margin = extent * 0.02;
  span = Math.min(span, extent + 2 * margin);
  let begin = (from + to) / 2 - span / 2;
  begin = Math.max(-margin, Math.min(begin, extent + margin - span));
  view.from = begin;
  view.to = begin + span;
  redraw();
}
const fit = () => show(-extent * 0.01, extent * 1.01);
function zoom(factor, around = (view.from + view.to) / 2) {
  show(around - (around - view.from) * factor, around + (view.to - around) * factor);
}
const pan = (part) => show(view.from + (view.to - view.from) * part, view.to + (view.to - view.from) * part);

function setAxisKeeping(axis) {
  const from = timeOfPlace(view.from), to = timeOfPlace(view.to), middle = state.selected;
  setAxis(axis);
  document.getElementById("axis-time").setAttribute("aria-pressed", String(axis === "time"));
  document.getElementById("axis-order").setAttribute("aria-pressed", String(axis === "order"));
  show(placeOfTime(from), placeOfTime(to));
  if (middle >= 0) bringIntoView(middle);
}

function bringIntoView(i) {
  const span = view.to - view.from, p = place[i];
  if (p < view.from + span * 0.05 || p > view.to - span * 0.05) show(p - span / 2, p + span / 2);
  if (layout && node[i] >= 0 && state.nodes[node[i]]) {
    const y = layout.tops[node[i]];
    if (y < layout.top) view.scroll -= layout.top - y;
    else if (y + layout.lane > layout.height) view.scroll += y + layout.lane - layout.height;
  }
}

function select(i, come) {
  state.selected = i;
  state.chain = i < 0 ? [] : chainOf(i);
  showDetails();
  document.getElementById("live").textContent = i < 0 ? "" : `${raw.kinds[kind[i]]} at ${nodeName(i)}, ${showTime(at[i])}: ${text[i]}`;
  if (i >= 0 && come) bringIntoView(i);
  redraw();
}

// The event before or after the selected one on its node.
function step(way) {
  if (!COUNT) return;
  let i = state.selected;
  if (i < 0) return select(Math.min(COUNT - 1, lowerBound(place, (view.from + view.to) / 2)), true);
  const own = node[i];
  do i += way; while (i >= 0 && i < COUNT && (node[i] !== own || !isShown(i)));
  if (i >= 0 && i < COUNT) select(i, true);
}

function frameChain() {
  if (state.selected < 0) return;
  // The chain may go back to the beginning of the run: its last steps tell most.
  const steps = state.chain.slice(0, 16).map((k) => place[k]);
  const low = Math.min(...steps), high = Math.max(...steps), margin = Math.max((high - low) * 0.15, narrowest());
  show(low - margin, high + margin);
}

function toFailure() {
  if (!failures.length) return;
  const i = failures[0], span = Math.min(extent, state.axis === "time" ? 2e8 : 120);
  if (!isShown(i)) {
    state.kinds[kind[i]] = 1;
    filtered();
    showLegend();
  }
  show(place[i] - span * 0.8, place[i] + span * 0.2);
  select(i, true);
}

function search(query) {
  state.hits = find(query);
  state.hit = -1;
  showHits(query);
  redraw();
}
function showHits(query = document.getElementById("query").value) {
  const words = !query.trim() ? "" : state.hits.length === 0 ? "no hits"
    : state.hit < 0 ? `${number(state.hits.length)} hits` : `${number(state.hit + 1)} of ${number(state.hits.length)}`;
  document.getElementById("hits").textContent = words;
}
function toHit(way) {
  if (!state.hits.length) return;
  const all = state.hits.length;
  if (state.hit < 0) {
    const first = lowerPlace(state.hits, view.from);
    state.hit = way > 0 ? first % all : (first - 1 + all) % all;
  } else {
    state.hit = (state.hit + way + all) % all;
  }
  showHits();
  select(state.hits[state.hit], true);
}

function filtered() {
  rebuild();
  if (document.getElementById("query").value) search(document.getElementById("query").value);
  redraw();
}

// What is under a point: events first, then bars, messages, and stretches too dense for either.
function under(x, y) {
  const near = [];
  for (let k = 0; k < drawn.count; k++) {
    const away = Math.hypot(drawn.x[k] - x, drawn.y[k] - y);
    if (away <= 9) near.push([away, drawn.events[k]]);
  }
  if (near.length) {
    near.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    return { events: near.map(([, i]) => i) };
  }
  const bar = drawn.bars.find((b) => x >= b.x - 3 && x <= b.x + b.w + 3 && y >= b.y && y < b.y + b.h);
  if (bar) return { band: bar.band };
  if (x < layout.gutter || y < layout.top) return {};
  let best = 6, message = -1;
  for (const k of drawn.arrows) {
    const [x1, y1, x2, y2] = ends(k), long = (x2 - x1) ** 2 + (y2 - y1) ** 2;
    const t = long ? Math.max(0, Math.min(1, ((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / long)) : 0;
    const away = Math.hypot(x1 + t * (x2 - x1) - x, y1 + t * (y2 - y1) - y);
    if (away < best) [best, message] = [away, k];
  }
  if (message >= 0) return { events: [arrows.to[message]], message };
  const dense = drawn.dense.find((d) => y >= d.y && y < d.y + d.h);
  if (dense) return { many: lowerPlace(dense.list, pOf(x + 3)) - lowerPlace(dense.list, pOf(x - 3)) };
  return {};
}

const tip = document.getElementById("tip");
function hover(x, y) {
  const found = under(x, y);
  let words = "";
  if (found.message !== undefined) {
    const a = arrows.from[found.message], b = arrows.to[found.message];
    words = `${nodeName(a)} → ${nodeName(b)}${arrows.lost[found.message] ? ", lost" : `, ${showSpan(at[b] - at[a])}`}: ${text[a]}`;
  } else if (found.events) {
    const i = found.events[0], more = found.events.length - 1;
    words = `${showTime(at[i])} ${nodeName(i)} ${raw.kinds[kind[i]]}: ${text[i]}${more ? ` (and ${more} more here: click again)` : ""}`;
  } else if (found.band) {
    words = `${found.band.label}, ${showTime(found.band.begin)} to ${showTime(found.band.end)}`;
  } else if (found.many) {
    words = `${number(found.many)} events here: click to zoom in`;
  }
  diagram.classList.toggle("over", Boolean(words));
  tip.hidden = !words;
  if (!words) return;
  tip.textContent = words.length > 300 ? `${words.slice(0, 300)}…` : words;
  const top = diagram.offsetTop, width = tip.offsetWidth, height = tip.offsetHeight;
  tip.style.left = `${Math.max(4, Math.min(x + 14, layout.width - width - 6))}px`;
  tip.style.top = `${top + (y + 22 + height > layout.height ? y - height - 10 : y + 18)}px`;
}

function click(x, y) {
  const found = under(x, y);
  if (found.events) {
    // Again at the same place: the next of those that lie on top of each other.
    const present = found.events.indexOf(state.selected);
    select(found.events[(present + 1) % found.events.length], false);
  } else if (found.band) {
    showBand(found.band);
  } else if (found.many) {
    zoom(0.15, pOf(x));
  } else {
    select(-1);
  }
}

function listen() {
  let drag = null;
  const point = (e, canvas) => {
    const box = canvas.getBoundingClientRect();
    return [e.clientX - box.left, e.clientY - box.top];
  };
  diagram.addEventListener("pointerdown", (e) => {
    const [x, y] = point(e, diagram);
    drag = { x, y, from: view.from, to: view.to, scroll: view.scroll, moved: false };
    diagram.setPointerCapture(e.pointerId);
  });
  diagram.addEventListener("pointermove", (e) => {
    const [x, y] = point(e, diagram);
    if (!drag) return hover(x, y);
    if (!drag.moved && Math.hypot(x - drag.x, y - drag.y) < 4) return;
    drag.moved = true;
    tip.hidden = true;
    diagram.classList.add("dragging");
    const by = (drag.x - x) / layout.scale;
    view.scroll = drag.scroll + drag.y - y;
    show(drag.from + by, drag.to + by);
  });
  diagram.addEventListener("pointerup", (e) => {
    const [x, y] = point(e, diagram);
    if (drag && !drag.moved) click(x, y);
    drag = null;
    diagram.classList.remove("dragging");
  });
  diagram.addEventListener("pointerleave", () => { tip.hidden = true; });
  diagram.addEventListener("dblclick", (e) => {
    const [x, y] = point(e, diagram);
    if (!under(x, y).events) zoom(0.3, pOf(x));
  });
  diagram.addEventListener("wheel", (e) => {
    e.preventDefault();
    const [x] = point(e, diagram), sideways = e.shiftKey ? e.deltaY : e.deltaX;
    tip.hidden = true;
    if (e.altKey) {
      view.scroll += e.deltaY;
      redraw();
    } else if (Math.abs(sideways) > Math.abs(e.shiftKey ? 0 : e.deltaY)) {
      pan(sideways / 1200);
    } else {
      zoom(Math.exp(Math.max(-240, Math.min(240, e.deltaY)) * 0.0022), pOf(x));
    }
  }, { passive: false });

  let brush = null;
  overview.addEventListener("pointerdown", (e) => {
    const [x] = point(e, overview), p = (x / overviewWidth) * extent;
    const inside = p > view.from && p < view.to && view.to - view.from < extent * 0.9;
    brush = { p, from: view.from, to: view.to, inside, moved: false };
    overview.setPointerCapture(e.pointerId);
  });
  overview.addEventListener("pointermove", (e) => {
    if (!brush) return;
    const [x] = point(e, overview), p = (x / overviewWidth) * extent;
    if (!brush.moved && Math.abs(p - brush.p) < (3 / overviewWidth) * extent) return;
    brush.moved = true;
    if (brush.inside) show(brush.from + p - brush.p, brush.to + p - brush.p);
    else show(Math.min(p, brush.p), Math.max(p, brush.p));
  });
  overview.addEventListener("pointerup", () => {
    const half = (view.to - view.from) / 2;
    if (brush && !brush.moved) show(brush.p - half, brush.p + half);
    brush = null;
  });
  new ResizeObserver(redraw).observe(diagram);
}

const KEYS = [
  ["+ / -", "zoom in and out", (e) => e.key === "+" || e.key === "=", () => zoom(0.6)],
  ["", "", (e) => e.key === "-" || e.key === "_", () => zoom(1 / 0.6)],
  ["← / →", "move; with Shift further", (e) => e.key === "ArrowLeft", (e) => pan(e.shiftKey ? -0.8 : -0.15)],
  ["", "", (e) => e.key === "ArrowRight", (e) => pan(e.shiftKey ? 0.8 : 0.15)],
  ["↑ / ↓", "move through the lanes, when not all fit", (e) => e.key === "ArrowUp", () => { view.scroll -= 60; redraw(); }],
  ["", "", (e) => e.key === "ArrowDown", () => { view.scroll += 60; redraw(); }],
  ["0", "show everything", (e) => e.key === "0", () => fit()],
  ["Home / End", "to the beginning, to the end", (e) => e.key === "Home", () => show(0, view.to - view.from)],
  ["", "", (e) => e.key === "End", () => show(extent - view.to + view.from, extent)],
  ["o", "axis: time, or a place for every event", (e) => e.key === "o", () => setAxisKeeping(state.axis === "time" ? "order" : "time")],
  ["f", "to the failure", (e) => e.key === "f", () => toFailure()],
  ["[ / ]", "previous and next event on this node", (e) => e.key === "[", () => step(-1)],
  ["", "", (e) => e.key === "]", () => step(1)],
  ["c", "to the cause of the selected event", (e) => e.key === "c", () => { if (state.selected >= 0 && cause[state.selected] >= 0) select(cause[state.selected], true); }],
  ["e", "to its first effect", (e) => e.key === "e", () => { if (state.selected >= 0 && firstEffect[state.selected] >= 0) select(firstEffect[state.selected], true); }],
  ["v", "zoom to the chain of causes", (e) => e.key === "v", () => frameChain()],
  ["/", "search", (e) => e.key === "/", () => document.getElementById("query").focus()],
  ["n / p", "next and previous hit", (e) => e.key === "n", () => toHit(1)],
  ["", "", (e) => e.key === "p", () => toHit(-1)],
  ["Esc", "clear the selection", (e) => e.key === "Escape", () => select(-1)],
  ["?", "this help", (e) => e.key === "?", () => document.getElementById("help").showModal()],
];
function keys() {
  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || document.querySelector("dialog[open]")) return;
    if (e.target instanceof HTMLInputElement && e.target.type !== "checkbox") {
      if (e.key === "Escape") e.target.blur();
      return;
    }
    const key = KEYS.find(([, , matches]) => matches(e));
    if (!key) return;
    e.preventDefault();
    key[3](e);
  });
  const table = element("table");
  for (const [shown, what] of KEYS) if (shown) table.append(element("tr", {}, element("td", {}, element("kbd", {}, shown)), element("td", {}, what)));
  const rowsOfPointer = [["wheel", "zoom at the pointer"], ["Shift + wheel, drag", "move"], ["Alt + wheel", "move through the lanes"], ["click", "select an event, a message or a fault; again: the next one at that place"],
    ["double-click", "zoom in"], ["drag in the overview", "choose what is shown"]];
  for (const [shown, what] of rowsOfPointer) table.append(element("tr", {}, element("td", {}, shown), element("td", {}, what)));
  document.getElementById("help").replaceChildren(
    element("button", { type: "button", className: "close", onclick: () => document.getElementById("help").close() }, "Close"),
    element("h2", {}, "Keys and pointer"), table,
  );
}
