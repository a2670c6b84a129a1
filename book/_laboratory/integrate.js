// Adaptive integration by DOP853, order 8, with its own interpolant; errors in the maximum norm, as
// tokensphere.flow.simulate has them.

import {A, C, D, E3, E5, STAGES} from "./dop853.js";

const LAST = STAGES + 4;
const BETWEEN = 10; // how much more accurate steps are than asked for, since states between are shown
const EXPONENT = -1 / 8;

const pairs = (row) => Object.entries(row).map(([stage, factor]) => [Number(stage), factor]);
const [A_, D_] = [A, D].map((table) => table.map(pairs));
const [E3_, E5_] = [E3, E5].map(pairs);

// A solution in pieces: `status` is "arrived", "stopped" by the event, or what went wrong.
class Solution {
  constructor(t, y) {
    this.pieces = [];
    this.start = t;
    this.first = Float64Array.from(y);
    this.t = t;
    this.y = this.first;
    this.status = "arrived";
    this.evaluations = 0;
  }

  // The state at a time of the run.
  at(t, out = new Float64Array(this.first.length)) {
    if (!this.pieces.length || t <= this.start) {
      out.set(this.first);
      return out;
    }
    let [low, high] = [0, this.pieces.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.pieces[middle].end < t) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return between(this.pieces[low], Math.min(t, this.t), out);
  }
}

function between({begin, end, from, F}, t, out) {
  const x = (t - begin) / (end - begin);
  out.fill(0);
  for (let power = F.length - 1; power >= 0; power--) {
    const factor = (F.length - 1 - power) % 2 === 0 ? x : 1 - x;
    for (let i = 0; i < out.length; i++) {
      out[i] = (out[i] + F[power][i]) * factor;
    }
  }
  for (let i = 0; i < out.length; i++) {
    out[i] += from[i];
  }
  return out;
}

// dy/dt = derivative(t, y, out) from (t, y) until `end`, or until stop(t, y) is no longer positive.
export function integrate(
  derivative,
  t,
  y,
  end,
  {rtol = 1e-9, atol = 1e-12, stop = null, most = 20000} = {},
) {
  const size = y.length;
  const K = Array.from({length: LAST}, () => new Float64Array(size));
  const trial = new Float64Array(size);
  const solution = new Solution(t, y);
  const rate = (at, state, out) => {
    solution.evaluations++;
    derivative(at, state, out);
  };
  const stage = (row, from, h) => {
    trial.set(from);
    combine(row, K, h, trial);
    return trial;
  };
  rate(t, solution.y, K[0]);
  if (!K[0].every(Number.isFinite)) {
    solution.status = "not finite";
    return solution;
  }
  let length = firstStep(rate, t, solution.y, K[0], end, rtol, atol);
  let rejected = false;
  while (solution.t < end) {
    const from = solution.y;
    const least = 10 * spacing(solution.t);
    if (length < least || solution.pieces.length >= most) {
      solution.status = length < least ? "step too small" : "too many steps";
      return solution;
    }
    const next = Math.min(solution.t + length, end);
    const h = next - solution.t;
    for (let s = 1; s < STAGES; s++) {
      rate(solution.t + C[s] * h, stage(A_[s], from, h), K[s]);
    }
    const to = Float64Array.from(stage(A_[STAGES], from, h));
    rate(next, to, K[STAGES]);
    const error = BETWEEN * h * worst(K, from, to, rtol, atol);
    if (!(error < 1)) {
      // Where a trial step leaves the numbers, a tenth of it is tried.
      length = h * (Number.isFinite(error) ? Math.max(0.2, 0.9 * error ** EXPONENT) : 0.1);
      rejected = true;
      continue;
    }
    const factor = error === 0 ? 10 : Math.min(10, 0.9 * error ** EXPONENT);
    length = h * (rejected ? Math.min(1, factor) : factor);
    rejected = false;
    for (let s = STAGES + 1; s < LAST; s++) {
      rate(solution.t + C[s] * h, stage(A_[s], from, h), K[s]);
    }
    solution.pieces.push(piece(solution.t, next, from, to, h, K));
    [solution.t, solution.y] = [next, to];
    K[0].set(K[STAGES]);
    if (stop && stop(next, to) <= 0) {
      return cut(solution, stop);
    }
  }
  return solution;
}

// out += h times the combination of the stages that the row says.
function combine(row, K, h, out) {
  for (const [place, factor] of row) {
    const [values, weight] = [K[place], h * factor];
    for (let i = 0; i < out.length; i++) {
      out[i] += weight * values[i];
    }
  }
  return out;
}

function worst(K, from, to, rtol, atol) {
  const five = combine(E5_, K, 1, new Float64Array(from.length));
  const three = combine(E3_, K, 1, new Float64Array(from.length));
  let [fifth, third] = [0, 0];
  for (let i = 0; i < from.length; i++) {
    const scale = atol + rtol * Math.max(Math.abs(from[i]), Math.abs(to[i]));
    if (!Number.isFinite(five[i])) {
      return Infinity;
    }
    fifth = Math.max(fifth, Math.abs(five[i]) / scale);
    third = Math.max(third, Math.abs(three[i]) / scale);
  }
  return fifth === 0 ? 0 : (fifth * fifth) / Math.hypot(fifth, 0.1 * third);
}

function piece(begin, end, from, to, h, K) {
  const F = Array.from({length: 7}, () => new Float64Array(from.length));
  for (let i = 0; i < from.length; i++) {
    const change = to[i] - from[i];
    F[0][i] = change;
    F[1][i] = h * K[0][i] - change;
    F[2][i] = 2 * change - h * (K[STAGES][i] + K[0][i]);
  }
  D_.forEach((row, place) => combine(row, K, h, F[3 + place]));
  return {begin, end, from, F};
}

// Ends a solution where the event happened within its last piece, by bisection.
function cut(solution, stop) {
  const last = solution.pieces[solution.pieces.length - 1];
  const state = new Float64Array(solution.y.length);
  let [low, high] = [last.begin, last.end];
  for (let tries = 0; tries < 60; tries++) {
    const middle = (low + high) / 2;
    if (stop(middle, between(last, middle, state)) <= 0) {
      high = middle;
    } else {
      low = middle;
    }
  }
  solution.t = high;
  solution.y = between(last, high, state);
  solution.status = "stopped";
  return solution;
}

// The guess of Hairer, Norsett and Wanner, section II.4.
function firstStep(rate, t, y, speed, end, rtol, atol) {
  const length = (values) =>
    values.reduce((most, value, i) => Math.max(most, Math.abs(value) / (atol + rtol * Math.abs(y[i]))), 0);
  const [value, slope] = [length(y), length(speed)];
  let h = Math.min(value, slope) > 1e-5 ? (0.01 * value) / slope : 1e-6;
  h = Math.min(Math.max(h, 10 * spacing(t)), end - t);
  const after = new Float64Array(y.length);
  rate(
    t + h,
    y.map((start, i) => start + h * speed[i]),
    after,
  );
  const bend = length(after.map((number, i) => number - speed[i])) / h;
  const fastest = Math.max(slope, Number.isFinite(bend) ? bend : 0);
  const later = fastest > 1e-15 ? (0.01 / fastest) ** 0.125 : Math.max(1e-6, 1e-3 * h);
  return Math.max(Math.min(100 * h, later, end - t), 20 * spacing(t));
}

const spacing = (t) => Math.max(Math.abs(t) * Number.EPSILON, 5e-324);
