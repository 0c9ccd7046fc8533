"""Where the site's search puts the page that ought to come first: `python tools/search_ranks.py [FOLDER] [QUERIES]`.

The queries are those of tests/site/queries.yml, or of another file of the same form. One whose pages are all still to
be written is left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import yaml
from browser import chromium, served
from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_SITE = ROOT / "_build" / "html"
DEFAULT_QUERIES = ROOT / "tests" / "site" / "queries.yml"
FOUND = """() => [...document.querySelectorAll('#search-results li > a')]
  .map(link => new URL(link.href).pathname.replace(/.*\\/|\\.html$/g, ''))"""


@dataclass(frozen=True)
class Query:
    """What is typed, and the pages of which one ought to come first."""

    text: str
    pages: tuple[str, ...]


def read_queries(path: Path = DEFAULT_QUERIES) -> list[Query]:
    """All queries of a file, those that wait for a page included."""
    rows = yaml.safe_load(path.read_text(encoding="utf-8"))["queries"]
    return [Query(str(row["query"]), tuple(row["pages"])) for row in rows]


def is_written(query: Query, book: Path = ROOT / "book") -> bool:
    """Whether one of the query's pages exists."""
    return any((book / page).with_suffix(kind).exists() for page in query.pages for kind in (".ipynb", ".md"))


def search(tab: Page, root: str, text: str) -> list[str]:
    """Type an address with a query and return the pages found, best first, each once."""
    tab.goto(f"{root}/search.html?q={quote(text)}")
    tab.wait_for_function("document.querySelector('.search-summary')?.textContent", timeout=10_000)
    return list(dict.fromkeys(tab.evaluate(FOUND)))


def rank(query: Query, found: list[str]) -> int | None:
    """The place of the best of the query's pages, from 1; None where none was found."""
    return next((place for place, page in enumerate(found, start=1) if page in query.pages), None)


@contextmanager
def search_page(browser: Browser) -> Iterator[Page]:
    """A tab in a fresh profile."""
    context = browser.new_context()
    try:
        yield context.new_page()
    finally:
        context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", nargs="?", type=Path, default=DEFAULT_SITE, help="folder of the built site")
    parser.add_argument("queries", nargs="?", type=Path, default=DEFAULT_QUERIES, help="file of queries")
    arguments = parser.parse_args()
    queries = [query for query in read_queries(arguments.queries) if is_written(query)]
    places = []
    with chromium() as browser, served(arguments.site) as root, search_page(browser) as tab:
        for query in queries:
            found = search(tab, root, query.text)
            places.append(rank(query, found))
            print(f"{places[-1] or '-':>3}  {query.text:50} {' '.join(found[:3])}")
    first, shown = (sum(place is not None and place <= last for place in places) for last in (1, 3))
    print(f"first: {first} of {len(places)}; in the first three: {shown}")


if __name__ == "__main__":
    main()
