"""The marks of one submission."""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass, field
from typing import Any

from assignments.grading.process import run_steps
from assignments.grading.source import Assignment
from assignments.grading.submission import Unreadable, read
from assignments.grading.visible import verdict


@dataclass
class Marks:
    """What a submission is given, in plain values.

    Attributes:
        points: of every part that is marked by the grader.
        said: why a part has no points; "" where it has.
        notes: cells that could not be run, or why nothing could.
        answers: the text of what a person marks.
        code: the student's cells.
    """

    points: dict[str, float]
    said: dict[str, str]
    notes: list[str] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    code: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@functools.lru_cache(maxsize=2)
def prepared(name: str, seed: int) -> tuple[Assignment, dict[str, list[dict[str, Any]]]]:
    """An assignment with its hidden calls, computed once in a process."""
    assignment = Assignment(name)
    return assignment, assignment.hidden(seed)


def grade(data: bytes, name: str, seed: int = 0) -> Marks:
    """Mark the bytes of a notebook as a submission to an assignment; the same arguments give the same marks."""
    assignment, hidden = prepared(name, seed)
    ids = [part.id for part in assignment.questions.parts]
    try:
        submission = read(data, assignment)
    except Unreadable as error:
        return Marks(dict.fromkeys(ids, 0.0), dict.fromkeys(ids, "not read"), [str(error)])
    if not submission.cells:
        said = dict.fromkeys(ids, "there is no code")
        return Marks(dict.fromkeys(ids, 0.0), said, ["The notebook has no code."], submission.answers)
    outcomes = run_steps(submission.steps(hidden), assignment.questions, assignment.folder)
    marks = Marks({}, {}, answers=submission.answers, code=[cell["code"] for cell in submission.cells])
    for cell in submission.cells:
        if (outcome := outcomes.get(cell["id"])) and outcome.error:
            marks.notes.append(f"{cell['name']}: {outcome.error}")
    for part in assignment.questions.parts:
        cases = hidden[part.id]
        found = [outcomes[f"{part.id}/{number}"] for number in range(len(cases))]
        error = next((outcome.error for outcome in found if outcome.error), "")
        error = "not done yet" if error.endswith("NotImplementedError") else error
        marks.said[part.id] = error or _judged(part, [outcome.values for outcome in found], cases)
        marks.points[part.id] = 0.0 if marks.said[part.id] else assignment.points[part.id]
    return marks


def _judged(part, values: list[dict[str, Any]], cases: list[dict[str, Any]]) -> str:
    """What is wrong with the values of a part's calls, or ""."""
    if any(set(value or ()) != set(part.returns) for value in values):
        return "no values came"
    if part.judge is None:
        return verdict(values, cases, part.rtol, part.atol)
    try:
        return part.judge(values, [case["drawn"] for case in cases])
    except Exception as error:  # values of a kind that the judge does not know
        return f"the values cannot be judged ({type(error).__name__})"
