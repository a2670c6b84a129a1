// The lines of Python that do with the library what a bench shows.

const list = (value) => (Array.isArray(value) ? `[${value.map(list).join(", ")}]` : String(value));

const tensor = (value) => `torch.tensor(${list(value)}, dtype=torch.float64)`;

const matrix = (name, rows) =>
  `${name} = torch.tensor(\n    [\n${rows.map((row) => `        ${list(row)},\n`).join("")}    ],\n    dtype=torch.float64,\n)`;

// Times of the clock, as the benches take them: `count` of them.
const clockTimes = ({until, clock}, count) =>
  clock === "linear"
    ? `times = torch.linspace(0, ${until}, ${count}, dtype=torch.float64)`
    : `times = torch.linspace(0, math.log1p(${until}), ${count}, dtype=torch.float64).expm1()`;

function sphere(state) {
  const {S_BC, S_Delta, a, x, alone, clock} = state;
  const flow = alone
    ? "FirstTokenFlow(S_BC, S_Delta)  # every token is a first token, eq (9)"
    : "MambaFlow(S_BC, S_Delta, a)";
  return [
    ...(clock === "logarithmic" ? ["import math", ""] : []),
    "import torch",
    "",
    "from tokensphere.first_token import equilibria, predict_limit",
    `from tokensphere.flow import ${alone ? "FirstTokenFlow" : "MambaFlow"}, simulate`,
    "",
    matrix("S_BC", S_BC),
    `${matrix("S_Delta", S_Delta)}  # column d is S_{Delta,d}`,
    ...(alone ? [] : [`a = ${tensor(a)}`]),
    matrix("x", x),
    "x = x / x.norm(dim=-1, keepdim=True)",
    "",
    `flow = ${flow}`,
    clockTimes(state, 401),
    "path = simulate(flow, x, times)  # path.tokens: (time, token, 3)",
    "print(path.tokens[-1])",
    "print(predict_limit(S_BC, S_Delta, x[0]))",
    "for point in equilibria(S_BC, S_Delta):",
    "    print(point)",
    "",
  ].join("\n");
}

function circle({S_BC, S_Delta, starts}) {
  return [
    "from tokensphere import circle",
    "",
    `S_BC = ${list(S_BC)}`,
    `S_Delta = ${list(S_Delta)}  # column d is S_{Delta,d}`,
    "portrait = circle.portrait(S_BC, S_Delta)  # taken exactly as these numbers are",
    "for zero in portrait.zeros:",
    "    print(float(zero.angle), zero.kinds, zero.order, zero.stability)",
    `starts = ${list(starts)}  # angles`,
    "limits = [float(portrait.limit(start).angle) for start in starts]",
    "shares = {kinds: float(share) for kinds, share in portrait.shares().items()}",
    "print(limits, shares)",
    "print({kind: float(share) for kind, share in circle.gaussian_shares().items()})",
    "",
  ].join("\n");
}

function line({mu, s, a, x0, until}) {
  return [
    "import math",
    "",
    "import torch",
    "",
    "from tokensphere.one_dimension import predict, simulate",
    "",
    `mu, s, a = ${mu}, ${s}, ${a}`,
    `x0 = ${list(x0)}`,
    "prediction = predict(mu, s, a, x0)",
    "print(prediction)",
    "# Up to a millionth of the time before a blow-up.",
    `last = math.log(prediction.time) - 1e-6 if prediction.kind == "blow-up" else ${until}`,
    "log_times = torch.linspace(last - 10, last, 201, dtype=torch.float64)",
    "path = simulate(mu, s, a, x0, log_times)  # path.log_x: ln |x|, (time, token)",
    "print(path.x[-1])",
    "",
  ].join("\n");
}

const WRITERS = {sphere, circle, line};

export const asPython = (bench, state) => WRITERS[bench](state);
