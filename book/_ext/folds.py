"""Sphinx extension: `{deeper-start} Title` and `{deeper-end}` fold all that stands between them, executed cells too.

On the page it is one `<details>`, which the browser opens by itself where a link, its search for text or the printer
leads into it. Figures, equations and labels in it are numbered and referred to as anywhere else.
"""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

LABEL = "Go deeper: "

logger = logging.getLogger(__name__)


class deeper(nodes.General, nodes.Element):
    """A fold: its title, then what it holds."""


class deeper_title(nodes.General, nodes.TextElement):
    """The line that opens and closes the fold."""


class deeper_end(nodes.General, nodes.Element):
    """Where the fold that was opened last ends; gone after `FillFolds`."""


class DeeperStart(SphinxDirective):
    """An empty fold, filled by `FillFolds`; `:name:` is a label to refer to it by."""

    required_arguments = 1
    final_argument_whitespace = True
    option_spec = {"name": lambda name: name}  # noqa: RUF012 (docutils' own form)

    def run(self) -> list[nodes.Node]:
        title, messages = self.parse_inline(self.arguments[0])
        fold = deeper("", deeper_title("", "", *title))
        self.set_source_info(fold)
        self.add_name(fold)
        return [fold, *messages]


class DeeperEnd(SphinxDirective):
    """The end of a fold."""

    def run(self) -> list[nodes.Node]:
        end = deeper_end()
        self.set_source_info(end)
        return [end]


class FillFolds(SphinxTransform):
    """Moves what stands between a start and its end into the fold; a gate without its other half is a warning."""

    default_priority = 5  # before the solutions of sphinx_exercise, which may stand in a fold, or hold one

    def apply(self, **kwargs) -> None:
        fold = None
        for gate in list(self.document.findall(lambda node: isinstance(node, deeper | deeper_end))):
            if isinstance(gate, deeper):
                if fold is not None:
                    self.refuse(fold, "{deeper-start} has no {deeper-end} before the next one starts")
                fold = gate
            elif fold is None:
                self.refuse(gate, "{deeper-end} has no {deeper-start}")
            else:
                if gate.parent is fold.parent:
                    fill(fold, gate)
                else:
                    self.refuse(fold, "a heading stands between {deeper-start} and its {deeper-end}")
                fold = None
                gate.parent.remove(gate)
        if fold is not None:
            self.refuse(fold, "{deeper-start} has no {deeper-end}")

    def refuse(self, gate: nodes.Element, why: str) -> None:
        """Warn with page and line (of a notebook: number of the cell times 10,000, plus the line in it)."""
        logger.warning(why, location=gate)
        if isinstance(gate, deeper_end):
            gate.parent.remove(gate)


def fill(fold: deeper, end: deeper_end) -> None:
    """Move the nodes between the two, which are siblings, into the fold."""
    siblings = fold.parent.children
    begin = siblings.index(fold) + 1
    for node in siblings[begin : siblings.index(end)]:
        fold.parent.remove(node)
        fold += node


def visit_deeper(translator, node: deeper) -> None:
    translator.body.append(translator.starttag(node, "details", CLASS="deeper"))


def depart_deeper(translator, node: deeper) -> None:
    translator.body.append("</details>\n")


def visit_title(translator, node: deeper_title) -> None:
    translator.body.append(translator.starttag(node, "summary", "") + f"<span>{LABEL}</span>")


def depart_title(translator, node: deeper_title) -> None:
    translator.body.append("</summary>\n")


def setup(app: Sphinx) -> dict:
    app.add_node(deeper, html=(visit_deeper, depart_deeper))
    app.add_node(deeper_title, html=(visit_title, depart_title))
    app.add_node(deeper_end)
    app.add_directive("deeper-start", DeeperStart)
    app.add_directive("deeper-end", DeeperEnd)
    app.add_transform(FillFolds)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
