"""An assignment as its teachers keep it: the notebook with solutions, `questions.py` and the rubric, one folder."""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nbformat

from assignments.grading import visible
from assignments.grading.parts import HIDDEN, VISIBLE, Part, Questions
from assignments.grading.visible import plain, restored, run

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "assignments"
DEMONSTRATION = "demonstration"
"""Tag of a cell that shows something and defines nothing: it is not run when marks are given."""


def names() -> list[str]:
    """All assignments, in the order of their headings, which begin with their number."""
    found = [path.parent.name for path in FOLDER.glob("*/questions.py")]
    return sorted(found, key=lambda name: Assignment(name).notebook.cells[0].source)


def grading(cell) -> dict[str, Any]:
    """nbgrader's metadata of a cell, {} for an ordinary one."""
    found = cell.get("metadata", {}).get("nbgrader", {})
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Assignment:
    """One assignment, read from its folder."""

    name: str

    @property
    def folder(self) -> Path:
        return FOLDER / self.name

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.ipynb"

    @cached_property
    def notebook(self):
        return nbformat.read(self.path, as_version=4)

    @cached_property
    def questions(self) -> Questions:
        return importlib.import_module(f"assignments.{self.name}.questions").QUESTIONS

    @property
    def rubric(self) -> str:
        return (self.folder / "rubric.md").read_text(encoding="utf-8")

    @cached_property
    def points(self) -> dict[str, float]:
        """The marks of every part, those given by hand last; raises ValueError where notebook and parts disagree."""
        graded = [cell for cell in self.notebook.cells if grading(cell).get("grade")]
        points = {grading(cell)["grade_id"]: float(grading(cell)["points"]) for cell in graded}
        by_hand = self.by_hand
        ids = [part.id for part in self.questions.parts]
        if sorted(ids) != sorted(set(points) - set(by_hand)):
            raise ValueError(f"{self.name}: the notebook has tests {sorted(set(points) - set(by_hand))}, parts {ids}")
        return {name: points[name] for name in [*ids, *by_hand]}

    @property
    def by_hand(self) -> list[str]:
        """The questions that a person marks: those whose cell is answer and grade in one."""
        cells = map(grading, self.notebook.cells)
        return [cell["grade_id"] for cell in cells if cell.get("grade") and cell.get("solution")]

    @cached_property
    def reference(self) -> dict[str, Any]:
        """The names that the notebook's own cells define, tests and demonstrations left out."""
        sys.modules.setdefault("visible", visible)  # as students import it
        space: dict[str, Any] = {"__name__": "reference"}
        for cell in self.notebook.cells:
            about = grading(cell)
            shown = DEMONSTRATION in cell.metadata.get("tags", [])
            if cell.cell_type == "code" and not shown and not (about.get("grade") and not about.get("solution")):
                exec(compile(cell.source, f"<{self.name}: {about.get('grade_id', 'cell')}>", "exec"), space)
        return space

    def cases(self, part: Part, where: int, count: int, seed: int = 0) -> list[dict[str, Any]]:
        """Calls of one part with the reference's values, and with those of every known mistake that differ."""
        made = []
        for drawn in part.draw(where, count, seed):
            inputs = {name: value for name, value in drawn.items() if not name.startswith("_")}
            case = {"call": part.call, "returns": part.returns, "inputs": inputs, "drawn": drawn, "wrong": []}
            if part.judge is None:
                case["expected"] = values(case, self.reference)
                concerned = [one for one in self.questions.mistakes if part.id in one.loses]
                case["wrong"] = [
                    {"message": one.message, "values": values(case, {**self.reference, one.name: one.function})}
                    for one in concerned
                ]
            made.append(case)
        return made

    def examples(self) -> dict[str, Any]:
        """What students get to check their functions with, as JSON can hold it."""
        known = {}
        for part in self.questions.parts:
            if part.judge is None:
                cases = [
                    {
                        name: case[name] if name in ("call", "returns") else plain(case[name])
                        for name in ("call", "returns", "inputs", "expected")
                    }
                    | {"wrong": [plain(one)["dict"] for one in case["wrong"]]}
                    for case in self.cases(part, VISIBLE, 2)
                ]
                known[part.id] = {"rtol": part.rtol, "atol": part.atol, "cases": cases}
        return known

    def support(self) -> None:
        """Write what `check` needs beside the source, where it is tried, and from where a submission gets it."""
        text = json.dumps(self.examples(), indent=0)
        examples, helper = self.folder / "examples.json", self.folder / "visible.py"
        if not examples.exists() or examples.read_text(encoding="utf-8") != text:
            examples.write_text(text, encoding="utf-8")
        shutil.copyfile(visible.__file__, helper)

    def hidden(self, seed: int) -> dict[str, list[dict[str, Any]]]:
        """The calls on which the marks depend."""
        return {part.id: self.cases(part, HIDDEN, part.cases, seed) for part in self.questions.parts}

    @property
    def digest(self) -> str:
        """Changes with every file on which a mark depends."""
        files = sorted([*self.folder.glob("*.ipynb"), *self.folder.glob("*.py"), *Path(__file__).parent.glob("*.py")])
        text = b"".join(
            path.read_bytes() for path in files if path.name != "visible.py" or path.parent != self.folder
        )
        return hashlib.sha256(text).hexdigest()


def values(case: dict[str, Any], space: dict[str, Any]) -> dict[str, Any]:
    """What a call gives, in the form in which it comes back from a student's process; a mistake may raise."""
    try:
        return restored(plain(run(case, space)))
    except Exception as error:
        return {name: f"raises {type(error).__name__}" for name in case["returns"]}
