// The drawing. Every frame looks up what is visible by binary search; where more happened than fits, bars show how much.

const diagram = document.getElementById("diagram");
const overview = document.getElementById("overview");
const AXIS = 24;
const FAULT = 16;
const ARROWS_MOST = 2500;
const FONT = '12px system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';
const SMALL = '11px system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';

const view = { from: 0, to: 1, scroll: 0 };
// What the last frame did, and where it put what can be clicked.
const stats = { frames: 0, touched: 0, marks: 0, arrows: 0, hiddenArrows: 0, milliseconds: 0 };
const drawn = { events: new Uint32Array(0), x: new Float32Array(0), y: new Float32Array(0), count: 0, arrows: [], bars: [], dense: [] };
let layout = null;

// Faults in as few rows as they need, so that no two overlap.
const faults = (() => {
  const all = bands.filter((band) => band.what === "fault").sort((a, b) => a.begin - b.begin);
  const ends = [];
  for (const band of all) {
    // A fault of a moment is still something to see.
    const shown = Math.max(band.end, band.begin + END / 60);
    let row = ends.findIndex((end) => end <= band.begin);
    if (row < 0) row = ends.length < 7 ? ends.length : ends.indexOf(Math.min(...ends));
    ends[row] = shown;
    band.row = row;
  }
  // The last row is for what ends everything.
  return { all, rows: ends.length + 1 };
})();

function measure() {
  const box = diagram.getBoundingClientRect();
  const width = Math.max(box.width, 80), height = Math.max(box.height, 80);
  const top = AXIS + (faults.rows ? faults.rows * FAULT + 8 : 0);
  const lane = Math.max(34, (height - top) / Math.max(lanes.length, 1));
  const gutter = 18 + Math.max(46, ...NODES.map((name) => Math.min(name.length, 16) * 8.4));
  const deepest = Math.max(0, top + lane * lanes.length - height);
  view.scroll = Math.max(0, Math.min(view.scroll, deepest));
  const tops = new Float64Array(NODES.length).fill(NaN);
  lanes.forEach((n, k) => { tops[n] = top + k * lane - view.scroll; });
  layout = { width, height, top, lane, gutter, tops, scale: (width - gutter) / (view.to - view.from), mark: Math.max(2.4, Math.min(4.6, lane / 22)) };
}
const xOf = (p) => layout.gutter + (p - view.from) * layout.scale;
const pOf = (x) => view.from + (x - layout.gutter) / layout.scale;
const FRACTION = [0.44, 0.62, 0.79, 0.92, 0.27];
const yOf = (n, row) => layout.tops[n] + layout.lane * (layout.lane < 58 ? (row === ROW.mark ? 0.35 : 0.6) : FRACTION[row]);
const eventX = (i) => xOf(place[i]);
const eventY = (i) => (node[i] < 0 ? layout.top - 5 : yOf(node[i], ROW_OF[kind[i]]));

function context(canvas) {
  const box = canvas.getBoundingClientRect(), scale = window.devicePixelRatio || 1;
  const width = Math.round(box.width * scale), height = Math.round(box.height * scale);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const c = canvas.getContext("2d");
  c.setTransform(scale, 0, 0, scale, 0, 0);
  c.clearRect(0, 0, box.width, box.height);
  c.font = FONT;
  c.textBaseline = "middle";
  return c;
}

function draw() {
  const begun = performance.now();
  measure();
  const c = context(diagram);
  stats.touched = stats.marks = stats.arrows = stats.hiddenArrows = 0;
  drawn.count = 0;
  drawn.arrows = [];
  drawn.bars = [];
  drawn.dense = [];
  const most = (lanes.length + 1) * ROWS * Math.ceil(layout.width / 4) + 64;
  if (drawn.events.length < most) {
    drawn.events = new Uint32Array(most);
    drawn.x = new Float32Array(most);
    drawn.y = new Float32Array(most);
  }
  c.save();
  c.beginPath();
  c.rect(layout.gutter, layout.top, layout.width - layout.gutter, layout.height - layout.top);
  c.clip();
  drawLanes(c);
  drawBands(c);
  drawArrows(c);
  drawChain(c);
  for (const n of lanes) for (let row = 0; row < ROWS; row++) drawRow(c, n, row);
  drawMoments(c);
  drawHits(c);
  drawRings(c);
  c.restore();
  drawFaults(c);
  drawAxis(c);
  drawGutter(c);
  drawOverview();
  stats.frames++;
  stats.milliseconds = performance.now() - begun;
}

