"""Sphinx extension: mends what the theme or docutils write and axe-core rightly calls a violation."""

from __future__ import annotations

from sphinx.application import Sphinx


def mend_bibliography(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """docutils puts entries of the retired role doc-biblioentry into a list, which holds list items only."""
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", mend_bibliography)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
