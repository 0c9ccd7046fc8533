"""`make slides`: every page becomes slides that ask nothing of a network, and its figures are all there."""

import re
from pathlib import Path

import nbformat
import pytest
import slides
from nbformat import v4

PAGES = sorted((Path(__file__).resolve().parents[2] / "book").glob("[0-9]*.ipynb"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page(path):
    nb = nbformat.read(path, as_version=4)
    html = slides.page(nb, slides.MATHJAX)
    assert not re.search(r"(?:src|href)=\"(?!data:|tex-svg)", re.sub(r"<a href[^>]*>", "", html))
    made = slides.slides_of(nb)
    assert made[0].level == 1 and len(made) >= 8
    assert not re.search(r"\{(?:numref|cite:\w|eq|doc)\}`|^:{3,}", html, re.MULTILINE)
    assert all(sum("<img" in part for part in slide.shown) <= 1 for slide in made)


def test_what_a_slide_shows():
    cells = [
        v4.new_markdown_cell(
            "# Why?\n\nSee {numref}`fig-a` {cite:p}`he2015` and [there](05_x).\n\n$$ a < b $$ (eq-a)"
        ),
        v4.new_code_cell("x = 1"),
        v4.new_code_cell("hidden = 2", metadata={"tags": ["hide-input"]}),
        v4.new_markdown_cell("## Exercises\n\nNot here."),
        v4.new_markdown_cell("## Nor here"),
    ]
    first, second = slides.slides_of(v4.new_notebook(cells=cells))
    assert first.shown == ["<p>$$ a &lt; b $$</p>"] and first.notes == ["See the figure  and there.\n\n$$ a < b $$"]
    assert "x" in second.shown[0] and "hidden" not in "".join(second.shown) and second.heading == "Why?"
