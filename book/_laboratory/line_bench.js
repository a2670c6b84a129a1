// The bench of the line: the earlier paper's scalar tokens.

import {blowUpInTime, predict, simulate, timeBounds} from "./line.js";
import {chart, decades, isDark, powerOfTen, rounds, tokenColour} from "./drawing.js";
import {
  element,
  fillTable,
  image,
  labelled,
  matrixFields,
  numberField,
  select,
  set,
  shown,
} from "./controls.js";
import {Bench} from "./bench.js";
import {MOST} from "./parameters.js";

const SAMPLES = 321;
const LEFT = 6; // decades of the time that is left before a blow-up
const PER_DECADE = Math.LN10;

const ENDS = [
  ["rest", "rest: mu = 0, or no token moves"],
  ["to zero", "to zero: mu < 0; no slower than one over the root of t"],
  ["slow", "slow: mu > 0 and all s x < 0; to infinity like ln t"],
  ["blow-up", "blow-up: mu > 0 and some s x > 0, or s = 0; infinity at a finite time"],
];

const CONSTANTS = {
  rest: "",
  "to zero": "lim t x²",
  slow: "lim |s x| / ln t",
  "blow-up": "lim ln|x| / ln|first|",
};

export class LineBench extends Bench {
  constructor(root, data) {
    super(root, "line", data);
    this.axis = "time";
    this.canvas = image("lab-chart lab-tall");
    this.caption = element("p", {class: "lab-caption"});
    this.ends = element("ul", {class: "lab-ends"});
    this.table = element("table", {class: "lab-results"}, element("caption", {}, "Tokens"));
    root.replaceChildren(
      ...this.presetControls(),
      element(
        "div",
        {class: "lab-figures"},
        element("div", {class: "lab-figure"}, this.canvas, this.caption),
      ),
      this.clockControls(),
      this.speaker.region,
      this.wrong,
      this.ends,
      this.parameterControls(),
      element("div", {class: "lab-scrolls", tabindex: 0, role: "group", "aria-label": "Tokens"}, this.table),
      this.copyControls(),
    );
  }

  parameterControls() {
    const names = ["mu", "s", "a"];
    this.numbers = matrixFields({
      name: "Parameters",
      rows: 1,
      columns: 3,
      headings: names,
      title: (_, j) => names[j],
      read: (_, j) => this.state[names[j]],
      write: (_, j, value) => this.edit({[names[j]]: value}),
      chosen: (entry) => this.chosen({...entry, positive: entry.title === "a"}),
    });
    this.tokensPlace = element("div", {class: "lab-scrolls"});
    this.countField = numberField((value) => this.recount(Math.round(value)), {
      min: 1,
      max: MOST.line,
      step: 1,
    });
    this.axisField = select(
      [
        ["time", "time"],
        ["left", "time that is left"],
      ],
      (value) => {
        this.axis = value;
        this.ask("draw");
      },
    );
    this.axisControl = labelled("Axis", this.axisField);
    return element(
      "fieldset",
      {},
      element("legend", {}, "Parameters and tokens"),
      this.numbers.table,
      this.tokensPlace,
      this.entryControls(),
      element(
        "div",
        {class: "lab-row"},
        labelled("Number of tokens", this.countField),
        this.untilControl("Until ln t =", {min: -20, max: MOST.logTime, step: 1}),
        this.axisControl,
      ),
    );
  }

  recount(count) {
    const more = Array.from({length: Math.max(0, count - this.state.x0.length)}, () => 0.5);
    this.edit({x0: [...this.state.x0, ...more].slice(0, count)});
  }

  loaded() {
    this.tokens = null;
    this.chosen(this.numbers.first);
  }

