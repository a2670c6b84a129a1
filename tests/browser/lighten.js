// Makes a page light for axe, which takes seconds for thousands of elements that are all alike.
// Set formulas become boxes of their size, with words only where these name something. Of all
// elements with text that look alike one is marked, for the rules that see colours: `data-look`.
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

  // What decides whether text is seen: its colour and size, its ground, and for a link the colour
  // of the text around it.
  const look = (element) => {
    const {color, fontSize, fontWeight, textDecorationLine} = getComputedStyle(element);
    const around = getComputedStyle(element.parentElement).color;
    const parts = [element.localName, color, fontSize, fontWeight, textDecorationLine, around];
    for (let holder = element; holder; holder = holder.parentElement) {
      const {backgroundColor, backgroundImage, opacity, filter} = getComputedStyle(holder);
      if (opacity !== "1" || filter !== "none") {
        parts.push(opacity, filter);
      }
      if (backgroundImage !== "none" || backgroundColor !== "rgba(0, 0, 0, 0)") {
        parts.push(backgroundColor, backgroundImage);
        if (!/^rgba/.test(backgroundColor)) {
          break;
        }
      }
    }
    return parts.join(" ");
  };
  const hasText = (element) =>
    [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  const seen = new Set();
  for (const element of document.querySelectorAll("body *:not(script, style)")) {
    if (hasText(element) && element.checkVisibility({visibilityProperty: true})) {
      const kind = look(element);
      element.toggleAttribute("data-look", !seen.has(kind));
      seen.add(kind);
    }
  }
}
