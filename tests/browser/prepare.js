// Resolves when a page is whole: fonts, formulas, pictures, plots. Opens what is folded, and lays
// out what is not in sight, so that all of it is looked at.
async () => {
  const sheet = document.createElement("style");
  sheet.textContent = "* { content-visibility: visible !important; transition: none !important; animation: none !important; }";
  document.head.append(sheet);
  for (const details of document.querySelectorAll("details")) {
    details.open = true;
  }
  for (const button of document.querySelectorAll(".toggle-button-hidden")) {
    button.click();
  }
  await window.MathJax?.startup?.promise;
  for (const picture of document.images) {
    picture.loading = "eager";
    // One that does not load is told by the checks.
    await picture.decode().catch(() => {});
  }
  await document.fonts.ready;
  const waiting = () =>
    [...document.querySelectorAll(".plotly-graph-div")].some((plot) => !plot.querySelector("svg.main-svg"));
  for (let tries = 0; waiting() && tries < 100; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
}
