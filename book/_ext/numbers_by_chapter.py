"""Sphinx extension: figures, tables, equations and exercises are counted afresh on every page.

In chapter 3 they are 3.1, 3.2, ...; on a page that is no chapter 1, 2, ... So a new chapter renumbers no other.
"""

from __future__ import annotations

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from chapter_map import read_chapters


def renumber(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Replace the numbers that Sphinx gave, which run through the whole book."""
    chapters = {f"book/{row['file']}": row["number"] for row in read_chapters()}
    for docname, kinds in env.toc_fignumbers.items():
        prefix = (chapters[docname],) if docname in chapters else ()
        for numbers in kinds.values():
            ordered = sorted(numbers, key=numbers.get)
            numbers.update({key: (*prefix, i) for i, key in enumerate(ordered, start=1)})
    return []


def setup(app: Sphinx) -> dict:
    app.connect("env-get-updated", renumber, priority=900)  # after Sphinx's own numbering
    return {"parallel_read_safe": True, "parallel_write_safe": True}
