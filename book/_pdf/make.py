"""The whole book as a PDF, printed by Chromium from the built site.

python book/_pdf/make.py    # book/_build/html -> book/_build/pdf/tokensphere.pdf

Needs Chromium, Playwright and pikepdf (requirements-browser.txt). `BOOK_CHROMIUM` names another
browser than the system's or Playwright's own.
"""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import one_page
import pikepdf
import yaml
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import notebooks  # noqa: E402

from tokensphere.records import write_whole  # noqa: E402

SITE = ROOT / "book" / "_build" / "html"
OUT = ROOT / "book" / "_build" / "pdf"
NAME = "tokensphere.pdf"
CHROMIUM = ("chromium", "google-chrome", "chromium-browser")
LARGEST = 15e6
"""Bytes: what can be sent by mail."""

ON_SCREEN = ("laboratory", "api/", "status")
"""Pages that are left to the site, where links to them lead: one to play on, a reference to search
in, which would be every fourth sheet, and what a build says of itself."""

PATIENCE = 900_000
"""Milliseconds for one step: thousands of formulas, on a machine with other work."""

# Formulas that the browser sets are set, fonts and pictures are there.
READY = """async () => {
  if (window.MathJax && MathJax.startup) {
    await MathJax.startup.promise;
    MathJax.startup.document.clear();  // its own copies of the formulas
  }
  await document.fonts.ready;
  await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
}"""
UNSET = """() => [...document.querySelectorAll(".math")]
  .filter((place) => !place.querySelector("mjx-container") || place.querySelector("mjx-merror"))
  .map((place) => place.textContent.trim())"""
# A display wider than the sheet is set smaller, as on the site, so that it does not run over its
# number. The window is as wide as the sheet's text, 174 mm.
WIDTH = 658
FIT = """() => {
  for (const box of document.querySelectorAll("div.math")) {
    const set = box.querySelector("mjx-container");
    const formula = set && (set.querySelector("mjx-math") ?? set);
    const number = box.querySelector(".eqno");
    const room = box.clientWidth - (number ? number.offsetWidth + 8 : 0);
    const width = formula ? formula.getBoundingClientRect().width : 0;
    if (width > room)
      set.style.fontSize = parseFloat(getComputedStyle(set).fontSize) * room / width + "px";
  }
}"""
FILL = """(sheets) => {
  for (const place of document.querySelectorAll("[data-of]"))
    place.textContent = sheets[place.dataset.of] ?? "";
}"""


def parts() -> list[one_page.Part]:
    """The book's printed pages in reading order, by the captions of _toc.yml."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    found = [one_page.Part("", [toc["root"]])]
    for part in toc["parts"]:
        pages = [chapter["file"] for chapter in part["chapters"]]
        if printed := [page for page in pages if not page.startswith(ON_SCREEN)]:
            found.append(one_page.Part(part["caption"], printed))
    return found


def about() -> dict[str, str]:
    """What the cover says. The commit, not the day: the same book gives the same cover."""
    config = notebooks.config()
    site = notebooks.site_url()
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%cs, commit %h"]
    git = subprocess.run(command, capture_output=True, text=True)
    made = f"of {git.stdout.strip()}, " if git.returncode == 0 else ""
    link = f'<a href="{site}">{site}</a>'
    return {
        "title": config["title"],
        "author": config["author"],
        "site": site,
        "made": f"A print {made}of {link}, where figures turn and every chapter is a notebook",
    }


def sheets(pdf: bytes) -> dict[str, int]:
    """The numbers of the pages on which the targets of links stand."""
    with pikepdf.open(io.BytesIO(pdf)) as document:
        numbers = {page.objgen: number for number, page in enumerate(document.pages, 1)}
        # One dictionary here, and not the tree that PDF has for names since.
        places = document.Root.get("/Dests", {})
        return {name.lstrip("/"): numbers[place[0].objgen] for name, place in places.items()}


def with_outline(pdf: bytes, contents: list[tuple[int, str, str]]) -> bytes:
    """The document with the lines of its contents as outline, in fewer bytes.

    Chromium makes an outline with tags only, and does not come to an end with those of a book.
    """
    written = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf)) as document:
        places = document.Root.get("/Dests", {})
        with document.open_outline() as outline:
            above = {0: outline.root}
            for level, id, title in contents:
                item = pikepdf.OutlineItem(title, destination=places[f"/{id}"])
                above[max(upper for upper in above if upper < level)].append(item)
                above = {upper: kept for upper, kept in above.items() if upper < level}
                above[level] = item.children
        pikepdf.settings.set_flate_compression_level(9)  # a sixteenth less than zlib's default
        document.save(
            written,
            object_stream_mode=pikepdf.ObjectStreamMode.generate,
            recompress_flate=True,
            linearize=True,  # a reader shows the first page before it has the last
        )
    return written.getvalue()


def browser() -> str | None:
    """The program that prints, None for Playwright's own."""
    names = filter(None, map(shutil.which, CHROMIUM))
    return os.environ.get("BOOK_CHROMIUM") or next(names, None)


def print_page(page: Path) -> bytes:
    """Prints a page twice: the first time tells the numbers of its contents.

    Raises RuntimeError where there is no browser, or it leaves a formula as it was written.
    """
    with sync_playwright() as playwright:
        if not browser() and not Path(playwright.chromium.executable_path).exists():
            raise RuntimeError(
                "no Chromium: install the system's, or run `playwright install chromium`"
            )
        opened = playwright.chromium.launch(executable_path=browser())
        tab = opened.new_page(viewport={"width": WIDTH, "height": 900})
        tab.set_default_timeout(PATIENCE)
        tab.emulate_media(media="print", color_scheme="light")
        tab.goto(page.as_uri(), wait_until="load")
        tab.evaluate(READY)
        if unset := tab.evaluate(UNSET):
            raise RuntimeError(f"{len(unset)} formulas are not set, the first {unset[0]!r}")

        tab.evaluate(FIT)
        paper = {"prefer_css_page_size": True, "print_background": True}
        tab.evaluate(FILL, sheets(tab.pdf(**paper)))
        pdf = tab.pdf(**paper)
        opened.close()
    return with_outline(pdf, one_page.lines_of_contents(page.read_text("utf-8")))


def main() -> int:
    try:
        OUT.mkdir(parents=True, exist_ok=True)
        html = one_page.whole(SITE, parts(), about(), os.path.relpath(SITE, OUT))
        (OUT / "book.html").write_text(html, encoding="utf-8")
        shutil.copy2(Path(__file__).with_name("print.css"), OUT)
        pdf = print_page(OUT / "book.html")
        with write_whole(OUT / NAME) as stream:
            stream.write(pdf)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"make pdf: {error}", file=sys.stderr)
        return 2
    with pikepdf.open(OUT / NAME) as document:
        count = len(document.pages)
    print(f"{(OUT / NAME).relative_to(ROOT)}: {count} pages, {len(pdf) / 1e6:.1f} MB")
    if len(pdf) > LARGEST:
        print(f"make pdf: larger than {LARGEST / 1e6:.0f} MB", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
