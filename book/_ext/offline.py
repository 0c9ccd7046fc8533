"""Sphinx extension: what a page needs is in the site itself, and no more of it than is needed."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

from markupsafe import Markup
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

MATHJAX_PACKAGE = "sphinx-mathjax-offline"
MATHJAX_PARTS = ("tex-chtml.js", "a11y/assistive-mml.js", "input/tex/extensions", "output/chtml/fonts/woff-v2")
"""TeX in, HTML with fonts out, and hidden MathML for screen readers; the package brings three times as much."""

ICON_SCRIPT = re.compile(r"\s*<script[^>]*/scripts/fontawesome\.js[^>]*></script>")
ICON_FILES = ("fontawesome.js", "fontawesome.js.map", "fontawesome.js.LICENSE.txt")


def copy_mathjax(app: Sphinx) -> None:
    """Copy MathJax from the installed package to `_static/vendor/mathjax`."""
    if app.builder.format != "html":
        return
    source = Path(importlib.util.find_spec(MATHJAX_PACKAGE).origin).parent / "static" / "mathjax"
    target = Path(app.outdir) / "_static" / "vendor" / "mathjax"
    for part in MATHJAX_PARTS:
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)
        else:
            shutil.copyfile(source / part, target / part)


def without_icon_script(head: str) -> Markup:
    """The head of a page without the theme's Font Awesome script; its style sheet draws the same icons."""
    shorter, removed = ICON_SCRIPT.subn("", str(head))
    if removed != 1:
        raise ExtensionError(f"offline: expected one Font Awesome script in the theme's head, found {removed}")
    return Markup(shorter)


def offer_to_template(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Make `without_icon_script` known to _templates/layout.html."""
    context["without_icon_script"] = without_icon_script


def remove_icon_script(app: Sphinx, exception: Exception | None) -> None:
    """Delete the script that no page loads."""
    if exception is None and app.builder.format == "html":
        for name in ICON_FILES:
            (Path(app.outdir) / "_static" / "scripts" / name).unlink(missing_ok=True)


def setup(app: Sphinx) -> dict:
    app.connect("builder-inited", copy_mathjax)
    app.connect("html-page-context", offer_to_template)
    app.connect("build-finished", remove_icon_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
