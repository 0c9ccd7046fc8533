"""Sphinx extension: marks the tables "symptom, probe, cause, cure"; on a phone their cells stand below each other."""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx

HEADINGS = ["symptom", "probe", "cause", "cure"]


def mark(app: Sphinx, doctree: nodes.document) -> None:
    """Give these tables the class that the style sheet knows."""
    for table in doctree.findall(nodes.table):
        heads = [entry.astext() for head in table.findall(nodes.thead) for entry in head.findall(nodes.entry)]
        if heads == HEADINGS:
            table["classes"].append("symptom-to-cure")


def setup(app: Sphinx) -> dict:
    app.connect("doctree-read", mark)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
