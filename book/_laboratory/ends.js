// Where a first token ends, D = 3, and why: tokensphere.first_token.predict_limit and settle.

import {
  column,
  dot,
  eigenvalues2,
  largest,
  lyapunov2,
  norm,
  product,
  scaled,
  spectralNorm,
  subtract,
  symmetric,
  symmetricEigenvalues,
  times,
  transpose,
  unit,
} from "./linalg.js";
import {equilibria, form, inners, orbitField, orbitJacobian, spectrum, tangentBasis} from "./first_token.js";
import {limitIndex, portrait} from "./circle.js";
import {integrate} from "./integrate.js";
import {softplus} from "./flow.js";

const CLOSE = 1e-5;
const [VERTEX, EQUAL, ZERO, UNRESOLVED] = [
  "coordinate vector",
  "equal steps",
  "zero of the form",
  "unresolved",
];
const ROUNDING = 8 * Number.EPSILON;
const AXES = [0, 1, 2].map((d) => [0, 1, 2].map((i) => (i === d ? 1 : 0)));

// {point, kind, argument, rate}: as first_token.Prediction; point and rate may be null.
export function predictLimit(S_BC, S_Delta, y0, horizon = 2000) {
  const support = [0, 1, 2].filter((i) => y0[i] !== 0);
  const still = norm(orbitField(S_Delta, y0)) <= ROUNDING * (1 + norm(S_Delta.flat()));
  if (still || Math.abs(form(S_BC, y0)) <= ROUNDING * norm(S_BC.flat())) {
    return found(S_BC, S_Delta, y0, y0, "at rest");
  }
  const chosen = largestStep(S_BC, S_Delta, y0, support);
  if (chosen) {
    return found(S_BC, S_Delta, y0, chosen, "largest step");
  }
  if (support.length === 2) {
    return onCircle(S_BC, S_Delta, y0, support);
  }
  const end = settle(S_BC, S_Delta, y0, horizon);
  // Signs stay: an end in another octant is where rounding led, along a cycle of coordinate vectors.
  const crossed = end.point.some((value, i) => Math.abs(value) > CLOSE && value * y0[i] < 0);
  if (end.kind === UNRESOLVED || crossed) {
    return {point: null, kind: UNRESOLVED, argument: "none found", rate: null};
  }
  const point = end.kind === ZERO ? ontoTheZero(S_BC, S_Delta, end.point) : end.point;
  return found(S_BC, S_Delta, y0, point, "certified neighbourhood");
}

function found(S_BC, S_Delta, y0, point, argument) {
  const kind = kindOf(S_Delta, point);
  // Coordinates that are zero at the start stay so: of the others' sphere alone the rate is said.
  const support = [0, 1, 2].filter((i) => y0[i] !== 0);
  let real = [];
  if (support.length === 3) {
    real = spectrum(S_BC, S_Delta, point).map(([re]) => re);
  } else if (support.length === 2) {
    const one = restricted(S_BC, S_Delta, support);
    const zero = one.zeros[limitIndex(one, Math.atan2(point[support[1]], point[support[0]]))];
    real = zero && zero.order === 1 ? [zero.leading] : [];
  }
  const slowest = kind === ZERO ? real[real.length - 1] : real[0];
  return {point, kind, argument, rate: slowest < 0 ? -slowest : null};
}

function kindOf(S_Delta, point) {
  if (point.filter(Boolean).length === 1) {
    return VERTEX;
  }
  return norm(orbitField(S_Delta, point)) <= 1e-8 * (1 + norm(S_Delta.flat())) ? EQUAL : ZERO;
}

const restricted = (S_BC, S_Delta, support) => {
  const block = (S) => support.map((i) => support.map((j) => S[i][j]));
  return portrait(block(S_BC), block(S_Delta));
};

