"""Fixtures of the site's tests: the built site, one Chromium, a server on loopback."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(os.environ.get("UNSTUCK_SITE", ROOT / "_build" / "html"))
sys.path.insert(0, str(ROOT / "tools"))

from browser import BrowserMissing, built_pages, chromium, served  # noqa: E402

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
