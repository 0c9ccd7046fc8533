"""A page as slides: `python tools/slides.py 04` writes _build/slides/04_dead_relus.html, which needs no network.

A slide shows a section's heading with one figure, formula, table or short program, and what was claimed about it. The
text becomes notes. nbconvert renders the Markdown; its own slides need a script from another host.
"""

import importlib.util
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import nbformat
from nbconvert.filters import highlight, markdown2html
from pages import BOOK, chosen

sys.path.insert(0, str(BOOK / "_ext"))
from site_source import for_site

TO = BOOK.parent / "_build" / "slides"
MATHJAX = "tex-svg.js"
LAST = re.compile(r"^## (Exercises|References)", re.MULTILINE)
DEEPER = re.compile(r"^(`{3,}|:{3,})\{deeper-start\}.*?\{deeper-end\}[^\n]*\n(`{3,}|:{3,})", re.MULTILINE | re.DOTALL)
EQUATION = re.compile(r"\$\$.+?\$\$", re.DOTALL)
CLAIM = "application/vnd.unstuck.claim+json"
CODE_LINES = 14
TO_TEXT = (  # what only Sphinx reads, and what it becomes
    (re.compile(r"(?<=\$\$) \([\w-]+\)$", re.MULTILINE), ""),
    (re.compile(r"\{cite:p\}`[^`]*`"), ""),
    (re.compile(r"\{cite:t\}`(\w+?)(\d{4})\w*`"), r"\1 (\2)"),
    (re.compile(r"\{numref\}`[^`]*`"), "the figure"),
    (re.compile(r"\{eq\}`[^`]*`"), "the equation"),
    (re.compile(r"^[`:]{3,}(\{[\w-]+\}.*)?$", re.MULTILINE), ""),
    (re.compile(r"^:[\w-]+:.*$", re.MULTILINE), ""),
    (re.compile(r"\[([^\]]+)\]\((?!http)[^)]*\)"), r"\1"),
)


@dataclass
class Slide:
    """One slide: a heading, what is shown (HTML), and the text that is said (Markdown)."""

    heading: str
    level: int = 2
    shown: list[str] = field(default_factory=list)
    claims: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def slides_of(nb) -> list[Slide]:
    """The slides of a page, up to its exercises."""
    slides: list[Slide] = []
    for cell in nb.cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "markdown" and "lab" not in tags:
            text = for_site(cell.source)
            if LAST.search(text):
                add_text(slides, LAST.split(text)[0])
                break
            add_text(slides, text)
        elif cell.cell_type == "code" and slides:
            add_code(slides, cell, tags)
    return [slide for slide in slides if slide.level == 1 or slide.shown or slide.claims or slide.notes]


def add_text(slides: list[Slide], text: str) -> None:
    """New slides for headings, formulas on the slide, the rest into its notes."""
    text = DEEPER.sub("", text)
    for pattern, instead in TO_TEXT:
        text = pattern.sub(instead, text)
    for piece in re.split(r"^(#{1,4} .*)$", text, flags=re.MULTILINE):
        if heading := re.fullmatch(r"(#{1,4}) (.*)", piece):
            slides.append(Slide(heading[2], len(heading[1])))
        elif slides and piece.strip():
            for equation in EQUATION.findall(piece):
                if len("".join(slides[-1].shown)) > 1500:
                    slides.append(Slide(slides[-1].heading))
                slides[-1].shown.append(f"<p>{escape(equation)}</p>")
            slides[-1].notes.append(piece.strip())


def add_code(slides: list[Slide], cell, tags: list[str]) -> None:
    """A short program that the site shows, a figure (on a slide of its own) or a table, and claims."""
    hidden = {"hide-input", "remove-input", "hide-cell", "remove-cell"} & set(tags)
    if not hidden and len(cell.source.splitlines()) <= CODE_LINES:
        shows_on_its_own(slides, highlight.Highlight2HTML()(cell.source))
    for output in () if "remove-cell" in tags else cell.outputs:
        data = output.get("data", {})
        if CLAIM in data:
            if data[CLAIM].get("shown") and data[CLAIM]["text"].endswith("."):  # others are read with their number
                slides[-1].claims.append(data[CLAIM]["text"])
        elif "image/png" in data:
            figure = cell.metadata.get("mystnb", {})
            alt = escape(figure.get("image", {}).get("alt", ""), quote=True)
            shows_on_its_own(slides, f'<img alt="{alt}" src="data:image/png;base64,{data["image/png"].strip()}">')
        elif "text/html" in data and "<table" in data["text/html"] and "view+json" not in str(list(data)):
            shows_on_its_own(slides, data["text/html"])


