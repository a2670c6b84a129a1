"""The built book in headless Chromium: one server and one browser a worker, three modes.

    make book browser-test

The book is served from the loopback address: no test reaches another host, and what a page asks
of one is refused and told. `BOOK_SITE` names another folder of pages than book/_build/html,
`BOOK_CHROMIUM` another browser. Without Chromium, or a book, tests are skipped and say so.
"""

import functools
import http.server
import os
import shutil
import threading
from pathlib import Path

import pytest
import visits

CHROMIUM = ("chromium", "google-chrome")
"""Names of installed browsers, as systems have them; after them comes Playwright's own."""


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, without a log."""

    protocol_version = "HTTP/1.1"  # one connection for the many files of a page

    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def serve():
    """Serves a folder until the tests end: a function from the folder to its address."""
    servers = []

    def start(folder: Path) -> str:
        handler = functools.partial(Handler, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def site(serve):
    """The address of the built book."""
    if not visits.PAGES:
        pytest.skip(f"no built book in {visits.SITE}: make book")
    return serve(visits.SITE)


@pytest.fixture(scope="session")
def browser():
    """Chromium, without a window."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="no Playwright: pip install -r requirements-browser.txt"
    )
    found = os.environ.get("BOOK_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
    with api.sync_playwright() as playwright:
        if not found and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("no Chromium: install the system's, or run `playwright install chromium`")
        browser = playwright.chromium.launch(executable_path=found)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def contexts(browser):
    """A function from a mode to its browser context, which keeps scripts between pages."""
    made = {}

    def context(mode: str):
        if mode not in made:
            made[mode] = visits.context(browser, mode)
        return made[mode]

    yield context
    for one in made.values():
        one.close()


@pytest.fixture
def visit(contexts):
    """Opens a page in a mode: a function from its address and the mode to a visits.Visit."""
    opened = []

    def open_page(address: str, mode: str = "light") -> visits.Visit:
        opened.append(visits.Visit(contexts(mode), address))
        return opened[-1]

    yield open_page
    for one in opened:
        one.page.close()


@pytest.fixture
def read(visit, site):
    """Opens a page of the book: as `visit`, with the page's name, as in _toc.yml."""
    return lambda name, mode="light": visit(f"{site}{name}.html", mode)
