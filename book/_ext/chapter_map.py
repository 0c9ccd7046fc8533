"""Sphinx extension: the directive `{chapter-map}` prints book/chapters.yml, with links to what has been written."""

from __future__ import annotations

from pathlib import Path

import yaml
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

TABLE = Path(__file__).resolve().parents[1] / "chapters.yml"


def read_chapters(path: Path = TABLE) -> list[dict]:
    """The rows of the table of chapters, in order."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))["chapters"]


def by_chapter(rows: list[dict]) -> list[list[dict]]:
    """The rows in groups: a chapter's first page, whose number is a whole one, and the pages 2b, 2c, ... after it."""
    groups: list[list[dict]] = []
    for row in rows:
        if isinstance(row["number"], int):
            groups.append([])
        groups[-1].append(row)
    return groups


def link(name: str, title: str, here: str) -> addnodes.pending_xref:
    """A link with this title from the page `here` to the page book/`name`."""
    options = {"refdomain": "std", "reftype": "doc", "refexplicit": True, "refwarn": True}
    return addnodes.pending_xref("", nodes.inline("", title), reftarget=f"/book/{name}", refdoc=here, **options)


class ChapterMap(SphinxDirective):
    """A list with one entry a chapter, and in it one a page: number, title, question and symptom.

    Unwritten pages are marked "planned".
    """

    def run(self) -> list[nodes.Node]:
        # the table of contents lists what exists, so a new chapter changes it and this page is read again
        self.env.note_dependency(str(TABLE))
        self.env.note_dependency(str(Path(self.env.srcdir) / "_toc.yml"))
        chapters = [
            nodes.list_item("", nodes.bullet_list("", *map(self.entry, rows))) for rows in by_chapter(read_chapters())
        ]
        return [nodes.bullet_list("", *chapters, classes=["chapter-map"])]

    def entry(self, row: dict) -> nodes.list_item:
        docname = f"book/{row['file']}"
        written = docname in self.env.found_docs
        number = nodes.inline("", f"{row['number']}", classes=["chapter-number"])
        title: nodes.Node = nodes.strong("", row["title"])
        if written:
            title = link(row["file"], row["title"], self.env.docname)
        head = nodes.paragraph("", "", number, nodes.Text(" "), title, classes=["chapter-title"])
        if not written:
            head += [nodes.Text(" "), nodes.inline("", "planned", classes=["chapter-planned"])]
        question = nodes.paragraph("", row["question"], classes=["chapter-question"])
        symptom = nodes.paragraph("", row["symptom"], classes=["chapter-symptom"])
        classes = ["written" if written else "planned"]
        return nodes.list_item("", head, question, symptom, classes=classes)


def setup(app: Sphinx) -> dict:
    app.add_directive("chapter-map", ChapterMap)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
