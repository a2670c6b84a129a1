// Filters and sorts the entries of the ledger. What is shown is in the address: ?verdict=refuted,
// ?paper=..., ?chapter=..., ?text=..., ?sort=..., so that it can be linked to. Loaded with `defer`.
"use strict";

(() => {
  const form = document.getElementById("ledger-filter");
  const entries = [...document.querySelectorAll("article.claim-entry")];
  if (!form || !entries.length) return;

  const chapters = [...document.querySelectorAll("section.ledger-chapter")];
  const home = new Map(entries.map((entry) => [entry, entry.parentElement]));
  const place = new Map(entries.map((entry, index) => [entry, index]));
  const verdicts = [...form.elements.verdict].map((box) => box.value);
  const count = form.querySelector("[role=status]");
  const sorted = document.createElement("div");
  chapters.at(-1).after(sorted);

  const plain = (text) => text.toLowerCase().replace(/\s+/g, " ");
  // What each entry says, and its place in the book; not the words that all of them have.
  const texts = new Map(
    entries.map((entry) => {
      const parts = entry.querySelectorAll(":scope > :not(.claim-links), .claim-place");
      const words = [...parts].map((part) => part.textContent);
      return [entry, plain([entry.dataset.id, ...words].join(" "))];
    })
  );

  const orders = {
    book: (a, b) => place.get(a) - place.get(b),
    number: (a, b) => a.dataset.rank - b.dataset.rank,
    verdict: (a, b) =>
      verdicts.indexOf(a.dataset.verdict) - verdicts.indexOf(b.dataset.verdict) ||
      orders.book(a, b),
    id: (a, b) => a.dataset.id.localeCompare(b.dataset.id, "en", { numeric: true }),
  };

  // A word is found where a word begins; "3.3" is not found in "3.31", nor "eq-1" in "eq-12".
  const pattern = (word) => {
    const escaped = word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    const start = /^[\p{L}\p{N}]/u.test(word) ? "(?<![\\p{L}\\p{N}])" : "";
    const end = /\d$/.test(word) ? "(?!\\d)" : "";
    return new RegExp(start + escaped + end, "u");
  };

  const wanted = () => {
    const data = new FormData(form);
    const text = plain(data.get("text")).trim();
    return {
      verdicts: data.getAll("verdict"),
      paper: data.get("paper"),
      chapter: data.get("chapter"),
      sort: data.get("sort"),
      // "Theorem 3.3" is one thing to find: a name keeps its number.
      words: (text.match(/"[^"]+"|\p{L}+ [A-Z]?\.?\d+(\.\d+)?|\S+/giu) || []).map((word) =>
        pattern(word.replaceAll('"', ""))
      ),
    };
  };

  const fits = (entry, want) =>
    (!want.verdicts.length || want.verdicts.includes(entry.dataset.verdict)) &&
    (!want.paper || entry.dataset.paper === want.paper) &&
    (!want.chapter || entry.dataset.chapter === want.chapter) &&
    want.words.every((word) => word.test(texts.get(entry)));

  let order = "book";
  const arrange = (wanted) => {
    if (wanted === order) return;
    order = wanted;
    for (const entry of [...entries].sort(orders[order])) {
      (order === "book" ? home.get(entry) : sorted).append(entry);
    }
  };

  const show = () => {
    const want = wanted();
    arrange(want.sort);
    let shown = 0;
    for (const entry of entries) {
      entry.hidden = !fits(entry, want);
      shown += !entry.hidden;
    }
    for (const chapter of chapters) {
      chapter.hidden = !chapter.querySelector("article.claim-entry:not([hidden])");
    }
    const all = shown === entries.length;
    count.textContent = all ? `All ${shown} entries` : `${shown} of ${entries.length} entries`;
  };

  // The form to and from the address; what is as it was at first is not in it.
  const write = (hash = "") => {
    const query = new URLSearchParams();
    for (const [name, value] of new FormData(form)) {
      if (value && !(name === "sort" && value === "book")) query.append(name, value);
    }
    const search = query.toString();
    history.replaceState(null, "", (search ? `?${search}` : location.pathname) + hash);
  };
  const read = (search) => {
    const query = new URLSearchParams(search);
    for (const box of form.elements.verdict) {
      box.checked = query.getAll("verdict").includes(box.value);
    }
    form.elements.text.value = query.get("text") || "";
    for (const name of ["paper", "chapter", "sort"]) {
      const options = [...form.elements[name].options].map((option) => option.value);
      // What a select does not have counts as its first option, which filters nothing.
      form.elements[name].selectedIndex = Math.max(0, options.indexOf(query.get(name)));
    }
    show();
  };

  // A link to an entry that is filtered out shows all of them.
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.closest("[hidden]")) {
      read("");
      write(location.hash);
    }
    if (target && entries.includes(target)) target.scrollIntoView({ behavior: "instant" });
  };

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    show();
    write();
  });
  form.addEventListener("reset", () =>
    // The fields are empty only after this event.
    setTimeout(() => {
      show();
      write();
    })
  );
  for (const link of document.querySelectorAll('a[href^="?"]')) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      read(link.getAttribute("href").split("#")[0]);
      write();
      form.scrollIntoView();
      form.elements.text.focus({ preventScroll: true });
    });
  }
  window.addEventListener("hashchange", reveal);

  form.hidden = false;
  read(location.search);
  if (location.hash) {
    reveal();
    // Once more where the formulas have their sizes, if the reader has not gone elsewhere.
    let left = false;
    for (const kind of ["wheel", "touchmove", "keydown", "pointerdown"]) {
      window.addEventListener(kind, () => (left = true), { once: true, passive: true });
    }
    window.addEventListener("load", async () => {
      await window.MathJax?.startup?.promise;
      if (!left) reveal();
    });
  }
})();
