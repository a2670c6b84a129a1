// The unit sphere as it is seen from a side, drawn on a canvas, and turned by the pointer.

import {element, labelled, slider} from "./controls.js";
import {clamp, disc, prepared, tokenColour} from "./drawing.js";
import {cross, product, scaled, symmetric, times, transpose, unit} from "./linalg.js";

// Rows: right, up, towards the reader.
function camera(turn, tilt) {
  const [a, e] = [(turn * Math.PI) / 180, (tilt * Math.PI) / 180];
  const out = [Math.cos(e) * Math.cos(a), Math.cos(e) * Math.sin(a), Math.sin(e)];
  const right = [-Math.sin(a), Math.cos(a), 0];
  return [right, cross(out, right), out];
}

// Closed curves of unit vectors with <y, S y> = 0, for an indefinite form; none for others.
function zeroCurves(S_BC, points = 181) {
  const S = symmetric(S_BC);
  const {values, vectors} = eigenvectors(S);
  const signs = values.map((value) =>
    Math.abs(value) < 1e-12 * Math.max(...values.map(Math.abs)) ? 0 : Math.sign(value),
  );
  const odd = [0, 1, 2].find(
    (k) => [0, 1, 2].every((i) => i === k || signs[i] * signs[k] <= 0) && signs[k] !== 0,
  );
  const others = [0, 1, 2].filter((i) => i !== odd);
  if (odd === undefined || others.every((i) => signs[i] === 0)) {
    return [];
  }
  return [1, -1].map((side) =>
    Array.from({length: points}, (_, step) => {
      const angle = (2 * Math.PI * step) / (points - 1);
      const parts = [Math.cos(angle), Math.sin(angle)];
      const square = others.reduce((sum, i, place) => sum + values[i] * parts[place] ** 2, 0) / -values[odd];
      const at = scaled(vectors[odd], side * Math.sqrt(Math.max(square, 0)));
      return unit(
        at.map((value, i) => value + parts[0] * vectors[others[0]][i] + parts[1] * vectors[others[1]][i]),
      );
    }),
  );
}

// These curves in pieces on which the zeros attract, or do not: [{points, attracts}].
export const zeroPieces = (S_BC, attracting) =>
  zeroCurves(S_BC).flatMap((curve) => pieces(curve, attracting));

function pieces(curve, holds) {
  const found = [];
  for (const at of curve) {
    const attracts = holds(at);
    const last = found[found.length - 1];
    if (last && last.attracts === attracts) {
      last.points.push(at);
    } else {
      const before = last && last.points[last.points.length - 1];
      found.push({attracts, points: before ? [before, at] : [at]});
    }
  }
  return found;
}

// Eigenvalues and unit eigenvectors of a symmetric 3 x 3 matrix, by Jacobi's rotations.
function eigenvectors(S) {
  let A = S.map((row) => [...row]);
  let V = [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ];
  for (let sweep = 0; sweep < 30; sweep++) {
    for (const [p, q] of [
      [0, 1],
      [0, 2],
      [1, 2],
    ]) {
      if (A[p][q] !== 0) {
        const angle = Math.atan2(2 * A[p][q], A[q][q] - A[p][p]) / 2;
        const R = [
          [1, 0, 0],
          [0, 1, 0],
          [0, 0, 1],
        ];
        R[p][p] = R[q][q] = Math.cos(angle);
        R[p][q] = Math.sin(angle);
        R[q][p] = -R[p][q];
        A = product(product(transpose(R), A), R);
        A[p][q] = A[q][p] = 0;
        V = product(V, R);
      }
    }
  }
  return {values: A.map((row, i) => row[i]), vectors: transpose(V)};
}