  show() {
    const {x0, until} = this.state;
    if (!this.tokens || this.tokens.count !== x0.length) {
      this.tokens = matrixFields({
        name: "x at the start, first token first",
        rows: 1,
        columns: x0.length,
        title: (_, j) => `x of token ${j + 1}`,
        read: (_, j) => this.state.x0[j],
        write: (_, j, value) => this.edit({x0: this.state.x0.map((old, l) => (l === j ? value : old))}),
        chosen: (entry) => this.chosen(entry),
      });
      this.tokens.count = x0.length;
      this.tokensPlace.replaceChildren(this.tokens.table);
    }
    this.numbers.show();
    this.tokens.show();
    set(this.countField, x0.length);
    set(this.untilField, until);
    if (document.activeElement !== this.entrySlider) {
      this.entrySlider.value = String(this.entry.read());
    }
  }

  compute() {
    this.said = predict(this.state);
    this.blows = this.said.kind === "blow-up";
    const {time} = this.said;
    const last = this.blows ? Math.log(time) + Math.log1p(-(10 ** -LEFT)) : this.state.until;
    this.run = simulate(this.state, last);
    const begin = Math.min(this.run.logT0 - 3, this.run.end - PER_DECADE);
    this.logTimeAt = (place) =>
      this.blows
        ? Math.log(time) + Math.log1p(-(10 ** (-LEFT * place)))
        : begin + (this.run.end - begin) * place;
    this.samples = Array.from({length: SAMPLES}, (_, i) => {
      const place = i / (SAMPLES - 1);
      const logTime = this.logTimeAt(place);
      return {place, logTime, logs: this.run.at(logTime)};
    });
    this.lives = null;
    this.reached = null;
    this.sayRun();
    this.ends.replaceChildren(
      ...ENDS.map(([kind, text]) =>
        element("li", kind === this.said.kind ? {class: "lab-now", "aria-current": "true"} : {}, text),
      ),
    );
    this.axisControl.hidden = !this.blows;
    clearTimeout(this.checking);
    this.checking = setTimeout(() => this.check(), 200);
  }

  // What takes longer: the blow-up by another integration, each token's own life, the error.
  check() {
    const {x0} = this.state;
    const finer = simulate(this.state, this.run.end, {rtol: 1e-12, atol: 1e-14});
    let worst = 0;
    for (const {logTime, logs} of this.samples.filter((_, i) => i % 20 === 0)) {
      const other = finer.at(logTime);
      logs.forEach((value, l) => {
        const off = value === other[l] ? 0 : Math.abs(value - other[l]) / Math.max(1, Math.abs(value));
        worst = Math.max(worst, off);
      });
    }
    this.notes.textContent = `DOP853 in a clock of its own: ${this.run.evaluations} evaluations at a relative tolerance of 1e-10. Error of ln|x|, against a run at 1e-12: ${worst.toExponential(0)}.`;
    this.root.dataset.error = String(worst);
    if (this.blows) {
      this.reached = blowUpInTime(this.state);
      let end = Infinity;
      this.lives = x0.map((_, l) => {
        const own = predict({...this.state, x0: x0.slice(0, l + 1)});
        end = Math.min(end, own.time);
        return end;
      });
      this.sayRun();
    }
    this.ask("draw");
  }

  sayRun() {
    const {kind, time, first, diverging} = this.said;
    const parts = [];
    if (kind === "rest") {
      parts.push("Rest: nothing moves.");
    } else if (kind === "to zero") {
      parts.push("All tokens that move tend to zero.");
    } else if (kind === "slow") {
      parts.push("Slow growth: all tokens that move tend to infinity like ln t, and none blows up.");
    } else {
      const [low, high] = timeBounds(this.state);
      const digits = (value) => Number(value.toPrecision(9));
      parts.push(
        `Blow-up, predicted at t = ${digits(time)}, between the bounds ${shown(low)} and ${shown(high)}.`,
      );
      parts.push(
        first === null ? "Several tokens blow up at once, to rounding." : `Token ${first + 1} is first.`,
      );
      parts.push(`Diverging then: ${diverging.map((l) => l + 1).join(", ")} of ${this.state.x0.length}.`);
      if (this.reached) {
        const off = Math.abs(this.reached.time / time - 1);
        parts.push(
          `Reached, by another integration in t: ${digits(this.reached.time)}, off by ${off.toExponential(0)} of it.`,
        );
        this.root.dataset.reached = String(this.reached.time);
      }
    }
    if (!["arrived", "blow-up"].includes(this.run.status)) {
      parts.push(`The run stopped at ln t = ${shown(this.run.end)}: ${this.run.status}.`);
    }
    this.runText = parts.join(" ");
  }

