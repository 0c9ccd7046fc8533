"""Tables: every number is there, what is lost is said, the markup is sound and the same in every run."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from bs4 import BeautifulSoup
from IPython.core.formatters import DisplayFormatter

from unstuck import plots
from unstuck.claims import number

ROWS = [
    {"fix": "as found", "loss": 2.302, "dead": 0.434, "gradient ratio": 3.2e-7},
    {"fix": "too much", "loss": float("nan"), "dead": 1.0},
]


def parsed(table) -> BeautifulSoup:
    return BeautifulSoup(table._repr_html_(), "html.parser")


def cells(table) -> list[list[str]]:
    """The text of every cell, the headings' rows first."""
    return [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in parsed(table).find_all("tr")]


def value(shown) -> str:
    """The one cell of a table with one value."""
    return cells(plots.table({"row": {"column": shown}}))[1][1]


# what is shown


def test_every_cell_is_written():
    assert cells(plots.table(ROWS)) == [
        ["fix", "training loss (nats)", "dead units (%)", "gradient ratio"],
        ["as found", "2.30", "43.4", "3.20e-7"],
        ["too much", "NaN", "100", "–"],
    ]


def test_rows_by_name_have_no_heading_of_their_own():
    rows = {"as found": {"loss": 2.302, "note": "stuck"}, 0.1: {"note": None, "accuracy": 1}}
    table = plots.table(rows)
    assert cells(table) == [
        ["", "training loss (nats)", "note", "training accuracy (%)"],
        ["as found", "2.30", "stuck", "–"],
        ["0.100", "–", "–", "100"],
    ]
    assert table.rows == [{"": "as found", "loss": 2.302, "note": "stuck"}, {"": 0.1, "note": None, "accuracy": 1}]
    assert parsed(table).thead.td.get_text() == "" and len(parsed(table).thead.find_all("th")) == 3


def test_rows_are_kept_as_given():
    assert plots.table(ROWS).rows == ROWS
    assert plots.table(iter(ROWS)).rows == ROWS


@pytest.mark.parametrize("given", [0.12345, 12345678, 1, 0.0, -2.5, 1e-9, np.float32(0.25), np.int64(7)])
def test_numbers_are_those_of_the_book(given):
    assert value(given) == number(float(given))


@pytest.mark.parametrize(
    ("fraction", "percent"), [(0.07, "7"), (0.29, "29"), (0.123456, "12.3"), (1, "100"), (0, "0")]
)
def test_fractions_are_per_cent(fraction, percent):
    assert cells(plots.table({"a": {"dead": fraction}}))[1][1] == percent


def test_several_seeds_are_their_mean_and_standard_deviation():
    seeds = np.array([0.80, 0.83, 0.85])
    mean, sd = 100 * seeds.mean(), 100 * seeds.std(ddof=1)
    for given in (seeds, list(seeds), tuple(seeds), torch.tensor(seeds)):
        assert cells(plots.table({"a": {"test_accuracy": given}}))[1][1] == f"{mean:.1f} ± {sd:.1f}"
    assert parsed(plots.table({"a": {"loss": seeds}})).small.get_text() == f"± {seeds.std(ddof=1):.3f}"
    assert value([2.5]) == "2.50"  # one seed has no spread
    assert value([3, 3, 3]) == "3 ± 0"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ([1.5, np.nan, 2.5, np.nan, 3.5], "2.5 ± 1.0, 2 of 5 NaN"),
        ([1.5, np.nan], "1.50 1 of 2 NaN"),
        ([np.nan, np.nan], "2 of 2 NaN"),
        ([1.5, np.inf], "1.50 1 of 2 not finite"),
        ([np.nan], "1 of 1 NaN"),
        (np.nan, "NaN"),
        (np.inf, "inf"),
        (-np.inf, "-inf"),
    ],
)
def test_what_is_lost_is_counted_and_marked(given, shown):
    table = plots.table({"row": {"column": given, "other": 1.0}})
    assert cells(table)[1][1] == shown
    lost, whole = parsed(table).tbody.find_all("td")
    assert lost["class"] == ["lost"] and not whole.has_attr("class")


# from pandas