function drawLanes(c) {
  lanes.forEach((n, k) => {
    const y = layout.tops[n];
    c.fillStyle = COLOURS[k % 2 ? "lane-other" : "lane"];
    c.fillRect(layout.gutter, y, layout.width, layout.lane);
    c.strokeStyle = COLOURS.line;
    c.lineWidth = 1;
    line(c, layout.gutter, y + 0.5, layout.width, y + 0.5);
    c.strokeStyle = COLOURS.wire;
    line(c, layout.gutter, yOf(n, ROW.wire), layout.width, yOf(n, ROW.wire));
  });
  c.strokeStyle = COLOURS.faint;
  for (const p of ticks().places) line(c, xOf(p), layout.top, xOf(p), layout.height);
}
function line(c, x1, y1, x2, y2) {
  c.beginPath();
  c.moveTo(x1, y1);
  c.lineTo(x2, y2);
  c.stroke();
}

// The visible stretch of a band, or nothing.
function stretch(band) {
  const from = xOf(placeOfTime(band.begin)), to = xOf(placeOfTime(band.end));
  if (to < layout.gutter || from > layout.width) return null;
  return [Math.max(from, layout.gutter - 2), Math.min(to, layout.width + 2)];
}

function drawBands(c) {
  const led = new Map();
  for (const band of bands) {
    if (band.what !== "leads") {
      const span = band.end > band.begin && stretch(band);
      if (!span) continue;
      const [colour, hatched] = paintOf(band);
      for (const n of band.nodes) {
        if (!state.nodes[n]) continue;
        c.fillStyle = COLOURS[colour];
        c.fillRect(span[0], layout.tops[n] + 1, Math.max(span[1] - span[0], 1), layout.lane - 1);
        if (hatched) hatch(c, span[0], layout.tops[n] + 1, span[1] - span[0], layout.lane - 1, COLOURS[colour]);
      }
      if (band.what !== "fault" && state.nodes[band.nodes[0]] && span[1] - span[0] > 56) {
        c.fillStyle = COLOURS.soft;
        c.font = SMALL;
        c.fillText(band.name, span[0] + 6, layout.tops[band.nodes[0]] + layout.lane - 9);
      }
    }
  }
  for (const band of bands) {
    if (band.what !== "leads" || !state.nodes[band.nodes[0]]) continue;
    // The control group has the first strip; each stream a thin one below it.
    const n = band.nodes[0], key = `${n} ${band.name}`;
    if (!led.has(key)) {
      const above = [...led.keys()].filter((other) => other.startsWith(`${n} `) && !other.endsWith(" control")).length;
      led.set(key, band.name === "control" ? 0 : above + 1);
    }
    const span = stretch(band);
    if (!span) continue;
    const strip = led.get(key), control = strip === 0;
    const y = layout.tops[n] + 2 + (control ? 0 : 12 + (strip - 1) * 3);
    if (!control && strip > 4) continue;
    c.fillStyle = control ? COLOURS["b-leads"] : COLOURS["k-role"];
    c.globalAlpha = control ? 1 : 0.5;
    c.fillRect(span[0], y, Math.max(span[1] - span[0], 1.5), control ? 12 : 2);
    c.globalAlpha = 1;
    if (control) {
      c.fillStyle = COLOURS["k-role"];
      c.fillRect(span[0], y, 2, 12);
      c.font = SMALL;
      c.fillStyle = COLOURS["b-text"];
      fitText(c, band.label.replace("leads control", "leads"), span[0] + 6, y + 6.5, span[1] - span[0] - 10);
    }
    drawn.bars.push({ x: span[0], y: y - 1, w: Math.max(span[1] - span[0], 3), h: control ? 14 : 4, band });
  }
}

