"""The references of a chapter as text, for JupyterLab, which shows a citation by its key and has no bibliography."""

import re
from functools import cache
from pathlib import Path

from pybtex.backends.markdown import Backend
from pybtex.database import BibliographyData, parse_file
from pybtex.style.formatting.unsrt import Style

BIBLIOGRAPHY = Path(__file__).resolve().parents[1] / "book" / "references.bib"
CITATION = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")


@cache
def read(path: Path = BIBLIOGRAPHY) -> BibliographyData:
    return parse_file(path, bib_format="bibtex")


def references(text: str) -> str:
    """A list of what `text` cites, each with its key, sorted; nothing where it cites nothing."""
    cited = {key.strip() for keys in CITATION.findall(text) for key in keys.split(",")}
    entries = [entry for key, entry in sorted(read().entries.items()) if key in cited]
    formatted = Style().format_entries(entries)
    texts = ((entry.key, " ".join(entry.text.render(Backend()).split())) for entry in formatted)
    return "\n".join(f"- `{key}`: {text}" for key, text in texts)
