// Eq (9) for D = 3, as tokensphere.first_token has it: dy/dt = q(y) w(y). Its type-1 equilibria, all of
// them, and spectra on the tangent space.

import {
  column,
  cross,
  dot,
  eigenvalues2,
  largest,
  norm,
  product,
  scaled,
  subtract,
  times,
  transpose,
  twoRows,
  unit,
} from "./linalg.js";
import {sigmoid, softplus} from "./flow.js";

const TOLERANCE = 1e-10;

export const form = (S_BC, y) => dot(y, times(S_BC, y));

export const inners = (S_Delta, y) => y.map((_, d) => dot(y, column(S_Delta, d)));

export function orbitField(S_Delta, y) {
  const steps = inners(S_Delta, y).map(softplus);
  const mean = steps.reduce((sum, step, d) => sum + step * y[d] * y[d], 0);
  return y.map((value, d) => (steps[d] - mean) * value);
}

// The derivative of w in the ambient space.
export function orbitJacobian(S_Delta, y) {
  const inner = inners(S_Delta, y);
  const steps = inner.map(softplus);
  const mean = steps.reduce((sum, step, d) => sum + step * y[d] * y[d], 0);
  const g = y.map((_, k) => scaled(column(S_Delta, k), sigmoid(inner[k])));
  const shared = y.map(
    (_, j) => y.reduce((sum, value, k) => sum + value * value * g[k][j], 0) + 2 * steps[j] * y[j],
  );
  return y.map((value, i) =>
    y.map((_, j) => (i === j ? steps[i] - mean : 0) + value * (g[i][j] - shared[j])),
  );
}

// Columns: an orthonormal basis of the tangent space at unit y, as tangent_basis in Python.
export function tangentBasis(y) {
  const normal = unit([y[0] + (y[0] < 0 ? -1 : 1), ...y.slice(1)]);
  return y.map((_, i) => y.slice(1).map((_, j) => (i === j + 1 ? 1 : 0) - 2 * normal[i] * normal[j + 1]));
}

const onTangent = (whole, y) => {
  const basis = tangentBasis(y);
  return product(product(transpose(basis), whole), basis);
};

// The derivative of eq (9)'s field on the tangent space, 2 x 2.
export function jacobian(S_BC, S_Delta, y) {
  const whole = orbitJacobian(S_Delta, y);
  const w = orbitField(S_Delta, y);
  const q = form(S_BC, y);
  const gradient = times(S_BC, y).map((value, i) => value + dot(column(S_BC, i), y));
  return onTangent(
    whole.map((row, i) => row.map((value, j) => q * value + w[i] * gradient[j])),
    y,
  );
}

// Every type-1 equilibrium: {point, support, eigenvalues, kind, stability}; and families, whose basis
// is given by vectors, {support, basis, kind: "family", stability: "degenerate"}.
export function equilibria(S_BC, S_Delta) {
  const size = largest(S_Delta);
  const lines = [[0], [1], [2]].map((support) => ({support, vector: axis(support[0])}));
  const families = [];
  for (const support of [
    [0, 1],
    [0, 2],
    [1, 2],
  ]) {
    const [i, j] = support;
    const difference = [S_Delta[i][j] - S_Delta[i][i], S_Delta[j][j] - S_Delta[j][i]];
    if (Math.hypot(...difference) <= TOLERANCE * size) {
      families.push({support, basis: [axis(i), axis(j)]});
    } else {
      const vector = [0, 0, 0];
      [vector[i], vector[j]] = unit([-difference[1], difference[0]]);
      lines.push({support, vector});
    }
  }
  const columns = [0, 1, 2].map((j) => column(S_Delta, j));
  const {values, rows} = twoRows([subtract(columns[1], columns[0]), subtract(columns[2], columns[0])]);
  const support = [0, 1, 2];
  if (values[1] > TOLERANCE * size) {
    lines.push({support, vector: unit(cross(rows[0], rows[1]))});
  } else if (values[0] > TOLERANCE * size) {
    const basis = transpose(tangentBasis(unit(rows[0])));
    if (support.every((i) => Math.hypot(basis[0][i], basis[1][i]) > TOLERANCE)) {
      families.push({support, basis});
    }
  } else {
    families.push({support, basis: [0, 1, 2].map(axis)});
  }
  const maximal = families.filter(
    (one, place) =>
      !families.some((other, after) => after > place && one.basis.every((v) => isMember(S_Delta, v, other))),
  );
  const found = [];
  for (const {support, vector} of lines) {
    const alone = !maximal.some((family) => isMember(S_Delta, vector, family));
    if (alone && support.every((i) => Math.abs(vector[i]) > TOLERANCE)) {
      const first = vector[support[0]] < 0 ? -1 : 1;
      for (const side of [first, -first]) {
        found.push(
          isolated(
            S_BC,
            S_Delta,
            scaled(vector, side).map((value) => value + 0),
            support,
          ),
        );
      }
    }
  }
  return [...found, ...maximal.map((one) => ({...one, kind: "family", stability: "degenerate"}))];
}

