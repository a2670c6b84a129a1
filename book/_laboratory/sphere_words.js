// What is said of a run on the sphere, in words and rows of a table.

import {formKind, PROBLEMS, seenRate, tally} from "./sphere.js";
import {point, shown} from "./controls.js";

// The sentences that do not depend on the time that is shown.
export function sentences({state, run, said, curves, equilibria}) {
  const {limit, rates, signs} = said;
  const seen = (l) => curves[l] && seenRate(run.times, curves[l]);
  const rated = (rate, found) => `rate ${shown(rate)} predicted${found ? `, ${shown(found)} seen` : ""}`;
  const parts = [`The form is ${formKind(state.S_BC)}. Equilibria of type 1: ${tally(equilibria)}.`];
  if (limit.argument === "at rest") {
    parts.push("The first token rests.");
  } else if (limit.point) {
    const kind = limit.kind === "equal steps" ? "point of equal steps" : limit.kind;
    const rate = limit.rate ? `, ${rated(limit.rate, seen(0))}` : "";
    parts.push(
      `The first token tends to ${point(limit.point)}, a ${kind} (argument: ${limit.argument})${rate}.`,
    );
  } else {
    parts.push("No limit of the first token is known: it may cycle, or take longer.");
  }
  const last = state.x.length - 1;
  if (!state.alone && last > 0) {
    const minus = signs ? signs.filter((sign) => sign < 0).length : 0;
    const antipodes = minus ? `, ${minus} of them at its antipode` : "";
    parts.push(
      signs
        ? `All tokens end with the first${antipodes}.`
        : "By the end not all tokens have joined the first.",
    );
    if (rates && rates[last]) {
      parts.push(`Their distances: ${rated(rates[last], seen(last))}.`);
    }
  }
  if (run.status !== "arrived") {
    parts.push(`The run stopped at t = ${shown(run.end)}: ${PROBLEMS[run.status]}.`);
  }
  return parts.join(" ");
}

export function distancesCaption({alone}, curves) {
  if (!curves.some(Boolean)) {
    return "No distance to show: the limit of the first token is not known.";
  }
  if (alone) {
    return "Distance of the first token to its limit, and (dashed) the rate that is predicted.";
  }
  const others = "Distance of each token to the first one, or to its antipode where it ends there";
  return `${others}, and of the first to its limit (thick); dashed, the rates that are predicted.`;
}

const complex = ([re, im]) =>
  im === 0 ? shown(re) : `${shown(re)} ${im < 0 ? "−" : "+"} ${shown(Math.abs(im))}i`;

export const equilibriumRows = (equilibria) =>
  equilibria.map((one) =>
    one.point
      ? [point(one.point), one.kind, one.eigenvalues.map(complex).join("; "), one.stability]
      : [`all unit vectors spanned by ${one.basis.map(point).join(" and ")}`, "family", "", "undecided"],
  );
