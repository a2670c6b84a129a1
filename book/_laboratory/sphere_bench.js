// The bench of the sphere: D = 3, up to 32 tokens.

import {drawAttention, drawDistances} from "./sphere_charts.js";
import {gaussian, randomTokens} from "./flow.js";
import {MOST} from "./parameters.js";
import {
  button,
  checkbox,
  element,
  fillTable,
  image,
  labelled,
  matrixFields,
  numberField,
  point,
  select,
  set,
  shown,
  slider,
} from "./controls.js";
import {difference, distances, follow, predicted, SAMPLES, speedOf, timeAt, tokenOf} from "./sphere.js";
import {equilibria, spectrum} from "./first_token.js";
import {fromAngles, SphereView, toAngles, zeroPieces} from "./sphere_view.js";
import {Bench} from "./bench.js";
import {distancesCaption, equilibriumRows, sentences} from "./sphere_words.js";
import {isDark} from "./drawing.js";

const LONG = 700; // milliseconds of a run whose error is not measured
const ROUGH = 1e-6; // the tolerance while something is dragged

export class SphereBench extends Bench {
  constructor(root, data) {
    super(root, "sphere", data);
    this.selected = 0;
    this.channel = "mean";
    this.canvas = image("lab-sphere");
    this.chartCanvas = image("lab-chart");
    this.heatCanvas = image("lab-heat");
    this.view = new SphereView(this.canvas, {
      turned: () => this.ask("draw"),
      grabbed: (token) => this.grab(token),
      dragged: (token, at) => this.move(token, at, true),
      dropped: () => this.drop(),
    });
    this.table = element(
      "table",
      {class: "lab-results"},
      element("caption", {}, "Equilibria of the first token, type 1"),
    );
    root.replaceChildren(
      ...this.presetControls(),
      element(
        "div",
        {class: "lab-figures"},
        element("div", {class: "lab-figure"}, this.canvas, this.view.controls, this.legend()),
        element(
          "div",
          {class: "lab-figure"},
          this.chartCanvas,
          this.chartText(),
          this.heatCanvas,
          this.heatText(),
        ),
      ),
      this.clockControls(),
      this.speaker.region,
      this.wrong,
      this.parameterControls(),
      this.tokenControls(),
      element(
        "div",
        {class: "lab-scrolls", tabindex: 0, role: "group", "aria-label": "Equilibria of the first token"},
        this.table,
      ),
      this.copyControls(),
    );
  }

  legend() {
    return element(
      "p",
      {class: "lab-caption"},
      "Drag a token, or the sphere. Equilibria of the first token: disc stable, diamond saddle, ring unstable, square undecided. Dashed: zeros of the form, heavy where they attract. The first token is thick.",
    );
  }

  chartText() {
    this.chartCaption = element("p", {class: "lab-caption"});
    return this.chartCaption;
  }

  heatText() {
    this.channelField = select(
      [
        ["mean", "mean of the channels"],
        ["0", "channel 1"],
        ["1", "channel 2"],
        ["2", "channel 3"],
      ],
      (value) => {
        this.channel = value;
        this.ask("draw");
      },
    );
    this.heatCaption = element("p", {class: "lab-caption"});
    return element("div", {}, labelled("Attention", this.channelField), this.heatCaption);
  }

  parameterControls() {
    const entryOf = (name, row) => ({
      read: (i, j) => (row ? this.state[name][j] : this.state[name][i][j]),
      write: (i, j, value) => {
        const copy = structuredClone(this.state[name]);
        if (row) {
          copy[j] = value;
        } else {
          copy[i][j] = value;
        }
        this.edit({[name]: copy});
      },
    });
    const made = (name, title, rows, headings = null) => {
      const entry = entryOf(name, rows === 1);
      const found = matrixFields({
        name: title,
        rows,
        columns: 3,
        headings,
        ...entry,
        title: rows > 1 ? null : (_, j) => `${title}, entry ${j + 1}`,
        chosen: (one) => this.chosen({...one, positive: name === "a"}),
      });
      return found;
    };
    this.matrices = [
      made("S_BC", "S_BC", 3),
      made("S_Delta", "S_Delta", 3, ["column 1", "column 2", "column 3"]),
      made("a", "a", 1),
    ];
    const random = (...shape) => {
      const [rows, columns] = shape;
      return Array.from({length: rows}, () =>
        Array.from({length: columns}, () => Number(gaussian(Math.random).toFixed(3))),
      );
    };
    return element(
      "fieldset",
      {class: "lab-parameters"},
      element("legend", {}, "Parameters"),
      element("div", {class: "lab-row"}, ...this.matrices.map(({table}) => table)),
      this.entryControls(),
      element(
        "div",
        {class: "lab-row"},
        button("S_BC = I", () =>
          this.edit({
            S_BC: [
              [1, 0, 0],
              [0, 1, 0],
              [0, 0, 1],
            ],
          }),
        ),
        button("S_BC at random", () => this.edit({S_BC: random(3, 3)})),
        button("S_Delta at random", () => this.edit({S_Delta: random(3, 3)})),
        button("One step for all channels", () =>
          this.edit({
            S_Delta: this.state.S_Delta.map((row) => [row[0], row[0], row[0]]),
            a: [0, 0, 0].map(() => this.state.a[0]),
          }),
        ),
      ),
    );
  }

