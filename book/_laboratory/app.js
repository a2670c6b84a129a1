// Starts the benches, and keeps the page's fragment and their states together.

import {CircleBench} from "./circle_bench.js";
import {LineBench} from "./line_bench.js";
import {parsed} from "./parameters.js";
import {SphereBench} from "./sphere_bench.js";

const MAKERS = {sphere: SphereBench, circle: CircleBench, line: LineBench};
const FIRST = {sphere: "together", circle: "other-angle", line: "blow-up"};

export function start({presets, shares, titles}) {
  const benches = {};
  for (const root of document.querySelectorAll("[data-bench]")) {
    const name = root.dataset.bench;
    benches[name] = new MAKERS[name](root, {presets, shares, titles});
    benches[name].choose(FIRST[name], true);
  }
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const wrong = document.getElementById("laboratory-wrong");
  const follow = () => {
    wrong.textContent = "";
    try {
      const found = parsed(location.hash, presets);
      if (found) {
        benches[found.bench].load(found.state, true);
        benches[found.bench].root.scrollIntoView();
        // Who follows a link to an example sees it run, but for who asked for less motion.
        benches[found.bench].play(!still.matches);
      }
    } catch (error) {
      wrong.textContent = `The address of this page does not fit: ${error.message}.`;
    }
  };
  window.addEventListener("hashchange", follow);
  follow();
  const redraw = () => Object.values(benches).forEach((bench) => bench.ask("draw"));
  new MutationObserver(redraw).observe(document.documentElement, {attributeFilter: ["data-theme"]});
}
