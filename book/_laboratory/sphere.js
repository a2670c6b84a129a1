// What the bench of the sphere shows, without the page: a run, distances, rates, what is said of them.

import {consensusRates, consensusSigns, sharesSteps} from "./consensus.js";
import {spectralNorm, symmetric, symmetricEigenvalues, unit} from "./linalg.js";
import {form, orbitField} from "./first_token.js";
import {mambaField, normalised} from "./flow.js";
import {integrate} from "./integrate.js";
import {predictLimit} from "./ends.js";

export const SAMPLES = 401;
const MOST_STEPS = 5000;
const FLOOR = 1e-9; // below, a distance is the integrator's as much as the flow's

export const PROBLEMS = {
  "too many steps": "the steps became too many",
  "step too small": "the step fell below what floating point resolves",
  "not finite": "the field is not finite",
};

// Place on the clock, in [0, 1], to time.
export const timeAt = ({until, clock}, place) =>
  clock === "linear" ? until * place : Math.expm1(Math.log1p(until) * place);

// A run of the state: times, and tokens at them, each Float64Array(3 L).
export function follow(state, rtol = 1e-9) {
  const {S_BC, S_Delta, a, x, alone, until} = state;
  const field = mambaField(S_BC, S_Delta, a, alone);
  const run = integrate((t, y, out) => field(y, out), 0, Float64Array.from(x.flat()), until, {
    rtol,
    atol: rtol / 1000,
    most: MOST_STEPS,
  });
  const end = run.t;
  const times = Array.from({length: SAMPLES}, (_, i) =>
    timeAt({...state, until: end || 1e-300}, i / (SAMPLES - 1)),
  );
  times[SAMPLES - 1] = end;
  return {
    times,
    tokens: times.map((t) => normalised(run.at(t), 3)),
    at: (t) => normalised(run.at(t), 3),
    end,
    status: run.status,
    steps: run.pieces.length,
    evaluations: run.evaluations,
  };
}

// The largest difference of two runs of one state, over all samples.
export const difference = (one, other) =>
  Math.max(
    ...one.tokens.map((tokens, i) =>
      tokens.reduce((most, value, k) => Math.max(most, Math.abs(value - other.tokens[i][k])), 0),
    ),
  );

export const tokenOf = (tokens, l) => Array.from(tokens.subarray(3 * l, 3 * l + 3));

// The prediction for the first token, and for the others where they end at a consensus with it:
// {limit, signs, rates}, rates by token, null where none is predicted.
export function predicted(state, run) {
  const {S_BC, S_Delta, a, x, alone} = state;
  const first = x[0];
  const limit = predictLimit(S_BC, S_Delta, first);
  const ends = run.tokens[run.tokens.length - 1];
  const signs = alone || x.length < 2 ? null : consensusSigns(ends, 3);
  const goal = sharesSteps(S_Delta, a)
    ? unit(first)
    : limit.kind === "coordinate vector"
      ? limit.point
      : null;
  const rates = signs && goal ? consensusRates(S_BC, S_Delta, a, goal, signs) : null;
  return {limit, signs, rates};
}

// |x_l - s_l x_1| at all samples, for l > 0, s_l the side on which token l ends; for the first token,
// or in a run of first tokens for each of them, the distance to its limit, null if that is not known.
export function distances(state, run, {limit, signs}) {
  const {x, alone} = state;
  const ends = run.tokens[run.tokens.length - 1];
  const away = (tokens, l, goal) =>
    Math.hypot(tokens[3 * l] - goal[0], tokens[3 * l + 1] - goal[1], tokens[3 * l + 2] - goal[2]);
  return x.map((_, l) => {
    if (l === 0) {
      return limit.point && run.tokens.map((tokens) => away(tokens, 0, limit.point));
    }
    if (alone) {
      return null;
    }
    const side = signs
      ? signs[l]
      : Math.sign(tokenOf(ends, l).reduce((sum, value, i) => sum + value * ends[i], 0)) || 1;
    return run.tokens.map((tokens) =>
      away(
        tokens,
        l,
        [0, 1, 2].map((i) => side * tokens[i]),
      ),
    );
  });
}

// The rate that a curve of distances shows: least squares of its logarithm over the last part that is
// exponential and above the floor; null if there is too little of it.
export function seenRate(times, curve) {
  const top = Math.min(1e-2, Math.max(...curve) / 10);
  const kept = times.map((t, i) => [t, curve[i]]).filter(([, value]) => value < top && value > FLOOR);
  if (kept.length < 8) {
    return null;
  }
  const late = kept.slice(-Math.max(8, Math.ceil(kept.length / 2)));
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [t, y] = [late.map(([time]) => time), late.map(([, value]) => Math.log(value))];
  const [mt, my] = [mean(t), mean(y)];
  const slope =
    t.reduce((sum, time, i) => sum + (time - mt) * (y[i] - my), 0) /
    t.reduce((sum, time) => sum + (time - mt) ** 2, 0);
  return slope < 0 ? -slope : null;
}

// What the form is, in words.
export function formKind(S_BC) {
  const values = symmetricEigenvalues(symmetric(S_BC));
  const none = 1e-12 * spectralNorm(symmetric(S_BC));
  const [least, most] = [values[0], values[values.length - 1]];
  if (most <= none && least >= -none) {
    return "zero";
  }
  if (least > none) {
    return "positive definite";
  }
  if (most < -none) {
    return "negative definite";
  }
  return least < -none && most > none ? "indefinite" : "semidefinite";
}

// How many equilibria of each stability: "4 stable, 6 saddle, 4 unstable".
export function tally(found) {
  const kinds = ["stable", "saddle", "unstable", "degenerate"];
  const points = found.filter((one) => one.point);
  const parts = kinds
    .map((kind) => [points.filter((one) => one.stability === kind).length, kind])
    .filter(([count]) => count)
    .map(([count, kind]) => `${count} ${kind}`);
  const families = found.length - points.length;
  return [...parts, ...(families ? [`${families} ${families > 1 ? "families" : "family"}`] : [])].join(", ");
}

// The speed of a first token, |q w|.
export const speedOf = (S_BC, S_Delta, y) => Math.abs(form(S_BC, y)) * Math.hypot(...orbitField(S_Delta, y));
