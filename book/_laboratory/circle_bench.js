// The bench of the circle: first tokens for D = 2, their portrait and counts of their limits.

import {angularField, KINDS, limitIndex, modulo, portrait, shares} from "./circle.js";
import {
  button,
  element,
  fillTable,
  image,
  labelled,
  matrixFields,
  numberField,
  percent,
  select,
  set,
  shown,
  slider,
} from "./controls.js";
import {chart, rounds} from "./drawing.js";
import {Bench} from "./bench.js";
import {Counts} from "./circle_counts.js";
import {drawCircle} from "./circle_view.js";
import {gaussian} from "./flow.js";
import {integrate} from "./integrate.js";
import {MOST} from "./parameters.js";

const UNTIL = 40; // the time that the clock goes through
const DEGREE = Math.PI / 180;

export class CircleBench extends Bench {
  constructor(root, data) {
    super(root, "circle", data);
    this.counts = new Counts(root, data.shares, {
      chosen: (draws) => this.edit({draws}),
      wanted: () => this.ask("draw"),
    });
    this.selected = 0;
    this.canvas = image("lab-circle");
    this.chartCanvas = image("lab-chart");
    this.table = element("table", {class: "lab-results"}, element("caption", {}, "Equilibria"));
    this.dragging();
    root.replaceChildren(
      ...this.presetControls(),
      element(
        "div",
        {class: "lab-figures"},
        element(
          "div",
          {class: "lab-figure"},
          this.canvas,
          element(
            "p",
            {class: "lab-caption"},
            "Drag a token. Arcs have the colour of what they tend to: a coordinate vector (blue), equal steps (green), a zero of the form (orange), several at once (violet). Filled points attract, hollow ones repel, half-filled ones attract from one side.",
          ),
        ),
        element(
          "div",
          {class: "lab-figure"},
          this.chartCanvas,
          element("p", {class: "lab-caption"}, "The angular speed F, by the angle."),
          this.counts.place,
        ),
      ),
      this.clockControls(),
      this.speaker.region,
      this.wrong,
      this.parameterControls(),
      element(
        "div",
        {class: "lab-scrolls", tabindex: 0, role: "group", "aria-label": "Equilibria on the circle"},
        this.table,
      ),
      this.copyControls(),
    );
  }

