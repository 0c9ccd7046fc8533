"""Make a chapter from a draft, a Python file with cells: `python tools/new_page.py draft.py 15_walks`.

Refuses a name that book/ has already: a draft never replaces a page.
"""

import re
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
from pages import BOOK, faults

NAME = re.compile(r"\d\d[a-z]?_[a-z0-9_]+")


def make(draft: Path, name: str, book: Path = BOOK) -> Path:
    """The new notebook, without outputs; ValueError or FileNotFoundError says what is wrong."""
    if not NAME.fullmatch(name):
        raise ValueError(f"NAME: expected two digits, perhaps a letter, and words, such as 15_walks, got {name!r}")
    if not draft.is_file():
        raise FileNotFoundError(f"DRAFT: there is no file {draft}")
    number = name.partition("_")[0]
    taken = [path.name for kind in ("ipynb", "md") for path in sorted(book.glob(f"{number}_*.{kind}"))]
    if taken:
        raise ValueError(f"NAME: {number} is taken by {taken[0]}; there are {', '.join(_numbers(book))}")
    path = book / f"{name}.ipynb"
    nbformat.write(jupytext.read(draft), path)
    if wrong := faults(path):
        path.unlink()
        raise ValueError("\n".join(wrong))
    subprocess.run([sys.executable, "-m", "ruff", "format", "--quiet", str(path)], check=True)
    return path


def _numbers(book: Path) -> list[str]:
    return sorted({path.name.partition("_")[0] for path in book.glob("[0-9]*.ipynb")})


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or not all(arguments):
        print("Expected a draft and a name: make page DRAFT=draft.py NAME=15_walks")
        return 2
    try:
        path = make(Path(arguments[0]), arguments[1])
    except (ValueError, FileNotFoundError) as error:
        print(error)
        return 1
    print(f"{path.relative_to(BOOK.parent)} is made; now: make notebooks ONLY={path.stem}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
