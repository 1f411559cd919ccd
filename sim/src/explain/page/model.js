// The run as columns, and indexes over them. Nothing here draws.

const raw = JSON.parse(document.getElementById("data").textContent);
document.getElementById("data").remove();

const COUNT = raw.at.length;
const NODES = raw.nodes;
const KIND = Object.fromEntries(raw.kinds.map((name, number) => [name, number]));

// Where in its lane an event is drawn.
const ROW = { app: 0, wire: 1, inner: 2, commit: 3, mark: 4 };
const ROWS = 5;
const ROW_OF = new Uint8Array(raw.kinds.length).fill(ROW.inner);
for (const name of ["command", "publish accepted", "delivery", "stream opened", "reply"]) ROW_OF[KIND[name]] = ROW.app;
for (const name of ["transmit", "arrival", "lost", "connection"]) ROW_OF[KIND[name]] = ROW.wire;
for (const name of ["failure", "fault begins", "fault ends", "crash", "start", "role change"]) ROW_OF[KIND[name]] = ROW.mark;
ROW_OF[KIND.commit] = ROW.commit;

const at = new Float64Array(COUNT);
const node = Int16Array.from(raw.node);
const kind = Uint8Array.from(raw.kind);
const cause = new Int32Array(COUNT).fill(-1);
const answers = new Int32Array(COUNT).fill(-1);
{
  let time = 0;
  for (let i = 0; i < COUNT; i++) {
    time += raw.at[i];
    at[i] = time;
    if (raw.cause[i]) cause[i] = i - raw.cause[i];
    if (raw.answers[i]) answers[i] = i - raw.answers[i];
  }
}
const END = Math.max(raw.end, COUNT ? at[COUNT - 1] : 0, 1);
const text = raw.text;
const fieldsOf = (i) => (raw.fields[i] ? raw.fields[i].split("\n").map((line) => line.split("\t")) : []);
const nodeName = (i) => (node[i] < 0 ? "world" : NODES[node[i]]);

const bands = raw.bands.map(([what, name, label, nodes, begin, end, record]) => ({ what, name, label, nodes, begin, end, record }));

// Messages: from, to, whether they were lost; in the order in which they were sent.
const arrows = (() => {
  const from = [], to = [];
  for (let i = 0; i < COUNT; i++) {
    if ((kind[i] === KIND.arrival || kind[i] === KIND.lost) && cause[i] >= 0 && kind[cause[i]] === KIND.transmit) {
      from.push(cause[i]);
      to.push(i);
    }
  }
  const order = Uint32Array.from(from.keys()).sort((a, b) => from[a] - from[b] || to[a] - to[b]);
  return {
    from: Uint32Array.from(order, (k) => from[k]),
    to: Uint32Array.from(order, (k) => to[k]),
    lost: Uint8Array.from(order, (k) => (kind[to[k]] === KIND.lost ? 1 : 0)),
  };
})();
const ARROW_BLOCK = 128;

// The consequences of every event, as lists threaded through two columns.
const firstEffect = new Int32Array(COUNT).fill(-1);
const nextEffect = new Int32Array(COUNT).fill(-1);
for (let i = COUNT - 1; i >= 0; i--) {
  if (cause[i] >= 0) {
    nextEffect[i] = firstEffect[cause[i]];
    firstEffect[cause[i]] = i;
  }
}
function effectsOf(i, most) {
  const found = [];
  let more = 0;
  for (let k = firstEffect[i]; k >= 0; k = nextEffect[k]) found.length < most ? found.push(k) : more++;
  return { found, more };
}
// From an event back to what began it all.
function chainOf(i) {
  const chain = [];
  for (let k = i; k >= 0 && chain.length < 400; k = cause[k]) chain.push(k);
  return chain;
}

// What is shown.
const state = {
  axis: "time",
  kinds: new Uint8Array(raw.kinds.length).fill(1),
  nodes: new Uint8Array(NODES.length).fill(1),
  selected: -1,
  chain: [],
  hits: [],
  hit: -1,
};

// The place of an event on the horizontal axis, and of a moment.
let place = at;
let extent = END;
const ordinals = Float64Array.from({ length: COUNT }, (_, i) => i);
let blockEnds = new Float64Array(0);
function placeOfTime(time) {
  return state.axis === "time" ? time : lowerBound(at, time);
}
function timeOfPlace(x) {
  if (state.axis === "time") return x;
  if (!COUNT) return 0;
  return at[Math.max(0, Math.min(COUNT - 1, Math.floor(x)))];
}
function setAxis(axis) {
  state.axis = axis;
  place = axis === "time" ? at : ordinals;
  extent = axis === "time" ? END : Math.max(COUNT, 1);
  blockEnds = new Float64Array(Math.ceil(arrows.from.length / ARROW_BLOCK)).fill(-1);
  for (let k = 0; k < arrows.to.length; k++) {
    const block = Math.floor(k / ARROW_BLOCK);
    blockEnds[block] = Math.max(blockEnds[block], place[arrows.to[k]]);
  }
}

// The first index of a sorted column that is not below a value.
function lowerBound(column, value) {
  let low = 0, high = column.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (column[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
// The same over a list of events.
function lowerPlace(list, value) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (place[list[middle]] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

// Per node and row: the events shown, in order. The last lane is the world.
let rows = [];
let lanes = [];
function rebuild() {
  const lists = Array.from({ length: (NODES.length + 1) * ROWS }, () => []);
  for (let i = 0; i < COUNT; i++) {
    if (!state.kinds[kind[i]] || (node[i] >= 0 && !state.nodes[node[i]])) continue;
    lists[(node[i] < 0 ? NODES.length : node[i]) * ROWS + ROW_OF[kind[i]]].push(i);
  }
  rows = lists.map((list) => Uint32Array.from(list));
  lanes = [...NODES.keys()].filter((n) => state.nodes[n]);
}
const isShown = (i) => state.kinds[kind[i]] && (node[i] < 0 || state.nodes[node[i]]);

// Events whose text, kind or fields contain all words.
function find(query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [];
  if (!words.length) return found;
  for (let i = 0; i < COUNT; i++) {
    if (!isShown(i)) continue;
    const all = `${nodeName(i)} ${raw.kinds[kind[i]]} ${text[i]} ${raw.fields[i]}`.toLowerCase();
    if (words.every((word) => all.includes(word))) found.push(i);
  }
  return found;
}

// A moment for people, as fine as what is shown.
function showTime(time, span = 0) {
  const digits = span === 0 ? 9 : Math.max(0, Math.min(9, Math.ceil(-Math.log10(span / 1e9)) + 1));
  return `${(time / 1e9).toFixed(span === 0 ? 6 : digits)} s`;
}
function showSpan(time) {
  if (time >= 1e9) return `${(time / 1e9).toFixed(3)} s`;
  if (time >= 1e6) return `${(time / 1e6).toFixed(3)} ms`;
  if (time >= 1e3) return `${(time / 1e3).toFixed(1)} µs`;
  return `${time} ns`;
}
const number = new Intl.NumberFormat("en").format;
setAxis("time");
rebuild();
