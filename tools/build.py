"""Build the website from the stored outputs, warnings as errors: `python tools/build.py [--fresh]`."""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from pages import chosen, faults

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "_build"
FIRST_PAGE = OUTPUT / "html" / "index.html"


def command(builder: str) -> list[str]:
    """Jupyter Book's command for one of its builders, with warnings as errors."""
    return [
        *(sys.executable, "-c", "from jupyter_book.cli.main import main; main()"),  # there is no `-m jupyter_book`
        *("build", ".", "--builder", builder, "--warningiserror", "--nitpick", "--keep-going", "--quiet"),
    ]


def build(fresh: bool = False) -> int:
    """Build into _build/html and return the exit code; `fresh` forgets what was built before."""
    if fresh:
        shutil.rmtree(OUTPUT, ignore_errors=True)
    if unreadable := [fault for path in chosen([]) for fault in faults(path)]:
        print(*unreadable, sep="\n")
        return 1
    built = False
    print("Building the website ...", flush=True)
    try:
        built = subprocess.run(command("html"), cwd=ROOT).returncode == 0
        if built:
            remove_old_pages()
    finally:
        if not built:
            # Sphinx would not read the pages with warnings again, and the next build would pass
            shutil.rmtree(OUTPUT / ".doctrees", ignore_errors=True)
    return 0 if built else 1


def remove_old_pages(html: Path = OUTPUT / "html", root: Path = ROOT) -> None:
    """Delete what stands in the site for pages that are gone; Sphinx leaves it there."""
    for page in (html / "book").glob("*.html"):
        if not any((root / "book" / page.with_suffix(kind).name).exists() for kind in (".ipynb", ".md")):
            for old in (page, *(html / "_sources" / "book").glob(f"{page.stem}.*")):
                old.unlink()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fresh", action="store_true", help="forget what was built before")
    failed = build(parser.parse_args().fresh)
    print("The book could not be built: see the messages above." if failed else f"The book: {FIRST_PAGE.as_uri()}")
    sys.exit(failed)
