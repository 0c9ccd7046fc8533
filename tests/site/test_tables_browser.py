"""The tables of `unstuck.plots` with the book's style sheet in a real browser: on a phone, in both modes."""

from pathlib import Path

import numpy as np
import pytest

from unstuck import plots

pytestmark = pytest.mark.browser
CSS = (Path(__file__).parents[2] / "book" / "_static" / "unstuck.css").read_text(encoding="utf-8")
PAGE = """<!doctype html><html lang="en" data-theme="{mode}"><head><meta charset="utf-8"><title>Tables</title>
<meta name="viewport" content="width=device-width"><style>{css}
body {{ background: var(--pst-color-background); color: var(--pst-color-text-base); }}</style>
</head><body class="bd-content"><main class="bd-article"><h1>Tables</h1>{tables}</main></body></html>"""


@pytest.fixture
def shown(tmp_path, open_page):
    """`shown(*tables, mode=, width=, css=)` opens a page with the tables."""

    def opened(*tables, mode="light", width=375, css=CSS):
        path = tmp_path / "tables.html"
        page = PAGE.format(mode=mode, css=css, tables="".join(each._repr_html_() for each in tables))
        path.write_text(page, encoding="utf-8")
        return open_page(path.as_uri(), width=width, mode=mode)

    return opened


WIDE = plots.table(
    {
        f"{name}, first weights": {f"accuracy, {n} layers": np.array([0.1, value, np.nan]) for n in range(2, 9)}
        for name, value in (("Xavier", 0.8), ("He", 0.9))
    },
    caption="Wider than a phone.",
)
NARROW = plots.table(
    [{"fix": "none", "loss": float("nan")}, {"fix": "He", "loss": 0.25}], best={"loss": "min"}, caption="Two fixes."
)


def test_a_wide_table_scrolls_in_its_own_box(shown):
    visit = shown(WIDE)
    assert visit.overflow() == []
    box = visit.page.locator(".unstuck-table-box")
    inside, outside = box.evaluate("box => [box.scrollWidth, box.clientWidth]")
    assert inside > outside and outside <= 375
    box.focus()
    visit.page.keyboard.press("ArrowRight")
    visit.page.wait_for_function("document.querySelector('.unstuck-table-box').scrollLeft > 0")


def test_the_caption_of_a_wide_table_stays_in_sight(shown):
    told = "A caption that is longer than a phone is wide, and that would be cut if it were as wide as its table."
    rows = [{f"column number {n}": f"{n} of a dozen" for n in range(12)}]
    box = shown(plots.table(rows, caption=told)).page.locator(".unstuck-table-box")
    for scrolled in (0, 200):
        box.evaluate("(box, left) => (box.scrollLeft = left)", scrolled)
        caption, frame = box.locator("caption").bounding_box(), box.bounding_box()
        assert frame["x"] - 1 <= caption["x"] <= frame["x"] + 1
        assert caption["width"] <= frame["width"] + 1
        assert box.locator("caption").evaluate("node => node.scrollWidth <= node.clientWidth")


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_it_can_be_read_by_everyone(shown, mode, width):
    assert shown(WIDE, NARROW, mode=mode, width=width).axe_violations() == []


@pytest.mark.parametrize("css", [CSS, "td, th { text-align: right; }"], ids=["book", "jupyter"])
def test_numbers_stand_right_and_headings_left(shown, css):
    visit = shown(NARROW, css=css)
    sides = "cells => cells.map(cell => getComputedStyle(cell).textAlign)"
    assert visit.page.eval_on_selector_all("tbody th, thead th:first-child", sides) == ["left"] * 3
    assert visit.page.eval_on_selector_all("td, thead th:last-child", sides) == ["right"] * 3
    ends = visit.page.eval_on_selector_all("td", "cells => cells.map(cell => cell.getBoundingClientRect().right)")
    assert max(ends) - min(ends) < 1
