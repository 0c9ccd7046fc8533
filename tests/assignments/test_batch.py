"""`make grade` and `make assignments`: tables, feedback, interruption, parallel work, nbgrader's exchange."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import nbformat
import pytest
from conftest import ROOT
from handed_in import as_bytes, assignment, solved, untouched, with_function
from hostile import RELU, WRONG

from assignments.grading import batch
from assignments.grading.release import release

PERFECT, WRONG_RELU, NOTHING = "Ada Lovelace", "Софья Ковалевская", "王贞仪"


@pytest.fixture
def folder(tmp_path):
    """Four submissions: a right one, one mistake, nothing done, and a broken file."""
    found = tmp_path / "class"
    (found / NOTHING / "backprop").mkdir(parents=True)
    (found / f"{PERFECT}.ipynb").write_bytes(as_bytes(solved()))
    (found / f"{WRONG_RELU}.ipynb").write_bytes(as_bytes(with_function(solved(), "relu_backward", RELU + WRONG)))
    (found / NOTHING / "backprop" / "backprop.ipynb").write_bytes(as_bytes(untouched()))
    (found / "broken.ipynb").write_bytes(b'{"cells": [')
    return found


def table(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def make(*arguments, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "assignments.grading", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, **options)


def heard():
    """In the child: jobs in the background of a shell inherit that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_class(folder):
    to = batch.grade_folder(folder, jobs=2)
    rows = {row["student"]: row for row in table(to / "marks.csv")}
    totals = {PERFECT: "37", WRONG_RELU: "34", NOTHING: "0", "broken": "0", "(points possible)": "42"}
    assert {student: row["total"] for student, row in rows.items()} == totals
    assert rows[WRONG_RELU]["relu-gradient"] == "0" and rows[PERFECT]["backprop-judgement"] == ""
    assert rows[PERFECT]["complete"] == "no" and "not a notebook" in rows["broken"]["notes"]
    assert {path.stem for path in (to / "feedback").iterdir()} == {PERFECT, WRONG_RELU, NOTHING, "broken"}
    assert "the mask is missing" in (to / "feedback" / f"{WRONG_RELU}.html").read_text(encoding="utf-8")


def test_marks_by_hand_and_the_tables_of_canvas_and_moodle(folder):
    (folder / "roster.csv").write_text(
        f'student,name,id,sis_id,login,section,email\n{PERFECT},"Lovelace, Ada",17,s17,ada,A,ada@example.org\n',
        encoding="utf-8",
    )
    to = batch.grade_folder(folder)
    hand = (to / "by_hand.csv").read_text(encoding="utf-8")
    line = f"{PERFECT},backprop-judgement,,"
    assert line in hand
    (to / "by_hand.csv").write_text(hand.replace(line, f"{PERFECT},backprop-judgement,4.5,kinks?"), encoding="utf-8")
    batch.grade_folder(folder)
    row = next(row for row in table(to / "marks.csv") if row["student"] == PERFECT)
    assert row["total"] == "41.5" and row["complete"] == "yes"
    assert "kinks?" in (to / "feedback" / f"{PERFECT}.html").read_text(encoding="utf-8")
    title = assignment().questions.title
    canvas = table(to / "canvas.csv")
    assert list(canvas[0]) == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", title]
    assert canvas[0]["Student"].strip() == "Points Possible" and canvas[0][title] == "42"
    ada = next(row for row in canvas if row["ID"] == "17")
    assert ada == {
        **{"Student": "Lovelace, Ada", "ID": "17", "SIS User ID": "s17", "SIS Login ID": "ada", "Section": "A"},
        title: "41.5",
    }
    moodle = next(row for row in table(to / "moodle.csv") if row["Username"] == "ada")
    assert moodle["Email address"] == "ada@example.org" and moodle["ID number"] == "s17" and moodle[title] == "41.5"
    (to / "by_hand.csv").write_text(hand.replace(line, f"{PERFECT},backprop-judgement,6,"), encoding="utf-8")
    with pytest.raises(ValueError, match="expected points from 0 to 5, got '6'"):
        batch.grade_folder(folder)


def test_a_name_that_looks_like_a_formula(tmp_path):
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "=1+1.ipynb").write_bytes(b"")
    for _ in range(2):
        to = batch.grade_folder(tmp_path / "class", assignment="backprop")
    assert [row["student"] for row in table(to / "marks.csv")][1:] == ["'=1+1"]
    assert [row["student"] for row in table(to / "by_hand.csv")] == ["'=1+1"]


def test_twice_gives_the_same_and_marks_nothing_again(folder, monkeypatch):
    to = batch.grade_folder(folder)
    files = {path.relative_to(to): path.read_bytes() for path in to.rglob("*") if path.is_file()}
    again = batch.grade_folder(folder, folder.parent / "again", jobs=2)
    assert files == {path.relative_to(again): path.read_bytes() for path in again.rglob("*") if path.is_file()}
    monkeypatch.setattr(batch, "grade", None)  # nobody calls it
    batch.grade_folder(folder)
    assert files == {path.relative_to(to): path.read_bytes() for path in to.rglob("*") if path.is_file()}