function hatch(c, x, y, w, h, colour) {
  c.save();
  c.beginPath();
  c.rect(x, y, w, h);
  c.clip();
  c.strokeStyle = colour;
  c.lineWidth = 2;
  c.beginPath();
  const first = Math.floor((x - h) / 10) * 10;
  for (let at = first; at < x + w; at += 10) {
    c.moveTo(at, y + h);
    c.lineTo(at + h, y);
  }
  c.stroke();
  c.restore();
}

// Text cut to a width; nothing if hardly any would be left.
function fitted(c, words, width) {
  if (width < 22) return "";
  if (c.measureText(words).width <= width) return words;
  let low = 0, high = Math.min(words.length, Math.ceil(width / 3));
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (c.measureText(`${words.slice(0, middle)}…`).width <= width) low = middle;
    else high = middle - 1;
  }
  return low < 3 ? "" : `${words.slice(0, low)}…`;
}
function fitText(c, words, x, y, width) {
  const shown = fitted(c, words, width);
  if (shown) c.fillText(shown, x, y);
}

// The arrows that cross what is visible.
function visibleArrows() {
  const found = [];
  const { from, to } = arrows;
  if (!state.kinds[KIND.transmit] && !state.kinds[KIND.arrival]) return found;
  const last = lowerPlace(from, view.to);
  for (let block = 0; block * ARROW_BLOCK < last; block++) {
    stats.touched++;
    if (blockEnds[block] < view.from) continue;
    const end = Math.min(last, (block + 1) * ARROW_BLOCK);
    for (let k = block * ARROW_BLOCK; k < end; k++) {
      if (place[to[k]] < view.from || !state.nodes[node[from[k]]] || !state.nodes[node[to[k]]] || !state.kinds[kind[to[k]]]) continue;
      found.push(k);
      if (found.length > ARROWS_MOST) return null;
    }
  }
  return found;
}

function drawArrows(c) {
  const found = visibleArrows();
  if (!found) {
    stats.hiddenArrows = 1;
    return;
  }
  stats.touched += found.length;
  stats.arrows = found.length;
  drawn.arrows = found;
  const heads = found.length < 700;
  c.lineWidth = found.length > 900 ? 0.6 : 1;
  c.strokeStyle = c.fillStyle = COLOURS.arrow;
  c.beginPath();
  for (const k of found) {
    if (arrows.lost[k]) continue;
    const [x1, y1, x2, y2] = ends(k);
    c.moveTo(x1, y1);
    c.lineTo(x2, y2);
  }
  c.stroke();
  if (heads) {
    c.beginPath();
    for (const k of found) if (!arrows.lost[k]) head(c, ...ends(k), 6);
    c.fill();
  }
  c.strokeStyle = COLOURS["k-fault"];
  for (const k of found) if (arrows.lost[k]) drawLost(c, k, 1);
}
function ends(k) {
  const a = arrows.from[k], b = arrows.to[k];
  return [eventX(a), yOf(node[a], ROW.wire), eventX(b), yOf(node[b], ROW.wire)];
}
function head(c, x1, y1, x2, y2, size) {
  const a = Math.atan2(y2 - y1, x2 - x1);
  c.moveTo(x2, y2);
  c.lineTo(x2 - size * Math.cos(a - 0.4), y2 - size * Math.sin(a - 0.4));
  c.lineTo(x2 - size * Math.cos(a + 0.4), y2 - size * Math.sin(a + 0.4));
}
// What was lost ends in a cross, at the moment at which nobody could receive it any more.
function drawLost(c, k, width) {
  const [x1, y1, x2, y2] = ends(k);
  c.lineWidth = width;
  c.setLineDash([4, 3]);
  line(c, x1, y1, x2, y2);
  c.setLineDash([]);
  c.lineWidth = width + 0.6;
  line(c, x2 - 4, y2 - 4, x2 + 4, y2 + 4);
  line(c, x2 + 4, y2 - 4, x2 - 4, y2 + 4);
}

