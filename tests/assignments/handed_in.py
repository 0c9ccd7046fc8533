"""Makes submissions: the source's notebook with the solutions in it, changed in one place."""

import copy
import functools
import json

import nbformat
from nbformat import v4

from assignments.grading.grade import Marks, grade
from assignments.grading.release import released
from assignments.grading.source import Assignment, grading

BACKPROP = "backprop"


@functools.cache
def assignment(name=BACKPROP):
    found = Assignment(name)
    found.support()
    return found


def solved(name=BACKPROP):
    """A notebook with all solutions, as a student would hand it in."""
    return copy.deepcopy(assignment(name).notebook)


def untouched(name=BACKPROP):
    return released(assignment(name))


def with_function(notebook, name, source):
    """The same notebook with another version of one function, in the cell that defines it; returns it."""
    for cell in notebook.cells:
        if grading(cell).get("solution") and f"def {name}(" in cell.source:
            cell.source = source
            return notebook
    raise AssertionError(f"no solution cell defines {name}")


def with_cell(notebook, source, at=1):
    notebook.cells.insert(at, v4.new_code_cell(source))
    return notebook


def as_bytes(notebook):
    return json.dumps(notebook).encode() if isinstance(notebook, dict) else nbformat.writes(notebook).encode()


def marked(notebook, name=BACKPROP) -> Marks:
    return grade(notebook if isinstance(notebook, bytes) else as_bytes(notebook), name)


def lost(marks: Marks, name=BACKPROP) -> set[str]:
    """The parts without their marks; every other has exactly its own."""
    full = assignment(name).points
    assert set(marks.points) == set(full) - set(assignment(name).by_hand)
    assert all(points in (0, full[part]) for part, points in marks.points.items())
    return {part for part, points in marks.points.items() if points == 0}
