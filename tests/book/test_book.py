"""Every chapter obeys the rules, as it is stored; what is read elsewhere obeys those on wording."""

import re
from pathlib import Path

import nbformat
import pytest
import rules
import yaml
from notebooks import normalise

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
CHAPTERS = sorted(BOOK.glob("*.ipynb"))
PAGES = sorted(BOOK.glob("*.md"))
SUFFIXES = {".cfg", ".css", ".js", ".md", ".py", ".sh", ".svg", ".toml", ".txt", ".yml", ""}
TEXTS = sorted(
    path
    for folder in ("assignments", "book", "src/unstuck", "tools", "benchmarks", "binder", ".ci", ".github")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.suffix in SUFFIXES
) + sorted(path for path in ROOT.iterdir() if path.is_file() and path.suffix in SUFFIXES and path.name != ".git")

names = {"ids": lambda path: path.name}


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", CHAPTERS, **names)
def test_chapter_obeys(path, rule):
    assert list(rule(nbformat.read(path, as_version=4))) == []


@pytest.mark.parametrize("path", CHAPTERS, **names)
def test_title_is_the_question_of_the_table_of_chapters(path):
    tables = yaml.safe_load((BOOK / "chapters.yml").read_text(encoding="utf-8"))
    questions = {row["file"]: row["question"] for row in (*tables["chapters"], *tables["appendices"])}
    title = nbformat.read(path, as_version=4).cells[0].source.splitlines()[0]
    assert title == f"# {questions[path.stem]}"


@pytest.mark.parametrize("path", CHAPTERS, **names)
def test_chapter_was_stored_by_make_notebooks(path):
    assert path.read_text(encoding="utf-8") == nbformat.writes(normalise(nbformat.read(path, as_version=4))) + "\n"


@pytest.mark.parametrize("path", [*PAGES, *sorted(ROOT.glob("*.md"))], **names)
def test_wording_of_page(path):
    assert list(rules.wording(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", sorted((ROOT / "assignments").glob("*/*.ipynb")), **names)
def test_wording_of_assignment(path):
    nb = nbformat.read(path, as_version=4)
    text = rules.markdown(nb) + (path.parent / "rubric.md").read_text(encoding="utf-8")
    assert list(rules.wording(text)) == []
    assert [line for cell in nb.cells for line in cell.source.splitlines() if len(line) > 140] == []


@pytest.mark.parametrize("path", PAGES, **names)
def test_pictures_of_page_say_what_to_see(path):
    text = path.read_text(encoding="utf-8")
    alts = [
        (re.search(r":alt:[ \t]*(.*)", options) or ["", ""])[1]
        for _, kind, _, options in rules.DIRECTIVE.findall(text)
        if kind in ("figure", "image")
    ]
    alts += re.findall(r"!\[(.*?)\]\(", text)
    assert [alt for alt in alts if len(alt) < 40] == []


@pytest.mark.parametrize("path", [*CHAPTERS, *PAGES], **names)
def test_page_has_words_that_readers_would_search_for(path):
    tables = yaml.safe_load((BOOK / "chapters.yml").read_text(encoding="utf-8"))
    words = {row["file"]: row.get("words", "").split(",") for row in (*tables["chapters"], *tables["appendices"])}
    assert len(words[path.stem]) >= 5


def test_no_file_names_a_registry_or_a_path_of_one_machine():
    found = {}
    for path in TEXTS:
        text = path.read_text(encoding="utf-8", errors="replace")
        hits = [match[0] for pattern in (rules.REGISTRY, rules.LOCAL_PATH) for match in pattern.finditer(text)]
        if hits:
            found[str(path.relative_to(ROOT))] = hits
    assert found == {}


def contents() -> list[str]:
    """The files that _toc.yml lists, as it writes them."""
    return re.findall(r"(?:root|file):\s*(\S+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))


def test_contents_list_what_exists_and_nothing_else():
    there = {f"book/{path.stem}" for path in (*CHAPTERS, *PAGES)}
    assert yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["root"] == "book/intro"
    assert {name.removesuffix(".md").removesuffix(".ipynb") for name in contents()} == there


def links(text: str) -> list[str]:
    """The targets of links to other pages and files of the project, without what follows a #."""
    prose = rules.without_code(text)
    prose = re.sub(r"(\{[\w-]+\}`[^`]*`)|`[^`\n]+`", r"\1", prose)  # roles stay, `model[:3](x)` is code
    targets = re.findall(r"\]\(<?([^)>\s]+)>?\)", prose) + re.findall(r"\{doc\}`(?:[^`]*<)?([^`>]+)>?`", prose)
    return [target.split("#")[0] for target in targets if not re.match(r"#|https?:|mailto:", target)]


@pytest.mark.parametrize("path", [*CHAPTERS, *PAGES], **names)
def test_links_lead_to_pages_of_the_book(path):
    text = rules.markdown(nbformat.read(path, as_version=4)) if path.suffix == ".ipynb" else path.read_text("utf-8")
    pages = {name.removeprefix("book/") for name in contents()}
    dangling = [
        target
        for target in links(text)
        if target.removesuffix(".md").removesuffix(".ipynb") not in pages and not (BOOK / target).is_file()
    ]
    assert dangling == []


def test_links_are_found():
    text = "[a](01_stuck.md#top) [b](https://x.org) {doc}`02_backprop` {doc}`that <03_c>` [c](#here) `f[0](x)`\n"
    text += "```\n[d](e)\n```\n"
    assert links(text) == ["01_stuck.md", "02_backprop", "03_c"]