def test_a_data_frame_is_a_table():
    frame = pd.DataFrame({"loss": [0.5, 0.25], "of": ["a", "b"]}, ["He", "Xavier"])
    assert cells(plots.table(frame)) == [
        ["", "training loss (nats)", "of"],
        ["He", "0.500", "a"],
        ["Xavier", "0.250", "b"],
    ]
    named = frame.rename_axis("start")
    assert cells(plots.table(named))[0] == ["start", "training loss (nats)", "of"]
    nested = pd.DataFrame([[1, 2]], [0.5], pd.MultiIndex.from_tuples([("2 inputs", "centred"), ("2 inputs", 16)]))
    assert cells(plots.table(nested)) == [["", "2 inputs, centred", "2 inputs, 16"], ["0.500", "1", "2"]]
    with pytest.raises(ValueError, match=r"rows: .*unique"):
        plots.table(pd.DataFrame({"loss": [1, 2]}, ["He", "He"]))
    with pytest.raises(TypeError, match="rows: "):
        plots.table(pd.Series([1.0]))


def test_whatever_has_to_dict_is_a_table():
    class Frame:
        def to_dict(self, orient):
            return {"index": {"He": {"loss": 0.5}}}[orient]

    assert cells(plots.table(Frame())) == [["", "training loss (nats)"], ["He", "0.500"]]


def test_tables_need_no_pandas():
    program = (
        "import sys; from unstuck import plots; plots.table({'a': {'loss': 1.0}}); print('pandas' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        == "False\n"
    )


# the best


def bold(table, k: int) -> list[bool]:
    """Which cells of a column are bold."""
    return [bool(row.find_all("td")[k].strong) for row in parsed(table).tbody.find_all("tr")]


def test_the_best_of_a_column_is_bold():
    rows = {
        "a": {"loss": 0.5, "accuracy": [0.7, 0.8], "depth": 1},
        "b": {"loss": 0.25, "accuracy": [0.9, 0.9], "depth": 2},
        "c": {"loss": None, "accuracy": [0.8, 0.8], "depth": "many"},
    }
    table = plots.table(rows, best={"loss": "min", "accuracy": "max", "depth": "max"})
    assert [bold(table, k) for k in range(3)] == [[False, True, False]] * 3
    assert bold(plots.table(rows, best={"loss": "max"}), 0) == [True, False, False]
    assert not parsed(plots.table(rows)).find_all("strong")
    assert parsed(table).find_all("tr")[2].strong.get_text() == "0.250"  # the number, not what stands behind it
    assert parsed(table).find_all("tr")[2].find_all("td")[1].strong.get_text() == "90"


def test_what_looks_the_same_is_as_good():
    table = plots.table({"a": {"loss": 0.12341}, "b": {"loss": 0.12339}, "c": {"loss": 0.1245}}, best={"loss": "min"})
    assert bold(table, 0) == [True, True, False]
    rows = {"a": {"loss": 0.25}, "lost": {"loss": [0.25, np.nan]}, "text": {"loss": "0.250"}}
    assert bold(plots.table(rows, best={"loss": "min"}), 0) == [True, False, False]


def test_a_cell_with_a_nan_is_never_the_best():
    rows = {"a": {"accuracy": [0.99, np.nan]}, "b": {"accuracy": [0.5, 0.6]}, "c": {"accuracy": float("inf")}}
    assert bold(plots.table(rows, best={"accuracy": "max"}), 0) == [False, True, False]
    del rows["b"]
    assert bold(plots.table(rows, best={"accuracy": "max"}), 0) == [False, False]


# markup


def test_headings_say_what_they_head_and_the_box_can_be_reached():
    soup = parsed(plots.table(ROWS, caption="What each fix bought."))
    assert [th["scope"] for th in soup.thead.find_all("th")] == ["col"] * 4
    assert [th["scope"] for th in soup.tbody.find_all("th")] == ["row"] * 2
    assert soup.caption.get_text() == "What each fix bought."
    box = soup.div
    assert (box["class"], box["tabindex"], box["role"]) == (["unstuck-table-box"], "0", "region")
    assert box["aria-label"] == "What each fix bought." and box.table["class"] == ["unstuck-table"]
    unnamed = parsed(plots.table(ROWS))
    assert unnamed.caption is None
    assert unnamed.div["aria-label"] == "Table: fix, training loss (nats), dead units (%), gradient ratio"


def test_numbers_are_aligned_to_the_right_with_their_heading_and_texts_to_the_left():
    soup = parsed(plots.table({"a": {"loss": 1.0, "note": "x"}, "b": {"loss": None, "note": None}}))
    sides = [[cell.get("style", "") for cell in row.find_all(["th", "td"])] for row in soup.find_all("tr")]
    left, right = "text-align:left", "text-align:right"
    assert sides == [["", right, left], [left, right, left], [left, right, left]]


