// Canvases that are sharp on every screen, colours that follow the page's theme, and charts.

const NAMES = [
  "ground",
  "ink",
  "faint",
  "first",
  "stable",
  "unstable",
  "saddle",
  "degenerate",
  "zero",
  "vertex",
  "equal",
  "positive",
  "negative",
];

// The colours of laboratory.css, by name, as the page has them now.
export function palette(element) {
  const style = getComputedStyle(element);
  return Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--lab-${name}`).trim()]));
}

// The colour of token l of a sequence: the first has its own, the others go round the colour wheel.
export function tokenColour(colours, l, dark) {
  return l === 0 ? colours.first : `hsl(${(28 + 47 * l) % 360} 70% ${dark ? 66 : 38}%)`;
}

export const isDark = () => document.documentElement.dataset.theme === "dark";

// Fits a canvas's pixels to its place on the page; gives {pen, width, height} in CSS pixels, cleared.
export function prepared(canvas) {
  const {clientWidth: width, clientHeight: height} = canvas;
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    [canvas.width, canvas.height] = [w, h];
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = "12px system-ui, sans-serif";
  return {pen, width, height};
}

// A chart: curves over x in [low, high], y on a logarithmic or plain axis. Curves are {x, y, colour,
// dash, width}, y as it is drawn: base-10 logarithms on a logarithmic axis. `now` is a vertical line.
export function chart(canvas, colours, {x, y, curves, now = null, xLabel, ticks, marks = []}) {
  const {pen, width, height} = prepared(canvas);
  const box = {left: 46, right: width - 8, top: 8, bottom: height - 32};
  const [x0, x1] = x;
  const [y0, y1] = y;
  const across = (value) => box.left + ((value - x0) / (x1 - x0)) * (box.right - box.left);
  const up = (value) => box.bottom - ((value - y0) / (y1 - y0)) * (box.bottom - box.top);
  pen.strokeStyle = colours.faint;
  pen.fillStyle = colours.ink;
  pen.lineWidth = 1;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  for (const {value, text} of ticks.y) {
    line(pen, box.left, up(value), box.right, up(value));
    pen.fillText(text, box.left - 5, up(value));
  }
  pen.textBaseline = "top";
  pen.textAlign = "center";
  for (const {value, text} of ticks.x) {
    line(pen, across(value), box.bottom, across(value), box.bottom + 4);
    pen.fillText(text, clamp(across(value), box.left + 4, box.right - 12), box.bottom + 5);
  }
  pen.textAlign = "right";
  pen.fillText(xLabel, box.right, box.bottom + 18);
  pen.save();
  pen.beginPath();
  pen.rect(box.left, box.top, box.right - box.left, box.bottom - box.top);
  pen.clip();
  for (const curve of curves) {
    pen.strokeStyle = curve.colour;
    pen.lineWidth = curve.width ?? 1.6;
    pen.setLineDash(curve.dash ?? []);
    pen.beginPath();
    let down = false;
    for (let i = 0; i < curve.x.length; i++) {
      const fine = Number.isFinite(curve.y[i]);
      if (fine) {
        pen[down ? "lineTo" : "moveTo"](across(curve.x[i]), up(curve.y[i]));
      }
      down = fine;
    }
    pen.stroke();
  }
  pen.setLineDash([]);
  for (const {value, colour} of [...marks, ...(now === null ? [] : [{value: now, colour: colours.ink}])]) {
    pen.strokeStyle = colour;
    pen.lineWidth = 1.2;
    line(pen, across(value), box.top, across(value), box.bottom);
  }
  pen.restore();
}

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

export function line(pen, x0, y0, x1, y1) {
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.lineTo(x1, y1);
  pen.stroke();
}

export function disc(pen, x, y, radius, {fill = null, stroke = null, width = 1.5} = {}) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  if (fill) {
    pen.fillStyle = fill;
    pen.fill();
  }
  if (stroke) {
    pen.strokeStyle = stroke;
    pen.lineWidth = width;
    pen.stroke();
  }
}

const RAISED = {"-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹"};

export const powerOfTen = (exponent) => `10${[...String(exponent)].map((digit) => RAISED[digit]).join("")}`;

// Ticks at powers of ten for logarithms in [low, high], at most about eight.
export function decades(low, high) {
  const step = Math.max(1, Math.ceil((high - low) / 7));
  const found = [];
  for (let exponent = Math.ceil(low / step) * step; exponent <= high + 1e-9; exponent += step) {
    found.push({value: exponent, text: powerOfTen(exponent)});
  }
  return found;
}

// Ticks at round numbers in [low, high].
export function rounds(low, high, most = 5) {
  const raw = (high - low) / most;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * size).find((value) => value >= raw);
  const found = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + 1e-9 * step; value += step) {
    found.push({value, text: String(Number(value.toPrecision(6)))});
  }
  return found;
}
