"""Figures on a phone can be read: what is drawn small opens in its own size. On paper nothing is lost."""

from importlib.resources import files

import pytest
from matplotlib import rc_params_from_file
from playwright.sync_api import expect

PAGE = "book/01_stuck.html"
SMALLEST = 14  # pixels
CUT = """() => [...document.querySelectorAll('.bd-article pre')]
  .filter(code => code.scrollWidth > code.clientWidth + 1).length"""


@pytest.fixture
def phone(base, open_page):
    return open_page(f"{base}/{PAGE}", width=375).page


def test_a_figure_opens_in_its_own_size(phone):
    image = phone.locator("figure > img").first
    button = phone.get_by_role("button", name="Enlarge the figure").first
    assert image.evaluate("image => image.clientWidth < image.naturalWidth / 1.5")
    button.click()
    shown = phone.locator("dialog.enlarged img")
    assert shown.evaluate("image => [image.clientWidth, image.clientHeight]") == image.evaluate(
        "image => [image.naturalWidth, image.naturalHeight]"
    )
    assert shown.get_attribute("alt") == image.get_attribute("alt")
    phone.keyboard.press("Escape")
    expect(phone.locator("dialog.enlarged")).to_be_hidden()
    expect(button).to_be_focused()
    image.click()
    expect(phone.locator("dialog.enlarged")).to_be_visible()
    phone.get_by_role("button", name="Close").click()
    expect(phone.locator("dialog.enlarged")).to_be_hidden()


def test_on_a_laptop_no_figure_needs_it(base, open_page):
    page = open_page(f"{base}/{PAGE}").page
    expect(page.locator("button.enlarge:visible")).to_have_count(0)


def test_letters_of_figures_are_large_enough_in_their_own_size():
    style = rc_params_from_file(files("unstuck") / "unstuck.mplstyle", use_default_template=False)
    sizes = [style[f"{name}.labelsize"] for name in ("axes", "xtick", "ytick")]
    assert min(*sizes, style["legend.fontsize"], style["font.size"]) * style["figure.dpi"] / 72 >= SMALLEST


def test_on_paper_solutions_stand_at_the_end_and_no_code_is_cut(base, open_page):
    page = open_page(f"{base}/{PAGE}", width=700).page
    count = page.locator("div.solution").count()
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    end = page.locator("section.printed-solutions")
    expect(end.locator("div.solution")).to_have_count(count)
    expect(end.locator("div.solution").first).to_contain_text("frequency")
    assert end.locator("div.solution p").first.is_visible()
    assert page.evaluate(CUT) == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    expect(end).to_have_count(0)
    assert page.locator("section div.solution").count() == count
