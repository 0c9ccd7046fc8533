"""Print the book into one file, _build/unstuck.pdf, by Sphinx and XeLaTeX: `make pdf`."""

import shutil
import subprocess
import sys

from build import ROOT, command
from pages import chosen, faults

LATEX = ROOT / "_build" / "latex"
TARGET = ROOT / "_build" / "unstuck.pdf"
PROGRAMS = ("xelatex", "latexmk", "kpsewhich")
NEEDED = ("fncychap.sty", "tabulary.sty", "capt-of.sty", "newunicodechar.sty", "texgyrepagella-regular.otf")
"""Files that TeX has to find, one of each package that is needed."""
INSTALL = (
    "sudo apt-get install --no-install-recommends latexmk texlive-xetex texlive-latex-recommended "
    "texlive-latex-extra texlive-fonts-recommended tex-gyre fonts-dejavu-core && sudo fc-cache -f"
)


def missing() -> list[str]:
    """What has to be installed first: programs, and files that TeX does not find."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return absent
    found = {name: subprocess.run(["kpsewhich", name], capture_output=True).returncode == 0 for name in NEEDED}
    return [name for name, there in found.items() if not there]


def main() -> int:
    if absent := missing():
        print(
            f"The PDF needs TeX, and {', '.join(absent)} is missing. On Debian or Ubuntu (some 600 MB):\n  {INSTALL}"
        )
        return 2
    if unreadable := [fault for path in chosen([]) for fault in faults(path)]:
        print(*unreadable, sep="\n")
        return 1
    print("Writing the book for TeX ...", flush=True)
    if subprocess.run(command("latex"), cwd=ROOT).returncode:
        print("The book could not be written: see the messages above.")
        return 1
    print("Printing it; this takes about a minute ...", flush=True)
    tex = ["latexmk", "-xelatex", "-interaction=nonstopmode", "-halt-on-error", "-quiet", "unstuck.tex"]
    run = subprocess.run(tex, cwd=LATEX, capture_output=True, text=True, errors="replace")
    if run.returncode:
        log = LATEX / "unstuck.log"
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
        print(*[line for line in lines if line.startswith(("!", "l."))] or [run.stderr], sep="\n")
        print(f"TeX stopped; its log is {log}.")
        return 1
    shutil.copyfile(LATEX / "unstuck.pdf", TARGET)
    print(f"The book on paper: {TARGET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