const DENSITY = { [ROW.app]: "k-accept", [ROW.wire]: "density", [ROW.inner]: "k-inner", [ROW.commit]: "k-commit", [ROW.mark]: "k-node" };
function drawRow(c, n, row) {
  const list = rows[n * ROWS + row];
  const first = lowerPlace(list, view.from), after = lowerPlace(list, view.to);
  const visible = after - first, room = layout.width - layout.gutter;
  if (!visible) return;
  const y = yOf(n, row);
  if (y < layout.top - 10 || y > layout.height + 10) return;
  if (visible > room / 5) return drawDensity(c, list, n, row, y);
  const size = layout.mark * (visible > room / 12 ? 0.78 : 1) * (row === ROW.mark ? 1.15 : 1);
  const labels = row !== ROW.inner ? visible <= room / 70 : visible <= room / 110;
  c.font = SMALL;
  let behind = -1e9;
  for (let k = first; k < after; k++) {
    const i = list[k], x = eventX(i);
    put(i, x, y);
    if (labels && layout.lane >= 58 && row !== ROW.wire && kind[i] !== KIND.deadline) {
      const next = k + 1 < list.length ? eventX(list[k + 1]) : x + 260;
      const space = Math.min(next - x - 16, 240, layout.width - x - 12);
      if (x > behind && space > 34) {
        behind = x + 8 + label(c, text[i], x + 8, y, space, n);
      }
    }
  }
  for (let k = first; k < after; k++) mark(c, kind[list[k]], eventX(list[k]), y, size);
}
// Words on the lane's own ground, so that lines behind them do not cross them out.
function label(c, words, x, y, space, n) {
  const shown = fitted(c, words, space);
  if (!shown) return 0;
  const width = c.measureText(shown).width;
  c.fillStyle = COLOURS[lanes.indexOf(n) % 2 ? "lane-other" : "lane"];
  c.globalAlpha = 0.78;
  c.fillRect(x - 2, y - 8, width + 4, 16);
  c.globalAlpha = 1;
  c.fillStyle = COLOURS.soft;
  c.fillText(shown, x, y);
  return width;
}
function put(i, x, y) {
  drawn.events[drawn.count] = i;
  drawn.x[drawn.count] = x;
  drawn.y[drawn.count] = y;
  drawn.count++;
  stats.touched++;
  stats.marks++;
}
function drawDensity(c, list, n, row, y) {
  const step = 3, high = Math.max(4, layout.lane * 0.15), counts = [];
  let before = lowerPlace(list, view.from), most = 1;
  for (let x = layout.gutter; x < layout.width; x += step) {
    const next = lowerPlace(list, pOf(x + step));
    counts.push(next - before);
    most = Math.max(most, next - before);
    before = next;
    stats.touched++;
  }
  c.fillStyle = COLOURS[DENSITY[row]];
  counts.forEach((count, k) => {
    if (!count) return;
    const h = Math.max(1.5, (high * Math.log1p(count)) / Math.log1p(most));
    c.fillRect(layout.gutter + k * step, y - h / 2, step - 0.6, h);
  });
  drawn.dense.push({ y: y - high / 2 - 2, h: high + 4, list });
}

