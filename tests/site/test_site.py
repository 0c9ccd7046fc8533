"""The built site in a real browser: it asks nobody else, shows everything, and can be read by everyone."""

from __future__ import annotations

import pytest
from browser import served
from site_weight import OWN_LIMIT, SHARED_LIMIT, weigh

pytestmark = pytest.mark.browser

LEAST_CONTRAST = 7.0  # of running text; axe-core checks the rest against 4.5


def address(origin: str, base: str, site, page: str) -> str:
    """Where `page` is, served by our own server or opened as a file."""
    return f"{base}/{page}" if origin == "http" else (site / page).as_uri()


@pytest.mark.parametrize("origin", ["http", "file"])
def test_page_is_complete_and_asks_no_other_host(origin, page, base, site, open_page):
    visit = open_page(address(origin, base, site, page))
    assert visit.foreign_requests() == []
    assert visit.complaints == []
    assert visit.unrendered() == []


def test_no_code_is_clipped_on_a_laptop(book_page, base, open_page):
    assert open_page(f"{base}/{book_page}", width=1280).clipped() == []


def test_phone(page, base, open_page):
    visit = open_page(f"{base}/{page}", width=375)
    assert visit.overflow() == []
    assert visit.cut_figures() == []
    assert visit.cut_formulas() == []


@pytest.mark.parametrize(("width", "lines"), [(375, 4), (1280, 1)])
def test_from_symptom_to_cure_a_phone_shows_one_cell_below_the_other(width, lines, base, open_page):
    visit = open_page(f"{base}/book/01_stuck.html", width=width)
    tops = "[...document.querySelectorAll('.symptom-to-cure tbody tr')].map(row => new Set("
    tops += "[...row.cells].map(cell => Math.round(cell.getBoundingClientRect().top))).size)"
    found = visit.page.evaluate(tops)
    assert found and set(found) == {lines}


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_colours_and_accessibility(mode, page, base, open_page):
    visit = open_page(f"{base}/{page}", mode=mode)
    background, text = visit.luminances()
    assert (background < 0.05) == (mode == "dark")
    lighter, darker = max(background, text), min(background, text)
    assert (lighter + 0.05) / (darker + 0.05) >= LEAST_CONTRAST
    assert visit.axe_violations() == []


def test_weight(page, base, browser):
    weight = weigh(browser, base, page)
    assert 0 < weight.shared <= SHARED_LIMIT
    assert 0 < weight.own <= OWN_LIMIT


BROKEN = """<!doctype html><html lang="en"><head><title>Broken</title></head><body style="color:#888">
<img src="https://example.org/picture.png" alt=""><img src="local.png">
<div style="width:800px">wide</div><span class="math">\\(x\\)</span>
<article><div style="width:50px;overflow:auto">
<figure><img style="width:99px" src="local.png" alt="wide"></figure></div>
<div class="cell_input"><pre style="width:50px;overflow:auto">a_long_line = 1</pre></div>
<mjx-container display="true" style="display:block;width:9px;overflow:auto">a&nbsp;=&nbsp;b</mjx-container></article>
<script>console.error("something is wrong"); missing();</script>
<script type="application/vnd.jupyter.widget-view+json">{"model_id": "one"}</script><p></p></body></html>"""


def test_the_checks_can_fail(tmp_path, open_page):
    (tmp_path / "broken.html").write_text(BROKEN, encoding="utf-8")
    visit = open_page((tmp_path / "broken.html").as_uri(), width=375)
    assert visit.foreign_requests() == ["https://example.org/picture.png"]
    complaints = " ".join(visit.complaints)
    assert all(part in complaints for part in ("something is wrong", "missing", "local.png"))
    assert len(visit.unrendered()) == 2
    assert visit.overflow()
    assert visit.cut_figures() == ["cut: wide"]
    assert visit.cut_formulas() == ["cut: a\xa0=\xa0b"]
    assert visit.clipped() == ["clipped: a_long_line = 1"]
    assert any(violation.startswith("image-alt") for violation in visit.axe_violations())


def test_weight_counts_compressed_bytes_by_where_they_lie(tmp_path, browser):
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "all.css").write_bytes(b"a" * 100_000)
    (tmp_path / "page.html").write_text('<!doctype html><link rel="stylesheet" href="_static/all.css"><p>text</p>')
    with served(tmp_path) as base:
        weight = weigh(browser, base, "page.html")
    assert 100 < weight.shared < 1_000
    assert 50 < weight.own < 200
