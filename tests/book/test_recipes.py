"""CONTRIBUTING's recipe for a new chapter, carried out to the letter in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import new_page
import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Add a chapter")[1].split("\n## ")[0]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", RECIPE, re.S | re.M)


@pytest.fixture
def copy(tmp_path):
    """The project without its chapters, so that the site is built in seconds."""
    project = tmp_path / "project"
    for name in ("src", "tools", "tests/book", "book/_ext", "book/_static"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    files = ["Makefile", "README.md", "pyproject.toml", "requirements.txt", "_config.yml", "_toc.yml"]
    files += ["book/chapters.yml", "book/references.bib", "book/ruff.toml", "book/intro.md"]
    files += ["book/symptoms.md", "book/symptoms.yml"]  # to which the first page leads, as to the teachers' page
    for name in files:
        shutil.copy(ROOT / name, project / name)
    toc = project / "_toc.yml"
    head = toc.read_text(encoding="utf-8").split("chapters:\n")[0]
    chapters = "chapters:\n  - file: book/symptoms\n    title: Symptom index\n"
    chapters += "  - file: book/teachers\n    title: For teachers\n"  # without its text, which leads to every chapter
    toc.write_text(head + chapters, encoding="utf-8")
    title = (ROOT / "book/teachers.md").read_text(encoding="utf-8").partition("\n")[0]
    (project / "book/teachers.md").write_text(f"{title}\n", encoding="utf-8")
    readme = project / "README.md"
    linked = r"^\| \[(\w+)\]\(\S+\) \| (.*) \| \|$"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(re.sub(linked, r"| \1 | \2 | planned |", text, flags=re.M), encoding="utf-8")
    (project / ".venv").symlink_to(Path(sys.prefix))
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    return project


def run(copy, command):
    """One line of the recipe, as it stands there; what it would install is there already."""
    words = command.partition("#")[0].replace("make ", "make -o .venv/.unstuck ", 1)
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, shell=True, cwd=copy, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.skipif(sys.platform == "win32", reason="no make")
def test_the_recipe_makes_a_chapter_that_keeps_to_the_rules(copy):
    (copy.parent / "draft.py").write_text(blocks("python")[0], encoding="utf-8")
    (first,), (row, entry), (line,) = blocks("sh")[:1], blocks("yaml"), blocks("md")
    made = run(copy, first)
    assert made.returncode == 0, made.stdout + made.stderr
    before = (copy / "book/15_walks.ipynb").read_bytes()
    again = run(copy, first)
    assert again.returncode != 0 and "15 is taken by 15_walks.ipynb" in again.stdout
    assert (copy / "book/15_walks.ipynb").read_bytes() == before

    table = copy / "book/chapters.yml"
    head, tail = table.read_text(encoding="utf-8").split("# Pages without a number")
    table.write_text(head + row + "# Pages without a number" + tail, encoding="utf-8")
    with open(copy / "_toc.yml", "a", encoding="utf-8") as toc:
        toc.write(entry)
    readme = (copy / "README.md").read_text(encoding="utf-8")
    last = re.findall(r"^\| 14 \|.*\n", readme, re.M)[-1]
    (copy / "README.md").write_text(readme.replace(last, last + line), encoding="utf-8")

    commands = [command for command in blocks("sh")[1].splitlines() if command != "make test"]
    assert [command.split()[1] for command in commands] == ["notebooks", "check", "book"]
    for command in commands:
        done = run(copy, command)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    page = (copy / "_build/html/book/15_walks.html").read_text(encoding="utf-8")
    assert "Why does the sum of many small steps not stay small?" in page


def test_a_draft_never_replaces_a_page(tmp_path):
    book = tmp_path / "book"
    book.mkdir()
    (book / "04_dead_relus.ipynb").write_text("kept", encoding="utf-8")
    (tmp_path / "draft.py").write_text("# %%\n1 + 1\n", encoding="utf-8")
    for name in ("04_dead_relus", "04_other"):
        with pytest.raises(ValueError, match=r"04 is taken by 04_dead_relus\.ipynb"):
            new_page.make(tmp_path / "draft.py", name, book)
    for name in ("walks", "4_walks", "../15_walks", "15_Walks"):
        with pytest.raises(ValueError, match="NAME: expected two digits"):
            new_page.make(tmp_path / "draft.py", name, book)
    with pytest.raises(FileNotFoundError, match="DRAFT: there is no file"):
        new_page.make(tmp_path / "no.py", "15_walks", book)
    (tmp_path / "draft.py").write_text("# %%\n1 +\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"15_walks\.ipynb, cell 1, line 1: no Python"):
        new_page.make(tmp_path / "draft.py", "15_walks", book)
    assert [path.name for path in book.iterdir()] == ["04_dead_relus.ipynb"]
    assert (book / "04_dead_relus.ipynb").read_text(encoding="utf-8") == "kept"
