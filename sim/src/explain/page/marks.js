// Colours and shapes. Every kind differs from its neighbours in shape as well as in colour.

const MARKS = {
  "failure": ["failure", "burst"],
  "fault begins": ["fault", "down"],
  "fault ends": ["fault", "up"],
  "crash": ["node", "cross"],
  "start": ["node", "right"],
  "role change": ["role", "star"],
  "commit": ["commit", "diamond"],
  "command": ["ask", "box"],
  "publish accepted": ["accept", "square"],
  "delivery": ["deliver", "right"],
  "stream opened": ["stream", "hexagon"],
  "reply": ["ask", "ring"],
  "transmit": ["wire", "dot"],
  "arrival": ["wire", "ring"],
  "lost": ["fault", "cross"],
  "connection": ["wire", "bar"],
  "deadline": ["inner", "tick"],
  "disk": ["inner", "flat"],
  "work": ["inner", "box"],
  "other input": ["inner", "down"],
  "other output": ["inner", "up"],
};
const MARK_OF = raw.kinds.map((name) => MARKS[name] || ["inner", "dot"]);

const COLOURS = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["page", "panel", "text", "soft", "line", "faint", "accent", "bad", "lane", "lane-other", "wire", "arrow", "density", "b-down",
    "b-paused", "b-cut", "b-slow", "b-disk", "b-leads", "b-text", "chain", "hit"];
  for (const name of [...names, ...new Set(MARK_OF.map(([colour]) => `k-${colour}`))]) {
    COLOURS[name] = style.getPropertyValue(`--${name}`).trim();
  }
}
const colourOf = (i) => COLOURS[`k-${MARK_OF[kind[i]][0]}`];

// A mark around a point; `size` is half its width.
function mark(c, which, x, y, size) {
  const [colour, shape] = MARK_OF[which];
  c.fillStyle = c.strokeStyle = COLOURS[`k-${colour}`];
  c.lineWidth = 1.5;
  c.beginPath();
  switch (shape) {
    case "dot": c.arc(x, y, size * 0.72, 0, 7); c.fill(); break;
    case "ring": c.arc(x, y, size * 0.72, 0, 7); c.fillStyle = COLOURS.lane; c.fill(); c.stroke(); break;
    case "square": c.fillRect(x - size * 0.85, y - size * 0.85, size * 1.7, size * 1.7); break;
    case "box": c.rect(x - size * 0.75, y - size * 0.75, size * 1.5, size * 1.5); c.fillStyle = COLOURS.lane; c.fill(); c.stroke(); break;
    case "flat": c.fillRect(x - size * 0.9, y - size * 0.35, size * 1.8, size * 0.7); break;
    case "tick": c.fillRect(x - 0.75, y - size * 0.8, 1.5, size * 1.6); break;
    case "bar": c.fillRect(x - 1, y - size * 1.3, 2, size * 2.6); break;
    case "diamond": polygon(c, x, y, size * 1.1, 4, 0); c.fill(); break;
    case "hexagon": polygon(c, x, y, size * 1.2, 6, 0); c.fill(); break;
    case "right": c.moveTo(x - size * 0.8, y - size); c.lineTo(x + size, y); c.lineTo(x - size * 0.8, y + size); c.fill(); break;
    case "down": c.moveTo(x - size, y - size * 0.8); c.lineTo(x + size, y - size * 0.8); c.lineTo(x, y + size); c.fill(); break;
    case "up": c.moveTo(x - size, y + size * 0.8); c.lineTo(x + size, y + size * 0.8); c.lineTo(x, y - size); c.fill(); break;
    case "cross":
      c.lineWidth = 2;
      c.moveTo(x - size, y - size); c.lineTo(x + size, y + size); c.moveTo(x + size, y - size); c.lineTo(x - size, y + size); c.stroke();
      break;
    case "star":
      for (let k = 0; k < 10; k++) {
        const r = k % 2 ? size * 0.55 : size * 1.3, a = (k * Math.PI) / 5 - Math.PI / 2;
        c.lineTo(x + r * Math.cos(a), y + r * Math.sin(a));
      }
      c.fill();
      break;
    case "burst":
      for (let k = 0; k < 16; k++) {
        const r = k % 2 ? size : size * 1.7, a = (k * Math.PI) / 8;
        c.lineTo(x + r * Math.cos(a), y + r * Math.sin(a));
      }
      c.fill();
      break;
  }
}
function polygon(c, x, y, r, corners, turn) {
  for (let k = 0; k < corners; k++) {
    const a = turn + (k * 2 * Math.PI) / corners;
    c.lineTo(x + r * Math.cos(a), y + r * Math.sin(a));
  }
}

// A small picture of a kind, for lists.
function glyph(which) {
  const canvas = document.createElement("canvas");
  const scale = window.devicePixelRatio || 1;
  canvas.width = canvas.height = 16 * scale;
  canvas.style.width = canvas.style.height = "16px";
  canvas.setAttribute("aria-hidden", "true");
  const c = canvas.getContext("2d");
  c.scale(scale, scale);
  mark(c, which, 8, 8, 4.5);
  return canvas;
}

// How a band is painted on lanes: a colour and whether it is hatched.
function paintOf(band) {
  if (band.what === "down") return ["b-down", band.name === "down"];
  if (band.what === "paused") return ["b-paused", false];
  if (/Cut|Isolate|Partition|Depose|Flap|Clog|Half/i.test(band.name)) return ["b-cut", true];
  if (/Disk|Write|Rot|Sync|Rolled|Torn|Read/i.test(band.name)) return ["b-disk", false];
  return ["b-slow", false];
}
