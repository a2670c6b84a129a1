// The first token for D = 2, as tokensphere.circle has it, in floating point: phi' = F(phi) with
// F = q cos sin (Delta_2 - Delta_1), which vanishes on at most five lines.

import {sigmoid, softplus} from "./flow.js";

export const KINDS = ["coordinate vector", "equal steps", "zero of the form"];
const STABILITIES = ["attracting", "repelling", "attracting from below", "attracting from above"];

const SAME = 1e-13; // sine of the angle between lines that count as one: rounding of their directions
const TURN = 2 * Math.PI;

export const modulo = (angle) => ((angle % TURN) + TURN) % TURN;

const symmetricPart = (S_BC) => [S_BC[0][0], (S_BC[0][1] + S_BC[1][0]) / 2, S_BC[1][1]];

const formOf = ([a, b, c], u, v) => a * u * u + 2 * b * u * v + c * v * v;

// softplus(first + gap) - softplus(first), without loss where the gap is small.
function stepGap(S_Delta, u, v) {
  const first = S_Delta[0][0] * u + S_Delta[1][0] * v;
  const gap = (S_Delta[0][1] - S_Delta[0][0]) * u + (S_Delta[1][1] - S_Delta[1][0]) * v;
  return Math.abs(gap) < 1
    ? Math.log1p(Math.expm1(gap) * sigmoid(first))
    : softplus(first + gap) - softplus(first);
}

export function angularField(S_BC, S_Delta, angle) {
  const [u, v] = [Math.cos(angle), Math.sin(angle)];
  return formOf(symmetricPart(S_BC), u, v) * u * v * stepGap(S_Delta, u, v);
}

// The lines on which F vanishes: {direction, orders of the three factors}, each once.
function linesOf(S, d) {
  const lines = [];
  const add = (x, y, factor) => {
    const size = Math.hypot(x, y) * (y < 0 || (y === 0 && x < 0) ? -1 : 1);
    let direction = [x / size, y / size];
    if (Math.abs(direction[1]) < SAME) {
      direction = [1, 0];
    }
    const same = lines.find(({direction: [p, q]}) => Math.abs(p * direction[1] - q * direction[0]) < SAME);
    const line = same ?? {direction, orders: [0, 0, 0]};
    line.orders[factor] += 1;
    if (!same) {
      lines.push(line);
    }
  };
  add(1, 0, 0);
  add(0, 1, 0);
  add(-d[1], d[0], 1);
  const [a, b, c] = S;
  const size = Math.max(Math.abs(a), Math.abs(b), Math.abs(c));
  let radicand = (b / size) ** 2 - (a / size) * (c / size);
  radicand = Math.abs(radicand) < 4 * Number.EPSILON ? 0 : radicand;
  if (radicand >= 0) {
    const root = size * Math.sqrt(radicand);
    // The two roots of a u^2 + 2 b u v + c v^2, each from the sum that does not cancel.
    const sum = b >= 0 ? -b - root : -b + root;
    if (sum === 0 && a === 0) {
      add(1, 0, 2);
      add(1, 0, 2);
    } else if (sum === 0) {
      add(0, 1, 2);
      add(0, 1, 2);
    } else {
      add(sum, a, 2);
      add(c, sum, 2);
    }
  }
  return lines;
}

const hasKind = (line) => KINDS.filter((_, place) => line.orders[place]);

// The leading coefficient of F at the zero on the given side of a line, and its order.
function leadingAt(S, S_Delta, line, side) {
  const [u, v] = line.direction.map((value) => value * side);
  const [axis, steps, form] = line.orders;
  const inner = (k, x, y) => S_Delta[0][k] * x + S_Delta[1][k] * y;
  const axes = axis ? (Math.abs(v) < SAME ? 1 : -1) : u * v;
  const gap = steps ? (inner(1, -v, u) - inner(0, -v, u)) * sigmoid(inner(0, u, v)) : stepGap(S_Delta, u, v);
  const [a, b, c] = S;
  const forms = [formOf(S, u, v), 2 * (b * (u * u - v * v) + (c - a) * u * v), a + c];
  return axes * gap * forms[form];
}

// The phase portrait: {zeros, signs, everywhere}. Zeros in cyclic order, the first is e_1:
// {angle, kinds, order, leading, stability}. signs: of F on the arc from each to the next.
export function portrait(S_BC, S_Delta) {
  const S = symmetricPart(S_BC);
  const d = [0, 1].map((row) => S_Delta[row][1] - S_Delta[row][0]);
  const everywhere = [...(d.some(Boolean) ? [] : [KINDS[1]]), ...(S.some(Boolean) ? [] : [KINDS[2]])];
  if (everywhere.length) {
    return {S_BC, S_Delta, zeros: [], signs: [], everywhere};
  }
  const lines = linesOf(S, d);
  const angleOf = ({direction: [x, y]}) => modulo(Math.atan2(y, x)) % Math.PI;
  lines.sort((one, other) => angleOf(one) - angleOf(other));
  const zeros = [1, -1].flatMap((side) =>
    lines.map((line) => {
      const order = line.orders[0] + line.orders[1] + line.orders[2];
      const leading = leadingAt(S, S_Delta, line, side);
      const angle = angleOf(line) + (side < 0 ? Math.PI : 0);
      return {angle, kinds: hasKind(line), order, leading, stability: stabilityOf(order, leading)};
    }),
  );
  return {S_BC, S_Delta, zeros, signs: zeros.map(({leading}) => Math.sign(leading)), everywhere};
}

function stabilityOf(order, leading) {
  if (order % 2 === 1) {
    return STABILITIES[leading < 0 ? 0 : 1];
  }
  return STABILITIES[leading > 0 ? 2 : 3];
}

// The index of the zero that a token at this angle tends to; itself where it is one, to rounding.
export function limitIndex({zeros, signs}, angle) {
  const place = modulo(angle);
  const off = (zero) => Math.abs(Math.sin((zero.angle - place) / 2));
  const at = zeros.findIndex((zero) => off(zero) < 1e-15);
  if (at >= 0) {
    return at;
  }
  let before = zeros.length - 1;
  for (let i = 0; i < zeros.length; i++) {
    if (zeros[i].angle <= place) {
      before = i;
    }
  }
  return signs[before] > 0 ? (before + 1) % zeros.length : before;
}

// The share of the circle that tends to each set of kinds, by arc length: {"kind, kind": share}.
export function shares({zeros, signs, everywhere}) {
  if (!zeros.length) {
    return {[everywhere.join(", ")]: 1};
  }
  const found = {};
  zeros.forEach((zero, i) => {
    const next = (i + 1) % zeros.length;
    const name = zeros[signs[i] > 0 ? next : i].kinds.join(", ");
    const arc = (next ? zeros[next].angle : TURN) - zero.angle;
    found[name] = (found[name] ?? 0) + arc / TURN;
  });
  return found;
}
