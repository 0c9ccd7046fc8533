"""Which pages a command means, and a page that cannot be read is named, whichever command meets it first."""

import build
import nbformat
import notebooks
import pages
import pytest
from nbformat import v4

THERE = ("03_activations", "03b_centring", "04_dead_relus", "history")
MERGE = '{\n "cells": [\n<<<<<<< HEAD\n  1\n=======\n  2\n>>>>>>> theirs\n ]\n}\n'


@pytest.fixture
def book(tmp_path):
    for name in THERE:
        nbformat.write(v4.new_notebook(cells=[v4.new_code_cell("1 + 1")]), tmp_path / f"{name}.ipynb")
    return tmp_path


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ([], THERE),
        (["03"], ["03_activations"]),
        (["03b"], ["03b_centring"]),
        (["03*"], ["03_activations", "03b_centring"]),
        (["history", "04_dead_relus.ipynb"], ["04_dead_relus", "history"]),
        (["3"], []),
        (["04_dead"], []),
    ],
)
def test_a_name_means_one_page_and_a_pattern_all_that_fit(book, only, expected):
    assert [path.stem for path in pages.chosen(only, book)] == list(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MERGE, "03b_centring.ipynb, line 3: expected JSON, got '<<<<<<< HEAD', an unsolved merge"),
        ("", "03b_centring.ipynb, line 1: expected JSON, got ''"),
        ("[]", "03b_centring.ipynb: expected a notebook with cells"),
    ],
)
def test_broken_json_is_named_before_anything_runs(book, text, expected, capsys, monkeypatch):
    path = book / "03b_centring.ipynb"
    path.write_text(text, encoding="utf-8")
    assert pages.faults(path)[0].startswith(expected)
    before = {path.name: path.read_bytes() for path in book.iterdir()}
    assert notebooks.main([], book) == 1
    assert expected in capsys.readouterr().out
    monkeypatch.setattr(build, "chosen", lambda only: [path])
    monkeypatch.setattr(build.subprocess, "run", lambda *a, **k: pytest.fail("it was built"))
    assert build.build() == 1
    assert expected in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in book.iterdir()} == before


def test_code_that_is_no_python_is_named_with_its_cell(book):
    path = book / "03_activations.ipynb"
    sources = ["%time 1", "!ls\nx = 2", "for x in y\n    pass", "await f()", r"'\d'"]
    nbformat.write(v4.new_notebook(cells=[v4.new_markdown_cell("text"), *map(v4.new_code_cell, sources)]), path)
    faults = pages.faults(path)
    assert len(faults) == 1, faults
    assert faults[0].startswith("03_activations.ipynb, cell 4, line 1: no Python: 'for x in y'")


def test_pages_that_are_gone_leave_the_site(tmp_path):
    for name in ("html/book/01_here.html", "html/book/intro.html", "html/book/02_gone.html"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "html/_sources/book").mkdir(parents=True)
    (tmp_path / "html/_sources/book/02_gone.ipynb").touch()
    (tmp_path / "book").mkdir()
    for name in ("01_here.ipynb", "intro.md"):
        (tmp_path / "book" / name).touch()
    build.remove_old_pages(tmp_path / "html", tmp_path)
    left = sorted(path.name for path in (tmp_path / "html").rglob("*.*"))
    assert left == ["01_here.html", "intro.html"]
