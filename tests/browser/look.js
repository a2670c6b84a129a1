// What is wrong with a page as it stands, and how much there was to look at. Run in the page; every
// check gives a list of sentences, each with the element that it is about.
() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const main = document.querySelector("article.bd-article") ?? document.querySelector("main") ?? document.body;
  const shown = (element) =>
    element.checkVisibility({visibilityProperty: true}) && element.getBoundingClientRect().width > 0;
  const words = (element) => element.textContent.trim().replace(/\s+/g, " ").slice(0, 60);
  const named = (element) => {
    const holder = element.closest("[id]");
    const place = holder && holder !== element ? ` in #${holder.id}` : "";
    const id = element.id ? `#${element.id}` : "";
    const classes = [...element.classList].map((name) => `.${name}`).join("");
    return `${element.localName}${id}${classes}${place} "${words(element)}"`;
  };

  // Formulas: set as MathJax's elements, as SVG or as MathML; none as LaTeX, and no error in one.
  const SET = "mjx-container, svg, math";
  const formulas = all(".math, mjx-container", main);
  const LATEX = /\\[([]|\$\$|\\begin\{|\$[^$\n]*\\[a-z]+[^$\n]*\$|\{(math|eq|doc|ref|numref|cite\w*|prf:ref|claim)\}`/;
  const latex = [];
  const walk = document.createTreeWalker(main, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const holder = walk.currentNode.parentElement;
    if (!holder.closest("pre, code, script, style, mjx-container, math") && LATEX.test(walk.currentNode.data)) {
      latex.push(holder);
    }
  }
  const unset = all(".math", main).filter((formula) => !formula.querySelector(SET));
  const broken = all("mjx-merror, merror, [data-mjx-error]", main);

  // Figures: pictures have pixels of more than one colour, plots have traces that are drawn.
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 48;
  const pen = canvas.getContext("2d", {willReadFrequently: true});
  const blank = (picture) => {
    pen.clearRect(0, 0, 48, 48);
    pen.drawImage(picture, 0, 0, 48, 48);
    const pixels = new Uint32Array(pen.getImageData(0, 0, 48, 48).data.buffer);
    return pixels.every((pixel) => pixel === pixels[0]);
  };
  const pictures = all("img", main);
  const plots = all(".plotly-graph-div", main).filter(shown);
  const figures = [
    ...pictures.filter((picture) => !picture.naturalWidth).map((it) => `no picture: ${named(it)} ${it.src}`),
    ...pictures
      .filter((picture) => picture.naturalWidth && shown(picture) && blank(picture))
      .map((it) => `one colour: ${named(it)} ${it.src}`),
    ...plots.filter((plot) => !plot.querySelector("svg.main-svg")).map((it) => `not drawn: ${named(it)}`),
    ...plots.filter((plot) => plot.data && !plot.data.length).map((it) => `no trace: ${named(it)}`),
    ...all("figure", main)
      .filter((figure) => shown(figure) && !all("img, svg, canvas, table", figure).some(shown))
      .map((it) => `nothing in it: ${named(it)}`),
  ];

  // Widths: every part is on the page, or in a region that scrolls and is itself on the page.
  const round = 1.5; // pixels that rounding takes
  const cut = (element) => {
    let {left, right} = element.getBoundingClientRect();
    for (let holder = element.parentElement; holder; holder = holder.parentElement) {
      const box = holder.getBoundingClientRect();
      const flow = getComputedStyle(holder).overflowX;
      if (holder !== document.documentElement && holder !== document.body && flow !== "visible") {
        const outside = right > box.right + round || left < box.left - round;
        if (outside && flow !== "auto" && flow !== "scroll") {
          return `cut by ${named(holder)}`;
        }
        // What is left of the start of a region, no scrolling reaches.
        if (left + holder.scrollLeft < box.left - round) {
          return `begins before its region ${named(holder)}`;
        }
        [left, right] = [Math.max(left, box.left), Math.min(right, box.right)];
      }
    }
    const page = document.documentElement.clientWidth;
    return right > page + round || left < -round ? `from ${left | 0} to ${right | 0} of ${page} pixels` : "";
  };
  // No scroll bar shows what stands below a region that scrolls only sideways.
  const low = (element) => {
    const region = element.closest("div.math, div.cell_output, .pst-scrollable-table-container, pre");
    if (!region || getComputedStyle(region).overflowY !== "hidden") {
      return "";
    }
    const [inner, outer] = [element.getBoundingClientRect(), region.getBoundingClientRect()];
    const outside = inner.bottom > outer.bottom + round || inner.top < outer.top - round;
    return outside ? `cut in height by ${named(region)}` : "";
  };
  const PARTS =
    "mjx-math, mjx-container > svg, math, table, pre, img, p, li, h1, h2, h3, h4, figcaption, form, " +
    "input, select, button, dl, blockquote, .admonition, .proof, .js-plotly-plot";
  // MathML beside a set formula is for screen readers alone.
  const parts = all(PARTS, main).filter((part) => shown(part) && !part.closest("mjx-assistive-mml"));
  const wide = parts.map((part) => [part, cut(part) || low(part)]).filter(([, problem]) => problem);
  const widths = wide
    .filter(([part]) => !wide.some(([other]) => other !== part && part.contains(other)))
    .map(([part, problem]) => `${problem}: ${named(part)}`);
  const {scrollWidth, clientWidth} = document.documentElement;
  if (scrollWidth > clientWidth) {
    widths.push(`the page is ${scrollWidth} pixels wide, its window ${clientWidth}`);
  }

  const times = Map.groupBy(all("[id]"), (element) => element.id);
  const ids = [...times].filter(([, found]) => found.length > 1).map(([id, found]) => `${id}: ${found.length} times`);

  return {
    problems: {
      formulas: [
        ...unset.map((it) => `not set: ${named(it)}`),
        ...latex.map((it) => `LaTeX or a role in the text: ${named(it)}`),
        ...broken.map((it) => `an error: ${named(it)}`),
      ],
      figures,
      widths,
      ids,
    },
    seen: {formulas: formulas.length, figures: pictures.length + plots.length, widths: parts.length, ids: times.size},
  };
}
