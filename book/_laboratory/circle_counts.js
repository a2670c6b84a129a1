// Counts of first tokens by their limits, as they are drawn, against the shares that are proved.

import {button, element, labelled, percent, select} from "./controls.js";
import {KINDS, limitIndex, portrait, shares} from "./circle.js";
import {gaussian} from "./flow.js";

const PER_FRAME = 400; // draws
const ALL = 200000;

const LAWS = [
  ["none", "nothing"],
  ["starts", "uniform starts, these parameters"],
  ["definite", "uniform starts, random definite forms and steps"],
  ["Gaussian", "uniform starts, Gaussian forms and steps"],
];

const square = () => [0, 1].map(() => [0, 1].map(() => gaussian(Math.random)));

// A matrix times its transpose.
const definite = (A) => A.map((row) => A.map((other) => row[0] * other[0] + row[1] * other[1]));

export class Counts {
  // proved: shares by law and kind. chosen(law), wanted(): when a frame is.
  constructor(root, proved, {chosen, wanted}) {
    this.root = root;
    this.proved = proved;
    this.wanted = wanted;
    this.running = false;
    this.field = select(LAWS, chosen);
    this.runner = button("Run the counts", () => this.run(!this.running));
    this.bars = element("div", {class: "lab-bars"});
    this.text = element("p", {class: "lab-caption", role: "status"});
    const row = element("div", {class: "lab-row"}, labelled("Count", this.field), this.runner);
    this.place = element("div", {}, row, this.bars, this.text);
  }

  // Begins again where what is counted is another.
  reset({S_BC, S_Delta, draws}, own) {
    const key = JSON.stringify([S_BC, S_Delta, draws]);
    if (this.key === key) {
      return;
    }
    Object.assign(this, {key, own, law: draws, counts: {}, total: 0});
    this.field.value = draws;
    this.runner.disabled = draws === "none";
    this.run(false);
    this.show();
  }

  run(on) {
    this.running = on;
    this.runner.textContent = on ? "Stop the counts" : "Run the counts";
    this.wanted();
  }

  // What a frame adds.
  add() {
    for (let draw = 0; draw < PER_FRAME; draw++) {
      const one = this.drawn();
      const end = one.zeros[limitIndex(one, 2 * Math.PI * Math.random())];
      const kind = end ? end.kinds.join(", ") : "at rest";
      this.counts[kind] = (this.counts[kind] ?? 0) + 1;
    }
    this.total += PER_FRAME;
    if (this.total >= ALL) {
      this.run(false);
    }
    this.show();
  }

  drawn() {
    if (this.law === "starts") {
      return this.own;
    }
    return portrait(this.law === "definite" ? definite(square()) : square(), square());
  }

  show() {
    const proved = this.law === "starts" ? shares(this.own) : this.proved[this.law];
    const kinds = this.law === "none" ? [] : [...new Set([...KINDS, ...Object.keys(this.counts)])];
    this.bars.replaceChildren(...kinds.map((kind) => this.bar(kind, proved[kind] ?? 0)));
    if (!this.running) {
      const counted = `${this.total} first tokens counted.`;
      this.text.textContent = this.law === "none" ? "Choose what is counted." : counted;
    }
    this.root.dataset.counted = String(this.total);
  }

  bar(kind, expected) {
    const count = this.counts[kind] ?? 0;
    const share = count / Math.max(this.total, 1);
    const text = `${kind}: ${count}, ${percent(share)}; proved ${percent(expected)}`;
    return element(
      "div",
      {},
      element("span", {}, text),
      element(
        "div",
        {class: "lab-bar", "aria-hidden": "true"},
        element("div", {style: `width: ${100 * share}%`}),
        element("span", {style: `left: ${100 * expected}%`}),
      ),
    );
  }
}
