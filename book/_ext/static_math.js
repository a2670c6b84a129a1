// Sets formulas for static_math.py: a line of JSON in, {tex, display}; a line out, {html, error}.
// A line {css: fontURL} gives the style sheet of all characters that were set so far.
const [folder, macros] = process.argv.slice(2);
const readline = require("readline");

require(`${folder}/node-main.js`)
  .init({
    loader: {
      paths: {mathjax: folder},
      load: ["input/tex-full", "output/chtml", "adaptors/liteDOM", "a11y/assistive-mml"],
      require,
      // The parts come from one package, which names no version of some.
      versionWarnings: false,
    },
    // An unknown command is an error, and not red text.
    tex: {macros: JSON.parse(macros), packages: {"[-]": ["noundefined"]}},
    // All characters, so that a page that is not written again keeps its own.
    chtml: {fontURL: "FONTS", adaptiveCSS: false},
    startup: {typeset: false},
  })
  .then((MathJax) => {
    const adaptor = MathJax.startup.adaptor;
    const answer = ({tex, display, css}) => {
      if (css) {
        return {html: adaptor.textContent(MathJax.chtmlStylesheet()).replaceAll("FONTS", css)};
      }
      MathJax.texReset();
      const html = adaptor.outerHTML(MathJax.tex2chtml(tex, {display}));
      const error = html.match(/data-mjx-error="([^"]*)"/);
      return {html, error: error ? error[1] : null};
    };
    readline.createInterface({input: process.stdin}).on("line", (line) => {
      process.stdout.write(JSON.stringify(answer(JSON.parse(line))) + "\n");
    });
  })
  .catch((problem) => {
    process.stderr.write(String(problem.message || problem) + "\n");
    process.exit(1);
  });
