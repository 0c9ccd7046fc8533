"""Sphinx extension: the index of the site's search, in place of Sphinx's own.

Sphinx stores which words stand on which page. That cannot say how well a page answers, finds nothing unless every
word of a query stands on one page, and knows no numbers. This index holds, of each page, the fields of its row in
book/chapters.yml and its sentences; book/_static/search_ranking.js weighs them, and excerpts are cut from them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, Any

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.search import IndexBuilder

from chapter_map import TABLE
from search_text import sections

FORMAT = 1
"""To be raised with any change of what is stored: pages are then read again."""

FIELDS = ("number", "title", "topic", "question", "symptom")


def phrases(listed: str) -> list[str]:
    """What stands between the commas."""
    return [phrase.strip() for phrase in listed.split(",") if phrase.strip()]


def read_table() -> tuple[dict[str, dict[str, Any]], list[list[str]]]:
    """What book/chapters.yml says of each page, by its name in Sphinx, and the groups of synonyms."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    rows = {
        f"book/{row['file']}": {
            **{field: row[field] for field in FIELDS if field in row},
            "words": phrases(row.get("words", "")),
        }
        for row in (*table["chapters"], *table["appendices"])
    }
    return rows, [phrases(group) for group in table["synonyms"]]


class PageIndex(IndexBuilder):
    """What Sphinx asks of an index, kept as `{page: sections}`; stop words and stemmer are Sphinx's."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.pages: dict[str, list[dict[str, str]]] = {}

    def feed(self, docname: str, filename: str, title: str, doctree: nodes.document) -> None:
        """Read a page that is being written."""
        self.pages[docname] = sections(doctree)

    def prune(self, docnames: Iterable[str]) -> None:
        """Keep these pages only."""
        self.pages = {name: self.pages[name] for name in set(docnames) & self.pages.keys()}

    def load(self, stream: IO, format: Any) -> None:
        """Read what an earlier build stored; ValueError where it is of another form."""
        stored = format.load(stream)
        if "pages" not in stored:
            raise ValueError("not an index of this form")
        self.pages = {page["name"]: page["sections"] for page in stored["pages"]}

    def freeze(self) -> dict[str, list]:
        """The synonyms, and the pages in order of their names, each with its row of the table as it is now."""
        rows, synonyms = read_table()
        names = sorted(self.pages)
        pages = [{"name": name, **rows.get(name, {"words": []}), "sections": self.pages[name]} for name in names]
        return {"pages": pages, "synonyms": synonyms}


class Builder(StandaloneHTMLBuilder):
    """Sphinx's builder of websites with another index."""

    def load_indexer(self, docnames: Iterable[str]) -> None:
        """Called when the index has just been made, to fill it with what is not built anew."""
        config = self.config
        self.indexer = PageIndex(
            self.env,
            config.html_search_language or config.language,
            config.html_search_options,
            config.html_search_scorer,
        )
        super().load_indexer(docnames)


def add_ranking(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: nodes.document | None) -> None:
    """Load the ranking on the search page, before Sphinx's script for it, which ours replaces."""
    if pagename == "search":
        app.add_js_file("search_ranking.js")


def setup(app: Sphinx) -> dict:
    app.add_builder(Builder, override=True)
    app.connect("html-page-context", add_ranking)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "env_version": FORMAT}
