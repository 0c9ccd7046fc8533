"""A submission: bytes that should be a notebook, made into the steps that worker.py runs."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass, field
from typing import Any

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from assignments.grading.source import DEMONSTRATION, Assignment, grading
from assignments.grading.visible import plain

LARGEST = 20 * 2**20  # bytes


class Unreadable(Exception):
    """What was handed in is no notebook; the message says why."""


@dataclass
class Submission:
    """The code of a submission, and its answers to questions that a person marks."""

    cells: list[dict[str, str]]
    answers: dict[str, str] = field(default_factory=dict)

    def steps(self, hidden: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """All cells, then all calls."""
        calls = [
            {
                "id": f"{part}/{number}",
                "call": case["call"],
                "returns": case["returns"],
                "inputs": plain(case["inputs"]),
            }
            for part, cases in hidden.items()
            for number, case in enumerate(cases)
        ]
        return [*self.cells, *calls]


def clean(text: str) -> str:
    """Text that can be written: halves of characters, which JSON may hold, become question marks."""
    return str(text).encode("utf-8", "replace").decode()


def read(data: bytes, assignment: Assignment) -> Submission:
    """The student's own cells, with every locked cell as it is in the source, whatever became of it.

    Test cells are left out: their work is done by the grader. Raises Unreadable.
    """
    if len(data) > LARGEST:
        raise Unreadable(f"the file has more than {LARGEST // 2**20} MB")
    try:
        notebook = nbformat.read(io.StringIO(data.decode("utf-8-sig")), as_version=4)
        handed_in = [(cell.cell_type, clean(cell.source), grading(cell).get("grade_id")) for cell in notebook.cells]
    except Exception as error:  # nbformat raises many kinds
        raise Unreadable(f"the file is not a notebook ({type(error).__name__})") from None
    given, left_out = _locked(assignment)
    present = {name for _, _, name in handed_in}
    code = [source for name, source in given.items() if name not in present]
    answers: dict[str, str] = {}
    for kind, source, name in handed_in:
        if name in given:
            code.append(given.pop(name))
        elif name in assignment.by_hand:
            answers[name] = source
        elif kind == "code" and name not in left_out and source.strip():
            code.append(source)
    return Submission([_cell(number, source) for number, source in enumerate(code, start=1)], answers)


def _locked(assignment: Assignment) -> tuple[dict[str, str], set[str]]:
    """The source's cells that students must not change, by id, and the ids of those that are not run."""
    given, left_out = {}, set()
    for cell in assignment.notebook.cells:
        about = grading(cell)
        if cell.cell_type != "code" or not about or about.get("solution"):
            continue
        if about.get("grade") or DEMONSTRATION in cell.metadata.get("tags", []):
            left_out.add(about["grade_id"])
        else:
            given[about["grade_id"]] = cell.source
    return given, left_out


def _cell(number: int, source: str) -> dict[str, str]:
    with contextlib.suppress(Exception):  # what is no Python stays as it is, and raises when it is run
        source = TransformerManager().transform_cell(source)  # magics become calls, which do nothing
    return {"id": f"cell {number}", "name": f"cell {number}", "code": source}
