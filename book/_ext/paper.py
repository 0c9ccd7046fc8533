"""Sphinx extension: what differs in the PDF. Folds stand open, folded code is left out, page 1 is chapter 1."""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

from folds import LABEL, deeper, deeper_title

FIRST = "book/intro"
"""The page that stands before the chapters; its headings are no chapters, and TeX makes the contents by itself."""
FOLDED = {"tag_hide-input", "tag_remove-input"}
"""Classes of cells whose code the site folds."""


class LeaveOut(SphinxPostTransform):
    """Takes out the code that the site folds, which would double the number of sheets, and how to run each page."""

    default_priority = 4
    formats = ("latex",)

    def run(self, **kwargs) -> None:
        for cell in list(self.document.findall(nodes.container)):
            if cell.get("nb_element") == "cell_code" and FOLDED.intersection(cell["classes"]):
                for part in list(cell.children):
                    if isinstance(part, nodes.container) and part.get("nb_element") == "cell_code_source":
                        cell.remove(part)
        for box in list(self.document.findall(nodes.admonition)):
            if "run-locally" in box["classes"]:
                box.parent.remove(box)


class FirstPage(SphinxPostTransform):
    """Turns the first page's sections into text with headings, and takes out the map of chapters."""

    default_priority = 4
    formats = ("latex",)

    def run(self, **kwargs) -> None:
        for chapters in list(self.document.findall(nodes.bullet_list)):
            if "chapter-map" in chapters["classes"]:
                chapters.parent.remove(chapters)
        for page in list(self.document.findall(nodes.section)):
            if self.is_first(page):
                for section in [child for child in page.children if isinstance(child, nodes.section)]:
                    heading, *text = section.children
                    bold = nodes.paragraph("", "", nodes.strong("", heading.astext()))
                    page.replace(section, [bold, *text])
                return

    def is_first(self, section: nodes.section) -> bool:
        """Whether this is the first page's outermost section."""
        return isinstance(section.parent, nodes.document) and self.env.config.root_doc == FIRST


def visit_deeper(translator, node: deeper) -> None:
    translator.body.append("\n\\begin{quote}\n\\small\n")


def depart_deeper(translator, node: deeper) -> None:
    translator.body.append("\n\\end{quote}\n")


def visit_title(translator, node: deeper_title) -> None:
    translator.body.append(f"\\noindent\\textbf{{{LABEL}")


def depart_title(translator, node: deeper_title) -> None:
    translator.body.append("}\\par\n")


def setup(app: Sphinx) -> dict:
    app.add_node(deeper, override=True, latex=(visit_deeper, depart_deeper))
    app.add_node(deeper_title, override=True, latex=(visit_title, depart_title))
    app.add_post_transform(LeaveOut)
    app.add_post_transform(FirstPage)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
