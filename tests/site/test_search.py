"""The search: what a stuck person types leads to the right page, with an excerpt that can be read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from search_ranks import is_written, rank, read_queries, search, search_page

pytestmark = pytest.mark.browser

SHOWN = 3
LEAST_FIRST = 0.9  # of the queries
QUERIES = read_queries()
FROM_FILE = QUERIES[::5]
LONGEST_EXCERPT = 245
SENTENCES = re.compile(r"^[\"“‘(]?[A-Z0-9].*[.?!…][\"”’)]*$", re.DOTALL)
TRACES = re.compile(r"\.pdf|\.ipynb|\\\w|\$|^Contents\b|\bimport \w+|\[\d+\]:|…\.|\bdoi\b")
EXCERPTS = "[...document.querySelectorAll('#search-results p.context')].map(each => each.textContent)"
ICON_AND_TEXT = """() => {
  const field = [...document.querySelectorAll('input[name=q]')].find(each => each.offsetWidth);
  const style = getComputedStyle(field);
  const inside = parseFloat(style.paddingLeft) + parseFloat(style.borderLeftWidth);
  const icon = field.form.querySelector('i, svg').getBoundingClientRect();
  return [icon.width, icon.right, field.getBoundingClientRect().left + inside];
}"""
RANKED = (
    "([pages, query, synonyms]) => new SearchRanking({ pages, synonyms }).search(query).map(found => found.page.name)"
)


def faults(excerpt: str) -> list[str]:
    """What makes an excerpt a bad one: no sentence, too long, or traces of the page's code, menus and TeX."""
    traces = [f"{found[0]} in {excerpt}" for found in TRACES.finditer(excerpt)]
    return traces + [excerpt] * (len(excerpt) > LONGEST_EXCERPT or not SENTENCES.match(excerpt))


@pytest.fixture(scope="module")
def found(browser, base):
    """For each query that need not wait: the pages found, best first, and their excerpts."""
    with search_page(browser) as tab:
        return {
            query: (search(tab, base, query.text), tab.evaluate(EXCERPTS)) for query in QUERIES if is_written(query)
        }


@pytest.fixture(scope="module")
def index(site) -> dict[str, dict]:
    """What the search knows of each page, by the page's file in the site."""
    script = (site / "searchindex.js").read_text(encoding="utf-8")
    return {
        f"{page['name']}.html": page
        for page in json.loads(script[script.index("{") : script.rindex("}") + 1])["pages"]
    }


def wait_for_page(query):
    if not is_written(query):
        pytest.skip(f"not written yet: {', '.join(query.pages)}")


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.text)
def test_right_page_is_among_the_first_three(query, found):
    wait_for_page(query)
    pages, _ = found[query]
    assert rank(query, pages[:SHOWN]), f"found, in this order: {pages}"


def test_right_page_is_first_nearly_always(found):
    others = {query.text: pages[:SHOWN] for query, (pages, _) in found.items() if rank(query, pages) != 1}
    assert len(others) <= (1 - LEAST_FIRST) * len(found), others


def test_title_brings_its_page_first(book_page, base, index, open_page):
    pages = search(open_page(f"{base}/search.html").page, base, index[book_page]["sections"][0]["title"])
    assert pages[0] == Path(book_page).stem


@pytest.mark.parametrize("query", FROM_FILE, ids=lambda query: query.text)
def test_search_from_a_file_finds_and_shows_the_same(query, found, site, open_page):
    wait_for_page(query)
    visit = open_page((site / "search.html").as_uri())
    assert (search(visit.page, site.as_uri(), query.text), visit.page.evaluate(EXCERPTS)) == found[query]
    assert visit.complaints == []
    assert visit.foreign_requests() == []


def test_excerpts_are_sentences(found):
    excerpts = {excerpt for _, shown in found.values() for excerpt in shown}
    assert len(excerpts) > len(found)
    assert [fault for excerpt in excerpts for fault in faults(excerpt)] == []


BAD = ("Contents What does 2.30 mean?", r"The size \sigma is right.", "and so on.", "See notes.pdf.", "A." * 200)


@pytest.mark.parametrize("excerpt", BAD, ids=lambda excerpt: excerpt[:20])
def test_the_check_of_excerpts_can_fail(excerpt):
    assert faults(excerpt)


def words_of(tags) -> list[str]:
    """The texts of tags, without spaces: the page sets some that the index does not, and the other way round."""
    return [text for tag in tags if len(text := re.sub(r"\s", "", tag.get_text())) > 40]