  tokenControls() {
    this.countField = numberField((value) => this.recount(Math.round(value)), {
      min: 1,
      max: MOST.tokens,
      step: 1,
    });
    this.tokenField = select([], (value) => {
      this.selected = Number(value);
      this.showToken();
      this.ask("draw");
    });
    const angled = () =>
      this.move(this.selected, fromAngles(this.longitude.valueAsNumber, this.latitude.valueAsNumber), false);
    this.longitude = slider(angled, {min: -180, max: 180, step: 1});
    this.latitude = slider(angled, {min: -90, max: 90, step: 1});
    this.aloneField = checkbox((value) => this.edit({alone: value}));
    this.clockField = select(
      [
        ["linear", "linear"],
        ["logarithmic", "logarithmic"],
      ],
      (clock) => this.edit({clock}),
    );
    const scatter = () => {
      const x = randomTokens(this.state.x.length, 3, Math.random);
      this.edit({x: this.state.x.map((_, l) => tokenOf(x, l))});
    };
    return element(
      "fieldset",
      {},
      element("legend", {}, "Tokens and clock"),
      element(
        "div",
        {class: "lab-row"},
        labelled("Number of tokens", this.countField),
        button("New tokens", scatter),
        button("Start from here", () => this.restart()),
        labelled("each a first token", this.aloneField),
      ),
      element(
        "div",
        {class: "lab-row"},
        labelled("Token", this.tokenField),
        labelled("Longitude", this.longitude),
        labelled("Latitude", this.latitude),
      ),
      element(
        "div",
        {class: "lab-row"},
        this.untilControl("Until t =", {min: 0.1, max: MOST.until}),
        labelled("Clock", this.clockField),
      ),
    );
  }

  recount(count) {
    const more = randomTokens(Math.max(0, count - this.state.x.length), 3, Math.random);
    const x = [...this.state.x, ...Array.from({length: more.length / 3}, (_, l) => tokenOf(more, l))];
    this.edit({x: x.slice(0, count)});
  }

  loaded() {
    this.selected = 0;
    this.chosen(this.entry ?? this.matrices[0].first);
  }

  // Fields as the state has them.
  show() {
    const {x, alone, until, clock} = this.state;
    this.matrices.forEach(({show}) => show());
    set(this.countField, x.length);
    set(this.untilField, until);
    this.aloneField.checked = alone;
    this.clockField.value = clock;
    this.selected = Math.min(this.selected, x.length - 1);
    if (this.tokenField.options.length !== x.length) {
      this.tokenField.replaceChildren(...x.map((_, l) => element("option", {value: l}, String(l + 1))));
    }
    if (document.activeElement !== this.entrySlider && this.entry) {
      this.entrySlider.value = String(this.entry.read());
    }
    this.showToken();
  }

  showToken() {
    this.tokenField.value = String(this.selected);
    const [longitude, latitude] = toAngles(this.state.x[this.selected]);
    for (const [field, value] of [
      [this.longitude, longitude],
      [this.latitude, latitude],
    ]) {
      if (document.activeElement !== field) {
        field.value = String(value);
      }
    }
  }

  // Takes the present tokens as the start.
  restart() {
    if (this.place > 0) {
      const now = this.now();
      this.place = 0;
      this.scrubber.value = "0";
      this.edit({x: this.state.x.map((_, l) => tokenOf(now, l).map((value) => Number(value.toFixed(6))))});
    }
  }

  grab(token) {
    this.play(false);
    this.selected = token;
    this.restart();
    this.showToken();
  }

