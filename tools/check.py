"""What `make test` runs: every stage, whatever the others say, then one table and the exit code.

`python tools/check.py package` (`make test ONLY=package`) runs the stages named, of those that `stages` lists, and
`--touched` (`make check`) the quick ones, on the pages that differ from the last commit.

Without a browser tests/site skips what needs one, which is said last; where CI is set it fails instead.
"""

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = sys.executable
PARALLEL = ("-n", "2")
NOTEBOOK_FLAGS = (
    "--nbval",
    "--nbval-current-env",
    "--nbval-cell-timeout=120",
)
"""How a notebook is executed and compared with its stored outputs; tests/book shows that this can fail."""
NO_BROWSER = "no browser"
"""How the reason begins with which tests/site skips when it finds no Chromium."""


@dataclass
class Stage:
    """One command; with `pytest` its tests are counted, without it counts as one check."""

    name: str
    command: tuple[str, ...]
    pytest: bool = False
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    reasons: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Run the command in the project's folder with its output shown, and count."""
        print(f"\n== {self.name}", flush=True)
        begin = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            extra = (f"--junitxml={report}",) if self.pytest else ()
            code = subprocess.run((*self.command, *extra), cwd=ROOT, env=environment()).returncode
            if report.exists():
                self.count(report)
        if not self.pytest and code == 0:
            self.passed = 1
        if code and not self.failed:
            self.failed = 1  # it ended before anything was counted, or found no test at all
        self.seconds = time.monotonic() - begin

    def count(self, report: Path) -> None:
        """Read pytest's JUnit report."""
        cases = ElementTree.parse(report).getroot().iter("testcase")
        for case in cases:
            skip = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                self.failed += 1
            elif skip is None:
                self.passed += 1
            else:
                self.skipped += 1
                self.reasons.append(skip.get("message", ""))

    def missing_browser(self) -> str:
        """The reason with which browser tests were skipped, or nothing."""
        return next((reason for reason in self.reasons if reason.startswith(NO_BROWSER)), "")


def environment() -> dict[str, str]:
    """Ours, with one thread a process, since two processes run at a time."""
    return {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONUNBUFFERED": "1"}


def stages() -> dict[str, Stage]:
    """Everything that must hold, by the name with which `ONLY` asks for it, quickest first."""
    pytest = (PYTHON, "-m", "pytest")
    notebooks = tuple(str(path.relative_to(ROOT)) for path in sorted((ROOT / "book").glob("*.ipynb")))
    ruff = (PYTHON, "-m", "ruff")
    found = {
        "lint": Stage("lint", (*ruff, "check", ".")),
        "format": Stage("format", (*ruff, "format", "--check", ".")),
        "types": Stage("types", (PYTHON, "-m", "mypy", "src")),
        "text": Stage("text of the book", (*pytest, "tests/book", *PARALLEL), pytest=True),
        "package": Stage("package", (*pytest, "tests/package", *PARALLEL), pytest=True),
        "assignments": Stage(
            "assignments", (*pytest, "tests/assignments", *PARALLEL, "-m", "not whole"), pytest=True
        ),
        "website": Stage("website", (PYTHON, "tools/build.py", "--fresh")),
        "browser": Stage("website in a browser", (*pytest, "tests/site", *PARALLEL), pytest=True),
    }
    if notebooks:
        command = (*pytest, *NOTEBOOK_FLAGS, *PARALLEL, "--dist=loadfile", *notebooks)
        found["notebooks"] = Stage("notebooks", command, pytest=True)
    return found


def touched() -> dict[str, Stage]:
    """For a mended text: lint, and the rules of those pages that differ from the last commit. No cell is executed."""
    changed = ("git", "status", "--porcelain", "--untracked-files=all", "--", "book")
    lines = subprocess.run(changed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    names = sorted({Path(line[3:].split(" -> ")[-1].strip('"')).name for line in lines})
    pages = [name for name in names if name.endswith(".ipynb") and (ROOT / "book" / name).exists()]
    found = {name: stage for name, stage in stages().items() if name in ("lint", "format")}
    if pages:
        rules = (PYTHON, "-m", "pytest", "tests/book/test_book.py", *PARALLEL, "-k", " or ".join(pages))
        found["text"] = Stage(f"text of {', '.join(pages)}", rules, pytest=True)
    return found


def table(done: list[Stage]) -> str:
    """The summary a person reads."""
    width = max(len(stage.name) for stage in done)
    rows = [f"{'':{width}}  passed  failed  skipped  seconds"]
    for stage in done:
        mark = "  <-- failed" if stage.failed else ""
        rows.append(
            f"{stage.name:{width}}  {stage.passed:6}  {stage.failed:6}  {stage.skipped:7}  {stage.seconds:7.1f}{mark}"
        )
    return "\n".join(rows)


def main(only: list[str]) -> int:
    known = touched() if only == ["--touched"] else stages()
    only = [name for name in only if name != "--touched"]
    if unknown := [name for name in only if name not in known]:
        print(f"There is no stage {' or '.join(unknown)}; there are {', '.join(known)}.")
        return 2
    done = [stage for name, stage in known.items() if not only or name in only]
    for stage in done:
        stage.run()
    passed, failed, skipped = (
        sum(getattr(stage, what) for stage in done) for what in ("passed", "failed", "skipped")
    )
    print(f"\n{table(done)}\n\n{passed} passed, {failed} failed, {skipped} skipped")
    for reason in {stage.missing_browser() for stage in done} - {""}:
        print(reason)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
