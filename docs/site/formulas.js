// Draws formulas with MathJax, as GitHub does, where a page has any. The script is a file
// of the site: it holds every extension, and its glyphs are paths, so that it asks for
// nothing else.
window.MathJax = {
  tex: {
    inlineMath: [["\\(", "\\)"]],
    displayMath: [["\\[", "\\]"]],
  },
  options: { ignoreHtmlClass: ".*|", processHtmlClass: "arithmatex" },
};
(() => {
  const beside = new URL("tex-svg-full.js", document.currentScript.src).href;
  document.addEventListener("DOMContentLoaded", () => {
    if (document.querySelector(".arithmatex")) {
      const script = document.createElement("script");
      script.src = beside;
      document.head.append(script);
    }
  });
})();