// What concerns everybody: a line across all lanes.
function drawMoments(c) {
  for (const row of [ROW.mark]) {
    const list = rows[NODES.length * ROWS + row];
    for (let k = lowerPlace(list, view.from); k < list.length && place[list[k]] <= view.to; k++) moment(c, list[k]);
  }
  for (const i of failures) if (node[i] >= 0 && isShown(i)) moment(c, i);
}
function moment(c, i) {
  stats.touched++;
  const x = eventX(i), bad = kind[i] === KIND.failure, heals = text[i].startsWith("everything heals");
  if (!bad && !heals) return;
  c.strokeStyle = COLOURS[bad ? "k-failure" : "k-commit"];
  c.lineWidth = bad ? 2 : 1.5;
  c.setLineDash(bad ? [] : [6, 4]);
  line(c, x, layout.top, x, layout.height);
  c.setLineDash([]);
}
const failures = [];
for (let i = 0; i < COUNT; i++) if (kind[i] === KIND.failure) failures.push(i);

function drawHits(c) {
  if (!state.hits.length) return;
  let k = lowerPlace(state.hits, view.from), left = 1500;
  c.strokeStyle = COLOURS.hit;
  c.lineWidth = 2;
  for (; k < state.hits.length && place[state.hits[k]] <= view.to && left--; k++) {
    stats.touched++;
    c.beginPath();
    c.arc(eventX(state.hits[k]), eventY(state.hits[k]), layout.mark + 4, 0, 7);
    c.stroke();
  }
}

function drawChain(c) {
  if (state.selected < 0) return;
  c.strokeStyle = c.fillStyle = COLOURS.chain;
  c.lineWidth = 2;
  for (let k = 0; k + 1 < state.chain.length; k++) {
    const a = state.chain[k + 1], b = state.chain[k];
    const [x1, y1, x2, y2] = [eventX(a), eventY(a), eventX(b), eventY(b)];
    if (Math.max(x1, x2) < layout.gutter || Math.min(x1, x2) > layout.width) continue;
    line(c, x1, y1, x2, y2);
    if (Math.hypot(x2 - x1, y2 - y1) > 18) {
      c.beginPath();
      head(c, x1, y1, x2, y2, 9);
      c.fill();
    }
  }
}

// The events of the chain, above all else.
function drawRings(c) {
  c.strokeStyle = COLOURS.chain;
  for (const i of state.chain) {
    c.beginPath();
    c.arc(eventX(i), eventY(i), layout.mark + (i === state.selected ? 5 : 2.5), 0, 7);
    c.lineWidth = i === state.selected ? 2.5 : 1.5;
    c.stroke();
  }
}

function drawFaults(c) {
  c.fillStyle = COLOURS.panel;
  c.fillRect(0, 0, layout.width, layout.top);
  c.strokeStyle = COLOURS.line;
  c.lineWidth = 1;
  line(c, 0, layout.top - 0.5, layout.width, layout.top - 0.5);
  c.save();
  c.beginPath();
  c.rect(layout.gutter, AXIS, layout.width - layout.gutter, layout.top - AXIS);
  c.clip();
  c.font = SMALL;
  const visible = faults.all.map((band) => [band, stretch(band)]).filter(([, span]) => span);
  visible.forEach(([band, span], k) => {
    const y = AXIS + 3 + band.row * FAULT, width = Math.max(span[1] - span[0], 3);
    c.fillStyle = COLOURS["k-fault"];
    c.globalAlpha = band.nodes.some((n) => state.nodes[n]) || !band.nodes.length ? 1 : 0.3;
    c.fillRect(span[0], y + 1, 3, FAULT - 4);
    c.globalAlpha *= 0.22;
    c.fillRect(span[0], y + 1, width, FAULT - 4);
    c.globalAlpha = 1;
    // A title may run on behind its bar, up to the next bar of its row.
    const next = visible.slice(k + 1).find(([other]) => other.row === band.row);
    const limit = Math.min(next ? next[1][0] : layout.width, span[0] + Math.max(width, 190));
    c.fillStyle = COLOURS.text;
    fitText(c, band.label, span[0] + 6, y + FAULT / 2 - 0.5, limit - span[0] - 10);
    drawn.bars.push({ x: span[0], y, w: Math.max(width, 6), h: FAULT, band });
    stats.touched++;
  });
  for (const i of rows[NODES.length * ROWS + ROW.mark]) {
    if (kind[i] === KIND.failure || place[i] < view.from || place[i] > view.to || !text[i].startsWith("everything heals")) continue;
    c.strokeStyle = COLOURS["k-commit"];
    c.setLineDash([6, 4]);
    line(c, eventX(i), AXIS, eventX(i), layout.top);
    c.setLineDash([]);
    c.fillStyle = COLOURS["k-commit"];
    fitText(c, "all faults end", eventX(i) + 5, layout.top - 13, 90);
    put(i, eventX(i), layout.top - 13);
  }
  for (const i of failures) {
    if (place[i] < view.from || place[i] > view.to) continue;
    c.strokeStyle = COLOURS["k-failure"];
    c.lineWidth = 2;
    line(c, eventX(i), AXIS, eventX(i), layout.top);
    mark(c, KIND.failure, eventX(i), layout.top - 8, 4.5);
    put(i, eventX(i), layout.top - 8);
  }
  c.restore();
}

