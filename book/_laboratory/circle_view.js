// The circle with its arcs, zeros and tokens, on a canvas.

import {disc, isDark, prepared, tokenColour} from "./drawing.js";

// colourOf: of a list of kinds. angles: of the tokens, `selected` one of them.
export function drawCircle(canvas, colours, {portrait, colourOf, angles, selected}) {
  const {pen, width, height} = prepared(canvas);
  const [x, y, radius] = [width / 2, height / 2, Math.min(width, height) / 2 - 34];
  const at = (angle, r = radius) => [x + r * Math.cos(angle), y - r * Math.sin(angle)];
  const {zeros, signs} = portrait;
  pen.lineWidth = 5;
  if (!zeros.length) {
    disc(pen, x, y, radius, {stroke: colours.degenerate, width: 5});
  }
  zeros.forEach((zero, i) => {
    const next = (i + 1) % zeros.length;
    const end = next ? zeros[next].angle : 2 * Math.PI;
    pen.strokeStyle = colourOf(zeros[signs[i] > 0 ? next : i].kinds);
    pen.beginPath();
    pen.arc(x, y, radius, -end, -zero.angle);
    pen.stroke();
    arrow(pen, at((zero.angle + end) / 2), (zero.angle + end) / 2, signs[i], pen.strokeStyle);
  });
  pen.fillStyle = colours.ink;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  ["e₁", "e₂", "−e₁", "−e₂"].forEach((text, quarter) =>
    pen.fillText(text, ...at((quarter * Math.PI) / 2, radius + 20)),
  );
  for (const {angle, kinds, stability} of zeros) {
    const place = at(angle);
    const colour = colourOf(kinds);
    disc(pen, ...place, 7, {
      fill: stability === "attracting" ? colour : colours.ground,
      stroke: colour,
      width: 2.5,
    });
    if (stability.includes("from")) {
      const below = stability.endsWith("below");
      pen.fillStyle = colour;
      pen.beginPath();
      pen.arc(...place, 7, -angle + (below ? 0 : Math.PI), -angle + (below ? Math.PI : 2 * Math.PI));
      pen.fill();
    }
  }
  angles.forEach((angle, l) => {
    const place = at(angle, radius - 16);
    disc(pen, ...place, 6, {fill: tokenColour(colours, l, isDark()), stroke: colours.ground, width: 1});
    if (l === selected) {
      disc(pen, ...place, 9, {stroke: colours.ink});
    }
  });
}

function arrow(pen, [x, y], angle, sign, colour) {
  pen.save();
  pen.translate(x, y);
  pen.rotate(-angle - (sign * Math.PI) / 2);
  pen.fillStyle = colour;
  pen.beginPath();
  pen.moveTo(10, 0);
  pen.lineTo(-6, -7);
  pen.lineTo(-6, 7);
  pen.fill();
  pen.restore();
}
