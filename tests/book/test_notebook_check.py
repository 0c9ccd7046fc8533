"""The check of stored outputs can fail: on a changed number, and on a false claim although it is not compared."""

import copy
import re
import subprocess
import sys

import nbformat
import pytest
from check import NOTEBOOK_FLAGS, environment
from nbclient import NotebookClient
from nbformat import v4

CLAIM = "claim('Six times seven is 42.', measured=product, expected=42, abs=0)"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Three cells with the outputs they really have; the claim is not compared, as in a chapter."""
    nb = v4.new_notebook()
    sources = ("from unstuck.claims import claim", "product = 6 * 7\nprint(f'{product / 4:.1f}')", CLAIM)
    nb.cells = [v4.new_code_cell(source) for source in sources]
    nb.cells[2].metadata["tags"] = ["nbval-ignore-output"]
    NotebookClient(
        nb, kernel_name="python3", resources={"metadata": {"path": tmp_path_factory.mktemp("run")}}
    ).execute()
    assert nb.cells[1].outputs[0].text == "10.5\n"
    return nb


def passed_and_failed(nb, folder) -> tuple[int, int]:
    """How many cells pass and fail under the very flags that `make test` uses."""
    path = folder / "sample.ipynb"
    nbformat.write(nb, path)
    command = [sys.executable, "-m", "pytest", *NOTEBOOK_FLAGS, "-p", "no:cacheprovider", str(path)]
    result = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed)", result.stdout.splitlines()[-1])}
    assert (result.returncode == 0) == ("failed" not in counts), result.stdout + result.stderr
    return counts.get("passed", 0), counts.get("failed", 0)


def test_what_was_stored_passes(executed, tmp_path):
    assert passed_and_failed(executed, tmp_path) == (3, 0)


def test_one_changed_number_fails(executed, tmp_path):
    nb = copy.deepcopy(executed)
    nb.cells[1].outputs[0].text = "10.4\n"
    assert passed_and_failed(nb, tmp_path) == (2, 1)


def test_a_false_claim_fails(executed, tmp_path):
    nb = copy.deepcopy(executed)
    nb.cells[2].source = CLAIM.replace("expected=42", "expected=41")
    assert passed_and_failed(nb, tmp_path) == (2, 1)
