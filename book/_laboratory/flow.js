// The deep Mamba flow, eqs (6)-(8), as tokensphere.flow.MambaFlow has it: column d of S_Delta is
// S_{Delta,d}. Tokens are one Float64Array, token after token.

export function softplus(z) {
  return z > 0 ? z + Math.log1p(Math.exp(-z)) : Math.log1p(Math.exp(z));
}

export function sigmoid(z) {
  return z >= 0 ? 1 / (1 + Math.exp(-z)) : Math.exp(z) / (1 + Math.exp(z));
}

// A function (x, out) that writes dx/dt at x/|x|, token by token, in time linear in their number:
// what tokens up to l have left is a matrix h[d][n], which decays by each channel's step. `alone`: every
// token is a first token, eq (9).
export function mambaField(S_BC, S_Delta, a, alone = false) {
  const dim = a.length;
  const [h, at, key] = [dim * dim, dim, dim].map((size) => new Float64Array(size));
  const [B, steps, rates] = [S_BC.flat(), S_Delta.flat(), a].map((values) => Float64Array.from(values));
  return (x, out) => {
    h.fill(0);
    for (let start = 0; start < x.length; start += dim) {
      if (alone) {
        h.fill(0);
      }
      let size = 0;
      for (let i = 0; i < dim; i++) {
        size += x[start + i] * x[start + i];
      }
      size = Math.sqrt(size);
      for (let i = 0; i < dim; i++) {
        at[i] = x[start + i] / size;
      }
      for (let n = 0; n < dim; n++) {
        key[n] = 0;
        for (let m = 0; m < dim; m++) {
          key[n] += B[n * dim + m] * at[m];
        }
      }
      let radial = 0;
      for (let d = 0; d < dim; d++) {
        let inner = 0;
        for (let m = 0; m < dim; m++) {
          inner += at[m] * steps[m * dim + d];
        }
        const step = softplus(inner);
        const kept = Math.exp(-rates[d] * step);
        let sum = 0;
        for (let n = 0; n < dim; n++) {
          const place = d * dim + n;
          h[place] = kept * h[place] + step * at[d] * key[n];
          sum += at[n] * h[place];
        }
        out[start + d] = sum;
        radial += sum * at[d];
      }
      for (let d = 0; d < dim; d++) {
        out[start + d] -= radial * at[d];
      }
    }
    return out;
  };
}

// A_{d,lj} of eq (8) at unit tokens: attention[d][l][j], zero for j > l.
export function attention(x, S_BC, S_Delta, a) {
  const dim = a.length;
  const length = x.length / dim;
  const tokens = Array.from({length}, (_, l) => Array.from(x.subarray(l * dim, (l + 1) * dim)));
  const keys = tokens.map((token) => S_BC.map((row) => row.reduce((sum, s, m) => sum + s * token[m], 0)));
  return a.map((rate, d) => {
    const steps = tokens.map((token) =>
      softplus(token.reduce((sum, value, m) => sum + value * S_Delta[m][d], 0)),
    );
    return tokens.map((token, l) => {
      const row = new Array(length).fill(0);
      let elapsed = 0;
      for (let j = l; j >= 0; j--) {
        const score = token.reduce((sum, value, n) => sum + value * keys[j][n], 0);
        row[j] = score * steps[j] * Math.exp(-rate * elapsed);
        elapsed += steps[j];
      }
      return row;
    });
  });
}

export function normalised(x, dim) {
  const found = Float64Array.from(x);
  for (let start = 0; start < x.length; start += dim) {
    const size = Math.hypot(...found.subarray(start, start + dim));
    for (let i = 0; i < dim; i++) {
      found[start + i] /= size;
    }
  }
  return found;
}

// Tokens uniform on the sphere, from a function that gives uniform numbers in [0, 1).
export function randomTokens(length, dim, uniform) {
  return normalised(
    Float64Array.from({length: length * dim}, () => gaussian(uniform)),
    dim,
  );
}

export function gaussian(uniform) {
  return Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}
