"""`make pdf` says what is missing, and what is printed differs from the site where it should."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nbformat import v4, write

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = """
extensions = ["myst_nb", "folds", "paper"]
myst_enable_extensions = ["colon_fence"]
nb_execution_mode, root_doc, project = "off", "book/intro", "small"
"""
INTRO = """# Book

Before.

## What it is

Inside the first page.

```{toctree}
page
```
"""
TEXT = """# Page

:::{deeper-start} Why so
:::
Inside the fold.

:::{deeper-end}
:::

:::{admonition} Run this page
:class: run-locally
Not on paper.
:::
"""


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> str:
    """The TeX of a book of two pages."""
    source = tmp_path_factory.mktemp("paper")
    (source / "conf.py").write_text(CONFIGURATION)
    (source / "book").mkdir()
    (source / "book" / "intro.md").write_text(INTRO)
    output = [v4.new_output("stream", name="stdout", text="what it printed\n")]
    folded = v4.new_code_cell("folded = 1", execution_count=1, outputs=output, metadata={"tags": ["hide-input"]})
    shown = v4.new_code_cell("shown = 1", execution_count=2)
    language = {"language_info": {"name": "python"}}
    write(
        v4.new_notebook(cells=[v4.new_markdown_cell(TEXT), folded, shown], metadata=language),
        source / "book/page.ipynb",
    )
    run = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "latex", str(source), str(source / "out")],
        env={**os.environ, "PYTHONPATH": str(ROOT / "book" / "_ext"), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return (source / "out" / "small.tex").read_text(encoding="utf-8")


def test_folds_stand_open_and_folded_code_is_left_out(printed):
    assert "Go deeper: Why so" in printed and "Inside the fold." in printed
    assert "what it printed" in printed and "shown" in printed
    assert "folded" not in printed and "Not on paper" not in printed


def test_the_first_page_is_no_chapter(printed):
    assert "\\sphinxstylestrong{What it is}" in printed
    assert [line for line in printed.splitlines() if line.startswith("\\chapter")] == ["\\chapter{Page}"]


def test_without_tex_it_says_how_to_get_it(tmp_path):
    (tmp_path / "python").symlink_to(sys.executable)
    command = [sys.executable, str(ROOT / "tools" / "pdf.py")]
    run = subprocess.run(command, env={**os.environ, "PATH": str(tmp_path)}, capture_output=True, text=True)
    assert run.returncode == 2
    assert "xelatex" in run.stdout and "apt-get install" in run.stdout and "texlive-xetex" in run.stdout


@pytest.mark.skipif(shutil.which("kpsewhich") is None, reason="no TeX here")
def test_with_tex_every_file_that_is_missing_is_named(monkeypatch):
    sys.path.insert(0, str(ROOT / "tools"))
    import pdf

    monkeypatch.setattr(pdf, "NEEDED", ("article.cls", "no-such-file.sty"))
    assert [name for name in pdf.missing() if name not in pdf.PROGRAMS] == ["no-such-file.sty"]