  move(token, at, rough) {
    this.restart();
    this.rough = rough;
    const x = [...this.state.x];
    x[token] = at.map((value) => Number(value.toFixed(4)));
    this.edit({x});
  }

  drop() {
    this.rough = false;
    this.ask("compute");
  }

  compute() {
    const {S_BC, S_Delta} = this.state;
    const begin = performance.now();
    this.run = follow(this.state, this.rough ? ROUGH : 1e-9);
    this.paths = this.state.x.map((_, l) => {
      const path = new Float32Array(3 * SAMPLES);
      this.run.tokens.forEach((tokens, i) => path.set(tokens.subarray(3 * l, 3 * l + 3), 3 * i));
      return path;
    });
    const key = JSON.stringify([S_BC, S_Delta]);
    if (this.key !== key) {
      this.key = key;
      this.equilibria = equilibria(S_BC, S_Delta);
      this.zeros = zeroPieces(S_BC, (y) => spectrum(S_BC, S_Delta, y)[1][0] < 0);
      fillTable(this.table, ["point", "kind", "eigenvalues", "stability"], equilibriumRows(this.equilibria));
    }
    if (!this.rough || !this.said) {
      this.said = predicted(this.state, this.run);
    }
    this.curves = distances(this.state, this.run, this.said);
    this.sayRun();
    clearTimeout(this.checking);
    const took = performance.now() - begin;
    if (took > LONG) {
      this.notes.textContent = `DOP853, order 8: ${this.run.steps} steps in ${shown(took / 1000)} seconds. Its error is not measured: that would take longer still.`;
    } else if (!this.rough) {
      this.checking = setTimeout(() => this.check(), 150);
    }
  }

  // How far off the run is: against one at a hundredth of its tolerance.
  check() {
    const {run} = this;
    this.error = difference(run, follow(this.state, 1e-11));
    this.notes.textContent = `DOP853, order 8: ${run.steps} steps, ${run.evaluations} evaluations at a relative tolerance of 1e-9. Error, against a run at 1e-11: ${this.error.toExponential(0)}.`;
    this.root.dataset.error = String(this.error);
  }

  // The sentences that do not depend on the time.
  sayRun() {
    const {state, run, said, curves} = this;
    this.runText = sentences({state, run, said, curves, equilibria: this.equilibria});
    const tokens = state.x.length === 1 ? "a token, its trajectory" : `${state.x.length} tokens, their trajectories`;
    const what = `The unit sphere with ${tokens} and equilibria.`;
    this.canvas.setAttribute("aria-label", `${what} ${this.runText}`);
    this.chartCaption.textContent = distancesCaption(state, curves);
  }

  now() {
    const t = timeAt({...this.state, until: this.run.end}, this.place);
    return this.run.at(Math.min(t, this.run.end));
  }

  draw(colours) {
    const t = timeAt({...this.state, until: this.run.end}, this.place);
    const now = this.now();
    const tokens = this.state.x.map((_, l) => tokenOf(now, l));
    this.view.draw(colours, {
      paths: this.paths,
      upto: Math.round(this.place * (SAMPLES - 1)) + 1,
      tokens,
      zeros: this.zeros,
      equilibria: this.equilibria,
      selected: this.selected,
      dark: isDark(),
    });
    this.drawCharts(colours, now);
    this.clockText.textContent = `t = ${shown(t)}`;
    this.scrubber.value = String(this.place);
    this.scrubber.setAttribute("aria-valuetext", `t = ${shown(t)}`);
    const speed = speedOf(this.state.S_BC, this.state.S_Delta, tokens[0]);
    this.speaker.say(
      `${this.runText} At t = ${shown(t)} the first token is at ${point(tokens[0])} and moves at ${shown(speed)}.`,
    );
  }

  drawCharts(colours, tokens) {
    const {limit, rates} = this.said;
    drawDistances(this.chartCanvas, colours, {
      times: this.run.times,
      curves: this.curves,
      rates: {first: limit.rate, others: rates && rates[rates.length - 1]},
      clock: this.state.clock,
      place: this.place,
    });
    this.chartCanvas.setAttribute(
      "aria-label",
      `Distances on a logarithmic axis, against time. ${this.runText}`,
    );
    const said = drawAttention(this.heatCanvas, colours, {tokens, channel: this.channel, state: this.state});
    this.heatCaption.textContent = said;
    this.heatCanvas.setAttribute(
      "aria-label",
      `Attention of every token, as a query, to those up to it. ${said}`,
    );
  }
}
