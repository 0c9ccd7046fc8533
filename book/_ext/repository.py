"""Sphinx extension: what a page says of the repository follows from one setting, `repository.url` in _config.yml.

Without an address there is no launch, source or issue button. On every notebook's page three lines tell how to
run it on one's own machine.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

BUTTONS = ("use_repository_button", "use_issues_button")


def set_buttons(app: Sphinx, config: Config) -> None:
    """Show the theme's buttons where there is an address, and none where there is not."""
    options = config.html_theme_options
    has_address = bool(options.get("repository_url"))
    for button in BUTTONS:
        options[button] = has_address
    if not has_address:
        options["launch_buttons"] = {}


def run_locally(address: str, notebook: str) -> nodes.admonition:
    """The box that tells how to run `notebook` (its path in the project), with or without an address to clone."""
    path = PurePosixPath(notebook)
    commands = "make lab"
    start = "In your copy of the project (it needs Python 3.11, 3.12 or 3.13, and no network after the first time):"
    if address:
        folder = address.rstrip("/").removesuffix(".git").rsplit("/", 1)[-1]
        commands = f"git clone {address}\ncd {folder}\nmake lab"
        start = "With Python 3.11, 3.12 or 3.13 and git (no network is needed after the first time):"
    block = nodes.literal_block(commands, commands, language="none")
    rest = nodes.Text(". For this notebook alone, use the download button at the top of the page.")
    end = nodes.paragraph("", "Then open ", nodes.literal("", path.name), rest)
    title = nodes.title("", "Run this page on your own machine")
    return nodes.admonition("", title, nodes.paragraph("", start), block, end, classes=["run-locally"])


def add_run_locally(app: Sphinx, doctree: nodes.document) -> None:
    """Append the box to the page's outermost section, if the page is a notebook."""
    path = PurePosixPath(app.env.doc2path(app.env.docname, base=False))
    sections = [node for node in doctree.children if isinstance(node, nodes.section)]
    if path.suffix == ".ipynb" and sections:
        sections[0] += run_locally(app.config.html_theme_options.get("repository_url", ""), str(path))


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", set_buttons)
    app.connect("doctree-read", add_run_locally)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
