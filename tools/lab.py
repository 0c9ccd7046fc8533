"""Open the chapters in JupyterLab: `python tools/lab.py [--fresh] [--originals] [--port 8888] [--ip localhost]`.

What opens is a working copy, lab/, which git ignores: a reader tries and saves there, and the next `git pull` meets
no conflict. A copy that the reader has not changed follows its page; a changed one is left as it is, and `--fresh`
sets it aside under another name. `--originals` opens book/ itself, for who mends a page.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = ".copied.json"
"""In the working copy: by name the SHA-256 of each page as it was copied. What differs, the reader has changed."""


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def working_copy(book: Path, lab: Path, fresh: bool = False) -> list[str]:
    """Bring `lab` up to date with the pages of `book`; returns what the reader should know, a line each."""
    lab.mkdir(exist_ok=True)
    note = lab / COPIED
    copied = json.loads(note.read_text(encoding="utf-8")) if note.exists() else {}
    told = []
    for page in sorted(book.glob("*.ipynb")):
        mine, name = lab / page.name, page.name
        if mine.exists() and digest(mine) != copied.get(name):
            if not fresh:
                if digest(page) != copied.get(name):
                    told.append(f"{name} has changed in the book since you began; yours is kept (make lab FRESH=1)")
                continue
            aside = _unused(mine)
            mine.rename(aside)
            told.append(f"{name} is fresh again; yours is now {aside.name}")
        if copied.get(name) != digest(page) or not mine.exists():
            part = mine.with_name(f".{name}.part")
            shutil.copyfile(page, part)
            os.replace(part, mine)
            copied[name] = digest(page)
            note.write_text(json.dumps(copied, indent=1), encoding="utf-8")
    return told


def _unused(path: Path) -> Path:
    """A name beside `path` that nothing has."""
    numbers = (path.with_name(f"{path.stem}.mine{i or ''}{path.suffix}") for i in range(10_000))
    return next(name for name in numbers if not name.exists())


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fresh", action="store_true", help="start again from the book's pages")
    parser.add_argument("--originals", action="store_true", help="open book/ itself")
    parser.add_argument("--port", default="8888")
    parser.add_argument("--ip", default="localhost", help="where to listen; 0.0.0.0 in a container")
    given = parser.parse_args(arguments)
    folder = ROOT / "book" if given.originals else ROOT / "lab"
    if not given.originals:
        print(*working_copy(ROOT / "book", folder, given.fresh), sep="\n")
    command = [sys.executable, "-m", "jupyterlab", f"--port={given.port}", f"--ip={given.ip}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        print(
            "You are root, so JupyterLab has no browser to open: follow the link that it prints. In a container,"
            f" publish the port (docker run -p {given.port}:{given.port}) and say make lab IP=0.0.0.0."
        )
        command += ["--allow-root", "--no-browser"]
    sys.stdout.flush()
    # One thread, as tests and `make notebooks` have: with more, small networks wait for each other as soon as a core
    # is busy.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.chdir(folder)
    os.execv(sys.executable, command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