export class SphereView {
  constructor(canvas, {turned, grabbed, dragged, dropped}) {
    this.canvas = canvas;
    this.turn = 35;
    this.tilt = 28;
    this.tokens = [];
    const turning = (name) => (value) => {
      this[name] = value;
      turned();
    };
    this.turnField = slider(turning("turn"), {min: -180, max: 180, step: 1, value: this.turn});
    this.tiltField = slider(turning("tilt"), {min: -90, max: 90, step: 1, value: this.tilt});
    const fields = [labelled("Turn", this.turnField), labelled("Tilt", this.tiltField)];
    this.controls = element("div", {class: "lab-row"}, ...fields);
    let held = null;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      const token = this.tokenAt(event);
      held = {token, x: event.clientX, y: event.clientY};
      if (token !== null) {
        grabbed(token);
      }
    });
    canvas.addEventListener("pointermove", (event) => {
      canvas.style.cursor = held || this.tokenAt(event) === null ? "move" : "pointer";
      if (!held) {
        return;
      }
      if (held.token !== null) {
        dragged(held.token, this.pointAt(event));
        return;
      }
      const {radius} = this.frame();
      const degrees = 180 / (Math.PI * radius);
      this.turn -= (event.clientX - held.x) * degrees;
      this.tilt = clamp(this.tilt + (event.clientY - held.y) * degrees, -90, 90);
      [held.x, held.y] = [event.clientX, event.clientY];
      this.turnField.value = String(((((this.turn + 180) % 360) + 360) % 360) - 180);
      this.tiltField.value = String(this.tilt);
      turned();
    });
    const release = () => {
      if (held && held.token !== null) {
        dropped(held.token);
      }
      held = null;
    };
    canvas.addEventListener("pointerup", release);
    canvas.addEventListener("pointercancel", release);
  }

  frame() {
    const {clientWidth: width, clientHeight: height} = this.canvas;
    return {x: width / 2, y: height / 2, radius: Math.min(width, height) / 2 - 14};
  }

  // The token on the near side that is at the pointer, or null.
  tokenAt(event) {
    const {x, y, radius} = this.frame();
    const box = this.canvas.getBoundingClientRect();
    const reach = event.pointerType === "touch" ? 24 : 13;
    const axes = camera(this.turn, this.tilt);
    let [best, least] = [null, reach];
    this.tokens.forEach((token, l) => {
      const [right, up, out] = times(axes, token);
      const apart = Math.hypot(
        box.left + x + right * radius - event.clientX,
        box.top + y - up * radius - event.clientY,
      );
      if (out > -0.05 && apart < least) {
        [best, least] = [l, apart];
      }
    });
    return best;
  }

  // The point of the near side at the pointer; beyond the rim, the nearest of the rim.
  pointAt(event) {
    const {x, y, radius} = this.frame();
    const box = this.canvas.getBoundingClientRect();
    const right = (event.clientX - box.left - x) / radius;
    const up = (box.top + y - event.clientY) / radius;
    const out = Math.sqrt(Math.max(0, 1 - right * right - up * up));
    return unit(times(transpose(camera(this.turn, this.tilt)), [right, up, out]));
  }

  // paths: for each token its points, flat; `upto`: how many of them are past. zeros: [{points,
  // attracts}]. equilibria, and families, as equilibria() gives them.
  draw(colours, {paths, upto, tokens, zeros, equilibria, selected, dark}) {
    this.tokens = tokens;
    const {pen} = prepared(this.canvas);
    const {x, y, radius} = this.frame();
    const axes = camera(this.turn, this.tilt);
    const seen = (point) => {
      const [right, up, out] = times(axes, point);
      return [x + right * radius, y - up * radius, out];
    };
    disc(pen, x, y, radius, {fill: colours.ground, stroke: colours.faint, width: 1});
    const far = (out) => out < 0;
    for (const back of [true, false]) {
      pen.globalAlpha = back ? 0.28 : 1;
      this.axes(pen, colours, seen, back);
      for (const {points, attracts} of zeros) {
        pen.strokeStyle = colours.zero;
        pen.lineWidth = attracts ? 2.6 : 1.2;
        pen.setLineDash(attracts ? [7, 4] : [2, 4]);
        stroke(pen, points.map(seen), back, far);
      }
      pen.setLineDash([]);
      for (const {basis} of equilibria.filter((one) => one.basis)) {
        pen.strokeStyle = colours.degenerate;
        pen.lineWidth = 3;
        stroke(pen, circleOf(basis).map(seen), back, far);
      }
      paths.forEach((path, l) => {
        pen.strokeStyle = tokenColour(colours, l, dark);
        const flat = flatten(path, axes, x, y, radius);
        pen.lineWidth = l === 0 ? 2.4 : 1.3;
        strokeFlat(pen, flat, 0, upto, back);
        pen.globalAlpha *= 0.3;
        strokeFlat(pen, flat, Math.max(upto - 1, 0), path.length / 3, back);
        pen.globalAlpha = back ? 0.28 : 1;
      });
      for (const one of equilibria.filter(({point}) => point)) {
        const [right, up, out] = seen(one.point);
        if (far(out) === back) {
          mark(pen, colours, right, up, one);
        }
      }
      tokens.forEach((token, l) => {
        const [right, up, out] = seen(token);
        if (far(out) === back) {
          disc(pen, right, up, l === 0 ? 6 : 4.5, {
            fill: tokenColour(colours, l, dark),
            stroke: colours.ground,
            width: 1,
          });
          if (l === selected) {
            disc(pen, right, up, 9, {stroke: colours.ink, width: 1.5});
          }
        }
      });
    }
    pen.globalAlpha = 1;
  }

  axes(pen, colours, seen, back) {
    pen.fillStyle = colours.ink;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    for (let d = 0; d < 3; d++) {
      for (const side of [1, -1]) {
        const place = [0, 1, 2].map((i) => (i === d ? side * 1.0 : 0));
        const [right, up, out] = seen(place);
        if (out < 0 === back) {
          const away = 15 / Math.max(Math.hypot(right - this.frame().x, up - this.frame().y), 15);
          const text = `${side < 0 ? "−" : ""}e${"₁₂₃"[d]}`;
          pen.fillText(text, right - (right - this.frame().x) * away, up - (up - this.frame().y) * away);
        }
      }
    }
  }
}