def test_markup_in_texts_is_shown_and_not_obeyed():
    bad = "<b>&\"'</b>"
    table = plots.table([{bad: bad, "column" + bad: bad}], caption=bad)
    assert cells(table) == [[bad, "column" + bad], [bad, bad]]
    soup = parsed(table)
    assert soup.b is None
    assert soup.caption.get_text() == bad and soup.div["aria-label"] == bad


def test_the_same_values_give_the_same_markup():
    tables = [plots.table([dict(row) for row in ROWS], best={"dead": "min"}, caption="c") for _ in range(2)]
    first, second = (table._repr_mimebundle_() for table in tables)
    assert first == second
    assert first["text/html"] == tables[0]._repr_html_()


def test_a_notebook_shows_markup_and_text():
    data, _ = DisplayFormatter().format(plots.table(ROWS, caption="Fixes."))
    assert set(data) == {"text/plain", "text/html"}
    assert data["text/plain"].split("\n") == [
        "Fixes.",
        "fix       training loss (nats)  dead units (%)  gradient ratio",
        "as found                  2.30            43.4         3.20e-7",
        "too much                   NaN             100               –",
    ]
    words = str(plots.table({"a": {"note": "x", "loss": [1.0, 2.0]}, "long name": {"note": "long"}}))
    assert words.split("\n")[1:] == [
        "a          x              1.50 ± 0.71",
        "long name  long" + 21 * " " + "–",
    ]


# errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.table([]), "rows: expected at least one row"),
        (lambda: plots.table({}), "rows: expected at least one row"),
        (lambda: plots.table([{}]), "rows: expected at least one column"),
        (lambda: plots.table([{"fix": "a"}, {"loss": 1.0}]), r"rows: expected 'fix' in each, missing in rows \[1\]"),
        (lambda: plots.table({"a": {"": 1.0}}), "rows: '' is the name of a column and of the headings"),
        (
            lambda: plots.table({"a": {"loss": []}}),
            r"rows\[0\]\['loss'\]: expected a number, or numbers .* shape \(0,\)",
        ),
        (lambda: plots.table({"a": {"loss": np.ones((2, 2))}}), r"rows\[0\]\['loss'\]: .* got shape \(2, 2\)"),
        (
            lambda: plots.table(ROWS, best={"speed": "max"}),
            r"best: 'speed' is not one of \['loss', 'dead', 'gradient",
        ),
        (lambda: plots.table(ROWS, best={"fix": "max"}), "best: 'fix' is not one of"),
        (lambda: plots.table(ROWS, best={"loss": "high"}), r"best\['loss'\]: 'high' is not one of \['max', 'min'\]"),
        (lambda: plots.table({"a": {"note": "x"}}, best={"note": "max"}), "best: there is no number in .* 'note'"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.table("rows"), "rows: expected mappings, .* got 'rows'"),
        (lambda: plots.table(3), "rows: expected mappings, .* got 3"),
        (lambda: plots.table([["a", 1.0]]), r"rows\[0\]: expected a mapping, got \['a', 1.0\]"),
        (lambda: plots.table({"a": 1.0}), r"rows\['a'\]: expected \{column: value\}, got 1.0"),
        (
            lambda: plots.table([{"fix": None, "loss": 1.0}]),
            r"rows\[0\]\['fix'\]: expected a text or a number, got None",
        ),
        (lambda: plots.table({"a": {None: 1.0}}), "rows: expected a text or a number, got None"),
        (lambda: plots.table({"a": {"loss": True}}), r"rows\[0\]\['loss'\]: expected a number, .* got True"),
        (lambda: plots.table({"a": {"loss": np.array([True])}}), r"rows\[0\]\['loss'\]: expected a number, numbers"),
        (lambda: plots.table({"a": {"loss": ["x"]}}), r"rows\[0\]\['loss'\]: expected a number, .* got \['x'\]"),
        (lambda: plots.table({"a": {"loss": object}}), r"rows\[0\]\['loss'\]: expected a number"),
        (lambda: plots.table({"a": {"loss": [[1], [1, 2]]}}), r"rows\[0\]\['loss'\]: expected a number"),
        (lambda: plots.table(ROWS, best="loss"), r"best: expected \{column: 'max' or 'min'\}, got 'loss'"),
        (lambda: plots.table(ROWS, caption=None), "caption: expected a text, got None"),
    ],
)
def test_values_of_the_wrong_kind_are_named(call, message):
    with pytest.raises(TypeError, match=message):
        call()
