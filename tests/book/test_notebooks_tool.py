"""`make notebooks`: what it stores, what it leaves alone, and that running it twice leaves no diff."""

import copy
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import notebooks
import pytest
from nbformat import v4

from unstuck.explore import Predict

STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"


def write(path, *sources):
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell(source) for source in sources]), path)


def test_good_chapters_are_stored_and_bad_ones_left(tmp_path, capsys):
    write(tmp_path / "01_good.ipynb", "number = 3", "print(2 * number)", "number")
    write(tmp_path / "02_raises.ipynb", "number = 3", "number / 0")
    write(tmp_path / "03_warns.ipynb", "import sys\n_ = sys.stderr.write('oh')")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    assert notebooks.main([], tmp_path) == 1
    printed = capsys.readouterr().out
    assert "02_raises.ipynb, cell 2" in printed
    assert "ZeroDivisionError: division by zero" in printed
    assert "03_warns.ipynb, cell 1 wrote to stderr" in printed
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after.keys() == before.keys()
    assert [name for name in before if before[name] != after[name]] == ["01_good.ipynb"]
    nb = nbformat.read(tmp_path / "01_good.ipynb", as_version=4)
    assert [cell.execution_count for cell in nb.cells] == [1, 2, 3]
    assert nb.cells[1].outputs[0].text == "6\n"
    assert nb.cells[2].outputs[0].data == {"text/plain": "3"}

    assert notebooks.main(["01"], tmp_path) == 0
    assert "unchanged" in capsys.readouterr().out
    assert (tmp_path / "01_good.ipynb").read_bytes() == after["01_good.ipynb"]


def test_a_cell_to_answer_in_is_there_before_the_chapter_is_executed(tmp_path):
    gates = "```{solution-start} ex-sum\n:class: dropdown\n```", "```{solution-end}\n```"
    cells = [v4.new_markdown_cell(gates[0]), v4.new_code_cell("1 + 1"), v4.new_markdown_cell(gates[1])]
    path = tmp_path / "01_asks.ipynb"
    nbformat.write(v4.new_notebook(cells=cells), path)
    assert notebooks.main([], tmp_path) == 0
    stored = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [(cell.source, cell.execution_count) for cell in stored] == [("# your answer", 1), ("1 + 1", 2)]


def test_a_name_that_no_chapter_has_is_an_error(tmp_path, capsys):
    write(tmp_path / "01_good.ipynb", "1")
    assert notebooks.main(["02"], tmp_path) == 1
    assert "01_good.ipynb" in capsys.readouterr().out


def test_a_crash_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "01_good.ipynb"
    write(path, "1")
    before = path.read_bytes()

    def crash(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(notebooks.os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        notebooks.store(v4.new_notebook(), path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == before


def sample():
    """A notebook as an editor leaves it: machine-made metadata, one shown widget, one forgotten, a live cell."""
    nb = v4.new_notebook()
    nb.metadata = nbformat.from_dict(
        {"language_info": {"name": "python", "version": "3.11.7"}, "kernelspec": {"name": "mine"}, "toc": 1}
    )
    view = v4.new_output("display_data", {VIEW: {"model_id": "shown"}}, metadata={"needs_background": "light"})
    nb.cells = [
        v4.new_code_cell("1", metadata={"tags": ["hide-input"], "execution": {"started": "now"}}, outputs=[view]),
        v4.new_code_cell("interact(f)", metadata={"tags": ["remove-output"]}, outputs=[copy.deepcopy(view)]),
    ]
    models = {
        "style": {"state": {}},
        "shown": {"state": {"style": "IPY_MODEL_style"}},
        "forgotten": {"state": {}},
    }
    nb.metadata["widgets"] = {STATE: {"state": models, "version_major": 2, "version_minor": 0}}
    return nb


def test_normalised_metadata_depends_on_the_cells_alone():
    nb = notebooks.normalise(sample())
    assert set(nb.metadata) == {"kernelspec", "language_info", "widgets"}
    assert nb.metadata.kernelspec.name == "python3"
    assert "version" not in nb.metadata.language_info
    assert list(nb.metadata.widgets[STATE]["state"]) == ["shown", "style"]
    assert nb.cells[0].metadata == {"tags": ["hide-input"], "jupyter": {"source_hidden": True}}
    assert nb.cells[0].outputs[0].metadata == {}
    assert nb.cells[1].outputs == []
    assert nbformat.writes(notebooks.normalise(copy.deepcopy(nb))) == nbformat.writes(nb)


def test_an_explorable_has_todays_script_and_keeps_what_the_run_has_found():
    guess = Predict("How many?", number=(0, 40))
    state = guess.close(3, "So it is.").get_state()
    stored = {**state, "_esm": "export default {}", "_css": ".old {}"}
    assert notebooks._with_todays_script(stored) is None
    assert stored == {**state, "_esm": str(state["_esm"]), "_css": str(state["_css"])} and "old" not in stored["_css"]
    other = {"_anywidget_id": "someone.else.Widget", "_esm": "1"}
    notebooks._with_todays_script(other)
    notebooks._with_todays_script({"_model_name": "LayoutModel"})
    assert other["_esm"] == "1"


def test_cell_ids_are_kept_where_valid_and_otherwise_made_from_the_cell():
    def ids(*given):
        nb = sample()
        for cell, own in zip(nb.cells, given, strict=True):
            cell["id"] = own
        return [cell.id for cell in notebooks.normalise(nb).cells]

    assert ids("first", "second") == ["first", "second"]
    twice = ids("same", "same")
    assert twice[0] == "same"
    assert twice[1] not in ("same", "")
    assert twice == ids("same", "same")
    assert ids("not valid!", "second")[0] != "not valid!"


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to a group of processes")
def test_an_interrupt_says_one_sentence(tmp_path):
    """As from a keyboard: the terminal sends it to the kernels as well."""
    began = tmp_path / "began"
    write(tmp_path / "01_waits.ipynb", f"open({str(began)!r}, 'w').close()\nimport time\ntime.sleep(300)")
    before = (tmp_path / "01_waits.ipynb").read_bytes()
    code = f"import sys, pathlib, notebooks; sys.exit(notebooks.main([], pathlib.Path({str(tmp_path)!r})))"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path(notebooks.__file__).parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60  # a busy machine; two seconds on a free one
    while not began.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert said == "Interrupted; chapters not named above are left as they were.\n"
    assert process.returncode == 130
    assert (tmp_path / "01_waits.ipynb").read_bytes() == before
