// The panel beside the diagram: what is known about the selected event, its causes and effects; the legend, which is the filter, too.

const details = document.getElementById("details");
const EFFECTS_MOST = 40;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && key !== "role") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function eventButton(i, since) {
  const apart = at[since] - at[i];
  const away = apart === 0 ? "same moment" : `${showSpan(Math.abs(apart))} ${apart > 0 ? "before" : "later"}`;
  return element("li", {}, element(
    "button",
    { type: "button", title: text[i], onclick: () => select(i, true) },
    glyph(kind[i]),
    element("span", { className: "words" }, element("span", { className: "role" }, `${nodeName(i)} ${raw.kinds[kind[i]]} `), text[i]),
    element("span", { className: "when" }, away),
  ));
}

function showDetails() {
  const i = state.selected;
  document.querySelector("aside").classList.toggle("selected", i >= 0);
  if (i < 0) {
    details.replaceChildren(
      element("h2", {}, "Nothing selected"),
      element("p", { className: "said" }, "Click an event, a message or a fault. Its fields and causes are shown here, and the chain of causes in the diagram."),
      element("p", { className: "said" }, "Scroll to zoom, drag to move, double-click to zoom in. Press ? for all keys."),
    );
    return;
  }
  const parts = [
    element("h2", {}, glyph(kind[i]), element("span", {}, `${raw.kinds[kind[i]]} at ${nodeName(i)}`)),
    element("p", { className: "said" }, text[i]),
  ];
  // What is long comes last, so that the causes are in sight.
  const isLong = ([key, value]) => key === "in full" || key === "all" || value.length > 160;
  const long = fieldsOf(i).filter(isLong), short = fieldsOf(i).filter((field) => !isLong(field));
  const fields = [["event", `#${number(i + 1)}`], ["time", `${(at[i] / 1e9).toFixed(9)} s`], ["node", nodeName(i)], ...short];
  if (cause[i] >= 0 && (kind[i] === KIND.arrival || kind[i] === KIND.lost)) fields.push(["under way", showSpan(at[i] - at[cause[i]])]);
  parts.push(fieldTable(fields));
  parts.push(element(
    "div", { className: "steps" },
    element("button", { type: "button", onclick: () => step(-1) }, "Before ", element("kbd", {}, "[")),
    element("button", { type: "button", onclick: () => step(1) }, "After ", element("kbd", {}, "]")),
    element("button", { type: "button", onclick: () => frameChain() }, "Chain ", element("kbd", {}, "v")),
    element("button", { type: "button", onclick: () => select(-1) }, "Clear ", element("kbd", {}, "Esc")),
  ));
  if (answers[i] >= 0) parts.push(element("h3", {}, "Belongs to"), element("ul", { className: "walk" }, eventButton(answers[i], i)));
  const chain = state.chain.slice(1);
  parts.push(element("h3", {}, chain.length ? `Caused by (${number(chain.length)} steps back)` : "Caused by"));
  if (chain.length) {
    const list = element("ul", { className: "walk" }, ...chain.slice(0, EFFECTS_MOST).map((k) => eventButton(k, i)));
    if (chain.length > EFFECTS_MOST) list.append(element("li", { className: "more" }, `and ${number(chain.length - EFFECTS_MOST)} more`));
    parts.push(list);
  } else {
    parts.push(element("p", { className: "more" }, "Nothing recorded: it comes from outside, or from a clock."));
  }
  const { found, more } = effectsOf(i, EFFECTS_MOST);
  if (found.length) {
    const list = element("ul", { className: "walk" }, ...found.map((k) => eventButton(k, i)));
    if (more) list.append(element("li", { className: "more" }, `and ${number(more)} more`));
    parts.push(element("h3", {}, `Led to (${number(found.length + more)})`), list);
  }
  if (long.length) parts.push(element("h3", {}, "More"), fieldTable(long));
  details.replaceChildren(...parts);
  details.scrollTop = 0;
}

function fieldTable(fields) {
  const table = element("table", { className: "fields" });
  for (const [key, value] of fields) table.append(element("tr", {}, element("th", { scope: "row" }, key), element("td", {}, value)));
  return table;
}

// A fault without a record of its own, or leadership: what the bar says.
function showBand(band) {
  if (band.record >= 0) return select(band.record, false);
  select(-1);
  details.replaceChildren(
    element("h2", {}, band.label),
    element("p", { className: "more" }, `${showTime(band.begin)} to ${showTime(band.end)}`),
  );
}

