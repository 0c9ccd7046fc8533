"""The built pages as files: links, downloads, alternative texts, the map of chapters, the repository's address."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
SHORTEST_ALT = 20
VIEW = "application/vnd.jupyter.widget-view+json"
TEXT = "A text of more than twenty characters."
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
STAND_INS = ({"text/html": "<details>an answer</details>"}, {"image/png": DOT}, {})


@cache
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def rows() -> list[dict]:
    return yaml.safe_load((ROOT / "book" / "chapters.yml").read_text(encoding="utf-8"))["chapters"]


def broken_links(path: Path) -> list[str]:
    """Links, images, scripts and anchors of a page that lead nowhere in the site."""
    faults = []
    for tag in soup(path).find_all(True):
        for attribute in ("href", "src"):
            link = urlsplit(tag.get(attribute, ""))
            if link.scheme or link.netloc or not (link.path or link.fragment):
                continue
            target = (path.parent / unquote(link.path)).resolve() if link.path else path
            if not target.is_file():
                faults.append(f"{tag.name} {attribute}={tag[attribute]}")
            elif link.fragment and target.suffix == ".html" and not soup(target).find(id=unquote(link.fragment)):
                faults.append(f"{tag.name} {attribute}={tag[attribute]}: no such place")
    return faults


def poor_alts(path: Path) -> list[str]:
    """Pictures of a page's article without a text that says what there is to see."""
    pictures = soup(path).select("article img")
    return [f"{p.get('src', '')[:60]}: {p.get('alt')!r}" for p in pictures if len(p.get("alt") or "") < SHORTEST_ALT]


def test_every_link_leads_somewhere(page, site):
    assert broken_links(site / page) == []


def test_every_picture_has_a_text(page, site):
    assert poor_alts(site / page) == []


def test_the_checks_can_fail(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        '<article><a href="gone.html">a</a><a href="#nowhere">b</a><a id="here" href="#here">c</a>'
        '<img src="page.html" alt="short"><img src="page.html"></article>'
    )
    assert len(broken_links(page)) == 2
    assert len(poor_alts(page)) == 2


def test_every_notebook_can_be_downloaded_and_says_how_to_run_it(site):
    for notebook in (ROOT / "book").glob("*.ipynb"):
        page = site / "book" / f"{notebook.stem}.html"
        assert page.exists(), f"{notebook.name} is not in the table of contents"
        links = [a["href"] for a in soup(page).select("a.btn-download-source-button")]
        assert links == [f"../_sources/book/{notebook.name}"]
        assert (page.parent / links[0]).resolve().read_bytes() == notebook.read_bytes()
        box = soup(page).select_one(".run-locally").get_text()
        assert "make lab" in box and notebook.name in box


def test_contents_and_map_follow_the_table_of_chapters(site):
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    entries = [page for chapter in toc.get("chapters", []) for page in (chapter, *chapter.get("sections", []))]
    titles = {entry["file"]: entry.get("title") for entry in entries}
    expected = {f"book/{row['file']}": f"{row['number']} · {row['title']}" for row in rows()}
    written = [name for name in expected if name in titles]
    assert [name for name in titles if name in expected] == written, "chapters are out of order"
    assert {name: titles[name] for name in written} == {name: expected[name] for name in written}
    first_pages = {f"book/{row['file']}" for row in rows() if isinstance(row["number"], int)}
    assert {entry["file"] for entry in toc["chapters"]} & set(expected) <= first_pages, "2b stands under 2"

    entries = soup(site / "book" / "intro.html").select("ul.chapter-map ul > li")
    assert len(entries) == len(rows())
    for row, entry in zip(rows(), entries, strict=True):
        links = [a["href"] for a in entry.select("a")]
        is_written = f"book/{row['file']}" in written
        assert links == ([f"{row['file']}.html"] if is_written else [])
        assert ("planned" in entry.get_text()) != is_written


GUARD = """
import socket
def refuse(*args, **kwargs):
    raise RuntimeError("the build asked for the network")
socket.socket.connect = socket.create_connection = refuse
"""