def test_index_holds_sentences_and_nothing_else(book_page, index, site):
    page = BeautifulSoup((site / book_page).read_text(encoding="utf-8"), "html.parser").article
    read = re.sub(r"\s", "", "".join(section["text"] for section in index[book_page]["sections"]))
    left_out = [*page.select("pre, .citation p, .solution p, .run-locally p, table.checks td, .claim p")]
    for tag in (*left_out, *page.select(".caption-number, .headerlink")):
        tag.extract()
    sentences = [tag for tag in page.find_all("p", recursive=True) if not tag.find(class_="math")]
    sentences = [
        tag for tag in sentences if not tag.find_parent(class_=["cell_output", "admonition-title", "they-say"])
    ]
    sentences = [tag for tag in sentences if not tag.find_parent(class_="chapter-map") and not tag.get("class")]
    assert [text for text in words_of(left_out) if text in read] == []
    assert [text for text in words_of(sentences) if text not in read] == []


def test_sections_that_were_found_exist(book_page, index, site):
    page = BeautifulSoup((site / book_page).read_text(encoding="utf-8"), "html.parser").article
    sections = index[book_page]["sections"]
    headings = {
        section["anchor"]: page.find(id=section["anchor"]).find(re.compile("h[1-6]")) for section in sections[1:]
    }
    assert sections[0]["anchor"] == "" and page.h1.get_text().startswith(sections[0]["title"])
    assert all(headings[section["anchor"]].get_text() for section in sections[1:])
    assert "References" not in {section["title"] for section in sections}


def test_magnifier_stands_before_the_text(base, open_page):
    """In the field of the search page, and in the one that Ctrl+K opens anywhere."""
    visit = open_page(f"{base}/search.html?q=gradient")
    places = [visit.page.evaluate(ICON_AND_TEXT)]
    visit.page.goto(f"{base}/book/intro.html")
    visit.page.keyboard.press("Control+k")
    visit.page.wait_for_selector("input[name=q]:focus")
    places.append(visit.page.evaluate(ICON_AND_TEXT))
    assert all(width > 0 and right <= start for width, right, start in places), places


def test_a_query_is_typed_and_a_page_opened(base, open_page):
    page = open_page(f"{base}/book/intro.html").page
    page.keyboard.press("Control+k")
    page.keyboard.type("revive dead neurons")
    page.keyboard.press("Enter")
    page.click("#search-results li > a")
    assert page.url.endswith("/book/04c_coming_back.html")


def test_nothing_found_is_said(base, open_page):
    page = open_page(f"{base}/search.html?q=<i>qwertz</i>").page
    assert page.inner_text(".search-summary").startswith("Nothing was found")
    assert page.locator("#search-results li, #search-results i").count() == 0


def made(name: str, title: str, text: str, *words: str) -> dict:
    """A page as the index stores it."""
    return {"name": name, "words": words, "sections": [{"anchor": "", "title": title, "text": text}]}


PAGES = [
    made("norm", "What does a layer compute?", "Batch normalisation divides by 0.25.", "scale of a batch"),
    made("descent", "How far is a step?", "The learning-rate is 2.30 here. Back-propagation is fast."),
    made("seeds", "Why does it differ?", "A seed draws the weights. " * 30 + "Normalisation is named once."),
]
SYNONYMS = [
    ["batch normalisation", "batchnorm", "batch norm"],
    ["learning rate", "lr"],
    ["backpropagation", "back propagation"],
]
MEANS = {
    "british and american": ("normalization", "norm"),
    "other endings": ("normalising", "norm"),
    "a synonym of two words": ("batch norm", "norm"),
    "an abbreviation": ("lr", "descent"),
    "without its hyphen": ("backpropagation", "descent"),
    "begun only": ("backprop", "descent"),
    "in the middle of a word": ("propagation", "descent"),
    "a letter wrong": ("weigths", "seeds"),
    "a letter missing": ("lerning", "descent"),
    "a number cut short": ("2.3", "descent"),
    "with an apostrophe": ("why doesn’t it descend: learning rate", "descent"),
}


@pytest.mark.parametrize(("query", "meant"), MEANS.values(), ids=MEANS)
def test_ranking_understands(query, meant, base, open_page):
    tab = open_page(f"{base}/search.html").page
    assert tab.evaluate(RANKED, [PAGES, query, SYNONYMS])[:1] == [meant]


def test_ranking_prefers_what_readers_would_type_to_what_is_mentioned(base, open_page):
    tab = open_page(f"{base}/search.html").page
    wordy = made("wordy", "Anything?", "A seed is drawn.", "random seed")
    assert tab.evaluate(RANKED, [[*PAGES, wordy], "seed", []]) == ["wordy", "seeds"]
    assert tab.evaluate(RANKED, [[*PAGES, wordy], "why is it not", []]) == []