const GROUPS = {
  Failures: ["failure", "fault begins", "fault ends", "crash", "start", "lost"],
  Agreement: ["role change", "commit"],
  Applications: ["command", "publish accepted", "delivery", "stream opened", "reply"],
  Messages: ["transmit", "arrival", "lost", "connection"],
  Inside: ["deadline", "disk", "work", "other input", "other output"],
};

function showLegend() {
  const totals = new Uint32Array(raw.kinds.length);
  for (let i = 0; i < COUNT; i++) totals[kind[i]]++;
  const kinds = element("ul", { className: "switches" });
  raw.kinds.forEach((name, which) => {
    if (!totals[which]) return;
    kinds.append(element("li", {}, element(
      "label", { title: `show or hide: ${name}` },
      element("input", { type: "checkbox", checked: Boolean(state.kinds[which]), onchange: (e) => { state.kinds[which] = e.target.checked; filtered(); } }),
      glyph(which), element("span", {}, name), element("span", { className: "count" }, number(totals[which])),
    )));
  });
  const nodes = element("ul", { className: "switches wide" });
  NODES.forEach((name, n) => nodes.append(element("li", {}, element(
    "label", { title: `show or hide: ${name}` },
    element("input", { type: "checkbox", checked: Boolean(state.nodes[n]), onchange: (e) => { state.nodes[n] = e.target.checked; filtered(); } }),
    element("span", {}, name),
  ))));
  const only = (names) => {
    raw.kinds.forEach((name, which) => { state.kinds[which] = !names || names.includes(name) ? 1 : 0; });
    filtered();
    showLegend();
  };
  const quick = element(
    "div", { className: "quick", role: "group", "aria-label": "quick filters" },
    element("button", { type: "button", onclick: () => only(null) }, "All"),
    ...Object.entries(GROUPS).map(([title, names]) => element("button", { type: "button", title: `show only ${names.join(", ")}`, onclick: () => only(names) }, title)),
  );
  const swatch = (colour, words) => {
    const canvas = element("canvas", { width: 28, height: 24, "aria-hidden": "true" });
    canvas.style.width = "14px";
    canvas.style.height = "12px";
    const c = canvas.getContext("2d");
    c.fillStyle = COLOURS.lane;
    c.fillRect(0, 0, 28, 24);
    c.fillStyle = COLOURS[colour];
    c.fillRect(0, 0, 28, 24);
    c.fillRect(0, 0, 28, 24);
    return element("li", {}, canvas, words);
  };
  const swatches = element(
    "ul", { className: "swatches" }, swatch("b-leads", "leads control"), swatch("b-down", "down"), swatch("b-paused", "paused"), swatch("b-cut", "cut off"),
    swatch("b-slow", "slow, other"), swatch("b-disk", "disk"), swatch("density", "many events"),
  );
  const before = document.querySelector("#legend details");
  document.getElementById("legend").replaceChildren(element(
    "details", { open: !before || before.open },
    element("summary", {}, "Legend and filters"), quick, kinds, element("h2", {}, "Nodes"), nodes, element("h2", {}, "Bands"), swatches,
  ));
}

function showHeader() {
  const { about } = raw, verdict = document.getElementById("verdict");
  verdict.textContent = about.pass ? "pass" : `FAILED: ${about.promise}`;
  verdict.classList.add(about.pass ? "pass" : "fail");
  document.getElementById("what").textContent = about.pass && about.verdict === "pass" ? "" : about.verdict;
  document.getElementById("what").hidden = !document.getElementById("what").textContent;
  document.getElementById("reproduce").textContent = about.reproduce;
  const facts = about.facts.slice(1);
  if (about.dropped) facts.push(["not recorded", `${number(about.dropped)} later events: the recorder was full`]);
  document.getElementById("facts").replaceChildren(...facts.map(([key, value]) => element("div", {}, element("dt", {}, key), element("dd", {}, value))));
  document.getElementById("to-failure").hidden = !failures.length;
  document.getElementById("plan").replaceChildren(
    element("button", { type: "button", className: "close", onclick: () => document.getElementById("plan").close() }, "Close"),
    element("h2", {}, "The plan of this run"), element("pre", {}, about.plan),
  );
}