def build_copy(folder: Path, repository: str) -> BeautifulSoup:
    """The page of a small notebook, from a copy built where importing torch and connecting are errors."""
    project, guards = folder / "project", folder / "guards"
    guards.mkdir()
    (guards / "torch.py").write_text('raise RuntimeError("the build imported torch")')
    (guards / "sitecustomize.py").write_text(GUARD)
    shutil.copytree(ROOT / "book", project / "book", ignore=shutil.ignore_patterns("*.ipynb", "__pycache__"))
    config = (ROOT / "_config.yml").read_text(encoding="utf-8")
    config, replaced = re.subn(r'^  url: ".*"$', f'  url: "{repository}"', config, flags=re.MULTILINE)
    assert replaced == 1
    (project / "_config.yml").write_text(config, encoding="utf-8")
    (project / "_toc.yml").write_text("format: jb-book\nroot: book/small\n")
    v4 = nbformat.v4
    cells = [v4.new_markdown_cell("# A small page"), v4.new_code_cell("1 + 1", execution_count=1)]
    cells.append(v4.new_code_cell("explorables", execution_count=2, outputs=[*map(explorable, STAND_INS)]))
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(v4.new_notebook(cells=cells, metadata=kernel), project / "book" / "small.ipynb")
    command = "from jupyter_book.cli.main import main; main()"
    run = subprocess.run(
        [sys.executable, "-c", command, "build", ".", "--warningiserror", "--nitpick", "--keep-going"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(guards)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    return soup(project / "_build" / "html" / "book" / "small.html")


def explorable(forms: dict[str, str]) -> nbformat.NotebookNode:
    """The output of a cell that shows an explorable."""
    return nbformat.v4.new_output("display_data", {VIEW: {"model_id": "unstuck-0"}, "text/plain": TEXT, **forms})


def buttons(page: BeautifulSoup) -> list[str]:
    """Addresses outside the site that the page's buttons lead to."""
    return [a["href"] for a in page.select(".article-header-buttons a") if a["href"].startswith("http")]


@pytest.fixture(scope="module")
def small_page(tmp_path_factory):
    return build_copy(tmp_path_factory.mktemp("build"), "")


def test_without_a_repository_no_button_needs_one(small_page):
    assert buttons(small_page) == []
    assert "git clone" not in small_page.select_one(".run-locally").get_text()


def test_without_javascript_something_stands_in_for_an_explorable(small_page):
    views = small_page.find_all("script", type=VIEW)
    after = [view.find_next_sibling() for view in views]
    assert [sibling and sibling.name for sibling in after] == ["noscript", "noscript", None]
    assert after[0].find("details").get_text() == "an answer"
    assert after[1].find("img")["alt"] == TEXT
    assert TEXT not in small_page.get_text()


def test_the_repository_is_one_setting(tmp_path):
    page = build_copy(tmp_path, "https://github.com/someone/course")
    found = buttons(page)
    assert "https://mybinder.org/v2/gh/someone/course/main?urlpath=lab/tree/book/small.ipynb" in found
    assert "https://github.com/someone/course" in found
    assert any(link.startswith("https://github.com/someone/course/issues/new") for link in found)
    assert not any("colab" in link for link in found)
    box = page.select_one(".run-locally pre").get_text()
    assert box.splitlines() == ["git clone https://github.com/someone/course", "cd course", "make lab"]


def test_every_page_lists_its_checks_and_one_page_what_sources_say(site):
    mime = "application/vnd.unstuck.claim+json"
    said = 0
    for notebook in (ROOT / "book").glob("*.ipynb"):
        outputs = [
            output for cell in nbformat.read(notebook, as_version=4).cells for output in cell.get("outputs", [])
        ]
        claims = [output["data"][mime] for output in outputs if mime in output.get("data", {})]
        said += sum(claim["says"] is not None for claim in claims)
        lines = soup(site / "book" / f"{notebook.stem}.html").select("details.checks tbody tr")
        assert [line.td.get_text(strip=True) for line in lines] == [claim["text"] for claim in claims]
    assert len(soup(site / "book" / "they_say.html").select("table.they-say tbody tr")) == said


def test_folds_over_code_say_what_it_is_for(site):
    for notebook in (ROOT / "book").glob("*.ipynb"):
        cells = [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
        folded = [cell for cell in cells if "hide-input" in cell.metadata.get("tags", [])]
        folded = [cell for cell in folded if "remove-cell" not in cell.metadata.tags]
        page = soup(site / "book" / f"{notebook.stem}.html")
        words = [fold.get_text(strip=True) for fold in page.select("details.hide.above-input > summary > .collapsed")]
        assert len(words) == len(folded)
        assert words[0] == "Show the set-up"
        for cell, said in zip(folded, words, strict=True):
            assert ("figure" in said) == bool(cell.metadata.get("mystnb", {}).get("figure"))