def test_a_changed_submission_alone_is_marked_again(folder, monkeypatch):
    batch.grade_folder(folder)
    (folder / "broken.ipynb").write_bytes(as_bytes(solved()))
    marked, right = [], batch.grade
    monkeypatch.setattr(batch, "grade", lambda data, name, seed: marked.append(data) or right(data, name, seed))
    to = batch.grade_folder(folder)
    assert marked == [as_bytes(solved())]
    assert next(row for row in table(to / "marks.csv") if row["student"] == "broken")["total"] == "37"


def test_a_fault_of_ours_costs_nobody_else_and_is_tried_again(folder, monkeypatch):
    right = batch.grade

    def fails_once(data, name, seed):
        if data == as_bytes(solved()):
            raise RuntimeError("no room on the disk")
        return right(data, name, seed)

    monkeypatch.setattr(batch, "grade", fails_once)
    to = batch.grade_folder(folder)
    rows = {row["student"]: row for row in table(to / "marks.csv")}
    assert rows[PERFECT]["notes"].startswith("NOT MARKED") and rows[WRONG_RELU]["total"] == "34"
    monkeypatch.setattr(batch, "grade", right)
    rows = {row["student"]: row for row in table(batch.grade_folder(folder) / "marks.csv")}
    assert rows[PERFECT]["total"] == "37"


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.whole)])
def test_an_interrupted_batch_goes_on_where_it_ended(folder, how):
    for number in range(6):
        (folder / f"student {number:02}.ipynb").write_bytes(
            as_bytes(solved()).replace(b"two hours", b"%d hours" % number)
        )
    to = folder.parent / "marks"
    process = make("grade", folder, "--to", to, preexec_fn=heard)
    begin = time.monotonic()
    while len(list(to.glob("results/*.json"))) < 3 and time.monotonic() < begin + 120:
        time.sleep(0.05)
    process.send_signal(how)
    said = process.communicate(timeout=120)[1]
    stored = {path: path.stat().st_mtime_ns for path in to.glob("results/*.json")}
    assert 3 <= len(stored) < 10 and process.returncode != 0
    assert how == signal.SIGKILL or "goes on where this one ended" in said
    process = make("grade", folder, "--to", to, stdout=subprocess.PIPE)
    assert process.communicate(timeout=300) and process.returncode == 0
    assert len(table(to / "marks.csv")) == 1 + 10
    assert stored == {path: path.stat().st_mtime_ns for path in stored}


def test_what_is_no_class_is_refused(tmp_path):
    with pytest.raises(ValueError, match="SUBMISSIONS: expected a folder of notebooks"):
        batch.grade_folder(tmp_path)
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "a.ipynb")
    with pytest.raises(ValueError, match="ASSIGNMENT: the notebooks do not say which; expected one of"):
        batch.grade_folder(tmp_path)


def test_a_project_that_submissions_could_read_is_refused(folder, monkeypatch):
    monkeypatch.setattr(batch, "READABLE", (str(folder.parent),))
    with pytest.raises(ValueError, match="which submissions may read; move it"):
        batch.grade_folder(folder)


def test_a_release_is_the_same_twice(tmp_path):
    first, second = (release(tmp_path / name, ["backprop"])[0] for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    names = zipfile.ZipFile(first).namelist()
    assert names == [f"backprop/{name}" for name in ("backprop.ipynb", "examples.json", "visible.py")]


@pytest.mark.whole
def test_dask_gives_the_same_marks(folder):
    here = batch.grade_folder(folder, folder.parent / "here")
    process = make("grade", folder, "--to", folder.parent / "there", "--dask", "local", stdout=subprocess.PIPE)
    assert process.communicate(timeout=300) and process.returncode == 0
    assert (here / "marks.csv").read_bytes() == (folder.parent / "there" / "marks.csv").read_bytes()


@pytest.mark.whole
def test_nbgraders_exchange(tmp_path):
    """Release, fetch, submit, collect, grade: with nbgrader's own commands, as a teacher types them."""
    course, home, exchange = tmp_path / "course", tmp_path / "home", tmp_path / "exchange"
    for path in (course, home, exchange):
        path.mkdir()
    exchange.chmod(0o777)
    release(course, ["backprop"])
    environment = {**os.environ, "PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"}
    environment |= {"HOME": str(home), "JUPYTER_CONFIG_DIR": str(home), "PYTHONWARNINGS": ""}

    def nbgrader(command, where):
        options = [
            "backprop",
            "--course",
            "unstuck",
            f"--Exchange.root={exchange}",
            f"--ExchangeFactory.root={exchange}",
        ]
        command = [sys.executable, "-m", "nbgrader", command, *options[:-1]]
        done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    nbgrader("release_assignment", course)
    nbgrader("fetch_assignment", home)
    fetched = home / "backprop" / "backprop.ipynb"
    assert fetched.exists() and (home / "backprop" / "visible.py").exists()
    shutil.copyfile(assignment().path, fetched)
    nbgrader("submit", home)
    nbgrader("collect", course)
    to = batch.grade_folder(course / "submitted", tmp_path / "marks", "backprop")
    assert [row["total"] for row in table(to / "marks.csv")] == ["42", "37"]