const NICE = [1, 2, 5];
function ticks() {
  const span = view.to - view.from, least = state.axis === "time" ? 110 : 130;
  const wanted = (span * least) / (layout.width - layout.gutter);
  const power = 10 ** Math.floor(Math.log10(wanted));
  let step = power * (NICE.find((nice) => nice * power >= wanted) || 10);
  if (state.axis === "order") step = Math.max(1, Math.round(step));
  const places = [];
  for (let p = Math.ceil(Math.max(view.from, 0) / step) * step; p <= Math.min(view.to, extent); p += step) places.push(p);
  return { places, step };
}
function drawAxis(c) {
  c.font = SMALL;
  c.strokeStyle = COLOURS.line;
  c.lineWidth = 1;
  line(c, 0, AXIS - 0.5, layout.width, AXIS - 0.5);
  const { places, step } = ticks();
  const shownSpan = state.axis === "time" ? step * 4 : Math.max(timeOfPlace(view.to) - timeOfPlace(view.from), 1);
  for (const p of places) {
    const x = xOf(p);
    c.strokeStyle = COLOURS.soft;
    line(c, x, AXIS - 6, x, AXIS);
    c.fillStyle = COLOURS.soft;
    const words = state.axis === "time" ? showTime(p, shownSpan) : `#${number(p + 1)} · ${showTime(timeOfPlace(p), shownSpan)}`;
    if (x + c.measureText(words).width + 4 < layout.width) c.fillText(words, x + 3, AXIS / 2 - 1);
  }
}

function drawGutter(c) {
  c.fillStyle = COLOURS.panel;
  c.fillRect(0, layout.top, layout.gutter, layout.height);
  c.fillRect(0, 0, layout.gutter, layout.top - 1);
  c.strokeStyle = COLOURS.line;
  line(c, layout.gutter - 0.5, 0, layout.gutter - 0.5, layout.height);
  c.fillStyle = COLOURS.soft;
  c.font = SMALL;
  c.fillText(state.axis === "time" ? "time" : "order", 8, AXIS / 2);
  if (faults.rows) c.fillText("faults", 8, AXIS + 3 + FAULT / 2);
  c.save();
  c.beginPath();
  c.rect(0, layout.top, layout.gutter, layout.height);
  c.clip();
  for (const n of lanes) {
    c.fillStyle = COLOURS.text;
    c.font = `600 ${FONT}`;
    fitText(c, NODES[n], 8, yOf(n, ROW.wire), layout.gutter - 14);
    c.strokeStyle = COLOURS.line;
    line(c, 0, layout.tops[n] + 0.5, layout.gutter, layout.tops[n] + 0.5);
    c.font = SMALL;
    c.fillStyle = COLOURS.soft;
    if (layout.lane >= 104) {
      c.fillText("requests", 8, yOf(n, ROW.app));
      c.fillText("inside", 8, yOf(n, ROW.inner));
      c.fillText("commits", 8, yOf(n, ROW.commit));
    }
  }
  c.restore();
}