function onCircle(S_BC, S_Delta, y0, support) {
  const [i, j] = support;
  const whole = restricted(S_BC, S_Delta, support);
  const zero = whole.zeros[limitIndex(whole, Math.atan2(y0[j], y0[i]))];
  const point = [0, 0, 0];
  [point[i], point[j]] = [Math.cos(zero.angle), Math.sin(zero.angle)];
  const end = zero.kinds.includes(VERTEX) ? point.map((value) => Math.round(value) + 0) : point;
  return found(S_BC, S_Delta, y0, end, "circle");
}

// Columns that are multiples of the coordinate vectors plus one vector, and a definite form.
function largestStep(S_BC, S_Delta, y0, support) {
  const S = support.map((i) => support.map((j) => (S_BC[i][j] + S_BC[j][i]) / 2));
  const values = symmetricEigenvalues(S);
  if (values[0] * values[values.length - 1] <= 0) {
    return null;
  }
  const sign = Math.sign(values[0]);
  const delta = [];
  for (const i of support) {
    const off = support.filter((j) => j !== i).map((j) => S_Delta[i][j]);
    if (
      Math.max(...off) - Math.min(...off) >
      ROUNDING * largest(support.map((k) => support.map((m) => S_Delta[k][m])))
    ) {
      return null;
    }
    delta.push(S_Delta[i][i] - off.reduce((sum, value) => sum + value, 0) / off.length);
  }
  const y = support.map((i) => y0[i]);
  const v = y.map((value, i) => sign * delta[i] * value);
  const top = Math.max(...v);
  const rounding = ROUNDING * Math.max(...v.map(Math.abs));
  const end =
    top < 0
      ? y.map((value, i) => (delta[i] === 0 ? 0 : Math.sign(value) / Math.abs(delta[i])))
      : y.map((value, i) => (v[i] >= top - rounding ? value : 0));
  const limit = [0, 0, 0];
  unit(end).forEach((value, place) => (limit[support[place]] = value));
  return limit;
}

// Follows a first token until its end is known, in a clock that does not slow down at a zero of q.
function settle(S_BC, S_Delta, y0, horizon = 2000, rtol = 1e-8) {
  const S = symmetric(S_BC);
  const trace = S[0][0] + S[1][1] + S[2][2];
  const square = S.flat().reduce((sum, value) => sum + value * value, 0);
  const clock = Math.max(0.1 * Math.sqrt((2 * square + trace * trace) / 15), 1e-300);
  const derivative = (s, y, out) => {
    const at = unit(Array.from(y));
    const q = form(S, at);
    out.set(scaled(orbitField(S_Delta, at), q / (Math.abs(q) + clock)));
  };
  let [point, start, end] = [y0, 0, 20];
  for (;;) {
    const known = recognise(S, S_Delta, point);
    if (known.kind !== UNRESOLVED || start >= horizon) {
      return known;
    }
    const run = integrate(derivative, start, point, Math.min(end, horizon), {rtol, atol: rtol / 100});
    if (run.status !== "arrived") {
      return {kind: UNRESOLVED, point};
    }
    point = unit(Array.from(run.y));
    [start, end] = [end, 2 * end];
  }
}

// The kind and the point of an end that is known by the criteria of first_token.settle.
function recognise(S, S_Delta, y) {
  const q = form(S, y);
  const w = orbitField(S_Delta, y);
  if (q === 0 || flowsIntoZero(S, S_Delta, y, q, w)) {
    return {kind: ZERO, point: y};
  }
  const cap = inTrappingCap(S, S_Delta, y, q);
  if (cap) {
    return {kind: VERTEX, point: cap};
  }
  for (const threshold of norm(w) < 0.05 ? [1e-4, 1e-3, 1e-2] : []) {
    const rest = attractedToEqualSteps(S, S_Delta, y, q, threshold);
    if (rest) {
      return {kind: rest.filter(Boolean).length === 1 ? VERTEX : EQUAL, point: rest};
    }
  }
  return {kind: UNRESOLVED, point: y};
}

