"""Sphinx extension: a fold over code says what the code is for, so that a row of folds can be told apart."""

from __future__ import annotations

import json

from sphinx.application import Sphinx

HIDDEN = "hide-input"


def purpose(cell: dict, first: bool) -> str:
    """What the code of a folded cell is for, as far as its place and its outputs tell."""
    outputs = [output.get("data", {}) for output in cell.get("outputs", [])]
    if first:
        return "the set-up"
    if cell["metadata"].get("mystnb", {}).get("figure"):
        return "the code of this figure"
    if any("unstuck-table" in "".join(data.get("text/html", "")) for data in outputs):
        return "the code of this table"
    if any("application/vnd.jupyter.widget-view+json" in data for data in outputs):
        return "the code of these sliders"
    return "the code of this step"


def name_folds(app: Sphinx, docname: str, content: list[str]) -> None:
    """Set the words on every fold in what Sphinx reads of a notebook; the file stays."""
    if not app.env.doc2path(docname).endswith(".ipynb"):
        return
    notebook = json.loads(content[0])
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(code):
        if HIDDEN in cell["metadata"].get("tags", []):
            words = purpose(cell, first=number == 0)
            prompts = {"code_prompt_show": f"Show {words}", "code_prompt_hide": f"Hide {words}"}
            cell["metadata"]["mystnb"] = {**prompts, **cell["metadata"].get("mystnb", {})}
    content[0] = json.dumps(notebook)


def setup(app: Sphinx) -> dict:
    app.connect("source-read", name_folds)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
