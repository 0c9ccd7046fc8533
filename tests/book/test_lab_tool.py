"""`make lab`: a working copy in which nothing of the reader's is lost, and how JupyterLab is started."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import lab
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folders(tmp_path):
    book, copy = tmp_path / "book", tmp_path / "lab"
    book.mkdir()
    for name in ("01.ipynb", "02.ipynb"):
        (book / name).write_text(f"page {name}", encoding="utf-8")
    assert lab.working_copy(book, copy) == []
    return book, copy


def contents(folder):
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.ipynb"))}


def test_an_unchanged_copy_follows_its_page(folders):
    book, copy = folders
    assert contents(copy) == contents(book)
    (book / "01.ipynb").write_text("mended", encoding="utf-8")
    (copy / "02.ipynb").unlink()
    assert lab.working_copy(book, copy) == []
    assert contents(copy) == contents(book)


def test_what_the_reader_changed_is_kept_and_set_aside_only_when_asked(folders):
    book, copy = folders
    (copy / "01.ipynb").write_text("mine", encoding="utf-8")
    (copy / "notes.ipynb").write_text("my own", encoding="utf-8")
    assert lab.working_copy(book, copy) == []  # nothing new to tell: the page is as it was
    (book / "01.ipynb").write_text("mended", encoding="utf-8")
    (told,) = lab.working_copy(book, copy)
    assert told.startswith("01.ipynb has changed in the book") and "FRESH=1" in told
    assert contents(copy) == {"01.ipynb": "mine", "02.ipynb": "page 02.ipynb", "notes.ipynb": "my own"}

    (told,) = lab.working_copy(book, copy, fresh=True)
    assert told == "01.ipynb is fresh again; yours is now 01.mine.ipynb"
    (copy / "01.ipynb").write_text("mine, too", encoding="utf-8")
    lab.working_copy(book, copy, fresh=True)
    expected = {"01.ipynb": "mended", "01.mine.ipynb": "mine", "01.mine1.ipynb": "mine, too"}
    assert contents(copy) == expected | {"02.ipynb": "page 02.ipynb", "notes.ipynb": "my own"}


def test_an_interrupted_copy_counts_as_none(folders, monkeypatch):
    book, copy = folders
    (book / "01.ipynb").write_text("mended", encoding="utf-8")

    def crash(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(lab.os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        lab.working_copy(book, copy)
    monkeypatch.undo()
    assert contents(copy)["01.ipynb"] == "page 01.ipynb"
    assert lab.working_copy(book, copy) == [] and contents(copy) == contents(book)


@pytest.mark.skipif(sys.platform == "win32", reason="no make")
@pytest.mark.parametrize(
    ("words", "given", "folder", "options", "threads"),
    [
        ((), {}, "lab", ["--port=8888", "--ip=localhost"], "1"),
        (("PORT=9001", "IP=0.0.0.0"), {"OMP_NUM_THREADS": "3"}, "lab", ["--port=9001", "--ip=0.0.0.0"], "3"),
        (("ORIGINALS=1",), {}, "book", ["--port=8888", "--ip=localhost"], "1"),
    ],
)
def test_make_lab(tmp_path, words, given, folder, options, threads):
    for name in ("Makefile", "tools/lab.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "book").mkdir()
    (tmp_path / "book/01.ipynb").touch()
    (tmp_path / "jupyterlab.py").write_text(
        "import os, sys\nprint(os.path.basename(os.getcwd()), os.environ['OMP_NUM_THREADS'], *sys.argv[1:])\n"
    )
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment |= {"PYTHONPATH": str(tmp_path), **given}
    command = ["make", "-s", "-o", ".venv/.unstuck", "lab", *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    *told, started = done.stdout.splitlines()
    root = ["--allow-root", "--no-browser"] if os.geteuid() == 0 else []
    assert started.split() == [folder, threads, *options, *root], done.stderr
    assert ("You are root" in "".join(told)) == (os.geteuid() == 0)
    assert (tmp_path / "lab/01.ipynb").exists() == (folder == "lab")