const axis = (d) => [0, 1, 2].map((i) => (i === d ? 1 : 0));

// Whether a vector is zero off the family's support and has equal steps on it.
function isMember(S_Delta, vector, {support}) {
  const inner = inners(S_Delta, vector);
  const inside = support.map((i) => inner[i]);
  const zero = vector.every((value, i) => support.includes(i) || Math.abs(value) <= TOLERANCE);
  return zero && Math.max(...inside) - Math.min(...inside) <= 100 * TOLERANCE * largest(S_Delta);
}

function isolated(S_BC, S_Delta, point, support) {
  const eigenvalues = eigenvaluesAt(S_BC, S_Delta, point, support);
  const kind = support.length === 1 ? "coordinate vector" : "equal steps";
  return {point, support, eigenvalues, kind, stability: stability(eigenvalues)};
}

// By the signs of the real parts, as Equilibrium.stability in Python.
export function stability(eigenvalues) {
  const size = Math.max(...eigenvalues.map(([re, im]) => Math.hypot(re, im)));
  const real = eigenvalues.map(([re]) => re);
  if (real.some((value) => Math.abs(value) <= TOLERANCE * size)) {
    return "degenerate";
  }
  if (real.every((value) => value < 0)) {
    return "stable";
  }
  return real.every((value) => value > 0) ? "unstable" : "saddle";
}

// Closed forms at a type-1 equilibrium: see tokensphere.first_token.spectrum.
function eigenvaluesAt(S_BC, S_Delta, y, support) {
  const q = form(S_BC, y);
  const inner = inners(S_Delta, y);
  const shared = support.reduce((sum, i) => sum + inner[i], 0) / support.length;
  const across = [0, 1, 2]
    .filter((i) => !support.includes(i))
    .map((i) => [softplus(inner[i]) - softplus(shared), 0]);
  let along = [];
  if (support.length === 2) {
    const [i, j] = support;
    const d = [S_Delta[i][j] - S_Delta[i][i], S_Delta[j][j] - S_Delta[j][i]];
    along = [[sigmoid(shared) * y[i] * y[j] * (d[1] * y[i] - d[0] * y[j]), 0]];
  } else if (support.length === 3) {
    const whole = y.map((value, i) =>
      y.map((_, k) => value * (S_Delta[k][i] - y.reduce((sum, z, m) => sum + z * z * S_Delta[k][m], 0))),
    );
    along = eigenvalues2(onTangent(whole, y)).map((value) => scaled(value, sigmoid(shared)));
  }
  return sorted([...across, ...along].map((value) => scaled(value, q)));
}

const sorted = (values) => [...values].sort((u, v) => v[0] - u[0] || v[1] - u[1]);

// The eigenvalues of eq (9)'s Jacobian at an equilibrium of either type.
export function spectrum(S_BC, S_Delta, y) {
  const w = orbitField(S_Delta, y);
  const scale = Math.max(...[0, 1, 2].map((d) => softplus(norm(column(S_Delta, d)))));
  if (norm(w) > 1e-8 * scale) {
    const gradient = times(S_BC, y).map((value, i) => value + dot(column(S_BC, i), y));
    return sorted([
      [dot(gradient, w), 0],
      [0, 0],
    ]);
  }
  const support = [0, 1, 2].filter((i) => Math.abs(y[i]) > 1e-8);
  return eigenvaluesAt(S_BC, S_Delta, y, support);
}
