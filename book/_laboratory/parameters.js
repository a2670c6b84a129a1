// The states of the benches: their parameters, what is taken, and their addresses. An address is the
// page's fragment: #bench=line&mu=0.5&..., or #bench=line&preset=name for a preset as it is.

import {normalised} from "./flow.js";

export const MOST = {tokens: 32, until: 1e4, entry: 100, line: 16, logTime: 1000};

const matrix = (size) => ({rows: size, columns: size, limit: MOST.entry});
const choice = (...values) => ({values});

// Of each bench: its parameters by kind. `many` rows are between 1 and so many.
const SHAPES = {
  sphere: {
    S_BC: matrix(3),
    S_Delta: matrix(3),
    a: {columns: 3, limit: MOST.entry, positive: true},
    x: {many: MOST.tokens, columns: 3, limit: 10},
    alone: choice(false, true),
    until: {limit: MOST.until, positive: true},
    clock: choice("linear", "logarithmic"),
  },
  circle: {
    S_BC: matrix(2),
    S_Delta: matrix(2),
    starts: {many: MOST.tokens, limit: 1000},
    draws: choice("none", "starts", "definite", "Gaussian"),
  },
  line: {
    mu: {limit: MOST.entry},
    s: {limit: MOST.entry},
    a: {limit: MOST.entry, positive: true},
    x0: {many: MOST.line, limit: 1000},
    until: {limit: MOST.logTime},
  },
};

const BENCHES = Object.keys(SHAPES);

// The state, if every parameter is as its shape says; else an Error that names the one that is not.
export function checked(bench, state) {
  const found = {};
  for (const [name, shape] of Object.entries(SHAPES[bench])) {
    found[name] = one(name, state[name], shape);
  }
  if (bench === "sphere") {
    if (found.x.some((token) => token.every((value) => value === 0))) {
      throw new Error("x: holds a token at the origin, which has no direction");
    }
    // One that is a unit vector stays as it is, to the bit: addresses lead back to themselves.
    const off = (token) => Math.abs(token.reduce((sum, value) => sum + value * value, -1)) > 1e-12;
    found.x = found.x.map((token) => (off(token) ? Array.from(normalised(token, 3)) : token));
  }
  return found;
}

function one(name, value, shape) {
  if (shape.values) {
    if (!shape.values.includes(value)) {
      throw new Error(`${name}: got ${value}, takes ${shape.values.join(" or ")}`);
    }
    return value;
  }
  const {rows, columns, many} = shape;
  if (rows || (many && columns)) {
    const wanted = rows ?? `1 to ${many}`;
    const right =
      Array.isArray(value) && (rows ? value.length === rows : value.length > 0 && value.length <= many);
    if (!right || !value.every((row) => Array.isArray(row) && row.length === columns)) {
      throw new Error(`${name}: takes ${wanted} rows of ${columns} numbers`);
    }
    return value.map((row) => row.map((entry) => numberOf(name, entry, shape)));
  }
  if (columns || many) {
    const right =
      Array.isArray(value) && (columns ? value.length === columns : value.length > 0 && value.length <= many);
    if (!right) {
      throw new Error(`${name}: takes ${columns ?? `1 to ${many}`} numbers`);
    }
    return value.map((entry) => numberOf(name, entry, shape));
  }
  return numberOf(name, value, shape);
}

function numberOf(name, value, {limit, positive}) {
  if (typeof value !== "number" || !Number.isFinite(value)) {
    throw new Error(`${name}: got ${value}, takes a number`);
  }
  if (Math.abs(value) > limit) {
    throw new Error(`${name}: got ${value}, takes numbers up to ${limit}`);
  }
  if (positive && value <= 0) {
    throw new Error(`${name}: got ${value}, takes a positive number`);
  }
  return value;
}

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

// The fragment of a state, without its #: the preset's name where the state is a preset's.
export function address(bench, state, presets = []) {
  const preset = presets.find((each) => each.bench === bench && same(checked(bench, each.state), state));
  if (preset) {
    return `bench=${bench}&preset=${preset.name}`;
  }
  const text = (value) =>
    Array.isArray(value) ? value.map(text).join(Array.isArray(value[0]) ? ";" : ",") : String(value);
  return [`bench=${bench}`, ...Object.keys(SHAPES[bench]).map((name) => `${name}=${text(state[name])}`)].join(
    "&",
  );
}

// {bench, state, preset} of a fragment; null where it is no address of a bench. An Error that says what
// is wrong with it otherwise.
export function parsed(fragment, presets = []) {
  const pairs = new URLSearchParams(fragment.replace(/^#/, ""));
  if (!pairs.has("bench")) {
    return null;
  }
  const bench = pairs.get("bench");
  if (!BENCHES.includes(bench)) {
    throw new Error(`bench: got ${bench}, takes ${BENCHES.join(", ")}`);
  }
  if (pairs.has("preset")) {
    const preset = presets.find((each) => each.bench === bench && each.name === pairs.get("preset"));
    if (!preset) {
      throw new Error(`preset: the ${bench} has none of the name ${pairs.get("preset")}`);
    }
    return {bench, state: checked(bench, preset.state), preset: preset.name};
  }
  const state = {};
  for (const [name, shape] of Object.entries(SHAPES[bench])) {
    if (!pairs.has(name)) {
      throw new Error(`${name}: is missing`);
    }
    state[name] = read(pairs.get(name), shape);
  }
  return {bench, state: checked(bench, state), preset: null};
}

// Text as a number; what is no number stays text, for the check to name it.
const asNumber = (text) => (text.trim() === "" || Number.isNaN(Number(text)) ? text : Number(text));

function read(text, {values, rows, columns, many}) {
  if (values) {
    return values.find((value) => String(value) === text) ?? text;
  }
  if (rows || (many && columns)) {
    return text.split(";").map((row) => row.split(",").map(asNumber));
  }
  return columns || many ? text.split(",").map(asNumber) : asNumber(text);
}