def shows_on_its_own(slides: list[Slide], html: str) -> None:
    """Show this on the last slide, or on a new one under the same heading where there is something already."""
    if slides[-1].shown:
        slides.append(Slide(slides[-1].heading))
    slides[-1].shown.append(html)


def as_html(slide: Slide) -> str:
    """One slide as a section."""
    heading = markdown2html(slide.heading).replace("<p>", "").replace("</p>", "")
    claims = "".join(f"<li>{escape(claim)}</li>" for claim in slide.claims)
    notes = markdown2html("\n\n".join(slide.notes)) if slide.notes else ""
    parts = [f"<h{min(slide.level, 2)}>{heading}</h{min(slide.level, 2)}>", *slide.shown]
    parts += [f"<ul>{claims}</ul>"] if claims else []
    parts += [f"<aside>{notes}</aside>"] if notes else []
    return f"<section>{''.join(parts)}</section>"


def page(nb, script: str) -> str:
    """All slides as one HTML file."""
    slides: Iterator[str] = map(as_html, slides_of(nb))
    title = escape(nb.cells[0].source.splitlines()[0].lstrip("# "))
    return TEMPLATE.format(title=title, slides="\n".join(slides), style=highlight_style(), script=script)


def highlight_style() -> str:
    from pygments.formatters import HtmlFormatter

    return HtmlFormatter(style="default").get_style_defs(".highlight")


TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
{style}
html {{ scroll-snap-type: y mandatory; font: 2.2vmin/1.4 system-ui, sans-serif; color: #222; background: #fff }}
body {{ margin: 0 }}
section {{ box-sizing: border-box; min-height: 100vh; padding: 4vmin 6vmin; scroll-snap-align: start; display: flex;
  flex-direction: column; gap: 1vmin; break-after: page }}
h1 {{ font-size: 6vmin; margin: auto 0 }} h2 {{ font-size: 4.4vmin; margin: 0 }}
img {{ max-width: 100%; max-height: 68vh; object-fit: contain; margin: auto }}
.highlight {{ font-size: 2.8vmin; margin: auto 0; background: none }} pre {{ margin: 0 }}
ul {{ font-size: 2.8vmin; margin: auto 0 0 }} section > p {{ font-size: 3.2vmin; margin: auto 0 }}
table {{ font-size: 2.6vmin; border-collapse: collapse; margin: auto }} td, th {{ padding: .3em .8em }}
aside {{ display: none; font-size: 2.2vmin; columns: 2; column-gap: 4vmin; border-top: 1px solid #999 }}
.notes aside {{ display: block }}
</style>
{slides}
<script>
addEventListener("keydown", (event) => {{
  const slides = [...document.querySelectorAll("section")];
  const here = slides.findIndex((slide) => slide.getBoundingClientRect().bottom > innerHeight / 2);
  const keys = {{ArrowRight: 1, PageDown: 1, ArrowDown: 1, " ": 1, ArrowLeft: -1, PageUp: -1, ArrowUp: -1}};
  const step = keys[event.key];
  if (step) {{ event.preventDefault(); slides[here + step]?.scrollIntoView(); }}
  if (event.key === "n") {{
    document.body.classList.toggle("notes"); slides[here].scrollIntoView();
  }}
}});
MathJax = {{tex: {{inlineMath: [["$", "$"], ["\\\\(", "\\\\)"]]}}, options: {{enableMenu: false}}}};
</script>
<script src="{script}"></script>
</html>
"""


def main(only: list[str]) -> int:
    found = chosen([name for name in only if name])
    if not found:
        print(f"PAGE: expected a page such as 04 or 04_dead_relus, got {' '.join(only)}", file=sys.stderr)
        return 2
    TO.mkdir(parents=True, exist_ok=True)
    package = Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent
    shutil.copyfile(package / "static" / "mathjax" / MATHJAX, TO / MATHJAX)
    for path in found:
        (TO / f"{path.stem}.html").write_text(page(nbformat.read(path, 4), MATHJAX), encoding="utf-8")
        print(TO / f"{path.stem}.html")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
