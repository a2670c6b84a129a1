// Tokens on the line, as tokensphere.one_dimension has them: x_l' = mu x_l W_l,
// W_l = Delta_l x_l^2 + exp(-a Delta_l) W_{l-1}, Delta_l = softplus(s x_l).

import {Clock} from "./clock.js";
import {integrate} from "./integrate.js";
import {softplus} from "./flow.js";

const SETTLED = -36; // ln of the share of time left where a blow-up counts as reached
const NEAR = -18;
const AHEAD = Math.log(1e3);
const LONGEST = Math.log(1e9);
const OPTIONS = {rtol: 1e-10, atol: 1e-12};

export function velocity(x, {mu, s, a}, out = new Float64Array(x.length)) {
  let before = 0;
  for (let l = 0; l < x.length; l++) {
    const step = softplus(s * x[l]);
    before = step * x[l] * x[l] + Math.exp(-a * step) * before;
    out[l] = mu * x[l] * before;
  }
  return out;
}

// What is taken: {mu, s, a, x0}; throws an Error that names what is wrong.
function checkLine({mu, s, a, x0}) {
  for (const [name, value] of Object.entries({mu, s, a})) {
    if (!Number.isFinite(value)) {
      throw new Error(`${name}: takes a finite number`);
    }
  }
  if (!(a > 0)) {
    throw new Error(`a: got ${a}, takes a positive number`);
  }
  if (!x0.length || !x0.every(Number.isFinite)) {
    throw new Error("x0: takes one or more finite numbers");
  }
}

const isMoving = (value) => value !== 0;

const isAble = (s, value) => value !== 0 && s * Math.sign(value) >= 0;

const blowsUp = ({mu, s, x0}) => mu > 0 && x0.some((value) => isAble(s, value));

// {kind, constants, time, first, diverging}: as one_dimension.Prediction, null for NaN and None.
export function predict(line) {
  checkLine(line);
  const {mu, s, x0} = line;
  const moving = x0.flatMap((value, l) => (isMoving(value) ? [l] : []));
  if (mu === 0 || !moving.length) {
    return {kind: "rest", constants: x0.map(() => 0), time: Infinity, first: null, diverging: []};
  }
  if (mu < 0) {
    return {kind: "to zero", constants: decayLimits(line), time: Infinity, first: null, diverging: []};
  }
  if (!blowsUp(line)) {
    const constants = x0.map((value, l) => (value === 0 ? 0 : l === 0 || x0[l - 1] === 0 ? 1 : null));
    return {kind: "slow", constants, time: Infinity, first: null, diverging: moving};
  }
  const reached =
    moving.length === 1
      ? {time: timeAlone(mu, s, x0[moving[0]]), first: moving[0], diverging: moving}
      : reach(line, moving);
  const constants = reached.first === null ? x0.map(() => null) : powers(line, reached.first);
  return {kind: "blow-up", constants, ...reached};
}

// For each token the distance to the moving one before it; 1 for the first moving one.
function gaps(x0) {
  let last = null;
  return x0.map((value, l) => {
    const gap = last === null ? 1 : l - last;
    last = value === 0 ? last : l;
    return gap;
  });
}

// lim t x_l^2 for mu < 0.
function decayLimits({mu, a, x0}) {
  const distance = gaps(x0);
  const first = x0.findIndex(isMoving);
  return x0.map((value, l) => {
    const kappa = l === first ? 1 : -Math.expm1(-a * distance[l] * Math.LN2);
    return value === 0 ? 0 : kappa / (-2 * mu * Math.LN2);
  });
}

// lim ln|x_l| / ln|x_first| at a blow-up of one token.
function powers({s, a, x0}, first) {
  const distance = gaps(x0);
  let power = 1;
  return x0.map((value, l) => {
    if (l < first || value === 0) {
      return 0;
    }
    if (l > first) {
      const passed = s === 0 ? distance[l] : distance[l] - 1;
      power *= s * value > 0 ? 0 : 2 ** (-a * passed);
    }
    return power;
  });
}

// The integral of f over [0, 1], by the tanh-sinh rule, which forgives what f does at the ends.
function integral(f) {
  let [found, before] = [0, NaN];
  for (let level = 3; level < 9 && !(Math.abs(found - before) <= 1e-14 * Math.abs(found)); level++) {
    before = found;
    const h = 2 ** -level;
    found = 0;
    for (let k = -Math.round(4 / h); k <= 4 / h; k++) {
      const z = (Math.PI / 2) * Math.sinh(k * h);
      // 1 / (1 + e^{-2z}) is the place, without loss near zero.
      const u = 1 / (1 + Math.exp(-2 * z));
      const weight = ((Math.PI / 4) * Math.cosh(k * h)) / Math.cosh(z) ** 2;
      found += weight > 0 && u > 0 ? h * weight * f(u) : 0;
    }
  }
  return found;
}

// The blow-up time of one token from x, mu > 0; infinite where its step vanishes as it grows.
function timeAlone(mu, s, x) {
  if (!isAble(s, x)) {
    return Infinity;
  }
  return integral((u) => u / softplus((s * x) / u)) / (mu * x * x);
}

// Bounds of the time of the first blow-up, [low, high].
export function timeBounds({mu, s, a, x0}) {
  const high = Math.min(...x0.map((value) => timeAlone(mu, s, value)));
  if (high === Infinity) {
    return [Infinity, Infinity];
  }
  const size = Math.max(...x0.map(Math.abs));
  const slowness = (u) => {
    const D = softplus((Math.abs(s) * size) / u);
    return u / (D * (Math.expm1(-x0.length * a * D) / Math.expm1(-a * D)));
  };
  return [integral(slowness) / (mu * size * size), high];
}

