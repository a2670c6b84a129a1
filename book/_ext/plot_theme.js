// Plots follow the page: its text colour, in light and in dark mode, and its width.
// Style sheets cannot do this: the axes of a 3-D plot are drawn by WebGL.
(function () {
  function restyle(plot) {
    const text = getComputedStyle(document.body).color;
    const grid = text.replace("rgb(", "rgba(").replace(")", ", 0.3)");
    const change = {
      "paper_bgcolor": "rgba(0, 0, 0, 0)",
      "plot_bgcolor": "rgba(0, 0, 0, 0)",
      "font.color": text,
      "legend.bgcolor": "rgba(0, 0, 0, 0)",
    };
    for (const name of Object.keys(plot._fullLayout)) {
      if (/^scene\d*$/.test(name)) {
        for (const axis of ["xaxis", "yaxis", "zaxis"]) {
          change[`${name}.${axis}.showbackground`] = false;
          change[`${name}.${axis}.gridcolor`] = grid;
          change[`${name}.${axis}.zerolinecolor`] = grid;
        }
      } else if (/^[xy]axis\d*$/.test(name)) {
        change[`${name}.gridcolor`] = grid;
        change[`${name}.zerolinecolor`] = grid;
      }
    }
    // A plot of fixed width keeps it where there is room. Others fit by themselves.
    plot.ownWidth ??= plot.layout.width;
    const room = plot.closest(".text_html").clientWidth;
    if (plot.ownWidth && room) {
      change.width = Math.min(plot.ownWidth, room);
    }
    Plotly.relayout(plot, change);
  }
  const all = () => document.querySelectorAll(".js-plotly-plot").forEach(restyle);
  all();
  new MutationObserver(all).observe(document.documentElement, {attributeFilter: ["data-theme"]});
  window.addEventListener("resize", all);
})();