  dragging() {
    let held = null;
    const angleAt = (event) => {
      const box = this.canvas.getBoundingClientRect();
      const [x, y] = [event.clientX - box.left - box.width / 2, box.top + box.height / 2 - event.clientY];
      return Math.atan2(y, x);
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      const angle = angleAt(event);
      const off = this.now().map((at) => Math.abs(Math.sin((at - angle) / 2)));
      held = off.indexOf(Math.min(...off));
      this.selected = held;
      this.play(false);
      this.turnTo(angle);
    });
    this.canvas.addEventListener("pointermove", (event) => held !== null && this.turnTo(angleAt(event)));
    for (const name of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(name, () => (held = null));
    }
  }

  // Puts the selected token at an angle, at time zero.
  turnTo(angle) {
    this.place = 0;
    const starts = [...this.state.starts];
    starts[this.selected] = Number(modulo(angle).toFixed(3));
    this.edit({starts});
  }

  parameterControls() {
    const made = (name, headings = null) =>
      matrixFields({
        name,
        rows: 2,
        columns: 2,
        headings,
        read: (i, j) => this.state[name][i][j],
        write: (i, j, value) => {
          const copy = structuredClone(this.state[name]);
          copy[i][j] = value;
          this.edit({[name]: copy});
        },
        chosen: (entry) => this.chosen(entry),
      });
    this.matrices = [made("S_BC"), made("S_Delta", ["column 1", "column 2"])];
    const random = () => [0, 1].map(() => [0, 1].map(() => Number(gaussian(Math.random).toFixed(3))));
    this.countField = numberField((value) => this.recount(Math.round(value)), {
      min: 1,
      max: MOST.tokens,
      step: 1,
    });
    this.tokenField = select([], (value) => {
      this.selected = Number(value);
      this.show();
      this.ask("draw");
    });
    this.angleField = slider((degrees) => this.turnTo(degrees * DEGREE), {min: 0, max: 360, step: 1});
    return element(
      "fieldset",
      {},
      element("legend", {}, "Parameters and tokens"),
      element("div", {class: "lab-row"}, ...this.matrices.map(({table}) => table)),
      this.entryControls(),
      element(
        "div",
        {class: "lab-row"},
        button("S_BC at random", () => this.edit({S_BC: random()})),
        button("S_Delta at random", () => this.edit({S_Delta: random()})),
      ),
      element(
        "div",
        {class: "lab-row"},
        labelled("Number of tokens", this.countField),
        labelled("Token", this.tokenField),
        labelled("Angle in degrees", this.angleField),
      ),
    );
  }

  recount(count) {
    const more = Array.from({length: Math.max(0, count - this.state.starts.length)}, () =>
      Number((2 * Math.PI * Math.random()).toFixed(3)),
    );
    this.edit({starts: [...this.state.starts, ...more].slice(0, count)});
  }

  loaded() {
    this.selected = 0;
    this.chosen(this.matrices[0].first);
  }

  show() {
    const {starts} = this.state;
    this.matrices.forEach(({show}) => show());
    set(this.countField, starts.length);
    this.selected = Math.min(this.selected, starts.length - 1);
    if (this.tokenField.options.length !== starts.length) {
      this.tokenField.replaceChildren(...starts.map((_, l) => element("option", {value: l}, String(l + 1))));
    }
    this.tokenField.value = String(this.selected);
    if (document.activeElement !== this.angleField) {
      this.angleField.value = String(modulo(starts[this.selected]) / DEGREE);
    }
    if (document.activeElement !== this.entrySlider) {
      this.entrySlider.value = String(this.entry.read());
    }
  }

  compute() {
    const {S_BC, S_Delta, starts} = this.state;
    this.portrait = portrait(S_BC, S_Delta);
    this.counts.reset(this.state, this.portrait);
    const field = (t, y, out) => y.forEach((angle, l) => (out[l] = angularField(S_BC, S_Delta, angle)));
    this.run = integrate(field, 0, starts, UNTIL);
    const {zeros, everywhere} = this.portrait;
    const degrees = (angle) => `${(angle / DEGREE).toFixed(2)}°`;
    fillTable(
      this.table,
      ["angle", "kind", "order", "stability", "approach"],
      zeros.map((zero) => [
        degrees(zero.angle),
        zero.kinds.join(" and "),
        String(zero.order),
        zero.stability,
        zero.stability === "repelling"
          ? ""
          : zero.order === 1
            ? `exp(−${shown(Math.abs(zero.leading))} t)`
            : `like t^(−1/${zero.order - 1})`,
      ]),
    );
    const parts = [];
    if (everywhere.length) {
      parts.push(`Every point rests: ${everywhere.join(" and ")} everywhere.`);
    } else {
      const attracting = zeros.filter(({stability}) => stability === "attracting").length;
      parts.push(`${zeros.length} equilibria, ${attracting} attracting.`);
      const found = Object.entries(shares(this.portrait)).map(
        ([kinds, share]) => `${kinds} ${percent(share)}`,
      );
      parts.push(`Shares of the circle by limit: ${found.join(", ")}.`);
      const ends = starts.map((start) => degrees(zeros[limitIndex(this.portrait, start)].angle));
      parts.push(`${starts.length > 1 ? "The tokens tend" : "The token tends"} to ${ends.join(", ")}.`);
    }
    this.runText = parts.join(" ");
    clearTimeout(this.checking);
    this.checking = setTimeout(() => {
      const finer = integrate(field, 0, starts, UNTIL, {rtol: 1e-11, atol: 1e-14});
      const off = Math.max(...Array.from(finer.y, (angle, l) => Math.abs(angle - this.run.y[l])));
      this.notes.textContent = `Portrait and limits in closed form. Tokens by DOP853 at a relative tolerance of 1e-9; error, against a run at 1e-11: ${off.toExponential(0)} radians.`;
      this.root.dataset.error = String(off);
    }, 150);
  }

  now() {
    return Array.from(this.run.at(UNTIL * this.place));
  }

  draw(colours) {
    const {S_BC, S_Delta, starts} = this.state;
    const colourOf = (kinds) =>
      kinds.length > 1
        ? colours.degenerate
        : [colours.vertex, colours.equal, colours.zero][KINDS.indexOf(kinds[0])];
    drawCircle(this.canvas, colours, {
      portrait: this.portrait,
      colourOf,
      angles: this.now(),
      selected: this.selected,
    });
    const x = Array.from({length: 361}, (_, degree) => degree);
    const y = x.map((degree) => angularField(S_BC, S_Delta, degree * DEGREE));
    const most = Math.max(...y.map(Math.abs), 1e-9) * 1.1;
    chart(this.chartCanvas, colours, {
      x: [0, 360],
      y: [-most, most],
      curves: [
        {x: [0, 360], y: [0, 0], colour: colours.ink, width: 1},
        {x, y, colour: colours.first, width: 2},
      ],
      marks: this.portrait.zeros.map((zero) => ({value: zero.angle / DEGREE, colour: colourOf(zero.kinds)})),
      xLabel: "angle in degrees",
      ticks: {
        x: [0, 90, 180, 270, 360].map((value) => ({value, text: String(value)})),
        y: rounds(-most, most, 4),
      },
    });
    this.chartCanvas.setAttribute(
      "aria-label",
      `The angular speed, between ${shown(-most / 1.1)} and ${shown(most / 1.1)}. ${this.runText}`,
    );
    const t = UNTIL * this.place;
    this.clockText.textContent = `t = ${shown(t)}`;
    this.scrubber.value = String(this.place);
    this.scrubber.setAttribute("aria-valuetext", `t = ${shown(t)}`);
    this.canvas.setAttribute(
      "aria-label",
      `The circle with ${starts.length === 1 ? "a first token" : `${starts.length} first tokens`} and the equilibria. ${this.runText}`,
    );
    const at = this.now().map((angle) => `${(modulo(angle) / DEGREE).toFixed(1)}°`);
    this.speaker.say(
      `${this.runText} At t = ${shown(t)} ${at.length > 1 ? "they are" : "it is"} at ${at.join(", ")}.`,
    );
    if (this.counts.running) {
      this.counts.add();
      this.ask("draw");
    }
  }
}
