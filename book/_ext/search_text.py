"""What the search reads of a page: its sentences by section, without code, outputs, solutions, references and TeX."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from docutils import nodes

SKIPPED = (
    nodes.citation,
    nodes.comment,
    nodes.footnote,
    nodes.image,
    nodes.literal_block,
    nodes.math_block,
    nodes.raw,
    nodes.title,  # of boxes; those of sections are read with their section
)
SKIPPED_CLASSES = {"chapter-map", "checks", "run-locally", "solution", "symptom-index", "they-say"}
"""The map and the two tables repeat what other pages say; a solution is not for finding."""

ELLIPSIS = "…"
SIGNS = {"times": "×", "cdot": "·", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "approx": "≈", "pm": "±", "to": "→"}
MACRO = re.compile(r"\\([A-Za-z]+) ?")
TEX = re.compile(r"[\\{}^_&]")


def readable(formula: str) -> str:
    """A short formula as plain characters, `\\chi = 1` as `χ = 1`; an ellipsis for one that has no such form."""

    def sign(macro: re.Match) -> str:
        name = macro[1]
        if name in SIGNS:
            return SIGNS[name]
        try:
            return unicodedata.lookup(f"GREEK {'SMALL' if name.islower() else 'CAPITAL'} LETTER {name.upper()}")
        except KeyError:
            return macro[0]

    plain = MACRO.sub(sign, formula)
    return ELLIPSIS if TEX.search(plain) else plain


def text(node: nodes.Node) -> str:
    """A paragraph, or a title, as one line."""

    def pieces(node: nodes.Node) -> Iterator[str]:
        for child in node.children:
            if isinstance(child, nodes.math):
                yield readable(child.astext())
            elif isinstance(child, nodes.Text):
                yield child.astext()
            elif not isinstance(child, SKIPPED):
                yield from pieces(child)

    return " ".join("".join(pieces(node)).split())


def is_cell(node: nodes.Node) -> bool:
    """Whether this is a code cell of a notebook, with what it put out."""
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code"


def title(node: nodes.Node) -> str:
    """The title of a section; "" for a section without one, which is the inside of a box, and for what is none."""
    titles = (child for child in node.children if isinstance(child, nodes.title))
    return next(map(text, titles), "") if isinstance(node, nodes.section) else ""


def paragraphs(node: nodes.Node) -> Iterator[str]:
    """The paragraphs, list items and captions below a node, without those of the sections in it."""
    for child in node.children:
        if isinstance(child, SKIPPED) or title(child):
            continue
        if isinstance(child, nodes.Element) and SKIPPED_CLASSES.intersection(child["classes"]):
            continue
        if is_cell(child):
            yield from map(text, child.findall(nodes.caption))
        elif isinstance(child, nodes.TextElement):
            yield text(child)
        else:
            yield from paragraphs(child)


def sections(page: nodes.Node) -> list[dict[str, str]]:
    """`anchor`, `title` and `text` (a line a paragraph) of each section that says something, in order.

    The first one, which is the page's own, has no anchor.
    """
    found: list[dict[str, str]] = []
    for section in page.findall(nodes.section):
        lines = [line for line in paragraphs(section) if line]
        if title(section) and (lines or not found):
            anchor = section["ids"][0] if found else ""
            found.append({"anchor": anchor, "title": title(section), "text": "\n".join(lines)})
    return found
