// Rates at which tokens reach consensus, D = 3: tokensphere.other_tokens.consensus_spectrum.

import {attention} from "./flow.js";
import {dot, unit} from "./linalg.js";

// Whether all channels share one step and one rate, assumption (10).
export const sharesSteps = (S_Delta, a) =>
  S_Delta.every((row) => row.every((value) => value === row[0])) && a.every((rate) => rate === a[0]);

// The eigenvalues at (s_1 x_1, ..., s_L x_1): a row for each token, a column for each direction,
// one where all directions share a system. null where eq (6) has no consensus there.
export function consensusSpectrum(S_BC, S_Delta, a, x1, signs) {
  const dim = a.length;
  const x = Float64Array.from(signs.flatMap((sign) => x1.map((value) => sign * value)));
  const A = attention(x, S_BC, S_Delta, a);
  const drag = (weights, l, last) => {
    let sum = 0;
    for (let j = 0; j <= last; j++) {
      sum += signs[l] * signs[j] * weights[l][j];
    }
    return sum;
  };
  if (sharesSteps(S_Delta, a)) {
    return signs.map((_, l) => [-drag(A[0], l, l - 1) + 0]);
  }
  const support = x1.map((_, d) => d).filter((d) => x1[d] !== 0);
  if (support.length !== 1) {
    return null;
  }
  const [d] = support;
  const others = x1.map((_, k) => k).filter((k) => k !== d && k < dim);
  return signs.map((_, l) => others.map((k) => A[k][l][l] - drag(A[d], l, l)));
}

// The rate at which each token's distance to the consensus falls, for generic starts nearby: the
// slowest of its own and of the tokens before it. null where one of these does not attract.
export function consensusRates(S_BC, S_Delta, a, x1, signs) {
  const rows = consensusSpectrum(S_BC, S_Delta, a, x1, signs);
  if (!rows) {
    return null;
  }
  const shared = sharesSteps(S_Delta, a);
  let slowest = -Infinity;
  return rows.map((row, l) => {
    if (shared && l === 0) {
      return Infinity;
    }
    slowest = Math.max(slowest, ...row);
    return slowest < 0 ? -slowest : null;
  });
}

// The signs s_l with x_l near s_l x_1, or null if a token is further away than that.
export function consensusSigns(x, dim, near = 0.05) {
  const tokens = Array.from({length: x.length / dim}, (_, l) =>
    unit(Array.from(x.subarray(l * dim, (l + 1) * dim))),
  );
  const cosines = tokens.map((token) => dot(token, tokens[0]));
  return cosines.every((value) => Math.abs(value) > 1 - (near * near) / 2) ? cosines.map(Math.sign) : null;
}
