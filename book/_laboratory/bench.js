// What the three benches have in common: presets, the clock, the address, Python, and their frames.

import {button, element, labelled, numberField, select, set, slider, Speaker} from "./controls.js";
import {address, checked} from "./parameters.js";
import {asPython} from "./python.js";
import {palette} from "./drawing.js";

const PER_SECOND = 1 / 10; // the clock's length that a second of playing goes through

export class Bench {
  constructor(root, name, {presets, titles}) {
    this.root = root;
    this.name = name;
    this.presets = presets.filter((one) => one.bench === name);
    this.all = presets;
    this.titles = titles;
    this.place = 0;
    this.playing = false;
    this.needs = new Set();
    this.work = [];
    this.speaker = new Speaker();
    this.wrong = element("p", {class: "lab-wrong", role: "alert"});
    root.classList.add("lab-bench");
    root.setAttribute("aria-label", `The ${name}`);
    root.setAttribute("role", "group");
    new ResizeObserver(() => this.ask("draw")).observe(root);
    // Nothing is drawn, and nothing plays, where nobody looks.
    new IntersectionObserver(([entry]) => {
      this.visible = entry.isIntersecting;
      this.ask("draw");
    }).observe(root);
  }

  // The list of presets by page, and what the chosen one shows.
  presetControls() {
    const groups = new Map();
    for (const one of this.presets) {
      const page = one.places[0].split("#")[0];
      groups.set(page, [...(groups.get(page) ?? []), one]);
    }
    this.chooser = select([["", "your own"]], (name) => name && this.choose(name));
    for (const [page, ones] of groups) {
      const options = ones.map(({name, title}) => element("option", {value: name}, title));
      this.chooser.append(
        element("optgroup", {label: page.replace("/", ": ").replaceAll(/[-_]/g, " ")}, ...options),
      );
    }
    this.about = element("p", {class: "lab-about"});
    return [labelled("Preset", this.chooser), this.about];
  }

  choose(name, kept = false) {
    const one = this.presets.find((preset) => preset.name === name);
    this.load(checked(this.name, one.state), kept);
  }

  // Takes a state, from its start. `kept`: the address that the page has stays.
  load(state, kept = false) {
    this.state = state;
    this.place = 0;
    this.play(false);
    this.wrong.textContent = "";
    this.loaded();
    this.changed(kept);
  }

  // After every change of the parameters.
  changed(kept = false) {
    const preset = this.presets.find(
      (one) => JSON.stringify(checked(this.name, one.state)) === JSON.stringify(this.state),
    );
    this.chooser.value = preset ? preset.name : "";
    const links = (preset?.places ?? []).map((place) => {
      const [page, label] = place.split("#");
      return element("a", {href: `${page}.html#${label}`}, this.titles[place]);
    });
    this.about.replaceChildren(
      preset ? `${preset.about} In the book: ` : "Parameters of your own.",
      ...links.flatMap((link, i) => (i ? [", ", link] : [link])),
      preset ? "." : "",
    );
    this.code.textContent = asPython(this.name, this.state);
    this.show();
    this.ask("compute");
    clearTimeout(this.written);
    if (kept) {
      return;
    }
    this.written = setTimeout(() => {
      history.replaceState(null, "", `#${address(this.name, this.state, this.all)}`);
    }, 300);
  }

  // Play, scrub.
  clockControls() {
    this.player = button("Play", () => this.play(!this.playing), {class: "lab-play"});
    this.scrubber = slider(
      (value) => {
        this.play(false);
        this.place = value;
        this.ask("draw");
      },
      {min: 0, max: 1, step: 0.001},
    );
    this.clockText = element("output", {class: "lab-time"});
    return element("div", {class: "lab-clock"}, this.player, labelled("Time", this.scrubber), this.clockText);
  }

  play(on) {
    if (on && this.place >= 1) {
      this.place = 0;
    }
    this.playing = on;
    this.player.textContent = on ? "Pause" : "Play";
    this.ask("draw");
  }

  // One slider for the entry of a matrix that had the focus last.
  entryControls() {
    this.entrySlider = slider(
      (value) => {
        this.entry.write(Number(value.toFixed(2)));
        set(this.entry.field, this.entry.read());
      },
      {min: -4, max: 4, step: 0.05},
    );
    this.entryLabel = labelled("Entry", this.entrySlider);
    return this.entryLabel;
  }

  chosen(entry) {
    this.entry = entry;
    this.entryLabel.querySelector("label").textContent = `Slider of ${entry.title}`;
    const most = Math.max(4, 2 * Math.abs(entry.read()));
    this.entrySlider.min = String(entry.positive ? 0.05 : -most);
    this.entrySlider.max = String(most);
    this.entrySlider.value = String(entry.read());
  }

  // Python, the address, and how it was computed.
  copyControls() {
    this.code = element("code");
    const copied = element("span", {role: "status", class: "lab-copied"});
    const copy = async (text, what) => {
      try {
        await navigator.clipboard.writeText(text);
        copied.textContent = `${what} copied.`;
      } catch {
        copied.textContent = "This browser does not let the page copy: the text can be selected.";
        details.open = true;
      }
    };
    const details = element(
      "details",
      {class: "lab-python"},
      element("summary", {}, "The same in Python"),
      element("pre", {tabindex: 0, "aria-label": "Python"}, this.code),
    );
    this.notes = element("p", {class: "lab-notes"});
    const link = () => {
      const [page] = location.href.split("#");
      return `${page}#${address(this.name, this.state, this.all)}`;
    };
    return element(
      "div",
      {class: "lab-copy"},
      button("Copy as Python", () => copy(this.code.textContent, "Python")),
      button("Copy the address of this state", () => copy(link(), "The address")),
      copied,
      details,
      this.notes,
    );
  }

  untilControl(text, attributes) {
    this.untilField = numberField((value) => this.edit({until: value}), attributes);
    return labelled(text, this.untilField);
  }

  edit(parts) {
    try {
      this.state = checked(this.name, {...this.state, ...parts});
      this.wrong.textContent = "";
    } catch (error) {
      this.wrong.textContent = error.message;
      return;
    }
    this.changed();
  }

  ask(what) {
    this.needs.add(what);
    if (!this.waiting) {
      this.waiting = true;
      requestAnimationFrame((now) => this.frame(now));
    }
  }

  // One frame: what has changed is computed, and drawn; its work is kept, in milliseconds.
  frame(now) {
    this.waiting = false;
    const begin = performance.now();
    if (this.needs.delete("compute")) {
      try {
        this.compute();
      } catch (error) {
        this.wrong.textContent = error.message;
        this.computed = false;
        return;
      }
      this.computed = true;
      this.needs.add("draw");
    }
    if (!this.visible || !this.computed) {
      return;
    }
    this.needs.delete("draw");
    if (this.playing) {
      const passed = Math.min((now - (this.before ?? now)) / 1000, 0.1);
      this.place = Math.min(1, this.place + passed * PER_SECOND);
      this.scrubber.value = String(this.place);
      if (this.place >= 1) {
        this.play(false);
      }
    }
    this.before = this.playing ? now : undefined;
    this.draw(palette(this.root));
    this.work.push(performance.now() - begin);
    this.work.splice(0, this.work.length - 600);
    this.root.dataset.work = (this.work.reduce((sum, ms) => sum + ms, 0) / this.work.length).toFixed(3);
    this.root.dataset.worst = Math.max(...this.work).toFixed(3);
    this.root.dataset.frames = String(Number(this.root.dataset.frames ?? 0) + 1);
    if (this.playing) {
      this.ask("draw");
    }
  }
}