  draw(colours) {
    const {x0} = this.state;
    const left = this.blows && this.axis === "left";
    const {time, kind, constants, diverging} = this.said;
    const toX = ({place, logTime}) =>
      left ? LEFT * place : this.blows ? Math.exp(logTime) : logTime / PER_DECADE;
    const x = this.samples.map(toX);
    const curves = x0.map((value, l) => ({
      x,
      y: this.samples.map(({logs}) => logs[l] / PER_DECADE),
      colour: tokenColour(colours, l, isDark()),
      width: l === this.said.first ? 3 : 1.6,
    }));
    const finite = curves.flatMap(({y}) => y.filter(Number.isFinite));
    const [low, high] = finite.length ? [Math.min(...finite) - 0.3, Math.max(...finite) + 0.3] : [-1, 1];
    const logTime = this.logTimeAt(this.place);
    const now = this.run.at(logTime);
    const end = this.blows && !left ? time * 1.02 : x[x.length - 1];
    const elapsed = left
      ? Array.from({length: LEFT + 1}, (_, k) => ({value: k, text: powerOfTen(-k)}))
      : this.blows
        ? rounds(0, end)
        : decades(x[0], end);
    chart(this.canvas, colours, {
      x: [x[0], end],
      y: [low, high],
      curves,
      now: toX({place: this.place, logTime}),
      marks: this.blows && !left ? [{value: time, colour: colours.zero}] : [],
      xLabel: left ? "share of the time that is left" : "t",
      ticks: {
        x: elapsed,
        y:
          high - low > 2
            ? decades(low, high)
            : rounds(low, high).map((tick) => ({...tick, text: `${shown(10 ** tick.value)}`})),
      },
    });
    const t = this.blows ? `t = ${shown(Math.exp(logTime))}` : `ln t = ${shown(logTime)}`;
    this.clockText.textContent = t;
    this.scrubber.value = String(this.place);
    this.scrubber.setAttribute("aria-valuetext", t);
    this.caption.textContent = `Moduli of the tokens on a logarithmic axis${this.blows ? "; the vertical line in orange is the predicted blow-up, the token that is first is thick" : ""}.`;
    this.canvas.setAttribute("aria-label", `${this.caption.textContent} ${this.runText}`);
    const value = (l) => (x0[l] === 0 ? "0" : magnitude(Math.sign(x0[l]), now[l]));
    const rows = x0.map((start, l) => [
      String(l + 1),
      shown(start),
      start === 0 ? "zero" : this.state.s * start > 0 ? "grows" : this.state.s === 0 ? "stays" : "shrinks",
      value(l),
      constants[l] === null ? "no closed form" : kind === "rest" ? "" : shown(constants[l]),
      this.blows ? (this.lives ? shown(this.lives[l]) : "…") : diverging.includes(l) ? "infinite" : "",
    ]);
    fillTable(
      this.table,
      [
        "token",
        "start",
        "step as |x| grows",
        "now",
        CONSTANTS[kind],
        this.blows ? "end of its own life" : "",
      ],
      rows,
    );
    this.speaker.say(`${this.runText} At ${t} the tokens are ${x0.map((_, l) => value(l)).join(", ")}.`);
  }
}

// A number given by its sign and the logarithm of its modulus, also beyond every float.
function magnitude(sign, log) {
  const decimal = log / PER_DECADE;
  if (Math.abs(decimal) < 5) {
    return shown(sign * Math.exp(log));
  }
  const exponent = Math.floor(decimal);
  return `${sign < 0 ? "-" : ""}${(10 ** (decimal - exponent)).toFixed(2)}e${exponent}`;
}