// The whole run, painted anew only when something but the window changes.
let painting = null, paintingOf = "";
function drawOverview() {
  const c = context(overview), box = overview.getBoundingClientRect();
  overviewWidth = box.width;
  const key = [box.width, box.height, state.axis, state.kinds.join(""), state.nodes.join(""), COLOURS.panel, window.devicePixelRatio].join("|");
  if (key !== paintingOf) {
    painting = document.createElement("canvas");
    painting.width = overview.width;
    painting.height = overview.height;
    const p = painting.getContext("2d");
    p.scale(window.devicePixelRatio || 1, window.devicePixelRatio || 1);
    paintOverview(p, box.width, box.height);
    paintingOf = key;
  }
  c.drawImage(painting, 0, 0, box.width, box.height);
  c.fillStyle = COLOURS.hit;
  const step = Math.max(1, Math.floor(state.hits.length / 2000));
  for (let k = 0; k < state.hits.length; k += step) c.fillRect(overviewX(place[state.hits[k]]) - 0.5, 0, 1.5, 6);
  if (state.selected >= 0) {
    c.fillStyle = COLOURS.chain;
    c.fillRect(overviewX(place[state.selected]) - 1, 0, 2, box.height);
  }
  const from = overviewX(view.from), to = Math.max(overviewX(view.to), from + 3);
  c.fillStyle = COLOURS.page;
  c.globalAlpha = 0.62;
  c.fillRect(0, 0, from, box.height);
  c.fillRect(to, 0, box.width - to, box.height);
  c.globalAlpha = 1;
  c.strokeStyle = COLOURS.accent;
  c.lineWidth = 2;
  c.strokeRect(from + 1, 1, Math.max(to - from - 2, 1), box.height - 2);
}
let overviewWidth = 1;
const overviewX = (p) => (p / extent) * overviewWidth;

function paintOverview(c, width, height) {
  c.fillStyle = COLOURS.panel;
  c.fillRect(0, 0, width, height);
  const top = 14, lane = (height - top - 2) / Math.max(lanes.length, 1), pixels = Math.max(1, Math.ceil(width));
  const x = (p) => (p / extent) * width;
  for (const band of faults.all) {
    c.fillStyle = COLOURS["k-fault"];
    c.globalAlpha = 0.6;
    const from = x(placeOfTime(band.begin));
    c.fillRect(from, 4 + (band.row % 3) * 3, Math.max(x(placeOfTime(band.end)) - from, 2), 2);
    c.globalAlpha = 1;
  }
  lanes.forEach((n, k) => {
    const y = top + k * lane, counts = new Uint32Array(pixels);
    for (let row = 0; row < ROWS; row++) for (const i of rows[n * ROWS + row]) counts[Math.min(pixels - 1, Math.floor(x(place[i])))]++;
    const most = counts.reduce((a, b) => Math.max(a, b), 1);
    for (const band of bands) {
      if (band.what !== "down" || band.nodes[0] !== n) continue;
      const from = x(placeOfTime(band.begin));
      c.fillStyle = COLOURS["b-down"];
      c.fillRect(from, y, Math.max(x(placeOfTime(band.end)) - from, 1), lane - 1);
    }
    c.fillStyle = COLOURS.density;
    counts.forEach((count, at) => {
      if (!count) return;
      const h = Math.max(1, ((lane - 2) * Math.log1p(count)) / Math.log1p(most));
      c.fillRect(at, y + lane - 1 - h, 1, h);
    });
    for (const band of bands) {
      if (band.what !== "leads" || band.name !== "control" || band.nodes[0] !== n) continue;
      const from = x(placeOfTime(band.begin));
      c.fillStyle = COLOURS["k-role"];
      c.fillRect(from, y, Math.max(x(placeOfTime(band.end)) - from, 1), 1.5);
    }
  });
  for (const i of failures) {
    c.fillStyle = COLOURS["k-failure"];
    c.fillRect(x(place[i]) - 1, 0, 2, height);
  }
}
