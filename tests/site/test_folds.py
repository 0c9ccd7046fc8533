"""What `{deeper-start}` and `{deeper-end}` enclose, executed cells too, is one fold that opens when it should."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from nbformat import v4, write

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = """
extensions = ["myst_nb", "sphinx_exercise", "folds"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
nb_execution_mode, html_theme, nitpicky = "off", "basic", True
"""
OUTPUT = v4.new_output("display_data", {"text/html": "<b>executed</b>"})
START, END = ":::{deeper-start} Why $x$, with `code`\n:::\n", ":::{deeper-end}\n:::\n"


def build(folder: Path, **pages: list[str]) -> str:
    """Build notebooks of these cells (`= ...` is code, with an output) into folder/html; what Sphinx warned of."""
    source = folder / "source"
    source.mkdir()
    (source / "conf.py").write_text(CONFIGURATION)
    (source / "index.md").write_text("# Index\n\n```{toctree}\n" + "\n".join(pages) + "\n```\n")
    for name, cells in pages.items():
        made = [
            v4.new_code_cell(cell[2:], execution_count=1, outputs=[OUTPUT])
            if cell.startswith("= ")
            else v4.new_markdown_cell(cell)
            for cell in cells
        ]
        language = {"language_info": {"name": "python"}}
        write(v4.new_notebook(cells=made, metadata=language), source / f"{name}.ipynb")
    run = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", str(source), str(folder / "html")],
        env={**os.environ, "PYTHONPATH": str(ROOT / "book" / "_ext"), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return run.stderr


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    """A page with a fold over four cells that holds an exercise with its solution, and one in a single cell."""
    folder = tmp_path_factory.mktemp("folded")
    cells = [
        "# Page\n\nSee {eq}`in`, {numref}`task` and {ref}`the fold <why>`.\n",
        "Before.\n\n" + START.replace("code`", "code`\n:name: why") + "Inside.\n\n$$y = x$$ (in)\n",
        "= 1 + 1",
        "````{exercise}\n:label: task\nDo it.\n````\n\n````{solution-start} task\n````\n",
        "= 2 + 2",
        "````{solution-end}\n````\n\n" + END + "\nBehind.",
        "```{deeper-start} Second\n```\nAlso inside.\n\n```{deeper-end}\n```\n\n## Next",
    ]
    assert build(folder, page=cells) == ""
    return folder / "html" / "page.html"


def test_a_fold_holds_what_stands_between_its_gates(folded):
    page = BeautifulSoup(folded.read_text(encoding="utf-8"), "html.parser")
    first, second = page.select("details.deeper")
    assert first.summary.get_text() == "Go deeper: Why \\(x\\), with code"
    assert [pre.get_text().strip() for pre in first.select("div.cell_input")] == ["1 + 1", "2 + 2"]
    assert [bold.get_text() for bold in first.select("div.cell_output b")] == ["executed"] * 2
    assert [cell.get_text().strip() for cell in first.select("div.solution div.cell_input")] == ["2 + 2"]
    assert "Inside." in first.get_text() and "Also inside." in second.get_text()
    assert not {"Before.", "Behind."} & set(first.get_text().split()) and "Next" not in second.get_text()
    places = [page.find(id=link["href"][1:]) for link in page.select("h1 ~ p a.internal")[:3]]
    assert places[2] is first and all(place.find_parent("details") is first for place in places[:2])


HALVES = {
    "open": ([f"Text.\n\n{START}\nInside."], 3, "{deeper-start} has no {deeper-end}"),
    "shut": ([f"{END}\nText."], 1, "{deeper-end} has no {deeper-start}"),
    "twice": ([START, START, END], 1, "{deeper-start} has no {deeper-end} before the next one starts"),
    "across": ([START, "## Part", END], 1, "a heading stands between {deeper-start} and its {deeper-end}"),
}


def test_half_a_fold_is_a_warning_with_page_cell_and_line(tmp_path):
    warnings = build(tmp_path, **{name: ["# Page", *cells] for name, (cells, _, _) in HALVES.items()})
    assert sorted(warnings.splitlines()) == sorted(
        f"{tmp_path / 'source' / name}.ipynb:2000{line + 1}: WARNING: {why}"
        for name, (_, line, why) in HALVES.items()
    )


@pytest.mark.browser
def test_a_fold_opens_by_key_and_by_link(folded, open_page):
    page = open_page(folded.as_uri()).page
    inside, is_open = page.locator("details.deeper b").first, "fold => fold.open"
    first, second = page.locator("details.deeper").all()
    assert not inside.is_visible()
    first.locator("summary").press("Enter")
    assert first.evaluate(is_open) and inside.is_visible()
    first.locator("summary").press("Enter")
    assert not first.evaluate(is_open) and not inside.is_visible()
    page.locator("a[href='#task']").first.click()
    page.wait_for_function("document.querySelector('details.deeper').open")
    assert inside.is_visible() and not second.evaluate(is_open)


@pytest.mark.browser
def test_a_printed_fold_is_open(folded, open_page):
    page = open_page(folded.as_uri()).page
    page.add_style_tag(path=str(ROOT / "book" / "_static" / "unstuck.css"))
    page.locator("div.body").evaluate("body => body.classList.add('bd-article')")
    shown = "() => document.querySelector('details.deeper b').checkVisibility()"
    assert not page.evaluate(shown)
    page.emulate_media(media="print")
    assert page.evaluate(shown)
