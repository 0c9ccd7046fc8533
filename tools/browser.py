"""A Chromium and a small web server, for whoever looks at the built site: the tests and tools/site_weight.py."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
NO_BROWSER = (
    "no browser: get one with `sudo apt-get install chromium`, or with `.venv/bin/playwright install chromium`"
)
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # what asks another host is seen, and goes nowhere
)


class BrowserMissing(RuntimeError):
    """No Chromium was found."""


def find_chromium(own: str = "") -> str:
    """The path of a Chromium: UNSTUCK_CHROMIUM, one on the PATH, or `own`, where Playwright would keep its own."""
    given = os.environ.get("UNSTUCK_CHROMIUM")
    if given:
        return given
    for name in NAMES:
        if path := shutil.which(name):
            return path
    if own and Path(own).exists():
        return own
    raise BrowserMissing(NO_BROWSER)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium with a fresh profile; BrowserMissing where there is none."""
    with sync_playwright() as playwright:
        path = find_chromium(playwright.chromium.executable_path)
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files and writes no log."""

    def log_message(self, *args) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a web server on this machine that serves `folder`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def built_pages(site: Path) -> list[str]:
    """The pages of the built site, relative to it: those of the book, then the search page and the index."""
    book = sorted(str(path.relative_to(site)) for path in (site / "book").rglob("*.html"))
    return [*book, *(name for name in ("search.html", "genindex.html") if (site / name).exists())]
