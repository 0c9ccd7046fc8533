"""Submissions that cheat, break or run away: none gains a mark, none costs more than its own."""

import pytest
from handed_in import as_bytes, assignment, lost, marked, solved, with_cell, with_function
from hostile import ALL, CELLS, FILES, FUNCTIONS, NOTEBOOKS, RELU, WRONG

from assignments.grading.feedback import page
from assignments.grading.grade import grade

SLOW = {
    *("an endless sleep", "a slow memory hog", "output without end", "files without end", "a file without end"),
    *("an answer of 100 MB", "torch.allclose replaced"),
}


def each(table):
    return [
        pytest.param(*row, id=name, marks=[pytest.mark.whole] if name in SLOW else []) for name, row in table.items()
    ]


@pytest.mark.parametrize(("source", "expected"), each(FUNCTIONS))
def test_a_function(source, expected, quick, tmp_path):
    quick("backprop")
    marks = marked(with_function(solved(), "relu_backward", source))
    assert lost(marks) == expected
    assert not list(tmp_path.parent.rglob("hostile"))
    assert page("a student", assignment(), marks, {}).encode()


@pytest.mark.parametrize(("source", "expected"), each(CELLS))
def test_a_cell(source, expected, quick):
    quick("backprop")
    notebook = with_cell(with_function(solved(), "relu_backward", RELU + WRONG), source)
    assert lost(marked(notebook)) == expected


@pytest.mark.parametrize(("change", "expected"), each(NOTEBOOKS))
def test_a_notebook(change, expected, quick):
    quick("backprop")
    notebook = solved()
    change(notebook)
    assert lost(marked(notebook)) == expected


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in FILES.items()])
def test_a_file(data):
    marks = grade(data, "backprop")
    assert lost(marks) == ALL and marks.notes


def test_what_is_said_holds_no_hidden_value():
    marks = marked(with_function(solved(), "relu_backward", RELU + "    return z\n"))
    assert marks.said["relu-gradient"].endswith("numbers are wrong")
    text = page("a student", assignment(), marks, {})
    assert "expected" not in marks.said["relu-gradient"] and str(assignment().hidden(0)["relu-gradient"]) not in text


@pytest.mark.whole
def test_a_classifier_that_only_counts_its_calls_gets_nothing():
    source = "def cured_1(x, y, seed=0):\n    calls = iter(range(100))\n"
    source += "    return lambda new: np.full(len(new), next(calls) % 4)\n"
    assert lost(marked(with_function(solved("debugging"), "cured_1", source), "debugging"), "debugging") == {"cure-1"}


def test_a_gradient_of_nothing_gets_nothing():
    source = "def numeric_gradient(f, x, eps=1e-5):\n    return 0 * x\n"
    expected = {"numeric-value", "numeric-restores"}
    assert lost(marked(with_function(solved(), "numeric_gradient", source))) == expected


def test_a_mistake_that_nobody_knows_loses_its_own_marks():
    source = "def linear_backward(G, x, W):\n    return G @ W, (G * 1.5).T @ x, np.abs(G).sum(axis=0)\n"
    marks = marked(with_function(solved(), "linear_backward", source))
    assert lost(marks) == {"linear-dw", "linear-db"}
    assert marks.said["linear-dw"] == "dW: all numbers are 1.5 times what they should be"


def test_the_feedback_escapes_what_a_student_writes():
    script = "<script>fetch('//example.org')</script>"
    notebook = with_cell(
        with_function(solved(), "relu_backward", RELU + f"    raise ValueError({script!r})\n"), f"# {script}"
    )
    text = page(script, assignment(), grade(as_bytes(notebook), "backprop"), {})
    assert "<script" not in text and text.count("&lt;script&gt;") >= 4
    assert "http" not in text.replace("http-equiv", "")
