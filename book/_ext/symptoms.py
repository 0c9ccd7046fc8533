"""Sphinx extension: the symptom index and its decision tree, from book/symptoms.yml and the doctor's `FAULTS`.

`{symptom-index}` prints every symptom with what to look at, the line that shows it, and its causes, cures and pages;
`{symptom-tree}` draws the questions that lead to them, as a picture whose ends can be clicked.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from textwrap import wrap
from typing import Any

import yaml
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from chapter_map import TABLE as CHAPTERS
from chapter_map import link, read_chapters
from claims_tables import table
from unstuck.faults import FAULTS

TABLE = Path(__file__).resolve().parents[1] / "symptoms.yml"
HEADS = ["it may be that", "cure", "page"]

LINE, CHARACTER = 25, 11  # height of a line and width of a character, in units of the tree's picture
QUESTION, ANSWERS, WIDTH = 250, 310, 600  # right end of the questions, left end and right end of the answers
PADDING, GAP = 14, 56


def read_symptoms(path: Path = TABLE) -> dict[str, Any]:
    """`symptoms`, groups of rows, and `tree`, the questions."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rows_of(stored: dict[str, Any]) -> list[dict[str, Any]]:
    """Every symptom, in order."""
    return [row for group in stored["symptoms"] for row in group["rows"]]


def causes_of(row: dict[str, Any]) -> list[dict[str, str]]:
    """Cause, cure and page of each thing that can be behind a symptom."""
    faults = [FAULTS[slug] for slug in row["faults"]]
    known = [{"cause": fault.cause, "cure": fault.cure, "page": fault.page} for fault in faults]
    return known + row.get("causes", [])


class Index(SphinxDirective):
    """All symptoms, a section a group."""

    def run(self) -> list[nodes.Node]:
        for path in (TABLE, CHAPTERS, Path(self.env.srcdir) / "_toc.yml"):
            self.env.note_dependency(str(path))
        self.titles = {row["file"]: f"{row['number']} · {row['title']}" for row in read_chapters()}
        return [self.group(group) for group in read_symptoms()["symptoms"]]

    def section(self, title: str, name: str, *inner: nodes.Node) -> nodes.section:
        """A section with an address of its own."""
        made = nodes.section("", nodes.title("", title), *inner, ids=[name], names=[name])
        self.state.document.note_explicit_target(made, made)
        return made

    def group(self, group: dict[str, Any]) -> nodes.section:
        name = nodes.make_id(group["group"])
        made = self.section(group["group"], name, *(self.symptom(row) for row in group["rows"]))
        made["classes"].append("symptom-index")
        return made

    def symptom(self, row: dict[str, Any]) -> nodes.section:
        look = nodes.enumerated_list(
            "", *(nodes.list_item("", nodes.paragraph("", text)) for text in row["look"]), enumtype="arabic"
        )
        line = nodes.literal_block(row["line"], row["line"], language="python")
        rows: list[list[str | nodes.Node]] = [
            [cause["cause"], cause["cure"], self.page(cause["page"])] for cause in causes_of(row)
        ]
        return self.section(row["symptom"], row["id"], look, line, table(HEADS, rows, ["symptom-causes"]))

    def page(self, name: str) -> nodes.paragraph:
        """A link to a page, or its number and title where it is still to be written."""
        title = self.titles[name]
        if f"book/{name}" not in self.env.found_docs:
            return nodes.paragraph("", f"{title} (planned)", classes=["symptom-planned"])
        return nodes.paragraph("", "", link(name, title, self.env.docname))


def lines(text: str, x: int, y: int, width: int) -> tuple[str, int]:
    """A text in lines of at most this width, the first with its base at y; and how many lines it takes."""
    parts = wrap(text, width // CHARACTER)
    spans = (f'<tspan x="{x}" y="{y + row * LINE}">{escape(part)}</tspan>' for row, part in enumerate(parts))
    return f"<text>{''.join(spans)}</text>", len(parts)


def question(row: dict[str, Any], symptoms: dict[str, str], top: int) -> tuple[str, int]:
    """A question with its two ways on, drawn from `top` down; and where the next one begins."""
    asked, rows = lines(row["question"], PADDING, top + PADDING + 18, QUESTION - 2 * PADDING)
    answers, below = "", top + 20
    for name in row["no"]:
        drawn, count = lines(symptoms[name], ANSWERS, below, WIDTH - ANSWERS)
        answers += f'<a href="#{name}">{drawn}</a>'
        below += LINE * count + 5
    height = max(rows * LINE + 2 * PADDING, below - top - LINE)
    end, middle = top + height, QUESTION // 2
    yes, no = lines("yes", middle + 10, end + 32, QUESTION)[0], lines("no", QUESTION + 12, top + 28, QUESTION)[0]
    return (
        f'<rect x="1" y="{top + 1}" width="{QUESTION}" height="{height}" rx="10"/>{asked}'
        f'<path d="M{middle} {end + 1} V{end + GAP - 6}" marker-end="url(#tree-arrow)"/>{yes}'
        f'<path d="M{QUESTION + 1} {top + 36} H{ANSWERS - 8}" marker-end="url(#tree-arrow)"/>{no}{answers}'
    ), end + GAP


def picture(stored: dict[str, Any]) -> str:
    """The tree as SVG; it takes its colours from the page."""
    symptoms = {row["id"]: row["symptom"] for row in rows_of(stored)}
    pieces, top = "", 0
    for row in stored["tree"]:
        drawn, top = question(row, symptoms, top)
        pieces += drawn
    pieces += lines("It trains. The rest is tuning.", PADDING, top + 18, WIDTH)[0]
    title = "Seven questions from top to bottom; each no leads to symptoms on the right, which are links."
    arrow = (
        '<defs><marker id="tree-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>'
    )
    return (
        f'<svg class="symptom-tree" viewBox="0 0 {WIDTH + 2} {top + 30}" role="group" aria-label="{title}" '
        f'xmlns="http://www.w3.org/2000/svg">{arrow}{pieces}</svg>'
    )


class Tree(SphinxDirective):
    """The decision tree: a picture on the site, a list elsewhere."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(TABLE))
        stored = read_symptoms()
        symptoms = {row["id"]: row["symptom"] for row in rows_of(stored)}
        entries = []
        for row in stored["tree"]:
            text = f"{row['question']} If not: {'; '.join(symptoms[name] for name in row['no'])}."
            entries.append(nodes.list_item("", nodes.paragraph("", text)))
        listed = addnodes.only("", nodes.enumerated_list("", *entries, enumtype="arabic"), expr="not html")
        return [nodes.raw("", picture(stored), format="html"), listed]


def setup(app: Sphinx) -> dict:
    app.add_directive("symptom-index", Index)
    app.add_directive("symptom-tree", Tree)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
