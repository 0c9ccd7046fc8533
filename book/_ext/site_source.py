"""Sphinx extension: a MyST comment that holds a directive is for the website, a heading above a gate is not.

JupyterLab folds what stands below a heading, and shows an error in place of a directive that it does not know. In
a notebook such directives therefore stand as comments, which it does not show; those that open or close a fold
(gates) stand below a heading. A cell reads, for example,

    #### Solution

    % ```{solution-start} some-exercise
    % :class: dropdown
    % ```

tools/lab_cells.py writes this form from the plain directive; here the plain directive is read from it.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

COMMENT = re.compile(
    r"^(?:####(?: .*)?\n\n(?=% [`:]{3,}\{\w+-(?:start|end)\}))?"
    r"(% (?P<fence>`{3,}|:{3,})\{[\w-]+\}.*\n(?:% .*\n)*?% (?P=fence))[ \t]*$",
    re.MULTILINE,
)


def for_lab(directive: str, heading: str = "") -> str:
    """A directive as a comment, below a heading where one is given."""
    lines = [f"% {line}" for line in directive.splitlines()]
    return "\n".join([heading, "", *lines] if heading else lines)


def for_site(source: str) -> str:
    """The text of a cell with its commented directives as plain ones, without the headings above them."""
    return COMMENT.sub(lambda found: re.sub("^% ", "", found[1], flags=re.MULTILINE), source)


def read_notebook(app: Sphinx, docname: str, content: list[str]) -> None:
    """Put the plain directives into what Sphinx reads; the file, which can be downloaded, stays."""
    if not app.env.doc2path(docname).endswith(".ipynb"):
        return
    notebook = json.loads(content[0])
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = for_site("".join(cell["source"]))
    content[0] = json.dumps(notebook)


def setup(app: Sphinx) -> dict:
    app.connect("source-read", read_notebook)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
