"""Sphinx extension: mends what the theme or docutils write and axe-core rightly calls a violation."""

from __future__ import annotations

from sphinx.application import Sphinx


def mend_bibliography(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """docutils puts entries of the retired role doc-biblioentry into a list, which holds list items only."""
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def name_toggles(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """The theme's buttons that open a chapter in the contents hold a picture only, which nothing reads aloud."""
    theirs = context.get("generate_toctree_html")
    if theirs is not None:

        def with_names(*args, **kwargs) -> str:
            return str(theirs(*args, **kwargs)).replace("<summary>", '<summary aria-label="pages of this chapter">')

        context["generate_toctree_html"] = with_names


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", mend_bibliography)
    app.connect("html-page-context", name_toggles, priority=900)  # after the theme's own
    return {"parallel_read_safe": True, "parallel_write_safe": True}
