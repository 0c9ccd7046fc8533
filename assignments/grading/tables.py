"""The tables of marks: ours, the one that a person fills in, and those that Canvas and Moodle import."""

from __future__ import annotations

import csv
from pathlib import Path

from assignments.grading.grade import Marks
from assignments.grading.source import Assignment

ROSTER = ("student", "name", "id", "sis_id", "login", "section", "email")
CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
FORMULA = ("=", "+", "-", "@")
MOODLE = ("Full name", "Username", "ID number", "Email address")


def by_hand(path: Path, assignment: Assignment, done: dict[str, Marks]) -> dict[str, dict[str, tuple[str, str]]]:
    """The marks and comments that a person has given, {student: {question: (points, comment)}}.

    Adds a row for every student who is not in the table yet. Raises ValueError for points that are none.
    """
    rows = _read(path)
    known = {(row["student"], row["question"]): row for row in rows}
    for student in done:
        for question in assignment.by_hand:
            if (student, question) not in known:
                rows.append({"student": student, "question": question, "points": "", "comment": ""})
    _write(path, ("student", "question", "points", "comment"), [list(row.values()) for row in rows])
    given: dict[str, dict[str, tuple[str, str]]] = {}
    for row in rows:
        points, most = row["points"].strip().replace(",", "."), assignment.points.get(row["question"], 0.0)
        if not points:
            continue
        if not points.replace(".", "", 1).isdigit() or float(points) > most:
            raise ValueError(
                f"{path.name}: {row['student']}: expected points from 0 to {most:g}, got {row['points']!r}"
            )
        given.setdefault(row["student"], {})[row["question"]] = (points, row["comment"])
    return given


def write_tables(to: Path, assignment: Assignment, done: dict[str, Marks], given: dict, roster: Path) -> None:
    """Write marks.csv, canvas.csv and moodle.csv; the roster, a table with the columns `ROSTER`, is optional."""
    questions = list(assignment.points)
    rows = []
    for student, marks in done.items():
        hand = given.get(student, {})
        each = [
            _number(marks.points[name]) if name in marks.points else hand.get(name, ("",))[0] for name in questions
        ]
        complete = "yes" if all(each) else "no"
        rows.append(
            [student, _number(sum(float(one or 0) for one in each)), complete, *each, " / ".join(marks.notes)[:200]]
        )
    most = [_number(points) for points in assignment.points.values()]
    head = ["student", "total", "complete", *questions, "notes"]
    total = _number(sum(assignment.points.values()))
    _write(to / "marks.csv", head, [["(points possible)", total, "", *most, ""], *rows], bom=True)
    people = {row["student"]: row for row in _read(roster)}
    title = assignment.questions.title
    canvas, moodle = [["    Points Possible", "", "", "", "", total]], []
    for student, points, *_ in rows:
        who = {"name": student, "login": student} | people.get(student, {})
        about = {name: who.get(name, "") for name in ROSTER}
        canvas.append([about["name"], about["id"], about["sis_id"], about["login"], about["section"], points])
        moodle.append([about["name"], about["login"], about["sis_id"], about["email"], points, f"{student}.html"])
    _write(to / "canvas.csv", [*CANVAS, title], canvas)
    _write(to / "moodle.csv", [*MOODLE, title, "Feedback file"], moodle)


def _number(points: float) -> str:
    return f"{points:g}"


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        return [{name: _unguarded(value or "") for name, value in row.items() if name} for row in rows]


def _guarded(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return "'" + cell if cell.startswith(FORMULA) else cell


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell


def _write(path: Path, head, rows, bom: bool = False) -> None:
    """A table; with a mark at its beginning by which Excel knows UTF-8. No cell can be taken for a formula."""
    with path.open("w", encoding="utf-8-sig" if bom else "utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows([[_guarded(cell) for cell in row] for row in rows])
