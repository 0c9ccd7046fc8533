"""CONTRIBUTING's recipe for a new quantity, carried out to the letter in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

USED = """
import matplotlib
matplotlib.use("Agg")
import torch
from unstuck import plots
from unstuck.data import spirals
from unstuck.ensemble import fit_many
from unstuck.init import initialise
from unstuck.models import mlp
from unstuck.probes import trace, watch
from unstuck.train import fit

split = spirals(60)
model = initialise(mlp((2, 8, 3)), "he", seed=1)
expected = trace(model, split.x_train[:20])["act1"].max()
with watch(model, quantities=("act_max",)) as record:
    model(split.x_train[:20])
assert record.last("act_max", "act1") == float(expected), "watch"

arguments = {"steps": 3, "batch_size": 20, "every": 1, "quantities": ("act_max",)}
alone = fit(model, split, lr=0.1, **arguments)
(run,) = fit_many((2, 8, 3), split, [{"scheme": "he", "lr": 0.1, "seed": 1}], **arguments)
assert abs(alone.last("act_max", "act1") - run.record.last("act_max", "act1")) < 1e-5, "fit, fit_many"

assert plots.by_step(alone, "act_max").get_ylabel() == "largest activation", "plots"
print("carried out")
"""


@pytest.fixture
def copy(tmp_path):
    for folder in ("src", "tests/package"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    return tmp_path


def run(copy, *command):
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], cwd=copy, env=environment, capture_output=True, text=True, timeout=120
    )


def steps() -> list[tuple[str, str]]:
    """(file, code) of each step of the recipe."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    recipe = text.split("## Add a quantity")[1].split("\n## ")[0]
    found = re.findall(r"^\d\. In `([^`]+)`.*?```python\n(.*?)```", recipe, re.S | re.M)
    return [(file, re.sub(r"^   ", "", code, flags=re.M)) for file, code in found]


def carry_out(copy, file, code):
    path = copy / file
    source = path.read_text(encoding="utf-8")
    if code.startswith("def "):
        path.write_text(f"{source}\n\n{code}", encoding="utf-8")
    else:  # an entry of the only table whose name the text gives
        table = re.search(r"^(QUANTITIES|BY_HAND)\b.*\{$", source, re.M)
        path.write_text(source[: table.end()] + "\n    " + code + source[table.end() :], encoding="utf-8")


def test_the_recipe_makes_the_quantity_appear_everywhere(copy):
    files = [file for file, _ in steps()]
    assert files == ["src/unstuck/record/quantities.py", "src/unstuck/measure.py", "tests/package/test_measure.py"]
    for file, code in steps():
        carry_out(copy, file, code)
    done = run(copy, "-c", USED)
    assert done.stdout == "carried out\n", done.stderr
    tests = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "tests/package/test_measure.py")
    assert tests.returncode == 0, tests.stdout


def test_a_step_left_out_is_noticed(copy):
    (row, code), (function, body), _ = steps()
    carry_out(copy, row, code)
    assert "which unstuck.measure does not have" in run(copy, "-c", USED).stderr
    carry_out(copy, function, body)  # and no line in the test
    tests = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/package/test_measure.py")
    assert tests.returncode == 1 and "has_a_computation_by_hand" in tests.stdout
