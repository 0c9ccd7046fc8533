"""The README's table of chapters says what book/chapters.yml and the table of contents say."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_chapter_table():
    chapters = yaml.safe_load((ROOT / "book/chapters.yml").read_text(encoding="utf-8"))["chapters"]
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    written = {Path(entry["file"]).name for entry in contents.get("chapters", [])}
    expected = []
    for row in chapters:
        there = row["file"] in written
        number = f"[{row['number']}](book/{row['file']}.ipynb)" if there else str(row["number"])
        expected.append((number, row["question"], "" if there else "planned"))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\[?\d+[a-z]?\]?(?:\([^)]*\))?) \| (.*?) \|(?: (planned) )?\s*\|$", text, re.MULTILINE)
    assert rows == expected
