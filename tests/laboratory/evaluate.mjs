// Evaluates the laboratory's modules on what Python asks for: JSON in, {task: [arguments, ...]}, JSON
// out, {task: [answer, ...]}. JSON has no infinity: it is written as a string.
import {readFileSync} from "node:fs";

const folder = new URL("../../book/_laboratory/", import.meta.url);
const load = (name) => import(new URL(`${name}.js`, folder));
const [flow, first, ends, consensus, circle, line, integrate, parameters, python, sphere] = await Promise.all(
  [
    "flow",
    "first_token",
    "ends",
    "consensus",
    "circle",
    "line",
    "integrate",
    "parameters",
    "python",
    "sphere",
  ].map(load),
);
const {presets} = JSON.parse(readFileSync(new URL("presets.json", folder), "utf-8"));

const flat = (x) => Float64Array.from(x.flat());

const tasks = {
  field: ({x, S_BC, S_Delta, a, alone}) => [
    ...flow.mambaField(S_BC, S_Delta, a, alone)(flat(x), new Float64Array(x.length * a.length)),
  ],
  attention: ({x, S_BC, S_Delta, a}) => flow.attention(flat(x), S_BC, S_Delta, a),
  trajectory: ({x, S_BC, S_Delta, a, alone, times, rtol}) => {
    const field = flow.mambaField(S_BC, S_Delta, a, alone);
    const run = integrate.integrate((t, y, out) => field(y, out), 0, flat(x), times.at(-1), {
      rtol,
      atol: rtol / 1000,
    });
    return times.map((t) => [...flow.normalised(run.at(t), a.length)]);
  },
  equilibria: ({S_BC, S_Delta}) =>
    first.equilibria(S_BC, S_Delta).map((one) => ({
      ...one,
      jacobian: one.point && first.jacobian(S_BC, S_Delta, one.point),
    })),
  spectrum: ({S_BC, S_Delta, y}) => first.spectrum(S_BC, S_Delta, y),
  limit: ({S_BC, S_Delta, y, horizon}) => ends.predictLimit(S_BC, S_Delta, y, horizon),
  consensus: ({S_BC, S_Delta, a, x1, signs}) => ({
    spectrum: consensus.consensusSpectrum(S_BC, S_Delta, a, x1, signs),
    rates: consensus.consensusRates(S_BC, S_Delta, a, x1, signs),
  }),
  angular: ({S_BC, S_Delta, angle}) => circle.angularField(S_BC, S_Delta, angle),
  portrait: ({S_BC, S_Delta, starts}) => {
    const found = circle.portrait(S_BC, S_Delta);
    return {
      ...found,
      shares: circle.shares(found),
      limits: starts.map((start) => circle.limitIndex(found, start)),
    };
  },
  velocity: ({x, ...parameters}) => [...line.velocity(x, parameters)],
  line: (parameters) => {
    const said = line.predict(parameters);
    const blows = said.kind === "blow-up";
    const reached = blows ? line.blowUpInTime(parameters) : null;
    return {
      ...said,
      bounds: blows ? line.timeBounds(parameters) : null,
      reached: reached && {time: reached.time, first: reached.first},
    };
  },
  run: ({logTimes, ...parameters}) => {
    const run = line.simulate(parameters, logTimes.at(-1));
    return {status: run.status, end: run.end, logs: logTimes.map((time) => run.at(time))};
  },
};

// What the page shows at the end of a state, as its benches compute it.
const endOf = {
  sphere: (state) => [...sphere.follow(state).tokens.at(-1)],
  line: (state) => {
    const said = line.predict(state);
    const last = said.kind === "blow-up" ? Math.log(said.time) - 1e-6 : state.until;
    return line.simulate(state, last).at(last);
  },
  circle: (state) => {
    const found = circle.portrait(state.S_BC, state.S_Delta);
    return state.starts.map((start) =>
      found.zeros.length ? found.zeros[circle.limitIndex(found, start)].angle : start,
    );
  },
};

Object.assign(tasks, {
  address: ({bench, state, presets: named}) => {
    const known = named ? presets : [];
    const own = parameters.checked(bench, state);
    const fragment = parameters.address(bench, own, known);
    const back = parameters.parsed(`#${fragment}`, known);
    return {fragment, back: JSON.stringify(back.state) === JSON.stringify(own)};
  },
  parsed: (fragment) => {
    try {
      return parameters.parsed(fragment, presets);
    } catch (error) {
      return {error: error.message};
    }
  },
  python: ({bench, state}) => {
    const own = parameters.checked(bench, state);
    return {text: python.asPython(bench, own), end: endOf[bench](own)};
  },
});

const asked = JSON.parse(readFileSync(0, "utf-8"));
const answers = Object.fromEntries(
  Object.entries(asked).map(([task, inputs]) => [task, inputs.map((input) => tasks[task](input))]),
);
const plain = (key, value) => (typeof value === "number" && !Number.isFinite(value) ? String(value) : value);
process.stdout.write(JSON.stringify(answers, plain));
