"""`make mutants`: which faults it plants, what it makes of them, and that nothing is left of it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import mutants
import pytest

ROOT = Path(__file__).resolve().parents[2]

MODULE = '''"""A docstring."""
from contextlib import contextmanager

SCALE = 2
@contextmanager
def doubled(x: "int"):
    """One more."""
    if x > 3:
        raise ValueError("too large: " + str(x))
    yield SCALE * x


def countdown(n):
    while n:
        n = n - 1
    return "done"


def pairs(a, b):
    return list(zip(a, b, strict=True))
'''
TESTS = """import pytest

from init import countdown, doubled


def test_it():
    with doubled(3) as found:
        assert found == 6
    with pytest.raises(ValueError):
        doubled(5).__enter__()
    assert countdown(2)
"""


@pytest.fixture
def project(tmp_path):
    """The tool in a project of one module, `init`, whose tests overlook what happens at 4, and a text."""
    root = tmp_path / "project"
    for path, text in {
        "src/unstuck/__init__.py": "",
        "src/unstuck/init.py": MODULE,
        "tests/package/test_init.py": TESTS.replace("from init", "from unstuck.init"),
        "tests/package/test_bad_calls.py": "",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    (root / "tools").mkdir()
    shutil.copy(ROOT / "tools/mutants.py", root / "tools")
    (tmp_path / "tmp").mkdir()
    return root


def run(project, *options):
    environment = {**mutants.os.environ, "TMPDIR": str(project.parent / "tmp")}
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, "-B", "tools/mutants.py", *options]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=120)


def test_a_small_project(project):
    before = {path: path.read_bytes() for path in project.rglob("*.py")}
    result = run(project, "--only", "init")
    assert result.returncode == 0, result.stderr
    log, survivors = result.stdout.split("\nSurvivors:\n")
    lines = [int(line) for line in re.findall(r"init:(\d+)$", log, re.MULTILINE)]
    assert set(lines) == {4, 8, 10, 15, 16, 20}  # no docstring, no hint, no message; what is decorated, and a table
    assert "strict=False" not in result.stdout  # a guard
    assert "timed out  init:15" in log  # n = n + 1 never ends
    assert "-    if x > 3:\n+    if x >= 4:" not in survivors
    assert "src/unstuck/init.py:8\n-    if x > 3:\n+    if x > 4:" in survivors
    assert '-    return "done"\n+    return "DONE"' in survivors
    *_, row, total = survivors.splitlines()
    planted, killed, late, survived = map(int, row.split()[1:5])
    assert row.split()[1:] == total.split()[1:] and planted == len(lines) == killed + late + survived
    assert survived == survivors.count("src/unstuck/init.py:") and late == 1
    assert {path: path.read_bytes() for path in project.rglob("*.py")} == before
    assert not list((project.parent / "tmp").iterdir())

    sample = run(project, "--sample", "3").stdout
    assert [int(line) for line in re.findall(r"init:(\d+)$", sample, re.MULTILINE)] == lines[:3]
    assert " to " in sample.splitlines()[-1]  # an interval


def test_tests_that_fail_anyway_are_no_measure(project):
    (project / "tests/package/test_init.py").write_text("def test_it():\n    assert False\n")
    result = run(project, "--sample", "1")
    assert result.returncode == 1 and "The tests of init fail without a fault" in result.stderr


def test_a_place_can_be_chosen(project, monkeypatch):
    monkeypatch.setattr(mutants, "ROOT", project)
    mutants.visited.cache_clear()
    everywhere, here = mutants.faults(""), mutants.faults("init:4")
    assert [fault.planted() for fault in here] == [MODULE.replace("= 2", f"= {value}") for value in (None, 3)]
    assert len(mutants.faults("init")) == len(everywhere) > len(here)
    assert not mutants.faults("ini")
    mutants.visited.cache_clear()


def test_every_room_has_its_tests():
    rooms = {path.stem for path in (ROOT / "src/unstuck").iterdir() if not path.stem.startswith("_")}
    assert rooms - {"unstuck"} == set(mutants.TESTS)
    named = {path for room in mutants.TESTS for path in mutants.files(room)}
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests/package").rglob("test_*.py")}
    left_out = {f"tests/package/test_{name}.py" for name in ("clinic_scores", "imports", "recipe", "wheel")}
    left_out |= {f"tests/package/test_watch_{name}.py" for name in ("distributed", "outside")}
    assert there - named == left_out


@pytest.mark.parametrize(("found", "planted", "low", "high"), [(0, 10, 0.0, 0.2775), (81, 263, 0.2553, 0.3662)])
def test_the_interval_is_wilson_s(found, planted, low, high):  # Newcombe (1998), table I
    assert mutants.interval(found, planted) == pytest.approx((low, high), abs=1e-4)
