"""Fixtures of the site's tests: the built site, one Chromium, a server on loopback."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from ipywidgets import Widget

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(os.environ.get("UNSTUCK_SITE", ROOT / "_build" / "html"))
sys.path.insert(0, str(ROOT / "tools"))

from browser import BrowserMissing, built_pages, chromium, served  # noqa: E402

ANYMOUNT = ROOT / "book" / "_static" / "anymount.js"
MIME = "application/vnd.jupyter.widget"
WIDGET_PAGE = """
<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Explorables</title>
<meta name="viewport" content="width=device-width">
<script type="{mime}-state+json">{state}</script><script>{anymount}</script></head>
<body><main><h1>Explorables</h1>{views}</main></body></html>
"""
NOT_BUILT = "book/intro.html"  # stands for every page where nothing has been built, and fails


def pytest_generate_tests(metafunc):
    """A test with `page` runs over every built page, one with `book_page` over those of the book."""
    pages = built_pages(SITE) or [NOT_BUILT]
    if "page" in metafunc.fixturenames:
        metafunc.parametrize("page", pages)
    if "book_page" in metafunc.fixturenames:
        metafunc.parametrize("book_page", [page for page in pages if page.startswith("book/")])


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built site."""
    if not (SITE / "index.html").exists():
        pytest.fail(f"there is no site in {SITE}: run `make book` first")
    return SITE


@pytest.fixture(scope="session")
def base(site):
    """The site's address on a server of our own, without a trailing slash."""
    with served(site) as address:
        yield address


@pytest.fixture(scope="session")
def browser():
    """One Chromium for all tests. Without one they are skipped, and fail where CI is set."""
    try:
        with chromium() as found:
            yield found
    except BrowserMissing as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))


@pytest.fixture
def open_page(browser):
    """A function that opens an address in a fresh profile and returns a `Visit`."""
    from visit import Visit

    visits = []

    def visit(url: str, **options) -> Visit:
        visits.append(Visit(browser, url, **options))
        return visits[-1]

    yield visit
    for each in visits:
        each.close()


@pytest.fixture
def show(browser, tmp_path):
    """`show(*widgets)` opens a page as Jupyter Book makes it, from a file, in a fresh profile.

    `page.heard` lists what the console said and what was asked of others.
    """
    contexts = []

    def opened(*widgets, **options):
        state = Widget.get_manager_state(widgets=[model for widget in widgets for model in (widget, widget.layout)])
        views = [json.dumps(widget.get_view_spec()) for widget in widgets]
        source = WIDGET_PAGE.format(
            mime=MIME,
            state=json.dumps(state).replace("</", "<\\/"),
            anymount=ANYMOUNT.read_text(encoding="utf-8"),
            views="".join(f'<script type="{MIME}-view+json">{view}</script>' for view in views),
        )
        path = tmp_path / "page.html"
        path.write_text(source.lstrip(), encoding="utf-8")
        own = (path.as_uri(), "blob:", "data:")
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.heard = []
        page.on("console", lambda message: page.heard.append(message.text))
        page.on("pageerror", lambda error: page.heard.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith(own) else page.heard.append(request.url))
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
