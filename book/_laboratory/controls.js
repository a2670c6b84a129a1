// Native controls, made in one way: each has a label that a screen reader says.

let count = 0;

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) {
      made.addEventListener(key.slice(2), value);
    } else if (value === true) {
      made.setAttribute(key, "");
    } else if (value !== false && value !== null) {
      made.setAttribute(key, value);
    }
  }
  made.append(...children);
  return made;
}

// A canvas; what it shows is said when it is drawn, which is when it comes in sight.
export const image = (name) => element("canvas", {class: name, role: "img", "aria-label": "Not drawn yet"});

// A number as it is shown: four digits.
export const shown = (value) =>
  Number.isFinite(value) ? String(Number(value.toPrecision(4))) : String(value);

export const percent = (share) => `${(100 * share).toFixed(1)}%`;

export const point = (values) =>
  `(${values.map((value) => (Math.abs(value) < 5e-4 ? "0" : value.toFixed(3))).join(", ")})`;

// A control in its label.
export function labelled(text, control) {
  control.id ||= `laboratory-${++count}`;
  const label = element("label", {for: control.id}, text);
  return element("span", {class: "lab-control"}, label, control);
}

export function button(text, act, attributes = {}) {
  return element("button", {type: "button", onclick: act, ...attributes}, text);
}

export function select(options, act) {
  const made = element("select", {onchange: () => act(made.value)});
  made.append(...options.map(([value, text]) => element("option", {value}, text)));
  return made;
}

export function checkbox(act) {
  const made = element("input", {type: "checkbox", onchange: () => act(made.checked)});
  return made;
}

// A number field; act is called with a finite number only, others are left for the reader to mend.
export function numberField(act, attributes = {}) {
  const made = element("input", {type: "number", step: "any", ...attributes});
  made.addEventListener("input", () => {
    const value = made.valueAsNumber;
    // A step is for the arrow keys: numbers between steps are taken too.
    const {rangeUnderflow, rangeOverflow} = made.validity;
    const fine = Number.isFinite(value) && !rangeUnderflow && !rangeOverflow;
    made.setAttribute("aria-invalid", String(!fine));
    if (fine) {
      act(value);
    }
  });
  return made;
}

export function slider(act, attributes = {}) {
  const made = element("input", {type: "range", step: "any", ...attributes});
  made.addEventListener("input", () => act(made.valueAsNumber));
  return made;
}

// Fields of a matrix, or of a row of numbers, in a table; the entry that had the focus last has a
// slider. `read` and `write` are of one entry, (row, column); `title` names it.
export function matrixFields({name, rows, columns, headings = null, title = null, read, write, chosen}) {
  const fields = [];
  const table = element("table", {class: "lab-matrix"}, element("caption", {}, name));
  if (headings) {
    table.append(
      element("thead", {}, element("tr", {}, ...headings.map((text) => element("th", {scope: "col"}, text)))),
    );
  }
  const body = element("tbody");
  for (let i = 0; i < rows; i++) {
    const row = element("tr");
    for (let j = 0; j < columns; j++) {
      const text = title ? title(i, j) : `${name}, row ${i + 1}, column ${j + 1}`;
      const field = numberField((value) => write(i, j, value), {"aria-label": text, step: "0.1"});
      const entry = {title: text, field, read: () => read(i, j), write: (value) => write(i, j, value)};
      field.addEventListener("focus", () => chosen(entry));
      fields.push({field, i, j, entry});
      row.append(element("td", {}, field));
    }
    body.append(row);
  }
  table.append(body);
  const show = () => {
    for (const {field, i, j} of fields) {
      if (document.activeElement !== field || field.getAttribute("aria-invalid") !== "true") {
        set(field, read(i, j));
      }
    }
  };
  return {table, show, first: fields[0].entry};
}

// Writes a field's value, unless it says the same number already.
export function set(field, value) {
  if (field.valueAsNumber !== value) {
    field.value = String(Number(value.toPrecision(5)));
    field.setAttribute("aria-invalid", "false");
  }
}

// A table of results: heads and rows of text or elements.
export function fillTable(table, heads, rows) {
  const line = (kind, cells) =>
    element("tr", {}, ...cells.map((cell) => element(kind, kind === "th" ? {scope: "col"} : {}, cell)));
  table.replaceChildren(
    ...[...table.children].filter((child) => child.localName === "caption"),
    element("thead", {}, line("th", heads)),
    element("tbody", {}, ...rows.map((cells) => line("td", cells))),
  );
}

// Says results to screen readers, at most once a second, and the last of them always.
export class Speaker {
  constructor() {
    this.region = element("p", {class: "lab-said", role: "status", "aria-live": "polite"});
    this.last = -Infinity;
    this.waiting = null;
  }

  say(text) {
    this.text = text;
    const left = this.last + 1000 - performance.now();
    if (left <= 0) {
      this.now();
    } else if (this.waiting === null) {
      this.waiting = setTimeout(() => this.now(), left);
    }
  }

  now() {
    clearTimeout(this.waiting);
    this.waiting = null;
    if (this.region.textContent !== this.text) {
      this.region.textContent = this.text;
      this.last = performance.now();
    }
  }
}
