"""A page in the browser, and what is wrong with it."""

import io
import os
import re
import tomllib
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
SITE = Path(os.environ.get("BOOK_SITE") or ROOT / "book" / "_build" / "html").resolve()
PAGES = sorted(
    str(path.relative_to(SITE).with_suffix(""))
    for path in SITE.rglob("*.html")
    if path.relative_to(SITE).parts[0] != "_static" and path.name not in ("index.html", "404.html")
)
"""The pages of the built book; index.html only leads to the first, and all that 404.html asks for
has the address that the published site has, so that it looks the same wherever it is shown."""

MODES = {
    "light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "narrow": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
}
"""How pages are looked at. The theme follows the system's colours until a reader chooses."""

COLOURS = ["color-contrast", "link-in-text-block"]
"""The rules of axe that see colours. They are its slowest: they see one element of each look."""

AXE = (
    ("[data-look]", {"runOnly": COLOURS}),
    ("html", {"rules": {rule: {"enabled": False} for rule in COLOURS}}),
)
"""What axe is asked: where it looks, by a selector, and for what."""

GRAVE = ("serious", "critical")
SLOW = 60_000
"""Milliseconds for a page of 3-D figures, which a processor draws, on a machine with other work."""


def context(browser, mode: str):
    """A browser context of this mode, in which no request leaves this machine."""
    made = browser.new_context(**MODES[mode], reduced_motion="reduce")
    made.set_default_timeout(SLOW)
    made.route(lambda url: not is_local(url), lambda route: route.abort())
    return made


def is_local(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("data", "blob", "about") or parts.hostname == "127.0.0.1"


@cache
def script(name: str) -> str:
    return (FOLDER / name).read_text("utf-8")


class Visit:
    """A page, opened in a context; what it wrote to the console and asked for, from then on."""

    def __init__(self, context, address: str):
        self.said: list[str] = []
        self.requests: list[str] = []
        self.page = page = context.new_page()
        page.on("console", lambda line: line.type == "error" and self.said.append(line.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("response", self._answered)
        page.on("requestfailed", self._failed)
        page.goto(address, wait_until="load")
        page.evaluate(script("prepare.js"))

    def _answered(self, response):
        if response.status >= 400:
            self.requests.append(f"{response.status}: {response.url}")

    def _failed(self, request):
        kind = "failed" if is_local(request.url) else "foreign"
        self.requests.append(f"{kind}: {request.url}")

    def look(self) -> tuple[dict[str, list[str]], dict[str, int]]:
        """Problems by check, and how many things each check has looked at."""
        found = self.page.evaluate(script("look.js"))
        problems = {"console": self.said, "requests": self.requests, **found["problems"]}
        return problems, found["seen"]

    def barriers(self) -> list[str]:
        """What axe finds serious or critical. Last of all: the page is another afterwards."""
        # Imported here: tests of links need neither axe nor Playwright.
        from axe_playwright_python.sync_playwright import Axe

        self.page.evaluate(script("lighten.js"))
        # Style sheets come with the page; axe would fetch those that they import from wrong places.
        common = {"resultTypes": ["violations"], "preload": False}
        return [
            f"{rule['id']}: {' '.join(map(str, node['target']))}: {node['html'][:120]}"
            for where, options in AXE
            for rule in Axe().run(self.page, where, common | options).response["violations"]
            if rule["impact"] in GRAVE
            for node in rule["nodes"]
        ]


def colours(picture: bytes) -> int:
    """How many colours a PNG has, up to 256."""
    found = Image.open(io.BytesIO(picture)).convert("RGB").getcolors(256)
    return len(found) if found else 256


def known() -> list[dict[str, str]]:
    """Problems that are known and not yet mended: known.toml."""
    return tomllib.loads((FOLDER / "known.toml").read_text("utf-8")).get("known", [])


def unknown(problems: list[str], check: str, page: str) -> list[str]:
    """Those problems of a page that known.toml does not list."""
    entries = [entry for entry in known() if entry["check"] == check]
    return [
        problem
        for problem in problems
        if not any(
            re.fullmatch(entry.get("pages", ".*"), page) and re.search(entry["problem"], problem)
            for entry in entries
        )
    ]
