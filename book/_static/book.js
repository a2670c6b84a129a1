// What style sheets cannot do: fit displays, name what scrolls, print what is folded.
(function () {
  const DISPLAY = 'mjx-container[display="true"]';
  const SCROLLS = `${DISPLAY}, .pst-scrollable-table-container, .highlight pre, figure, .cell_output`;
  // Per cent, as book.css has it; and the least share of it that is still read.
  const SIZE = 108;
  const SMALLEST = 0.72;

  // A display that is a little too wide is set smaller; one that is much too wide scrolls.
  function fit(formula) {
    formula.style.fontSize = "";
    const share = formula.clientWidth / formula.scrollWidth;
    if (share < 1 && share > SMALLEST) {
      formula.style.fontSize = `${Math.floor(SIZE * share) - 1}%`;
    }
  }

  // Only what does scroll is a stop of the tab key, and a region with a name.
  function mark(element, scrolls) {
    if (!scrolls) {
      if (element.dataset.scrolls) {
        ["tabindex", "role", "aria-label"].forEach((key) => element.removeAttribute(key));
        delete element.dataset.scrolls;
      }
      return;
    }
    const kinds = {FIGURE: "figure", PRE: "code", "MJX-CONTAINER": "formula", SPAN: "formula"};
    const kind = kinds[element.tagName] ?? "table";
    element.dataset.scrolls = "yes";
    element.tabIndex = 0;
    if (kind !== "figure") {
      element.setAttribute("role", "group");
    }
    element.setAttribute("aria-label", `${kind}, wider than the page: scrolls`);
  }

  function name(element) {
    const wide = element.scrollWidth > element.clientWidth + 1;
    mark(element, wide && getComputedStyle(element).overflowX !== "visible");
  }

  // Formulas in the ledger's lines, which come and go with its filter.
  const lines = new ResizeObserver((changed) => {
    // Than its paragraph: the text for screen readers makes every formula overflow itself.
    const room = (formula) => formula.closest("p, li, td, h4").clientWidth;
    changed
      .map(({target}) => [target, target.scrollWidth > room(target) + 1])
      .forEach(([formula, scrolls]) => mark(formula, scrolls));
  });

  function measure() {
    const content = document.querySelector(".bd-article");
    if (content) {
      content.querySelectorAll(DISPLAY).forEach(fit);
      content.querySelectorAll(SCROLLS).forEach(name);
    }
  }

  // The theme names some buttons by other words than they show; docutils calls a list what has no
  // items of one.
  function rename() {
    document.querySelectorAll(".citation-list[role]").forEach((list) => list.removeAttribute("role"));
    document.querySelectorAll("summary[aria-label], .search-button-field").forEach((element) => {
      element.removeAttribute("aria-label");
    });
  }

  // What is black becomes white, as opaque as it was; colours, whose sum is above a third, stay.
  function addFilter() {
    const white = "0 0 0 0 1  0 0 0 0 1  0 0 0 0 1";
    document.body.insertAdjacentHTML(
      "beforeend",
      `<svg width="0" height="0" aria-hidden="true" style="position: absolute">
        <filter id="dark-page" color-interpolation-filters="sRGB" x="0" y="0" width="1" height="1">
          <feColorMatrix values="${white}  -3 -3 -3 1 0" result="ink"/>
          <feMerge><feMergeNode in="SourceGraphic"/><feMergeNode in="ink"/></feMerge>
        </filter>
      </svg>`,
    );
  }

  // Paper is white, and what is folded is open on it.
  const opened = [];
  let theme;
  window.addEventListener("beforeprint", () => {
    for (const folded of document.querySelectorAll("details:not([open])")) {
      folded.open = true;
      opened.push(folded);
    }
    theme = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
  });
  window.addEventListener("afterprint", () => {
    opened.splice(0).forEach((folded) => (folded.open = false));
    document.documentElement.dataset.theme = theme;
  });

  document.addEventListener("DOMContentLoaded", () => {
    addFilter();
    rename();
    measure();
    document.fonts.ready.then(measure);
    document.querySelectorAll(".claim-entry span.math").forEach((formula) => lines.observe(formula));
    let width = window.innerWidth;
    window.addEventListener("resize", () => {
      if (width !== window.innerWidth) {
        width = window.innerWidth;
        measure();
      }
    });
    // What is in a fold has no width before it opens.
    document.addEventListener("toggle", measure, true);
    document.addEventListener("click", (event) => {
      if (event.target.closest(".toggle-button, .sd-tab-label")) {
        requestAnimationFrame(measure);
      }
    });
  });
})();
