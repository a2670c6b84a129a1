// Small dense linear algebra: matrices are arrays of rows.

export const dot = (u, v) => u.reduce((sum, value, i) => sum + value * v[i], 0);

export const norm = (u) => Math.hypot(...u);

export const scaled = (u, factor) => u.map((value) => value * factor);

export const unit = (u) => scaled(u, 1 / norm(u));

export const subtract = (u, v) => u.map((value, i) => value - v[i]);

export const cross = (u, v) => [
  u[1] * v[2] - u[2] * v[1],
  u[2] * v[0] - u[0] * v[2],
  u[0] * v[1] - u[1] * v[0],
];

export const transpose = (A) => A[0].map((_, j) => A.map((row) => row[j]));

export const times = (A, v) => A.map((row) => dot(row, v));

export const product = (A, B) => {
  const columns = transpose(B);
  return A.map((row) => columns.map((column) => dot(row, column)));
};

export const column = (A, j) => A.map((row) => row[j]);

export const symmetric = (A) => A.map((row, i) => row.map((value, j) => (value + A[j][i]) / 2));

export const largest = (A) => Math.max(...A.flat().map(Math.abs));

// Eigenvalues of a real 2 x 2 matrix, [[re, im], [re, im]], real parts decreasing; of a conjugate
// pair the one above the real axis first.
export function eigenvalues2([[a, b], [c, d]]) {
  const half = (a + d) / 2;
  const skew = (a - d) / 2;
  const square = skew * skew + b * c;
  if (square < 0) {
    const root = Math.sqrt(-square);
    return [
      [half, root],
      [half, -root],
    ];
  }
  const root = Math.sqrt(square);
  return [
    [half + root, 0],
    [half - root, 0],
  ];
}

// Eigenvalues of a symmetric matrix, ascending, by Jacobi's rotations.
export function symmetricEigenvalues(A) {
  const M = A.map((row) => [...row]);
  const size = M.length;
  for (let sweep = 0; sweep < 60; sweep++) {
    let off = 0;
    for (let p = 0; p < size; p++) {
      for (let q = p + 1; q < size; q++) {
        off += M[p][q] ** 2;
        if (M[p][q] !== 0) {
          rotate(M, p, q);
        }
      }
    }
    if (off === 0) {
      break;
    }
  }
  return M.map((row, i) => row[i]).sort((x, y) => x - y);
}

function rotate(M, p, q) {
  const theta = (M[q][q] - M[p][p]) / (2 * M[p][q]);
  const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.hypot(theta, 1));
  const c = 1 / Math.hypot(t, 1);
  const s = t * c;
  for (let k = 0; k < M.length; k++) {
    [M[k][p], M[k][q]] = [c * M[k][p] - s * M[k][q], s * M[k][p] + c * M[k][q]];
  }
  for (let k = 0; k < M.length; k++) {
    [M[p][k], M[q][k]] = [c * M[p][k] - s * M[q][k], s * M[p][k] + c * M[q][k]];
  }
  M[p][q] = M[q][p] = 0;
}

// The spectral norm of a symmetric matrix.
export function spectralNorm(S) {
  const values = symmetricEigenvalues(S);
  return Math.max(Math.abs(values[0]), Math.abs(values[values.length - 1]));
}

// The two singular values, decreasing, and the orthogonalised rows of a matrix of two rows, by one
// rotation: small ones keep their digits, as they would not in the matrix times its transpose.
export function twoRows([u, v]) {
  const skew = 2 * dot(u, v);
  let angle = 0;
  if (skew !== 0) {
    angle = Math.atan2(skew, dot(u, u) - dot(v, v)) / 2;
  }
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  const first = u.map((value, i) => c * value + s * v[i]);
  const second = u.map((value, i) => c * v[i] - s * value);
  const sizes = [norm(first), norm(second)];
  return sizes[0] >= sizes[1]
    ? {values: sizes, rows: [first, second]}
    : {values: [sizes[1], sizes[0]], rows: [second, first]};
}

// A x = b by elimination with pivots; null where A is singular.
function solve(A, b) {
  const M = A.map((row, i) => [...row, b[i]]);
  const size = M.length;
  for (let k = 0; k < size; k++) {
    let pivot = k;
    for (let i = k + 1; i < size; i++) {
      if (Math.abs(M[i][k]) > Math.abs(M[pivot][k])) {
        pivot = i;
      }
    }
    if (M[pivot][k] === 0) {
      return null;
    }
    [M[k], M[pivot]] = [M[pivot], M[k]];
    for (let i = k + 1; i < size; i++) {
      const factor = M[i][k] / M[k][k];
      for (let j = k; j <= size; j++) {
        M[i][j] -= factor * M[k][j];
      }
    }
  }
  const x = new Array(size).fill(0);
  for (let k = size - 1; k >= 0; k--) {
    let rest = M[k][size];
    for (let j = k + 1; j < size; j++) {
      rest -= M[k][j] * x[j];
    }
    x[k] = rest / M[k][k];
  }
  return x;
}

// The symmetric P with J^T P + P J = -1, J 2 x 2; null where there is none.
export function lyapunov2([[a, b], [c, d]]) {
  const found = solve(
    [
      [2 * a, 2 * c, 0],
      [b, a + d, c],
      [0, 2 * b, 2 * d],
    ],
    [-1, 0, -1],
  );
  return (
    found && [
      [found[0], found[1]],
      [found[1], found[2]],
    ]
  );
}
