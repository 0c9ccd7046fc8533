"""What JupyterLab needs to spoil nothing of a chapter, made from tags and directives; the website stays the same.

Solutions and what goes deeper are folded, as are the cells that the website folds. Figures have their captions, which
references find, and citations a list of what they cite. Before every solution there is a cell to answer in. Below the
title one line says what a notebook needs that somebody has downloaded alone.
"""

import re
import sys
from pathlib import Path

import nbformat
from lab_references import references
from nbformat import v4

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book" / "_ext"))

from site_source import for_lab, for_site

GATE = re.compile(
    r"^(?P<fence>`{3,}|:{3,})\{(?P<kind>solution|deeper)-(?P<side>start|end)\}[ \t]*(?P<argument>.*)\n"
    r"(?P<options>(?::[\w-]+:.*\n)*)(?P=fence)[ \t]*$",
    re.MULTILINE,
)
UNKNOWN_TO_LAB = re.compile(r"^(`{3,}|:{3,})\{chapter-map\}.*\n\1[ \t]*$", re.MULTILINE)
NEEDS = (
    "*This notebook needs Python 3.11 to 3.13 and the package `unstuck`. In a copy of the project `make lab` brings"
    " both; in an environment of your own it is `pip install .` there.*"
)
LAB, ANSWER, REMOVE = "lab", "answer", "remove-cell"
"""Tags: a cell that is made here, anew each time; a cell to answer in; a cell that the website leaves out."""
SOURCE_HIDDEN = {"hide-input", "hide-cell", "remove-input", REMOVE}
OUTPUTS_HIDDEN = {"hide-output", "hide-cell"}
HEADING_COLLAPSED = "jp-MarkdownHeadingCollapsed"


def tags(cell) -> set[str]:
    return set(cell.metadata.get("tags", []))


def arrange(nb) -> None:
    """Bring the cells of a notebook into the form above, in place; doing so twice changes nothing more."""
    pieces = [piece for cell in nb.cells if LAB not in tags(cell) for piece in split(cell)]
    nb.cells = with_needs(with_references(with_captions(with_answers(pieces))))
    for cell in nb.cells:
        fold(cell)


def split(cell) -> list:
    """A cell of text, cut so that every gate stands in a cell of its own; the first part keeps the id."""
    if cell.cell_type != "markdown":
        return [cell]
    source, texts, at = for_site(cell.source), [], 0
    for gate in GATE.finditer(source):
        texts += [source[at : gate.start()], gate_cell(gate)]
        at = gate.end()
    texts.append(source[at:])
    texts = [UNKNOWN_TO_LAB.sub(lambda found: for_lab(found[0]), text).strip("\n") for text in texts]
    sources = [text for text in texts if text]
    names = [cell.id, *(f"{cell.id}-{number}" for number in range(1, len(sources)))]
    made = zip(sources, names, strict=False)
    return [nbformat.from_dict({**cell, "id": name, "source": text}) for text, name in made] or [cell]


def gate_cell(gate: re.Match) -> str:
    """The source of a gate's cell. What JupyterLab folds ends at the next heading of the level, an empty one here."""
    headings = {"solution": "#### Solution", "deeper": f"#### Go deeper: {gate['argument']}"}
    return for_lab(gate[0], headings[gate["kind"]] if gate["side"] == "start" else "####")


def gate_of(cell) -> re.Match | None:
    """The gate in a cell that `split` has made."""
    return GATE.fullmatch(for_site(cell.source)) if cell.cell_type == "markdown" else None


def with_needs(cells: list) -> list:
    """Below the title what the notebook needs, for somebody who has nothing but this one file."""
    if not cells or cells[0].cell_type != "markdown" or not cells[0].source.startswith("# "):
        return cells
    return [cells[0], lab_cell(NEEDS, "needs"), *cells[1:]]


def with_answers(cells: list) -> list:
    """An empty cell before every solution that holds code and has none."""
    found = []
    for number, cell in enumerate(cells):
        gate = gate_of(cell)
        if gate and gate["kind"] == "solution" and gate["side"] == "start":
            ends = (later for later in range(number, len(cells)) if is_end(cells[later]))
            inside = cells[number : next(ends, number)]
            answered = found and ANSWER in tags(found[-1])
            if not answered and any(other.cell_type == "code" for other in inside):
                name = f"answer-{gate['argument'].strip()}"
                found.append(v4.new_code_cell("# your answer", id=name, metadata={"tags": [ANSWER, REMOVE]}))
        found.append(cell)
    return found


def is_end(cell) -> bool:
    gate = gate_of(cell)
    return bool(gate) and gate["side"] == "end"


def with_captions(cells: list) -> list:
    """Behind every figure its caption, which the website takes from the figure's own cell."""
    found = []
    for cell in cells:
        found.append(cell)
        figure = cell.metadata.get("mystnb", {}).get("figure", {})
        if figure.get("name") and figure.get("caption"):
            text = f":::{{figure}}\n:label: {figure['name']}\n\n{figure['caption']}\n:::"
            found.append(lab_cell(text, f"caption-{figure['name']}"))
    return found


def with_references(cells: list) -> list:
    """Behind the bibliography, which JupyterLab leaves empty, a list of what the notebook cites."""
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    listed = references("\n".join(texts))
    found = []
    for cell in cells:
        found.append(cell)
        if listed and cell.cell_type == "markdown" and "{bibliography}" in cell.source:
            found.append(lab_cell(listed, "references"))
    return found


def lab_cell(source: str, name: str):
    """A text that only JupyterLab shows."""
    return v4.new_markdown_cell(source, id=name, metadata={"tags": [LAB, REMOVE]})


def fold(cell) -> None:
    """Set what JupyterLab folds on opening the notebook, and nothing else of the kind."""
    cell.metadata.pop("jupyter", None)
    cell.metadata.pop(HEADING_COLLAPSED, None)
    gate = gate_of(cell)
    if gate and gate["side"] == "start":
        cell.metadata[HEADING_COLLAPSED] = True
    if cell.cell_type == "code" and ANSWER not in tags(cell):
        hidden = {"source_hidden": SOURCE_HIDDEN, "outputs_hidden": OUTPUTS_HIDDEN}
        if settings := {key: True for key, those in hidden.items() if tags(cell) & those}:
            cell.metadata["jupyter"] = nbformat.from_dict(settings)