// Suprema over the unit ball of |w| and of the norms of its derivatives, less c from all steps.
function bounds(S_Delta, c = Math.LN2) {
  const s = Math.max(...[0, 1, 2].map((d) => norm(column(S_Delta, d))));
  const d = Math.max(softplus(s) - c, c - softplus(-s));
  const [h0, h1, h2] = [d, d + s, 2 * s + (s * s) / 4];
  return {value: h0, first: 2 * h1 + 2 * h0, second: 2 * h2 + 4 * h1 + 2 * h0};
}

function flowsIntoZero(S, S_Delta, y, q, w) {
  const {value, first} = bounds(S_Delta);
  const inflow = -2 * dot(times(S, y), w);
  const steepness = 2 * spectralNorm(S) * (value + first);
  const left = (2 * Math.abs(q) * value) / inflow;
  return inflow > 0 && left < CLOSE && left * steepness < inflow / 2;
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function topOf(y) {
  const sizes = y.map(Math.abs);
  return sizes.indexOf(Math.max(...sizes));
}

function inTrappingCap(S, S_Delta, y, q) {
  const top = topOf(y);
  const axis = scaled(AXES[top], Math.sign(y[top]));
  const apart = norm(subtract(y, axis));
  const psi = 2 * Math.asin(Math.min(apart / 2, 1));
  const own = column(S_Delta, top);
  const trapped = [0, 1, 2].every((k) => {
    const leads = scaled(subtract(own, column(S_Delta, k)), Math.sign(q));
    const angle = Math.acos(clamp(dot(leads, axis) / Math.max(norm(leads), 1e-300), -1, 1));
    return k === top || y[k] === 0 || angle + psi < Math.PI / 2;
  });
  const keeps = S[top][top] * Math.sign(q) > 2 * spectralNorm(S) * apart;
  return trapped && keeps ? axis : null;
}

function attractedToEqualSteps(S, S_Delta, y, q, threshold) {
  const support = [0, 1, 2].filter((i) => Math.abs(y[i]) > threshold);
  const rest = equalSteps(S, S_Delta, y, support);
  if (!rest) {
    return null;
  }
  const sign = Math.sign(q);
  const basis = tangentBasis(rest);
  const across = transpose(basis);
  const whole = orbitJacobian(S_Delta, rest).map((row) => scaled(row, sign));
  const linear = product(product(across, whole), basis);
  const gap = subtract(y, rest);
  const a = across.map((row) => dot(row, gap));
  const stays = (form(S, rest) * sign) / (2 * Math.max(spectralNorm(S), 1e-300));
  const stable = Math.max(...eigenvalues2(linear).map(([re]) => re)) < 0;
  const P = norm(gap) < 0.5 && stable && stays > 0 ? lyapunov2(linear) : null;
  if (!P) {
    return null;
  }
  const weights = symmetricEigenvalues(P);
  if (weights[0] <= 0) {
    return null;
  }
  const steps = inners(S_Delta, rest).map(softplus);
  const shared = steps.reduce((sum, step, i) => sum + step * rest[i] ** 2, 0);
  const curvature = bounds(S_Delta, shared).second;
  const radius = Math.min(0.75 / (weights[1] * curvature), Math.min(stays, 1) * Math.sqrt(0.75));
  return dot(a, times(P, a)) < weights[0] * radius * radius ? rest : null;
}

// The isolated equilibrium with this support on y's side.
function equalSteps(S, S_Delta, y, support) {
  const same = ({support: other}) => other && other.join() === support.join();
  const one = equilibria(S, S_Delta).find((each) => each.point && same(each) && dot(each.point, y) > 0);
  return one ? one.point : null;
}

// Newton's method along w, from a point that is CLOSE.
function ontoTheZero(S_BC, S_Delta, point) {
  let y = point;
  for (let tries = 0; tries < 4; tries++) {
    const w = orbitField(S_Delta, y);
    const slope = 2 * dot(times(symmetric(S_BC), y), w);
    y = unit(slope === 0 ? y : subtract(y, scaled(w, form(S_BC, y) / slope)));
  }
  return y;
}
