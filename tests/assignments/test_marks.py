"""The reference gets all marks, the untouched release none, and a mistake loses its own and is named."""

import ast
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT
from handed_in import assignment, lost, marked, solved, untouched, with_function

from assignments.grading.source import names

SLOW = {"debugging", "transfer"}  # PyTorch takes its time to begin
MISTAKES = [
    pytest.param(
        name,
        mistake,
        id=f"{name}-{mistake.function.__name__}",
        marks=[pytest.mark.whole] if number or name in SLOW else [],
    )
    for name in names()
    for number, mistake in enumerate(assignment(name).questions.mistakes)
]


@pytest.mark.parametrize("name", names())
def test_the_reference_gets_all_marks(name):
    marks = marked(solved(name), name)
    assert lost(marks, name) == set() and marks.notes == []


@pytest.mark.parametrize("name", names())
def test_the_untouched_release_gets_none(name):
    everything = {part.id for part in assignment(name).questions.parts}
    assert lost(marked(untouched(name), name), name) == everything


@pytest.mark.parametrize("name", names())
def test_a_reference_with_other_inputs_gets_all_marks(name):
    hidden = assignment(name).hidden(seed=5)
    drawn = assignment(name).hidden(seed=0)
    assert set(hidden) == set(drawn) and str(hidden) != str(drawn)


@pytest.mark.parametrize("name", names())
def test_there_are_enough_mistakes_and_each_part_has_one(name):
    known = assignment(name).questions.mistakes
    compared = {part.id for part in assignment(name).questions.parts if part.judge is None}
    assert len(known) >= 8 and len({(one.name, one.message) for one in known}) == len(known)
    assert compared - {part for one in known for part in one.loses} == set()


@pytest.mark.parametrize(("name", "mistake"), MISTAKES)
def test_a_mistake_loses_its_own_marks_and_is_named(name, mistake):
    marks = marked(with_function(solved(name), mistake.name, mistake.source), name)
    assert lost(marks, name) == set(mistake.loses)
    compared = {part.id for part in assignment(name).questions.parts if part.judge is None}
    for part in compared & set(mistake.loses):
        assert marks.said[part] == mistake.message


@pytest.mark.parametrize("name", names())
def test_the_release_holds_no_solution(name):
    source, release = assignment(name).notebook, untouched(name)
    assert len(source.cells) == len(release.cells)
    for mine, theirs in zip(source.cells, release.cells, strict=True):
        if mine.metadata.get("nbgrader", {}).get("solution"):
            assert "BEGIN" in mine.source and "BEGIN" not in theirs.source
            answer = mine.source.split("### BEGIN SOLUTION\n")[1].split("### END")[0].strip()
            assert answer and answer not in theirs.source
        else:
            assert mine.source == theirs.source
        if theirs.cell_type == "code":
            ast.parse(theirs.source)


RUN = """
import json, sys
for cell in json.load(open(sys.argv[1]))["cells"]:
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), "cell", "exec"), globals())
"""


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.whole) for name in names()])
def test_the_solutions_pass_the_visible_checks_in_half_a_minute(name):
    folder = assignment(name).folder
    before = os.times()
    command = [sys.executable, "-c", RUN, f"{name}.ipynb"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT / "src")})
    assert done.returncode == 0, done.stderr
    checks = [part for part in assignment(name).questions.parts if part.judge is None]
    assert done.stdout.count("right on the examples") == len(checks)
    used = os.times()
    assert used.children_user + used.children_system - before.children_user - before.children_system < 30


def test_a_visible_check_says_the_same_as_the_marks():
    mistake = next(
        one for one in assignment("batchnorm").questions.mistakes if one.function.__name__ == "by_variance"
    )
    code = f"import numpy as np\nfrom visible import check\n{mistake.source}\ncheck('forward')"
    folder = assignment("batchnorm").folder
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert "AssertionError: forward: you divided by the variance, not by the standard deviation." in done.stderr


@pytest.mark.parametrize("name", names())
def test_the_sum_of_the_marks_is_what_the_texts_say(name):
    total, by_hand = sum(assignment(name).points.values()), assignment(name).points[assignment(name).by_hand[0]]
    first = assignment(name).notebook.cells[0].source
    assert f"**Marks:** {total:g}, of which a person gives {by_hand:g}." in " ".join(first.split())
    teachers = (ROOT / "book" / "teachers.md").read_text(encoding="utf-8")
    assert re.search(rf"`assignments/{name}` \| {total:g} \| {by_hand:g} \|", teachers)


@pytest.mark.parametrize("name", names())
def test_the_rubric_is_for_the_question_that_a_person_marks(name):
    by_hand = assignment(name).by_hand
    assert len(by_hand) == 1
    assert f"{assignment(name).points[by_hand[0]]:g} marks" in assignment(name).rubric
