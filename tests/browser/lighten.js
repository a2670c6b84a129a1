// Makes a page light for axe, which takes seconds for thousands of elements that are all alike.
// Set formulas become boxes of their size, with words only where these name something; of the
// tokens in code, one of each colour stays.
() => {
  const named = "a, button, summary, label, h1, h2, h3, h4, caption, th";
  const set = [...document.querySelectorAll("mjx-container")];
  const boxes = set.map((formula) => {
    const {width, height} = (formula.querySelector("mjx-math, svg") ?? formula).getBoundingClientRect();
    const box = document.createElement("span");
    box.textContent = formula.closest(named) ? formula.textContent.trim() || "formula" : "";
    box.style = `display: inline-block; overflow: hidden; width: ${width}px; height: ${height}px`;
    return box;
  });
  set.forEach((formula, index) => formula.replaceChildren(boxes[index]));
  const seen = new Set();
  for (const token of document.querySelectorAll("div.highlight span")) {
    const {color, backgroundColor} = getComputedStyle(token);
    const kind = `${color} ${backgroundColor}`;
    if (seen.has(kind)) {
      token.replaceWith(...token.childNodes);
    }
    seen.add(kind);
  }
}
