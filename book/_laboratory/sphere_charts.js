// The charts beside the sphere: distances on a logarithmic axis, attention as a map.

import {attention, normalised} from "./flow.js";
import {chart, decades, isDark, prepared, rounds, tokenColour} from "./drawing.js";
import {shown} from "./controls.js";

const LOWEST = -10; // of the logarithm of distances that are drawn

// curves: by token, null for none. rates: {first, others}, drawn dashed beside the first token's curve
// and the last one's. place: on the clock.
export function drawDistances(canvas, colours, {times, curves, rates, clock, place}) {
  const logarithmic = clock === "logarithmic";
  const x = times.map((t) => (logarithmic ? Math.log10(1 + t) : t));
  const drawn = [];
  curves.forEach((curve, l) => {
    if (curve) {
      const y = curve.map((value) => (value > 0 ? Math.log10(value) : -Infinity));
      drawn.push({x, y, colour: tokenColour(colours, l, isDark()), width: l === 0 ? 2.4 : 1.3});
    }
  });
  const beside = (curve, rate, colour) => {
    // Through the last point of the curve that is well above rounding.
    const i = curve ? curve.findLastIndex((value) => value > 1e-6) : 0;
    if (rate && i > 0) {
      const y = times.map((t) => Math.log10(curve[i]) - (rate * (t - times[i])) / Math.LN10);
      drawn.push({x, y, colour, dash: [5, 4], width: 1.4});
    }
  };
  beside(curves[0], rates.first, colours.first);
  if (curves.length > 1) {
    beside(curves[curves.length - 1], rates.others, colours.ink);
  }
  const end = x[x.length - 1] || 1;
  chart(canvas, colours, {
    x: [0, end],
    y: [LOWEST, 0.5],
    curves: drawn,
    now: place * end,
    xLabel: logarithmic ? "1 + t" : "t",
    ticks: {x: logarithmic ? decades(0, end) : rounds(0, end), y: decades(LOWEST, 0)},
  });
}

// The map of A_lj at these tokens, of one channel or the mean; gives what it shows in words.
export function drawAttention(canvas, colours, {tokens, channel, state}) {
  const {S_BC, S_Delta, a, alone, x} = state;
  const found = attention(normalised(tokens, 3), S_BC, S_Delta, a);
  const length = x.length;
  const at = (l, j) => {
    if (alone && j !== l) {
      return 0;
    }
    return channel === "mean"
      ? (found[0][l][j] + found[1][l][j] + found[2][l][j]) / 3
      : found[Number(channel)][l][j];
  };
  const rows = Array.from({length}, (_, l) => Array.from({length: l + 1}, (_, j) => at(l, j)));
  const all = rows.flat();
  const most = Math.max(...all.map(Math.abs), 1e-12);
  const {pen, width, height} = prepared(canvas);
  const size = Math.min((width - 2) / length, (height - 20) / length);
  rows.forEach((row, l) =>
    row.forEach((value, j) => {
      pen.globalAlpha = Math.abs(value) / most;
      pen.fillStyle = value < 0 ? colours.negative : colours.positive;
      pen.fillRect(1 + j * size, l * size, size - 1, size - 1);
    }),
  );
  pen.globalAlpha = 1;
  pen.strokeStyle = colours.faint;
  pen.strokeRect(0.5, 0.5, length * size, length * size);
  pen.fillStyle = colours.ink;
  pen.textBaseline = "top";
  pen.fillText("query l ↓, key j →", 1, length * size + 5);
  const last = rows[length - 1];
  const best = last.reduce((place, value, j) => (Math.abs(value) > Math.abs(last[place]) ? j : place), 0);
  return `A is between ${shown(Math.min(...all))} and ${shown(Math.max(...all))}, negative in orange. The last token looks most at token ${best + 1}: ${shown(last[best])}.`;
}
