// Puts boxes of the same size, with the formula's words, in place of set formulas. They are nine in
// ten elements of a page, and axe finds nothing in them but that text.
() => {
  const set = [...document.querySelectorAll("mjx-container")];
  const boxes = set.map((formula) => {
    const {width, height} = (formula.querySelector("mjx-math, svg") ?? formula).getBoundingClientRect();
    const box = document.createElement("span");
    box.textContent = formula.textContent.trim() || "formula";
    box.style = `display: inline-block; overflow: hidden; width: ${width}px; height: ${height}px`;
    return box;
  });
  set.forEach((formula, index) => formula.replaceChildren(boxes[index]));
}
