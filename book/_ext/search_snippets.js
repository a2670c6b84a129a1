// What search shows of a page that it found: the paragraph that has most of the words, without code
// and LaTeX; of a statement, its verdict first. Takes the place of Sphinx's own summary, 240
// characters of all that stands on the page. Loaded on the page of search, with `defer`.
"use strict";

(() => {
  const LENGTH = 240;
  const OTHER = ".cell, .highlight, table, form, nav, .admonition-title, .claim-links, script, style";

  // A formula that is as readable without LaTeX, or dots.
  const readable = (formula) => {
    const text = formula.replace(/\\[()[\]]/g, "").trim();
    return /^[^\\]{1,20}$/.test(text) ? text.replace(/[{}]/g, "") : "…";
  };

  const prose = (paragraph) => {
    const copy = paragraph.cloneNode(true);
    copy.querySelectorAll(".headerlink, .claim-mark").forEach((part) => part.remove());
    copy.querySelectorAll(".math, mjx-container").forEach((part) => {
      part.replaceWith(readable(part.textContent));
    });
    return copy.textContent.replace(/\s+/g, " ").trim();
  };

  const cut = (text, at) => {
    if (text.length <= LENGTH) return text;
    const start = at <= LENGTH / 2 ? 0 : text.indexOf(" ", at - LENGTH / 2) + 1;
    const end = start + LENGTH < text.length ? text.lastIndexOf(" ", start + LENGTH) : text.length;
    return (start ? "… " : "") + text.slice(start, end) + (end < text.length ? " …" : "");
  };

  const first = (text, words) => {
    const places = words.map((word) => text.toLowerCase().indexOf(word)).filter((at) => at >= 0);
    return { count: places.length, at: places.length ? Math.min(...places) : 0 };
  };

  Search.makeSearchSummary = (html, keywords, anchor) => {
    const page = new DOMParser().parseFromString(html, "text/html");
    const main = page.querySelector("[role=main], main") || page.body;
    const place = anchor ? page.getElementById(decodeURIComponent(anchor.slice(1))) : null;
    const scope = place ? place.closest("section, .proof.admonition, article") || place : main;
    const words = [...keywords].map((word) => word.toLowerCase());

    const paragraphs = [...scope.querySelectorAll("p")]
      .filter((p) => !p.closest(OTHER))
      .map((p) => prose(p))
      .filter((text) => text.length > 25)
      .map((text) => ({ text, ...first(text, words) }));
    const best = Math.max(0, ...paragraphs.map((p) => p.count));
    const chosen = paragraphs.find((p) => p.count === best);
    const verdict = place?.matches(".claim-mark") ? prose(place).split(" · ")[0] : "";
    const text = chosen ? cut(chosen.text, chosen.at) : "";
    if (!text && !verdict) return null;

    const summary = document.createElement("p");
    summary.className = "context";
    summary.textContent = verdict && text ? `${verdict}. ${text}` : verdict + text;
    return summary;
  };
})();
