// Figures to turn, or with a slider: a picture until a reader starts one, by a click on it or by
// its button. So they take no turn of the wheel, and a page waits for no plot. See turnable.py.
(function () {
  const library = new URL("plotly.min.js", document.currentScript.src);
  let loading;

  function load() {
    loading ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      Object.assign(script, {src: library, onload: resolve, onerror: reject});
      document.head.append(script);
    });
    return loading;
  }

  // A slider of the browser's own, which keys move too.
  function slider(plot, {steps, currentvalue}) {
    const label = document.createElement("label");
    const range = document.createElement("input");
    const shown = document.createElement("output");
    Object.assign(range, {type: "range", min: 0, max: steps.length - 1, value: 0});
    const move = () => {
      const step = steps[range.value];
      shown.textContent = currentvalue.prefix + step.label;
      range.setAttribute("aria-valuetext", shown.textContent);
      return Plotly.animate(plot, ...step.args);
    };
    range.addEventListener("input", move);
    label.className = "turnable-slider";
    label.append(shown, range);
    shown.textContent = currentvalue.prefix + steps[0].label;
    range.setAttribute("aria-label", `slider: ${currentvalue.prefix}`);
    return label;
  }

  // Arrow keys turn a scene by ten degrees.
  function turn(plot, event) {
    const around = {ArrowLeft: -1, ArrowRight: 1}[event.key] ?? 0;
    const up = {ArrowDown: -1, ArrowUp: 1}[event.key] ?? 0;
    if (event.target !== plot || !(around || up)) {
      return;
    }
    event.preventDefault();
    const {x, y, z} = plot._fullLayout.scene._scene.getCamera().eye;
    const far = Math.hypot(x, y, z);
    const angle = Math.atan2(y, x) + (around * Math.PI) / 18;
    const highest = (80 * Math.PI) / 180;
    const height = Math.asin(z / far) + (up * Math.PI) / 18;
    const kept = Math.max(-highest, Math.min(highest, height));
    const flat = far * Math.cos(kept);
    const eye = {x: flat * Math.cos(angle), y: flat * Math.sin(angle), z: far * Math.sin(kept)};
    Plotly.relayout(plot, {"scene.camera.eye": eye});
  }

  function prepare(specification) {
    const figure = specification.closest("figure") ?? specification.parentElement;
    const still = figure.querySelector("img");
    const {data, layout, frames} = JSON.parse(specification.textContent);
    const solid = data.some((trace) => /3d|surface|cone/.test(trace.type));
    const button = document.createElement("button");
    const words = solid ? "Turn this figure" : "Move this figure";
    Object.assign(button, {type: "button", className: "turnable-button", textContent: words});
    button.id = layout.meta.id;
    const live = document.createElement("div");
    live.className = "turnable-live";
    live.hidden = true;
    specification.before(live, button);
    let plot;

    async function start() {
      button.disabled = true;
      try {
        await load();
      } finally {
        button.disabled = false;
      }
      show(true);
      if (plot) {
        return;
      }
      plot = document.createElement("div");
      plot.className = "turnable-plot";
      plot.tabIndex = 0;
      plot.setAttribute("role", "group");
      plot.setAttribute("aria-label", still.alt + (solid ? " The arrow keys turn it." : ""));
      live.append(plot);
      const [first] = layout.sliders ?? [];
      const config = {displayModeBar: false, responsive: true, scrollZoom: false};
      const shown = {...layout, sliders: []};
      await Plotly.newPlot(plot, {data, layout: shown, frames, config});
      if (first) {
        live.append(slider(plot, first));
      }
      if (solid) {
        plot.addEventListener("keydown", (event) => turn(plot, event));
      }
    }

    function show(moving) {
      live.hidden = !moving;
      figure.classList.toggle("turnable-started", moving);
      button.textContent = moving ? "Show the picture again" : words;
    }

    button.addEventListener("click", () => (live.hidden ? start() : show(false)));
    still.addEventListener("click", start);
    still.classList.add("turnable-still");
  }

  document.querySelectorAll("script.turnable").forEach(prepare);
})();
