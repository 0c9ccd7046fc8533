"""Sphinx extension: where JavaScript is off, an explorable's picture or plain page stands in for it."""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

VIEW = "application/vnd.jupyter.widget-view+json"
STAND_INS = ("text/html", "image/png")


class StandIns(SphinxPostTransform):
    """Puts what a widget's output holds besides its view into a <noscript> behind the view."""

    default_priority = 3  # before MyST-NB takes one of an output's forms and drops the others
    formats = ("html",)

    def run(self, **kwargs) -> None:
        for bundle in list(self.document.findall(nodes.container)):
            if bundle.get("nb_element") != "mime_bundle":
                continue
            forms = {form["mime_type"]: form for form in bundle.children}
            stand_in = next((forms[kind] for kind in STAND_INS if kind in forms), None)
            if VIEW not in forms or stand_in is None:
                continue
            for image in stand_in.findall(nodes.image):
                image["alt"] = forms["text/plain"].astext()
            tags = (nodes.raw(text=tag, format="html") for tag in ("<noscript>", "</noscript>"))
            opening, closing = tags
            forms[VIEW] += [opening, *(node.deepcopy() for node in stand_in.children), closing]


def setup(app: Sphinx) -> dict:
    app.add_post_transform(StandIns)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