// A mark by stability: disc, ring, diamond; a square where linearisation does not decide.
function mark(pen, colours, x, y, {stability}) {
  if (stability === "stable") {
    disc(pen, x, y, 5.5, {fill: colours.stable, stroke: colours.ink, width: 1});
  } else if (stability === "unstable") {
    disc(pen, x, y, 5, {fill: colours.ground, stroke: colours.unstable, width: 2.4});
  } else {
    pen.save();
    pen.translate(x, y);
    pen.rotate(stability === "saddle" ? Math.PI / 4 : 0);
    pen.fillStyle = stability === "saddle" ? colours.saddle : colours.degenerate;
    pen.fillRect(-4.2, -4.2, 8.4, 8.4);
    pen.strokeStyle = colours.ink;
    pen.lineWidth = 1;
    pen.strokeRect(-4.2, -4.2, 8.4, 8.4);
    pen.restore();
  }
}

function circleOf(basis) {
  if (basis.length > 2) {
    return []; // the whole sphere rests
  }
  return Array.from({length: 91}, (_, step) => {
    const angle = (2 * Math.PI * step) / 90;
    return basis[0].map((value, i) => Math.cos(angle) * value + Math.sin(angle) * basis[1][i]);
  });
}

function stroke(pen, points, back, far) {
  pen.beginPath();
  let down = false;
  for (const [right, up, out] of points) {
    const on = far(out) === back;
    if (on) {
      pen[down ? "lineTo" : "moveTo"](right, up);
    }
    down = on;
  }
  pen.stroke();
}

function flatten(path, [right, up, out], x, y, radius) {
  const found = new Float32Array(path.length);
  for (let i = 0; i < path.length; i += 3) {
    const [a, b, c] = [path[i], path[i + 1], path[i + 2]];
    found[i] = x + radius * (right[0] * a + right[1] * b + right[2] * c);
    found[i + 1] = y - radius * (up[0] * a + up[1] * b + up[2] * c);
    found[i + 2] = out[0] * a + out[1] * b + out[2] * c;
  }
  return found;
}

function strokeFlat(pen, flat, begin, end, back) {
  pen.beginPath();
  let down = false;
  for (let i = 3 * begin; i < 3 * end; i += 3) {
    const on = flat[i + 2] < 0 === back;
    if (on) {
      pen[down ? "lineTo" : "moveTo"](flat[i], flat[i + 1]);
    }
    down = on;
  }
  pen.stroke();
}

// Longitude and latitude in degrees, and back.
export const toAngles = ([a, b, c]) => [
  (Math.atan2(b, a) * 180) / Math.PI,
  (Math.asin(clamp(c, -1, 1)) * 180) / Math.PI,
];

export function fromAngles(longitude, latitude) {
  const [l, b] = [(longitude * Math.PI) / 180, (latitude * Math.PI) / 180];
  return [Math.cos(b) * Math.cos(l), Math.cos(b) * Math.sin(l), Math.sin(b)];
}