// The blow-up's time, the token that is first, and those that diverge then, in the clock.
function reach(line, moving) {
  const clock = new Clock(line);
  const settled = clock.run(LONGEST, (theta, state) => clock.logLeft(state) - SETTLED, OPTIONS);
  const time = Math.exp(clock.logTime(settled.y[0]));
  let ahead = whoIsAhead(clock);
  // The integration's errors, grown like what is left falls, may be all that told them apart.
  const near = settled.pieces.find(({end}) => clock.logLeft(settled.at(end)) <= NEAR);
  if (ahead.length === 1 && near && isClose(clock, settled.at(near.end))) {
    const other = new Clock(line);
    other.start[1 + moving.indexOf(ahead[0])] -= 1e-8;
    ahead = [...new Set([...ahead, ...whoIsAhead(other)])].sort((l, k) => l - k);
  }
  const diverging = moving.filter((l) => l >= ahead[0]);
  return {time, first: ahead.length === 1 ? ahead[0] : null, diverging};
}

function isClose(clock, state) {
  const own = clock.drives(state.subarray(1)).own.filter((_, place) => clock.able[place]);
  own.sort((x, y) => x - y);
  return own.length > 1 && own[own.length - 2] > own[own.length - 1] - 1;
}

function whoIsAhead(clock) {
  const decided = (theta, state) => Math.max(clock.logLeft(state) - SETTLED, lead(clock, state));
  const run = clock.run(LONGEST, decided, OPTIONS);
  const {own} = clock.drives(run.y.subarray(1));
  const able = clock.moving
    .map((l, place) => ({l, drive: own[place], able: clock.able[place]}))
    .filter((one) => one.able);
  const ahead = able.reduce((best, one) => (one.drive > best.drive ? one : best));
  if (lead(clock, run.y) <= 1e-6) {
    return [ahead.l];
  }
  const left = clock.logLeft(run.y) + ahead.drive;
  return able.filter(({drive}) => left - drive < SETTLED + 6).map(({l}) => l);
}

// At most zero where the token with the largest own drive can no longer be caught.
function lead(clock, state) {
  const {own, weights, dampings} = clock.drives(state.subarray(1));
  const able = clock.able.flatMap((can, k) => (can ? [k] : []));
  const j = able.reduce((best, k) => (own[k] > own[best] ? k : best));
  let worst = -Infinity;
  own.forEach((drive, k) => {
    if (k < j) {
      worst = Math.max(worst, weights[k] - own[j] + AHEAD);
    } else if (k > j && clock.able[k]) {
      const shut = Math.log(-Math.expm1(-dampings[k])) - 1;
      worst = Math.max(worst, drive - own[j] + Math.max(AHEAD, -shut));
    }
  });
  return worst;
}

// A run in the clock that can be looked at in time: at(ln t) gives [ln|x_l|]; `end` is ln of where it
// ends, `logT0` of the time in which the fastest token first moves.
export function simulate(line, logEnd, options = OPTIONS) {
  checkLine(line);
  const clock = new Clock(line);
  const signs = line.x0.map(Math.sign);
  if (line.mu === 0 || !clock.moving.length) {
    const logs = line.x0.map((value) => Math.log(Math.abs(value)));
    return {at: () => logs, signs, end: logEnd, logT0: 0, status: "arrived", evaluations: 0};
  }
  const last = softplus(logEnd - clock.logT0);
  const canBlow = blowsUp(line);
  const stop = (theta, state) =>
    Math.min(last - state[0], canBlow ? clock.logLeft(state) - SETTLED : Infinity);
  const run = clock.run(Infinity, stop, options);
  const tau = run.y[0];
  const settled = canBlow && clock.logLeft(run.y) - SETTLED <= 1e-6;
  const status = run.status !== "stopped" ? run.status : settled ? "blow-up" : "arrived";
  const state = new Float64Array(run.y.length);
  const at = (logTime) => {
    const wanted = Math.min(softplus(logTime - clock.logT0), tau);
    let [low, high] = [0, run.t];
    for (let tries = 0; tries < 80 && high - low > 1e-16 * high; tries++) {
      const middle = (low + high) / 2;
      if (run.at(middle, state)[0] < wanted) {
        low = middle;
      } else {
        high = middle;
      }
    }
    run.at((low + high) / 2, state);
    const logs = line.x0.map(() => -Infinity);
    clock.moving.forEach((l, place) => (logs[l] = state[1 + place]));
    return logs;
  };
  return {at, signs, end: clock.logTime(tau), logT0: clock.logT0, status, evaluations: run.evaluations};
}

// A blow-up by integration in t: another field and other variables than the clock's. {time, first,
// x}: the time that it reaches, the first token or null where another is close behind, where x is.
export function blowUpInTime(line) {
  const {mu, s, x0} = line;
  const left = (x) =>
    x.map((value, l) => (isAble(s, x0[l]) ? 1 / (2 * mu * softplus(s * value) * value * value) : Infinity));
  const scale = Math.min(...left(x0));
  const run = integrate((t, x, out) => velocity(x, line, out), 0, x0, 2 * scale, {
    rtol: 1e-11,
    atol: 1e-300,
    stop: (t, x) => Math.log(Math.min(...left(Array.from(x))) / (1e-9 * scale)),
  });
  const needs = left(Array.from(run.y));
  const order = needs.map((_, l) => l).sort((l, k) => needs[l] - needs[k]);
  const clear = order.length < 2 || needs[order[1]] > 1e3 * needs[order[0]];
  const time = run.t + timeAlone(mu, s, run.y[order[0]]);
  return {time, first: clear ? order[0] : null, x: run.y, status: run.status, run};
}
