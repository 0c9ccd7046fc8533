"""Sphinx extension: what the pages claim, in tables made from the fields that each claim stores in its notebook.

Every page ends with "All checks of this page", folded; the directive `{they-say}` prints, for the whole book, what
sources say beside what was measured.
"""

from __future__ import annotations

import json
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

from unstuck.claims import MIME, Claim, number


def claims_of(notebook: Path) -> list[Claim]:
    """The claims of a stored notebook, in their order."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    outputs = (output for cell in cells for output in cell.get("outputs", []))
    return [Claim.from_fields(output["data"][MIME]) for output in outputs if MIME in output.get("data", {})]


def said(value: float | str | None) -> str:
    return "" if value is None else number(value)


def table(heads: list[str], rows: list[list[str | nodes.Node]], classes: list[str]) -> nodes.table:
    """A table whose first column is as wide as two others."""

    def line(cells: list[str | nodes.Node]) -> nodes.row:
        texts = [nodes.paragraph("", cell) if isinstance(cell, str) else cell for cell in cells]
        return nodes.row("", *(nodes.entry("", text) for text in texts))

    columns = [nodes.colspec(colwidth=2 if i == 0 else 1) for i in range(len(heads))]
    head, body = nodes.thead("", line(list(heads))), nodes.tbody("", *(line(row) for row in rows))
    return nodes.table("", nodes.tgroup("", *columns, head, body, cols=len(heads)), classes=classes)


def all_checks(claims: list[Claim]) -> list[nodes.Node]:
    """The folded table of a page."""
    rows: list[list[str | nodes.Node]] = [
        [claim.text, claim.measured, claim.required, said(claim.theory), said(claim.says)] for claim in claims
    ]
    summary = f"All checks of this page ({len(claims)}, all held when it was last run)"
    return [
        nodes.raw("", f'<details class="checks"><summary>{summary}</summary>', format="html"),
        table(["claim", "we measured", "required", "theory", "they say"], rows, ["checks"]),
        nodes.raw("", "</details>", format="html"),
    ]


def add_all_checks(app: Sphinx, doctree: nodes.document) -> None:
    """Append the table to the page's outermost section, where the page is a notebook that claims something."""
    path = Path(app.env.doc2path(app.env.docname))
    sections = [node for node in doctree.children if isinstance(node, nodes.section)]
    if path.suffix == ".ipynb" and sections and (claims := claims_of(path)):
        sections[0].extend(all_checks(claims))


def notebooks_of(env: BuildEnvironment) -> list[tuple[str, Path]]:
    """Name and file of every page that is a notebook, in the order of their names."""
    files = ((name, Path(env.doc2path(name))) for name in sorted(env.found_docs))
    return [(name, path) for name, path in files if path.suffix == ".ipynb"]


class TheySay(SphinxDirective):
    """A table of all claims that quote a source: what it says, what was measured, and on which page."""

    def run(self) -> list[nodes.Node]:
        rows: list[list[str | nodes.Node]] = []
        for name, path in notebooks_of(self.env):
            self.env.note_dependency(str(path))
            for claim in claims_of(path):
                if claim.says is not None:
                    source = f" ({claim.source})" if claim.source else ""
                    rows.append([said(claim.says) + source, claim.text, claim.measured, self.link(name)])
        heads = ["they say", "we found", "we measured", "page"]
        return [table(heads, rows, ["they-say"])] if rows else []

    def link(self, name: str) -> nodes.paragraph:
        options = {"refdomain": "std", "reftype": "doc", "refexplicit": False, "refwarn": True}
        inner = nodes.inline("", "")
        link = addnodes.pending_xref("", inner, reftarget=f"/{name}", refdoc=self.env.docname, **options)
        return nodes.paragraph("", "", link)


def setup(app: Sphinx) -> dict:
    app.connect("doctree-read", add_all_checks, priority=400)  # before the box on running the page
    app.add_directive("they-say", TheySay)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
